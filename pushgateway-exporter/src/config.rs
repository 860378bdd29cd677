//! Owns the exporter's configuration: what is said ([`Raw`]) becomes what is meant, where it holds together.

mod raw;
mod security;
mod targets;

use std::collections::BTreeMap;
use std::time::Duration;

use regex::RegexSet;
use sidecar::Problems;

pub use self::raw::{
    Raw, RawGroup, RawHttp, RawPush, RawPushgateway, RawRemoteWrite, RawRewrite, RawScrape, RawSecurity,
    RawShape, RawTarget, SinkKind,
};
pub use self::security::Security;
use crate::client::address;
use crate::grouping::{GroupingKey, is_label_name};
use crate::shape::{Rewrite, Shape, patterns};
use crate::target::Target;

/// The shortest time between pushes: one that is shorter would load the gateway and tell nobody more.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// The longest time that one request may be given: a cycle has several, and must not be taken for dead.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The targets, and how each is asked.
    pub targets: Vec<(Target, Security)>,
    /// What becomes of a page.
    pub shape: Shape,
    /// The labels that all targets share.
    pub group: GroupingKey,
    /// The address of the sink in its usual form.
    pub sink_url: String,
    /// How the sink is asked.
    pub sink_security: Security,
    /// What was said, for what needs no checking.
    pub raw: Raw,
}

impl TryFrom<Raw> for Config {
    type Error = Problems;

    fn try_from(raw: Raw) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let group = check_group(&raw.group, &mut problems);
        let targets = targets::check(&raw, &mut problems);
        let shape = check_shape(&raw.shape, &mut problems);
        let (sink_url, sink_security) = check_sink(&raw, &mut problems);
        check_times(&raw, &mut problems);
        let Some(group) = group else {
            return Err(problems);
        };
        problems.into_result(Self {
            targets,
            shape,
            group,
            sink_url,
            sink_security,
            raw,
        })
    }
}

fn check_url(key: &str, text: &str, problems: &mut Problems) -> Option<String> {
    address(text).map_err(|what| problems.add(key, what)).ok()
}

fn check_shape(raw: &RawShape, problems: &mut Problems) -> Shape {
    let mut set = |key: &str, regexes: &[String]| {
        patterns(regexes).unwrap_or_else(|error| {
            problems.add(key, format!("has what is no regular expression: {error}"));
            RegexSet::empty()
        })
    };
    Shape {
        rewrite: match raw.rewrite {
            RawRewrite::Stable => Rewrite::Stable,
            RawRewrite::None => Rewrite::None,
        },
        allow: set("shape.allow", &raw.allow),
        deny: set("shape.deny", &raw.deny),
        max_series: raw.max_series.get(),
        typed: raw.typed,
    }
}

fn check_group(raw: &RawGroup, problems: &mut Problems) -> Option<GroupingKey> {
    for name in raw.info.keys().filter(|name| !is_label_name(name)) {
        problems.add("group.info", format!("{name:?} is no name of a label"));
    }
    for (label, key) in [
        ("job", "group.job"),
        ("instance", "group.instance"),
        (targets::TARGET, "targets.NAME.labels.target"),
    ] {
        if raw.labels.contains_key(label) {
            problems.add("group.labels", format!("{label} has a key of its own: {key}"));
        }
    }
    let key = GroupingKey::new(shared_labels(raw));
    key.map_err(|what| problems.add("group", what)).ok()
}

fn shared_labels(raw: &RawGroup) -> BTreeMap<String, String> {
    let mut labels = raw.labels.clone();
    labels.insert("job".to_owned(), raw.job.clone());
    labels.insert("instance".to_owned(), raw.instance.clone());
    labels
}

/// Refuses what is more than the address of a gateway, since the path of each group is appended to it.
fn check_gateway(url: &str, problems: &mut Problems) {
    if url.contains("/metrics/job") {
        problems.add(
            "pushgateway.url",
            "names a group (/metrics/job/…); leave that out, [group] and the targets' labels name the groups",
        );
    }
    if url.contains(['?', '#']) {
        problems.add("pushgateway.url", "has a query or a fragment; leave it out");
    }
}

fn check_sink(raw: &Raw, problems: &mut Problems) -> (String, Security) {
    let (table, url, security) = match raw.push.sink {
        SinkKind::Pushgateway => ("pushgateway", &raw.pushgateway.url, &raw.pushgateway.security),
        SinkKind::RemoteWrite => ("remote_write", &raw.remote_write.url, &raw.remote_write.security),
        SinkKind::Http => {
            if raw.http.address == raw.admin.address && raw.http.address.port() != 0 {
                problems.add("http.address", "is the address of the admin port as well");
            }
            return (
                format!("http://{}/metrics", raw.http.address),
                Security::default(),
            );
        }
    };
    let url = check_url(&format!("{table}.url"), url, problems).unwrap_or_default();
    if raw.push.sink == SinkKind::Pushgateway {
        check_gateway(&url, problems);
    }
    (
        url,
        Security::check(&format!("{table}.security"), security, problems),
    )
}

fn check_times(raw: &Raw, problems: &mut Problems) {
    let times = [
        ("scrape.connect_timeout", raw.scrape.connect_timeout),
        ("scrape.timeout", raw.scrape.timeout),
        ("pushgateway.timeout", raw.pushgateway.timeout),
        ("remote_write.timeout", raw.remote_write.timeout),
    ];
    for (key, time) in times {
        if time.is_zero() || time > LONGEST_TIMEOUT {
            problems.add(
                key,
                format!("must be longer than nothing and at most {LONGEST_TIMEOUT:?}"),
            );
        }
    }
    if raw.push.interval < SHORTEST_INTERVAL {
        problems.add("push.interval", format!("must be {SHORTEST_INTERVAL:?} at least"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Role;

    pub(super) fn checked(toml: &str) -> Result<Config, String> {
        let raw: Raw = toml::from_str(toml).unwrap();
        Config::try_from(raw).map_err(|problems| problems.to_string())
    }

    pub(super) fn problems(toml: &str) -> String {
        checked(toml).err().unwrap_or_default()
    }

    #[test]
    fn the_defaults_are_valid_and_the_reference_file_says_them() {
        let reference: Raw = toml::from_str(include_str!("../pushgateway-exporter.toml")).unwrap();
        assert_eq!(reference, Raw::default());
        assert_eq!(problems(""), "");
    }

    #[test]
    fn every_key_stands_in_the_reference_file() {
        let reference = include_str!("../pushgateway-exporter.toml");
        let mut raw = Raw::default();
        let security = RawSecurity {
            username: Some("x".into()),
            password: Some("x".into()),
            bearer_token: Some("x".into()),
            ca_file: Some("x".into()),
            certificate_file: Some("x".into()),
            key_file: Some("x".into()),
        };
        raw.pushgateway.security = security.clone();
        raw.remote_write.security = security;
        let target = RawTarget {
            role: Some(Role::Driver),
            url: Some("x".into()),
            host: Some("x".into()),
            ports: Some("x".into()),
            ports_file: Some("x".into()),
            path: Some("x".into()),
            ..RawTarget::default()
        };
        raw.targets = [("driver".to_owned(), target)].into();
        for line in toml::to_string(&raw)
            .unwrap()
            .lines()
            .filter(|line| !line.trim().is_empty())
        {
            // Of a table the last part of its name.
            let key = line.split(" =").next().unwrap().trim_matches(['[', ']']);
            let key = key.rsplit('.').next().unwrap();
            assert!(
                reference.contains(key),
                "{key} is not in pushgateway-exporter.toml"
            );
        }
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let told = problems(
            "[targets.a]\nrole = \"driver\"\nports = \"x\"\n[targets.b]\nurl = \"ftp://x\"\n[targets.c]\n\
             [targets.d]\nurl = \"http://me:secret@x/\"\n[shape]\nallow = [\"(\"]\n[group]\njob = \"\"\n\
             [push]\ninterval = \"1ms\"\n[pushgateway]\nurl = \"gateway\"\nsecurity.password = \"p\"",
        );
        for key in [
            "targets.a.ports: ",
            "targets.b.url: ",
            "targets.c: ",
            "targets.d.url: ",
            "shape.allow: ",
            "group: the job is empty",
            "push.interval: ",
            "pushgateway.url: ",
            "pushgateway.security.password: ",
        ] {
            assert!(told.contains(key), "{key} in {told}");
        }
        assert!(!told.contains("secret@"), "{told}");
    }

    #[test]
    fn the_labels_of_the_group_are_job_instance_and_more() {
        let config = checked("[group]\njob = \"a/b\"\ninstance = \"driver\"\nlabels.team = \"x\"").unwrap();
        assert_eq!(
            config.group.path(),
            "/metrics/job@base64/YS9i/instance/driver/team/x"
        );
        for label in ["job", "instance", "target"] {
            let found = problems(&format!("[group]\nlabels.{label} = \"x\""));
            assert!(
                found.contains(&format!("{label} has a key of its own")),
                "{found}"
            );
        }
    }

    #[test]
    fn the_address_of_a_sink_has_its_usual_form() {
        for (said, meant) in [
            ("pushgateway.url = \"HTTPS://Gateway:443 \"", "https://gateway/"),
            (
                "push.sink = \"remote_write\"\nremote_write.url = \" HTTPS://r/write\"",
                "https://r/write",
            ),
            ("push.sink = \"http\"", "http://127.0.0.1:9467/metrics"),
        ] {
            assert_eq!(checked(said).unwrap().sink_url, meant);
        }
    }

    #[test]
    fn the_address_of_a_gateway_names_no_group() {
        for url in [
            "http://g:9091/metrics/job/x",
            "http://g/metrics/job@base64/eA/instance/y",
            "http://g/?x=1",
        ] {
            let found = problems(&format!("pushgateway.url = \"{url}\""));
            assert!(found.contains("pushgateway.url: "), "{found}");
        }
        assert_eq!(problems("pushgateway.url = \"http://g/prefix/\""), "");
    }
}

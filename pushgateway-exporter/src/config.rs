//! Owns the exporter's configuration: what is said ([`Raw`]) becomes what is meant, where it holds together.

mod raw;
mod security;

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
use crate::target::{Place, Role, Target, parse_ports};

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
    /// Under which labels it is pushed.
    pub group: GroupingKey,
    /// How the sink is asked.
    pub sink_security: Security,
    /// What was said, for what needs no checking.
    pub raw: Raw,
}

impl TryFrom<Raw> for Config {
    type Error = Problems;

    fn try_from(raw: Raw) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let targets = check_targets(&raw.targets, &mut problems);
        let shape = check_shape(&raw.shape, &mut problems);
        let group = check_group(&raw.group, &mut problems);
        let sink_security = check_sink(&raw, &mut problems);
        check_times(&raw, &mut problems);
        let Some(group) = group else {
            return Err(problems);
        };
        problems.into_result(Self {
            targets,
            shape,
            group,
            sink_security,
            raw,
        })
    }
}

fn check_targets(raw: &BTreeMap<String, RawTarget>, problems: &mut Problems) -> Vec<(Target, Security)> {
    if raw.is_empty() {
        problems.add("targets", "is empty; name one, such as [targets.driver]");
    }
    let checked = raw.iter().filter_map(|(name, target)| {
        let key = format!("targets.{name}");
        for label in target.labels.keys().filter(|label| !is_label_name(label)) {
            problems.add(
                format!("{key}.labels"),
                format!("{label:?} is no name of a label"),
            );
        }
        let role = target.role.unwrap_or_else(|| Role::named(name));
        let place = check_place(&key, role, target, problems);
        let security = Security::check(&format!("{key}.security"), &target.security, problems);
        let target = Target {
            name: name.clone(),
            role,
            place: place?,
            labels: target.labels.clone(),
        };
        Some((target, security))
    });
    checked.collect()
}

fn check_place(key: &str, role: Role, target: &RawTarget, problems: &mut Problems) -> Option<Place> {
    if let Some(url) = &target.url {
        if target.ports.is_some() || target.ports_file.is_some() || target.path.is_some() {
            problems.add(
                format!("{key}.url"),
                "is the whole address; leave out ports, ports_file and path",
            );
        }
        return check_url(&format!("{key}.url"), url, problems).map(Place::Url);
    }
    let defaults = role.defaults();
    let path = target.path.as_deref().or(defaults.map(|(_, path)| path));
    let ports = target.ports.as_deref().or(defaults.map(|(ports, _)| ports));
    let (Some(path), true) = (path, ports.is_some() || target.ports_file.is_some()) else {
        let page = Role::Page.name();
        problems.add(
            key,
            format!("says neither url nor ports and path, which the role {page} needs"),
        );
        return None;
    };
    let ports = ports.map_or(Ok(Vec::new()), parse_ports);
    let ports = ports
        .map_err(|what| problems.add(format!("{key}.ports"), what))
        .ok()?;
    if !path.starts_with('/') {
        problems.add(format!("{key}.path"), "must begin with /");
    }
    for url in Place::urls(&target.host, ports.get(..1).unwrap_or_default(), path) {
        check_url(&format!("{key}.host"), &url, problems)?;
    }
    Some(Place::Ports {
        host: target.host.clone(),
        ports,
        file: target.ports_file.clone(),
        path: path.to_owned(),
    })
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
    let mut labels = raw.labels.clone();
    for (name, value) in [("job", &raw.job), ("instance", &raw.instance)] {
        if labels.insert(name.to_owned(), value.clone()).is_some() {
            problems.add(
                "group.labels",
                format!("{name} has a key of its own: group.{name}"),
            );
        }
    }
    let key = GroupingKey::new(labels);
    key.map_err(|what| problems.add("group", what)).ok()
}

fn check_sink(raw: &Raw, problems: &mut Problems) -> Security {
    let (table, url, security) = match raw.push.sink {
        SinkKind::Pushgateway => ("pushgateway", &raw.pushgateway.url, &raw.pushgateway.security),
        SinkKind::RemoteWrite => ("remote_write", &raw.remote_write.url, &raw.remote_write.security),
        SinkKind::Http => {
            if raw.http.address == raw.admin.address && raw.http.address.port() != 0 {
                problems.add("http.address", "is the address of the admin port as well");
            }
            return Security::default();
        }
    };
    check_url(&format!("{table}.url"), url, problems);
    Security::check(&format!("{table}.security"), security, problems)
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

    fn checked(toml: &str) -> Result<Config, String> {
        let raw: Raw = toml::from_str(toml).unwrap();
        Config::try_from(raw).map_err(|problems| problems.to_string())
    }

    fn problems(toml: &str) -> String {
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
    fn all_mistakes_are_told_at_once() {
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
    fn a_role_says_where_its_page_is_and_a_key_says_it_better() {
        let config = checked("[targets.driver]\nhost = \"10.0.0.1\"\nports = \"40001\"").unwrap();
        let Place::Ports {
            host, ports, path, ..
        } = &config.targets[0].0.place
        else {
            panic!("a driver has ports");
        };
        assert_eq!(
            (host.as_str(), ports[0].get(), path.as_str()),
            ("10.0.0.1", 40001, "/metrics/prometheus/")
        );
    }

    #[test]
    fn the_labels_of_the_group_are_job_instance_and_more() {
        let config = checked("[group]\njob = \"a/b\"\ninstance = \"driver\"\nlabels.team = \"x\"").unwrap();
        assert_eq!(
            config.group.path(),
            "/metrics/job@base64/YS9i/instance/driver/team/x"
        );
        assert!(problems("[group]\nlabels.job = \"x\"").contains("group.job"));
    }
}

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
use crate::target::{Place, Role, Target, UiPlace, parse_ports};

/// The shortest time between pushes: one that is shorter would load the gateway and tell nobody more.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Where a target is looked for that does not say so.
const LOCALHOST: &str = "127.0.0.1";

/// The label that is each target's own.
const TARGET: &str = "target";

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
        let targets = check_targets(&raw, &mut problems);
        let shape = check_shape(&raw.shape, &mut problems);
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

fn check_targets(raw: &Raw, problems: &mut Problems) -> Vec<(Target, Security)> {
    if raw.targets.is_empty() {
        problems.add("targets", "is empty; name one, such as [targets.driver]");
    }
    let application = application(&raw.targets);
    let mut owners = BTreeMap::new();
    let mut checked = Vec::new();
    for (name, target) in &raw.targets {
        let key = format!("targets.{name}");
        let role = role(name, target);
        let target = match application {
            Some(application) if role.is_of_application() && !says_where(target) => &RawTarget {
                host: application.host.clone(),
                ports: application.ports.clone(),
                ports_file: application.ports_file.clone(),
                ..target.clone()
            },
            _ => target,
        };
        let labels = check_labels(raw, name, target, problems);
        let with_value: Vec<_> = labels.iter().filter(|(_, value)| !value.is_empty()).collect();
        let with_value = format!("{with_value:?}");
        if let Some(owner) = owners.insert(with_value, name) {
            problems.add(
                format!("{key}.labels"),
                format!("are those of targets.{owner}; give each a label of its own"),
            );
        }
        let place = check_place(&key, role, target, problems);
        let security = Security::check(&format!("{key}.security"), &target.security, problems);
        let name = name.clone();
        checked.extend(place.map(|place| {
            let target = Target {
                name,
                role,
                place,
                labels,
            };
            (target, security)
        }));
    }
    checked
}

fn role(name: &str, target: &RawTarget) -> Role {
    target.role.unwrap_or_else(|| Role::named(name))
}

/// Whether it is said where a target is.
fn says_where(target: &RawTarget) -> bool {
    let RawTarget {
        url,
        host,
        ports,
        ports_file,
        ..
    } = target;
    url.is_some() || host.is_some() || ports.is_some() || ports_file.is_some()
}

/// The one page of an application for which it is said where the application is: its other page is there, too.
fn application(targets: &BTreeMap<String, RawTarget>) -> Option<&RawTarget> {
    let mut said = targets.iter().filter(|(name, target)| {
        role(name, target).is_of_application() && says_where(target) && target.url.is_none()
    });
    match (said.next(), said.next()) {
        (Some((_, only)), None) => Some(only),
        _ => None,
    }
}

/// The labels of all that is pushed of a target. One that the target's table leaves empty is left out.
fn check_labels(
    raw: &Raw,
    name: &str,
    target: &RawTarget,
    problems: &mut Problems,
) -> BTreeMap<String, String> {
    let mut labels = shared_labels(&raw.group);
    if raw.push.sink == SinkKind::Http {
        // Whoever pulls says what job and instance are.
        labels.retain(|label, _| raw.group.labels.contains_key(label));
    }
    labels.insert(TARGET.to_owned(), name.to_owned());
    for (label, value) in &target.labels {
        if !is_label_name(label) {
            let key = format!("targets.{name}.labels");
            problems.add(key, format!("{label:?} is no name of a label"));
        }
        if value.is_empty() {
            labels.remove(label);
        } else {
            labels.insert(label.clone(), value.clone());
        }
    }
    if !labels.contains_key("job") && raw.push.sink != SinkKind::Http {
        problems.add(
            format!("targets.{name}.labels.job"),
            "is empty; name the application",
        );
    }
    labels
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
    let host = target.host.as_deref().unwrap_or(LOCALHOST);
    if let Some(&port) = ports.first() {
        check_url(&format!("{key}.host"), &Place::url(host, port, path), problems)?;
    }
    Some(Place::Ui {
        ui: UiPlace {
            host: host.to_owned(),
            ports,
            file: target.ports_file.clone(),
        },
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
    for (label, key) in [
        ("job", "group.job"),
        ("instance", "group.instance"),
        (TARGET, "targets.NAME.labels.target"),
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
    if raw.push.sink == SinkKind::Pushgateway {
        check_gateway(url, problems);
    }
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
    fn a_role_says_where_its_page_is_and_a_key_says_it_better() {
        let config = checked("[targets.driver]\nhost = \"10.0.0.1\"\nports = \"40001\"").unwrap();
        assert_eq!(place(&config, 0), "10.0.0.1:40001 /metrics/prometheus/");
    }

    fn place(config: &Config, target: usize) -> String {
        let Place::Ui { ui, path } = &config.targets[target].0.place else {
            panic!("the target has ports");
        };
        format!("{}:{} {path}", ui.host, ui.ports[0])
    }

    #[test]
    fn where_an_application_is_need_be_said_for_one_of_its_pages_alone() {
        for (driver, executors) in [("driver", "executors"), ("executors", "driver")] {
            let said = format!("[targets.{driver}]\nhost = \"h\"\nports = \"4050\"\n[targets.{executors}]\n");
            let config = checked(&said).unwrap();
            assert_eq!(place(&config, 0), "h:4050 /metrics/prometheus/");
            assert_eq!(place(&config, 1), "h:4050 /metrics/executors/prometheus/");
        }
        let two = "[targets.a]\nrole = \"driver\"\nports = \"1\"\n[targets.b]\nrole = \"driver\"\nports = \"2\"\n\
                   [targets.executors]\n";
        assert_eq!(
            place(&checked(two).unwrap(), 2),
            "127.0.0.1:4040 /metrics/executors/prometheus/",
            "of which of the two is not known"
        );
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

    fn labels(toml: &str) -> Vec<String> {
        let targets = checked(toml).unwrap().targets;
        let labels = targets.into_iter().map(|(target, _)| {
            let labels = target.labels.into_iter();
            let labels = labels.map(|(name, value)| format!("{name}={value}"));
            labels.collect::<Vec<_>>().join(" ")
        });
        labels.collect()
    }

    #[test]
    fn each_target_has_a_label_of_its_own_and_may_have_others_in_its_place() {
        let two = "[targets.a]\nurl = \"http://x/\"\n[targets.b]\nurl = \"http://y/\"\n";
        assert_eq!(
            labels(two),
            [
                "instance=driver job=spark target=a",
                "instance=driver job=spark target=b"
            ]
        );
        let http = format!("push.sink = \"http\"\ngroup.labels.team = \"x\"\n{two}");
        assert_eq!(labels(&http), ["target=a team=x", "target=b team=x"]);
        let own = format!("{two}labels = {{ target = \"\", instance = \"w\", part = \"b\" }}\n");
        assert_eq!(labels(&own)[1], "instance=w job=spark part=b");
        let same = format!("{two}labels.target = \"a\"\n");
        assert!(
            problems(&same).contains("targets.b.labels: are those of targets.a"),
            "{}",
            problems(&same)
        );
        let no_job = format!("{two}labels.job = \"\"\n");
        assert!(
            problems(&no_job).contains("targets.b.labels.job"),
            "{}",
            problems(&no_job)
        );
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

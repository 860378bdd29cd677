//! Owns which targets there are, where each is looked for, and under which labels it is pushed.

use std::collections::BTreeMap;

use sidecar::Problems;

use super::{Raw, RawTarget, Security, SinkKind, check_url, shared_labels};
use crate::grouping::is_label_name;
use crate::target::{Place, Role, Target, UiPlace, parse_ports};

/// Where a target is looked for that does not say so.
const LOCALHOST: &str = "127.0.0.1";

/// The label that is each target's own.
pub(super) const TARGET: &str = "target";

pub(super) fn check(raw: &Raw, problems: &mut Problems) -> Vec<(Target, Security)> {
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
            None if role.is_of_application() && !says_where(target) => {
                if let Some(other) = with_url(&raw.targets) {
                    problems.add(
                        &key,
                        format!("does not say where it is, and targets.{other} has a url; give it one, too, or ports"),
                    );
                }
                target
            }
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

/// A page of an application that has an address, which does not say where the other page is.
fn with_url(targets: &BTreeMap<String, RawTarget>) -> Option<&str> {
    let mut said = targets
        .iter()
        .filter(|(name, target)| role(name, target).is_of_application() && target.url.is_some());
    said.next().map(|(name, _)| name.as_str())
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
        let RawTarget {
            host,
            ports,
            ports_file,
            path,
            ..
        } = target;
        if host.is_some() || ports.is_some() || ports_file.is_some() || path.is_some() {
            problems.add(
                format!("{key}.url"),
                "is the whole address; leave out host, ports, ports_file and path",
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

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::tests::{checked, problems};
    use super::*;

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
    fn a_page_is_not_looked_for_elsewhere_than_the_other_of_its_application_that_has_an_address() {
        for (one, other) in [("driver", "executors"), ("executors", "driver")] {
            let with_url = format!("[targets.{one}]\nurl = \"http://h:4050/metrics/\"\n");
            let found = problems(&format!("{with_url}[targets.{other}]\n"));
            assert!(
                found.contains(&format!(
                    "targets.{other}: does not say where it is, and targets.{one} has a url"
                )),
                "{found}"
            );
            for said in ["ports = \"4040\"", "host = \"h\"", "url = \"http://h:4050/x/\""] {
                assert_eq!(problems(&format!("{with_url}[targets.{other}]\n{said}\n")), "");
            }
            assert_eq!(problems(&with_url), "");
        }
    }

    #[test]
    fn an_address_stands_alone() {
        for beside in [
            "host = \"h\"",
            "ports = \"1\"",
            "ports_file = \"f\"",
            "path = \"/\"",
        ] {
            let found = problems(&format!("[targets.a]\nurl = \"http://x/\"\n{beside}"));
            assert!(
                found.contains("targets.a.url: is the whole address"),
                "{beside}: {found}"
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
}

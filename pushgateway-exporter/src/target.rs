//! Owns what a target is: a page of metrics, where it may be, and which setting of Spark turns it on.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The most ports that a target may be looked for at.
pub const MAX_PORTS: usize = 64;

/// A page that is scraped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The name by which metrics and logs know it.
    pub name: String,
    /// What serves the page.
    pub role: Role,
    /// Where it may be.
    pub place: Place,
    /// The labels of all that is pushed of it and about it; no other target has the same.
    pub labels: BTreeMap<String, String>,
}

/// Where a page may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// There.
    Url(String),
    /// At this path of an application.
    Ui {
        /// Where the application may be.
        ui: UiPlace,
        /// The path of the page.
        path: String,
    },
}

/// Where an application may be: at one of some ports of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UiPlace {
    /// The host.
    pub host: String,
    /// The ports, in the order in which they are tried.
    pub ports: Vec<NonZeroU16>,
    /// A file that names the ports instead, read anew each time, since a program may write it late.
    pub file: Option<PathBuf>,
}

/// What serves a page: which address it has by default, and how it is turned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A Spark driver's metrics.
    Driver,
    /// A Spark driver's page about its executors.
    Executors,
    /// A worker of Spark Standalone.
    Worker,
    /// A master of Spark Standalone.
    Master,
    /// The applications that a master of Spark Standalone knows.
    Applications,
    /// Any page in the text format.
    #[default]
    Page,
}

impl Role {
    /// Where the page is found by default: the port and the path.
    pub fn defaults(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Driver => Some(("4040", "/metrics/prometheus/")),
            Self::Executors => Some(("4040", "/metrics/executors/prometheus/")),
            Self::Worker => Some(("8081", "/metrics/prometheus/")),
            Self::Master => Some(("8080", "/metrics/master/prometheus/")),
            Self::Applications => Some(("8080", "/metrics/applications/prometheus/")),
            Self::Page => None,
        }
    }

    /// What has to be set in Spark for the page to be there.
    pub fn setting(self) -> Option<&'static str> {
        match self {
            Self::Driver => Some(
                "set spark.metrics.conf.*.sink.prometheusServlet.class=org.apache.spark.metrics.sink.\
                 PrometheusServlet and spark.metrics.conf.*.sink.prometheusServlet.path=/metrics/prometheus",
            ),
            Self::Executors => Some("set spark.ui.prometheus.enabled=true"),
            Self::Worker => Some(
                "set worker.sink.prometheusServlet.class=org.apache.spark.metrics.sink.PrometheusServlet and \
                 worker.sink.prometheusServlet.path=/metrics/prometheus in the worker's metrics.properties",
            ),
            Self::Master => Some(
                "set master.sink.prometheusServlet.class=org.apache.spark.metrics.sink.PrometheusServlet and \
                 master.sink.prometheusServlet.path=/metrics/master/prometheus in the master's metrics.properties",
            ),
            Self::Applications => Some(
                "set applications.sink.prometheusServlet.class=org.apache.spark.metrics.sink.PrometheusServlet and \
                 applications.sink.prometheusServlet.path=/metrics/applications/prometheus in the master's \
                 metrics.properties",
            ),
            Self::Page => None,
        }
    }

    /// Whether the page is one of the user interface of a Spark application.
    pub fn is_of_application(self) -> bool {
        matches!(self, Self::Driver | Self::Executors)
    }

    /// The role that the configuration calls so; any page, if none is.
    pub fn named(name: &str) -> Self {
        let roles = [
            Self::Driver,
            Self::Executors,
            Self::Worker,
            Self::Master,
            Self::Applications,
        ];
        roles
            .into_iter()
            .find(|role| role.name() == name)
            .unwrap_or_default()
    }

    /// The role as the configuration names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Executors => "executors",
            Self::Worker => "worker",
            Self::Master => "master",
            Self::Applications => "applications",
            Self::Page => "page",
        }
    }
}

/// Reads ports such as `4040-4056,40001`.
///
/// # Errors
/// What is wrong with them.
pub fn parse_ports(text: &str) -> Result<Vec<NonZeroU16>, String> {
    let mut ports = Vec::new();
    for part in text
        .split([',', '\n'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let port = |text: &str| {
            let port = text.trim().parse::<NonZeroU16>();
            port.map_err(|_error| {
                format!("{part:?} is no port from 1 to 65535, and no range such as 4040-4056")
            })
        };
        let (first, last) = (port(first)?, port(last)?);
        if last < first {
            return Err(format!("{part:?} ends before it begins"));
        }
        if usize::from(last.get() - first.get()) + ports.len() >= MAX_PORTS {
            return Err(format!("names more than {MAX_PORTS} ports"));
        }
        ports.extend((first.get()..=last.get()).filter_map(NonZeroU16::new));
    }
    if ports.is_empty() {
        return Err("names no port".to_owned());
    }
    Ok(ports)
}

impl Place {
    /// Whether it is asked by `https://`.
    pub fn is_https(&self) -> bool {
        matches!(self, Self::Url(url) if url.starts_with("https:"))
    }

    /// The address of a page at a port of a host.
    pub fn url(host: &str, port: NonZeroU16, path: &str) -> String {
        // An address of IPv6 stands in brackets.
        if host.contains(':') && !host.starts_with('[') {
            format!("http://[{host}]:{port}{path}")
        } else {
            format!("http://{host}:{port}{path}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Result<Vec<u16>, String> {
        parse_ports(text).map(|ports| ports.into_iter().map(NonZeroU16::get).collect())
    }

    #[test]
    fn ports_are_numbers_and_ranges() {
        assert_eq!(ports("4040-4042, 40001\n"), Ok(vec![4040, 4041, 4042, 40001]));
        for wrong in ["", "x", "0", "70000", "5-4", "1-", "1-1000", "1-64,65"] {
            ports(wrong).unwrap_err();
        }
        assert_eq!(ports("1-64").unwrap().len(), MAX_PORTS);
    }

    #[test]
    fn an_address_of_ipv6_stands_in_brackets() {
        let port = NonZeroU16::MIN;
        assert_eq!(Place::url("::1", port, "/x"), "http://[::1]:1/x");
        assert_eq!(Place::url("localhost", port, "/x"), "http://localhost:1/x");
    }
}

//! Owns what the configuration file may say, and what is meant where it says nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sidecar::{RawAdmin, RawLog, Secret};

use crate::push::OnExit;
use crate::target::Role;

/// The configuration file. Every key has a default; `pushgateway-exporter.toml` beside the program shows and explains
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// The pages that are scraped, by name.
    pub targets: BTreeMap<String, RawTarget>,
    /// How they are scraped.
    pub scrape: RawScrape,
    /// What becomes of a page.
    pub shape: RawShape,
    /// Under which labels all targets are pushed.
    pub group: RawGroup,
    /// When and where to.
    pub push: RawPush,
    /// The Pushgateway.
    pub pushgateway: RawPushgateway,
    /// The remote-write receiver.
    pub remote_write: RawRemoteWrite,
    /// The port for a Prometheus that pulls.
    pub http: RawHttp,
    /// The admin port.
    pub admin: RawAdmin<9466>,
    /// The logs.
    pub log: RawLog,
}

impl Default for Raw {
    fn default() -> Self {
        let target = |role: Role| (role.name().to_owned(), RawTarget::default());
        let targets = [Role::Driver, Role::Executors].map(target);
        Self {
            targets: targets.into(),
            scrape: RawScrape::default(),
            shape: RawShape::default(),
            group: RawGroup::default(),
            push: RawPush::default(),
            pushgateway: RawPushgateway::default(),
            remote_write: RawRemoteWrite::default(),
            http: RawHttp::default(),
            admin: RawAdmin::default(),
            log: RawLog::default(),
        }
    }
}

/// `[targets.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawTarget {
    /// What serves the page, which gives ports and path their defaults; without it the target's name says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The whole address, instead of host, ports and path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The ports at which the page is looked for, `4040-4056,40001`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<String>,
    /// A file that names the ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports_file: Option<PathBuf>,
    /// The path of the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// More labels of all that is pushed of the target, or others in the place of the group's.
    pub labels: BTreeMap<String, String>,
    /// How it is asked.
    pub security: RawSecurity,
}

/// `[….security]`: who we are, and whom we trust.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawSecurity {
    /// The user of basic authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<Secret>,
    /// Who may sign the server's certificate, in PEM; the system's list if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// Its key, in PEM (PKCS#8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// `[scrape]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawScrape {
    /// How long a connection may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a target may take in all.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// The greatest page that is read, uncompressed.
    pub max_body_bytes: NonZeroUsize,
}

impl Default for RawScrape {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
            max_body_bytes: NonZeroUsize::MIN.saturating_add((16 << 20) - 1),
        }
    }
}

/// `[shape]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawShape {
    /// What becomes of Spark's names.
    pub rewrite: RawRewrite,
    /// Only metrics are kept whose whole name one of these matches; none means all.
    pub allow: Vec<String>,
    /// Metrics are dropped whose whole name one of these matches.
    pub deny: Vec<String>,
    /// The most series of a target; the rest is dropped.
    pub max_series: NonZeroUsize,
    /// Whether metrics get types.
    pub typed: bool,
}

impl Default for RawShape {
    fn default() -> Self {
        Self {
            rewrite: RawRewrite::Stable,
            allow: Vec::new(),
            deny: Vec::new(),
            max_series: NonZeroUsize::MIN.saturating_add(4999),
            typed: false,
        }
    }
}

/// What becomes of Spark's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RawRewrite {
    /// Names that do not change from run to run.
    #[default]
    Stable,
    /// The names that Spark gives.
    None,
}

/// `[group]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawGroup {
    /// The application.
    pub job: String,
    /// Which of its parts, by a name that a restart does not change.
    pub instance: String,
    /// More labels of all targets.
    pub labels: BTreeMap<String, String>,
    /// What changes from run to run: labels of an info metric.
    pub info: BTreeMap<String, String>,
}

impl Default for RawGroup {
    fn default() -> Self {
        Self {
            job: "spark".to_owned(),
            instance: "driver".to_owned(),
            labels: BTreeMap::new(),
            info: BTreeMap::new(),
        }
    }
}

/// `[push]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawPush {
    /// Where to.
    pub sink: SinkKind,
    /// How often.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// After so many failures in a row the last values of a target are not pushed to a Pushgateway any more.
    pub stale_after: NonZeroU32,
    /// What becomes of the values when the program ends.
    pub on_exit: OnExit,
}

impl Default for RawPush {
    fn default() -> Self {
        Self {
            sink: SinkKind::Pushgateway,
            interval: Duration::from_secs(15),
            stale_after: NonZeroU32::MIN.saturating_add(2),
            on_exit: OnExit::MarkDown,
        }
    }
}

/// Where the metrics go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkKind {
    /// To a Pushgateway.
    #[default]
    Pushgateway,
    /// To a receiver of Prometheus' remote write.
    RemoteWrite,
    /// To nobody: they are there for a Prometheus that pulls.
    Http,
}

/// `[pushgateway]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawPushgateway {
    /// Its address.
    pub url: String,
    /// Whether bodies are compressed, where the gateway can read that.
    pub gzip: bool,
    /// How long a push may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How it is asked.
    pub security: RawSecurity,
}

impl Default for RawPushgateway {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:9091".to_owned(),
            gzip: true,
            timeout: Duration::from_secs(5),
            security: RawSecurity::default(),
        }
    }
}

/// `[remote_write]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawRemoteWrite {
    /// Its whole address.
    pub url: String,
    /// How long a push may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How it is asked.
    pub security: RawSecurity,
}

impl Default for RawRemoteWrite {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:9090/api/v1/write".to_owned(),
            timeout: Duration::from_secs(5),
            security: RawSecurity::default(),
        }
    }
}

/// `[http]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawHttp {
    /// Where `/metrics` is served.
    pub address: SocketAddr,
}

impl Default for RawHttp {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 9467)),
        }
    }
}

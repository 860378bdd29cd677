//! Owns what the configuration file may say, and what is meant where it says nothing.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use checkpoint::{Location, RawS3};
use kafka_admin::RawKafka;
use serde::{Deserialize, Serialize};
use sidecar::{RawAdmin, RawLog};

use crate::plan::RewindPolicy;
use crate::selection::SourcesAs;

/// The configuration file; `offset-reporter.toml` beside the program shows and explains it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// The cluster of streams that name no other.
    pub kafka: RawKafka,
    /// Further clusters, by name.
    pub clusters: BTreeMap<String, RawKafka>,
    /// How S3 is reached.
    pub s3: RawS3,
    /// How often what is done.
    pub report: RawReport,
    /// The checkpoints.
    pub streams: Vec<RawStream>,
    /// The admin port.
    pub admin: RawAdmin<9465>,
    /// The logs.
    pub log: RawLog,
}

/// `[report]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawReport {
    /// How often a checkpoint is looked at.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
    /// How often one is that has had no new batch for nine of these intervals; three of them if absent.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub idle_poll_interval: Option<Duration>,
    /// How often its folder is listed where nothing changes.
    #[serde(with = "humantime_serde")]
    pub list_interval: Duration,
    /// How often positions that did not change are committed again.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// After how long a partition that only the group has is stale.
    #[serde(with = "humantime_serde")]
    pub prune_after: Duration,
    /// How many streams are looked at and committed at the same time.
    pub concurrency: NonZeroUsize,
}

/// How many poll intervals an idle stream's is if the configuration does not say.
const IDLE_POLLS: u32 = 3;

impl RawReport {
    /// How often an idle stream is looked at.
    pub fn idle_poll_interval(&self) -> Duration {
        let default = (IDLE_POLLS * self.poll_interval).min(self.keepalive_interval);
        self.idle_poll_interval.unwrap_or(default)
    }
}

impl Default for RawReport {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(10),
            idle_poll_interval: None,
            list_interval: Duration::from_mins(1),
            keepalive_interval: Duration::from_mins(5),
            prune_after: Duration::from_hours(1),
            concurrency: NonZeroUsize::new(16).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// `[[streams]]`: a checkpoint, and how it is reported.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RawStream {
    /// Its name, in logs and metrics.
    pub name: String,
    /// Where the checkpoint is.
    pub checkpoint: Location,
    /// The group; the stream's name if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The cluster, by its name under `clusters`; that of `kafka` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Whether positions are committed.
    #[serde(default)]
    pub mode: Mode,
    /// Only this source, by its name or its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How several sources are reported.
    #[serde(default)]
    pub sources_as: SourcesAs,
    /// Only these topics.
    #[serde(default)]
    pub topics: Vec<String>,
    /// None of these topics.
    #[serde(default)]
    pub except_topics: Vec<String>,
    /// Which steps back are reported.
    #[serde(default)]
    pub rewind: RewindPolicy,
    /// Whether, before the first batch is committed, the positions are reported at which the query began.
    #[serde(default = "yes")]
    pub report_initial: bool,
    /// Whether the group forgets stale partitions.
    #[serde(default)]
    pub prune: bool,
}

fn yes() -> bool {
    true
}

/// Whether positions are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They are.
    #[default]
    Commit,
    /// They are only shown as metrics; no right to the group is needed.
    Observe,
}

//! Owns how one reads: as a member of a group or not, and where one begins.

use std::time::Duration;

use rdkafka::topic_partition_list::Offset;
use serde::{Deserialize, Serialize};

/// Where to begin with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With this record.
    At(i64),
    /// As [`StartWithout`] says.
    Without(StartWithout),
}

/// Where to begin with a partition without progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StartWithout {
    /// With the first record that there is.
    #[default]
    Earliest,
    /// With the next record that comes.
    Latest,
}

impl Start {
    pub(super) fn offset(self) -> Offset {
        match self {
            Self::At(offset) => Offset::Offset(offset),
            Self::Without(StartWithout::Earliest) => Offset::Beginning,
            Self::Without(StartWithout::Latest) => Offset::End,
        }
    }
}

/// How to be a member of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub group: String,
    /// Static membership: the same name after a restart keeps the partitions.
    pub instance_id: Option<String>,
    /// Who assigns partitions.
    pub protocol: GroupProtocol,
    /// Where to begin where the group has committed nothing.
    pub start: StartWithout,
    /// After so long without a heartbeat a member is out (classic protocol).
    pub session_timeout: Duration,
    /// After so long without a poll a member is out.
    pub max_poll_interval: Duration,
    /// How long a revocation may be held up.
    pub drain_timeout: Duration,
}

/// Who assigns partitions to the members of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupProtocol {
    /// One of the members, cooperatively.
    #[default]
    Classic,
    /// The broker (KIP-848, Kafka 4.0 and newer).
    Consumer,
}

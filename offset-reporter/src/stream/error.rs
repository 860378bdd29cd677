//! Owns why a turn of a stream did not do all that it should.

use std::sync::Arc;
use std::time::Duration;

use kafka_admin::{Refusal, RefusalKind, TopicPartition};

use crate::plan::Step;
use crate::source::SourceError;

/// Why a turn did not do all that it should.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StreamError {
    /// The checkpoint cannot be read.
    #[error("the checkpoint {place} cannot be read")]
    Source {
        /// Where it is.
        place: String,
        /// Why.
        source: Arc<SourceError>,
    },
    /// Kafka refuses.
    #[error("{what}")]
    Kafka {
        /// What was asked for.
        what: String,
        /// Why not.
        source: Refusal,
    },
    /// Where partitions end is not known, and so is their lag.
    #[error("cannot learn where {partition} ends, in the cluster {cluster}{}", advice(source.kind))]
    LogEnds {
        /// The first of them.
        partition: TopicPartition,
        /// The cluster.
        cluster: String,
        /// Why.
        source: Refusal,
    },
    /// What is processed is not what the group shows, since that would be a step back.
    #[error(
        "{partitions} partitions of group {group} would go back ({reasons}), which `rewind` forbids, the first of them {} from \
         {} to {}; to allow it once: offset-reporter rewind {stream}",
        first.partition, first.from.unwrap_or_default(), first.to
    )]
    Held {
        /// The stream.
        stream: String,
        /// The group.
        group: String,
        /// How many.
        partitions: usize,
        /// The first of them.
        first: Box<Step>,
        /// The reasons.
        reasons: String,
    },
    /// None of the topics is in the cluster.
    #[error(
        "none of the topics {topics} is in the cluster {cluster}; check `cluster`, `topics` and `source` of the stream"
    )]
    NoTopic {
        /// The topics.
        topics: String,
        /// The cluster.
        cluster: String,
    },
    /// Nothing of what the query reads is selected.
    #[error(
        "nothing is selected of what the query of {place} reads from Kafka, by source (topic): {sources}; check `source`, \
         `topics` and `except_topics` of the stream"
    )]
    NothingSelected {
        /// Where the checkpoint is.
        place: String,
        /// What there is.
        sources: String,
    },
    /// A turn was cut off.
    #[error("the turn was cut off: it did not end within {0:?}")]
    TimeLimit(Duration),
}

impl StreamError {
    pub(super) fn kafka(cluster: &str, what: &str, source: Refusal) -> Self {
        let what = format!("{what}, in the cluster {cluster}{}", advice(source.kind));
        Self::Kafka { what, source }
    }

    /// The name as metrics have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Source { source, .. } => source.name(),
            Self::Kafka { source, .. } => match source.kind {
                RefusalKind::Passing => "kafka_passing",
                RefusalKind::InUse => "group_in_use",
                RefusalKind::Denied => "kafka_denied",
                RefusalKind::UnknownPartition => "unknown_partition",
                RefusalKind::Permanent => "kafka_refused",
            },
            Self::LogEnds { .. } => "log_ends",
            Self::Held { .. } => "held",
            Self::NoTopic { .. } => "no_topic",
            Self::NothingSelected { .. } => "nothing_selected",
            Self::TimeLimit(_) => "time_limit",
        }
    }
}

/// What a person can do.
pub(super) fn advice(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::InUse => {
            "; the group has members, who alone may commit: give the stream a group that nobody else uses"
        }
        RefusalKind::Denied => "; the client needs READ on the group and on the topics",
        RefusalKind::UnknownPartition => "; the topic was deleted, or has fewer partitions",
        RefusalKind::Passing | RefusalKind::Permanent => "",
    }
}

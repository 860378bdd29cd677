//! Owns why a cycle of a stream did not do all that it should.

use std::sync::Arc;

use kafka_io::{Refusal, RefusalKind};

use crate::source::SourceError;

/// Why a cycle did not do all that it should.
#[derive(Debug, thiserror::Error)]
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
    /// What is processed is not what the group shows, since that would be a step back.
    #[error("{0}")]
    Held(String),
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
}

impl StreamError {
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
            Self::Held(_) => "held",
            Self::NoTopic { .. } => "no_topic",
        }
    }
}

//! Kafka, as the programs of this workspace use it. No other crate names `rdkafka`, and no type of its crosses.
//!
//! [`Connection`] is how to reach a cluster; [`Consumer`] turns librdkafka's polling into a stream of [`Event`]s;
//! [`Producer`] sends and reports every delivery; [`Cluster`] asks; [`MockBroker`] stands in for a cluster in tests
//! and in the demo.

mod connection;
mod headers;
mod properties;
mod record;

mod consumer;
mod producer;

mod admin;
mod cluster;
mod groups;
mod log_offsets;
mod refusal;
mod topic_id;
mod unanswered;

mod context;
mod ending;
mod limit;
mod reason;

mod mock;

pub use cluster::Cluster;
pub use connection::{Connection, RawKafka, RawSecurity, SaslMechanism, SecurityProtocol};
pub use consumer::{
    CommitError, Consumer, Event, GroupProtocol, Membership, Revocation, Start, StartWithout,
};
pub use groups::{ByPartition, Committed};
pub use mock::MockBroker;
pub use producer::{Compression, Delivery, DeliveryError, Producer, ProducerSettings, SendError};
pub use properties::Properties;
pub use record::{Header, Outgoing, Partition, Record, Topic, TopicPartition};
pub use refusal::{Refusal, RefusalKind};
pub use topic_id::TopicId;

/// librdkafka refuses what it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct KafkaError {
    /// What was asked for.
    what: String,
    /// What it says.
    reason: String,
}

impl KafkaError {
    fn new(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}

//! Records of Kafka, read and written, as the programs of this workspace do it. No program's crate names `rdkafka`, and no
//! type of its crosses. What else a cluster is asked goes through `kafka-admin`, whose names and settings are used here.
//!
//! [`check`] finds what librdkafka refuses of a connection's settings; [`Consumer`] turns librdkafka's polling into a stream of
//! [`Event`]s; [`Producer`] sends and reports every delivery; [`MockBroker`] stands in for a cluster in tests and in the demo.

mod settings;
mod tokens;

mod headers;
mod record;

mod consumer;
mod producer;

mod context;
mod ending;
mod limit;
mod reason;

mod mock;

pub use consumer::{
    CommitError, Consumer, Event, GroupProtocol, Membership, Revocation, Start, StartWithout,
};
pub use mock::MockBroker;
pub use producer::{Compression, Delivery, DeliveryError, Producer, ProducerSettings, SendError};
pub use record::{Header, Outgoing, Record};
pub use settings::{check, librdkafka_settings};

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

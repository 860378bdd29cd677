//! Requests to a Kafka cluster, as the programs of this workspace make them. No other crate names `kafka-protocol`.

mod names;
mod refusal;

mod connection;

pub use connection::{Connection, Properties, RawKafka, RawSecurity, SaslMechanism, SecurityProtocol};
pub use names::{BrokerId, GroupId, Offset, Partition, Topic, TopicId, TopicPartition};
pub use refusal::{Refusal, RefusalKind};

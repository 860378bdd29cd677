//! Requests to a Kafka cluster, as the programs of this workspace make them. No other crate names `kafka-protocol`, and no
//! type of its crosses.
//!
//! [`Connection`] is how to reach a cluster, checked; [`Admin`] asks it. A question about many things (partitions, groups,
//! brokers) answers for each by itself, with a value or a [`Refusal`]: what one broker does not answer touches nothing else.
//!
//! The way of a question: `requests/` knows what to ask whom, and asks again if leaders or coordinators have moved;
//! `topology` keeps who they were last; `admin` picks the connection from `pool`; `wire/` encodes, sends, waits, decodes.

mod names;
mod refusal;

mod connection;

mod admin;
mod pool;
mod requests;
mod topology;

mod wire;

pub use admin::Admin;
pub use connection::{
    Connection, Properties, RawKafka, RawSecurity, SaslMechanism, SecurityProtocol, Token, TokenSource,
};
pub use names::{BrokerId, GroupId, Offset, Partition, Topic, TopicId, TopicPartition};
pub use refusal::{Refusal, RefusalKind};
pub use requests::{
    AbortedTransaction, BatchHeader, Broker, ByGroup, ByPartition, Cluster, Committed, GroupDescription,
    GroupMember, GroupType, Isolation, ListedGroup, LogEnd, LogSection, PartitionDescription, RecordTime,
    TimedOffset, TopicConfig, TopicDescription,
};
#[doc(hidden)]
pub use wire::{ANSWERS, decode_answer, decode_assignment};

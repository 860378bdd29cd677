//! Owns what things are called: topics, partitions, groups, brokers, and offsets, which are never negative.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// A topic's name. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Topic {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A topic's id: one that is deleted and created again has another. Printed in Kafka's base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(Uuid);

impl TopicId {
    /// `None` for the nil id of brokers that know no ids (before Kafka 2.8).
    pub(crate) fn new(id: Uuid) -> Option<Self> {
        (!id.is_nil()).then_some(Self(id))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0.as_bytes()))
    }
}

/// The number of a partition of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub i32);

impl fmt::Display for Partition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Topic,
    /// Its partition.
    pub partition: Partition,
}

impl TopicPartition {
    /// Partition `partition` of the topic of this name.
    pub fn new(topic: &str, partition: i32) -> Self {
        Topic::from(topic).partition(partition)
    }
}

impl Topic {
    /// Its partition of this number.
    pub fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition {
            topic: self.clone(),
            partition: Partition(partition),
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.topic, self.partition)
    }
}

/// The id of a group. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(Arc<str>);

impl GroupId {
    /// The id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for GroupId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The id of a broker (`node.id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerId(pub i32);

impl fmt::Display for BrokerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// An offset in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(i64);

impl Offset {
    /// `None` if it is negative: Kafka uses such numbers for "none" and "unknown".
    pub fn new(offset: i64) -> Option<Self> {
        (offset >= 0).then_some(Self(offset))
    }

    /// The number.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_offset_is_no_offset() {
        assert_eq!(Offset::new(0).map(Offset::get), Some(0));
        for negative in [-1, -1001, i64::MIN] {
            assert_eq!(Offset::new(negative), None);
        }
    }

    #[test]
    fn a_topic_id_is_printed_as_kafka_prints_it() {
        assert_eq!(TopicId::new(Uuid::nil()), None);
        let id = TopicId::new(Uuid::from_u128(1)).unwrap();
        assert_eq!(id.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
    }
}

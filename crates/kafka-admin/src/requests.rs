//! The requests, a file for each family of them. A new one stands beside those that are about the same thing.

mod cluster;
mod committed;
mod configs;
mod coordinators;
mod groups;
mod log;
mod offsets;
mod scatter;
mod share;
mod tail;
mod topics;

pub use cluster::{Broker, Cluster};
pub use committed::Committed;
pub use configs::TopicConfig;
pub use groups::{GroupDescription, GroupMember, GroupType, ListedGroup};
pub use log::{AbortedTransaction, BatchHeader, LogSection};
pub use offsets::{LogEnd, RecordTime, TimedOffset};
pub use tail::Isolation;
pub use topics::{PartitionDescription, TopicDescription};

pub(crate) use scatter::Answers;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

use crate::{GroupId, Refusal, Topic, TopicPartition};

/// What the cluster says of each partition that it was asked about.
pub type ByPartition<T> = Vec<(TopicPartition, Result<T, Refusal>)>;
/// What the cluster says of each group that it was asked about.
pub type ByGroup<T> = Vec<(GroupId, Result<T, Refusal>)>;

fn str_bytes(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(topic: &Topic) -> TopicName {
    str_bytes(topic.as_str()).into()
}

fn group_id(group: &GroupId) -> kafka_protocol::messages::GroupId {
    str_bytes(group.as_str()).into()
}

/// The numbers of the partitions of each topic.
fn by_topic<'p>(partitions: impl IntoIterator<Item = &'p TopicPartition>) -> BTreeMap<&'p Topic, Vec<i32>> {
    let mut topics = BTreeMap::<_, Vec<_>>::new();
    for TopicPartition { topic, partition } in partitions {
        topics.entry(topic).or_default().push(partition.0);
    }
    topics
}

/// What an answer says of each partition that was asked about; what else it has is left out.
fn pick<V>(
    partitions: Vec<TopicPartition>,
    answers: impl IntoIterator<Item = (TopicPartition, V)>,
) -> ByPartition<V> {
    let mut answers: HashMap<_, _> = answers.into_iter().collect();
    let picked = partitions.into_iter().map(|partition| {
        let answer = answers.remove(&partition);
        let answer = answer.ok_or_else(|| Refusal::missing("partition that was asked about"));
        (partition, answer)
    });
    picked.collect()
}

/// Each once.
fn unique<K: Clone + Ord>(things: &[K]) -> Vec<K> {
    let unique: BTreeSet<_> = things.iter().collect();
    unique.into_iter().cloned().collect()
}

/// The same refusal for each.
fn refuse<K, V>(things: Vec<K>, refusal: &Refusal) -> Vec<(K, Result<V, Refusal>)> {
    let refused = |thing| (thing, Err(refusal.clone()));
    things.into_iter().map(refused).collect()
}

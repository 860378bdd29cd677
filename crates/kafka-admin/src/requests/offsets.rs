//! Owns the question where partitions begin and end, and which record is of which time: `ListOffsets`, each leader at once.

use std::collections::BTreeMap;

use kafka_protocol::messages::ListOffsetsRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use tokio::time::Instant;

use super::scatter::Answers;
use super::{ByPartition, pick, refuse, topic_name};
use crate::{Admin, BrokerId, Offset, Refusal, Topic, TopicPartition};

/// The most partitions of one request, whose answer takes about 30 bytes for each.
const PARTITIONS_PER_REQUEST: usize = 20_000;
/// Since when `MAX_TIMESTAMP` is known (KIP-734, Kafka 3.0).
const MAX_TIMESTAMP_SINCE: i16 = 7;

/// Which end of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogEnd {
    /// The first offset that is still there.
    Earliest,
    /// The high watermark: the offset of the next record that a reader could get.
    Latest,
    /// The last stable offset: as far as a reader gets that is `read_committed`.
    LatestStable,
}

/// Which record of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordTime {
    /// The first whose timestamp is not before this, in milliseconds since 1970.
    NotBefore(i64),
    /// The one with the largest timestamp. Needs Kafka 3.0.
    Largest,
}

/// A record that was found by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOffset {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp, in milliseconds since 1970, if it has one.
    pub timestamp_ms: Option<i64>,
}

/// A request's own numbers.
#[derive(Debug, Clone, Copy)]
struct Spec {
    timestamp: i64,
    isolation_level: i8,
    min_version: i16,
}

impl LogEnd {
    fn spec(self) -> Spec {
        let (timestamp, isolation_level) = match self {
            Self::Earliest => (-2, 0),
            Self::Latest => (-1, 0),
            Self::LatestStable => (-1, 1),
        };
        Spec {
            timestamp,
            isolation_level,
            min_version: 0,
        }
    }
}

impl RecordTime {
    fn spec(self) -> Spec {
        let (timestamp, min_version) = match self {
            // Negative ones have other meanings.
            Self::NotBefore(timestamp) => (timestamp.max(0), 0),
            Self::Largest => (-3, MAX_TIMESTAMP_SINCE),
        };
        Spec {
            timestamp,
            isolation_level: 0,
            min_version,
        }
    }
}

impl Admin {
    /// An end of each partition, or why it is not known.
    pub async fn list_offsets(&self, partitions: &[TopicPartition], end: LogEnd) -> ByPartition<Offset> {
        let mut all = Vec::with_capacity(partitions.len());
        self.list_offsets_each(partitions, end, |partition, answer| all.push((partition, answer)))
            .await;
        all
    }

    /// As [`Self::list_offsets`]; each answer is given to `on_answer` when it comes, so that a leader that hangs holds up
    /// only its own.
    pub async fn list_offsets_each(
        &self,
        partitions: &[TopicPartition],
        end: LogEnd,
        mut on_answer: impl FnMut(TopicPartition, Result<Offset, Refusal>),
    ) {
        self.scatter_offsets(partitions, end.spec(), |partition, answer| {
            let offset = answer.and_then(|answer| {
                Offset::new(answer.offset).ok_or_else(|| Refusal::missing("offset of the partition"))
            });
            on_answer(partition, offset);
        })
        .await;
    }

    /// A record of each partition by its time; `None` if it has no such record.
    pub async fn find_offsets(
        &self,
        partitions: &[TopicPartition],
        time: RecordTime,
    ) -> ByPartition<Option<TimedOffset>> {
        let mut all = Vec::with_capacity(partitions.len());
        self.scatter_offsets(partitions, time.spec(), |partition, answer| {
            let found = answer.map(|answer| {
                let timestamp_ms = Some(answer.timestamp).filter(|timestamp| *timestamp >= 0);
                Offset::new(answer.offset).map(|offset| TimedOffset { offset, timestamp_ms })
            });
            all.push((partition, found));
        })
        .await;
        all
    }

    async fn scatter_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: Spec,
        on_answer: impl FnMut(TopicPartition, Result<ListOffsetsPartitionResponse, Refusal>),
    ) {
        let ask = move |admin: Admin, deadline, leader, partitions| async move {
            admin.ask_leader(leader, partitions, spec, deadline).await
        };
        self.scatter_leaders(partitions.to_vec(), PARTITIONS_PER_REQUEST, ask, on_answer)
            .await;
    }

    async fn ask_leader(
        &self,
        leader: BrokerId,
        partitions: Vec<TopicPartition>,
        spec: Spec,
        deadline: Instant,
    ) -> Answers<TopicPartition, ListOffsetsPartitionResponse> {
        let request = |_version| self.list_offsets_request(&partitions, spec);
        let versions = spec.min_version..=i16::MAX;
        let response = match self.ask_in(versions, leader, deadline, request).await {
            Ok((response, _version)) => response,
            Err(refusal) => return refuse(partitions, &refusal),
        };
        let answers = response.topics.into_iter().flat_map(|topic| {
            let name = Topic::from(topic.name.as_str());
            let answers = topic.partitions.into_iter();
            answers.map(move |answer| (name.partition(answer.partition_index), answer))
        });
        let checked =
            |answer: ListOffsetsPartitionResponse| Refusal::check(answer.error_code, None).map(|()| answer);
        let picked = pick(partitions, answers).into_iter();
        picked
            .map(|(partition, answer)| (partition, answer.and_then(checked)))
            .collect()
    }

    fn list_offsets_request(&self, partitions: &[TopicPartition], spec: Spec) -> ListOffsetsRequest {
        let mut topics = BTreeMap::<_, Vec<_>>::new();
        for partition in partitions {
            let asked = ListOffsetsPartition::default()
                .with_partition_index(partition.partition.0)
                .with_current_leader_epoch(self.leader_epoch(partition))
                .with_timestamp(spec.timestamp);
            topics.entry(&partition.topic).or_default().push(asked);
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            ListOffsetsTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(partitions)
        });
        ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_isolation_level(spec.isolation_level)
            .with_topics(topics.collect())
    }
}

//! Owns a look at a log without its records: the headers of batches, and which transactions were aborted. Bounded in bytes.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use tokio::time::Instant;

use super::scatter::Answers;
use super::{ByPartition, pick, refuse, topic_name};
use crate::{Admin, BrokerId, Offset, Refusal, Topic, TopicPartition};

/// The most partitions of one request; each may have a batch that is larger than was asked for.
const PARTITIONS_PER_REQUEST: usize = 8;
/// The most bytes of one partition that may be asked for.
const MAX_BYTES_PER_PARTITION: u32 = 4 << 20;
/// The last version that names topics by their names, not by ids.
const LAST_WITH_NAMES: i16 = 12;
/// `read_committed`: only then does the answer say which transactions were aborted.
const READ_COMMITTED: i8 = 1;
/// No incremental session.
const NO_SESSION: i32 = -1;
/// The bytes of a batch's header in the format since Kafka 0.11.
const HEADER_BYTES: usize = 61;
/// What stands before the part that a batch's length counts.
const BEFORE_LENGTH_COUNTS: usize = 12;
const MAGIC_AT: usize = 16;
const MAGIC: u8 = 2;
/// The leader has given each record the time at which it was appended, which is the largest timestamp.
const IS_LOG_APPEND_TIME: i16 = 1 << 3;
const IS_TRANSACTIONAL: i16 = 1 << 4;
const IS_CONTROL: i16 = 1 << 5;
/// The cleaner has put the time when it deletes the tombstones in the place of the first timestamp.
const HAS_DELETE_HORIZON: i16 = 1 << 6;

/// A part of a partition's log, at most up to its last stable offset. It may end before, with a segment or for its size: what
/// follows the last batch is asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSection {
    /// The offset that was asked for.
    pub from: Offset,
    /// The first offset of the log, if the broker says it.
    pub log_start: Option<Offset>,
    /// Up to where transactions are decided.
    pub last_stable: Option<Offset>,
    /// The end of the log.
    pub high_watermark: Option<Offset>,
    /// The batches in it. The first may begin before the offset that was asked for.
    pub batches: Vec<BatchHeader>,
    /// The transactions with records in it that were aborted.
    pub aborted: Vec<AbortedTransaction>,
}

/// A batch of records, without the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of its first record, whether or not compaction has left it.
    pub first: Offset,
    /// The offset of its last record, likewise.
    pub last: Offset,
    /// How many records it has.
    pub records: u32,
    /// The timestamp of the first, in milliseconds since 1970, if the header says it.
    pub first_timestamp_ms: Option<i64>,
    /// The largest timestamp, if there is one.
    pub max_timestamp_ms: Option<i64>,
    /// Who wrote it, if with idempotence.
    pub producer_id: Option<i64>,
    /// Whether it belongs to a transaction.
    pub is_transactional: bool,
    /// Whether it is a marker that ends a transaction, which no reader gets.
    pub is_control: bool,
}

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Who began it.
    pub producer_id: i64,
    /// Its first record in the partition.
    pub first: Offset,
}

impl Admin {
    /// What stands in each partition from an offset on, in at most so many bytes (4 MiB at most, but one whole batch).
    pub async fn log_sections(
        &self,
        from: &[(TopicPartition, Offset)],
        max_bytes: u32,
    ) -> ByPartition<LogSection> {
        let mut all = Vec::with_capacity(from.len());
        self.log_sections_each(from, max_bytes, |partition, answer| all.push((partition, answer)))
            .await;
        all
    }

    /// As [`Self::log_sections`]; each answer is given to `on_answer` when it comes, so that a leader that hangs holds up
    /// only its own.
    pub async fn log_sections_each(
        &self,
        from: &[(TopicPartition, Offset)],
        max_bytes: u32,
        on_answer: impl FnMut(TopicPartition, Result<LogSection, Refusal>),
    ) {
        let max_bytes = i32::try_from(max_bytes.min(MAX_BYTES_PER_PARTITION)).unwrap_or(i32::MAX);
        let mut first = HashMap::new();
        for (partition, offset) in from {
            let known = first.entry(partition.clone()).or_insert(*offset);
            *known = *offset.min(known);
        }
        let partitions = first.keys().cloned().collect();
        let part = Part {
            from: Arc::new(first),
            max_bytes,
        };
        let ask = move |admin: Admin, deadline, leader, partitions| {
            let part = part.clone();
            async move { admin.sections(leader, partitions, &part, deadline).await }
        };
        self.scatter_leaders(partitions, PARTITIONS_PER_REQUEST, ask, on_answer)
            .await;
    }

    /// The sections of partitions that this broker leads. Kafka sends no batch that is larger than was asked for, but the
    /// first of an answer: a partition that has one stands alone in another request.
    async fn sections(
        &self,
        leader: BrokerId,
        partitions: Vec<TopicPartition>,
        part: &Part,
        deadline: Instant,
    ) -> Answers<TopicPartition, LogSection> {
        let is_only = partitions.len() == 1;
        let mut sections = self.fetch(leader, partitions, part, deadline).await;
        for (partition, section) in &mut sections {
            if !is_only && section.as_ref().is_ok_and(LogSection::is_held_back) {
                let alone = vec![partition.clone()];
                let answer = self.fetch(leader, alone, part, deadline).await.pop();
                *section = answer.map_or_else(
                    || Err(Refusal::missing("partition that was asked about")),
                    |(_, section)| section,
                );
            }
        }
        sections
    }

    async fn fetch(
        &self,
        leader: BrokerId,
        partitions: Vec<TopicPartition>,
        part: &Part,
        deadline: Instant,
    ) -> Answers<TopicPartition, LogSection> {
        let request = |_version| self.fetch_request(&partitions, part);
        let versions = 0..=LAST_WITH_NAMES;
        let response = match self.ask_in(versions, leader, deadline, request).await {
            Ok((response, _version)) => response,
            Err(refusal) => return refuse(partitions, &refusal),
        };
        if let Err(refusal) = Refusal::check(response.error_code, None) {
            return refuse(partitions, &refusal);
        }
        let answers = response.responses.into_iter().flat_map(|topic| {
            let name = Topic::from(topic.topic.as_str());
            let answers = topic.partitions.into_iter();
            answers.map(move |answer| (name.partition(answer.partition_index), answer))
        });
        let picked = pick(partitions, answers).into_iter();
        picked
            .map(|(partition, answer)| {
                let from = part.start_of(&partition);
                (partition, answer.and_then(|answer| section(from, &answer)))
            })
            .collect()
    }

    fn fetch_request(&self, partitions: &[TopicPartition], part: &Part) -> FetchRequest {
        let topics = partitions.iter().map(|partition| {
            let asked = FetchPartition::default()
                .with_partition(partition.partition.0)
                .with_current_leader_epoch(self.leader_epoch(partition))
                .with_fetch_offset(part.start_of(partition).get())
                .with_partition_max_bytes(part.max_bytes);
            FetchTopic::default()
                .with_topic(topic_name(&partition.topic))
                .with_partitions(vec![asked])
        });
        let topics: Vec<_> = topics.collect();
        let total = i32::try_from(topics.len())
            .unwrap_or(i32::MAX)
            .saturating_mul(part.max_bytes);
        FetchRequest::default()
            .with_max_wait_ms(0)
            .with_min_bytes(0)
            .with_max_bytes(total)
            .with_isolation_level(READ_COMMITTED)
            .with_session_epoch(NO_SESSION)
            .with_topics(topics)
    }
}

/// Which part of each log.
#[derive(Clone)]
struct Part {
    from: Arc<HashMap<TopicPartition, Offset>>,
    max_bytes: i32,
}

impl Part {
    fn start_of(&self, partition: &TopicPartition) -> Offset {
        self.from.get(partition).copied().unwrap_or_default()
    }
}

impl LogSection {
    /// Whether there is something to read, and nothing came.
    fn is_held_back(&self) -> bool {
        self.batches.is_empty() && self.last_stable > Some(self.from)
    }
}

fn section(from: Offset, answer: &PartitionData) -> Result<LogSection, Refusal> {
    Refusal::check(answer.error_code, None)?;
    if answer.preferred_read_replica.0 >= 0 {
        let replica = answer.preferred_read_replica.0;
        let reason = format!("the leader sends readers to its replica {replica}");
        return Err(Refusal::of(ResponseError::ReplicaNotAvailable, Some(&reason)));
    }
    let aborted = answer
        .aborted_transactions
        .iter()
        .flatten()
        .filter_map(|aborted| {
            Some(AbortedTransaction {
                producer_id: aborted.producer_id.0,
                first: Offset::new(aborted.first_offset)?,
            })
        });
    Ok(LogSection {
        from,
        log_start: Offset::new(answer.log_start_offset),
        last_stable: Offset::new(answer.last_stable_offset),
        high_watermark: Offset::new(answer.high_watermark),
        batches: batches(answer.records.clone().unwrap_or_default())?,
        aborted: aborted.collect(),
    })
}

/// The headers of all batches; the last may be cut behind its header.
fn batches(mut bytes: Bytes) -> Result<Vec<BatchHeader>, Refusal> {
    let mut batches = Vec::new();
    while bytes.len() > MAGIC_AT {
        if bytes[MAGIC_AT] != MAGIC {
            return Err(Refusal::of(ResponseError::UnsupportedForMessageFormat, None));
        }
        let Some(header) = bytes.get(..HEADER_BYTES) else {
            break;
        };
        let (batch, length) =
            batch(header).ok_or_else(|| Refusal::of(ResponseError::CorruptMessage, None))?;
        batches.push(batch);
        if length >= bytes.len() {
            break;
        }
        bytes.advance(length);
    }
    Ok(batches)
}

/// A batch, and how many bytes it takes. `header` has [`HEADER_BYTES`].
fn batch(mut header: &[u8]) -> Option<(BatchHeader, usize)> {
    let first = Offset::new(header.get_i64())?;
    let length = usize::try_from(header.get_i32()).ok()? + BEFORE_LENGTH_COUNTS;
    // The leader's epoch, the format, the checksum.
    header.advance(9);
    let attributes = header.get_i16();
    let last_delta = u32::try_from(header.get_i32()).ok()?;
    let (first_timestamp, max_timestamp) = (header.get_i64(), header.get_i64());
    let max_timestamp_ms = Some(max_timestamp).filter(|timestamp| *timestamp >= 0);
    let first_timestamp_ms = match attributes {
        _ if attributes & IS_LOG_APPEND_TIME != 0 => max_timestamp_ms,
        _ if attributes & HAS_DELETE_HORIZON != 0 => None,
        _ => Some(first_timestamp).filter(|timestamp| *timestamp >= 0),
    };
    let producer_id = header.get_i64();
    // The producer's epoch, the first sequence number.
    header.advance(6);
    let batch = BatchHeader {
        first,
        last: Offset::new(first.get().checked_add(i64::from(last_delta))?)?,
        records: u32::try_from(header.get_i32()).ok()?,
        first_timestamp_ms,
        max_timestamp_ms,
        producer_id: (producer_id >= 0).then_some(producer_id),
        is_transactional: attributes & IS_TRANSACTIONAL != 0,
        is_control: attributes & IS_CONTROL != 0,
    };
    (length >= HEADER_BYTES).then_some((batch, length))
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut as _, BytesMut};
    use proptest::prelude::*;

    use super::*;

    fn encoded(first: i64, last_delta: i32, attributes: i16, body: usize) -> BytesMut {
        let mut bytes = BytesMut::new();
        bytes.put_i64(first);
        bytes.put_i32(i32::try_from(HEADER_BYTES - BEFORE_LENGTH_COUNTS + body).unwrap());
        bytes.put_i32(0);
        bytes.put_u8(MAGIC);
        bytes.put_u32(0);
        bytes.put_i16(attributes);
        bytes.put_i32(last_delta);
        bytes.put_i64(1000);
        bytes.put_i64(2000);
        bytes.put_i64(7);
        bytes.put_i16(0);
        bytes.put_i32(0);
        bytes.put_i32(last_delta + 1);
        bytes.put_bytes(0, body);
        bytes
    }

    #[test]
    fn headers_are_read_and_the_last_batch_may_be_cut() {
        let mut bytes = encoded(5, 2, IS_TRANSACTIONAL, 40);
        bytes.extend_from_slice(&encoded(8, 0, IS_CONTROL | IS_TRANSACTIONAL, 10));
        let bytes = bytes.freeze();
        let whole = batches(bytes.clone()).unwrap();
        let ends: Vec<_> = whole
            .iter()
            .map(|batch| (batch.first.get(), batch.last.get()))
            .collect();
        assert_eq!(ends, [(5, 7), (8, 8)]);
        assert!(!whole[0].is_control && whole[1].is_control && whole[1].is_transactional);
        assert_eq!(
            (whole[0].records, whole[0].producer_id, whole[0].max_timestamp_ms),
            (3, Some(7), Some(2000))
        );
        for length in 0..=bytes.len() {
            let count = batches(bytes.slice(..length)).unwrap().len();
            assert_eq!(
                count,
                usize::from(length >= 61) + usize::from(length >= 101 + 61),
                "{length}"
            );
        }
    }

    #[test]
    fn a_format_that_is_too_old_is_said_to_be_so() {
        let mut bytes = encoded(0, 0, 0, 0);
        bytes[MAGIC_AT] = 1;
        let refusal = batches(bytes.freeze()).unwrap_err();
        assert_eq!(refusal.code, "UNSUPPORTED_FOR_MESSAGE_FORMAT");
    }

    #[test]
    fn the_first_timestamp_is_what_it_says_it_is() {
        let first =
            |attributes| batches(encoded(0, 0, attributes, 0).freeze()).unwrap()[0].first_timestamp_ms;
        assert_eq!(first(0), Some(1000));
        assert_eq!(first(IS_LOG_APPEND_TIME), Some(2000));
        assert_eq!(first(HAS_DELETE_HORIZON), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_batches_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(batches(Bytes::from(bytes)));
        }
    }
}

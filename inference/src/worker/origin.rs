//! Owns what is kept of a record until its result is acknowledged: what goes into the result, and when it came.

use std::fmt;

use kafka_admin::{Partition, Topic};
use kafka_io::{DeliveryError, Header, Outgoing, Record};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::config::Topics;
use crate::metrics::Metrics;
use crate::model::Entity;
use crate::record::{Fields, Processed, Unreadable, answer};
use crate::sessions::now;

/// The longest key that such an error keeps.
const MAX_KEPT_KEY_BYTES: usize = 1024;

/// Where a result comes from.
pub(super) struct Origin {
    /// The record without its value.
    record: Record,
    passed: Vec<Option<Box<RawValue>>>,
    arrived: Instant,
    answer: Kind,
}

/// What goes out for a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Result,
    DeadLetter,
    /// An error in place of what was refused.
    Replacement,
}

/// Where a record stands, for a message.
#[derive(Debug)]
pub struct Place<'o> {
    topic: &'o Topic,
    partition: Partition,
    offset: i64,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            topic,
            partition,
            offset,
        } = self;
        write!(formatter, "{topic}, partition {partition}, offset {offset}")
    }
}

impl Origin {
    pub(super) fn new(record: Record, passed: Vec<Option<Box<RawValue>>>) -> Self {
        Self {
            record,
            passed,
            arrived: Instant::now(),
            answer: Kind::Result,
        }
    }

    pub(super) fn place<'o>(&self, topic: &'o Topic) -> Place<'o> {
        Place {
            topic,
            partition: self.record.partition,
            offset: self.record.offset,
        }
    }

    /// Whether an error stands in place of what was refused already.
    pub(super) fn is_replaced(&self) -> bool {
        self.answer == Kind::Replacement
    }

    pub(super) fn has_no_key(&self) -> bool {
        self.record.key.is_none()
    }

    /// The topic that its result, or the dead letter, goes to.
    pub(super) fn destination<'t>(&self, topics: &'t Topics) -> &'t Topic {
        match (self.answer, &topics.dead_letter) {
            (Kind::DeadLetter, Some(topic)) => topic,
            _ => &topics.output,
        }
    }

    pub(super) fn partition(&self) -> Partition {
        self.record.partition
    }

    /// The result, with the record's key and headers.
    pub(super) fn result(
        &self,
        topic: &Topic,
        fields: &Fields,
        processed: Processed,
        outcome: Result<&[Entity], &str>,
    ) -> Outgoing {
        Outgoing {
            topic: topic.clone(),
            key: self.record.key.clone(),
            value: Some(answer(fields, &self.passed, processed, outcome)),
            headers: self.record.headers.clone(),
        }
    }

    /// The record as it was, with headers that say where it stood and why it is here.
    pub(super) fn dead_letter(
        &mut self,
        topic: &Topic,
        input: &Topic,
        value: Option<Vec<u8>>,
        why: Unreadable,
    ) -> Outgoing {
        self.answer = Kind::DeadLetter;
        let timestamp = self.record.timestamp_ms.map(|timestamp| timestamp.to_string());
        let added = [
            ("topic", Some(input.as_str().to_owned())),
            ("partition", Some(self.record.partition.to_string())),
            ("offset", Some(self.record.offset.to_string())),
            ("timestamp_ms", timestamp),
            ("error_class", Some(why.class().to_owned())),
            ("error_message", Some(why.to_string())),
        ];
        let mut headers = self.record.headers.clone();
        headers.extend(added.into_iter().map(|(name, value)| Header {
            name: format!("dead_letter_{name}"),
            value: value.map(String::into_bytes),
        }));
        Outgoing {
            topic: topic.clone(),
            key: self.record.key.clone(),
            value,
            headers,
        }
    }

    /// The smallest result that says what happened: without headers, and without what is passed through. It has a key, since
    /// the topic may be compacted: where the record has none, or a large one, its place.
    pub(super) fn replacement(
        &mut self,
        topic: &Topic,
        input: &Topic,
        fields: &Fields,
        why: &DeliveryError,
    ) -> Outgoing {
        self.answer = Kind::Replacement;
        let error = format!("{}: {why}", self.place(input));
        let Record {
            partition, offset, ..
        } = self.record;
        let key = self.record.key.clone();
        let key = key.filter(|key| key.len() <= MAX_KEPT_KEY_BYTES);
        Outgoing {
            topic: topic.clone(),
            key: Some(key.unwrap_or_else(|| format!("{input}-{partition}-{offset}").into_bytes())),
            value: Some(answer(fields, &[], Processed::instant(), Err(&error))),
            headers: Vec::new(),
        }
    }

    /// Its result is acknowledged.
    pub(super) fn acknowledged(&self, metrics: &Metrics) {
        metrics.results.inc();
        if self.answer == Kind::DeadLetter {
            metrics.dead_letters.inc();
        }
        metrics.duration.observe(self.arrived.elapsed().as_secs_f64());
        if let Some(timestamp) = self
            .record
            .timestamp_ms
            .and_then(|timestamp| u64::try_from(timestamp).ok())
        {
            let made = std::time::Duration::from_millis(timestamp);
            metrics.latency.observe(now().saturating_sub(made).as_secs_f64());
        }
    }
}

impl Processed {
    /// Processed now, in no time.
    pub(super) fn instant() -> Self {
        let now = now().as_secs();
        Self {
            start: now,
            end: now,
            milliseconds: 0.0,
        }
    }
}

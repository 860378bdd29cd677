//! Owns what is kept of a record until its result is acknowledged: what goes into the result, and when it came.

use kafka_io::{Header, Outgoing, Partition, Record, Topic};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::model::Entity;
use crate::record::{Fields, Processed, Unreadable, answer};
use crate::sessions::now;

/// Where a result comes from.
pub(super) struct Origin {
    /// The record without its value.
    record: Record,
    passed: Vec<Option<Box<RawValue>>>,
    arrived: Instant,
    /// Whether an error stands in for its result already.
    pub(super) replaced: bool,
}

impl Origin {
    pub(super) fn new(record: Record, passed: Vec<Option<Box<RawValue>>>) -> Self {
        Self {
            record,
            passed,
            arrived: Instant::now(),
            replaced: false,
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
        &self,
        topic: &Topic,
        input: &Topic,
        value: Option<Vec<u8>>,
        why: Unreadable,
    ) -> Outgoing {
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

    /// Its result is acknowledged.
    pub(super) fn observe(&self, metrics: &Metrics) {
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

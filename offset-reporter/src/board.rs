//! Owns what is known of each stream at the moment, and shows it as metrics when they are read: what is gone, a stream's
//! partition that its checkpoint no longer has, is gone from the page too, and ages are those of that moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};
use tokio::time::Instant;

/// What is known of a stream. What is not known is absent, and so is its metric.
#[derive(Debug, Clone, Default)]
pub struct StreamState {
    /// Whether the last cycle, and the last question where partitions end, did all that they should.
    pub up: bool,
    /// The newest committed batch.
    pub batch: Option<i64>,
    /// When it was committed, by the store's clock.
    pub committed_at: Option<SystemTime>,
    /// When it was made, by Spark's clock, in milliseconds since 1970.
    pub batch_timestamp_ms: Option<i64>,
    /// Whether a batch was planned and not committed.
    pub open_batch: bool,
    /// Whether the checkpoint says that the query has ended for good.
    pub ended: bool,
    /// Whether records wait while no batch is committed.
    pub waiting: Waiting,
    /// Sources of the query that are not Kafka's.
    pub other_sources: usize,
    /// When a cycle succeeded last.
    pub succeeded_at: Option<SystemTime>,
    /// Partitions that the group has and the checkpoint lacks.
    pub stale_partitions: usize,
    /// Until when what follows may be shown: a stream that hangs shows nothing old.
    pub valid_until: Option<Instant>,
    /// By group, topic and partition.
    pub partitions: BTreeMap<(String, String, i32), PartitionState>,
}

/// Whether records wait while no batch is committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Waiting {
    /// Nobody knows: the lag of a partition is not known, and no other has any.
    #[default]
    Unknown,
    /// None waits.
    Nothing,
    /// Records do, since then.
    Since(Instant),
}

/// What is known of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// The next record to process.
    pub processed: i64,
    /// The first record that is still there.
    pub beginning: Option<i64>,
    /// The next record to be written; none if the cluster has no such partition.
    pub end: Option<i64>,
}

/// Where a processed offset is that lies outside of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutOfRange {
    /// Retention removed what comes next: those records are lost to the query.
    BeforeBeginning,
    /// The topic began anew with fewer records.
    BeyondEnd,
}

impl PartitionState {
    /// How many records wait. Unknown where the end is, or where the offset is not in this log.
    pub fn lag(&self) -> Option<i64> {
        let lag = self.end? - self.processed;
        (lag >= 0).then_some(lag)
    }

    fn out_of_range(&self) -> Option<OutOfRange> {
        if self.end.is_some_and(|end| self.processed > end) {
            return Some(OutOfRange::BeyondEnd);
        }
        let before = self.beginning.is_some_and(|beginning| self.processed < beginning);
        before.then_some(OutOfRange::BeforeBeginning)
    }
}

/// The states of all streams, by name. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<BTreeMap<String, StreamState>>>);

impl Board {
    /// Changes what is known of a stream.
    pub fn change(&self, stream: &str, change: impl FnOnce(&mut StreamState)) {
        let mut streams = self.lock();
        if let Some(state) = streams.get_mut(stream) {
            change(state);
        } else {
            change(streams.entry(stream.to_owned()).or_default());
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, StreamState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Board {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let streams = self.lock();
        let mut page = Page::default();
        for (name, state) in streams.iter() {
            of_stream(&mut page, name, state);
            if state.valid_until.is_some_and(|until| Instant::now() >= until) {
                continue;
            }
            of_partitions_together(&mut page, name, state);
            for ((group, topic, partition), state) in &state.partitions {
                let partition = partition.to_string();
                let labels = [
                    ("group", group.as_str()),
                    ("partition", &partition),
                    ("stream", name),
                    ("topic", topic),
                ];
                of_partition(&mut page, &labels, state);
            }
        }
        page.0.into_values().collect()
    }
}

fn of_stream(page: &mut Page, name: &str, state: &StreamState) {
    let label = [("stream", name)];
    let mut tell = |name, help, value| page.tell(name, help, &label, value);
    tell(
        "stream_up",
        "1 if the last cycle, and the last question where partitions end, did all that they should",
        Some(f64::from(u8::from(state.up))),
    );
    tell(
        "last_batch_id",
        "The newest committed batch",
        state.batch.map(number),
    );
    tell(
        "last_commit_timestamp_seconds",
        "When the query committed it, by the store's clock",
        state.committed_at.map(seconds),
    );
    tell(
        "checkpoint_age_seconds",
        "How long ago that was",
        state
            .committed_at
            .map(|at| at.elapsed().unwrap_or_default().as_secs_f64()),
    );
    tell(
        "batch_timestamp_seconds",
        "When the query made that batch, by Spark's clock",
        state.batch_timestamp_ms.map(|ms| number(ms) / 1000.0),
    );
    tell(
        "offsets_without_commit",
        "1 if a batch is planned and not committed: it is in flight, or fails",
        Some(f64::from(u8::from(state.open_batch))),
    );
    tell(
        "other_sources",
        "Sources of the query that are not Kafka's",
        Some(count(state.other_sources)),
    );
    tell(
        "stream_last_success_timestamp_seconds",
        "When a cycle succeeded last",
        state.succeeded_at.map(seconds),
    );
    tell(
        "stale_partitions",
        "Partitions that the group has and the checkpoint lacks",
        Some(count(state.stale_partitions)),
    );
    tell(
        "ended",
        "1 if the checkpoint says that the query has ended for good",
        Some(f64::from(u8::from(state.ended))),
    );
}

fn of_partitions_together(page: &mut Page, name: &str, state: &StreamState) {
    let label = [("stream", name)];
    let partitions = || state.partitions.values();
    let unknown = partitions().filter(|partition| partition.end.is_none()).count();
    page.tell(
        "unknown_partitions",
        "Partitions that the cluster does not have; they are not committed",
        &label,
        Some(count(unknown)),
    );
    page.tell(
        "stalled_seconds",
        "How long records have waited without any batch that was committed; 0 if none wait",
        &label,
        match state.waiting {
            Waiting::Unknown => None,
            Waiting::Since(since) if !state.ended => Some(since.elapsed().as_secs_f64()),
            Waiting::Since(_) | Waiting::Nothing => Some(0.0),
        },
    );
    for (kind, which) in [
        ("before_beginning", OutOfRange::BeforeBeginning),
        ("beyond_end", OutOfRange::BeyondEnd),
    ] {
        let out = partitions()
            .filter(|partition| partition.out_of_range() == Some(which))
            .count();
        page.tell(
            "out_of_range",
            "Partitions whose processed offset lies outside of the log",
            &[("kind", kind), ("stream", name)],
            Some(count(out)),
        );
    }
}

fn of_partition(page: &mut Page, labels: &[(&str, &str)], state: &PartitionState) {
    page.tell(
        "processed_offset",
        "The next record that the query will process",
        labels,
        Some(number(state.processed)),
    );
    page.tell(
        "log_end_offset",
        "The next record that will be written",
        labels,
        state.end.map(number),
    );
    page.tell(
        "lag",
        "Records that wait to be processed; absent where it is not known",
        labels,
        state.lag().map(number),
    );
}

/// Families by name.
#[derive(Default)]
struct Page(BTreeMap<&'static str, MetricFamily>);

impl Page {
    /// Adds a value to a family of gauges, unless there is none.
    fn tell(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: Option<f64>) {
        let Some(value) = value else { return };
        let family = self.0.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(format!("offset_reporter_{name}"));
            family.set_help(help.to_owned());
            family.set_field_type(MetricType::GAUGE);
            family
        });
        let pair = |(name, value): &(&str, &str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let mut metric = Metric::default();
        metric.set_label(labels.iter().map(pair).collect());
        let mut gauge = prometheus::proto::Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
        family.mut_metric().push(metric);
    }
}

/// Seconds since 1970.
fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn number(number: i64) -> f64 {
    number as f64
}

fn count(things: usize) -> f64 {
    number(i64::try_from(things).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(processed: i64, beginning: i64, end: i64) -> PartitionState {
        PartitionState {
            processed,
            beginning: Some(beginning),
            end: Some(end),
        }
    }

    #[test]
    fn a_lag_outside_of_the_log_is_unknown_and_not_zero() {
        assert_eq!(state(5, 0, 9).lag(), Some(4));
        assert_eq!(state(5, 0, 3).lag(), None);
        assert_eq!(state(5, 0, 3).out_of_range(), Some(OutOfRange::BeyondEnd));
        assert_eq!(state(5, 7, 9).out_of_range(), Some(OutOfRange::BeforeBeginning));
        assert_eq!(
            PartitionState {
                end: None,
                ..state(5, 0, 9)
            }
            .lag(),
            None
        );
    }

    #[test]
    fn what_is_not_known_is_not_shown_and_what_vanished_vanishes() {
        let board = Board::default();
        let names = |board: &Board| -> Vec<String> {
            board
                .collect()
                .iter()
                .map(|family| family.name().to_owned())
                .collect()
        };
        board.change("a", |state| {
            state
                .partitions
                .insert(("g".into(), "t".into(), 0), PartitionState::default());
        });
        assert!(names(&board).contains(&"offset_reporter_processed_offset".to_owned()));
        assert!(!names(&board).contains(&"offset_reporter_lag".to_owned()));
        assert!(!names(&board).contains(&"offset_reporter_last_batch_id".to_owned()));
        board.change("a", |state| state.valid_until = Some(Instant::now()));
        assert!(
            !names(&board).contains(&"offset_reporter_processed_offset".to_owned()),
            "it is too old"
        );
        board.change("a", |state| {
            state.valid_until = None;
            state.partitions.clear();
        });
        assert!(!names(&board).contains(&"offset_reporter_processed_offset".to_owned()));
    }
}

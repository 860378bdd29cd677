//! Owns every metric that the worker reports about itself.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_admin::{Partition, Topic};
use prometheus::{
    CounterVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, exponential_buckets,
};
use sidecar::Registrar;
use tokio::time::Instant;

use crate::model::{Entity, Spent};
use crate::progress::CommitFailure;
use crate::sessions::now;
use crate::spacy::Manifest;
use crate::worker::Place;

/// How often failed records of one class are logged.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What a rebalance did with partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebalance {
    /// They are read here now.
    Assigned,
    /// They are being taken away, in good order.
    Revoked,
    /// They are others' already.
    Lost,
}

/// The metrics of a worker.
#[derive(Clone)]
pub struct Metrics {
    /// Records read.
    pub records: IntCounter,
    /// Results acknowledged.
    pub results: IntCounter,
    /// Records that became no entities, by class.
    pub failures: IntCounterVec,
    /// Records put on the dead-letter topic.
    pub dead_letters: IntCounter,
    /// Entities found, by category.
    pub entities: IntCounterVec,
    /// From a record's timestamp to the acknowledgement of its result.
    pub latency: Histogram,
    /// From reading a record to the acknowledgement of its result.
    pub duration: Histogram,
    /// What the model took for a slice.
    model: Histogram,
    stages: CounterVec,
    /// How many texts a slice had.
    pub slice_rows: Histogram,
    /// Records in hand.
    pub in_flight_rows: IntGauge,
    /// Bytes of records in hand.
    pub in_flight_bytes: IntGauge,
    /// Partitions that are read.
    pub partitions: IntGauge,
    /// 1 while reading is paused.
    pub paused: IntGauge,
    /// Times that partitions were given or taken.
    pub rebalances: IntCounterVec,
    /// Commits of progress, by outcome.
    pub commits: IntCounterVec,
    /// Records that were gone from the topic before they were read.
    pub expired: IntCounter,
    /// The batch of the checkpoint that was committed last.
    pub batch: IntGauge,
    /// When progress was committed last.
    pub last_success: IntGauge,
    /// Partitions whose log began again.
    pub resets: IntCounter,
    /// Errors that Kafka's client reported outside of any call.
    pub kafka_errors: IntCounter,
    model_info: IntGaugeVec,
    failure_log: Arc<Mutex<HashMap<&'static str, FailureLog>>>,
}

/// When a class of failures was logged last, and how many were not since.
struct FailureLog {
    last: Instant,
    suppressed: u64,
}

impl Metrics {
    /// The metrics, registered.
    ///
    /// # Errors
    /// Where one of that name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let registrar = Registrar::new(registry, "inference");
        Ok(Self {
            records: registrar.counter("records_total", "Records read")?,
            results: registrar.counter("results_total", "Results acknowledged")?,
            failures: registrar.counters(
                "failures_total",
                "Records that became no entities, by class",
                &["class"],
            )?,
            dead_letters: registrar.counter("dead_letters_total", "Records put on the dead-letter topic")?,
            entities: registrar.counters("entities_total", "Entities found, by category", &["category"])?,
            latency: registrar.seconds(
                "end_to_end_seconds",
                "From a record's timestamp to its acknowledged result",
            )?,
            duration: registrar.seconds(
                "record_duration_seconds",
                "From reading a record to its acknowledged result",
            )?,
            model: registrar.seconds("model_duration_seconds", "What the model took for a slice")?,
            stages: registrar.float_counters(
                "model_stage_seconds_total",
                "Where the model's time went: tokenize, embed, network, decode",
                &["stage"],
            )?,
            slice_rows: registrar.histogram(
                "slice_rows",
                "Texts per slice",
                exponential_buckets(1.0, 2.0, 9)?,
            )?,
            in_flight_rows: registrar.gauge("in_flight_rows", "Records in hand")?,
            in_flight_bytes: registrar.gauge("in_flight_bytes", "Bytes of the records in hand")?,
            partitions: registrar.gauge("partitions", "Partitions that are read")?,
            paused: registrar.gauge("paused", "1 while reading is paused because enough is in hand")?,
            rebalances: registrar.counters(
                "rebalances_total",
                "Times partitions were given or taken",
                &["kind"],
            )?,
            commits: registrar.counters("commits_total", "Commits of progress", &["outcome"])?,
            expired: registrar.counter(
                "expired_records_total",
                "Records that retention removed before they were read",
            )?,
            batch: registrar.gauge("checkpoint_batch_id", "The batch committed last")?,
            last_success: registrar.gauge(
                "last_success_timestamp_seconds",
                "When progress was committed last",
            )?,
            resets: registrar.counter(
                "partition_resets_total",
                "Partitions whose log began again: the topic was deleted and created again, or truncated",
            )?,
            kafka_errors: registrar.counter(
                "kafka_errors_total",
                "Errors that the Kafka client reported outside of any call",
            )?,
            model_info: registrar.gauges("model_info", "The model in use", &["name", "version", "sha256"])?,
            failure_log: Arc::default(),
        })
    }

    /// A slice was computed.
    pub fn model_took(&self, took: Duration, spent: Spent) {
        self.model.observe(took.as_secs_f64());
        let Spent {
            tokenize,
            embed,
            network,
            ..
        } = spent;
        let decode = took.saturating_sub(tokenize + embed + network);
        let stages = [
            ("tokenize", tokenize),
            ("embed", embed),
            ("network", network),
            ("decode", decode),
        ];
        for (stage, time) in stages {
            self.stages.with_label_values(&[stage]).inc_by(time.as_secs_f64());
        }
    }

    /// Entities were found.
    pub fn found(&self, entities: &[Entity]) {
        for entity in entities {
            self.entities.with_label_values(&[&*entity.label]).inc();
        }
    }

    /// A record failed. Of each class one is logged every so often.
    pub fn failed(&self, class: &'static str, place: &Place<'_>) {
        self.failures.with_label_values(&[class]).inc();
        let mut logs = self.failure_log.lock().unwrap_or_else(PoisonError::into_inner);
        let suppressed = match logs.get_mut(class) {
            Some(log) if log.last.elapsed() < FAILURE_LOG_INTERVAL => {
                log.suppressed += 1;
                return;
            }
            Some(log) => log.suppressed,
            None => 0,
        };
        let last = Instant::now();
        logs.insert(class, FailureLog { last, suppressed: 0 });
        tracing::warn!(class, record = %place, suppressed, "a record failed");
    }

    /// Partitions were assigned or taken away.
    pub fn rebalanced(&self, what: Rebalance, partitions: &[Partition]) {
        let kind = match what {
            Rebalance::Assigned => "assigned",
            Rebalance::Revoked => "revoked",
            Rebalance::Lost => "lost",
        };
        self.rebalances.with_label_values(&[kind]).inc();
        let partitions: Vec<i32> = partitions.iter().map(|partition| partition.0).collect();
        if what == Rebalance::Lost {
            tracing::warn!(
                ?partitions,
                "partitions were lost; others process their records again"
            );
        } else {
            tracing::info!(?partitions, kind, "rebalanced");
        }
    }

    /// A commit is through.
    pub fn committed(&self, outcome: &Result<Option<i64>, CommitFailure>) {
        let name = if outcome.is_ok() { "success" } else { "failure" };
        self.commits.with_label_values(&[name]).inc();
        if let Ok(batch) = outcome {
            self.last_success.set(now().as_secs().cast_signed());
            if let Some(batch) = batch {
                self.batch.set(*batch);
            }
        }
    }

    /// Retention removed records before they were read.
    pub fn expired(&self, topic: &Topic, partition: Partition, offsets: Range<i64>) {
        let lost = u64::try_from(offsets.end - offsets.start).unwrap_or_default();
        self.expired.inc_by(lost);
        tracing::warn!(%topic, %partition, from = offsets.start, to = offsets.end, lost, "records expired before they were read");
    }

    /// Logs what was done.
    pub fn log_summary(&self) {
        let failures = prometheus::core::Collector::collect(&self.failures);
        let failures: Vec<String> = failures
            .iter()
            .flat_map(prometheus::proto::MetricFamily::get_metric)
            .map(|metric| {
                let class = metric.get_label().first().map_or("", |label| label.value());
                format!("{class}={}", metric.get_counter().get_value())
            })
            .collect();
        tracing::info!(
            records = self.records.get(),
            results = self.results.get(),
            dead_letters = self.dead_letters.get(),
            failures = failures.join(" "),
            "summary"
        );
    }

    /// The model in use.
    pub fn set_model(&self, manifest: &Manifest) {
        let labels = [manifest.name.as_str(), &manifest.version, &manifest.source.sha256];
        self.model_info.with_label_values(&labels).set(1);
    }
}

/// A count as a gauge has it.
pub fn count(things: usize) -> i64 {
    i64::try_from(things).unwrap_or(i64::MAX)
}

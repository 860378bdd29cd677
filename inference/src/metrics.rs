//! Owns every metric that the worker reports about itself.

use std::time::Duration;

use prometheus::{
    CounterVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, exponential_buckets,
};
use sidecar::Registrar;

use crate::model::Spent;
use crate::spacy::Manifest;

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
    /// Records of the batch that was planned and not committed when the worker started.
    pub replayed: IntCounter,
    /// Records that were gone from the topic before they were read.
    pub expired: IntCounter,
    /// The batch of the checkpoint that was committed last.
    pub batch: IntGauge,
    /// When progress was committed last.
    pub last_success: IntGauge,
    /// What trouble Kafka told.
    pub kafka_errors: IntCounter,
    model_info: IntGaugeVec,
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
            replayed: registrar.counter(
                "replayed_records_total",
                "Records of a batch that was begun before a restart",
            )?,
            expired: registrar.counter(
                "expired_records_total",
                "Records that retention removed before they were read, found at the start",
            )?,
            batch: registrar.gauge("checkpoint_batch_id", "The batch committed last")?,
            last_success: registrar.gauge(
                "last_success_timestamp_seconds",
                "When progress was committed last",
            )?,
            kafka_errors: registrar
                .counter("kafka_errors_total", "Errors that Kafka told outside of any call")?,
            model_info: registrar.gauges("model_info", "The model in use", &["name", "version", "sha256"])?,
        })
    }

    /// Tells what the model took for a slice, and where that went.
    pub fn tell_model_time(&self, took: Duration, spent: Spent) {
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

    /// Tells which model is in use.
    pub fn tell_model(&self, manifest: &Manifest) {
        let labels = [manifest.name.as_str(), &manifest.version, &manifest.source.sha256];
        self.model_info.with_label_values(&labels).set(1);
    }
}

/// A count as a gauge has it.
pub fn count(things: usize) -> i64 {
    i64::try_from(things).unwrap_or(i64::MAX)
}

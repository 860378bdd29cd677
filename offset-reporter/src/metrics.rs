//! Owns every metric that the reporter counts; the state of the streams is the [`Board`]'s.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use checkpoint::{Observer, S3Request};
use kafka_admin::Refusal;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Registry};
use sidecar::Registrar;

use crate::board::Board;
use crate::stream::StreamError;

/// The metrics of a reporter. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The state of the streams.
    pub board: Board,
    cycles: IntCounter,
    failures: IntCounterVec,
    duration: Histogram,
    last_success: IntGauge,
    commits: IntCounterVec,
    commit_errors: IntCounterVec,
    log_end_failures: IntCounterVec,
    rewinds: IntCounterVec,
    holds: IntCounterVec,
    delay: Histogram,
    storage_requests: IntCounterVec,
}

impl Metrics {
    /// The metrics, registered.
    ///
    /// # Errors
    /// Where one of that name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let board = Board::default();
        registry.register(Box::new(board.clone()))?;
        let make = Registrar::new(registry, "offset_reporter");
        Ok(Self {
            board,
            cycles: make.counter("cycles_total", "Looks at a checkpoint, and what followed")?,
            failures: make.counters(
                "failures_total",
                "Cycles, and questions where partitions end, that failed, by reason",
                &["stream", "reason"],
            )?,
            duration: make.seconds("cycle_duration_seconds", "What a cycle took")?,
            last_success: make.gauge(
                "last_success_timestamp_seconds",
                "When a cycle of any stream succeeded last",
            )?,
            commits: make.counters(
                "commits_total",
                "Commits to Kafka that were read back",
                &["stream"],
            )?,
            commit_errors: make.counters(
                "kafka_commit_errors_total",
                "Partitions, or groups, that a commit was refused for, by Kafka's code",
                &["stream", "code"],
            )?,
            log_end_failures: make.counters(
                "log_end_failures_total",
                "Partitions whose end was asked for in vain, by Kafka's code",
                &["stream", "reason"],
            )?,
            rewinds: make.counters(
                "rewinds_total",
                "Steps back that were reported, by reason",
                &["stream", "reason"],
            )?,
            holds: make.counters(
                "holds_total",
                "Cycles in which something was held back, by reason",
                &["stream", "reason"],
            )?,
            delay: make.seconds(
                "commit_delay_seconds",
                "From a commit in the checkpoint to the commit in Kafka",
            )?,
            storage_requests: make.counters(
                "storage_requests_total",
                "Requests to S3, by operation and HTTP status",
                &["op", "code"],
            )?,
        })
    }

    /// A turn of a stream ended.
    pub fn turned(&self, stream: &str, result: &Result<(), StreamError>, took: Duration) {
        self.cycles.inc();
        self.duration.observe(took.as_secs_f64());
        if let Err(error) = result {
            self.failed(stream, error);
        }
    }

    /// A stream failed.
    pub fn failed(&self, stream: &str, error: &StreamError) {
        self.failures.with_label_values(&[stream, error.name()]).inc();
    }

    /// A stream did all that it should.
    pub fn succeeded(&self, now: SystemTime) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_success
            .set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    }

    /// Something was committed and read back; with it, all that was due of a batch that its checkpoint had at this time.
    pub fn committed(&self, stream: &str, in_checkpoint: Option<SystemTime>) {
        self.commits.with_label_values(&[stream]).inc();
        if let Some(delay) = in_checkpoint.and_then(|at| SystemTime::now().duration_since(at).ok()) {
            self.delay.observe(delay.as_secs_f64());
        }
    }

    /// A commit was refused, as a whole or of a partition.
    pub fn refused_commit(&self, stream: &str, refusal: &Refusal) {
        self.commit_errors
            .with_label_values(&[stream, &refusal.code])
            .inc();
    }

    /// Where a partition ends was asked in vain.
    pub fn refused_end(&self, stream: &str, refusal: &Refusal) {
        self.log_end_failures
            .with_label_values(&[stream, &refusal.code])
            .inc();
    }

    /// Partitions of a group went back.
    pub fn went_back(&self, stream: &str, reason: &str) {
        self.rewinds.with_label_values(&[stream, reason]).inc();
    }

    /// Something was not reported.
    pub fn held(&self, stream: &str, reason: &str) {
        self.holds.with_label_values(&[stream, reason]).inc();
    }

    /// Who counts the requests to S3.
    pub fn storage_observer(&self) -> Observer {
        let requests = self.storage_requests.clone();
        Arc::new(move |S3Request { operation, code }| {
            requests.with_label_values(&[operation, &code]).inc();
        })
    }
}

//! Owns every metric that the reporter counts; the state of the streams is the [`Board`]'s.

use std::sync::Arc;

use checkpoint::{Observer, S3Request};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Registry};
use sidecar::Registrar;

use crate::board::Board;

/// The metrics of a reporter. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The state of the streams.
    pub board: Board,
    /// Looks at a checkpoint and what followed.
    pub cycles: IntCounter,
    /// Cycles that failed, by stream and reason.
    pub failures: IntCounterVec,
    /// What a cycle took.
    pub duration: Histogram,
    /// When a cycle of any stream succeeded last.
    pub last_success: IntGauge,
    /// Commits to a group that were read back, by stream.
    pub commits: IntCounterVec,
    /// What a group's partitions refused, by stream and Kafka's code.
    pub commit_errors: IntCounterVec,
    /// Steps back that were reported, by stream and reason.
    pub rewinds: IntCounterVec,
    /// Cycles in which something was not reported, by stream and reason.
    pub holds: IntCounterVec,
    /// From the commit of a batch in the checkpoint to its commit in Kafka.
    pub delay: Histogram,
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
                "Cycles that failed, by reason",
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

    /// Who counts the requests to S3.
    pub fn storage_observer(&self) -> Observer {
        let requests = self.storage_requests.clone();
        Arc::new(move |S3Request { operation, code }| {
            requests.with_label_values(&[operation, &code]).inc();
        })
    }
}

//! Owns every metric that the exporter reports about itself on its admin port.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};
use sidecar::Registrar;

/// The metrics of an exporter.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Cycles done.
    pub cycles: IntCounter,
    /// Cycles that did not take place since one before took too long.
    pub skipped: IntCounter,
    /// Pushes of a target that reached the sink.
    pub pushes: IntCounter,
    /// What failed, and how.
    pub failures: IntCounterVec,
    /// From the begin of a cycle to its end.
    pub cycle: Histogram,
    /// What a scrape took.
    pub scrape: Histogram,
    /// What the pushes of a cycle took.
    pub push: Histogram,
    /// When the pushes of all targets reached the sink last.
    pub last_success: IntGauge,
    /// Bytes sent to the sink.
    pub pushed_bytes: IntCounter,
    /// 1 if the last scrape of a target gave a page.
    pub up: IntGaugeVec,
    /// 1 if the sink refuses a target.
    pub refused: IntGaugeVec,
    /// Samples of a target that are pushed.
    pub samples: IntGaugeVec,
    /// Samples that are dropped.
    pub dropped: IntCounterVec,
    /// Samples that were repaired.
    pub repaired: IntCounterVec,
}

impl Metrics {
    /// The metrics, registered.
    ///
    /// # Errors
    /// Where one of that name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let registrar = Registrar::new(registry, "pushgateway_exporter");
        Ok(Self {
            cycles: registrar.counter("cycles_total", "Cycles done")?,
            skipped: registrar.counter(
                "cycles_skipped_total",
                "Cycles that were left out since one before took too long",
            )?,
            pushes: registrar.counter("pushes_total", "Pushes of a target that reached the sink")?,
            failures: registrar.counters(
                "failures_total",
                "What failed: stage scrape or push, and the class of failure",
                &["stage", "class"],
            )?,
            cycle: registrar.seconds("cycle_duration_seconds", "What a cycle took")?,
            scrape: registrar.seconds("scrape_duration_seconds", "What the scrape of a target took")?,
            push: registrar.seconds("push_duration_seconds", "What the pushes of a cycle took")?,
            last_success: registrar.gauge(
                "last_success_timestamp_seconds",
                "When the pushes of all targets of a cycle reached the sink last",
            )?,
            pushed_bytes: registrar.counter("pushed_bytes_total", "Bytes of bodies sent to the sink")?,
            up: registrar.gauges(
                "target_up",
                "1 if the last scrape of the target gave a page",
                &["target"],
            )?,
            refused: registrar.gauges(
                "target_refused",
                "1 if the sink refuses the target's samples",
                &["target"],
            )?,
            samples: registrar.gauges(
                "target_samples",
                "Samples of the target that are pushed",
                &["target"],
            )?,
            dropped: registrar.counters(
                "target_dropped_samples_total",
                "Samples of the target that were dropped, by reason",
                &["target", "reason"],
            )?,
            repaired: registrar.counters(
                "target_repaired_samples_total",
                "Samples of the target that were repaired",
                &["target"],
            )?,
        })
    }
}

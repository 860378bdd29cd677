//! Owns what the loop reports about itself: readiness, the heartbeat, metrics, and a line in the log for each change.

use std::time::Duration;

use sidecar::{Condition, Heartbeat, Readiness};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::exposition::{Dropped, Reason};
use crate::metrics::Metrics;
use crate::push::{PushError, Pushed};
use crate::scrape::NoPage;
use crate::status::Status;

/// How often the heart beats while the loop waits: well within what a frame takes for dead.
const BEAT: Duration = Duration::from_secs(20);

/// Where the loop reports what it does.
#[derive(Debug)]
pub struct Telemetry {
    pub(super) metrics: Metrics,
    pub(super) heartbeat: Heartbeat,
    push: Condition,
    targets: Vec<Target>,
}

/// What was reported of a target.
#[derive(Debug)]
struct Target {
    condition: Condition,
    /// Why its last scrape, and its last push, failed.
    scrape_failure: Option<String>,
    push_failure: Option<String>,
    is_refused: bool,
    dropped: Dropped,
    repaired: usize,
    /// Why samples are dropped that people will miss, as it was logged last.
    lost: Vec<Reason>,
}

impl Telemetry {
    /// For targets of these names.
    pub fn new<'n>(
        metrics: Metrics,
        heartbeat: Heartbeat,
        readiness: &Readiness,
        names: impl Iterator<Item = &'n str>,
    ) -> Self {
        let target = |name: &str| Target {
            condition: readiness.condition(&format!("target {name}")),
            scrape_failure: None,
            push_failure: None,
            is_refused: false,
            dropped: Dropped::default(),
            repaired: 0,
            lost: Vec::new(),
        };
        Self {
            metrics,
            heartbeat,
            push: readiness.condition("push"),
            targets: names.map(target).collect(),
        }
    }

    /// The loop waits between cycles; `None` if `stop` ended that. The heart beats from within: there is no other timer.
    pub(super) async fn rest(&self, wait: Duration, stop: &CancellationToken) -> Option<()> {
        let until = Instant::now() + wait;
        while Instant::now() < until {
            self.heartbeat.beat();
            let next = until.min(Instant::now() + BEAT);
            stop.run_until_cancelled(sleep_until(next)).await?;
        }
        Some(())
    }

    /// A target gave no page.
    pub(super) fn no_page(&mut self, target: usize, error: &NoPage) {
        let labels = ["scrape", error.class()];
        self.metrics.failures.with_label_values(&labels).inc();
        self.targets[target].scrape_failure = Some(error.to_string());
    }

    /// A target gave a page.
    pub(super) fn page(&mut self, target: usize, status: &Status) {
        let target = &mut self.targets[target];
        target.scrape_failure = None;
        target.log_lost(status);
    }

    /// How the push of a target went.
    pub(super) fn pushed(&mut self, target: usize, name: &str, pushed: &Result<Pushed, PushError>) {
        self.targets[target].push_failure = pushed.as_ref().err().map(ToString::to_string);
        match pushed {
            Ok(pushed) => {
                self.metrics.pushes.inc();
                self.targets[target].record_refusal(&self.metrics, name, pushed);
            }
            Err(error) => {
                let labels = ["push", error.class()];
                self.metrics.failures.with_label_values(&labels).inc();
            }
        }
    }

    /// A cycle is over; `trouble` is what is wrong with the sink.
    pub(super) fn cycle(&mut self, statuses: &[Status], trouble: Option<&str>, took: Duration) {
        for (target, status) in self.targets.iter_mut().zip(statuses) {
            target.show(&self.metrics, status);
        }
        match trouble {
            Some(trouble) => self.push.unmet(trouble),
            None => self.push.met(),
        }
        if trouble.is_none() && self.targets.iter().all(|target| target.push_failure.is_none()) {
            self.metrics.last_success.set(clock::seconds());
        }
        self.metrics.cycle.observe(took.as_secs_f64());
        self.metrics.cycles.inc();
    }
}

impl Target {
    fn record_refusal(&mut self, metrics: &Metrics, name: &str, pushed: &Pushed) {
        let refusal = match pushed {
            Pushed::Whole => None,
            Pushed::WithoutSamples(why) => Some(why),
        };
        if let Some(why) = refusal.filter(|_| !self.is_refused) {
            tracing::warn!(target_name = name, why, "the sink refuses the target's samples");
            let labels = ["push", "target_refused"];
            metrics.failures.with_label_values(&labels).inc();
        }
        self.is_refused = refusal.is_some();
    }

    /// Logs why samples are dropped that people will miss, when that changes.
    fn log_lost(&mut self, status: &Status) {
        let dropped = &status.dropped_last;
        let reasons = [
            (
                Reason::OverLimit,
                "samples are dropped: the page has more than shape.max_series; raise it, or deny what is not needed",
            ),
            (
                Reason::Collision,
                "samples are dropped: other series have the same names and labels",
            ),
            (
                Reason::Duplicate,
                "samples are dropped: the page has their series more than once, as when names of streaming queries \
                 differ only in characters that Spark replaces by _",
            ),
        ];
        let lost = reasons.into_iter().filter(|(reason, _)| dropped.get(*reason) > 0);
        let before = std::mem::replace(&mut self.lost, lost.clone().map(|(reason, _)| reason).collect());
        for (reason, what) in lost.filter(|(reason, _)| !before.contains(reason)) {
            let names: Vec<&str> = dropped.names(reason).collect();
            tracing::warn!(
                target_name = status.name,
                reason = reason.as_str(),
                dropped = dropped.get(reason),
                first_names = names.join(", "),
                "{what}"
            );
        }
    }

    fn show(&mut self, metrics: &Metrics, status: &Status) {
        let name = [status.name.as_str()];
        let samples = if self.is_refused {
            0
        } else {
            status.samples().len()
        };
        metrics.up.with_label_values(&name).set(i64::from(status.is_up));
        metrics
            .refused
            .with_label_values(&name)
            .set(i64::from(self.is_refused));
        metrics
            .samples
            .with_label_values(&name)
            .set(i64::try_from(samples).unwrap_or(i64::MAX));
        for (reason, dropped) in status.dropped.iter() {
            let more = dropped - self.dropped.get(reason);
            self.dropped.add(reason, more);
            let labels = [status.name.as_str(), reason.as_str()];
            metrics.dropped.with_label_values(&labels).inc_by(more as u64);
        }
        let repaired = status.repaired - std::mem::replace(&mut self.repaired, status.repaired);
        metrics.repaired.with_label_values(&name).inc_by(repaired as u64);
        match self.scrape_failure.as_ref().or(self.push_failure.as_ref()) {
            Some(failure) => self.condition.unmet(failure.clone()),
            None if self.is_refused => self.condition.unmet("the sink refuses its samples"),
            None => self.condition.met(),
        }
    }
}

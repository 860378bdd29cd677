//! Owns what the loop tells about itself: readiness, the heartbeat, metrics, and a line in the log for each change.

use std::collections::BTreeMap;
use std::time::Duration;

use sidecar::{Condition, Heartbeat, Readiness};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::metrics::Metrics;
use crate::push::{PushError, Refusals};
use crate::scrape::NoPage;
use crate::status::Status;

/// How often the heart beats while the loop waits: well within what a frame takes for dead.
const BEAT: Duration = Duration::from_secs(20);

/// Where the loop tells what it does.
#[derive(Debug)]
pub struct Told {
    pub(super) metrics: Metrics,
    pub(super) heartbeat: Heartbeat,
    push: Condition,
    targets: Vec<Target>,
}

/// What was told of a target.
#[derive(Debug)]
struct Target {
    condition: Condition,
    failure: Option<String>,
    is_refused: bool,
    dropped: BTreeMap<&'static str, usize>,
    repaired: usize,
}

impl Told {
    /// For targets of these names.
    pub fn new<'n>(
        metrics: Metrics,
        heartbeat: Heartbeat,
        readiness: &Readiness,
        names: impl Iterator<Item = &'n str>,
    ) -> Self {
        let target = |name: &str| Target {
            condition: readiness.condition(&format!("target {name}")),
            failure: None,
            is_refused: false,
            dropped: BTreeMap::new(),
            repaired: 0,
        };
        Self {
            metrics,
            heartbeat,
            push: readiness.condition("push"),
            targets: names.map(target).collect(),
        }
    }

    /// Waits, alive; `None` if `stop` ended that.
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
        self.targets[target].failure = Some(error.to_string());
    }

    /// The state of the targets after a push; without `refusals` it told nothing about them.
    pub(super) fn targets(&mut self, statuses: &[Status], refusals: Option<&Refusals>) {
        for (number, (target, status)) in self.targets.iter_mut().zip(statuses).enumerate() {
            if let Some(refusals) = refusals {
                target.tell_refusal(&self.metrics, &status.name, refusals.get(&number));
            }
            target.tell(&self.metrics, status);
        }
    }

    /// How a push went.
    pub(super) fn pushed(&mut self, pushed: &Result<Refusals, PushError>) {
        match pushed {
            Ok(_) => {
                self.push.met();
                self.metrics.pushes.inc();
                self.metrics.last_success.set(clock::seconds());
            }
            Err(error) => {
                self.push.unmet(error.to_string());
                let labels = ["push", error.class()];
                self.metrics.failures.with_label_values(&labels).inc();
            }
        }
    }
}

impl Target {
    fn tell_refusal(&mut self, metrics: &Metrics, name: &str, refusal: Option<&String>) {
        if let Some(why) = refusal.filter(|_| !self.is_refused) {
            tracing::warn!(
                target_name = name,
                why,
                "the sink refuses this target; the others go without it"
            );
            metrics
                .failures
                .with_label_values(&["push", "target_refused"])
                .inc();
        }
        self.is_refused = refusal.is_some();
    }

    fn tell(&mut self, metrics: &Metrics, status: &Status) {
        let name = [status.name.as_str()];
        let samples = if self.is_refused {
            0
        } else {
            status.part().samples.len()
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
        for (&reason, &dropped) in &status.dropped {
            let before = self.dropped.insert(reason, dropped).unwrap_or_default();
            let labels = [status.name.as_str(), reason];
            metrics
                .dropped
                .with_label_values(&labels)
                .inc_by((dropped - before) as u64);
        }
        let repaired = status.repaired - std::mem::replace(&mut self.repaired, status.repaired);
        metrics.repaired.with_label_values(&name).inc_by(repaired as u64);
        self.tell_condition(status);
    }

    fn tell_condition(&mut self, status: &Status) {
        if status.is_up {
            self.failure = None;
        }
        match &self.failure {
            Some(failure) => self.condition.unmet(failure.clone()),
            None if self.is_refused => self.condition.unmet("the sink refuses its samples"),
            None => self.condition.met(),
        }
    }
}

//! Owns what is known of a target: whether it is up, what it said last, and for how long that is worth repeating.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::document::Types;
use crate::exposition::{Dropped, Sample};
use crate::shape::Shaped;

/// What is known of a target.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its role, by name.
    pub role: &'static str,
    /// Whether the last scrape gave a page.
    pub is_up: bool,
    /// When one did last, in seconds since 1970.
    pub last_success: Option<f64>,
    /// How long the last scrape took.
    pub took: Duration,
    /// What was dropped in all.
    pub dropped: Dropped,
    /// What was dropped of the page that it gave last.
    pub dropped_last: Dropped,
    /// What was repaired in all.
    pub repaired: usize,
    /// What was taken out of the names: the application's id.
    pub ids: BTreeMap<String, String>,
    samples: Vec<Sample>,
    types: Types,
    failures: u32,
}

impl Status {
    /// Of a target that was not scraped yet.
    pub fn new(name: &str, role: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            role,
            ..Self::default()
        }
    }

    /// The target gave a page.
    pub fn succeeded(&mut self, shaped: Shaped, took: Duration, now: f64) {
        self.is_up = true;
        self.failures = 0;
        self.took = took;
        self.last_success = Some(now);
        for (reason, count) in shaped.dropped.iter() {
            self.dropped.add(reason, count);
        }
        self.dropped_last = shaped.dropped;
        self.repaired += shaped.repaired;
        self.samples = shaped.samples;
        self.types = shaped.types;
        self.ids = shaped.ids;
    }

    /// It gave none. After `stale_after` failures in a row what it said before is forgotten.
    pub fn failed(&mut self, took: Duration, stale_after: NonZeroU32) {
        self.is_up = false;
        self.took = took;
        self.failures = self.failures.saturating_add(1);
        if self.failures >= stale_after.get() {
            self.forget();
        }
    }

    /// Forgets what it said.
    pub fn forget(&mut self) {
        self.samples = Vec::new();
        self.types = Types::new();
        self.ids = BTreeMap::new();
    }

    /// What it said last, as long as that is not stale.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The types of it.
    pub fn types(&self) -> &Types {
        &self.types
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::Labels;

    const STALE_AFTER: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);

    fn shaped(name: &str) -> Shaped {
        Shaped {
            samples: vec![Sample::new(name, Labels::new(), 1.0)],
            ..Shaped::default()
        }
    }

    #[test]
    fn what_a_target_said_is_repeated_until_it_has_failed_too_often() {
        let mut status = Status::new("driver", "driver");
        status.succeeded(shaped("x"), Duration::ZERO, 1.0);
        for left in [1, 1, 0, 0] {
            status.failed(Duration::ZERO, STALE_AFTER);
            assert!(!status.is_up);
            assert_eq!(status.samples().len(), left);
        }
        assert_eq!(status.last_success, Some(1.0));
    }

    #[test]
    fn a_success_between_failures_begins_the_count_anew() {
        let mut status = Status::new("driver", "driver");
        for _ in 0..3 {
            status.succeeded(shaped("x"), Duration::ZERO, 1.0);
            status.failed(Duration::ZERO, STALE_AFTER);
            status.failed(Duration::ZERO, STALE_AFTER);
        }
        assert_eq!(status.samples().len(), 1);
    }
}

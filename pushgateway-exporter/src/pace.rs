//! Owns when the next cycle begins: pure.
//!
//! Cycles are skipped, never queued: one that takes longer than its period costs the next ones their turn.

use std::time::Duration;

/// How much earlier or later than its period a cycle may begin, so that many exporters do not push at once.
const JITTER: f64 = 0.1;
/// The longest time between pushes to a sink that is in trouble, unless the interval itself is longer.
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);
/// How soon a target is looked for again that was never there; each time twice as late.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// More doublings than any interval needs.
const MOST_DOUBLINGS: u32 = 16;

/// What decides about the next cycle.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    interval: Duration,
    failed_pushes: u32,
    looks: Option<u32>,
}

impl Pace {
    /// At the start, where no target has been there yet.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            failed_pushes: 0,
            looks: Some(0),
        }
    }

    /// A cycle is over: whether the sink takes pushes, and whether each target has been there once.
    pub fn cycle_ended(&mut self, is_taking: bool, all_were_there: bool) {
        self.failed_pushes = if is_taking {
            0
        } else {
            self.failed_pushes.saturating_add(1)
        };
        self.looks = match self.looks {
            Some(looks) if !all_were_there => Some(looks + 1),
            _ => None,
        };
    }

    /// How long to wait after a cycle that took so long, and how many cycles are skipped. `jitter` is from -1 to 1.
    pub fn wait(&self, took: Duration, jitter: f64) -> (Duration, u64) {
        let period = self.period().mul_f64(1.0 + JITTER * jitter);
        let mut next = period;
        let mut skipped = 0;
        while next < took {
            next += period;
            skipped += 1;
        }
        (next.saturating_sub(took), skipped)
    }

    fn period(&self) -> Duration {
        let doubled = |first: Duration, times: u32| first.saturating_mul(1 << times.min(MOST_DOUBLINGS));
        match (self.failed_pushes, self.looks) {
            (0 | 1, None | Some(0)) => self.interval,
            (0 | 1, Some(looks)) => doubled(FIRST_LOOK, looks - 1).min(self.interval),
            (failed, _) => doubled(self.interval, failed - 1).min(LONGEST_BACKOFF.max(self.interval)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(15);

    fn seconds(pace: &Pace) -> u64 {
        pace.wait(Duration::ZERO, 0.0).0.as_secs()
    }

    #[test]
    fn a_target_that_is_not_there_at_the_start_is_looked_for_soon_and_then_less_often() {
        let mut pace = Pace::new(INTERVAL);
        let mut waits = Vec::new();
        for _ in 0..6 {
            pace.cycle_ended(true, false);
            waits.push(seconds(&pace));
        }
        assert_eq!(waits, [1, 2, 4, 8, 15, 15]);
        pace.cycle_ended(true, true);
        assert_eq!(seconds(&pace), 15);
        pace.cycle_ended(true, false);
        assert_eq!(seconds(&pace), 15, "it has been there: this is no start");
    }

    #[test]
    fn a_sink_in_trouble_is_tried_less_often_but_every_minute() {
        let mut pace = Pace::new(INTERVAL);
        let mut waits = Vec::new();
        for _ in 0..5 {
            pace.cycle_ended(false, true);
            waits.push(seconds(&pace));
        }
        assert_eq!(waits, [15, 30, 60, 60, 60]);
        pace.cycle_ended(true, true);
        assert_eq!(seconds(&pace), 15);
        let mut slow = Pace::new(Duration::from_mins(5));
        slow.cycle_ended(false, true);
        slow.cycle_ended(false, true);
        assert_eq!(seconds(&slow), 300);
    }

    #[test]
    fn a_cycle_that_is_late_skips_and_does_not_queue() {
        let mut pace = Pace::new(INTERVAL);
        pace.cycle_ended(true, true);
        assert_eq!(
            pace.wait(Duration::from_secs(5), 0.0),
            (Duration::from_secs(10), 0)
        );
        assert_eq!(
            pace.wait(Duration::from_secs(31), 0.0),
            (Duration::from_secs(14), 2)
        );
    }

    #[test]
    fn the_jitter_is_a_tenth_of_the_period() {
        let mut pace = Pace::new(INTERVAL);
        pace.cycle_ended(true, true);
        assert_eq!(pace.wait(Duration::ZERO, -1.0).0, Duration::from_millis(13_500));
        assert_eq!(pace.wait(Duration::ZERO, 1.0).0, Duration::from_millis(16_500));
    }
}

//! Owns when progress is committed: the positions of the ledger that changed, every so often.
//!
//! Pure: it says what is to be committed, and is informed of the outcome. One commit is under way at a time. What is
//! committed was acknowledged before the commit began; a commit that fails is tried again, with the positions of that
//! time, and holds up nothing but progress itself. [`backend`] is where positions are committed to.

mod backend;

use std::time::Duration;

use kafka_admin::Partition;
use tokio::time::Instant;

pub use self::backend::{Backend, CommitFailure};
pub(crate) use self::backend::{Committing, write};
use crate::ledger::Ledger;

/// How long to wait after a commit that failed, at first and at the most.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Positions to commit: the next record to process of partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The positions, in order of partition.
    pub positions: Vec<(Partition, i64)>,
    /// Whether some may be lower than before: the topic began again.
    pub may_fall: bool,
}

/// Keeps progress.
#[derive(Debug)]
pub struct Keeper {
    interval: Duration,
    due: Instant,
    under_way: Option<Commit>,
    retry: Option<Retry>,
    may_fall: bool,
}

#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    wait: Duration,
}

impl Keeper {
    /// Commits every `interval`, if anything moved.
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            due: now + interval,
            under_way: None,
            retry: None,
            may_fall: false,
        }
    }

    /// The commit that is to begin now, if any. `hurry` does not wait for the interval.
    pub fn begin<T>(&mut self, ledger: &mut Ledger<T>, now: Instant, hurry: bool) -> Option<Commit> {
        let waits = match self.retry {
            Some(retry) => retry.at > now,
            None => self.due > now && !hurry,
        };
        if self.under_way.is_some() || waits || !ledger.any_moved() {
            return None;
        }
        self.due = now + self.interval;
        let commit = Commit {
            positions: ledger.take_moved(),
            may_fall: std::mem::take(&mut self.may_fall),
        };
        self.under_way = Some(commit.clone());
        Some(commit)
    }

    /// The commit under way has succeeded, or failed.
    pub fn finish<T>(&mut self, succeeded: bool, ledger: &mut Ledger<T>, now: Instant) {
        let Some(commit) = self.under_way.take() else {
            return;
        };
        if succeeded {
            self.retry = None;
            return;
        }
        self.may_fall |= commit.may_fall;
        for (partition, _) in commit.positions {
            ledger.mark_moved(partition);
        }
        let wait = self
            .retry
            .map_or(FIRST_RETRY, |last| (last.wait * 2).min(LAST_RETRY));
        self.retry = Some(Retry { at: now + wait, wait });
    }

    /// The next commit does not wait for the time to try again, and the ones after it wait as after a first failure.
    pub fn try_now(&mut self) {
        self.retry = None;
    }

    /// The topic began again: the next commit may hold a lower position.
    pub fn allow_fall(&mut self) {
        self.may_fall = true;
    }

    /// When [`Self::begin`] should be called though nothing has happened.
    pub fn deadline<T>(&self, ledger: &Ledger<T>) -> Option<Instant> {
        let waits = self.under_way.is_none() && ledger.any_moved();
        waits.then(|| self.retry.map_or(self.due, |retry| retry.at))
    }

    /// Whether the commit under way holds a position of the partition.
    pub fn holds(&self, partition: Partition) -> bool {
        self.under_way.as_ref().is_some_and(|commit| {
            commit
                .positions
                .binary_search_by_key(&partition, |(its, _)| *its)
                .is_ok()
        })
    }

    /// Whether a commit is under way.
    pub fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ordering;

    const P: Partition = Partition(0);
    const SECOND: Duration = Duration::from_secs(1);

    /// A keeper, and a ledger in which one record was taken at this offset.
    fn keeper(offset: i64) -> (Keeper, Ledger<()>, Instant) {
        let now = Instant::now();
        let mut ledger = Ledger::new(Ordering::None);
        ledger.open(P, None);
        ledger.arrive(P, offset, 1);
        (Keeper::new(SECOND, now), ledger, now)
    }

    #[test]
    fn what_moved_is_committed_once_an_interval() {
        let (mut keeper, mut ledger, now) = keeper(7);
        assert_eq!(keeper.begin(&mut ledger, now, false), None);
        assert_eq!(keeper.deadline(&ledger), Some(now + SECOND));
        let commit = keeper.begin(&mut ledger, now + SECOND, false).unwrap();
        assert_eq!(commit.positions, [(P, 7)]);
        assert!(keeper.holds(P) && keeper.is_busy());
        keeper.finish(true, &mut ledger, now + SECOND);
        assert_eq!(keeper.begin(&mut ledger, now + 2 * SECOND, true), None);
        assert_eq!(keeper.deadline(&ledger), None, "nothing moved");
    }

    #[test]
    fn a_commit_that_failed_is_tried_again_later_and_later() {
        let (mut keeper, mut ledger, mut now) = keeper(7);
        keeper.begin(&mut ledger, now, true).unwrap();
        keeper.finish(false, &mut ledger, now);
        assert_eq!(keeper.begin(&mut ledger, now, true), None);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let at = keeper.deadline(&ledger).unwrap();
            waits.push((at - now).as_millis());
            now = at;
            assert_eq!(keeper.begin(&mut ledger, now, false).unwrap().positions, [(P, 7)]);
            keeper.finish(false, &mut ledger, now);
        }
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10000, 10000]);
        keeper.try_now();
        assert!(keeper.begin(&mut ledger, now, true).is_some());
    }

    #[test]
    fn a_partition_that_was_closed_is_not_committed_again() {
        let (mut keeper, mut ledger, now) = keeper(7);
        keeper.begin(&mut ledger, now, true).unwrap();
        ledger.close(P);
        keeper.finish(false, &mut ledger, now);
        assert!(!ledger.any_moved());
    }

    #[test]
    fn a_position_that_may_fall_may_also_after_a_failure() {
        let (mut keeper, mut ledger, now) = keeper(7);
        keeper.allow_fall();
        assert!(keeper.begin(&mut ledger, now, true).unwrap().may_fall);
        keeper.finish(false, &mut ledger, now);
        assert!(keeper.begin(&mut ledger, now + SECOND, true).unwrap().may_fall);
        keeper.finish(true, &mut ledger, now);
        ledger.mark_moved(P);
        assert!(!keeper.begin(&mut ledger, now + SECOND, true).unwrap().may_fall);
    }
}

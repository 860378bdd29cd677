//! Owns which partitions are ours right now, and that nothing is committed for those that are not.
//!
//! A broker takes a commit of any member of the group for any partition. So a commit that comes after a partition was
//! given away would put the position of its next owner back. Invariant: once [`Owned::give_away`] has returned, no commit
//! with these partitions is begun, and none is under way unless it took longer than [`COMMIT_PATIENCE`].
//!
//! A partition can be lost and assigned again before the program has heard of the loss. What it asks for until it accepts the
//! assignment is about the one before, and is left out.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Partition, Start};

/// How long a partition that is given away waits for commits that are under way. A commit that is later was sent before
/// we ask to join the group again, on the same connection, and the coordinator answers a connection's requests in order.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);

/// The partitions that are ours.
#[derive(Debug, Default)]
pub(super) struct Owned {
    state: Mutex<State>,
    settled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    partitions: BTreeMap<Partition, Ours>,
    /// How many assignments of the group were announced to the program, and how many it has accepted.
    announced: u64,
    accepted: u64,
    /// Commits that are under way.
    commits: usize,
}

/// A partition that is ours.
#[derive(Debug, Clone, Copy)]
struct Ours {
    /// The number of its assignment; 0 if the program took it by itself.
    assignment: u64,
    /// Where the group had it begin.
    start: Option<i64>,
}

/// A partition to begin again with, and the last assignment that the program had accepted when it asked for that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Restart {
    pub(super) partition: Partition,
    start: Start,
    accepted: u64,
}

/// Positions to commit, and the last assignment that the program had accepted when it asked for that.
#[derive(Debug)]
pub(super) struct Positions {
    positions: Vec<(Partition, i64)>,
    accepted: u64,
}

impl Owned {
    /// Takes partitions that no group assigns.
    pub(super) fn take(&self, partitions: impl IntoIterator<Item = Partition>) {
        let ours = Ours {
            assignment: 0,
            start: None,
        };
        let taken = partitions.into_iter().map(|partition| (partition, ours));
        self.lock().partitions.extend(taken);
    }

    /// Takes the partitions of an assignment, of which the program will hear.
    pub(super) fn announce(&self, starts: impl IntoIterator<Item = (Partition, i64)>) {
        let mut state = self.lock();
        state.announced += 1;
        let assignment = state.announced;
        let ours = |start| Ours {
            assignment,
            start: Some(start),
        };
        let announced = starts
            .into_iter()
            .map(|(partition, start)| (partition, ours(start)));
        state.partitions.extend(announced);
    }

    /// The program has heard of one more assignment. Where reading began of those of `partitions` that are still ours by it.
    pub(super) fn accept(&self, partitions: &[Partition]) -> Vec<(Partition, i64)> {
        let mut state = self.lock();
        state.accepted = (state.accepted + 1).min(state.announced);
        let start = |partition: &Partition| {
            let ours = state.accepted(*partition, state.accepted)?;
            Some((*partition, ours.start?))
        };
        partitions.iter().filter_map(start).collect()
    }

    /// A restart as the program asks for it now.
    pub(super) fn restart(&self, partition: Partition, start: Start) -> Restart {
        Restart {
            partition,
            start,
            accepted: self.lock().accepted,
        }
    }

    /// Those of `restarts` whose partition is ours as it was when they were asked for.
    pub(super) fn ours(&self, restarts: Vec<Restart>) -> Vec<(Partition, Start)> {
        let state = self.lock();
        let is_ours = |restart: &Restart| state.accepted(restart.partition, restart.accepted).is_some();
        let ours = restarts.into_iter().filter(is_ours);
        ours.map(|restart| (restart.partition, restart.start)).collect()
    }

    /// Gives partitions away, and waits for the commits that are under way.
    pub(super) fn give_away(&self, partitions: &[Partition]) {
        let mut state = self.lock();
        for partition in partitions {
            state.partitions.remove(partition);
        }
        let waited = self
            .settled
            .wait_timeout_while(state, COMMIT_PATIENCE, |state| state.commits > 0);
        let (_state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            tracing::warn!(
                ?partitions,
                "a commit is still not answered though its partitions are given away"
            );
        }
    }

    /// Positions as the program asks for their commit now.
    pub(super) fn positions(&self, positions: &[(Partition, i64)]) -> Positions {
        Positions {
            positions: positions.to_vec(),
            accepted: self.lock().accepted,
        }
    }

    /// Commits by `commit` the positions of the partitions that are ours. The others are given back.
    pub(super) fn commit<R>(
        &self,
        positions: Positions,
        commit: impl FnOnce(Vec<(Partition, i64)>) -> R,
    ) -> (R, Vec<Partition>) {
        let (ours, others): (Vec<_>, Vec<_>) = {
            let mut state = self.lock();
            state.commits += 1;
            let Positions { positions, accepted } = positions;
            let is_ours = |(partition, _): &(Partition, i64)| state.accepted(*partition, accepted).is_some();
            positions.into_iter().partition(is_ours)
        };
        let _under_way = UnderWay(self);
        let others = others.into_iter().map(|(partition, _)| partition);
        (commit(ours), others.collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A partition, if it is ours by one of the assignments that were accepted.
    fn accepted(&self, partition: Partition, accepted: u64) -> Option<&Ours> {
        let ours = self.partitions.get(&partition);
        ours.filter(|ours| ours.assignment <= accepted)
    }
}

/// A commit that is under way.
struct UnderWay<'o>(&'o Owned);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().commits -= 1;
        self.0.settled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn owned() -> Owned {
        let owned = Owned::default();
        owned.announce([(Partition(0), 5), (Partition(1), 7)]);
        assert_eq!(owned.accept(&[Partition(0)]), [(Partition(0), 5)]);
        owned
    }

    #[test]
    fn a_partition_that_was_given_away_is_not_committed_for() {
        let owned = owned();
        owned.give_away(&[Partition(0)]);
        let positions = vec![(Partition(0), 6), (Partition(1), 8)];
        let (committed, others) = owned.commit(owned.positions(&positions), |ours| ours);
        assert_eq!(committed, [(Partition(1), 8)]);
        assert_eq!(others, [Partition(0)]);
        assert_eq!(owned.accept(&[Partition(0), Partition(1)]), [(Partition(1), 7)]);
    }

    #[test]
    fn what_was_asked_for_before_an_assignment_was_accepted_is_left_out() {
        let (owned, partition) = (Owned::default(), Partition(0));
        owned.announce([(partition, 5)]);
        assert_eq!(owned.accept(&[partition]), [(partition, 5)]);
        let before = owned.restart(partition, Start::At(9));
        owned.give_away(&[partition]);
        owned.announce([(partition, 7)]);
        assert_eq!(
            owned.ours(vec![before, owned.restart(partition, Start::At(9))]),
            []
        );
        assert_eq!(
            owned.commit(owned.positions(&[(partition, 9)]), |ours| ours),
            (vec![], vec![partition])
        );
        let late = owned.positions(&[(partition, 9)]);
        assert_eq!(owned.accept(&[partition]), [(partition, 7)]);
        assert_eq!(owned.commit(late, |ours| ours), (vec![], vec![partition]));
        let after = owned.restart(partition, Start::At(8));
        assert_eq!(owned.ours(vec![before, after]), [(partition, Start::At(8))]);
        assert_eq!(
            owned.commit(owned.positions(&[(partition, 9)]), |ours| ours),
            (vec![(partition, 9)], vec![])
        );
    }

    #[test]
    fn a_partition_is_given_away_after_the_commit_that_is_under_way() {
        let owned = owned();
        let (begun, begins) = sync_channel(0);
        let (answer, answered) = sync_channel(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                owned.commit(owned.positions(&[(Partition(0), 6)]), |ours| {
                    begun.send(()).unwrap();
                    // The broker answers only after the partition begins to be given away.
                    while !owned.accept(&[Partition(0)]).is_empty() {
                        std::thread::yield_now();
                    }
                    answer.send(ours).unwrap();
                })
            });
            begins.recv().unwrap();
            owned.give_away(&[Partition(0)]);
            assert_eq!(answered.try_recv().unwrap(), [(Partition(0), 6)]);
        });
    }

    #[test]
    fn an_assignment_that_was_followed_by_another_begins_nothing() {
        let (owned, partition) = (Owned::default(), Partition(0));
        owned.announce([(partition, 5)]);
        owned.give_away(&[partition]);
        owned.announce([(partition, 3)]);
        assert_eq!(owned.accept(&[partition]), []);
        assert_eq!(owned.accept(&[partition]), [(partition, 3)]);
    }
}

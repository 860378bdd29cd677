//! Owns which partitions are ours right now, and that nothing is committed for those that are not.
//!
//! A broker takes a commit of any member of the group for any partition. So a commit that comes after a partition was
//! given away would put the position of its next owner back. Invariant: once [`Owned::give_away`] has returned, no commit
//! with these partitions is begun, and none is under way unless it took longer than [`COMMIT_PATIENCE`].

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
    /// Where reading of each began.
    starts: BTreeMap<Partition, Start>,
    /// Commits that are under way.
    commits: usize,
}

impl Owned {
    /// Takes partitions, or begins anew with those that are ours already.
    pub(super) fn take(&self, starts: impl IntoIterator<Item = (Partition, Start)>) {
        self.lock().starts.extend(starts);
    }

    /// Those of `starts` whose partition is ours.
    pub(super) fn ours(&self, starts: Vec<(Partition, Start)>) -> Vec<(Partition, Start)> {
        let state = self.lock();
        let is_ours = |(partition, _): &(Partition, _)| state.starts.contains_key(partition);
        starts.into_iter().filter(is_ours).collect()
    }

    /// Where reading began of those of `partitions` that are ours.
    pub(super) fn starts(&self, partitions: &[Partition]) -> Vec<(Partition, Start)> {
        let state = self.lock();
        let start = |partition: &Partition| Some((*partition, *state.starts.get(partition)?));
        partitions.iter().filter_map(start).collect()
    }

    /// Gives partitions away, and waits for the commits that are under way.
    pub(super) fn give_away(&self, partitions: &[Partition]) {
        let mut state = self.lock();
        state
            .starts
            .retain(|partition, _| !partitions.contains(partition));
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

    /// Commits by `commit` the positions of the partitions that are ours. The others are given back.
    pub(super) fn commit<R>(
        &self,
        positions: Vec<(Partition, i64)>,
        commit: impl FnOnce(Vec<(Partition, i64)>) -> R,
    ) -> (R, Vec<Partition>) {
        let (ours, others): (Vec<_>, Vec<_>) = {
            let mut state = self.lock();
            state.commits += 1;
            let is_ours = |(partition, _): &(Partition, i64)| state.starts.contains_key(partition);
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
        owned.take([(Partition(0), Start::At(5)), (Partition(1), Start::At(7))]);
        owned
    }

    #[test]
    fn a_partition_that_was_given_away_is_not_committed_for() {
        let owned = owned();
        owned.give_away(&[Partition(0)]);
        let positions = vec![(Partition(0), 6), (Partition(1), 8)];
        let (committed, others) = owned.commit(positions, |ours| ours);
        assert_eq!(committed, [(Partition(1), 8)]);
        assert_eq!(others, [Partition(0)]);
        assert_eq!(
            owned.starts(&[Partition(0), Partition(1)]),
            [(Partition(1), Start::At(7))]
        );
    }

    #[test]
    fn a_partition_is_given_away_after_the_commit_that_is_under_way() {
        let owned = owned();
        let (begun, begins) = sync_channel(0);
        let (answer, answered) = sync_channel(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                owned.commit(vec![(Partition(0), 6)], |ours| {
                    begun.send(()).unwrap();
                    // The broker answers only after the partition begins to be given away.
                    while !owned.starts(&[Partition(0)]).is_empty() {
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
}

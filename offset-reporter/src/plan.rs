//! Owns what a group has and what it is to be given: the one judge of a step back. Pure.
//!
//! Positions are compared, at each commit, with what was read back from the group: the offset, and the stamp beside it that
//! says which batch of which query it was. So a reason survives failed commits, newer batches and restarts, and a query
//! that is ahead goes back nowhere, whoever it is.

mod stamp;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use checkpoint::{BatchId, TopicOffsets};
use kafka_admin::TopicPartition;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub use self::stamp::Stamp;

/// What a group has, as it was read back.
#[derive(Debug, Default)]
pub struct CommittedOffsets {
    /// By partition; none if the group has nothing there.
    has: BTreeMap<TopicPartition, Option<Position>>,
    /// Partitions that the cluster did not have at the last commit.
    absent: BTreeSet<TopicPartition>,
    /// When all that was planned was committed last.
    complete_at: Option<Instant>,
}

/// An offset that a group has.
#[derive(Debug)]
struct Position {
    offset: i64,
    /// The batch that it was; none if somebody else committed it.
    stamp: Option<Stamp>,
}

/// What a group is to be given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CommitPlan {
    /// To commit.
    pub steps: Vec<Step>,
    /// Steps back that the policy forbids.
    pub held: Vec<Step>,
    /// Whether any of `steps` changes what the group has.
    pub has_changes: bool,
}

/// From one offset of a partition to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The partition.
    pub partition: TopicPartition,
    /// What the group has; none if it has nothing.
    pub from: Option<i64>,
    /// Where the checkpoint is.
    pub to: i64,
    /// Why it goes back, if it does.
    pub rewind: Option<Rewind>,
}

/// By what a commit is planned.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Which steps back are allowed.
    pub rewind: RewindPolicy,
    /// How often all positions are committed again.
    pub keepalive: Duration,
}

/// Which steps back are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RewindPolicy {
    /// All.
    #[default]
    Allow,
    /// Only those of a checkpoint that began again, whose query has another id.
    NewQuery,
    /// None, until a person allows one.
    Never,
}

/// Why positions go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rewind {
    /// The group has the position of another query: the checkpoint began again.
    NewQuery,
    /// The newest batches of the checkpoint were deleted.
    RolledBack,
    /// The batch is not older, and yet its position is lower than what the group has: the topic began again, or somebody
    /// else committed.
    Lowered,
}

impl Rewind {
    /// The name as logs and metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NewQuery => "new_query",
            Self::RolledBack => "rolled_back",
            Self::Lowered => "lowered",
        }
    }
}

impl RewindPolicy {
    fn allows(self, reason: Rewind) -> bool {
        match self {
            Self::Allow => true,
            Self::NewQuery => reason == Rewind::NewQuery,
            Self::Never => false,
        }
    }
}

impl CommittedOffsets {
    /// The partitions of which is not known yet what the group has there.
    pub fn unread(&self, offsets: &TopicOffsets) -> Vec<TopicPartition> {
        partitions(offsets)
            .filter(|partition| !self.has.contains_key(partition))
            .collect()
    }

    /// Records what was read back of a partition: an offset and the metadata beside it, or that the group has nothing there.
    pub fn record(&mut self, partition: &TopicPartition, committed: Option<(i64, &str)>) {
        let position = committed.map(|(offset, metadata)| Position {
            offset,
            stamp: Stamp::parse(metadata),
        });
        self.has.insert(partition.clone(), position);
    }

    /// Records that these are not known any more: they are read again before the next plan.
    pub fn forget<'p>(&mut self, partitions: impl IntoIterator<Item = &'p TopicPartition>) {
        for partition in partitions {
            self.has.remove(partition);
        }
    }

    /// Records that all that was planned is committed but for these partitions, which the cluster does not have.
    pub fn complete(&mut self, absent: BTreeSet<TopicPartition>, now: Instant) {
        self.absent = absent;
        self.complete_at = Some(now);
    }

    /// Records that the cluster has this partition.
    pub fn exists(&mut self, partition: &TopicPartition) {
        self.absent.remove(partition);
    }

    /// The newest batch of this query that the group has in these partitions.
    pub fn newest_of(&self, query: &str, offsets: &TopicOffsets) -> Option<BatchId> {
        partitions(offsets)
            .filter_map(|partition| self.has.get(&partition)?.as_ref()?.stamp.as_ref())
            .filter(|stamp| stamp.query == query)
            .map(|stamp| stamp.batch)
            .max()
    }

    /// What of `offsets` is to be committed: all of them if one differs from what the group has, or if nothing was committed
    /// for a while. A partition that stands still beside busy ones is committed with them: Kafka forgets each partition by
    /// itself. A partition of which nobody knows what the group has there is left out.
    pub fn plan(&self, offsets: &TopicOffsets, stamp: &Stamp, rules: Rules, now: Instant) -> CommitPlan {
        let mut plan = CommitPlan::default();
        for (topic, partition, to) in offsets.iter() {
            let partition = TopicPartition::new(topic, partition);
            let Some(has) = self.has.get(&partition) else {
                continue;
            };
            let has = has.as_ref();
            let step = Step {
                from: has.map(|has| has.offset),
                to,
                rewind: has.filter(|has| to < has.offset).map(|has| has.reason(stamp)),
                partition,
            };
            if step.rewind.is_some_and(|reason| !rules.rewind.allows(reason)) {
                plan.held.push(step);
                continue;
            }
            plan.has_changes |= step.from != Some(to) && !self.absent.contains(&step.partition);
            plan.steps.push(step);
        }
        let is_time = self
            .complete_at
            .is_none_or(|at| now.duration_since(at) >= rules.keepalive);
        if !plan.has_changes && !is_time {
            plan.steps.clear();
        }
        plan
    }
}

impl Position {
    /// Why a lower offset of this batch goes back.
    fn reason(&self, lower: &Stamp) -> Rewind {
        match &self.stamp {
            Some(stamp) if stamp.query != lower.query => Rewind::NewQuery,
            Some(stamp) if stamp.batch > lower.batch => Rewind::RolledBack,
            _ => Rewind::Lowered,
        }
    }
}

/// The partitions of these positions.
pub fn partitions(offsets: &TopicOffsets) -> impl Iterator<Item = TopicPartition> + '_ {
    offsets
        .iter()
        .map(|(topic, partition, _)| TopicPartition::new(topic, partition))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVE: Duration = Duration::from_mins(5);

    fn rules(rewind: RewindPolicy) -> Rules {
        Rules {
            rewind,
            keepalive: KEEPALIVE,
        }
    }

    fn offsets(positions: &[(i32, i64)]) -> TopicOffsets {
        let mut offsets = TopicOffsets::default();
        for (partition, position) in positions {
            offsets.set("t", *partition, *position);
        }
        offsets
    }

    /// A group that has these offsets, each with the stamp `q=a b=7`.
    fn has(positions: &[(i32, i64)]) -> CommittedOffsets {
        let mut committed = CommittedOffsets::default();
        for (partition, offset) in positions {
            let partition = TopicPartition::new("t", *partition);
            committed.record(&partition, Some((*offset, "q=a b=7 t=1")));
        }
        committed
    }

    fn steps(steps: &[Step]) -> Vec<(i32, i64, Option<Rewind>)> {
        steps
            .iter()
            .map(|step| (step.partition.partition.0, step.to, step.rewind))
            .collect()
    }

    fn stamp(query: &str, batch: i64) -> Stamp {
        Stamp::new(query, BatchId(batch), None)
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_due_if_one_changed_or_it_is_time_again() {
        let mut committed = has(&[(0, 5), (1, 7)]);
        let (same, newer) = (offsets(&[(0, 5), (1, 7)]), offsets(&[(0, 6), (1, 7)]));
        let count = |committed: &CommittedOffsets, offsets| {
            let plan = committed.plan(
                offsets,
                &stamp("a", 8),
                rules(RewindPolicy::Never),
                Instant::now(),
            );
            plan.steps.len()
        };
        assert_eq!(count(&committed, &same), 2, "nothing was committed yet by us");
        committed.complete(BTreeSet::new(), Instant::now());
        assert_eq!((count(&committed, &same), count(&committed, &newer)), (0, 2));
        tokio::time::advance(KEEPALIVE).await;
        assert_eq!(count(&committed, &same), 2);
    }

    #[tokio::test]
    async fn a_partition_that_is_not_there_makes_nothing_due_until_it_is() {
        let mut committed = has(&[(0, 5)]);
        let both = offsets(&[(0, 5), (1, 7)]);
        let (now, absent) = (Instant::now(), TopicPartition::new("t", 1));
        committed.record(&absent, None);
        committed.complete(BTreeSet::from([absent.clone()]), now);
        let plan = |committed: &CommittedOffsets| {
            committed.plan(&both, &stamp("a", 8), rules(RewindPolicy::Never), now)
        };
        assert_eq!(plan(&committed), CommitPlan::default());
        committed.exists(&absent);
        assert_eq!(plan(&committed).steps.len(), 2);
    }

    #[tokio::test]
    async fn a_step_back_has_a_reason_and_needs_a_policy_that_allows_it() {
        let committed = has(&[(0, 5), (1, 7)]);
        let positions = offsets(&[(0, 4), (1, 8)]);
        for (stamp, reason) in [
            (stamp("b", 0), Rewind::NewQuery),
            (stamp("a", 6), Rewind::RolledBack),
            (stamp("a", 7), Rewind::Lowered),
            (stamp("a", 9), Rewind::Lowered),
        ] {
            for (policy, allowed) in [
                (RewindPolicy::Allow, true),
                (RewindPolicy::NewQuery, reason == Rewind::NewQuery),
                (RewindPolicy::Never, false),
            ] {
                let plan = committed.plan(&positions, &stamp, rules(policy), Instant::now());
                let (back, ahead) = ((0, 4, Some(reason)), (1, 8, None));
                let expected = if allowed {
                    (vec![back, ahead], vec![])
                } else {
                    (vec![ahead], vec![back])
                };
                assert_eq!((steps(&plan.steps), steps(&plan.held)), expected, "{policy:?}");
            }
        }
    }

    #[test]
    fn the_newest_batch_is_that_of_the_same_query_in_the_same_partitions() {
        let committed = has(&[(0, 5), (1, 7)]);
        assert_eq!(committed.newest_of("a", &offsets(&[(0, 1)])), Some(BatchId(7)));
        assert_eq!(committed.newest_of("b", &offsets(&[(0, 1)])), None);
        assert_eq!(committed.newest_of("a", &offsets(&[(2, 1)])), None);
    }

    #[test]
    fn where_a_group_has_nothing_is_known_too() {
        let mut committed = CommittedOffsets::default();
        let positions = offsets(&[(0, 4)]);
        let unread = committed.unread(&positions);
        assert_eq!(unread.len(), 1);
        committed.record(&unread[0], None);
        assert!(committed.unread(&positions).is_empty());
    }
}

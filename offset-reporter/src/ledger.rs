//! Owns what a group has, as far as it was read back, and what it is due. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use checkpoint::{BatchId, TopicOffsets};
use kafka_io::{Committed, RefusalKind, TopicPartition};
use tokio::time::Instant;

use crate::log_ends::Ends;
use crate::progress::{Batch, Rewind, RewindPolicy};

/// How much of a query's id stands beside a commit.
const ID_LETTERS: usize = 8;

/// What stands beside each commit: which batch of which query it is. Below a hundred bytes; Kafka allows 4,096.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The batch.
    pub batch: Batch,
    /// When the query made it, in milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl Stamp {
    /// As it is written: `q=1f3a99c2 b=17 t=1795337460366`.
    pub fn render(&self) -> String {
        format!(
            "q={} b={} t={}",
            self.batch.query, self.batch.id, self.timestamp_ms
        )
    }

    /// A stamp that one of us wrote; `None` if somebody else committed.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut value = |key| words.next()?.strip_prefix(key);
        let (query, id, timestamp_ms) = (value("q=")?, value("b=")?, value("t=")?);
        let batch = Batch {
            query: query.to_owned(),
            id: BatchId(id.parse().ok()?),
        };
        Some(Self {
            batch,
            timestamp_ms: timestamp_ms.parse().ok()?,
        })
    }
}

/// As much of a query's id as a stamp has.
pub fn short(query: &str) -> &str {
    query.get(..ID_LETTERS).unwrap_or(query)
}

/// What a group has.
#[derive(Debug, Default)]
pub struct Ledger {
    /// What was read back, by partition; none where the group has nothing.
    has: BTreeMap<TopicPartition, Option<i64>>,
    /// When all that was due was committed last.
    settled_at: Option<Instant>,
}

/// What a group is due.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// To commit.
    pub offsets: Vec<(TopicPartition, i64)>,
    /// The cluster has no such partitions: they are left out.
    pub unknown: Vec<TopicPartition>,
    /// Partitions that go back, for this reason.
    pub rewound: BTreeMap<Rewind, usize>,
    /// Partitions that would go back, which the policy forbids.
    pub held: BTreeMap<Rewind, usize>,
}

impl Ledger {
    /// The partitions of which is not known yet what the group has there.
    pub fn unread(&self, offsets: &TopicOffsets) -> Vec<TopicPartition> {
        partitions(offsets)
            .filter(|partition| !self.has.contains_key(partition))
            .collect()
    }

    /// Notes what was read back; of those that were asked for and not told, the group has nothing.
    pub fn note(&mut self, asked: &[TopicPartition], told: &BTreeMap<TopicPartition, Committed>) {
        for partition in asked {
            self.has.insert(
                partition.clone(),
                told.get(partition).map(|committed| committed.offset),
            );
        }
    }

    /// Notes that all that was due is committed.
    pub fn settle(&mut self, now: Instant) {
        self.settled_at = Some(now);
    }

    /// What is due of `offsets`: all of them, if one differs from what the group has, or if nothing was committed for
    /// `keepalive`. A partition that stands still beside busy ones is committed with them: Kafka forgets each partition by
    /// itself.
    pub fn due(&self, offsets: &TopicOffsets, ends: &Ends, judge: Judge, now: Instant) -> Due {
        let mut due = Due::default();
        let mut is_settled = self
            .settled_at
            .is_some_and(|at| now.duration_since(at) < judge.keepalive);
        for (topic, partition, offset) in offsets.iter() {
            let partition = TopicPartition::new(topic, partition);
            if matches!(ends.get(&partition), Some(Err(refusal)) if refusal.kind == RefusalKind::UnknownPartition)
            {
                due.unknown.push(partition);
                continue;
            }
            let has = self.has.get(&partition).copied().flatten();
            if has.is_some_and(|has| offset < has) {
                let reason = judge.rewind.unwrap_or(Rewind::Lowered);
                let side = if judge.policy.allows(reason) {
                    &mut due.rewound
                } else {
                    &mut due.held
                };
                *side.entry(reason).or_default() += 1;
                if !judge.policy.allows(reason) {
                    continue;
                }
            }
            is_settled &= has == Some(offset);
            due.offsets.push((partition, offset));
        }
        if is_settled {
            due.offsets.clear();
        }
        due
    }
}

/// By what is judged which commits are due.
#[derive(Debug, Clone, Copy)]
pub struct Judge {
    /// Why positions may go back, where that is known.
    pub rewind: Option<Rewind>,
    /// Which steps back are allowed.
    pub policy: RewindPolicy,
    /// How often all positions are committed again.
    pub keepalive: Duration,
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

    fn judge(policy: RewindPolicy) -> Judge {
        Judge {
            rewind: None,
            policy,
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

    fn has(positions: &[(i32, i64)]) -> Ledger {
        let mut ledger = Ledger::default();
        let told = positions.iter().map(|(partition, offset)| {
            (
                TopicPartition::new("t", *partition),
                Committed {
                    offset: *offset,
                    metadata: String::new(),
                },
            )
        });
        let told: BTreeMap<_, _> = told.collect();
        ledger.note(&told.keys().cloned().collect::<Vec<_>>(), &told);
        ledger
    }

    fn at(partition: i32, offset: i64) -> (TopicPartition, i64) {
        (TopicPartition::new("t", partition), offset)
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let batch = Batch {
            query: short("1f3a99c2-0195-4220").to_owned(),
            id: BatchId(17),
        };
        let stamp = Stamp {
            batch,
            timestamp_ms: 1_795_337_460_366,
        };
        assert_eq!(stamp.render(), "q=1f3a99c2 b=17 t=1795337460366");
        assert_eq!(Stamp::parse(&stamp.render()), Some(stamp));
        for foreign in ["", "q=a", "hello world there", "q=a b=x t=1"] {
            assert_eq!(Stamp::parse(foreign), None, "{foreign}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_is_due_when_one_changed_and_with_the_keepalive() {
        let mut ledger = has(&[(0, 5), (1, 7)]);
        let due = |ledger: &Ledger, positions: &[(i32, i64)]| {
            let positions = offsets(positions);
            ledger
                .due(
                    &positions,
                    &Ends::new(),
                    judge(RewindPolicy::Never),
                    Instant::now(),
                )
                .offsets
        };
        assert_eq!(
            due(&ledger, &[(0, 5), (1, 7)]),
            [at(0, 5), at(1, 7)],
            "nothing is known of when it was committed"
        );
        ledger.settle(Instant::now());
        assert_eq!(due(&ledger, &[(0, 5), (1, 7)]), []);
        assert_eq!(due(&ledger, &[(0, 6), (1, 7)]), [at(0, 6), at(1, 7)]);
        tokio::time::advance(KEEPALIVE).await;
        assert_eq!(due(&ledger, &[(0, 5), (1, 7)]), [at(0, 5), at(1, 7)]);
    }

    #[tokio::test]
    async fn a_partition_that_the_cluster_does_not_have_is_left_out() {
        let refusal = kafka_io::Refusal {
            kind: RefusalKind::UnknownPartition,
            code: "UNKNOWN_TOPIC_OR_PARTITION".into(),
            reason: String::new(),
        };
        let ends = Ends::from([
            (TopicPartition::new("t", 0), Err(refusal)),
            (TopicPartition::new("t", 1), Ok(9)),
        ]);
        let due = has(&[]).due(
            &offsets(&[(0, 5), (1, 7)]),
            &ends,
            judge(RewindPolicy::Allow),
            Instant::now(),
        );
        assert_eq!(
            (due.offsets, due.unknown),
            (vec![at(1, 7)], vec![TopicPartition::new("t", 0)])
        );
    }

    #[tokio::test]
    async fn a_step_back_needs_a_reason_that_the_policy_allows() {
        let ledger = has(&[(0, 5), (1, 7)]);
        let positions = offsets(&[(0, 4), (1, 8)]);
        let due = |judge| ledger.due(&positions, &Ends::new(), judge, Instant::now());
        let forbidden = due(judge(RewindPolicy::NewQuery));
        assert_eq!(forbidden.offsets, [at(1, 8)]);
        assert_eq!(forbidden.held, BTreeMap::from([(Rewind::Lowered, 1)]));
        let anew = due(Judge {
            rewind: Some(Rewind::NewQuery),
            ..judge(RewindPolicy::NewQuery)
        });
        assert_eq!(anew.offsets, [at(0, 4), at(1, 8)]);
        assert_eq!(anew.rewound, BTreeMap::from([(Rewind::NewQuery, 1)]));
    }

    #[test]
    fn what_was_not_told_the_group_does_not_have() {
        let mut ledger = Ledger::default();
        let positions = offsets(&[(0, 4)]);
        let unread = ledger.unread(&positions);
        assert_eq!(unread.len(), 1);
        ledger.note(&unread, &BTreeMap::new());
        assert!(ledger.unread(&positions).is_empty());
    }
}

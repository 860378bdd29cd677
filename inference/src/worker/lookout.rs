//! Owns what is known of the topic beside its records: whether it is still the one that was read, whether it has more
//! partitions, and whether a partition's reading stands outside of what its log has.
//!
//! Pure. A topic that was deleted and created again, or truncated, has its records at offsets that were read before;
//! without this they would be passed over. What is asked is compared with what was expected *before* it was asked, so
//! records that arrive meanwhile prove nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use kafka_io::Partition;
use tokio::time::Instant;

use crate::consume::Snapshot;
use crate::ledger::Ledger;

/// The shortest time between two questions.
const SPACING: Duration = Duration::from_secs(1);

/// What a snapshot of the topic shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// The topic has partitions that are not read.
    NewPartitions(Vec<Partition>),
    /// The log of a partition is not the one that was read: its records below the expected offset were never read.
    BeganAgain {
        partition: Partition,
        /// What was expected, where that is known.
        expected: Option<i64>,
        range: Range<i64>,
    },
    /// Reading stands below the first record: retention removed what was to be read next.
    Expired {
        partition: Partition,
        expected: i64,
        start: i64,
    },
    /// Reading of a partition has stopped though its offset is there.
    Stopped { partition: Partition, expected: i64 },
}

/// Looks at the topic every so often, and when something is suspicious.
#[derive(Debug)]
pub(super) struct Lookout {
    interval: Duration,
    next: Instant,
    last: Option<Instant>,
    topic_id: Option<String>,
    known: BTreeSet<Partition>,
    /// What was expected when the question under way was asked.
    asked: Option<BTreeMap<Partition, Option<i64>>>,
    /// Partitions that ended below what was expected at the last look. A new leader may answer so for a moment, so it
    /// takes two looks.
    beyond: BTreeSet<Partition>,
    /// The consumer has said that some partition is out of range, and what was expected at the last look since.
    out_of_range: Option<BTreeMap<Partition, Option<i64>>>,
}

impl Lookout {
    /// Looks every `interval`. `topic_id` is the identity of the topic that is read.
    pub(super) fn new(interval: Duration, topic_id: Option<String>, now: Instant) -> Self {
        Self {
            interval,
            next: now + interval,
            last: None,
            topic_id,
            known: BTreeSet::new(),
            asked: None,
            beyond: BTreeSet::new(),
            out_of_range: None,
        }
    }

    /// Partitions that are read.
    pub(super) fn knows(&mut self, partitions: impl IntoIterator<Item = Partition>) {
        self.known.extend(partitions);
    }

    /// Something is suspicious: look soon.
    pub(super) fn hurry(&mut self, now: Instant) {
        let soonest = self.last.map_or(now, |last| last + SPACING);
        self.next = self.next.min(soonest.max(now));
    }

    /// The consumer says that a partition's offset is out of range, but not which. It is no longer read.
    pub(super) fn out_of_range(&mut self, now: Instant) {
        self.out_of_range.get_or_insert_default();
        self.hurry(now);
    }

    /// When to look.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.asked.is_none().then_some(self.next)
    }

    /// The partitions whose offsets are to be asked for, if it is time.
    pub(super) fn ask<T>(&mut self, ledger: &Ledger<T>, now: Instant) -> Option<Vec<Partition>> {
        if self.asked.is_some() || self.next > now {
            return None;
        }
        self.last = Some(now);
        self.next = now + self.interval;
        let mut expected: BTreeMap<_, _> = ledger.partitions().map(|partition| (partition, None)).collect();
        expected.extend(
            ledger
                .expected()
                .map(|(partition, offset)| (partition, Some(offset))),
        );
        let partitions = expected.keys().copied().collect();
        self.asked = Some(expected);
        Some(partitions)
    }

    /// The question was not answered.
    pub(super) fn unanswered(&mut self, now: Instant) {
        self.asked = None;
        if self.out_of_range.is_some() {
            self.hurry(now);
        }
    }

    /// What the answer shows. `reads` is false while reading is paused, and an offset that stands still means nothing.
    pub(super) fn judge<T>(
        &mut self,
        snapshot: &Snapshot,
        ledger: &Ledger<T>,
        reads: bool,
        now: Instant,
    ) -> Vec<Finding> {
        let asked = self.asked.take().unwrap_or_default();
        let mut findings = Vec::new();
        let new: Vec<_> = snapshot
            .partitions
            .iter()
            .copied()
            .filter(|partition| !self.known.contains(partition))
            .collect();
        if !new.is_empty() {
            self.known.extend(&new);
            findings.push(Finding::NewPartitions(new));
        }
        let replaced = self.is_replaced(snapshot);
        let mut all_beyond = BTreeSet::new();
        let ranges = snapshot
            .ranges
            .iter()
            .filter(|(partition, _)| ledger.is_open(*partition));
        for (partition, range) in ranges {
            let Some(&expected) = asked.get(partition) else {
                continue;
            };
            let beyond = expected.is_some_and(|expected| expected > range.end);
            if beyond {
                all_beyond.insert(*partition);
            }
            if replaced || (beyond && self.beyond.contains(partition)) {
                findings.push(Finding::BeganAgain {
                    partition: *partition,
                    expected,
                    range: range.clone(),
                });
            } else if let Some(before) = self.out_of_range.as_ref()
                && reads
                && !beyond
                && before.get(partition) == Some(&expected)
            {
                findings.extend(stopped(*partition, expected, range));
            }
        }
        if !all_beyond.is_empty() {
            self.hurry(now);
        }
        self.beyond = all_beyond;
        self.expect_movement(asked, reads, now);
        findings
    }

    /// Whether another topic has the name now.
    fn is_replaced(&mut self, snapshot: &Snapshot) -> bool {
        let Some(id) = &snapshot.topic_id else {
            return false;
        };
        let before = self.topic_id.replace(id.clone());
        before.is_some_and(|before| before != *id)
    }

    /// The partition that is out of range is one that stands still between two looks.
    fn expect_movement(&mut self, asked: BTreeMap<Partition, Option<i64>>, reads: bool, now: Instant) {
        let Some(before) = &mut self.out_of_range else {
            return;
        };
        if !before.is_empty() && reads {
            self.out_of_range = None;
        } else {
            *before = asked;
            self.hurry(now);
        }
    }
}

/// A partition that stood still between two looks though its log goes on.
fn stopped(partition: Partition, expected: Option<i64>, range: &Range<i64>) -> Option<Finding> {
    let Some(expected) = expected else {
        return Some(Finding::BeganAgain {
            partition,
            expected,
            range: range.clone(),
        });
    };
    if expected < range.start {
        let start = range.start;
        return Some(Finding::Expired {
            partition,
            expected,
            start,
        });
    }
    (expected < range.end).then_some(Finding::Stopped { partition, expected })
}

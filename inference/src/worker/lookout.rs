//! Owns what is known of the topic beside its records: whether it is still the one that was read, whether it has more
//! partitions, and whether a partition's reading stands outside of what its log has.
//!
//! Pure. A topic that was deleted and created again, or truncated, has its records at offsets that were read before;
//! without this they would be passed over. What is asked is compared with what was expected *before* it was asked, so
//! records that arrive meanwhile prove nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use kafka_admin::Partition;
use tokio::time::Instant;

use crate::consume::{Question, Snapshot};
use crate::ledger::Ledger;

/// The shortest time between two questions.
const SPACING: Duration = Duration::from_secs(1);

/// What a snapshot of the topic shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// The topic has partitions that are not read.
    NewPartitions(Vec<Partition>),
    /// The topic was created again, without these partitions.
    Gone(Vec<Partition>),
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
    /// Reading of a partition that began with the first record has stopped before it.
    NeverBegan { partition: Partition, range: Range<i64> },
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
    /// Partitions that were read when another topic took the name, and whose offsets in it were not asked for yet.
    of_old_topic: BTreeSet<Partition>,
    /// Partitions that ended below what was expected at the last look. A new leader may answer so for a moment, so it
    /// takes two looks.
    beyond: BTreeSet<Partition>,
    /// The search for a partition that is out of range.
    out_of_range: Search,
    /// The consumer has said so since the question under way was asked.
    heard: bool,
    /// Where the partitions of which nothing was in hand stood at the last question.
    idle: BTreeMap<Partition, i64>,
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
            of_old_topic: BTreeSet::new(),
            beyond: BTreeSet::new(),
            out_of_range: Search::Idle,
            heard: false,
            idle: BTreeMap::new(),
        }
    }

    /// Partitions that are read.
    pub(super) fn knows(&mut self, partitions: impl IntoIterator<Item = Partition>) {
        self.known.extend(partitions);
    }

    /// A partition is read from elsewhere: what was expected of it before says nothing any more.
    pub(super) fn forget(&mut self, partition: Partition) {
        let stood = match &mut self.out_of_range {
            Search::Asked(expected) => Some(expected),
            Search::Idle | Search::Begun => None,
        };
        for expected in stood.into_iter().chain(&mut self.asked) {
            expected.remove(&partition);
        }
        self.beyond.remove(&partition);
        self.of_old_topic.remove(&partition);
    }

    /// Something is suspicious: look soon.
    pub(super) fn hurry(&mut self, now: Instant) {
        let soonest = self.last.map_or(now, |last| last + SPACING);
        self.next = self.next.min(soonest.max(now));
    }

    /// The consumer says that a partition's offset is out of range, but not which. It is no longer read.
    pub(super) fn out_of_range(&mut self, now: Instant) {
        self.out_of_range = Search::Begun;
        self.heard = true;
        self.hurry(now);
    }

    /// When to look.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.asked.is_none().then_some(self.next)
    }

    /// What is to be asked, if it is time. A partition is idle if it has stood since the last question and nothing of it is
    /// in hand.
    pub(super) fn ask<T>(&mut self, ledger: &Ledger<T>, now: Instant) -> Option<Question> {
        if self.asked.is_some() || self.next > now {
            return None;
        }
        self.last = Some(now);
        self.heard = false;
        self.next = now + self.interval;
        let mut expected: BTreeMap<_, _> = ledger.partitions().map(|partition| (partition, None)).collect();
        expected.extend(
            ledger
                .expected()
                .map(|(partition, offset)| (partition, Some(offset))),
        );
        let partitions = expected.keys().copied().collect();
        self.asked = Some(expected);
        let stood = std::mem::take(&mut self.idle);
        self.idle = ledger.idle().collect();
        // While a partition is out of range, a position that moves says that it is another one.
        let is_searching = !matches!(self.out_of_range, Search::Idle);
        let is_idle = |(partition, position): &(&Partition, &i64)| {
            !is_searching && stood.get(partition) == Some(*position)
        };
        let idle = self.idle.iter().filter(is_idle);
        Some(Question {
            partitions,
            idle: idle
                .map(|(partition, position)| (*partition, *position))
                .collect(),
        })
    }

    /// The question was not answered.
    pub(super) fn unanswered(&mut self, now: Instant) {
        self.asked = None;
        if !matches!(self.out_of_range, Search::Idle) {
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
        let all = snapshot.partitions.iter().copied();
        let new: Vec<_> = all.filter(|its| !self.known.contains(its)).collect();
        if !new.is_empty() {
            self.known.extend(&new);
            findings.push(Finding::NewPartitions(new));
        }
        let gone = self.leave_old_topic(snapshot, &asked, ledger);
        let (mut all_beyond, mut answered) = (BTreeSet::new(), 0);
        let ranges = snapshot
            .ranges
            .iter()
            .filter(|(partition, _)| ledger.is_open(*partition));
        for (partition, range) in ranges {
            let Some(&expected) = asked.get(partition) else {
                continue;
            };
            answered += 1;
            let (partition, range) = (*partition, range.clone());
            let beyond = expected.is_some_and(|expected| expected > range.end);
            if beyond {
                all_beyond.insert(partition);
            }
            if self.of_old_topic.remove(&partition) || (beyond && self.beyond.contains(&partition)) {
                findings.push(Finding::BeganAgain {
                    partition,
                    expected,
                    range,
                });
            } else if reads
                && !beyond
                && ledger.expected_in(partition) == expected
                && self.stood(partition, expected)
            {
                findings.push(stopped(partition, expected, range));
            }
        }
        findings.extend(gone);
        let is_there = |partition: &Partition| has(snapshot, *partition);
        if !all_beyond.is_empty() || self.of_old_topic.iter().any(is_there) {
            self.hurry(now);
        }
        self.beyond = all_beyond;
        let there = asked.keys().filter(|partition| is_there(partition)).count();
        let complete = !snapshot.partitions.is_empty() && answered == there && self.beyond.is_empty();
        self.expect_movement(asked, reads && complete, now);
        findings
    }

    /// Whether a partition stands where it stood at the first look after the consumer had said that some is out of range.
    fn stood(&self, partition: Partition, expected: Option<i64>) -> bool {
        match &self.out_of_range {
            Search::Asked(before) => before.get(&partition) == Some(&expected),
            Search::Idle | Search::Begun => false,
        }
    }

    /// If another topic has the name now, nothing of what was read is known of it: the consumer may stand beyond what is
    /// expected, past a transaction's marker.
    fn leave_old_topic<T>(
        &mut self,
        snapshot: &Snapshot,
        asked: &BTreeMap<Partition, Option<i64>>,
        ledger: &Ledger<T>,
    ) -> Option<Finding> {
        if !self.is_replaced(snapshot) {
            return None;
        }
        self.of_old_topic.extend(ledger.partitions());
        let asked = asked.keys().copied();
        let gone: Vec<_> = asked.filter(|its| !has(snapshot, *its)).collect();
        self.known.retain(|its| gone.binary_search(its).is_err());
        (!gone.is_empty()).then_some(Finding::Gone(gone))
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
        self.out_of_range = match self.out_of_range {
            Search::Idle => return,
            Search::Asked(_) if reads && !self.heard => {
                self.out_of_range = Search::Idle;
                return;
            }
            _ if self.heard => Search::Begun,
            _ => Search::Asked(asked),
        };
        self.hurry(now);
    }
}

/// Whether a topic has a partition.
fn has(snapshot: &Snapshot, partition: Partition) -> bool {
    snapshot.partitions.binary_search(&partition).is_ok()
}

/// The search for the partition that is out of range, which the consumer does not name.
#[derive(Debug)]
enum Search {
    /// There is none.
    Idle,
    /// The consumer has said that some partition is out of range; nothing was asked since.
    Begun,
    /// What was expected when the topic was asked for first since.
    Asked(BTreeMap<Partition, Option<i64>>),
}

/// A partition that stood still between two looks: if it is the one that is out of range, it must be read again, and for
/// any other that changes nothing.
fn stopped(partition: Partition, expected: Option<i64>, range: Range<i64>) -> Finding {
    match expected {
        None => Finding::NeverBegan { partition, range },
        Some(expected) if expected < range.start => Finding::Expired {
            partition,
            expected,
            start: range.start,
        },
        Some(expected) => Finding::Stopped { partition, expected },
    }
}

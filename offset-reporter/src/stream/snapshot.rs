//! Owns what was read of a checkpoint, and whether it can be believed. Pure.
//!
//! A store may list late: that a query has fewer batches than before must stand in two listings one after the other. It may
//! lack a file that it lists: an older batch stands in for one that is newer than what was reported, never for an older one.

use std::time::SystemTime;

use checkpoint::BatchId;

use crate::plan::Stamp;
use crate::selection::{ByGroup, unselected};
use crate::source::{BEFORE_FIRST, Seen};

/// In how many listings, one after the other, the newest batch must be older than what was reported.
const CONFIRMATIONS: u8 = 2;

/// What was read of a checkpoint.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// The batch whose positions these are.
    pub(super) stamp: Stamp,
    /// The newest batch that is committed: the same, unless that one's positions cannot be read.
    pub(super) newest: BatchId,
    /// Whether the folder was listed to see this.
    listed: bool,
    pub(super) groups: ByGroup,
    /// The sources and topics of the query, if none of them is selected.
    pub(super) unselected: Option<String>,
    /// When the checkpoint had it, until the groups have it too.
    pub(super) committed_at: Option<SystemTime>,
}

/// Why a snapshot is not believed for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The newest batch is older than what was reported, which was seen once only.
    Unconfirmed,
    /// The positions of the newest batch cannot be read, and a newer one than that which can be was reported already.
    Unreadable,
}

impl Snapshot {
    pub(super) fn of(seen: &Seen, groups: ByGroup) -> Self {
        Self {
            stamp: Stamp::new(&seen.query, seen.readable, seen.log.timestamp_ms),
            newest: seen.newest,
            listed: seen.listed,
            unselected: unselected(&seen.log.sources, &groups),
            groups,
            committed_at: seen.committed_at,
        }
    }

    /// Of a query that stands where it began.
    pub(super) fn before_first(query: &str, groups: ByGroup) -> Self {
        Self {
            stamp: Stamp::new(query, BEFORE_FIRST, None),
            newest: BEFORE_FIRST,
            listed: true,
            unselected: None,
            groups,
            committed_at: None,
        }
    }
}

/// How often in a row a listing had fewer batches than were reported.
#[derive(Debug, Default)]
pub(super) struct Confirmations(u8);

impl Confirmations {
    /// Whether a snapshot is not to be believed, after `reported` was reported of the same query.
    pub(super) fn doubt(&mut self, snapshot: &Snapshot, reported: Option<BatchId>) -> Option<Doubt> {
        let reported = reported.unwrap_or(BEFORE_FIRST);
        if snapshot.newest >= reported {
            self.0 = 0;
            return (snapshot.stamp.batch < reported).then_some(Doubt::Unreadable);
        }
        self.0 = self.0.saturating_add(u8::from(snapshot.listed));
        (self.0 < CONFIRMATIONS).then_some(Doubt::Unconfirmed)
    }

    /// Whether another listing has to confirm what the last one said.
    pub(super) fn are_missing(&self) -> bool {
        (1..CONFIRMATIONS).contains(&self.0)
    }
}

impl Doubt {
    /// The name as logs and metrics have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unconfirmed => "unconfirmed",
            Self::Unreadable => "unreadable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(newest: i64) -> Snapshot {
        Snapshot {
            newest: BatchId(newest),
            stamp: Stamp::new("q", BatchId(newest), None),
            ..Snapshot::before_first("q", ByGroup::new())
        }
    }

    fn doubts(snapshots: &[Snapshot]) -> Vec<Option<Doubt>> {
        let mut confirmations = Confirmations::default();
        snapshots
            .iter()
            .map(|snapshot| confirmations.doubt(snapshot, Some(BatchId(9))))
            .collect()
    }

    #[test]
    fn fewer_batches_must_be_listed_twice() {
        let probed = Snapshot {
            listed: false,
            ..listed(7)
        };
        assert_eq!(
            doubts(&[listed(7), probed, listed(7), listed(7)]),
            [Some(Doubt::Unconfirmed), Some(Doubt::Unconfirmed), None, None]
        );
        assert_eq!(Confirmations::default().doubt(&listed(0), None), None);
    }

    #[test]
    fn a_listing_that_was_late_is_forgotten() {
        assert_eq!(
            doubts(&[listed(8), listed(9), listed(8)]),
            [Some(Doubt::Unconfirmed), None, Some(Doubt::Unconfirmed)]
        );
    }

    #[test]
    fn an_older_batch_does_not_stand_in_for_an_unreadable_one_that_was_reported() {
        let readable = |batch| Snapshot {
            stamp: Stamp::new("q", BatchId(batch), None),
            ..listed(10)
        };
        assert_eq!(
            doubts(&[readable(8), readable(9)]),
            [Some(Doubt::Unreadable), None]
        );
    }
}

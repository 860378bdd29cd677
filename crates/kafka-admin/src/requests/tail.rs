//! Owns the proof that a part of a log holds no record that a reader gets.

use std::collections::BTreeSet;

use super::{BatchHeader, LogSection};
use crate::Offset;

/// What a reader gets of transactions (`isolation.level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Records of aborted and open ones too.
    ReadUncommitted,
    /// Records of committed ones, and none behind the first that is open.
    ReadCommitted,
}

impl LogSection {
    /// The first offset, [`Self::from`] or after it, where a reader may get a record: what stands before it are markers of
    /// transactions, records that were aborted, and places of records that compaction removed. Not after the last batch of
    /// the section, since what follows was not looked at.
    pub fn empty_until(&self, isolation: Isolation) -> Offset {
        let mut aborted: Vec<_> = self.aborted.iter().collect();
        aborted.sort_by_key(|transaction| transaction.first);
        let mut aborted = aborted.into_iter().peekable();
        // Who wrote records that the next marker of theirs aborts.
        let mut aborting = BTreeSet::new();
        let mut until = self.from;
        for batch in &self.batches {
            while let Some(transaction) = aborted.next_if(|transaction| transaction.first <= batch.last) {
                aborting.insert(transaction.producer_id);
            }
            if batch.is_control {
                aborting.retain(|producer| batch.producer_id != Some(*producer));
            }
            if batch.last < self.from {
                continue;
            }
            if !is_empty(batch, &aborting, isolation) {
                return until.max(batch.first);
            }
            let Some(after) = Offset::new(batch.last.get().saturating_add(1)) else {
                return until;
            };
            until = until.max(after);
        }
        until
    }
}

fn is_empty(batch: &BatchHeader, aborting: &BTreeSet<i64>, isolation: Isolation) -> bool {
    let is_aborted = || {
        let producer = batch.producer_id;
        batch.is_transactional && producer.is_some_and(|producer| aborting.contains(&producer))
    };
    match isolation {
        _ if batch.is_control || batch.records == 0 => true,
        Isolation::ReadCommitted => is_aborted(),
        Isolation::ReadUncommitted => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AbortedTransaction;

    fn offset(offset: i64) -> Offset {
        Offset::new(offset).unwrap()
    }

    /// `first..=last` of a producer; one of no producer is not of a transaction.
    fn batch(first: i64, last: i64, producer_id: Option<i64>) -> BatchHeader {
        BatchHeader {
            first: offset(first),
            last: offset(last),
            records: u32::try_from(last - first + 1).unwrap(),
            first_timestamp_ms: None,
            max_timestamp_ms: None,
            producer_id,
            is_transactional: producer_id.is_some(),
            is_control: false,
        }
    }

    fn marker(at: i64, producer: i64) -> BatchHeader {
        BatchHeader {
            is_control: true,
            ..batch(at, at, Some(producer))
        }
    }

    fn section(batches: &[BatchHeader], aborted: &[(i64, i64)]) -> LogSection {
        let aborted = aborted.iter().map(|(producer_id, first)| AbortedTransaction {
            producer_id: *producer_id,
            first: offset(*first),
        });
        LogSection {
            from: offset(0),
            log_start: None,
            last_stable: None,
            high_watermark: None,
            batches: batches.to_vec(),
            aborted: aborted.collect(),
        }
    }

    fn committed(section: &LogSection, from: i64) -> i64 {
        empty_until(section, from, Isolation::ReadCommitted)
    }

    fn empty_until(section: &LogSection, from: i64, isolation: Isolation) -> i64 {
        let section = LogSection {
            from: offset(from),
            ..section.clone()
        };
        section.empty_until(isolation).get()
    }

    #[test]
    fn a_commit_marker_at_the_end_holds_no_record() {
        let section = section(&[batch(0, 9, Some(7)), marker(10, 7)], &[]);
        assert_eq!(committed(&section, 10), 11);
        assert_eq!(committed(&section, 5), 5, "the batch may have records from 5 on");
    }

    #[test]
    fn what_was_aborted_holds_no_record_for_who_reads_committed_alone() {
        let section = section(
            &[batch(3, 5, Some(7)), marker(6, 7), batch(7, 7, Some(7))],
            &[(7, 3)],
        );
        assert_eq!(
            committed(&section, 3),
            7,
            "the next transaction of the producer was committed"
        );
        assert_eq!(committed(&section, 4), 7, "an aborted batch holds none at all");
        assert_eq!(empty_until(&section, 3, Isolation::ReadUncommitted), 3);
    }

    #[test]
    fn a_record_of_another_producer_between_aborted_ones_is_one() {
        let batches = [
            batch(0, 1, Some(7)),
            batch(2, 2, Some(8)),
            batch(3, 3, None),
            marker(4, 7),
            marker(5, 8),
        ];
        assert_eq!(committed(&section(&batches, &[(7, 0)]), 0), 2);
        assert_eq!(committed(&section(&batches, &[(7, 0), (8, 2)]), 0), 3);
    }

    #[test]
    fn what_compaction_removed_holds_no_record_and_what_was_not_looked_at_may() {
        let mut emptied = batch(4, 6, None);
        emptied.records = 0;
        assert_eq!(committed(&section(&[emptied, batch(9, 9, None)], &[]), 4), 9);
        assert_eq!(committed(&section(&[emptied], &[]), 4), 7);
        assert_eq!(committed(&section(&[], &[]), 4), 4);
    }
}

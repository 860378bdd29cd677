//! Owns what is in hand: which records were read, which results may leave, and up to where all are acknowledged.
//!
//! Pure. A record enters when it is read and leaves when its result is acknowledged and so is everything before it in
//! its partition; that is the position that may be committed. A position never passes a record that is not
//! acknowledged, and never goes back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kafka_io::Partition;
use serde::{Deserialize, Serialize};

/// Which results leave in the order in which their records were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    /// Those of a partition, and so those of a key.
    #[default]
    Partition,
    /// None: each leaves when it is ready.
    None,
}

/// A record in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub usize);

/// The records in hand; `T` is a result.
#[derive(Debug)]
pub struct Ledger<T> {
    ordering: Ordering,
    next: usize,
    homes: HashMap<Ticket, Partition>,
    lanes: BTreeMap<Partition, Lane<T>>,
    bytes: usize,
}

/// A partition.
#[derive(Debug)]
struct Lane<T> {
    /// The next record to process, once it is known.
    position: Option<i64>,
    /// Results of records from here on must wait.
    limit: i64,
    slots: BTreeMap<Ticket, Slot>,
    /// Those whose result was not taken yet.
    unsent: BTreeSet<Ticket>,
    ready: BTreeMap<Ticket, T>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    offset: i64,
    bytes: usize,
    acknowledged: bool,
}

impl<T> Ledger<T> {
    /// An empty ledger.
    pub fn new(ordering: Ordering) -> Self {
        Self {
            ordering,
            next: 0,
            homes: HashMap::new(),
            lanes: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Begins with a partition. Its results may leave below `limit` ([`i64::MAX`]: all of them).
    pub fn open(&mut self, partition: Partition, position: Option<i64>, limit: i64) {
        self.close(partition);
        let lane = Lane {
            position,
            limit,
            slots: BTreeMap::new(),
            unsent: BTreeSet::new(),
            ready: BTreeMap::new(),
        };
        self.lanes.insert(partition, lane);
    }

    /// Forgets a partition with all its records; what still comes for them is ignored.
    pub fn close(&mut self, partition: Partition) {
        let Some(lane) = self.lanes.remove(&partition) else {
            return;
        };
        for (ticket, slot) in lane.slots {
            self.homes.remove(&ticket);
            self.bytes -= slot.bytes;
        }
    }

    /// The partitions that are open.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.lanes.keys().copied()
    }

    /// A record was read. `None` if its partition is not open, or the record was read before.
    pub fn arrive(&mut self, partition: Partition, offset: i64, bytes: usize) -> Option<Ticket> {
        let lane = self.lanes.get_mut(&partition)?;
        let expected = lane
            .slots
            .values()
            .next_back()
            .map(|last| last.offset + 1)
            .or(lane.position);
        if expected.is_some_and(|expected| offset < expected) {
            return None;
        }
        if lane.slots.is_empty() {
            // What lies between is gone: compacted, expired, or a transaction's marker.
            lane.position = Some(offset);
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        lane.slots.insert(
            ticket,
            Slot {
                offset,
                bytes,
                acknowledged: false,
            },
        );
        lane.unsent.insert(ticket);
        self.homes.insert(ticket, partition);
        self.bytes += bytes;
        Some(ticket)
    }

    /// There is nothing more to read in a partition for now. If nothing of it is in hand, nothing before its limit is
    /// left, even if the limit is not reached: the last records are gone.
    pub fn reached_end(&mut self, partition: Partition) {
        if let Some(lane) = self.lanes.get_mut(&partition)
            && lane.slots.is_empty()
            && lane.limit != i64::MAX
            && lane.position.is_some_and(|position| position < lane.limit)
        {
            lane.position = Some(lane.limit);
        }
    }

    /// The result of a record is there. It is dropped if the record is no longer in hand.
    pub fn ready(&mut self, ticket: Ticket, result: T) {
        if let Some(lane) = self.homes.get(&ticket).and_then(|home| self.lanes.get_mut(home)) {
            lane.ready.insert(ticket, result);
        }
    }

    /// Takes a result that may leave now, to be sent.
    pub fn take(&mut self) -> Option<(Ticket, T)> {
        let ordering = self.ordering;
        let mut found = None;
        for lane in self.lanes.values_mut() {
            let Some((&ticket, _)) = lane.ready.first_key_value() else {
                continue;
            };
            let in_turn = ordering == Ordering::None || lane.unsent.first() == Some(&ticket);
            let below = lane
                .slots
                .get(&ticket)
                .is_some_and(|slot| slot.offset < lane.limit);
            if in_turn && below {
                lane.unsent.remove(&ticket);
                found = lane.ready.pop_first();
                break;
            }
        }
        found
    }

    /// Puts back a result that was taken and could not be sent.
    pub fn put_back(&mut self, ticket: Ticket, result: T) {
        if let Some(lane) = self.homes.get(&ticket).and_then(|home| self.lanes.get_mut(home)) {
            lane.unsent.insert(ticket);
            lane.ready.insert(ticket, result);
        }
    }

    /// The result of a record is acknowledged. Says whether the record was in hand.
    pub fn acknowledge(&mut self, ticket: Ticket) -> bool {
        let Some(lane) = self
            .homes
            .remove(&ticket)
            .and_then(|home| self.lanes.get_mut(&home))
        else {
            return false;
        };
        if let Some(slot) = lane.slots.get_mut(&ticket) {
            slot.acknowledged = true;
        }
        while let Some(first) = lane.slots.first_entry().filter(|first| first.get().acknowledged) {
            let slot = first.remove();
            self.bytes -= slot.bytes;
            let next = lane
                .slots
                .values()
                .next()
                .map_or(slot.offset + 1, |next| next.offset);
            lane.position = Some(next);
        }
        true
    }

    /// Lets the results of a partition leave below `limit`.
    pub fn release(&mut self, partition: Partition, limit: i64) {
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.limit = limit;
        }
    }

    /// The next record to process in each partition where it is known: everything before it is acknowledged.
    pub fn positions(&self) -> impl Iterator<Item = (Partition, i64)> {
        self.lanes
            .iter()
            .filter_map(|(partition, lane)| Some((*partition, lane.position?)))
    }

    /// Where each partition ends if at most so many records of each are taken from the position on.
    pub fn ends(&self, rows: usize) -> impl Iterator<Item = (Partition, i64)> {
        self.lanes.iter().filter_map(move |(partition, lane)| {
            let last = lane.slots.values().take(rows).next_back();
            Some((*partition, last.map(|slot| slot.offset + 1).or(lane.position)?))
        })
    }

    /// How many partitions have records in hand.
    pub fn busy_partitions(&self) -> usize {
        self.lanes.values().filter(|lane| !lane.slots.is_empty()).count()
    }

    /// Whether a partition has records in hand.
    pub fn is_busy(&self, partition: Partition) -> bool {
        self.lanes
            .get(&partition)
            .is_some_and(|lane| !lane.slots.is_empty())
    }

    /// How many records are not acknowledged.
    pub fn rows(&self) -> usize {
        self.homes.len()
    }

    /// How many bytes the records in hand have.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const P: Partition = Partition(0);

    fn ledger(ordering: Ordering, limit: i64) -> Ledger<&'static str> {
        let mut ledger = Ledger::new(ordering);
        ledger.open(P, Some(0), limit);
        ledger
    }

    fn position<T>(ledger: &Ledger<T>) -> i64 {
        ledger.positions().next().unwrap().1
    }

    #[test]
    fn a_position_waits_for_the_record_before() {
        let mut ledger = ledger(Ordering::None, i64::MAX);
        let [a, b] = [0, 1].map(|offset| ledger.arrive(P, offset, 10).unwrap());
        ledger.ready(b, "b");
        assert_eq!(ledger.take(), Some((b, "b")));
        ledger.acknowledge(b);
        assert_eq!((position(&ledger), ledger.bytes()), (0, 20));
        ledger.ready(a, "a");
        ledger.take();
        ledger.acknowledge(a);
        assert_eq!((position(&ledger), ledger.bytes(), ledger.rows()), (2, 0, 0));
    }

    #[test]
    fn in_order_a_result_waits_for_the_one_before() {
        let mut ledger = ledger(Ordering::Partition, i64::MAX);
        let [a, b] = [0, 1].map(|offset| ledger.arrive(P, offset, 1).unwrap());
        ledger.ready(b, "b");
        assert_eq!(ledger.take(), None);
        ledger.ready(a, "a");
        assert_eq!([ledger.take(), ledger.take()], [Some((a, "a")), Some((b, "b"))]);
    }

    #[test]
    fn a_result_behind_the_limit_waits_for_its_release() {
        let mut ledger = ledger(Ordering::None, 1);
        let [a, b] = [0, 1].map(|offset| ledger.arrive(P, offset, 1).unwrap());
        ledger.ready(b, "b");
        assert_eq!(ledger.take(), None);
        ledger.ready(a, "a");
        assert_eq!((ledger.take(), ledger.take()), (Some((a, "a")), None));
        ledger.release(P, 2);
        assert_eq!(ledger.take(), Some((b, "b")));
    }

    #[test]
    fn gaps_do_not_hold_up_a_position() {
        let mut ledger = ledger(Ordering::None, 100);
        let a = ledger.arrive(P, 90, 1).unwrap();
        ledger.arrive(P, 105, 1).unwrap();
        ledger.ready(a, "a");
        ledger.take();
        ledger.acknowledge(a);
        assert_eq!(position(&ledger), 105, "there is nothing between 90 and 105");
    }

    #[test]
    fn at_the_end_of_a_partition_its_limit_counts_as_reached() {
        let mut ledger = ledger(Ordering::None, 7);
        ledger.reached_end(P);
        assert_eq!(position(&ledger), 7);
        let mut unlimited = self::ledger(Ordering::None, i64::MAX);
        unlimited.reached_end(P);
        assert_eq!(position(&unlimited), 0);
    }

    #[test]
    fn a_record_read_twice_counts_once() {
        let mut ledger = ledger(Ordering::None, i64::MAX);
        assert!(ledger.arrive(P, 5, 1).is_some());
        assert_eq!(ledger.arrive(P, 5, 1), None);
        assert_eq!(
            ledger.arrive(Partition(9), 0, 1),
            None,
            "a partition that is not ours"
        );
    }

    #[test]
    fn what_comes_for_a_closed_partition_is_ignored() {
        let mut ledger = ledger(Ordering::None, i64::MAX);
        let a = ledger.arrive(P, 0, 1).unwrap();
        ledger.close(P);
        ledger.open(P, Some(0), i64::MAX);
        ledger.ready(a, "a");
        assert_eq!(
            (
                ledger.take(),
                ledger.acknowledge(a),
                ledger.rows(),
                ledger.bytes()
            ),
            (None, false, 0, 0)
        );
    }

    proptest! {
        /// Whatever the order of answers and acknowledgements, every result leaves once, in order if asked, and the
        /// position is always the first record that is not acknowledged.
        #[test]
        fn positions_follow_acknowledgements(
            ordered in any::<bool>(),
            answers in Just((0..30_usize).collect::<Vec<_>>()).prop_shuffle(),
            delays in proptest::collection::vec(0..5_usize, 30),
        ) {
            let ordering = if ordered { Ordering::Partition } else { Ordering::None };
            let mut ledger = Ledger::new(ordering);
            ledger.open(P, Some(0), i64::MAX);
            let tickets: Vec<_> = (0..30).map(|offset| ledger.arrive(P, offset, 1).unwrap()).collect();
            let (mut sent, mut unacknowledged): (Vec<usize>, BTreeSet<usize>) = (Vec::new(), (0..30).collect());
            let mut on_their_way: Vec<usize> = Vec::new();
            for (answer, delay) in answers.iter().zip(delays.iter().copied()) {
                ledger.ready(tickets[*answer], *answer);
                while let Some((_, result)) = ledger.take() {
                    sent.push(result);
                    on_their_way.push(result);
                }
                for _ in 0..delay.min(on_their_way.len()) {
                    let acknowledged = on_their_way.remove(delay % on_their_way.len());
                    ledger.acknowledge(tickets[acknowledged]);
                    unacknowledged.remove(&acknowledged);
                }
                let first = unacknowledged.first().copied().unwrap_or(30);
                prop_assert_eq!(position(&ledger), i64::try_from(first).unwrap());
            }
            if ordered {
                prop_assert!(sent.is_sorted());
            }
            sent.sort_unstable();
            prop_assert_eq!(sent, (0..30).collect::<Vec<_>>());
        }
    }
}

//! Owns what is in hand: which records were read, which results may leave, and up to where all are acknowledged.
//!
//! Pure. A record enters when it is read and leaves when its result is acknowledged and so is everything before it in
//! its partition; that is the position that may be committed. A position never passes a record that is not
//! acknowledged, and falls only where the partition is opened again. A result stays here until it is acknowledged, so
//! it can be sent again. No call's cost grows with the number of partitions, except those that name all of them.

mod lane;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use kafka_admin::Partition;
use serde::{Deserialize, Serialize};

use self::lane::{Lane, Slot, Stage};

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

/// What became of a record that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It is in hand.
    Taken(Ticket),
    /// Its offset is below the one that comes next: the consumer repeats itself, or the log began again.
    Behind {
        /// The offset that comes next.
        expected: i64,
    },
    /// Its partition is not open.
    NotAssigned,
}

/// How a result was sent that the broker then refused for its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// In a batch with others, any of which may be the one that is too large. It will be sent again, by itself.
    WithOthers,
    /// By itself: it is too large.
    Alone,
    /// The record is no longer in hand.
    Forgotten,
}

/// The records in hand; `T` is a result.
#[derive(Debug)]
pub struct Ledger<T> {
    ordering: Ordering,
    next: usize,
    /// The partition of each record that is not acknowledged.
    homes: HashMap<Ticket, Partition>,
    lanes: BTreeMap<Partition, Lane<T>>,
    /// Results that may leave now, in the order in which their records were read.
    leaving: BTreeSet<Ticket>,
    /// Results that leave one at a time, each when no other is under way.
    alone: BTreeSet<Ticket>,
    /// The one of them that is under way.
    alone_under_way: Option<Ticket>,
    /// How many results are sent and neither acknowledged nor refused.
    under_way: usize,
    /// Those of them whose partition was closed.
    forgotten: HashSet<Ticket>,
    /// Partitions whose position was not taken since it changed.
    moved: BTreeSet<Partition>,
    rows: usize,
    bytes: usize,
}

impl<T> Ledger<T> {
    /// An empty ledger.
    pub fn new(ordering: Ordering) -> Self {
        Self {
            ordering,
            next: 0,
            homes: HashMap::new(),
            lanes: BTreeMap::new(),
            leaving: BTreeSet::new(),
            alone: BTreeSet::new(),
            alone_under_way: None,
            under_way: 0,
            forgotten: HashSet::new(),
            moved: BTreeSet::new(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Begins with a partition at a position, if that is known already. What was in hand of it is forgotten.
    pub fn open(&mut self, partition: Partition, position: Option<i64>) {
        self.close(partition);
        self.lanes.insert(partition, Lane::at(position));
    }

    /// Marks the position of a partition as one to commit, though nothing was acknowledged: the partition begins here.
    pub fn mark_moved(&mut self, partition: Partition) {
        if self
            .lanes
            .get(&partition)
            .is_some_and(|lane| lane.position.is_some())
        {
            self.moved.insert(partition);
        }
    }

    /// Moves the position of a partition of which nothing is in hand past offsets that hold no record, if it stands before
    /// them.
    pub fn pass(&mut self, partition: Partition, empty: &Range<i64>) {
        if let Some(lane) = self.lanes.get_mut(&partition)
            && lane.slots.is_empty()
            && lane.position == Some(empty.start)
            && empty.start < empty.end
        {
            lane.position = Some(empty.end);
            self.moved.insert(partition);
        }
    }

    /// Forgets a partition with all its records; what still comes for them is ignored.
    pub fn close(&mut self, partition: Partition) {
        let Some(lane) = self.lanes.remove(&partition) else {
            return;
        };
        self.moved.remove(&partition);
        self.rows -= lane.slots.len();
        for (ticket, slot) in lane.slots {
            self.homes.remove(&ticket);
            self.leaving.remove(&ticket);
            self.alone.remove(&ticket);
            self.bytes -= slot.bytes;
            if matches!(slot.stage, Stage::Sent(_)) {
                // It may still share a batch with others.
                self.forgotten.insert(ticket);
            }
        }
    }

    /// The partitions that are open.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.lanes.keys().copied()
    }

    /// The partitions of which nothing is in hand, and where they stand.
    pub fn idle(&self) -> impl Iterator<Item = (Partition, i64)> {
        let idle = self.lanes.iter().filter(|(_, lane)| lane.slots.is_empty());
        idle.filter_map(|(partition, lane)| Some((*partition, lane.position?)))
    }

    /// How many partitions are open.
    pub fn partition_count(&self) -> usize {
        self.lanes.len()
    }

    /// Whether a partition is open.
    pub fn is_open(&self, partition: Partition) -> bool {
        self.lanes.contains_key(&partition)
    }

    /// The offset that comes next in each partition where that is known.
    pub fn expected(&self) -> impl Iterator<Item = (Partition, i64)> {
        self.lanes
            .iter()
            .filter_map(|(partition, lane)| Some((*partition, lane.expected()?)))
    }

    /// The offset that comes next in a partition, if that is known.
    pub fn expected_in(&self, partition: Partition) -> Option<i64> {
        self.lanes.get(&partition)?.expected()
    }

    /// A record was read that keeps `bytes` in memory.
    pub fn arrive(&mut self, partition: Partition, offset: i64, bytes: usize) -> Arrival {
        let Some(lane) = self.lanes.get_mut(&partition) else {
            return Arrival::NotAssigned;
        };
        if let Some(expected) = lane.expected().filter(|&expected| offset < expected) {
            return Arrival::Behind { expected };
        }
        if lane.slots.is_empty() && lane.position != Some(offset) {
            // What lies between is gone: compacted, expired, or a transaction's marker.
            lane.position = Some(offset);
            self.moved.insert(partition);
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        lane.slots.insert(ticket, Slot::new(offset, bytes));
        lane.unsent.insert(ticket);
        self.homes.insert(ticket, partition);
        self.rows += 1;
        self.bytes += bytes;
        Arrival::Taken(ticket)
    }

    /// The result of a record is there, and keeps `bytes` in memory. It is dropped if the record is no longer in hand.
    pub fn ready(&mut self, ticket: Ticket, result: T, bytes: usize) {
        let in_order = self.ordering == Ordering::Partition;
        let Some((lane, slot)) = find(&self.homes, &mut self.lanes, ticket) else {
            return;
        };
        slot.stage = Stage::Ready(result);
        slot.bytes += bytes;
        self.bytes += bytes;
        if !in_order || lane.first() == Some(&ticket) {
            self.leaving.insert(ticket);
        }
    }

    /// The result that leaves next, if one may leave now.
    pub fn next(&self) -> Option<(Ticket, &T)> {
        let ticket = match self.alone.first() {
            _ if self.alone_under_way.is_some() => return None,
            Some(_) if self.under_way > 0 => return None,
            Some(alone) => alone,
            None => self.leaving.first()?,
        };
        let lane = self.lanes.get(self.homes.get(ticket)?)?;
        match &lane.slots.get(ticket)?.stage {
            Stage::Ready(result) => Some((*ticket, result)),
            Stage::Waiting | Stage::Sent(_) | Stage::Acknowledged => None,
        }
    }

    /// The result that [`Self::next`] gave was sent.
    pub fn sent(&mut self, ticket: Ticket) {
        let in_order = self.ordering == Ordering::Partition;
        let Some((_, slot)) = find(&self.homes, &mut self.lanes, ticket) else {
            return;
        };
        slot.sent();
        self.under_way += 1;
        if self.alone.remove(&ticket) {
            self.alone_under_way = Some(ticket);
        }
        self.leaving.remove(&ticket);
        let lane = self.homes.get(&ticket).and_then(|home| self.lanes.get_mut(home));
        if let Some(lane) = lane
            && lane.unsent.remove(&ticket)
            && in_order
        {
            // Whose turn it is now may have been ready for long.
            self.leaving.extend(lane.first_if_ready());
        }
    }

    /// The broker refused a result for its size. It is sent again by itself, in case another in its batch was too
    /// large; in that case it leaves behind results of later records.
    pub fn refused(&mut self, ticket: Ticket) -> Sent {
        let alone = self.alone_under_way == Some(ticket);
        self.forget(ticket);
        let Some((_, slot)) = find(&self.homes, &mut self.lanes, ticket) else {
            return Sent::Forgotten;
        };
        slot.take_back();
        self.returned(ticket);
        self.alone.insert(ticket);
        if alone { Sent::Alone } else { Sent::WithOthers }
    }

    /// Puts another result in the place of one that was refused. It, too, leaves by itself.
    pub fn replace(&mut self, ticket: Ticket, result: T) {
        if let Some((_, slot)) = find(&self.homes, &mut self.lanes, ticket) {
            slot.stage = Stage::Ready(result);
            self.alone.insert(ticket);
            self.leaving.remove(&ticket);
        }
    }

    /// Whether results are under way.
    pub fn is_awaited(&self) -> bool {
        self.under_way > 0
    }

    /// The result of a record is acknowledged. Says whether the record was in hand.
    pub fn acknowledge(&mut self, ticket: Ticket) -> bool {
        let Some(partition) = self.homes.remove(&ticket) else {
            self.forget(ticket);
            return false;
        };
        self.returned(ticket);
        let Some(lane) = self.lanes.get_mut(&partition) else {
            return false;
        };
        let before = lane.position;
        let passed = lane.acknowledge(ticket);
        self.rows -= passed.rows;
        self.bytes -= passed.bytes;
        debug_assert!(before <= lane.position, "a position never falls");
        if before != lane.position {
            self.moved.insert(partition);
        }
        true
    }

    /// The positions that changed since they were taken last: everything before them is acknowledged.
    pub fn take_moved(&mut self) -> Vec<(Partition, i64)> {
        let moved = std::mem::take(&mut self.moved);
        moved
            .into_iter()
            .filter_map(|partition| Some((partition, self.position(partition)?)))
            .collect()
    }

    /// Whether the position of a partition changed since it was taken last.
    pub fn has_moved(&self, partition: Partition) -> bool {
        self.moved.contains(&partition)
    }

    /// Whether any position changed since it was taken last.
    pub fn any_moved(&self) -> bool {
        !self.moved.is_empty()
    }

    /// The next record to process in a partition, where it is known: everything before it is acknowledged.
    pub fn position(&self, partition: Partition) -> Option<i64> {
        self.lanes.get(&partition)?.position
    }

    /// Whether a partition has records in hand.
    pub fn is_busy(&self, partition: Partition) -> bool {
        self.lanes
            .get(&partition)
            .is_some_and(|lane| !lane.slots.is_empty())
    }

    /// Whether the result of a record is still to be acknowledged.
    pub fn has(&self, ticket: Ticket) -> bool {
        self.homes.contains_key(&ticket)
    }

    /// How many records no position has passed yet.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many bytes the records and results in hand keep in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The delivery of a result was reported whose partition was closed meanwhile.
    fn forget(&mut self, ticket: Ticket) {
        if self.forgotten.remove(&ticket) {
            self.returned(ticket);
        }
    }

    /// A result that was sent is no longer under way.
    fn returned(&mut self, ticket: Ticket) {
        self.under_way = self.under_way.saturating_sub(1);
        self.alone_under_way.take_if(|alone| *alone == ticket);
    }
}

/// The slot of a record in hand, and the results of its partition that were not sent.
fn find<'l, T>(
    homes: &HashMap<Ticket, Partition>,
    lanes: &'l mut BTreeMap<Partition, Lane<T>>,
    ticket: Ticket,
) -> Option<(&'l BTreeSet<Ticket>, &'l mut Slot<T>)> {
    let lane = lanes.get_mut(homes.get(&ticket)?)?;
    Some((&lane.unsent, lane.slots.get_mut(&ticket)?))
}

#[cfg(test)]
mod tests;

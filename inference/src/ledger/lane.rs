//! Owns one partition of the ledger: its records in the order in which they were read, and its position.

use std::collections::{BTreeMap, BTreeSet};

use super::Ticket;

/// A partition.
#[derive(Debug)]
pub(super) struct Lane<T> {
    /// The next record to process, once it is known.
    pub(super) position: Option<i64>,
    pub(super) slots: BTreeMap<Ticket, Slot<T>>,
    /// Those whose result was not sent yet.
    pub(super) unsent: BTreeSet<Ticket>,
}

/// A record.
#[derive(Debug)]
pub(super) struct Slot<T> {
    offset: i64,
    pub(super) bytes: usize,
    pub(super) stage: Stage<T>,
}

/// How far the result of a record is.
#[derive(Debug)]
pub(super) enum Stage<T> {
    Waiting,
    Ready(T),
    Sent(T),
    Acknowledged,
}

/// What a position has passed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl<T> Lane<T> {
    pub(super) fn at(position: Option<i64>) -> Self {
        Self {
            position,
            slots: BTreeMap::new(),
            unsent: BTreeSet::new(),
        }
    }

    /// The offset that comes next, once it is known.
    pub(super) fn expected(&self) -> Option<i64> {
        let last = self.slots.values().next_back();
        last.map(|last| last.offset + 1).or(self.position)
    }

    /// The record whose result leaves first, if that is ready.
    pub(super) fn first_if_ready(&self) -> Option<Ticket> {
        let first = self.unsent.first()?;
        let ready = matches!(self.slots.get(first)?.stage, Stage::Ready(_));
        ready.then_some(*first)
    }

    /// The result of a record is acknowledged: the position moves on to the first record that is not.
    pub(super) fn acknowledge(&mut self, ticket: Ticket) -> Passed {
        if let Some(slot) = self.slots.get_mut(&ticket) {
            slot.stage = Stage::Acknowledged;
        }
        let mut passed = Passed::default();
        while let Some(first) = self
            .slots
            .first_entry()
            .filter(|first| matches!(first.get().stage, Stage::Acknowledged))
        {
            let slot = first.remove();
            passed.rows += 1;
            passed.bytes += slot.bytes;
            let next = self.slots.values().next();
            self.position = Some(next.map_or(slot.offset + 1, |next| next.offset));
        }
        passed
    }
}

impl<T> Slot<T> {
    pub(super) fn new(offset: i64, bytes: usize) -> Self {
        Self {
            offset,
            bytes,
            stage: Stage::Waiting,
        }
    }

    pub(super) fn sent(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Ready(result) => Stage::Sent(result),
            other => other,
        };
    }

    pub(super) fn take_back(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Sent(result) => Stage::Ready(result),
            other => other,
        };
    }
}

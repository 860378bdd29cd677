//! Owns what the world knows of one reading of a partition by one worker: since it was opened, until it is closed or
//! begun again. The laws that can be stated of it alone are checked here.

use std::collections::BTreeMap;

use super::ends::{Asked, MAX_BROKER_BYTES};
use super::log::Serial;

/// A record that was given to the worker.
#[derive(Debug, Default)]
struct Given {
    serial: Serial,
    acknowledged: bool,
    under_way: bool,
    refusals: u32,
    is_dead_letter: bool,
    /// Of the result that was sent last.
    bytes: usize,
}

/// One reading of a partition.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) id: usize,
    pub(crate) from: i64,
    pub(crate) generation: usize,
    /// The topic that the worker knew when it was opened.
    pub(crate) topic: u32,
    /// It was opened because the log began again or expired.
    pub(crate) by_reset: bool,
    /// Records of a later generation were read before anybody noticed.
    pub(crate) mixed: bool,
    /// The consumer has found its offset out of range.
    pub(crate) out_of_range: bool,
    /// It is to be read from here; what comes until then was read before.
    pub(crate) awaits: Option<i64>,
    given: BTreeMap<i64, Given>,
    last_sent: i64,
    ordered: i64,
}

impl Opening {
    pub(crate) fn new(id: usize, from: i64, generation: usize, by_reset: bool) -> Self {
        Self {
            id,
            from,
            generation,
            topic: 0,
            by_reset,
            mixed: false,
            out_of_range: false,
            awaits: None,
            given: BTreeMap::new(),
            last_sent: -1,
            ordered: -1,
        }
    }

    /// The offset that comes next, as far as records were given.
    pub(crate) fn expected(&self) -> i64 {
        self.given.keys().next_back().map_or(self.from, |last| last + 1)
    }

    /// It is read on at this offset. Before the first record, that may be lower.
    pub(crate) fn read_on(&mut self, at: i64) {
        if self.given.is_empty() {
            self.from = self.from.min(at);
        }
    }

    pub(crate) fn give(&mut self, offset: i64, serial: Serial) {
        if offset >= self.expected() {
            let given = Given {
                serial,
                ..Given::default()
            };
            self.given.insert(offset, given);
        }
    }

    /// A result is sent: the only one, or after one that was refused, and in order.
    pub(crate) fn send(&mut self, offset: i64, asked: &Asked, in_order: bool) -> Result<(), String> {
        let Some(given) = self
            .given
            .get_mut(&offset)
            .filter(|given| given.serial == asked.serial)
        else {
            return Err(format!("a result for offset {offset} that was not read"));
        };
        if given.under_way || given.acknowledged {
            return Err(format!("a second result for offset {offset}"));
        }
        let again = given.refusals > 0;
        if in_order && !again {
            if offset < self.last_sent {
                return Err(format!(
                    "the result for offset {offset} leaves after {}",
                    self.last_sent
                ));
            }
            self.last_sent = offset;
        }
        if again && given.bytes <= MAX_BROKER_BYTES && given.bytes != asked.bytes {
            return Err(format!(
                "the result for offset {offset} is replaced, and it was small enough"
            ));
        }
        given.bytes = asked.bytes;
        given.is_dead_letter = asked.is_dead_letter;
        given.under_way = !asked.refused;
        given.refusals += u32::from(asked.refused);
        Ok(())
    }

    pub(crate) fn report(&mut self, offset: i64, delivered: bool) {
        if let Some(given) = self.given.get_mut(&offset) {
            given.under_way = false;
            given.acknowledged = delivered;
            given.refusals += u32::from(!delivered);
        }
    }

    /// A commit of this position begins: it never falls, and everything before it is acknowledged.
    pub(crate) fn order(&mut self, position: i64) -> Result<(), String> {
        if position < self.ordered {
            return Err(format!("position {position} is committed after {}", self.ordered));
        }
        self.ordered = position;
        match self
            .given
            .range(..position)
            .find(|(_, given)| !given.acknowledged)
        {
            Some((offset, _)) => Err(format!(
                "position {position} is committed, {offset} is not acknowledged"
            )),
            None => Ok(()),
        }
    }

    /// The position that would be reached if what is acknowledged were committed.
    pub(crate) fn acknowledged(&self) -> Option<i64> {
        let mut acknowledged = self.given.iter().take_while(|(_, given)| given.acknowledged);
        acknowledged.by_ref().last().map(|(offset, _)| offset + 1)
    }

    /// A record whose result is under way.
    pub(crate) fn under_way(&self) -> Option<i64> {
        let mut given = self.given.iter();
        given
            .find(|(_, given)| given.under_way)
            .map(|(offset, _)| *offset)
    }
}

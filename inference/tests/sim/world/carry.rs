//! Owns what becomes of what a worker asks for, and the laws on that.

use inference::config::OnReset;
use inference::ledger::Ordering;
use inference::worker::Orders;

use super::ends::{Asked, Call};
use super::instance::{DESTINATIONS, Flight, Inspection, Instance};
use super::log::index;
use super::opening::Opening;
use super::store::{Pending, Position};
use super::{Checked, World};

/// What a record or a result keeps in memory, at the most, in this world.
const MAX_RECORD_BYTES: usize = 1100;
const MAX_RESULT_BYTES: usize = 900;

impl World {
    /// Carries out a worker's calls. In `advance` a partition is read again from elsewhere because its log began again;
    /// otherwise because reading had stopped.
    pub(super) fn carry_out(&mut self, place: usize, in_advance: bool) -> Checked {
        let mut calls = std::mem::take(&mut self.instances[place].ends.state().calls);
        for call in calls.drain(..) {
            match call {
                Call::Send(asked) => self.send(place, &asked)?,
                Call::Restart(partition, at) if in_advance => self.begin_again(place, partition, at)?,
                Call::Restart(partition, at) => self.read_on(place, partition, at)?,
                Call::Pause(partitions, paused) => {
                    let reading = &mut self.instances[place].consumer.reading;
                    for partition in partitions {
                        reading
                            .entry(partition)
                            .and_modify(|reading| reading.paused = paused);
                    }
                }
                Call::Add(partitions) => {
                    for partition in partitions {
                        let start = self.logs.now(partition).start;
                        self.instances[place].consumer.read(partition, start);
                        self.open(place, partition, start, false);
                    }
                }
            }
        }
        self.instances[place].ends.state().calls = calls;
        Ok(())
    }

    pub(crate) fn open(&mut self, place: usize, partition: usize, from: i64, by_reset: bool) {
        self.next_opening += 1;
        let instance = &mut self.instances[place];
        let generation = if by_reset {
            instance.seen[partition]
        } else {
            self.logs.generation(partition)
        };
        let mut opening = Opening::new(self.next_opening, from, generation, by_reset);
        opening.topic = instance.topic;
        instance.openings.insert(partition, opening);
    }

    fn send(&mut self, place: usize, asked: &Asked) -> Checked {
        let instance = &mut self.instances[place];
        let written = &self.logs.written[asked.serial as usize];
        let in_order = self.setup.ordering == Ordering::Partition;
        let opening = instance.openings.get_mut(&written.partition);
        let opening = opening.ok_or("a result was sent for a partition that was lost")?;
        let sent = opening.send(written.offset, asked, in_order);
        sent.map_err(|what| format!("partition {}: {what}", written.partition))?;
        if !asked.refused {
            let destination = if asked.is_dead_letter {
                DESTINATIONS - 1
            } else {
                asked.serial as usize % (DESTINATIONS - 1)
            };
            instance.flights.push(Flight {
                tag: asked.tag,
                serial: asked.serial,
                bytes: asked.bytes,
                destination,
                opening: opening.id,
                taken: None,
            });
        }
        Ok(())
    }

    /// Reading of a partition had stopped; it goes on where it stood.
    fn read_on(&mut self, place: usize, partition: usize, at: i64) -> Checked {
        let instance = &self.instances[place];
        let (seen, current) = (instance.seen[partition], self.logs.generation(partition));
        let stood = instance.openings.get(&partition).map(Opening::expected);
        let skips = |from| self.logs.unanswered(partition, seen, from, at).is_some();
        if stood.is_none_or(|expected| at > expected && skips(expected)) {
            return Err(format!(
                "partition {partition} is read on at {at}, and records are passed over"
            ));
        }
        if seen != current {
            self.logs.excuse_below(partition, at);
        }
        let instance = &mut self.instances[place];
        if let Some(opening) = instance.openings.get_mut(&partition) {
            opening.read_on(at);
        }
        instance.consumer.restart(partition, at);
        Ok(())
    }

    /// The log of a partition began again: it is read from elsewhere, by policy.
    fn begin_again(&mut self, place: usize, partition: usize, at: i64) -> Checked {
        self.tally.resets += 1;
        let (seen, current) = (
            self.instances[place].seen[partition],
            self.logs.generation(partition),
        );
        let Some(opening) = self.instances[place].openings.get(&partition) else {
            return Err(format!("partition {partition} is read again though it was lost"));
        };
        if !self.has_begun_again(opening, partition) {
            return Err(format!(
                "partition {partition} is read again from {at} though its log did not begin again"
            ));
        }
        if let Some(offset) = opening.under_way() {
            return Err(format!(
                "partition {partition} is read again, and the result of {offset} is under way"
            ));
        }
        let skipped = self.logs.unanswered(partition, current, 0, at);
        if self.setup.on_reset == OnReset::Latest || seen != current {
            self.logs.excuse_below(partition, at);
        } else if let Some(serial) = skipped {
            let offset = self.logs.written[serial as usize].offset;
            return Err(format!(
                "partition {partition} is read from {at}, and {offset} is passed over"
            ));
        }
        self.tell(|| format!("    partition {partition} is read again from {at}"));
        self.instances[place].consumer.restart(partition, at);
        self.open(place, partition, at, true);
        let opening = self.instances[place].openings.get_mut(&partition);
        opening.unwrap().awaits = Some(at);
        Ok(())
    }

    pub(super) fn has_begun_again(&self, opening: &Opening, partition: usize) -> bool {
        // A reset goes where a snapshot says, and the log may be cut once more before that.
        let log = self.logs.now(partition);
        let expired = !(log.start..=log.end()).contains(&opening.expected());
        let another = opening.generation != self.logs.generation(partition) || opening.mixed;
        another || self.is_renamed(opening) || expired || opening.out_of_range
    }

    /// What is in hand is bounded, and either all partitions are paused or none is.
    pub(super) fn check_bounds(&mut self, place: usize) -> Checked {
        let [rows, bytes] = [&self.metrics.in_flight_rows, &self.metrics.in_flight_bytes]
            .map(|gauge| usize::try_from(gauge.get()).unwrap());
        self.instances[place].in_hand = (rows, bytes);
        let Instance {
            consumer, openings, ..
        } = &self.instances[place];
        let read = consumer
            .reading
            .iter()
            .filter(|(partition, _)| openings.contains_key(partition))
            .filter(|(partition, _)| !consumer.restarts(**partition) && !consumer.has_lost(**partition))
            .filter(|(partition, _)| !consumer.has_released(**partition));
        let mut paused = read.map(|(_, reading)| reading.paused);
        let first = paused.next();
        if first.is_some_and(|first| paused.any(|paused| paused != first)) {
            return Err("some partitions are paused, and some are not".to_owned());
        }
        // A partition that comes while reading is paused is read from until its pause.
        let ahead = consumer.capacity * openings.len().max(1);
        let max_bytes = self.setup.bytes + ahead * MAX_RECORD_BYTES + rows * MAX_RESULT_BYTES;
        if rows > self.setup.rows + ahead || bytes > max_bytes {
            return Err(format!("{rows} rows and {bytes} bytes are in hand"));
        }
        let full = rows >= self.setup.rows || bytes >= self.setup.bytes;
        let low = rows <= self.setup.rows / 2 && bytes <= self.setup.bytes / 2;
        match first {
            Some(false) if full => Err(format!(
                "{rows} rows and {bytes} bytes are in hand, and reading goes on"
            )),
            Some(true) if low => Err(format!(
                "{rows} rows and {bytes} bytes are in hand, and reading is paused"
            )),
            _ => Ok(()),
        }
    }

    /// Begins what a worker ordered.
    pub(super) fn begin(&mut self, place: usize, orders: Orders) -> Checked {
        if let Some(question) = orders.inspect {
            let inspection = Inspection {
                question,
                snapshot: None,
            };
            if self.instances[place].inspection.replace(inspection).is_some() {
                return Err("two inspections at a time".to_owned());
            }
        }
        let Some(commit) = orders.commit else {
            return Ok(());
        };
        let instance = &mut self.instances[place];
        let (mut positions, mut left_out) = (Vec::new(), false);
        for (partition, offset) in commit.positions {
            let partition = index(partition);
            let opening = instance.openings.get_mut(&partition);
            let opening =
                opening.ok_or_else(|| format!("partition {partition} is committed after it was lost"))?;
            let ordered = opening.order(offset);
            ordered.map_err(|what| format!("partition {partition}: {what}"))?;
            let unanswered = self
                .logs
                .unanswered(partition, opening.generation, opening.from, offset);
            if let Some(serial) = unanswered.filter(|_| !opening.mixed) {
                return Err(format!(
                    "partition {partition}: {offset} is committed, and {} has no durable result",
                    self.logs.written[serial as usize].offset
                ));
            }
            let position = Position {
                offset,
                generation: opening.generation,
                mixed: opening.mixed,
                stale: instance.consumer.has_lost(partition),
            };
            if position.stale || instance.consumer.is_unaccepted(partition) {
                left_out = true;
                continue;
            }
            positions.push((partition, position, opening.by_reset || opening.mixed));
        }
        self.tally.commits += 1;
        let pending = Pending {
            positions,
            left_out,
            may_fall: commit.may_fall,
            of: instance.generation,
            answer: None,
        };
        if instance.commit.replace(pending).is_some() {
            return Err("two commits at a time".to_owned());
        }
        Ok(())
    }
}

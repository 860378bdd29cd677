//! Owns what goes on while nothing is wrong.

use std::time::Duration;

use inference::consume::{Question, Snapshot};
use inference::model::{Spent, TextError};
use inference::progress::CommitFailure;
use inference::record::Processed;
use inference::sessions::{Answer as Predicted, Answered};
use inference::worker::Happening;
use kafka_io::{Delivery, DeliveryError, Event, Start};

use super::Action;
use crate::world::{Answer, Assigned, Checked, Item, Kind, World, index, named, partition};

/// The loop turns at least this often.
const TURN: Duration = Duration::from_secs(1);

impl World {
    pub(super) fn add_quiet(&self, place: usize, actions: &mut Vec<(Action, usize)>) {
        let instance = &self.instances[place];
        let commit = instance.commit.as_ref().map(|commit| commit.answer.is_some());
        let inspection = instance
            .inspection
            .as_ref()
            .map(|inspection| inspection.snapshot.is_some());
        let can = [
            (
                Action::Fetch(place),
                8,
                instance.consumer.fetchable(&self.logs).next().is_some(),
            ),
            (Action::Event(place), 10, !instance.consumer.channel.is_empty()),
            (
                Action::Restarts(place),
                4,
                !instance.consumer.restarts.is_empty() && instance.consumer.revoking.is_none(),
            ),
            (Action::Answer(place), 6, !instance.ends.state().slices.is_empty()),
            (Action::Write(place), 5, instance.waiting(0).is_some()),
            (Action::Report(place), 6, instance.reportable(0).is_some()),
            (Action::CommitArrives(place), 3, commit == Some(false)),
            (Action::CommitAnswered(place), 4, commit == Some(true)),
            (Action::Inspect(place), 3, inspection == Some(false)),
            (Action::Inspected(place), 3, inspection == Some(true)),
            (Action::Turn(place), 3, true),
        ];
        actions.extend(
            can.into_iter()
                .filter(|(.., can)| *can)
                .map(|(action, weight, _)| (action, weight)),
        );
    }

    pub(super) fn append(&mut self) -> Checked {
        let partition = self.tape.below(self.logs.partitions.len());
        for _ in 0..=self.tape.below(3) {
            let kind = Kind::of(self.tape.byte());
            self.tell(|| format!("    a {kind:?} record in partition {partition}"));
            self.logs.append(partition, kind);
        }
        Ok(())
    }

    pub(super) fn fetch(&mut self, place: usize) -> Checked {
        let fetchable: Vec<_> = self.instances[place].consumer.fetchable(&self.logs).collect();
        let partition = fetchable[self.tape.below(fetchable.len())];
        self.instances[place].consumer.fetch(partition, &self.logs);
        Ok(())
    }

    pub(super) fn event(&mut self, place: usize) -> Checked {
        let instance = &mut self.instances[place];
        let Some(item) = instance.consumer.channel.pop_front() else {
            return Ok(());
        };
        let event = match item {
            Item::Record {
                serial,
                partition: index,
                generation,
            } => {
                self.given(place, index, serial, generation);
                Event::Record(self.logs.written[serial as usize].record(serial))
            }
            Item::End(index) => Event::EndOfPartition(partition(index)),
            Item::Restarted(index, at) => {
                if let Some(opening) = instance.openings.get_mut(&index) {
                    opening.awaits.take_if(|awaited| *awaited == at);
                }
                Event::Restarted(partition(index), Start::At(at))
            }
            Item::Assigned(assigned) => {
                self.assigned(place, &assigned);
                let assigned: Vec<_> = assigned.iter().map(|its| its.partition).collect();
                Event::Assigned(named(&assigned))
            }
            Item::Revoking(partitions, revocation) => Event::Revoking(named(&partitions), revocation),
            Item::Lost(partitions) => {
                instance
                    .openings
                    .retain(|partition, _| !partitions.contains(partition));
                Event::Lost(named(&partitions))
            }
            Item::OutOfRange(partition) => {
                if let Some(opening) = instance.openings.get_mut(&partition) {
                    opening.out_of_range = true;
                }
                Event::OutOfRange
            }
            Item::Other(event) => event,
        };
        self.tell(|| format!("    {event:?}").chars().take(120).collect());
        self.happen(place, Happening::Event(event))
    }

    /// A worker is given partitions. Those that have been taken away by now, and perhaps given again, it does not begin.
    fn assigned(&mut self, place: usize, assigned: &[Assigned]) {
        for its in assigned {
            let instance = &self.instances[place];
            let consumer = &instance.consumer;
            if !consumer.reading.contains_key(&its.partition) || consumer.is_unaccepted(its.partition) {
                continue;
            }
            let mut state = instance.ends.state();
            state.starts.insert(its.partition, its.from);
            drop(state);
            self.open(place, its.partition, its.from, false);
            let opening = self.instances[place].openings.get_mut(&its.partition);
            opening.unwrap().generation = its.generation;
        }
    }

    /// A record is given to a worker, perhaps of a log that began again since the partition was opened.
    fn given(&mut self, place: usize, partition: usize, serial: u32, generation: usize) {
        let offset = self.logs.written[serial as usize].offset;
        let Some(opening) = self.instances[place].openings.get_mut(&partition) else {
            return;
        };
        if opening.awaits.is_some() {
            return;
        }
        // What is behind is not taken, so the worker still stands in the log of before.
        if generation > opening.generation && offset >= opening.expected() {
            if self.setup.has_topic_ids && opening.topic != self.logs.incarnation {
                opening.mixed = true;
            } else {
                opening.generation = generation;
                if generation == self.logs.generation(partition) {
                    self.logs.excuse_below(partition, offset);
                }
            }
        }
        self.instances[place]
            .openings
            .get_mut(&partition)
            .unwrap()
            .give(offset, serial);
    }

    pub(super) fn answer(&mut self, place: usize, fails: bool) -> Checked {
        let mut state = self.instances[place].ends.state();
        let slice = self.tape.below(state.slices.len());
        let Some(slice) = state.slices.remove(slice) else {
            return Ok(());
        };
        drop(state);
        let outcome = |fails: bool, tape: &mut crate::tape::Tape| match fails.then(|| tape.below(4)) {
            None | Some(3) => Ok(Vec::new()),
            Some(0) => Err(TextError::Failed("no".to_owned())),
            Some(1) => Err(TextError::Panicked),
            Some(_) => Err(TextError::TooLong {
                characters: 2,
                limit: 1,
            }),
        };
        let answers = slice.iter().map(|waiting| Predicted {
            ticket: waiting.ticket,
            outcome: outcome(fails, &mut self.tape),
            processed: Processed::default(),
        });
        let answered = Answered {
            answers: answers.collect(),
            took: Duration::ZERO,
            spent: Spent::default(),
        };
        self.happen(place, Happening::Answered(answered))
    }

    pub(super) fn write(&mut self, place: usize) -> Checked {
        let (from, rows) = (self.tape.below(8), 1 + self.tape.below(4));
        if let Some(destination) = self.instances[place].waiting(from) {
            self.instances[place].write(destination, rows, &mut self.logs);
        }
        Ok(())
    }

    pub(super) fn report(&mut self, place: usize) -> Checked {
        let from = self.tape.below(8);
        let instance = &mut self.instances[place];
        let Some(flight) = instance.reportable(from) else {
            return Ok(());
        };
        let flight = instance.flights.remove(flight);
        instance.ends.state().queued = instance.flights.len();
        let delivered = flight.taken == Some(true);
        let written = &self.logs.written[flight.serial as usize];
        let opening = instance.openings.get_mut(&written.partition);
        if let Some(opening) = opening.filter(|opening| opening.id == flight.opening) {
            opening.report(written.offset, delivered);
        }
        let delivery = Delivery {
            tag: flight.tag,
            result: delivered.then_some(()).ok_or(DeliveryError::TooLarge),
        };
        self.tell(|| format!("    {delivery:?}"));
        self.happen(place, Happening::Delivery(delivery))
    }

    pub(super) fn commit_arrives(&mut self, place: usize) -> Checked {
        let instance = &mut self.instances[place];
        if let Some(pending) = &mut instance.commit {
            let answer = self.store.land(pending, instance.id, instance.fenced)?;
            pending.answer = Some(answer);
            if !self.store.is_group && answer == Answer::Done {
                instance.generation = self.store.batches();
            }
            let said = format!("    {answer:?}: {:?}", pending.positions);
            self.tell(|| said);
        }
        Ok(())
    }

    pub(super) fn commit_answered(&mut self, place: usize) -> Checked {
        let instance = &mut self.instances[place];
        let answer = instance.commit.take().and_then(|pending| pending.answer);
        instance.commit_failed = answer != Some(Answer::Done);
        let outcome = match answer {
            Some(Answer::Done) => Ok(None),
            Some(Answer::Contested) => {
                self.tally.contested += 1;
                instance.fatal = true;
                Err(CommitFailure::Permanent(anyhow::anyhow!("contested")))
            }
            Some(Answer::Failed) | None => Err(CommitFailure::Transient(anyhow::anyhow!("refused"))),
        };
        self.happen(place, Happening::Committed(outcome))
    }

    pub(super) fn inspect(&mut self, place: usize) -> Checked {
        let all = 0..self.logs.partitions.len();
        let Some(inspection) = &mut self.instances[place].inspection else {
            return Ok(());
        };
        let Question { partitions, idle } = &inspection.question;
        let there = partitions.iter().map(|its| index(*its));
        let ranges = there.filter(|index| all.contains(index)).map(|index| {
            let log = self.logs.now(index);
            (partition(index), log.start..log.end())
        });
        let idle = idle.iter().filter(|(its, _)| all.contains(&index(*its)));
        let empty = idle.filter_map(|(its, position)| {
            let log = self.logs.now(index(*its));
            let next = self.logs.next(index(*its), *position);
            let until = next.map_or(log.end(), |serial| self.logs.written[serial as usize].offset);
            (log.start <= *position && *position < until).then_some((*its, *position..until))
        });
        let snapshot = Snapshot {
            topic_id: self.setup.topic_id(&self.logs),
            partitions: all.clone().map(partition).collect(),
            ranges: ranges.collect(),
            empty: empty.collect(),
            missing: Vec::new(),
        };
        let generations = all.map(|partition| self.logs.generation(partition)).collect();
        inspection.snapshot = Some((snapshot, generations, self.logs.incarnation));
        Ok(())
    }

    pub(super) fn inspected(&mut self, place: usize) -> Checked {
        let instance = &mut self.instances[place];
        let inspection = instance.inspection.take();
        let Some((snapshot, generations, topic)) = inspection.and_then(|inspection| inspection.snapshot)
        else {
            return Ok(());
        };
        if !snapshot.partitions.is_empty() {
            instance.renamed |= snapshot.topic_id.is_some() && topic != instance.topic;
            (instance.seen, instance.topic) = (generations, topic);
        }
        instance.saw_low_end = false;
        for (partition, passed) in &snapshot.empty {
            let partition = index(*partition);
            let generation = self.logs.generation(partition);
            let Some(opening) = self.instances[place].openings.get_mut(&partition) else {
                continue;
            };
            // The log is another one since the partition was opened.
            if opening.generation != generation {
                opening.mixed = true;
                let is_noticed = self.setup.has_topic_ids && opening.topic != self.logs.incarnation;
                if !is_noticed {
                    self.logs.excuse_below(partition, passed.end);
                }
            }
        }
        self.happen(place, Happening::Inspected(Ok(snapshot)))
    }

    /// Nothing happens until the loop turns, or something is due.
    pub(super) fn turn(&mut self, place: usize) -> Checked {
        let turn = self.now + TURN;
        let due = self.instances[place].worker.deadline();
        self.now = due.map_or(turn, |due| due.clamp(self.now, turn));
        self.happen(place, Happening::Turn)
    }
}

//! Owns what goes wrong.

use inference::progress::CommitFailure;
use inference::worker::Happening;
use kafka_io::{Delivery, DeliveryError, Event};

use super::Action;
use crate::world::{Checked, Item, World};

impl World {
    pub(super) fn add_faults(&self, place: usize, actions: &mut Vec<(Action, usize)>) {
        let instance = &self.instances[place];
        let slices = !instance.ends.state().slices.is_empty();
        let commit = instance.commit.as_ref();
        let under_way = commit.is_some_and(|commit| commit.answer.is_none());
        let arrived = commit.is_some_and(|commit| commit.answer.is_some());
        let inspection = instance.inspection.as_ref();
        let asked = inspection.is_some_and(|inspection| inspection.snapshot.is_none());
        let answered = inspection.is_some_and(|inspection| inspection.snapshot.is_some());
        let member = self.setup.is_group && !instance.fenced;
        let can = [
            (Action::AnswerFails(place), 2, slices),
            (Action::CommitFails(place), 1, under_way),
            (Action::CommitAnswerLost(place), 2, arrived),
            (Action::InspectionFails(place), 1, asked),
            (Action::InspectedLow(place), 1, answered && !instance.saw_low_end),
            (Action::InspectedMissing(place), 1, answered),
            (Action::Trouble(place), 1, true),
            (Action::Rewind(place), 1, !instance.consumer.reading.is_empty()),
            (Action::DrainEnds(place), 2, instance.consumer.revoking.is_some()),
            (Action::Fence(place), 1, member),
            (Action::DeliveryFails(place), 1, !instance.flights.is_empty()),
            (Action::SessionEnds(place), 1, slices),
            (Action::Stop(place), 2, !instance.stopping),
            (Action::Kill(place), 2, true),
        ];
        actions.extend(
            can.into_iter()
                .filter(|(.., can)| *can)
                .map(|(action, weight, _)| (action, weight)),
        );
    }

    pub(super) fn fault(&mut self, fault: Action) -> Checked {
        match fault {
            Action::CommitFails(place) | Action::CommitAnswerLost(place) => {
                self.instances[place].commit = None;
                self.instances[place].commit_failed = true;
                let failure = CommitFailure::Transient(anyhow::anyhow!("no answer"));
                self.happen(place, Happening::Committed(Err(failure)))
            }
            Action::InspectionFails(place) => {
                self.instances[place].inspection = None;
                self.happen(place, Happening::Inspected(Err(anyhow::anyhow!("no answer"))))
            }
            Action::InspectedLow(place) => self.inspected_low(place),
            Action::InspectedMissing(place) => {
                let inspection = &mut self.instances[place].inspection;
                if let Some((snapshot, ..)) = inspection.as_mut().and_then(|its| its.snapshot.as_mut()) {
                    snapshot.partitions.clear();
                    snapshot.ranges.clear();
                    snapshot.topic_id = None;
                    snapshot.missing = vec!["output".into()];
                }
                self.inspected(place)
            }
            Action::Trouble(place) => {
                let event = if self.tape.below(2) == 0 {
                    Event::Trouble("trouble".to_owned())
                } else {
                    Event::Disconnected("no broker".to_owned())
                };
                self.instances[place]
                    .consumer
                    .channel
                    .push_back(Item::Other(event));
                self.instances[place]
                    .consumer
                    .channel
                    .push_back(Item::Other(Event::Connected));
                Ok(())
            }
            Action::DrainEnds(place) => {
                let released = self.instances[place].consumer.is_released();
                if !released {
                    self.end_revocation(place, false);
                }
                Ok(())
            }
            Action::Fence(place) => {
                self.fence(place);
                Ok(())
            }
            Action::DeliveryFails(place) => self.delivery_fails(place),
            Action::SessionEnds(place) => {
                self.instances[place].fatal = true;
                self.instances[place].ends.state().session_ended = true;
                self.happen(place, Happening::Turn)
            }
            Action::Stop(place) => {
                self.instances[place].stopping = true;
                self.happen(place, Happening::Stop)
            }
            Action::Kill(place) => {
                self.kill(place);
                Ok(())
            }
            topic => self.topic_changes(topic),
        }
    }

    fn topic_changes(&mut self, change: Action) -> Checked {
        let partition = self.tape.below(self.logs.partitions.len());
        let length = usize::try_from(self.logs.now(partition).end()).unwrap();
        let offset = i64::try_from(self.tape.below(length + 1)).unwrap();
        self.tell(|| format!("    partition {partition}, offset {offset}"));
        match change {
            Action::Marker => self.logs.append_marker(partition),
            Action::Compact => self.logs.compact(partition, offset),
            Action::Expire => self.logs.expire(partition, offset),
            Action::Truncate => self.logs.truncate(partition, offset),
            Action::CreateAgain => self.logs.create_again(),
            Action::AddPartition => {
                self.logs.add_partition();
                self.store.committed.push(None);
                self.store.owners.push(None);
            }
            Action::Rewind(place) => {
                let reading = &mut self.instances[place].consumer.reading;
                if let Some(reading) = reading.values_mut().next() {
                    reading.fetch = reading.fetch.min(offset);
                }
            }
            other => return Err(format!("{other:?} is not handled")),
        }
        Ok(())
    }

    /// A new leader says for a moment that the log is shorter.
    fn inspected_low(&mut self, place: usize) -> Checked {
        let back = 1 + i64::from(self.tape.byte() % 4);
        let inspection = &mut self.instances[place].inspection;
        if let Some((snapshot, ..)) = inspection.as_mut().and_then(|its| its.snapshot.as_mut()) {
            for (_, range) in &mut snapshot.ranges {
                range.end = (range.end - back).max(range.start);
            }
        }
        let instances = self.instances.len();
        let id = self.instances[place].id;
        self.inspected(place)?;
        if self.instances.len() == instances && self.instances[place].id == id {
            self.instances[place].saw_low_end = true;
        }
        Ok(())
    }

    /// The producer gives a result up; whether the broker has it, nobody knows.
    fn delivery_fails(&mut self, place: usize) -> Checked {
        let durable = self.tape.below(2) == 1;
        let instance = &mut self.instances[place];
        instance.fatal = true;
        let flight = instance.flights.remove(0);
        instance.ends.state().queued = instance.flights.len();
        if durable && flight.taken.is_none() {
            self.logs.written[flight.serial as usize].results += 1;
        }
        let result = Err(DeliveryError::Failed("timed out".to_owned()));
        self.happen(
            place,
            Happening::Delivery(Delivery {
                tag: flight.tag,
                result,
            }),
        )
    }
}

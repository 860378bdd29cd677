//! Owns the end of each world: faults cease, and then everything must be answered, committed and ready, and a stop must
//! end.

use crate::actions::Action;
use crate::world::{Checked, Instance, World};

/// Rounds in which each worker is given all that can happen to it once.
const MAX_ROUNDS: usize = 400;
/// Results that a round lets the producer get rid of.
const DELIVERIES: usize = 8;

impl World {
    /// Lets the world come to rest, and checks that it does.
    pub(crate) fn settle(&mut self) -> Checked {
        self.tell(|| "faults cease".to_owned());
        let mut rounds = 0;
        while let Some(what) = self.unsettled() {
            rounds += 1;
            if rounds > MAX_ROUNDS {
                return Err(format!("when faults cease, the world does not settle: {what}"));
            }
            self.round()?;
        }
        self.tell(|| "all stop".to_owned());
        for _ in 0..MAX_ROUNDS {
            let running = self.instances.iter().position(|instance| !instance.stopping);
            match running {
                Some(place) => self.take(Action::Stop(place))?,
                None if self.instances.is_empty() => return Ok(()),
                None => self.round()?,
            }
        }
        Err("a stop does not end".to_owned())
    }

    /// What is not as it should be yet.
    fn unsettled(&self) -> Option<String> {
        for partition in 0..self.logs.partitions.len() {
            let log = self.logs.now(partition);
            if let Some(serial) =
                self.logs
                    .unanswered(partition, self.logs.generation(partition), 0, log.end())
            {
                let offset = self.logs.written[serial as usize].offset;
                return Some(format!("partition {partition}: {offset} is not answered"));
            }
            let mut records = log.records(0, log.end()).filter(|serial| {
                let written = &self.logs.written[*serial as usize];
                !written.gone && !written.excused
            });
            let last = records
                .by_ref()
                .last()
                .map(|serial| self.logs.written[serial as usize].offset);
            let committed = self.store.committed[partition].map(|position| position.offset);
            if last.is_some() && committed <= last {
                return Some(format!(
                    "partition {partition}: {last:?} is not committed, {committed:?} is"
                ));
            }
            // A partition that was new to a worker has no position until its first record.
            let has_committed = |instance: &Instance| self.store.is_newest_of(instance.id);
            let waits = |from| {
                self.instances.iter().any(has_committed)
                    && (log.start..log.end()).contains(&from)
                    && self.logs.next(partition, from).is_none()
            };
            if committed.is_some_and(waits) {
                return Some(format!(
                    "partition {partition}: {committed:?} is committed, and no record stands from there to {}",
                    log.end()
                ));
            }
        }
        let unready = self.instances.iter().find(|instance| !instance.is_ready());
        if let Some(instance) = unready {
            return Some(format!("not ready: {}", instance.readiness.describe()));
        }
        if let Some(instance) = self.instances.iter().find(|instance| instance.in_hand != (0, 0)) {
            return Some(format!("{:?} rows and bytes are in hand", instance.in_hand));
        }
        let is_busy = |instance: &Instance| {
            let paused = instance
                .consumer
                .reading
                .values()
                .any(|reading| reading.paused || reading.broken);
            paused
                || !instance.consumer.channel.is_empty()
                || !instance.flights.is_empty()
                || instance.commit.is_some()
                || !instance.consumer.restarts.is_empty()
        };
        self.instances
            .iter()
            .any(is_busy)
            .then(|| "something is under way".to_owned())
    }

    /// Each worker is given all that can happen to it, once.
    fn round(&mut self) -> Checked {
        if self.instances.is_empty() {
            self.take(Action::Start)?;
        }
        let ids: Vec<u32> = self.instances.iter().map(|instance| instance.id).collect();
        let steps: [fn(usize) -> Action; 9] = [
            Action::Restarts,
            Action::CommitArrives,
            Action::CommitAnswered,
            Action::Inspect,
            Action::Inspected,
            Action::Answer,
            Action::Fetch,
            Action::Event,
            Action::Turn,
        ];
        for id in ids {
            for step in steps {
                self.take_if_enabled(id, step)?;
            }
            for _ in 0..DELIVERIES {
                self.take_if_enabled(id, Action::Write)?;
                self.take_if_enabled(id, Action::Report)?;
            }
            self.take_if_enabled(id, Action::Learn)?;
        }
        self.settle_group()
    }

    fn take_if_enabled(&mut self, id: u32, action: fn(usize) -> Action) -> Checked {
        let Some(place) = self.instances.iter().position(|instance| instance.id == id) else {
            return Ok(());
        };
        let action = action(place);
        if self.is_enabled(action) {
            self.take(action)
        } else {
            Ok(())
        }
    }

    fn settle_group(&mut self) -> Checked {
        if self.is_enabled(Action::RebalanceDone) {
            self.take(Action::RebalanceDone)?;
        }
        let unowned = self.store.owners.iter().any(Option::is_none);
        if unowned && self.is_enabled(Action::Rebalance) {
            self.take(Action::Rebalance)?;
        }
        Ok(())
    }
}

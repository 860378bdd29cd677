//! Owns how workers begin and end: started, stopped, killed, put out of their group.

use inference::config::OnReset;
use inference::ledger::Ledger;

use super::instance::Instance;
use super::log::partition;
use super::store::Position;
use super::{Checked, World};

impl World {
    /// A worker starts.
    pub(crate) fn start(&mut self) {
        self.tally.lives += 1;
        let id = self.next_instance;
        self.next_instance += 1;
        let mut ledger = Ledger::new(self.setup.ordering);
        let mut begins = Vec::new();
        if !self.setup.is_group {
            begins = self.take_over(id);
            for (index, position, _) in &begins {
                ledger.open(partition(*index), *position);
            }
        }
        let around = (&self.logs, self.now);
        let mut instance = Instance::new(id, &self.setup, ledger, &self.metrics, around);
        instance.generation = if self.setup.is_group {
            self.store.generation
        } else {
            self.store.batches()
        };
        self.instances.push(instance);
        let place = self.instances.len() - 1;
        for (index, _, from) in begins {
            self.instances[place].consumer.read(index, from);
            self.open(place, index, from, false);
        }
    }

    /// Takes up the checkpoint as the start of a worker does: for each partition the position, if it is known, and
    /// where reading begins.
    fn take_over(&mut self, id: u32) -> Vec<(usize, Option<i64>, i64)> {
        let is_new = self.store.committed.iter().all(Option::is_none);
        let mut begins = Vec::new();
        let mut writes = false;
        for index in 0..self.logs.partitions.len() {
            let position = self.store.begin(index, &mut self.logs);
            let (start, end) = (self.logs.now(index).start, self.logs.now(index).end());
            let at = match position {
                None if !is_new => None,
                None => Some(start),
                Some(position) if position > end => {
                    if self.setup.on_reset == OnReset::Latest {
                        self.logs.excuse_below(index, end);
                    }
                    Some(if self.setup.on_reset == OnReset::Latest {
                        end
                    } else {
                        start
                    })
                }
                Some(position) => Some(position.max(start)),
            };
            if let Some(offset) = at {
                writes |= position != at;
                self.store.committed[index] = Some(Position {
                    offset,
                    generation: self.logs.generation(index),
                    mixed: false,
                    stale: false,
                });
            }
            begins.push((index, at, at.unwrap_or(start)));
        }
        if writes {
            self.store.authors.push(id);
        }
        begins
    }

    /// A worker ends with an error. It needs a reason, and is killed by it.
    pub(super) fn ended_with(&mut self, place: usize, error: &anyhow::Error) -> Checked {
        self.tell(|| format!("    it ends: {error:#}"));
        let instance = &self.instances[place];
        let began_again =
            format!("{error:#}").contains("the topic was deleted and created again, or truncated");
        let mut openings = instance.openings.iter();
        let has_reason = if began_again {
            instance.on_reset == OnReset::Stop
                && (instance.renamed
                    || openings.any(|(partition, opening)| self.has_begun_again(opening, *partition)))
        } else {
            instance.fatal || (instance.commit_failed && instance.stopping)
        };
        if !has_reason {
            return Err(format!("a worker ended without reason: {error:#}"));
        }
        if began_again {
            // Somebody is called, and decides.
            self.setup.on_reset = OnReset::Earliest;
        }
        self.kill(place);
        Ok(())
    }

    /// A worker is killed. What it sent is durable up to some result of each destination; a commit under way may be.
    pub(crate) fn kill(&mut self, place: usize) {
        self.tally.crashes += 1;
        let mut instance = self.instances.remove(place);
        while let Some(destination) = instance.waiting(0) {
            if self.tape.chance(128) {
                break;
            }
            let rows = 1 + self.tape.below(3);
            instance.write(destination, rows, &mut self.logs);
        }
        if let Some(pending) = instance.commit.take().filter(|pending| pending.answer.is_none())
            && self.tape.chance(128)
        {
            // That it does not fall was checked when others landed; here nobody is left to see an error.
            let landed = self.store.land(&pending, instance.id, instance.fenced);
            self.tell(|| format!("    its commit arrives: {landed:?}"));
        }
        self.leave(&instance);
    }

    /// A worker is gone from its group.
    fn leave(&mut self, instance: &Instance) {
        if !self.setup.is_group || instance.fenced {
            return;
        }
        for owner in &mut self.store.owners {
            owner.take_if(|owner| *owner == instance.id);
        }
        self.next_generation();
    }

    /// All members join again.
    pub(crate) fn next_generation(&mut self) {
        self.store.generation += 1;
        for instance in self.instances.iter_mut().filter(|instance| !instance.fenced) {
            instance.generation = self.store.generation;
        }
    }

    /// A worker has ended by itself: everything that it was given is acknowledged and committed.
    pub(super) fn finished(&mut self, place: usize) -> Checked {
        self.tell(|| "    it has ended".to_owned());
        let instance = &self.instances[place];
        if !instance.stopping {
            return Err("a worker ended that was not stopped".to_owned());
        }
        // Another worker on the checkpoint may have begun again, with lower positions.
        let last = self
            .store
            .authors
            .last()
            .is_none_or(|author| *author == instance.id);
        for (partition, opening) in &instance.openings {
            let read = last && instance.consumer.reading.contains_key(partition) && !instance.fenced;
            let committed = self.store.committed[*partition].map(|position| position.offset);
            if read
                && !opening.mixed
                && opening
                    .acknowledged()
                    .is_some_and(|position| committed < Some(position))
            {
                return Err(format!(
                    "partition {partition}: a worker ended with {committed:?} committed"
                ));
            }
            if let Some(offset) = opening.under_way() {
                return Err(format!(
                    "partition {partition}: a worker ended, the result of {offset} is under way"
                ));
            }
        }
        self.tally.stops += 1;
        let instance = self.instances.remove(place);
        self.leave(&instance);
        Ok(())
    }
}

//! Owns the world that workers live in: input logs, consumers, producers, a store of progress. Nothing happens in it by
//! itself; [`crate::actions`] chooses. What a worker does in answer is carried out here, and checked.

mod carry;
mod consumer;
mod ends;
mod instance;
mod life;
mod log;
mod opening;
mod setup;
mod store;

use inference::metrics::Metrics;
use inference::worker::Happening;
use tokio::time::Instant;

pub(crate) use self::consumer::{Assigned, Item, named};
pub(crate) use self::instance::Instance;
pub(crate) use self::log::{Kind, Logs, index, partition};
use self::opening::Opening;
pub(crate) use self::setup::Setup;
pub(crate) use self::store::{Answer, Store};
use crate::tape::Tape;

/// A law that does not hold, or a worker that ended without reason.
pub(crate) type Checked<T = ()> = Result<T, String>;

/// Everything.
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) tape: Tape,
    pub(crate) now: Instant,
    pub(crate) logs: Logs,
    pub(crate) store: Store,
    pub(crate) instances: Vec<Instance>,
    pub(crate) metrics: Metrics,
    /// What was done, in words, if somebody wants to read it.
    pub(crate) story: Option<Vec<String>>,
    pub(crate) tally: Tally,
    next_instance: u32,
    next_opening: usize,
}

/// What happened to worlds: a simulation in which nothing happens proves nothing.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) steps: u64,
    pub(crate) records: u64,
    pub(crate) results: u64,
    pub(crate) repeated: u64,
    pub(crate) excused: u64,
    pub(crate) commits: u64,
    pub(crate) lives: u64,
    pub(crate) crashes: u64,
    pub(crate) stops: u64,
    pub(crate) resets: u64,
    pub(crate) contested: u64,
    pub(crate) rebalances: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, more: Self) {
        self.steps += more.steps;
        self.records += more.records;
        self.results += more.results;
        self.repeated += more.repeated;
        self.excused += more.excused;
        self.commits += more.commits;
        self.lives += more.lives;
        self.crashes += more.crashes;
        self.stops += more.stops;
        self.resets += more.resets;
        self.contested += more.contested;
        self.rebalances += more.rebalances;
    }
}

impl World {
    pub(crate) fn new(mut tape: Tape, metrics: &Metrics, tell: bool) -> Self {
        let setup = Setup::choose(&mut tape);
        let logs = Logs::new(setup.partitions);
        let mut world = Self {
            tape,
            now: Instant::now(),
            store: Store::new(setup.is_group, setup.partitions),
            logs,
            instances: Vec::new(),
            metrics: metrics.clone(),
            story: tell.then(Vec::new),
            tally: Tally::default(),
            next_instance: 0,
            next_opening: 0,
            setup,
        };
        let setup = format!("{:?}", world.setup);
        world.tell(|| setup);
        world
    }

    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(what());
        }
    }

    /// Excuses records of a log that was truncated and has grown over the offset that is read next: nobody can notice.
    pub(crate) fn excuse_hidden(&mut self) {
        let mut hidden = Vec::new();
        for instance in &self.instances {
            for (partition, opening) in &instance.openings {
                let is_old = opening.generation != self.logs.generation(*partition);
                let fetch = instance
                    .consumer
                    .reading
                    .get(partition)
                    .map_or(0, |reading| reading.fetch);
                let end = self.logs.now(*partition).end();
                let from = if fetch <= end {
                    fetch.max(opening.expected())
                } else {
                    opening.expected()
                };
                if is_old && from <= end && opening.awaits.is_none() && !self.is_renamed(opening) {
                    hidden.push((*partition, from));
                }
            }
        }
        for (partition, offset) in hidden {
            self.logs.excuse_below(partition, offset);
        }
    }

    /// Whether the topic has another identity than the worker knew when it opened the partition: that can be noticed,
    /// however long the log is.
    pub(crate) fn is_renamed(&self, opening: &Opening) -> bool {
        self.setup.has_topic_ids && opening.topic != self.logs.incarnation
    }

    /// What happened.
    pub(crate) fn tally(&self) -> Tally {
        let written = &self.logs.written;
        let count = |those: &mut dyn Iterator<Item = u64>| those.sum();
        Tally {
            records: written.len() as u64,
            results: count(&mut written.iter().map(|its| u64::from(its.results))),
            repeated: count(&mut written.iter().map(|its| u64::from(its.results.saturating_sub(1)))),
            excused: count(
                &mut written
                    .iter()
                    .map(|its| u64::from(its.excused && its.results == 0)),
            ),
            ..self.tally
        }
    }

    /// Gives a worker what happened, as its loop would, and carries out what it asks for.
    pub(crate) fn happen(&mut self, place: usize, happening: Happening) -> Checked {
        let now = self.now;
        if let Err(error) = self.instances[place].worker.on(happening, now) {
            return self.ended_with(place, &error);
        }
        self.carry_out(place, false)?;
        let orders = match self.instances[place].worker.advance(now) {
            Ok(orders) => orders,
            Err(error) => return self.ended_with(place, &error),
        };
        self.carry_out(place, true)?;
        self.check_bounds(place)?;
        if self.instances[place].worker.is_finished() {
            return self.finished(place);
        }
        self.begin(place, orders)
    }
}

//! Owns one running worker with what stands around it: its consumer, its producer's queue, what it has under way.

use std::collections::BTreeMap;

use inference::config::OnReset;
use inference::consume::{Question, Snapshot};
use inference::ledger::Ledger;
use inference::metrics::Metrics;
use inference::progress::Keeper;
use inference::worker::{Parts, Settings, Telemetry, Worker};
use kafka_io::Outgoing;
use sidecar::{Heartbeat, Readiness};
use tokio::time::Instant;

use super::consumer::Consumer;
use super::ends::{Ends, MAX_BROKER_BYTES};
use super::log::{Logs, Serial};
use super::opening::Opening;
use super::setup::Setup;
use super::store::Pending;

/// Topics and partitions that results go to, each with an order of its own.
pub(crate) const DESTINATIONS: usize = 3;

/// A result in the producer's hands.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) tag: usize,
    pub(crate) serial: Serial,
    pub(crate) bytes: usize,
    pub(crate) destination: usize,
    pub(crate) opening: usize,
    /// Whether the broker has taken or refused it, once it has.
    pub(crate) taken: Option<bool>,
}

/// An inspection of the topic that is under way.
#[derive(Debug)]
pub(crate) struct Inspection {
    pub(crate) question: Question,
    /// The answer, once it was made, with the generation of each log, and the topic.
    pub(crate) snapshot: Option<(Snapshot, Vec<usize>, u32)>,
}

/// A running worker.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact that an invariant asks for"
)]
pub(crate) struct Instance {
    pub(crate) id: u32,
    pub(crate) worker: Worker<Ends, Ends, Ends>,
    pub(crate) ends: Ends,
    pub(crate) readiness: Readiness,
    pub(crate) consumer: Consumer,
    pub(crate) flights: Vec<Flight>,
    pub(crate) openings: BTreeMap<usize, Opening>,
    pub(crate) commit: Option<Pending>,
    pub(crate) inspection: Option<Inspection>,
    /// The generation of each log in the snapshot that it saw last.
    pub(crate) seen: Vec<usize>,
    /// The topic that it knows.
    pub(crate) topic: u32,
    /// Whether it has seen another topic of the name since it began.
    pub(crate) renamed: bool,
    /// What it does if the topic begins again.
    pub(crate) on_reset: OnReset,
    /// The snapshot before this one had an end that was too low.
    pub(crate) saw_low_end: bool,
    pub(crate) stopping: bool,
    /// The rows and bytes that it says are in hand.
    pub(crate) in_hand: (usize, usize),
    /// A fault from which it must end.
    pub(crate) fatal: bool,
    /// Its last commit was not answered with a success.
    pub(crate) commit_failed: bool,
    /// The member's generation of the group; the next batch of the checkpoint's writer.
    pub(crate) generation: u32,
    /// The group has put it out, and it does not know.
    pub(crate) fenced: bool,
}

impl Instance {
    /// An instance whose partitions are opened at these positions; in a group, none.
    pub(crate) fn new(
        id: u32,
        setup: &Setup,
        ledger: Ledger<Outgoing>,
        metrics: &Metrics,
        (logs, now): (&Logs, Instant),
    ) -> Self {
        let ends = Ends::default();
        ends.state().capacity = setup.queue;
        let readiness = Readiness::default();
        let [kafka, topics, progress, results] =
            ["kafka", "topics", "progress", "results"].map(|name| readiness.condition(name));
        results.met();
        topics.met();
        progress.met();
        let parts = Parts {
            source: ends.clone(),
            sink: ends.clone(),
            sessions: ends.clone(),
            ledger,
            keeper: Keeper::new(setup.commit_interval, now),
            topic_id: setup.topic_id(logs),
        };
        let telemetry = Telemetry {
            metrics: metrics.clone(),
            heartbeat: Heartbeat::default(),
            kafka,
            topics,
            progress,
            results,
        };
        let settings: Settings = setup.settings();
        Self {
            id,
            worker: Worker::new(parts, settings, telemetry, now),
            ends,
            readiness,
            consumer: Consumer::new(setup.prefetch),
            flights: Vec::new(),
            openings: BTreeMap::new(),
            commit: None,
            inspection: None,
            seen: (0..logs.partitions.len())
                .map(|partition| logs.generation(partition))
                .collect(),
            topic: logs.incarnation,
            renamed: false,
            on_reset: setup.on_reset,
            saw_low_end: false,
            stopping: false,
            in_hand: (0, 0),
            fatal: false,
            commit_failed: false,
            generation: 0,
            fenced: false,
        }
    }

    /// The broker takes results of a destination that are next, in one batch: all of them, or none if one is too large.
    pub(crate) fn write(&mut self, destination: usize, rows: usize, logs: &mut Logs) {
        let mut batch: Vec<&mut Flight> = self
            .flights
            .iter_mut()
            .filter(|flight| flight.destination == destination && flight.taken.is_none())
            .take(rows)
            .collect();
        let fits = batch.iter().all(|flight| flight.bytes <= MAX_BROKER_BYTES);
        for flight in &mut batch {
            flight.taken = Some(fits);
            logs.written[flight.serial as usize].results += u32::from(fits);
        }
    }

    /// The first result that waits for the broker, from some place of the queue on.
    pub(crate) fn waiting(&self, from: usize) -> Option<usize> {
        let rotated = self.flights.iter().cycle().skip(from).take(self.flights.len());
        let mut waiting = rotated.filter(|flight| flight.taken.is_none());
        waiting.next().map(|flight| flight.destination)
    }

    /// A result whose delivery can be reported: in each destination they come in order.
    pub(crate) fn reportable(&self, from: usize) -> Option<usize> {
        let first_of = |place: &usize| {
            let flight = &self.flights[*place];
            let before = &self.flights[..*place];
            flight.taken.is_some() && !before.iter().any(|its| its.destination == flight.destination)
        };
        let count = self.flights.len();
        (0..count).map(|place| (place + from) % count).find(first_of)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.readiness.is_ready()
    }
}

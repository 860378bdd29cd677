//! Owns the loop that joins the ends: records in, results out, progress kept.
//!
//! [`run`] waits for whatever happens next and never for one thing alone; [`Worker::on`] says what follows from it, and
//! everything that decides is elsewhere. Neither waits, so a simulation can take every step in any order. Invariant: a
//! record that was taken in hand gets exactly one result per run, and leaves the ledger only by its acknowledgement or
//! because its partition was taken away.

mod inputs;
mod lookout;
mod origin;
mod partitions;
mod reset;
mod results;
mod silence;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use anyhow::bail;
use kafka_admin::Partition;
use kafka_io::{Delivery, Event, Outgoing, Record, Revocation};
use sidecar::{Condition, Heartbeat};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::inputs::{Happening, Inputs};
use self::lookout::Lookout;
use self::origin::Origin;
pub use self::origin::Place;
pub(crate) use self::reset::{began_again, gone};
use self::silence::Silence;
use crate::batch::{Queue, Waiting};
use crate::config::{OnReset, RawEngine, Shard, Topics};
use crate::consume::{Question, Source};
use crate::ledger::{Arrival, Ledger, Ticket};
use crate::metrics::{Metrics, count};
use crate::produce::Sink;
use crate::progress::{Backend, Commit, CommitFailure, Keeper};
use crate::record::{Fields, Request};
use crate::sessions::Compute;

/// How often the loop turns though nothing happens: it shows that it is alive.
const TURN: Duration = Duration::from_secs(1);
/// How often a stop tries to commit, with growing pauses, when everything in hand is acknowledged.
const LAST_COMMITS: u32 = 3;

/// What a worker is made of.
pub struct Parts<C, P, S> {
    /// Where records come from.
    pub source: C,
    /// Where results go.
    pub sink: P,
    /// Who computes.
    pub sessions: S,
    /// What is in hand; the partitions that are read from the start are open.
    pub ledger: Ledger<Outgoing>,
    /// When progress is committed.
    pub keeper: Keeper,
    /// The identity of the input topic, where it is known.
    pub topic_id: Option<String>,
}

/// How a worker works.
#[derive(Clone)]
pub struct Settings {
    /// The topics.
    pub topics: Topics,
    /// The form of a message.
    pub fields: Fields,
    /// The bounds.
    pub engine: RawEngine,
    /// The partitions that are read without being assigned by a group; `None` for a member of a group.
    pub shard: Option<Shard>,
    /// What to do if the topic begins again.
    pub on_reset: OnReset,
    /// How often the topic is looked at.
    pub metadata_interval: Duration,
    /// End when every partition was read to its end, and give up after so long without a record, an answer or an
    /// acknowledgement.
    pub once: Option<Duration>,
}

/// What a worker reports to.
pub struct Telemetry {
    /// Its metrics.
    pub metrics: Metrics,
    /// Its pulse.
    pub heartbeat: Heartbeat,
    /// Whether Kafka answers.
    pub kafka: Condition,
    /// Whether the topics are there, and the ones that were read.
    pub topics: Condition,
    /// Whether progress can be committed.
    pub progress: Condition,
    /// Whether results are acknowledged.
    pub results: Condition,
}

/// What is to begin now, beside the loop.
#[derive(Debug, Default)]
pub struct Orders {
    /// Positions to commit.
    pub commit: Option<Commit>,
    /// The topics are to be inspected.
    pub inspect: Option<Question>,
}

/// The worker.
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub struct Worker<C, P, S> {
    parts: Parts<C, P, S>,
    settings: Settings,
    telemetry: Telemetry,
    lookout: Lookout,
    queue: Queue,
    origins: HashMap<Ticket, Origin>,
    paused: bool,
    stopping: bool,
    /// Whether the last commit failed, and what it held is still to be committed.
    uncommitted: bool,
    silence: Silence,
    /// Topics that want a key on each record.
    wants_keys: BTreeSet<kafka_admin::Topic>,
    /// Whether partitions were assigned, be it none.
    assigned: bool,
    /// How many commits began since nothing is in hand and the worker stops.
    last_commits: Option<u32>,
    /// Whether every partition was read to its end, for [`Settings::once`].
    complete: bool,
    /// Partitions that were read to their end, for [`Settings::once`].
    ended: HashSet<Partition>,
    /// When something moved last, for [`Settings::once`].
    moved: Instant,
    /// Partitions that are about to be taken away, and what holds that up.
    revoking: Option<(Vec<Partition>, Revocation)>,
    /// Partitions whose log began again, and where they are read from when nothing of them is in hand any more.
    resets: BTreeMap<Partition, i64>,
    /// Partitions that are to be read from elsewhere: what comes of them until then was read before.
    restarting: BTreeMap<Partition, i64>,
}

/// Works until `stop` is cancelled, or with [`Settings::once`] until everything is read. Whatever is in hand then is
/// finished and committed.
///
/// # Errors
/// If a result cannot be delivered, the topic began again, or a part of the worker ends by itself.
pub async fn run<C: Source, P: Sink, S: Compute>(
    mut worker: Worker<C, P, S>,
    mut inputs: Inputs,
    mut backend: Backend,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        worker.telemetry.heartbeat.beat();
        let now = Instant::now();
        let orders = worker.advance(now)?;
        if worker.is_finished() {
            return worker.close(inputs).await;
        }
        inputs.begin(&orders, &mut backend, &worker.parts.source);
        let turn = worker.deadline().map_or(now + TURN, |at| at.min(now + TURN));
        let happening = inputs.next(turn, &mut backend, &stop).await?;
        worker.on(happening, Instant::now())?;
    }
}

impl<C: Source, P: Sink, S: Compute> Worker<C, P, S> {
    /// A worker that has done nothing yet.
    pub fn new(parts: Parts<C, P, S>, settings: Settings, telemetry: Telemetry, now: Instant) -> Self {
        let queue = Queue::new(settings.engine.slice_rows, settings.engine.slice_bytes);
        let mut lookout = Lookout::new(settings.metadata_interval, parts.topic_id.clone(), now);
        lookout.knows(parts.ledger.partitions());
        let partitions = count(parts.ledger.partition_count());
        telemetry.metrics.partitions.set(partitions);
        Self {
            assigned: settings.shard.is_some(),
            parts,
            settings,
            telemetry,
            lookout,
            queue,
            origins: HashMap::new(),
            paused: false,
            stopping: false,
            uncommitted: false,
            silence: Silence::default(),
            wants_keys: BTreeSet::new(),
            last_commits: None,
            complete: false,
            ended: HashSet::new(),
            moved: now,
            revoking: None,
            resets: BTreeMap::new(),
            restarting: BTreeMap::new(),
        }
    }

    /// Does what follows from something that happened.
    ///
    /// # Errors
    /// If the worker must end. What is not committed then is processed again after a restart.
    pub fn on(&mut self, happening: Happening, now: Instant) -> anyhow::Result<()> {
        if happening.is_movement() {
            self.moved = now;
        }
        match happening {
            Happening::Event(event) => self.on_event(event, now)?,
            Happening::Answered(answered) => self.on_answered(&answered),
            Happening::Delivery(delivery) => self.on_delivery(&delivery)?,
            Happening::Committed(outcome) => self.on_committed(outcome, now)?,
            Happening::Inspected(answer) => self.on_inspected(answer, now)?,
            Happening::Stop => {
                tracing::info!(rows = self.parts.ledger.rows(), "finishing what is in hand");
                self.stopping = true;
            }
            Happening::Turn => {}
        }
        Ok(())
    }

    /// Moves on everything that can move without waiting, and says what is to begin.
    ///
    /// # Errors
    /// If the worker must end.
    pub fn advance(&mut self, now: Instant) -> anyhow::Result<Orders> {
        if self.parts.sessions.has_ended() {
            bail!(
                "a session of the model ended by itself; what it had in hand is processed again after a restart"
            );
        }
        if let Some(patience) = self.settings.once
            && now - self.moved > patience
        {
            bail!("nothing was read, computed or acknowledged for {patience:?}; the log says why");
        }
        if self.settings.once.is_some() && !self.stopping && self.is_all_read() {
            (self.complete, self.stopping) = (true, true);
        }
        self.offer_slices();
        self.send_results()?;
        self.apply_resets();
        self.release();
        self.pause_or_resume()?;
        self.report_silence(now);
        let Parts { ledger, keeper, .. } = &mut self.parts;
        let metrics = &self.telemetry.metrics;
        metrics.in_flight_rows.set(count(ledger.rows()));
        metrics.in_flight_bytes.set(count(ledger.bytes()));
        if self.uncommitted && !ledger.any_moved() && !keeper.is_busy() {
            // What could not be committed is another member's now.
            self.set_uncommitted(None);
        }
        let Parts { ledger, keeper, .. } = &mut self.parts;
        let last = self.stopping && ledger.rows() == 0;
        if last && self.last_commits.is_none() {
            keeper.try_now();
            self.last_commits = Some(0);
        }
        let commit = keeper.begin(ledger, now, last || self.revoking.is_some());
        if commit.is_some() {
            self.silence.commit_began(now);
            self.last_commits = self.last_commits.map(|tries| tries + 1);
        }
        // A worker that stops reads nothing more.
        let inspect = if self.stopping {
            None
        } else {
            self.lookout.ask(ledger, now)
        };
        Ok(Orders { commit, inspect })
    }

    /// When to call [`Self::advance`] though nothing has happened.
    pub fn deadline(&self) -> Option<Instant> {
        let commit = self.parts.keeper.deadline(&self.parts.ledger);
        let look = self.lookout.deadline().filter(|_| !self.stopping);
        commit.into_iter().chain(look).min()
    }

    /// Whether all is done that was to be done.
    pub fn is_finished(&self) -> bool {
        let Parts { ledger, keeper, .. } = &self.parts;
        self.stopping && ledger.rows() == 0 && !ledger.any_moved() && !keeper.is_busy()
    }

    fn is_all_read(&self) -> bool {
        self.assigned
            && self.resets.is_empty()
            && self.restarting.is_empty()
            && self.ended.len() >= self.parts.ledger.partition_count()
    }

    /// Ends the ends.
    async fn close(self, inputs: Inputs) -> anyhow::Result<()> {
        // Nobody takes events or answers any more, so nothing holds up whoever reports them.
        drop(inputs);
        self.parts.sessions.close().await;
        self.parts.source.close().await;
        self.telemetry.metrics.log_summary();
        tracing::info!("everything in hand was acknowledged and committed");
        if self.settings.once.is_some() && !self.complete {
            bail!("stopped before every partition was read to its end");
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event, now: Instant) -> anyhow::Result<()> {
        match event {
            Event::Record(record) => self.on_record(record, now),
            Event::EndOfPartition(partition) => {
                if !self.is_left(partition) {
                    self.ended.insert(partition);
                }
            }
            Event::Assigned(partitions) => self.on_assigned(&partitions)?,
            Event::Revoking(partitions, revocation) => self.on_revoking(partitions, revocation),
            Event::Lost(partitions) => self.on_lost(&partitions),
            Event::OutOfRange => self.lookout.out_of_range(now),
            Event::Restarted(partition, start) => self.on_restarted(partition, start)?,
            Event::Connected => self.telemetry.kafka.met(),
            Event::Disconnected(why) => self.telemetry.kafka.unmet(why),
            Event::Trouble(what) => {
                self.telemetry.metrics.kafka_errors.inc();
                tracing::warn!(what, "Kafka reported an error");
            }
            Event::Failed(why) => bail!("{} cannot be read any more: {why}", self.settings.topics.input),
        }
        Ok(())
    }

    fn on_record(&mut self, mut record: Record, now: Instant) {
        if self.stopping || self.is_left(record.partition) {
            return;
        }
        let (partition, offset) = (record.partition, record.offset);
        let ticket = match self.parts.ledger.arrive(partition, offset, record.bytes()) {
            Arrival::Taken(ticket) => ticket,
            Arrival::NotAssigned => return,
            Arrival::Behind { .. } => return self.lookout.hurry(now),
        };
        self.telemetry.metrics.records.inc();
        let request = Request::read(record.value.as_deref(), &self.settings.fields);
        let value = record.value.take();
        let origin = Origin::new(record, request.passed);
        self.origins.insert(ticket, origin);
        match request.text {
            Ok(text) => self.queue.push(Waiting { ticket, text }),
            Err(unreadable) => self.on_unreadable(ticket, unreadable, value),
        }
    }

    fn offer_slices(&mut self) {
        while let Some(slice) = self.queue.next_slice() {
            let rows = slice.len();
            if let Err(refused) = self.parts.sessions.offer(slice) {
                return self.queue.put_back(refused);
            }
            let rows = u32::try_from(rows).map_or(f64::INFINITY, f64::from);
            self.telemetry.metrics.slice_rows.observe(rows);
        }
    }

    fn on_delivery(&mut self, delivery: &Delivery) -> anyhow::Result<()> {
        let ticket = Ticket(delivery.tag);
        self.silence.result_ended();
        if let Err(error) = &delivery.result {
            return self.on_undelivered(ticket, error);
        }
        if self.parts.ledger.acknowledge(ticket)
            && let Some(origin) = self.origins.remove(&ticket)
        {
            origin.acknowledged(&self.telemetry.metrics);
        }
        Ok(())
    }

    fn on_committed(
        &mut self,
        outcome: Result<Option<i64>, CommitFailure>,
        now: Instant,
    ) -> anyhow::Result<()> {
        let Parts { ledger, keeper, .. } = &mut self.parts;
        keeper.finish(outcome.is_ok(), ledger, now);
        self.silence.commit_ended();
        self.telemetry.metrics.committed(&outcome);
        match outcome {
            Ok(_) => self.set_uncommitted(None),
            Err(CommitFailure::Permanent(error)) => return Err(error),
            Err(CommitFailure::Transient(error)) => {
                self.set_uncommitted(Some(format!("{error:#}")));
                // One that was under way when the last record was acknowledged does not count.
                if self.last_commits.is_some_and(|tries| tries >= LAST_COMMITS) {
                    return Err(error.context(
                        "everything in hand was acknowledged but not committed, and is processed again after a restart",
                    ));
                }
            }
        }
        Ok(())
    }
}

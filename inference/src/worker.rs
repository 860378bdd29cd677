//! Owns the loop that joins the ends: records in, results out, progress kept.
//!
//! It waits for whatever happens next and never for one thing alone; everything that decides is elsewhere. Invariant:
//! a record that was taken in hand gets exactly one result per run, and leaves the ledger only by its acknowledgement
//! or because its partition was taken away.

mod origin;
mod partitions;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, bail};
use kafka_io::{Delivery, DeliveryError, Event, Outgoing, Partition, Record, Revocation, SendError};
use sidecar::{Condition, Heartbeat};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::origin::Origin;
use crate::batch::{Queue, Waiting};
use crate::config::{RawEngine, Topics};
use crate::consume::Source;
use crate::ledger::{Ledger, Ticket};
use crate::metrics::{Metrics, count};
use crate::produce::Sink;
use crate::progress::Keeper;
use crate::record::{Fields, Processed, Request};
use crate::sessions::{Answered, Sessions};

/// How often the loop turns though nothing happens: it shows that it is alive.
const TURN: Duration = Duration::from_secs(1);
/// What the error of a result that the broker refuses for its size says.
const TOO_LARGE: &str = "the result is too large for the broker or topic";

/// What a worker is made of.
pub struct Parts<C, P> {
    /// Where records come from.
    pub source: C,
    /// What happens there.
    pub events: Receiver<Event>,
    /// Where results go.
    pub sink: P,
    /// What became of them.
    pub deliveries: Receiver<Delivery>,
    /// Who computes.
    pub sessions: Sessions,
    /// What they answer.
    pub answers: Receiver<Answered>,
    /// What is in hand.
    pub ledger: Ledger<Outgoing>,
    /// Where progress is kept.
    pub keeper: Keeper,
    /// Partitions that appeared while the worker ran.
    pub new_partitions: Receiver<Vec<Partition>>,
}

/// What a worker is told.
pub struct Settings {
    /// The topics.
    pub topics: Topics,
    /// The form of a message.
    pub fields: Fields,
    /// The bounds.
    pub engine: RawEngine,
    /// End when every partition was read to its end.
    pub once: bool,
}

/// What a worker tells.
pub struct Told {
    /// Its metrics.
    pub metrics: Metrics,
    /// Its pulse.
    pub heartbeat: Heartbeat,
    /// Whether Kafka answers.
    pub kafka: Condition,
}

/// The worker.
pub struct Worker<C, P> {
    parts: Parts<C, P>,
    settings: Settings,
    told: Told,
    queue: Queue,
    /// A slice that the sessions had no room for.
    offered: Option<Vec<Waiting>>,
    origins: HashMap<Ticket, Origin>,
    paused: bool,
    stopping: bool,
    /// Partitions that were read to their end, for [`Settings::once`].
    ended: Vec<Partition>,
    /// Partitions that are about to be taken away, and what holds that up.
    revoking: Option<(Vec<Partition>, Revocation)>,
}

impl<C: Source, P: Sink> Worker<C, P> {
    /// A worker that has done nothing yet.
    pub fn new(parts: Parts<C, P>, settings: Settings, told: Told) -> Self {
        let queue = Queue::new(settings.engine.slice_rows, settings.engine.slice_bytes);
        Self {
            parts,
            settings,
            told,
            queue,
            offered: None,
            origins: HashMap::new(),
            paused: false,
            stopping: false,
            ended: Vec::new(),
            revoking: None,
        }
    }

    /// Works until `stop` is cancelled, or with [`Settings::once`] until everything is read. Whatever is in hand then
    /// is finished and committed.
    ///
    /// # Errors
    /// Where a result cannot be delivered, or a part of the worker ends by itself.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            self.told.heartbeat.beat();
            if self.parts.sessions.has_ended() {
                bail!(
                    "a session of the model ended by itself; what it had in hand is processed again after a restart"
                );
            }
            self.advance()?;
            if self.is_finished() {
                return self.close().await;
            }
            let next_turn = self
                .parts
                .keeper
                .deadline()
                .map_or_else(|| Instant::now() + TURN, |at| at.min(Instant::now() + TURN));
            tokio::select! {
                event = self.parts.events.recv() => {
                    let event = event.context("the Kafka consumer ended by itself")?;
                    self.on_event(event)?;
                }
                answered = self.parts.answers.recv() => {
                    self.on_answered(answered.context("the model's sessions ended by themselves")?);
                }
                delivery = self.parts.deliveries.recv() => {
                    self.on_delivery(&delivery.context("the Kafka producer ended by itself")?)?;
                }
                written = self.parts.keeper.written() => written?,
                Some(partitions) = self.parts.new_partitions.recv() => self.on_new_partitions(&partitions)?,
                () = stop.cancelled(), if !self.stopping => {
                    tracing::info!(rows = self.parts.ledger.rows(), "finishing what is in hand");
                    self.stopping = true;
                }
                () = sleep_until(next_turn) => {}
            }
        }
    }

    /// Moves on everything that can move without waiting.
    fn advance(&mut self) -> anyhow::Result<()> {
        self.offer_slices();
        // Progress first: it may let results of the next batch leave.
        let hurry = self.stopping || self.revoking.is_some();
        self.parts
            .keeper
            .advance(&mut self.parts.ledger, &self.parts.source, hurry);
        self.send_results()?;
        self.let_go();
        self.pause_or_resume()?;
        let Self {
            parts: Parts { ledger, .. },
            told: Told { metrics, .. },
            ..
        } = self;
        metrics.in_flight_rows.set(count(ledger.rows()));
        metrics.in_flight_bytes.set(count(ledger.bytes()));
        Ok(())
    }

    fn is_finished(&self) -> bool {
        let nothing_in_hand = self.parts.ledger.rows() == 0 && self.parts.keeper.is_idle(&self.parts.ledger);
        let mut partitions = self.parts.ledger.partitions().peekable();
        let all_read = self.settings.once
            && partitions.peek().is_some()
            && partitions.all(|partition| self.ended.contains(&partition));
        nothing_in_hand && (self.stopping || all_read)
    }

    async fn close(self) -> anyhow::Result<()> {
        self.parts.sessions.close();
        // Nobody takes events any more, so nothing holds up the consumer's end.
        drop(self.parts.events);
        self.parts.source.close().await;
        tracing::info!("everything in hand was acknowledged and committed");
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Record(record) => self.on_record(record),
            Event::EndOfPartition(partition) => {
                self.parts.ledger.reached_end(partition);
                if !self.ended.contains(&partition) {
                    self.ended.push(partition);
                }
            }
            Event::Assigned(partitions) => self.on_assigned(&partitions)?,
            Event::Revoking(partitions, revocation) => {
                tracing::info!(?partitions, "partitions are being taken away");
                self.told.metrics.rebalances.with_label_values(&["revoked"]).inc();
                self.revoking = Some((partitions, revocation));
            }
            Event::Lost(partitions) => {
                tracing::warn!(
                    ?partitions,
                    "partitions were lost; others process their records again"
                );
                self.told.metrics.rebalances.with_label_values(&["lost"]).inc();
                self.forget(&partitions);
            }
            Event::Connected => self.told.kafka.met(),
            Event::Disconnected(why) => self.told.kafka.unmet(why),
            Event::Trouble(what) => {
                self.told.metrics.kafka_errors.inc();
                tracing::warn!(what, "kafka told of trouble");
            }
            Event::Failed(why) => bail!("reading cannot go on: {why}"),
        }
        Ok(())
    }

    fn on_record(&mut self, mut record: Record) {
        if self.stopping {
            return;
        }
        let Some(ticket) = self
            .parts
            .ledger
            .arrive(record.partition, record.offset, record.bytes())
        else {
            return;
        };
        self.told.metrics.records.inc();
        let request = Request::read(record.value.as_deref(), &self.settings.fields);
        let value = record.value.take();
        let origin = Origin::new(record, request.passed);
        match request.text {
            Ok(text) => self.queue.push(Waiting { ticket, text }),
            Err(unreadable) => {
                self.told
                    .metrics
                    .failures
                    .with_label_values(&[unreadable.class()])
                    .inc();
                let result = if let Some(topic) = &self.settings.topics.dead_letter {
                    self.told.metrics.dead_letters.inc();
                    origin.dead_letter(topic, &self.settings.topics.input, value, unreadable)
                } else {
                    let now = Processed::instant();
                    self.result(&origin, now, Err(&unreadable.to_string()))
                };
                self.parts.ledger.ready(ticket, result);
            }
        }
        self.origins.insert(ticket, origin);
    }

    fn result(
        &self,
        origin: &Origin,
        processed: Processed,
        outcome: Result<&[crate::model::Entity], &str>,
    ) -> Outgoing {
        origin.result(
            &self.settings.topics.output,
            &self.settings.fields,
            processed,
            outcome,
        )
    }

    fn offer_slices(&mut self) {
        while let Some(slice) = self.offered.take().or_else(|| self.queue.next_slice()) {
            let rows = slice.len();
            if let Err(refused) = self.parts.sessions.offer(slice) {
                self.offered = Some(refused);
                return;
            }
            let rows = u32::try_from(rows).map_or(f64::INFINITY, f64::from);
            self.told.metrics.slice_rows.observe(rows);
        }
    }

    fn on_answered(&mut self, answered: Answered) {
        self.told.metrics.tell_model_time(answered.took, answered.spent);
        for (ticket, outcome) in answered.answers {
            let Some(origin) = self.origins.get(&ticket) else {
                continue;
            };
            let told = outcome.as_ref().err().map(ToString::to_string);
            let result = match (&outcome, &told) {
                (Ok(entities), _) => {
                    for entity in entities {
                        self.told
                            .metrics
                            .entities
                            .with_label_values(&[&*entity.label])
                            .inc();
                    }
                    self.result(origin, answered.processed, Ok(entities))
                }
                (Err(error), told) => {
                    self.told
                        .metrics
                        .failures
                        .with_label_values(&[error.class()])
                        .inc();
                    self.result(
                        origin,
                        answered.processed,
                        Err(told.as_deref().unwrap_or_default()),
                    )
                }
            };
            self.parts.ledger.ready(ticket, result);
        }
    }

    fn send_results(&mut self) -> anyhow::Result<()> {
        while let Some((ticket, result)) = self.parts.ledger.take() {
            match self.parts.sink.send(ticket.0, &result) {
                Ok(()) => {}
                Err(SendError::QueueFull) => {
                    self.parts.ledger.put_back(ticket, result);
                    break;
                }
                Err(SendError::Refused(error)) => self.on_undelivered(ticket, &error)?,
            }
        }
        Ok(())
    }

    fn on_delivery(&mut self, delivery: &Delivery) -> anyhow::Result<()> {
        let ticket = Ticket(delivery.tag);
        if let Err(error) = &delivery.result {
            self.on_undelivered(ticket, error)
        } else {
            self.told.metrics.results.inc();
            self.parts.ledger.acknowledge(ticket);
            if let Some(origin) = self.origins.remove(&ticket) {
                origin.observe(&self.told.metrics);
            }
            Ok(())
        }
    }

    /// A result that is too large gets an error in its place; with any other failure the worker ends, and what was
    /// not acknowledged is processed again.
    fn on_undelivered(&mut self, ticket: Ticket, error: &DeliveryError) -> anyhow::Result<()> {
        let Some(origin) = self.origins.get_mut(&ticket) else {
            return Ok(());
        };
        if *error == DeliveryError::TooLarge && !std::mem::replace(&mut origin.replaced, true) {
            self.told
                .metrics
                .failures
                .with_label_values(&["result_too_large"])
                .inc();
            let origin = &self.origins[&ticket];
            let result = self.result(origin, Processed::instant(), Err(TOO_LARGE));
            self.parts.ledger.put_back(ticket, result);
            return self.send_results();
        }
        bail!(
            "a result for {} cannot be delivered: {error}",
            self.settings.topics.output
        )
    }
}

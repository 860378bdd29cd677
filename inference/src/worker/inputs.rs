//! Owns what the loop waits for: events, answers, deliveries, and what was begun beside the loop.

use std::pin::Pin;

use anyhow::Context;
use kafka_io::{Delivery, Event};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Orders;
use crate::consume::{Snapshot, Source};
use crate::progress::{Backend, CommitFailure, Committing};
use crate::sessions::Answered;

/// Something that happened.
#[derive(Debug)]
pub enum Happening {
    /// To the consumer.
    Event(Event),
    /// A slice was computed.
    Answered(Answered),
    /// A result was acknowledged, or was not.
    Delivery(Delivery),
    /// The commit under way is through; in a checkpoint it wrote a batch.
    Committed(Result<Option<i64>, CommitFailure>),
    /// The topic was inspected.
    Inspected(anyhow::Result<Snapshot>),
    /// The worker is to stop.
    Stop,
    /// Nothing, for a while.
    Turn,
}

impl Happening {
    /// Whether it shows that the work advances.
    pub(super) fn is_movement(&self) -> bool {
        match self {
            Self::Event(event) => matches!(event, Event::Record(_) | Event::EndOfPartition(_)),
            Self::Answered(_) | Self::Stop => true,
            Self::Delivery(delivery) => delivery.result.is_ok(),
            Self::Committed(outcome) => outcome.is_ok(),
            Self::Inspected(_) | Self::Turn => false,
        }
    }
}

/// Where the loop hears what happens.
pub struct Inputs {
    events: Receiver<Event>,
    answers: Receiver<Answered>,
    deliveries: Receiver<Delivery>,
    commit: Option<Committing>,
    inspection: Option<Pin<Box<dyn Future<Output = anyhow::Result<Snapshot>> + Send>>>,
    stopping: bool,
}

impl Inputs {
    /// Hears on these channels.
    pub fn new(events: Receiver<Event>, answers: Receiver<Answered>, deliveries: Receiver<Delivery>) -> Self {
        Self {
            events,
            answers,
            deliveries,
            commit: None,
            inspection: None,
            stopping: false,
        }
    }

    /// Begins what is to begin.
    pub(super) fn begin(&mut self, orders: &Orders, backend: &mut Backend, source: &impl Source) {
        if let Some(commit) = &orders.commit {
            self.commit = Some(backend.begin(commit, source));
        }
        if let Some(question) = &orders.inspect {
            self.inspection = Some(Box::pin(source.inspect(question)));
        }
    }

    /// What happens next, or a turn at `turn`.
    pub(super) async fn next(
        &mut self,
        turn: Instant,
        backend: &mut Backend,
        stop: &CancellationToken,
    ) -> anyhow::Result<Happening> {
        Ok(tokio::select! {
            event = self.events.recv() => Happening::Event(event.context("the Kafka consumer ended by itself")?),
            answered = self.answers.recv() => {
                Happening::Answered(answered.context("the model's sessions ended by themselves")?)
            }
            delivery = self.deliveries.recv() => {
                Happening::Delivery(delivery.context("the Kafka producer ended by itself")?)
            }
            committed = pending(&mut self.commit) => {
                self.commit = None;
                Happening::Committed(backend.finish(committed))
            }
            snapshot = pending(&mut self.inspection) => {
                self.inspection = None;
                Happening::Inspected(snapshot)
            }
            () = stop.cancelled(), if !self.stopping => {
                self.stopping = true;
                Happening::Stop
            }
            () = sleep_until(turn) => Happening::Turn,
        })
    }
}

/// Waits for what is under way, for ever if nothing is.
async fn pending<T>(under_way: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match under_way {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

//! Owns the threads that compute: each owns a model, all take slices from one bounded channel.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::batch::Waiting;
use crate::ledger::Ticket;
use crate::model::{Entity, Model, Spent, TextError};
use crate::record::Processed;

/// Slices that wait for each session, so that it need not wait for the loop.
const AHEAD: usize = 1;

/// The answers to a slice.
#[derive(Debug)]
pub struct Answered {
    /// Each text's answer, in the order of the slice.
    pub answers: Vec<(Ticket, Result<Vec<Entity>, TextError>)>,
    /// When the slice was processed.
    pub processed: Processed,
    /// How long the model took.
    pub took: Duration,
    /// Where that time went.
    pub spent: Spent,
}

/// The running sessions.
pub struct Sessions {
    slices: Option<SyncSender<Vec<Waiting>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Sessions {
    /// Starts `count` sessions, each with a model that `load` makes on its own thread, and gives where they answer.
    /// Returns when all are loaded.
    ///
    /// # Errors
    /// Where a model cannot be loaded.
    pub async fn start<M: Model>(
        count: NonZeroUsize,
        load: impl Fn() -> anyhow::Result<M> + Clone + Send + 'static,
    ) -> anyhow::Result<(Self, mpsc::Receiver<Answered>)> {
        let (slices, queue) = sync_channel(count.get() * AHEAD);
        let queue = Arc::new(Mutex::new(queue));
        let (answers, receiver) = mpsc::channel(count.get() * (AHEAD + 1));
        let (loaded, mut all_loaded) = mpsc::channel(count.get());
        let mut threads = Vec::new();
        for number in 0..count.get() {
            let (load, queue) = (load.clone(), Arc::clone(&queue));
            let (loaded, answers) = (loaded.clone(), answers.clone());
            let thread = thread::Builder::new()
                .name(format!("session-{number}"))
                .spawn(move || {
                    let model = load();
                    let (model, told) = match model {
                        Ok(model) => (Some(model), Ok(())),
                        Err(error) => (None, Err(error)),
                    };
                    drop(loaded.blocking_send(told));
                    // `start` waits until nobody has anything more to tell.
                    drop(loaded);
                    if let Some(mut model) = model {
                        compute(&mut model, &queue, &answers);
                    }
                });
            threads.push(thread.context("cannot start a session thread")?);
        }
        drop(loaded);
        while let Some(told) = all_loaded.recv().await {
            told?;
        }
        Ok((
            Self {
                slices: Some(slices),
                threads,
            },
            receiver,
        ))
    }

    /// Gives a slice to the sessions, or back if all have enough to do.
    ///
    /// # Errors
    /// The slice, if there is no room for it.
    pub fn offer(&self, slice: Vec<Waiting>) -> Result<(), Vec<Waiting>> {
        let Some(slices) = &self.slices else {
            return Err(slice);
        };
        slices.try_send(slice).map_err(|refused| match refused {
            TrySendError::Full(slice) | TrySendError::Disconnected(slice) => slice,
        })
    }

    /// Whether a session has ended, which it does only by a panic.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Lets the sessions end and waits for them.
    pub fn close(mut self) {
        self.slices = None;
        for thread in self.threads.drain(..) {
            // A session that panicked has ended the process.
            drop(thread.join());
        }
    }
}

fn compute(model: &mut impl Model, queue: &Mutex<Receiver<Vec<Waiting>>>, answers: &mpsc::Sender<Answered>) {
    loop {
        // Held while waiting: whoever holds it gets the next slice, and the others wait for the lock instead.
        let slice = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(slice) = slice else { return };
        if answers.blocking_send(answer(model, &slice)).is_err() {
            return;
        }
    }
}

fn answer(model: &mut impl Model, slice: &[Waiting]) -> Answered {
    let texts: Vec<&str> = slice.iter().map(|waiting| waiting.text.as_str()).collect();
    let (start, began) = (now(), Instant::now());
    let entities = model.entities(&texts);
    let took = began.elapsed();
    Answered {
        answers: slice.iter().map(|waiting| waiting.ticket).zip(entities).collect(),
        processed: Processed {
            start: start.as_secs(),
            end: now().as_secs(),
            milliseconds: took.as_secs_f64() * 1e3,
        },
        took,
        spent: model.spent(),
    }
}

/// The time since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

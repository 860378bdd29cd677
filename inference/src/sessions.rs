//! Owns the threads that compute: each owns a model, all take slices from one bounded channel.
//!
//! A text on which a model panics costs that text alone: the model, whose state is then unknown, is loaded again, and
//! the other texts of the slice are computed one by one. A thread ends by itself only if no model can be loaded.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::batch::Waiting;
use crate::ledger::Ticket;
use crate::model::{Entity, Model, Spent, TextError};
use crate::record::Processed;

/// Slices that wait for each session, so that it need not wait for the loop.
const AHEAD: usize = 1;
/// How long the end of the worker waits for sessions that still compute for partitions that were lost.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Who computes. Answers come as [`Answered`] on a channel.
pub trait Compute: Send + 'static {
    /// Gives a slice to compute, or back if there is enough to do.
    ///
    /// # Errors
    /// The slice, if there is no room for it.
    fn offer(&self, slice: Vec<Waiting>) -> Result<(), Vec<Waiting>>;
    /// Whether one who computes has ended, and its slice with it.
    fn has_ended(&self) -> bool;
    /// Ends computing.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// The answers to a slice.
#[derive(Debug)]
pub struct Answered {
    /// Each text's answer, in the order of the slice.
    pub answers: Vec<Answer>,
    /// How long the model took.
    pub took: Duration,
    /// Where that time went.
    pub spent: Spent,
}

/// The answer to a text.
#[derive(Debug)]
pub struct Answer {
    /// Whose it is.
    pub ticket: Ticket,
    /// The entities, or why there are none.
    pub outcome: Result<Vec<Entity>, TextError>,
    /// When the text was processed.
    pub processed: Processed,
}

/// The running sessions.
pub struct Sessions {
    slices: SyncSender<Vec<Waiting>>,
    threads: Vec<JoinHandle<()>>,
}

impl Sessions {
    /// Starts `count` sessions, each with a model that `load` makes on its own thread, and gives where they answer.
    /// Returns when all are loaded.
    ///
    /// # Errors
    /// If a model cannot be loaded.
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
                    let (session, outcome) = match load() {
                        Ok(model) => (Some(Session { model, load }), Ok(())),
                        Err(error) => (None, Err(error)),
                    };
                    drop(loaded.blocking_send(outcome));
                    // `start` waits until every sender is gone.
                    drop(loaded);
                    if let Some(mut session) = session {
                        session.compute(&queue, &answers);
                    }
                });
            threads.push(thread.context("cannot start a session thread")?);
        }
        drop(loaded);
        while let Some(outcome) = all_loaded.recv().await {
            outcome?;
        }
        Ok((Self { slices, threads }, receiver))
    }
}

impl Compute for Sessions {
    fn offer(&self, slice: Vec<Waiting>) -> Result<(), Vec<Waiting>> {
        self.slices.try_send(slice).map_err(|refused| match refused {
            TrySendError::Full(slice) | TrySendError::Disconnected(slice) => slice,
        })
    }

    fn has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    async fn close(self) {
        let Self { slices, threads } = self;
        drop(slices);
        let joined = spawn_blocking(move || {
            for thread in threads {
                drop(thread.join());
            }
        });
        if timeout(CLOSE_TIMEOUT, joined).await.is_err() {
            tracing::warn!("a session still computes for partitions that were lost; it is abandoned");
        }
    }
}

/// A session on its thread.
struct Session<M, L> {
    model: M,
    load: L,
}

impl<M: Model, L: Fn() -> anyhow::Result<M>> Session<M, L> {
    fn compute(&mut self, queue: &Mutex<Receiver<Vec<Waiting>>>, answers: &mpsc::Sender<Answered>) {
        loop {
            // Held while waiting: whoever holds it gets the next slice, and the others wait for the lock instead.
            let slice = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(slice) = slice else { return };
            match self.answer(&slice) {
                Ok(answered) => {
                    if answers.blocking_send(answered).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "a model that panicked cannot be loaded again"
                    );
                    return;
                }
            }
        }
    }

    fn answer(&mut self, slice: &[Waiting]) -> anyhow::Result<Answered> {
        let texts: Vec<&str> = slice.iter().map(|waiting| waiting.text.as_str()).collect();
        let (start, began) = (now(), Instant::now());
        let outcomes = self.entities(&texts)?;
        let took = began.elapsed();
        let bytes = texts.iter().map(|text| text.len().max(1)).sum::<usize>();
        let end = now();
        let answers = slice.iter().zip(outcomes).map(|(waiting, outcome)| Answer {
            ticket: waiting.ticket,
            outcome,
            processed: Processed {
                start: start.as_secs(),
                end: end.as_secs(),
                milliseconds: took.as_secs_f64() * 1e3 * share(waiting.text.len().max(1), bytes),
            },
        });
        Ok(Answered {
            answers: answers.collect(),
            took,
            spent: self.model.spent(),
        })
    }

    /// One outcome for each text, whatever the model does.
    fn entities(&mut self, texts: &[&str]) -> anyhow::Result<Vec<Result<Vec<Entity>, TextError>>> {
        let Self { model, .. } = self;
        if let Ok(mut outcomes) = catch_unwind(AssertUnwindSafe(|| model.entities(texts))) {
            outcomes.resize(
                texts.len(),
                Err(TextError::Failed("it gave no answer".to_owned())),
            );
            return Ok(outcomes);
        }
        self.model = (self.load)()?;
        match texts {
            [_] => Ok(vec![Err(TextError::Panicked)]),
            several => {
                let mut outcomes = Vec::with_capacity(several.len());
                for text in several {
                    outcomes.append(&mut self.entities(&[text])?);
                }
                Ok(outcomes)
            }
        }
    }
}

/// The share of a text in the time that its slice took: time goes with length.
fn share(bytes: usize, all: usize) -> f64 {
    let [bytes, all] = [bytes, all].map(|bytes| u32::try_from(bytes).map_or(f64::from(u32::MAX), f64::from));
    bytes / all
}

/// The time since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

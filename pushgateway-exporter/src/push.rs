//! Owns the seam out. Each target is pushed by itself, so that one that the sink refuses touches no other.

mod http;
mod printed;
mod pushgateway;
mod remote_write;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use self::http::{Pull, PullPort};
pub use self::printed::Printed;
pub use self::pushgateway::{Gateway, Group, Groups, Keys, Listing};
pub use self::remote_write::RemoteWrite;
use crate::client::NoAnswer;
use crate::document::Document;
use crate::exposition::Labels;
use crate::report::Run;
use crate::status::Status;

/// How long the question may take whose values the sink has; what is left of the end's time is for marking down.
const OWNERS_TIMEOUT: Duration = Duration::from_millis(500);
/// The most of the last pushes that are on their way at a time.
const MAX_LAST_PUSHES: usize = 16;

/// Where documents go. Targets are known by their numbers.
pub trait Sink: Send + Sync + 'static {
    /// Sends the document of a target in the place of the one before.
    fn put(
        &self,
        target: usize,
        document: &Document<'_>,
    ) -> impl Future<Output = Result<(), PushError>> + Send;
    /// Removes what was sent of a target.
    fn delete(&self, target: usize) -> impl Future<Output = Result<(), PushError>> + Send;
    /// For each target, whether the values at the sink are those of the run with these labels.
    fn owned(&self, run: &Labels) -> impl Future<Output = Result<Vec<bool>, PushError>> + Send;
}

/// What becomes of the values when the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExit {
    /// Only that the targets are down stays.
    #[default]
    MarkDown,
    /// Nothing stays.
    Delete,
    /// Everything stays.
    Keep,
}

/// Why a push failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// There is no connection: nothing else can be pushed now.
    #[error("{0}")]
    Unreachable(String),
    /// No answer comes in time: the next cycle tries again.
    #[error("{0}")]
    TimedOut(String),
    /// The content is refused: without the target's samples it may pass.
    #[error("{0}")]
    Refused(String),
    /// We are not let in.
    #[error("{0}")]
    Denied(String),
    /// Something else is wrong there.
    #[error("{0}")]
    Failed(String),
}

impl PushError {
    /// The kind of failure, as metrics name it.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut(_) => "timeout",
            Self::Refused(_) => "refused",
            Self::Denied(_) => "denied",
            Self::Failed(_) => "failed",
        }
    }

    /// Whether the sink may have taken what was pushed all the same: a proxy may answer 502 after the sink has.
    pub fn may_have_arrived(&self) -> bool {
        matches!(self, Self::TimedOut(_) | Self::Failed(_))
    }

    /// Whether the sink does not answer: it would be the same for every target.
    pub fn is_without_answer(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::TimedOut(_))
    }

    /// From an answer that did not come.
    fn without_answer(place: &str, error: &NoAnswer) -> Self {
        let what = format!("{place}: {error}");
        match error {
            NoAnswer::Unreachable(_) => Self::Unreachable(what),
            NoAnswer::TimedOut(_) => Self::TimedOut(what),
            NoAnswer::TooLarge(_) | NoAnswer::Interrupted(_) => Self::Failed(what),
        }
    }

    /// From the status of an answer that is no success.
    fn of(status: u16, place: &str, why: &str) -> Self {
        match status {
            400 => Self::Refused(format!("{place} refuses the push: {why}")),
            413 => Self::Refused(format!(
                "{place} answers 413: the push is too large; lower shape.max_series, or deny what is not needed: {why}"
            )),
            401 | 403 => Self::Denied(format!(
                "{place} answers {status}: {why}; check the user, password or token in the table security"
            )),
            _ => Self::Failed(format!("{place} answers {status}: {why}")),
        }
    }
}

/// What became of a target's push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// All of it is at the sink.
    Whole,
    /// The sink refuses the target's samples, and why; it has that instead.
    WithoutSamples(String),
}

/// Pushes what is known of targets through a sink.
#[derive(Debug)]
pub struct Pusher<K> {
    sink: Arc<K>,
    run: Run,
    /// For each target, whether something may have arrived.
    has_pushed: Vec<bool>,
}

impl<K: Sink> Pusher<K> {
    /// Through this sink, so many targets.
    pub fn new(sink: K, run: Run, targets: usize) -> Self {
        Self {
            sink: Arc::new(sink),
            run,
            has_pushed: vec![false; targets],
        }
    }

    /// Pushes what is known of a target. If its samples are refused, that is pushed in their place: the sink would keep
    /// the old ones.
    ///
    /// # Errors
    /// If neither arrives.
    pub async fn push(&mut self, target: usize, status: &Status) -> Result<Pushed, PushError> {
        match self.put(target, &self.run.document(status)).await {
            Ok(()) => Ok(Pushed::Whole),
            Err(PushError::Refused(why)) => {
                self.put(target, &self.run.refused(status)).await?;
                Ok(Pushed::WithoutSamples(why))
            }
            Err(error) => Err(error),
        }
    }

    /// Leaves the values in the state that is wanted after the end.
    ///
    /// # Errors
    /// One of the targets' errors.
    pub async fn finish(&mut self, statuses: &[Status], on_exit: OnExit) -> Result<(), PushError> {
        if on_exit == OnExit::Keep || !self.has_pushed.contains(&true) {
            return Ok(());
        }
        let owned = if on_exit == OnExit::Delete {
            self.owned().await
        } else {
            None
        };
        let permits = Arc::new(Semaphore::new(MAX_LAST_PUSHES));
        let mut ends = JoinSet::new();
        for (target, status) in statuses.iter().enumerate() {
            if !self.has_pushed[target] {
                continue;
            }
            let is_owned = owned.as_ref().map(|owned| owned.get(target) == Some(&true));
            if is_owned == Some(false) {
                tracing::info!(
                    target_name = status.name,
                    "another run has replaced the values; they are kept"
                );
                continue;
            }
            let (sink, permits) = (self.sink.clone(), permits.clone());
            let mark = is_owned.is_none().then(|| self.run.ending(status));
            ends.spawn(async move {
                // Nobody closes it.
                let _permit = permits.acquire_owned().await.ok();
                match mark {
                    Some(mark) => sink.put(target, &mark).await,
                    None => sink.delete(target).await,
                }
            });
        }
        let mut ended = Ok(());
        while let Some(joined) = ends.join_next().await {
            ended = ended.and(joined.unwrap_or_else(|error| resume_unwind(error.into_panic())));
        }
        ended
    }

    /// Whose values the sink has; `None` if it did not say so in time.
    async fn owned(&self) -> Option<Vec<bool>> {
        let labels = self.run.labels();
        let why = match timeout(OWNERS_TIMEOUT, self.sink.owned(&labels)).await {
            Ok(Ok(owned)) => return Some(owned),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("no answer within {OWNERS_TIMEOUT:?}"),
        };
        tracing::warn!(
            why,
            "it is not known whether another run has replaced the values: they are marked down, not deleted"
        );
        None
    }

    async fn put(&mut self, target: usize, document: &Document<'_>) -> Result<(), PushError> {
        let before = std::mem::replace(&mut self.has_pushed[target], true);
        let put = self.sink.put(target, document).await;
        // What is left on its way may have arrived, too.
        self.has_pushed[target] = before || put.as_ref().err().is_none_or(PushError::may_have_arrived);
        put
    }
}

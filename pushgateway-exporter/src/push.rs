//! Owns the seam out, and the way around a target that the sink refuses: the others are pushed without it.

mod http;
mod printed;
mod pushgateway;
mod remote_write;
mod set_aside;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::http::{Pull, PullPort};
pub use self::printed::Printed;
pub use self::pushgateway::{Gateway, Group, Groups};
pub use self::remote_write::RemoteWrite;
use self::set_aside::SetAside;
use crate::client::NoAnswer;
use crate::document::Document;
use crate::report::Report;

/// The most pushes that the search for refused targets may take; what is undecided then waits with them.
const MAX_TRIALS: usize = 32;

/// Where documents go.
pub trait Sink: Send {
    /// Sends a document in the place of the one before.
    fn put(&mut self, document: &Document<'_>) -> impl Future<Output = Result<(), PushError>> + Send;
    /// Removes what was sent.
    fn delete(&mut self) -> impl Future<Output = Result<(), PushError>> + Send;
    /// The run that sent last, if the sink can tell.
    fn owner(&mut self) -> impl Future<Output = Result<Option<String>, PushError>> + Send;
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
    /// Nobody answers: the next cycle tries again.
    #[error("{0}")]
    Unreachable(String),
    /// No answer comes in time: the next cycle tries again.
    #[error("{0}")]
    TimedOut(String),
    /// The content is refused: without some of it the rest may pass.
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

    /// From an answer that did not come.
    fn without_answer(place: &str, error: &NoAnswer) -> Self {
        let what = format!("{place}: {error}");
        match error {
            NoAnswer::TimedOut(_) => Self::TimedOut(what),
            _ => Self::Unreachable(what),
        }
    }

    /// From the status of an answer that is no success.
    fn of(status: u16, place: &str, why: &str) -> Self {
        match status {
            400 => Self::Refused(format!("{place} refuses the push: {why}")),
            401 | 403 => Self::Denied(format!(
                "{place} answers {status}: {why}; check the user, password or token in the table security"
            )),
            _ => Self::Failed(format!("{place} answers {status}: {why}")),
        }
    }
}

/// The targets whose samples were left out of a push, and why.
pub type Refusals = BTreeMap<usize, String>;

/// Pushes reports through a sink.
#[derive(Debug)]
pub struct Pusher<K> {
    sink: K,
    set_aside: SetAside,
    /// Whether something may have arrived.
    has_pushed: bool,
}

impl<K: Sink> Pusher<K> {
    /// Through this sink.
    pub fn new(sink: K) -> Self {
        Self {
            sink,
            set_aside: SetAside::default(),
            has_pushed: false,
        }
    }

    /// Pushes what can be pushed.
    ///
    /// # Errors
    /// Where nothing can.
    pub async fn push(&mut self, report: &Report<'_>) -> Result<Refusals, PushError> {
        let waiting = self.set_aside.waiting();
        let pushed = match self.put(report, &waiting).await {
            Ok(()) => Ok(waiting),
            Err(PushError::Refused(why)) => self.around(report, waiting, why).await,
            Err(error) => Err(error),
        };
        let refusals = pushed?;
        self.set_aside.decided(&refusals);
        Ok(refusals)
    }

    /// Leaves the values in the state that is wanted after the end, unless another run has taken their place.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub async fn finish(&mut self, report: &Report<'_>, on_exit: OnExit) -> Result<(), PushError> {
        if on_exit == OnExit::Keep || !self.has_pushed {
            return Ok(());
        }
        if let Some(owner) = self.sink.owner().await?.filter(|owner| *owner != report.run.id) {
            tracing::info!(owner, "another run has taken over; its values are left alone");
            return Ok(());
        }
        match on_exit {
            OnExit::Delete => self.sink.delete().await,
            _ => self.sink.put(&report.ending()).await,
        }
    }

    async fn put(&mut self, report: &Report<'_>, without: &Refusals) -> Result<(), PushError> {
        let without: BTreeSet<usize> = without.keys().copied().collect();
        let before = std::mem::replace(&mut self.has_pushed, true);
        let put = self.sink.put(&report.document(&without)).await;
        // What took too long, or was left on its way, may have arrived.
        self.has_pushed = before || matches!(put, Ok(()) | Err(PushError::TimedOut(_)));
        put
    }

    /// Whether a push without some targets passes; why not, if its content is refused.
    async fn passes(&mut self, report: &Report<'_>, without: &Refusals) -> Result<Option<String>, PushError> {
        match self.put(report, without).await {
            Ok(()) => Ok(None),
            Err(PushError::Refused(why)) => Ok(Some(why)),
            Err(error) => Err(error),
        }
    }

    /// Finds the targets that are refused, after a push with all but `waiting` was, and pushes the others.
    async fn around(
        &mut self,
        report: &Report<'_>,
        waiting: Refusals,
        why: String,
    ) -> Result<Refusals, PushError> {
        let has_samples = |target: &usize| !report.statuses[*target].part().samples.is_empty();
        let mut suspects: Vec<usize> = (0..report.statuses.len())
            .filter(|target| !waiting.contains_key(target) && has_samples(target))
            .collect();
        self.set_aside.order(&mut suspects);
        // One target alone is the likeliest, and while it is looked for no other disappears from the sink.
        for &suspect in suspects.iter().take(MAX_TRIALS) {
            let mut without = waiting.clone();
            without.insert(suspect, why.clone());
            if self.passes(report, &without).await?.is_none() {
                return Ok(without);
            }
        }
        self.one_by_one(report, waiting, &suspects, &why).await
    }

    /// Adds target after target to what passes.
    async fn one_by_one(
        &mut self,
        report: &Report<'_>,
        mut refused: Refusals,
        suspects: &[usize],
        why: &str,
    ) -> Result<Refusals, PushError> {
        refused.extend(suspects.iter().map(|&suspect| (suspect, why.to_owned())));
        self.put(report, &refused).await?;
        for suspect in suspects.iter().take(MAX_TRIALS) {
            let mut fewer = refused.clone();
            fewer.remove(suspect);
            match self.passes(report, &fewer).await? {
                None => refused = fewer,
                Some(why) => drop(refused.insert(*suspect, why)),
            }
        }
        Ok(refused)
    }
}

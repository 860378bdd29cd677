//! Owns one stream: what its checkpoint says, brought to its groups, and shown beside the ends of its logs.
//!
//! A turn always goes all the way. If the checkpoint cannot be read, what was read before is still kept alive in the group,
//! and its lag shown for a while; if the group refuses, the checkpoint is still followed. Each has its own wait after failures.
//! What is asked of the logs is asked last, and no commit waits for the answer.

mod committer;
mod error;
mod gate;
mod observer;
mod pruning;
mod snapshot;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use checkpoint::{BatchId, Store};
use tokio::time::{Instant, timeout};

use self::committer::Committer;
pub use self::error::StreamError;
use self::gate::Gate;
pub use self::observer::Observation;
use self::observer::Observer;
use self::pruning::Pruner;
use self::snapshot::{Confirmations, Snapshot};
use crate::config::{Mode, RawReport, StreamSettings};
use crate::group::Groups;
use crate::metrics::Metrics;
use crate::plan::{RewindPolicy, Rules, Step};
use crate::source::{Activity, Look, Seen, Source, SourceError};

/// A turn that takes longer is cut off, which is a failure like others. Each of its waits has a bound of its own, but a
/// damaged checkpoint on a slow store takes many.
pub const TURN_LIMIT: Duration = Duration::from_mins(2);
/// For how many list intervals what was read of a checkpoint is shown while it cannot be read again.
const SHOWN_INTERVALS: u32 = 3;
/// The longest wait after failures of the store.
const LAST_LOOK_WAIT: Duration = Duration::from_mins(5);
/// The waits after a refusal that only a person can end.
const FIRST_REFUSAL_WAIT: Duration = Duration::from_mins(1);
const LAST_REFUSAL_WAIT: Duration = Duration::from_mins(10);

/// A stream.
pub struct Stream<S, G> {
    settings: StreamSettings,
    list_interval: Duration,
    source: Source<S>,
    metrics: Metrics,
    /// What was read and is not believed yet.
    pending: Option<Snapshot>,
    confirmations: Confirmations,
    /// What is reported.
    accepted: Option<Snapshot>,
    committer: Committer<G>,
    observer: Observer<G>,
    pruner: Pruner<G>,
    looks: Gate,
    /// Since when no look succeeded, if the last one did not.
    unread_since: Option<Instant>,
    /// Why the gate of looks is closed, so that it is reported as long as it is closed.
    unreadable: Option<Arc<SourceError>>,
    /// How the last turn went, and the last answer about ends.
    reported: Result<(), StreamError>,
    observed: Result<(), StreamError>,
}

/// What the streams of a reporter share.
#[derive(Debug)]
pub struct Shared<G> {
    /// The groups of the stream's cluster.
    pub groups: Arc<G>,
    /// The metrics.
    pub metrics: Metrics,
}

impl<S: Store, G: Groups> Stream<S, G> {
    /// A stream whose checkpoint is in `store`. With `dry_run` it says what it would commit, and commits nothing.
    pub fn new(
        settings: StreamSettings,
        report: &RawReport,
        dry_run: bool,
        store: S,
        shared: Shared<G>,
    ) -> Self {
        let Shared { groups, metrics } = shared;
        let rules = Rules {
            // A group that nobody writes to cannot go back.
            rewind: match settings.mode {
                Mode::Commit => settings.rewind,
                Mode::Observe => RewindPolicy::Allow,
            },
            keepalive: report.keepalive_interval,
        };
        let names = (settings.name.clone(), settings.cluster.clone());
        Self {
            list_interval: report.list_interval,
            source: Source::new(store, report.list_interval),
            pending: None,
            confirmations: Confirmations::default(),
            accepted: None,
            committer: Committer::new(settings.clone(), rules, dry_run, groups.clone(), metrics.clone()),
            observer: Observer::new(names, groups.clone(), metrics.clone(), report),
            pruner: Pruner::new(settings.clone(), report, groups, metrics.clone()),
            looks: Gate::new(report.poll_interval),
            unread_since: None,
            unreadable: None,
            reported: Ok(()),
            observed: Ok(()),
            settings,
            metrics,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// The newest batch that is reported.
    pub fn newest(&self) -> Option<BatchId> {
        self.accepted.as_ref().map(|snapshot| snapshot.newest)
    }

    /// A turn, and the answer about ends.
    ///
    /// # Errors
    /// Where not all of that could be done; what could be is.
    pub async fn cycle(&mut self) -> Result<(), StreamError> {
        self.report().await;
        if let Some(asked) = self.ask() {
            let observation = asked.await;
            self.show(observation);
        }
        self.health()
    }

    /// Why it is not well, if it is not.
    ///
    /// # Errors
    /// Where the last turn, or the last question about ends, failed.
    pub fn health(&self) -> Result<(), StreamError> {
        self.reported.clone().and_then(|()| self.observed.clone())
    }

    /// What was committed at the last turn, by group, or would have been.
    pub fn steps(&self) -> &[(String, Step)] {
        self.committer.steps()
    }

    /// Whether it waits for a second listing to confirm what the first one said.
    pub fn is_unconfirmed(&self) -> bool {
        self.confirmations.are_missing()
    }

    /// A turn: looks once, and brings the groups to where the checkpoint is.
    pub async fn report(&mut self) {
        let began = Instant::now();
        let turn = timeout(TURN_LIMIT, self.turn()).await;
        self.reported = turn.unwrap_or(Err(StreamError::TimeLimit(TURN_LIMIT)));
        self.metrics
            .turned(&self.settings.name, &self.reported, began.elapsed());
        let Activity { open_batch, ended } = self.source.activity();
        self.metrics.board.change(&self.settings.name, |state| {
            state.open_batch = open_batch;
            state.ended = ended;
        });
        self.tell_health();
    }

    /// The question where the positions are in their logs; none if there are no positions, or if they are too old.
    pub fn ask(&mut self) -> Option<impl Future<Output = Observation> + Send + use<S, G>> {
        let is_known = self.knows_positions();
        let snapshot = self.accepted.as_ref().filter(|_| is_known)?;
        Some(self.observer.ask(snapshot))
    }

    /// Takes the answer.
    pub fn show(&mut self, observation: Observation) {
        self.committer.exist(&observation.known());
        self.observed = self.observer.show(observation);
        if let Err(error) = &self.observed {
            self.metrics.failed(&self.settings.name, error);
        }
        self.tell_health();
    }

    /// Whether the checkpoint can be read, or could lately: what it said long ago is not known now.
    fn knows_positions(&self) -> bool {
        let longest = SHOWN_INTERVALS * self.list_interval;
        self.unread_since.is_none_or(|since| since.elapsed() <= longest)
    }

    fn tell_health(&self) {
        let is_well = self.health().is_ok();
        let is_known = self.knows_positions();
        let now = SystemTime::now();
        self.metrics.board.change(&self.settings.name, |state| {
            state.up = is_well;
            if !is_known {
                state.valid_until = Some(Instant::now());
            }
            if is_well {
                state.succeeded_at = Some(now);
            }
        });
        if is_well {
            self.metrics.succeeded(now);
        }
    }

    async fn turn(&mut self) -> Result<(), StreamError> {
        let looked = self.look().await;
        let believed = self.believe().await;
        let committed = self.commit().await;
        looked.and(believed).and(committed)
    }

    async fn look(&mut self) -> Result<(), StreamError> {
        if self.looks.is_open() {
            // Before it looks: a turn can be cut off.
            self.unread_since.get_or_insert_with(Instant::now);
            match self.find().await {
                Ok(found) => {
                    self.looks.pass();
                    self.unread_since = None;
                    self.unreadable = None;
                    self.pending = found.or(self.pending.take());
                }
                Err(error) => {
                    let longest = match error {
                        SourceError::Missing | SourceError::Vanished => self.list_interval,
                        _ => LAST_LOOK_WAIT,
                    };
                    self.looks.close(longest);
                    self.unreadable = Some(Arc::new(error));
                }
            }
        }
        let Some(source) = self.unreadable.clone() else {
            return Ok(());
        };
        let place = self.settings.checkpoint.to_string();
        Err(StreamError::Source { place, source })
    }

    async fn find(&mut self) -> Result<Option<Snapshot>, SourceError> {
        match self.source.look().await? {
            Look::Unchanged => Ok(None),
            Look::Batch(seen) => {
                self.tell_batch(&seen);
                let groups = self.settings.selection.of(&seen.log.sources);
                Ok(Some(Snapshot::of(&seen, groups)))
            }
            Look::NoBatch { query } => {
                self.tell_no_batch();
                if !self.settings.report_initial {
                    return Ok(None);
                }
                // A query without a batch stands at its initial positions, which it writes some time after its id: the
                // next listing may find them.
                let only = self.settings.selection.source.as_deref();
                let initial = self.source.initial(only).await?;
                if initial.is_empty() {
                    return Ok(None);
                }
                let groups = self.settings.selection.of(&initial);
                Ok(Some(Snapshot::before_first(&query, groups)))
            }
        }
    }

    fn tell_no_batch(&self) {
        self.metrics.board.change(self.name(), |state| {
            state.batch = None;
            state.committed_at = None;
            state.batch_timestamp_ms = None;
            state.other_sources = 0;
        });
    }

    fn tell_batch(&self, seen: &Seen) {
        let Seen {
            newest,
            readable,
            log,
            committed_at,
            ..
        } = seen;
        if newest != readable {
            tracing::warn!(
                newest = newest.0,
                readable = readable.0,
                "the positions of the newest batch cannot be read; an older one stands in until they can"
            );
        }
        self.metrics.board.change(self.name(), |state| {
            state.batch = Some(newest.0);
            state.committed_at = *committed_at;
            state.batch_timestamp_ms = log.timestamp_ms;
            state.other_sources = log.other_sources;
        });
    }

    /// Makes what was read what is reported, if it can be believed. It waits here while Kafka cannot say what was reported
    /// before.
    async fn believe(&mut self) -> Result<(), StreamError> {
        let Some(pending) = &self.pending else {
            return Ok(());
        };
        let query = &pending.stamp.query;
        let mut reported = self.committer.newest_of(query, &pending.groups).await?;
        if let Some(accepted) = self
            .accepted
            .as_ref()
            .filter(|accepted| accepted.stamp.query == *query)
        {
            reported = reported.max(Some(accepted.stamp.batch));
        }
        let Some(mut snapshot) = self.pending.take() else {
            return Ok(());
        };
        let newest = snapshot.newest.0;
        if let Some(doubt) = self.confirmations.doubt(&snapshot, reported) {
            self.metrics.held(&self.settings.name, doubt.name());
            self.source.list_next();
            tracing::info!(newest, reason = doubt.name(), "not reported for now");
            return Ok(());
        }
        tracing::debug!(newest, "believed");
        if self.accepted.is_none() {
            snapshot.committed_at = None;
        }
        self.accepted = Some(snapshot);
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), StreamError> {
        let Some(accepted) = &mut self.accepted else {
            return Ok(());
        };
        if let Some(sources) = accepted.unselected.clone() {
            let place = self.settings.checkpoint.to_string();
            return Err(StreamError::NothingSelected { place, sources });
        }
        self.committer.commit(accepted).await?;
        if self.committer.is_writing() {
            self.pruner.prune(&accepted.groups).await?;
        }
        Ok(())
    }
}

//! Owns one stream: the loop that looks at its checkpoint, judges what it saw and brings the group there.
//!
//! A cycle always goes all the way. Where the checkpoint cannot be read, what was read before is still kept alive in the
//! group and its lag still shown; where the group refuses, the checkpoint is still followed. Each has its own wait
//! after failures.

mod error;
mod found;
mod gate;
mod pruning;
mod reporting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use checkpoint::Store;
use kafka_io::{Refusal, TopicPartition};
use tokio::time::Instant;

pub use self::error::StreamError;
use self::found::Found;
use self::gate::Gate;
use crate::config::{Mode, RawReport, StreamSettings};
use crate::group::Groups;
use crate::ledger::{Ledger, Stamp};
use crate::log_ends::LogEnds;
use crate::metrics::Metrics;
use crate::progress::{Batch, Hold, Progress, Rewind, Sight, Verdict};
use crate::selection::ByGroup;
use crate::source::{Look, Seen, Source, SourceError};

/// The longest wait after failures of the store.
const LAST_LOOK_WAIT: Duration = Duration::from_mins(5);
/// The waits after a refusal that only a person can end.
const FIRST_REFUSAL_WAIT: Duration = Duration::from_mins(1);
const LAST_REFUSAL_WAIT: Duration = Duration::from_mins(10);

/// What is to be reported.
#[derive(Debug, Clone)]
struct Report {
    groups: ByGroup,
    stamp: Stamp,
    /// Why it goes back, if it does.
    rewind: Option<Rewind>,
    /// When the checkpoint had it, until the group has it too.
    committed_at: Option<SystemTime>,
}

/// A stream.
pub struct Stream<S, G> {
    settings: StreamSettings,
    report: RawReport,
    dry_run: bool,
    source: Source<S>,
    groups: Arc<G>,
    ends: Arc<LogEnds<G>>,
    metrics: Metrics,
    progress: Option<Progress>,
    found: Option<Found>,
    wanted: Option<Report>,
    ledgers: BTreeMap<String, Ledger>,
    looks: Gate,
    /// What the closed gate of looks is about, so that it is told as long as it is closed.
    unreadable: Option<Arc<SourceError>>,
    commits: Gate,
    /// What the closed gate of commits is about, so that it is told as long as it is closed.
    refused: Option<Refusal>,
    beginnings: BTreeMap<TopicPartition, i64>,
    beginnings_at: Option<Instant>,
    /// Partitions that only the group has, and since when that is known.
    stale: BTreeMap<(String, TopicPartition), Instant>,
    pruned_at: Option<Instant>,
}

/// What the streams of a reporter share.
#[derive(Debug)]
pub struct Shared<G> {
    /// The groups of the stream's cluster.
    pub groups: Arc<G>,
    /// Where that cluster's partitions end.
    pub ends: Arc<LogEnds<G>>,
    /// The metrics.
    pub metrics: Metrics,
}

impl<S: Store, G: Groups> Stream<S, G> {
    /// A stream whose checkpoint is in `store`. With `dry_run` it says what it would commit, and commits nothing.
    pub fn new(
        settings: StreamSettings,
        report: RawReport,
        dry_run: bool,
        store: S,
        shared: Shared<G>,
    ) -> Self {
        let Shared {
            groups,
            ends,
            metrics,
        } = shared;
        Self {
            source: Source::new(store, report.list_interval),
            looks: Gate::new(report.poll_interval, LAST_LOOK_WAIT),
            unreadable: None,
            commits: Gate::new(FIRST_REFUSAL_WAIT, LAST_REFUSAL_WAIT),
            settings,
            report,
            dry_run,
            groups,
            ends,
            metrics,
            progress: None,
            found: None,
            wanted: None,
            ledgers: BTreeMap::new(),
            refused: None,
            beginnings: BTreeMap::new(),
            beginnings_at: None,
            stale: BTreeMap::new(),
            pruned_at: None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Looks once, and brings the group to where the checkpoint is.
    ///
    /// # Errors
    /// Where not all of that could be done; what could be is.
    pub async fn cycle(&mut self) -> Result<(), StreamError> {
        let began = Instant::now();
        let looked = self.look().await;
        let reported = self.bring().await;
        let result = looked.and(reported);
        self.tell(&result, began.elapsed());
        result
    }

    /// Whether it waits for a second listing to confirm what the first one said.
    pub fn is_unconfirmed(&self) -> bool {
        self.progress.as_ref().is_some_and(Progress::is_unconfirmed)
    }

    fn tell(&self, result: &Result<(), StreamError>, took: Duration) {
        let Metrics {
            cycles,
            duration,
            failures,
            last_success,
            board,
            ..
        } = &self.metrics;
        cycles.inc();
        duration.observe(took.as_secs_f64());
        if let Err(error) = result {
            failures.with_label_values(&[self.name(), error.name()]).inc();
        }
        let now = SystemTime::now();
        board.change(self.name(), |state| {
            state.up = result.is_ok();
            state.open_batch = self.source.has_open_batch();
            if result.is_ok() {
                state.succeeded_at = Some(now);
            }
        });
        if result.is_ok() {
            let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            last_success.set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        }
    }

    /// Takes over what there is to be seen.
    async fn look(&mut self) -> Result<(), StreamError> {
        if self.looks.is_open() {
            match self.find().await {
                Ok(found) => {
                    self.looks.pass();
                    self.unreadable = None;
                    self.found = found.or(self.found.take());
                }
                Err(error) => {
                    self.looks.close();
                    self.unreadable = Some(Arc::new(error));
                }
            }
        }
        if let Some(source) = &self.unreadable {
            let (place, source) = (self.settings.checkpoint.to_string(), source.clone());
            return Err(StreamError::Source { place, source });
        }
        // What was found waits here while Kafka cannot tell what was reported before, and while it is forbidden.
        let Some(found) = self.found.take() else {
            return Ok(());
        };
        let judged = self.judge(&found).await;
        if judged.is_err() {
            self.found = Some(found);
        }
        judged
    }

    async fn find(&mut self) -> Result<Option<Found>, SourceError> {
        match self.source.look().await? {
            Look::Unchanged => Ok(None),
            Look::Batch(seen) => {
                self.tell_batch(&seen);
                Ok(Some(Found::of(
                    &seen,
                    self.settings.selection.of(&seen.log.sources),
                )))
            }
            Look::NoBatch { .. } if !self.settings.report_initial => Ok(None),
            // A query without a batch stands at its initial positions.
            Look::NoBatch { query } => {
                let only = self.settings.selection.source.as_deref();
                let initial = self.source.initial(only).await?;
                Ok(Some(Found::before_first(
                    &query,
                    self.settings.selection.of(&initial),
                )))
            }
        }
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
                stream = self.name(),
                newest = newest.0,
                readable = readable.0,
                "the positions of the newest batch cannot be read; an older one stands in until they can"
            );
        }
        self.metrics.board.change(self.name(), |state| {
            state.batch = Some(newest.0);
            state.committed_at = committed_at.or(state.committed_at);
            state.batch_timestamp_ms = log.timestamp_ms;
            state.other_sources = log.other_sources;
        });
    }

    /// Makes what was found what is to be reported, if it may be.
    async fn judge(&mut self, found: &Found) -> Result<(), StreamError> {
        let is_first = self.progress.is_none();
        self.read_back(&found.groups).await?;
        let Some(progress) = &mut self.progress else {
            return Ok(());
        };
        let rewind = match progress.judge(&found.sight) {
            Verdict::Report => None,
            Verdict::Rewind(reason) => Some(reason),
            Verdict::Hold(hold) => return self.hold(hold, &found.sight),
        };
        progress.reported(&found.sight);
        let Sight { query, readable, .. } = &found.sight;
        let batch = Batch {
            query: query.clone(),
            id: *readable,
        };
        let stamp = Stamp {
            batch,
            timestamp_ms: found.timestamp_ms.unwrap_or_default(),
        };
        if self.wanted.as_ref().is_none_or(|wanted| wanted.stamp != stamp) {
            tracing::debug!(stream = self.name(), batch = readable.0, ?rewind, "newer batch");
            let committed_at = found.committed_at.filter(|_| !is_first);
            self.wanted = Some(Report {
                groups: found.groups.clone(),
                stamp,
                rewind,
                committed_at,
            });
        }
        Ok(())
    }

    fn hold(&mut self, hold: Hold, sight: &Sight) -> Result<(), StreamError> {
        let reason = match hold {
            Hold::Unconfirmed => "unconfirmed",
            Hold::Unreadable => "unreadable",
            Hold::Forbidden(rewind) => rewind.name(),
        };
        self.metrics.holds.with_label_values(&[self.name(), reason]).inc();
        match hold {
            Hold::Forbidden(_) => Err(StreamError::Held(format!(
                "batch {} of query {} is not reported: it goes back ({reason}), which `rewind` forbids; to allow it once, \
                 restart with rewind = \"allow\"",
                sight.newest, sight.query
            ))),
            Hold::Unconfirmed | Hold::Unreadable => {
                self.source.list_next();
                tracing::info!(
                    stream = self.name(),
                    newest = sight.newest.0,
                    reason,
                    "not reported for now"
                );
                Ok(())
            }
        }
    }

    fn is_committing(&self) -> bool {
        self.settings.mode == Mode::Commit && !self.dry_run
    }
}

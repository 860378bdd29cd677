//! Owns one stream: the loop that looks at its checkpoint, judges what it saw and brings the group there.
//!
//! A cycle always goes all the way. Where the checkpoint cannot be read, what was read before is still kept alive in the
//! group and its lag still shown; where the group refuses, the checkpoint is still followed. Each has its own wait
//! after failures.

mod reporting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use checkpoint::{BatchId, OffsetLog, Store, TopicOffsets};
use kafka_io::{Refusal, RefusalKind, TopicPartition};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::config::{Mode, RawReport, StreamSettings};
use crate::group::Groups;
use crate::ledger::{Ledger, Stamp, short};
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

/// Why a cycle did not do all that it should.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The checkpoint cannot be read.
    #[error("the checkpoint {place} cannot be read")]
    Source {
        /// Where it is.
        place: String,
        /// Why.
        source: SourceError,
    },
    /// Kafka refuses.
    #[error("{what}")]
    Kafka {
        /// What was asked for.
        what: String,
        /// Why not.
        source: Refusal,
    },
    /// What is processed is not what the group shows, since that would be a step back.
    #[error("{0}")]
    Held(String),
    /// None of the topics is in the cluster.
    #[error(
        "none of the topics {topics} is in the cluster {cluster}; check `cluster`, `topics` and `source` of the stream"
    )]
    NoTopic {
        /// The topics.
        topics: String,
        /// The cluster.
        cluster: String,
    },
}

impl StreamError {
    /// The name as metrics have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Source { source, .. } => source.name(),
            Self::Kafka { source, .. } => match source.kind {
                RefusalKind::Passing => "kafka_passing",
                RefusalKind::InUse => "group_in_use",
                RefusalKind::Denied => "kafka_denied",
                RefusalKind::UnknownPartition => "unknown_partition",
                RefusalKind::Permanent => "kafka_refused",
            },
            Self::Held(_) => "held",
            Self::NoTopic { .. } => "no_topic",
        }
    }
}

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

/// After a failure, not before some time.
#[derive(Debug)]
struct Gate {
    backoff: Backoff,
    closed_until: Option<Instant>,
}

impl Gate {
    fn new(first: Duration, last: Duration) -> Self {
        Self {
            backoff: Backoff::new(first, last),
            closed_until: None,
        }
    }

    fn is_open(&self) -> bool {
        self.closed_until.is_none_or(|until| Instant::now() >= until)
    }

    fn pass(&mut self) {
        self.backoff.succeeded();
        self.closed_until = None;
    }

    fn close(&mut self) {
        self.closed_until = Some(Instant::now() + self.backoff.failed());
    }
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
    wanted: Option<Report>,
    ledgers: BTreeMap<String, Ledger>,
    looks: Gate,
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
            commits: Gate::new(FIRST_REFUSAL_WAIT, LAST_REFUSAL_WAIT),
            settings,
            report,
            dry_run,
            groups,
            ends,
            metrics,
            progress: None,
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

    async fn look(&mut self) -> Result<(), StreamError> {
        if !self.looks.is_open() {
            return Ok(());
        }
        let look = self.source.look().await;
        if look.is_ok() {
            self.looks.pass();
        } else {
            self.looks.close();
        }
        match look.map_err(|source| self.unreadable(source))? {
            Look::Unchanged => Ok(()),
            Look::NoBatch { query } => self.begin(&query).await,
            Look::Batch(seen) => self.take(&seen).await,
        }
    }

    fn unreadable(&self, source: SourceError) -> StreamError {
        StreamError::Source {
            place: self.settings.checkpoint.to_string(),
            source,
        }
    }

    /// A query without a batch stands at its initial positions.
    async fn begin(&mut self, query: &str) -> Result<(), StreamError> {
        if !self.settings.report_initial {
            return Ok(());
        }
        let only = self.settings.selection.source.as_deref();
        let initial = self
            .source
            .initial(only)
            .await
            .map_err(|source| self.unreadable(source))?;
        let before_first = BatchId(-1);
        let sight = Sight {
            query: short(query),
            newest: before_first,
            readable: before_first,
            listed: true,
        };
        self.judge(sight, self.settings.selection.of(&initial), None, None)
            .await
    }

    async fn take(&mut self, seen: &Seen) -> Result<(), StreamError> {
        let Seen {
            newest,
            readable,
            log,
            committed_at,
            listed,
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
        self.tell_batch(seen);
        let sight = Sight {
            query: short(&seen.query),
            newest: *newest,
            readable: *readable,
            listed: *listed,
        };
        self.judge(
            sight,
            self.settings.selection.of_log(log),
            log.timestamp_ms,
            *committed_at,
        )
        .await
    }

    fn tell_batch(&self, seen: &Seen) {
        let OffsetLog {
            timestamp_ms,
            other_sources,
            ..
        } = seen.log;
        self.metrics.board.change(self.name(), |state| {
            state.batch = Some(seen.newest.0);
            state.committed_at = seen.committed_at.or(state.committed_at);
            state.batch_timestamp_ms = timestamp_ms;
            state.other_sources = other_sources;
        });
    }

    /// Takes over what was seen, if it may be.
    async fn judge(
        &mut self,
        sight: Sight<'_>,
        groups: ByGroup,
        timestamp_ms: Option<i64>,
        committed_at: Option<SystemTime>,
    ) -> Result<(), StreamError> {
        let is_first = self.progress.is_none();
        self.read_back(&groups).await?;
        let Some(progress) = &mut self.progress else {
            return Ok(());
        };
        let rewind = match progress.judge(sight) {
            Verdict::Report => None,
            Verdict::Rewind(reason) => Some(reason),
            Verdict::Hold(hold) => return self.hold(hold, sight),
        };
        progress.reported(sight);
        let batch = Batch {
            query: sight.query.to_owned(),
            id: sight.readable,
        };
        let stamp = Stamp {
            batch,
            timestamp_ms: timestamp_ms.unwrap_or_default(),
        };
        let same_batch = self.wanted.as_ref().is_some_and(|wanted| wanted.stamp == stamp);
        if !same_batch {
            tracing::debug!(
                stream = self.name(),
                batch = sight.readable.0,
                ?rewind,
                "newer batch"
            );
            let committed_at = committed_at.filter(|_| !is_first);
            self.wanted = Some(Report {
                groups,
                stamp,
                rewind,
                committed_at,
            });
        }
        Ok(())
    }

    fn hold(&self, hold: Hold, sight: Sight<'_>) -> Result<(), StreamError> {
        let (reason, forbidden) = match hold {
            Hold::Unconfirmed => ("unconfirmed", None),
            Hold::Unreadable => ("unreadable", None),
            Hold::Forbidden(rewind) => (rewind.name(), Some(rewind)),
        };
        self.metrics.holds.with_label_values(&[self.name(), reason]).inc();
        let Some(rewind) = forbidden else {
            tracing::info!(
                stream = self.name(),
                newest = sight.newest.0,
                reason,
                "not reported for now"
            );
            return Ok(());
        };
        Err(StreamError::Held(format!(
            "batch {} of query {} is not reported: it goes back ({}), which `rewind` forbids; to allow it once, restart with \
             rewind = \"allow\"",
            sight.newest,
            sight.query,
            rewind.name()
        )))
    }

    fn is_committing(&self) -> bool {
        self.settings.mode == Mode::Commit && !self.dry_run
    }
}

/// The partitions of these groups.
fn partitions_of(groups: &ByGroup) -> Vec<TopicPartition> {
    let all: std::collections::BTreeSet<_> = groups.values().flat_map(crate::ledger::partitions).collect();
    all.into_iter().collect()
}

/// The topics of these groups.
fn topics_of(groups: &ByGroup) -> String {
    let topics = groups
        .values()
        .flat_map(TopicOffsets::iter)
        .map(|(topic, ..)| topic);
    let all: std::collections::BTreeSet<_> = topics.collect();
    all.into_iter().collect::<Vec<_>>().join(", ")
}

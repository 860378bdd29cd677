//! Owns where a stream's positions are in their logs: asked after the checkpoint was read, and shown beside the positions that
//! were asked about. What is not known now is not shown; nobody waits for an answer who has something to commit.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use checkpoint::{BatchId, TopicOffsets};
use kafka_admin::{LogEnd, Offset, Refusal, RefusalKind, TopicPartition};
use tokio::time::Instant;

use super::TURN_LIMIT;
use super::error::StreamError;
use super::snapshot::Snapshot;
use crate::board::{PartitionState, Waiting};
use crate::config::RawReport;
use crate::group::Groups;
use crate::metrics::Metrics;
use crate::plan::partitions;
use crate::selection::ByGroup;

type Offsets = BTreeMap<TopicPartition, Result<Offset, Refusal>>;

/// Where one stream's positions are in their logs.
pub(super) struct Observer<G> {
    stream: String,
    cluster: String,
    groups: Arc<G>,
    metrics: Metrics,
    /// How long an answer is shown if none follows.
    valid_for: Duration,
    /// How often beginnings are asked for: they move slowly.
    beginnings_interval: Duration,
    beginnings: BTreeMap<TopicPartition, i64>,
    beginnings_at: Option<Instant>,
    /// The codes with which ends were refused since all were known, so that each is logged once.
    refusals: BTreeSet<String>,
    /// Since when records wait although this batch is the newest.
    waiting: Option<(BatchId, Instant)>,
}

/// An answer, and the positions that it is about.
#[derive(Debug)]
pub struct Observation {
    groups: ByGroup,
    newest: BatchId,
    ends: Offsets,
    beginnings: Option<Offsets>,
}

impl Observation {
    /// The partitions that the cluster has.
    pub(super) fn known(&self) -> Vec<&TopicPartition> {
        let ends = self.ends.iter();
        ends.filter_map(|(partition, end)| end.is_ok().then_some(partition))
            .collect()
    }
}

impl<G: Groups> Observer<G> {
    pub(super) fn new(
        (stream, cluster): (String, String),
        groups: Arc<G>,
        metrics: Metrics,
        report: &RawReport,
    ) -> Self {
        Self {
            stream,
            cluster,
            groups,
            metrics,
            valid_for: 2 * (TURN_LIMIT + report.idle_poll_interval()),
            beginnings_interval: report.keepalive_interval,
            beginnings: BTreeMap::new(),
            beginnings_at: None,
            refusals: BTreeSet::new(),
            waiting: None,
        }
    }

    /// Asks where the partitions of a snapshot end. Its future is nobody's but who awaits it.
    pub(super) fn ask(&mut self, snapshot: &Snapshot) -> impl Future<Output = Observation> + Send + use<G> {
        let of_groups = snapshot.groups.values();
        let all: BTreeSet<_> = of_groups.flat_map(partitions).collect();
        let all: Vec<_> = all.into_iter().collect();
        let asks_beginnings = self.needs_beginnings(snapshot);
        if asks_beginnings {
            self.beginnings_at = Some(Instant::now());
        }
        let (groups, newest) = (snapshot.groups.clone(), snapshot.newest);
        let cluster = self.groups.clone();
        async move {
            let beginnings = async {
                if asks_beginnings {
                    Some(cluster.log_offsets(&all, LogEnd::Earliest).await)
                } else {
                    None
                }
            };
            let (ends, beginnings) = tokio::join!(cluster.log_offsets(&all, LogEnd::Latest), beginnings);
            Observation {
                groups,
                newest,
                ends: ends.into_iter().collect(),
                beginnings: beginnings.map(|beginnings| beginnings.into_iter().collect()),
            }
        }
    }

    /// That a position is before its log's beginning is not said by a beginning that is older than the position.
    fn needs_beginnings(&self, snapshot: &Snapshot) -> bool {
        let is_early = self
            .beginnings_at
            .is_some_and(|at| at.elapsed() < self.beginnings_interval);
        let is_before = |(topic, partition, position): (&str, i32, i64)| {
            let beginning = self.beginnings.get(&TopicPartition::new(topic, partition));
            beginning.is_some_and(|beginning| position < *beginning)
        };
        !is_early
            || snapshot
                .groups
                .values()
                .flat_map(TopicOffsets::iter)
                .any(is_before)
    }

    /// Shows an answer.
    pub(super) fn show(&mut self, observation: Observation) -> Result<(), StreamError> {
        let Observation {
            groups,
            newest,
            ends,
            beginnings,
        } = observation;
        if let Some(beginnings) = beginnings {
            self.beginnings = beginnings
                .into_iter()
                .filter_map(|(partition, beginning)| Some((partition, beginning.ok()?.get())))
                .collect();
        }
        let states = self.states(&groups, &ends);
        let asked = groups.values().flat_map(TopicOffsets::iter).count();
        // In a partition that the cluster does not have, nothing waits.
        let are_known = asked > 0
            && states.len() == asked
            && states
                .values()
                .all(|state| state.end.is_none() || state.lag().is_some());
        let lag: i64 = states.values().filter_map(PartitionState::lag).sum();
        let lag = (lag > 0 || are_known).then_some(lag);
        let (waiting, valid_for) = (self.waits(newest, lag), self.valid_for);
        self.metrics.board.change(&self.stream, |state| {
            state.partitions = states;
            state.waiting = waiting;
            state.valid_until = Some(Instant::now() + valid_for);
        });
        self.judge(&groups, &ends)
    }

    /// What is known of each partition. One whose end nobody knows is left out.
    fn states(&self, groups: &ByGroup, ends: &Offsets) -> BTreeMap<(String, String, i32), PartitionState> {
        let mut states = BTreeMap::new();
        for (group, offsets) in groups {
            for (topic, partition, processed) in offsets.iter() {
                let key = TopicPartition::new(topic, partition);
                let end = match ends.get(&key) {
                    Some(Ok(end)) => Some(end.get()),
                    Some(Err(refusal)) if refusal.kind == RefusalKind::UnknownPartition => None,
                    _ => continue,
                };
                let state = PartitionState {
                    processed,
                    beginning: self.beginnings.get(&key).copied(),
                    end,
                };
                states.insert((group.clone(), topic.to_owned(), partition), state);
            }
        }
        states
    }

    /// Whether records wait while this batch is the newest. What was known of them before is kept while it is not known.
    fn waits(&mut self, newest: BatchId, lag: Option<i64>) -> Waiting {
        let before = self.waiting.filter(|(batch, _)| *batch == newest);
        self.waiting = match lag {
            None => before,
            Some(0) => None,
            Some(_) => before.or_else(|| Some((newest, Instant::now()))),
        };
        match (lag, self.waiting) {
            (None, _) => Waiting::Unknown,
            (_, None) => Waiting::Nothing,
            (_, Some((_, since))) => Waiting::Since(since),
        }
    }

    /// Whether all ends are known. Each sort of refusal is logged once, and all are counted.
    fn judge(&mut self, groups: &ByGroup, ends: &Offsets) -> Result<(), StreamError> {
        let (mut codes, mut first, mut unknown) = (BTreeSet::new(), None, 0);
        for (partition, end) in ends {
            let Err(refusal) = end else { continue };
            if refusal.kind == RefusalKind::UnknownPartition {
                unknown += 1;
                continue;
            }
            self.metrics.refused_end(&self.stream, refusal);
            if !self.refusals.contains(&refusal.code) && !codes.contains(&refusal.code) {
                tracing::warn!(%partition, %refusal, "where partitions end is not known");
            }
            codes.insert(refusal.code.clone());
            first.get_or_insert((partition, refusal));
        }
        if codes.is_empty() && !self.refusals.is_empty() {
            tracing::info!("where partitions end is known again");
            self.refusals.clear();
        }
        self.refusals.extend(codes);
        if let Some((partition, refusal)) = first {
            return Err(StreamError::LogEnds {
                partition: partition.clone(),
                cluster: self.cluster.clone(),
                source: refusal.clone(),
            });
        }
        if unknown == ends.len() && unknown > 0 {
            return Err(StreamError::NoTopic {
                topics: topics_of(groups),
                cluster: self.cluster.clone(),
            });
        }
        Ok(())
    }
}

/// The topics of these groups.
fn topics_of(groups: &ByGroup) -> String {
    let topics = groups.values().flat_map(TopicOffsets::iter);
    let all: BTreeSet<_> = topics.map(|(topic, ..)| topic).collect();
    all.into_iter().collect::<Vec<_>>().join(", ")
}

//! Owns what a group has that its checkpoint lacks: found, reported, and forgotten where the stream says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kafka_admin::{ByPartition, Refusal, RefusalKind, TopicPartition};
use tokio::time::Instant;

use super::error::StreamError;
use crate::config::{RawReport, StreamSettings};
use crate::group::Groups;
use crate::metrics::Metrics;
use crate::plan::partitions;
use crate::selection::ByGroup;

/// Looks for partitions that only the groups of a stream have.
pub(super) struct Pruner<G> {
    settings: StreamSettings,
    interval: Duration,
    prune_after: Duration,
    groups: Arc<G>,
    metrics: Metrics,
    /// Partitions that only the group has, and since when that is known.
    stale: BTreeMap<(String, TopicPartition), Instant>,
    pruned_at: Option<Instant>,
    /// How the last try went, which is reported until the next.
    pruned: Result<(), StreamError>,
}

impl<G: Groups> Pruner<G> {
    pub(super) fn new(
        settings: StreamSettings,
        report: &RawReport,
        groups: Arc<G>,
        metrics: Metrics,
    ) -> Self {
        Self {
            settings,
            interval: report.keepalive_interval,
            prune_after: report.prune_after,
            groups,
            metrics,
            stale: BTreeMap::new(),
            pruned_at: None,
            pruned: Ok(()),
        }
    }

    /// Finds partitions that only the groups have: of a topic that the query no longer reads, whose lag would grow for
    /// ever. They are reported, and forgotten where the stream says so.
    pub(super) async fn prune(&mut self, groups: &ByGroup) -> Result<(), StreamError> {
        if self.pruned_at.is_some_and(|at| at.elapsed() < self.interval) {
            return self.pruned.clone();
        }
        self.pruned_at = Some(Instant::now());
        let mut stale = Vec::new();
        for (group, offsets) in groups {
            let answer = match self.groups.committed(group, None).await {
                Ok(answer) => answer,
                Err(refusal) => {
                    tracing::debug!(group, %refusal, "what else the group has is unknown");
                    continue;
                }
            };
            let ours: BTreeSet<_> = partitions(offsets).collect();
            let others = answer
                .into_iter()
                .map(|(partition, _)| partition)
                .filter(|partition| !ours.contains(partition));
            stale.extend(others.map(|partition| (group.clone(), partition)));
        }
        self.pruned = self.forget(stale).await;
        self.pruned.clone()
    }

    async fn forget(&mut self, found: Vec<(String, TopicPartition)>) -> Result<(), StreamError> {
        let since: BTreeMap<_, _> = found
            .into_iter()
            .map(|key| {
                let since = self.stale.get(&key).copied().unwrap_or_else(Instant::now);
                (key, since)
            })
            .collect();
        self.stale = since;
        let is_due = |since: &Instant| since.elapsed() >= self.prune_after;
        let due: Vec<_> = self
            .stale
            .iter()
            .filter(|(_, since)| is_due(since))
            .map(|(key, _)| key.clone())
            .collect();
        self.metrics
            .board
            .change(&self.settings.name, |state| state.stale_partitions = due.len());
        let mut result = Ok(());
        for (group, partition) in due {
            if !self.settings.prune {
                tracing::warn!(group, %partition,
                    "the group has a partition that the checkpoint lacks; its lag grows for ever unless `prune` is true");
                continue;
            }
            let answer = self.groups.forget(&group, std::slice::from_ref(&partition)).await;
            if let Err(refusal) = answer.and_then(by_partition) {
                let what =
                    format!("cannot forget {partition} of the group {group}, which needs DELETE on it");
                result = result.and(Err(StreamError::kafka(&self.settings.cluster, &what, refusal)));
                continue;
            }
            tracing::info!(group, %partition, "forgotten: the checkpoint lacks it");
            self.stale.remove(&(group, partition));
        }
        result
    }
}

/// All, or the first refusal. Of a partition that is not there, a group has nothing.
fn by_partition<T>(answer: ByPartition<T>) -> Result<BTreeMap<TopicPartition, T>, Refusal> {
    let is_unknown = |answer: &Result<T, Refusal>| matches!(answer, Err(refusal) if refusal.kind == RefusalKind::UnknownPartition);
    answer
        .into_iter()
        .filter(|(_, answer)| !is_unknown(answer))
        .map(|(partition, answer)| Ok((partition, answer?)))
        .collect()
}

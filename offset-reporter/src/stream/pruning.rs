//! Owns what a group has that its checkpoint lacks: found, told, and forgotten where the stream says so.

use std::collections::BTreeMap;

use checkpoint::Store;
use kafka_io::TopicPartition;
use tokio::time::Instant;

use super::reporting::by_partition;
use super::{Stream, StreamError};
use crate::group::Groups;
use crate::ledger::partitions;
use crate::selection::ByGroup;

impl<S: Store, G: Groups> Stream<S, G> {
    /// Finds partitions that only the groups have: of a topic that the query no longer reads, whose lag would grow for
    /// ever. They are reported, and forgotten where the stream says so.
    pub(super) async fn prune(&mut self, groups: &ByGroup) -> Result<(), StreamError> {
        let is_early = self
            .pruned_at
            .is_some_and(|at| at.elapsed() < self.report.keepalive_interval);
        if is_early || !self.is_committing() {
            return Ok(());
        }
        self.pruned_at = Some(Instant::now());
        let mut stale = Vec::new();
        for (group, offsets) in groups {
            let told = match self.groups.committed(group, None).await {
                Ok(told) => told,
                Err(refusal) => {
                    tracing::debug!(stream = self.name(), group, %refusal, "what else the group has is unknown");
                    continue;
                }
            };
            let ours: Vec<_> = partitions(offsets).collect();
            let others = told
                .into_iter()
                .map(|(partition, _)| partition)
                .filter(|partition| !ours.contains(partition));
            stale.extend(others.map(|partition| (group.clone(), partition)));
        }
        self.forget(stale).await
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
        let is_due = |since: &Instant| since.elapsed() >= self.report.prune_after;
        let due: Vec<_> = self
            .stale
            .iter()
            .filter(|(_, since)| is_due(since))
            .map(|(key, _)| key.clone())
            .collect();
        self.metrics
            .board
            .change(&self.settings.name, |state| state.stale_partitions = due.len());
        for (group, partition) in due {
            if !self.settings.prune {
                tracing::warn!(stream = self.name(), group, %partition,
                    "the group has a partition that the checkpoint lacks; its lag grows for ever unless `prune` is true");
                continue;
            }
            let told = self.groups.forget(&group, std::slice::from_ref(&partition)).await;
            let told = told.and_then(by_partition);
            told.map_err(|refusal| {
                self.kafka(
                    &format!("cannot forget {partition} of the group {group}"),
                    refusal,
                )
            })?;
            tracing::info!(stream = self.name(), group, %partition, "forgotten: the checkpoint lacks it");
            self.stale.remove(&(group, partition));
        }
        Ok(())
    }
}

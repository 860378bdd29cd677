//! Owns the second half of a cycle: what the group has, what it is due, the commit, and that it was stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use checkpoint::{Store, TopicOffsets};
use kafka_io::{ByPartition, Committed, Refusal, RefusalKind, TopicPartition};
use tokio::time::Instant;

use super::{Report, Stream, StreamError};
use crate::board::PartitionState;
use crate::config::Mode;
use crate::group::{Edge, Groups};
use crate::ledger::{Due, Judge, Stamp, partitions};
use crate::log_ends::Ends;
use crate::progress::Progress;
use crate::selection::ByGroup;

impl<S: Store, G: Groups> Stream<S, G> {
    /// Reads what the groups have where that is not known yet: what they were given last is what may not be gone behind.
    pub(super) async fn read_back(&mut self, groups: &ByGroup) -> Result<(), StreamError> {
        if !self.is_committing() {
            self.progress
                .get_or_insert_with(|| Progress::new(self.settings.rewind, None));
            return Ok(());
        }
        let mut newest: Option<Stamp> = None;
        for (group, offsets) in groups {
            let unread = self.ledgers.entry(group.clone()).or_default().unread(offsets);
            let told = self.committed(group, &unread).await?;
            let stamps = told
                .values()
                .filter_map(|committed| Stamp::parse(&committed.metadata));
            newest = stamps.chain(newest).max_by_key(|stamp| stamp.timestamp_ms);
            self.ledgers
                .entry(group.clone())
                .or_default()
                .note(&unread, &told);
        }
        self.progress
            .get_or_insert_with(|| Progress::new(self.settings.rewind, newest.map(|stamp| stamp.batch)));
        Ok(())
    }

    /// Brings the groups to where the checkpoint is, and shows where that is in the logs.
    pub(super) async fn bring(&mut self) -> Result<(), StreamError> {
        let Some(wanted) = self.wanted.clone() else {
            return Ok(());
        };
        let partitions = partitions_of(&wanted.groups);
        let ends = self.ends.of(&partitions).await;
        let ends = ends.map_err(|refusal| self.kafka("cannot learn where the partitions end", refusal))?;
        self.learn_beginnings(&partitions).await;
        self.show(&wanted.groups, &ends);
        if self.settings.mode == Mode::Observe {
            return Ok(());
        }
        if !self.commits.is_open() {
            let refused = self.refused.clone();
            return refused.map_or(Ok(()), |refusal| Err(self.kafka("the group waits", refusal)));
        }
        self.bring_all(&wanted, &ends).await?;
        self.commits.pass();
        self.refused = None;
        self.prune(&wanted.groups).await
    }

    async fn bring_all(&mut self, wanted: &Report, ends: &Ends) -> Result<(), StreamError> {
        let mut result = Ok(());
        for (group, offsets) in &wanted.groups {
            let brought = self.bring_group(group, offsets, wanted, ends).await;
            result = result.and(brought);
        }
        result
    }

    async fn bring_group(
        &mut self,
        group: &str,
        offsets: &TopicOffsets,
        wanted: &Report,
        ends: &Ends,
    ) -> Result<(), StreamError> {
        let judge = Judge {
            rewind: wanted.rewind,
            policy: self.settings.rewind,
            keepalive: self.report.keepalive_interval,
        };
        let ledger = self.ledgers.entry(group.to_owned()).or_default();
        let due = ledger.due(offsets, ends, judge, Instant::now());
        if self.dry_run {
            for (partition, offset) in &due.offsets {
                tracing::info!(stream = self.name(), group, %partition, offset, "would commit");
            }
        } else if !due.offsets.is_empty() {
            self.commit(group, &due.offsets, wanted).await?;
        }
        self.tell_due(group, &due, wanted);
        self.judge_due(&due, offsets, wanted)
    }

    fn tell_due(&self, group: &str, due: &Due, wanted: &Report) {
        for (side, counters) in [
            (&due.rewound, &self.metrics.rewinds),
            (&due.held, &self.metrics.holds),
        ] {
            for reason in side.keys() {
                counters.with_label_values(&[self.name(), reason.name()]).inc();
            }
        }
        for (reason, partitions) in &due.rewound {
            let batch = wanted.stamp.batch.id.0;
            tracing::warn!(
                stream = self.name(),
                group,
                batch,
                partitions,
                reason = reason.name(),
                "went back"
            );
        }
    }

    /// What stays undone although every commit went well.
    fn judge_due(&self, due: &Due, offsets: &TopicOffsets, wanted: &Report) -> Result<(), StreamError> {
        if due.unknown.len() == offsets.iter().count() && !due.unknown.is_empty() {
            return Err(StreamError::NoTopic {
                topics: topics_of(&wanted.groups),
                cluster: self.settings.cluster.clone(),
            });
        }
        let held: usize = due.held.values().sum();
        if held > 0 {
            let reasons: Vec<_> = due.held.keys().map(|reason| reason.name()).collect();
            return Err(StreamError::Held(format!(
                "{held} partitions would go back ({}), which `rewind` forbids",
                reasons.join(", ")
            )));
        }
        Ok(())
    }

    /// Commits, and reads back that it was stored.
    async fn commit(
        &mut self,
        group: &str,
        offsets: &[(TopicPartition, i64)],
        wanted: &Report,
    ) -> Result<(), StreamError> {
        let stamp = wanted.stamp.render();
        let told = self.groups.commit(group, offsets, &stamp).await;
        let told = match told {
            Ok(told) => told,
            Err(refusal) => return Err(self.refused_commit(group, refusal)),
        };
        let partitions: Vec<_> = offsets.iter().map(|(partition, _)| partition.clone()).collect();
        let stored = self.committed(group, &partitions).await?;
        let ledger = self.ledgers.entry(group.to_owned()).or_default();
        ledger.note(&partitions, &stored);
        self.judge_refusals(group, told)?;
        let differs = |(partition, offset): &&(TopicPartition, i64)| {
            stored
                .get(partition)
                .is_none_or(|committed| committed.offset != *offset)
        };
        if let Some((partition, offset)) = offsets.iter().find(differs) {
            let what = format!(
                "group {group} does not have offset {offset} of {partition}, which was just committed"
            );
            let reason = "somebody else commits to this group; give the stream a group of its own".to_owned();
            let refusal = Refusal {
                kind: RefusalKind::Passing,
                code: "READ_BACK".to_owned(),
                reason,
            };
            self.count_refusal(&refusal);
            return Err(StreamError::Kafka {
                what,
                source: refusal,
            });
        }
        let ledger = self.ledgers.entry(group.to_owned()).or_default();
        ledger.settle(Instant::now());
        self.metrics.commits.with_label_values(&[self.name()]).inc();
        self.tell_delay();
        Ok(())
    }

    /// One refused partition is enough for the cycle to have failed; all are counted.
    fn judge_refusals(&mut self, group: &str, told: ByPartition<()>) -> Result<(), StreamError> {
        let asked = told.len();
        let refusals = told
            .into_iter()
            .filter_map(|(partition, told)| Some((partition, told.err()?)));
        let refusals: Vec<_> = refusals.collect();
        for (_, refusal) in &refusals {
            self.count_refusal(refusal);
        }
        let all = refusals.len() == asked;
        let Some((partition, refusal)) = refusals.into_iter().next() else {
            return Ok(());
        };
        if all {
            self.wait_after(&refusal);
        }
        let what = format!(
            "group {group} was refused the commit of {partition}{}",
            advice(refusal.kind)
        );
        Err(StreamError::Kafka {
            what,
            source: refusal,
        })
    }

    fn refused_commit(&mut self, group: &str, refusal: Refusal) -> StreamError {
        self.count_refusal(&refusal);
        self.wait_after(&refusal);
        let what = format!("group {group} was refused the commit{}", advice(refusal.kind));
        StreamError::Kafka {
            what,
            source: refusal,
        }
    }

    /// What only a person can mend is not tried again at once.
    fn wait_after(&mut self, refusal: &Refusal) {
        if matches!(
            refusal.kind,
            RefusalKind::InUse | RefusalKind::Denied | RefusalKind::Permanent
        ) {
            self.refused = Some(refusal.clone());
            self.commits.close();
        }
    }

    fn count_refusal(&self, refusal: &Refusal) {
        self.metrics
            .commit_errors
            .with_label_values(&[self.name(), &refusal.code])
            .inc();
    }

    fn tell_delay(&mut self) {
        let committed_at = self.wanted.as_mut().and_then(|wanted| wanted.committed_at.take());
        if let Some(delay) = committed_at.and_then(|at| SystemTime::now().duration_since(at).ok()) {
            self.metrics.delay.observe(delay.as_secs_f64());
        }
    }

    async fn committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Committed>, StreamError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let told = self.groups.committed(group, Some(partitions)).await;
        let told =
            told.map_err(|refusal| self.kafka(&format!("cannot read back the group {group}"), refusal))?;
        by_partition(told)
            .map_err(|refusal| self.kafka(&format!("cannot read back the group {group}"), refusal))
    }

    pub(super) fn kafka(&self, what: &str, source: Refusal) -> StreamError {
        let what = format!(
            "{what}, in the cluster {}{}",
            self.settings.cluster,
            advice(source.kind)
        );
        StreamError::Kafka { what, source }
    }

    /// Where the logs begin tells whether retention overtook the query. It moves slowly, and only shows.
    async fn learn_beginnings(&mut self, partitions: &[TopicPartition]) {
        let is_known = self
            .beginnings_at
            .is_some_and(|at| at.elapsed() < self.report.keepalive_interval);
        if is_known {
            return;
        }
        self.beginnings_at = Some(Instant::now());
        match self.groups.log_offsets(partitions, Edge::Beginning).await {
            Ok(told) => {
                self.beginnings = told
                    .into_iter()
                    .filter_map(|(partition, told)| Some((partition, told.ok()?)))
                    .collect();
            }
            Err(refusal) => {
                tracing::debug!(stream = self.name(), %refusal, "beginnings of the partitions unknown");
            }
        }
    }

    fn show(&self, groups: &ByGroup, ends: &Ends) {
        let mut partitions = BTreeMap::new();
        for (group, offsets) in groups {
            for (topic, partition, processed) in offsets.iter() {
                let key = TopicPartition::new(topic, partition);
                let end = ends.get(&key);
                let state = PartitionState {
                    processed,
                    beginning: self.beginnings.get(&key).copied(),
                    end: end.and_then(|end| end.as_ref().ok()).copied(),
                    unknown: matches!(end, Some(Err(refusal)) if refusal.kind == RefusalKind::UnknownPartition),
                };
                partitions.insert((group.clone(), topic.to_owned(), partition), state);
            }
        }
        self.metrics
            .board
            .change(self.name(), |state| state.partitions = partitions);
    }
}

/// All, or the first refusal.
pub(super) fn by_partition<T>(told: ByPartition<T>) -> Result<BTreeMap<TopicPartition, T>, Refusal> {
    told.into_iter()
        .filter(|(_, told)| !is_unknown(told))
        .map(|(partition, told)| Ok((partition, told?)))
        .collect()
}

/// Of a partition that is not there, a group has nothing.
fn is_unknown<T>(told: &Result<T, Refusal>) -> bool {
    matches!(told, Err(refusal) if refusal.kind == RefusalKind::UnknownPartition)
}

/// What a person can do.
fn advice(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::InUse => {
            "; the group has members, who alone may commit: give the stream a group that nobody else uses"
        }
        RefusalKind::Denied => "; the client needs READ on the group and on the topics",
        RefusalKind::UnknownPartition => "; the topic was deleted, or has fewer partitions",
        RefusalKind::Passing | RefusalKind::Permanent => "",
    }
}

/// The partitions of these groups.
fn partitions_of(groups: &ByGroup) -> Vec<TopicPartition> {
    let all: BTreeSet<_> = groups.values().flat_map(partitions).collect();
    all.into_iter().collect()
}

/// The topics of these groups.
fn topics_of(groups: &ByGroup) -> String {
    let topics = groups
        .values()
        .flat_map(TopicOffsets::iter)
        .map(|(topic, ..)| topic);
    let all: BTreeSet<_> = topics.collect();
    all.into_iter().collect::<Vec<_>>().join(", ")
}

//! Owns bringing a stream's groups to where its checkpoint is: what they have, what they are given, and that it was stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use checkpoint::{BatchId, TopicOffsets};
use kafka_admin::{ByPartition, Committed, Refusal, RefusalKind, TopicPartition};
use tokio::time::Instant;

use super::error::{StreamError, advice};
use super::gate::Gate;
use super::snapshot::Snapshot;
use super::{FIRST_REFUSAL_WAIT, LAST_REFUSAL_WAIT};
use crate::config::{Mode, StreamSettings};
use crate::group::Groups;
use crate::metrics::Metrics;
use crate::plan::{CommittedOffsets, Rewind, Rules, Stamp, Step, partitions};
use crate::selection::ByGroup;

/// Commits for one stream.
pub(super) struct Committer<G> {
    settings: StreamSettings,
    rules: Rules,
    is_dry_run: bool,
    groups: Arc<G>,
    metrics: Metrics,
    has: BTreeMap<String, CommittedOffsets>,
    gates: BTreeMap<String, CommitGate>,
    /// What was committed at the last turn, or would have been.
    steps: Vec<(String, Step)>,
}

/// Whether a group is tried again already, after a refusal that only a person can end.
struct CommitGate {
    gate: Gate,
    /// Why it is closed, so that it is reported as long as it is closed.
    refused: StreamError,
}

impl<G: Groups> Committer<G> {
    pub(super) fn new(
        settings: StreamSettings,
        rules: Rules,
        is_dry_run: bool,
        groups: Arc<G>,
        metrics: Metrics,
    ) -> Self {
        Self {
            settings,
            rules,
            is_dry_run,
            groups,
            metrics,
            has: BTreeMap::new(),
            gates: BTreeMap::new(),
            steps: Vec::new(),
        }
    }

    /// What was committed at the last turn, by group, or would have been.
    pub(super) fn steps(&self) -> &[(String, Step)] {
        &self.steps
    }

    pub(super) fn is_writing(&self) -> bool {
        self.settings.mode == Mode::Commit && !self.is_dry_run
    }

    /// Records that the cluster has these partitions.
    pub(super) fn exist(&mut self, partitions: &[&TopicPartition]) {
        for offsets in self.has.values_mut() {
            for partition in partitions {
                offsets.exists(partition);
            }
        }
    }

    /// The newest batch of this query that the groups have, after what is not known of them was read. What a refusal keeps
    /// from being known says nothing, unless nothing is known at all.
    pub(super) async fn newest_of(
        &mut self,
        query: &str,
        groups: &ByGroup,
    ) -> Result<Option<BatchId>, StreamError> {
        let (mut newest, mut result, mut is_any_known) = (None, Ok(()), false);
        for (group, offsets) in groups {
            result = result.and(self.read_back(group, offsets).await);
            let has = self.of(group);
            newest = newest.max(has.newest_of(query, offsets));
            is_any_known |= has.unread(offsets).len() < partitions(offsets).count();
        }
        if is_any_known {
            return Ok(newest);
        }
        result.map(|()| newest)
    }

    /// Commits what is due; what a group's refusal hinders is done for the others.
    pub(super) async fn commit(&mut self, snapshot: &mut Snapshot) -> Result<(), StreamError> {
        self.steps.clear();
        let mut result = Ok(());
        for (group, offsets) in &snapshot.groups {
            let committed = self.commit_group(group, offsets, &snapshot.stamp).await;
            result = result.and(committed);
        }
        if self.is_writing() && !self.steps.is_empty() {
            let due_since = snapshot.committed_at.take_if(|_| result.is_ok());
            self.metrics.committed(&self.settings.name, due_since);
        }
        result
    }

    async fn commit_group(
        &mut self,
        group: &str,
        offsets: &TopicOffsets,
        stamp: &Stamp,
    ) -> Result<(), StreamError> {
        if let Some(closed) = self.gates.get(group).filter(|closed| !closed.gate.is_open()) {
            return Err(closed.refused.clone());
        }
        let (rules, now) = (self.rules, Instant::now());
        let is_due = !self.of(group).plan(offsets, stamp, rules, now).steps.is_empty();
        if self.is_writing() && is_due {
            // Somebody else may have committed since it was read; to keep offsets alive is no reason to take a group back.
            self.of(group).forget(&partitions(offsets).collect::<Vec<_>>());
        }
        let read = self.read_back(group, offsets).await;
        let plan = self.of(group).plan(offsets, stamp, rules, now);
        let mut written = Ok(());
        if !plan.steps.is_empty() {
            if self.is_writing() {
                written = self.write(group, &plan.steps, stamp).await;
            } else {
                self.pretend(group, plan.steps, stamp);
            }
        }
        let committed = read.and(written).and(self.judge_held(group, &plan.held));
        if committed.is_ok() {
            self.gates.remove(group);
        }
        committed
    }

    /// Reads what a group has, where that is not known. Of a stream that is only observed nobody asks: it is as if its
    /// group had what was seen last, and nothing before.
    async fn read_back(&mut self, group: &str, offsets: &TopicOffsets) -> Result<(), StreamError> {
        let unread = self.of(group).unread(offsets);
        if self.settings.mode == Mode::Observe {
            for partition in &unread {
                self.of(group).record(partition, None);
            }
            return Ok(());
        }
        if unread.is_empty() {
            return Ok(());
        }
        self.read(group, &unread).await.1
    }

    /// Reads and records what a group has in these partitions. One that is refused is not known any more, and hinders no
    /// other.
    async fn read(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> (BTreeMap<TopicPartition, Committed>, Result<(), StreamError>) {
        let (mut stored, mut refused) = (BTreeMap::new(), BTreeMap::new());
        let cluster = &self.settings.cluster;
        let answer = match self.groups.committed(group, Some(partitions)).await {
            Ok(answer) => answer,
            Err(refusal) => {
                let what = format!("cannot read back the group {group}");
                return (stored, Err(StreamError::kafka(cluster, &what, refusal)));
            }
        };
        for (partition, answer) in answer {
            match answer {
                Ok(committed) => drop(stored.insert(partition, committed)),
                // Of a partition that is not there, a group has nothing.
                Err(refusal) if refusal.kind == RefusalKind::UnknownPartition => {}
                Err(refusal) => drop(refused.insert(partition, refusal)),
            }
        }
        let result = refused.first_key_value().map_or(Ok(()), |(partition, refusal)| {
            let what = format!("cannot read back {partition} of the group {group}");
            Err(StreamError::kafka(cluster, &what, refusal.clone()))
        });
        let has = self.of(group);
        for partition in partitions {
            let committed = stored.get(partition);
            let committed = committed.map(|has| (has.offset.get(), has.metadata.as_str()));
            has.record(partition, committed);
        }
        has.forget(refused.keys());
        (stored, result)
    }

    /// Records what would be committed as if it were: it is said once.
    fn pretend(&mut self, group: &str, steps: Vec<Step>, stamp: &Stamp) {
        let metadata = stamp.render();
        let has = self.of(group);
        for step in &steps {
            has.record(&step.partition, Some((step.to, &metadata)));
        }
        has.complete(BTreeSet::new(), Instant::now());
        if self.settings.mode == Mode::Observe {
            return;
        }
        for Step {
            partition,
            from,
            to,
            rewind,
        } in &steps
        {
            let rewind = rewind.map(Rewind::name);
            tracing::info!(group, %partition, from, to, rewind, "would commit");
        }
        self.steps
            .extend(steps.into_iter().map(|step| (group.to_owned(), step)));
    }

    /// Commits, and reads back that it was stored.
    async fn write(&mut self, group: &str, steps: &[Step], stamp: &Stamp) -> Result<(), StreamError> {
        let offsets: Vec<_> = steps
            .iter()
            .map(|step| (step.partition.clone(), step.to))
            .collect();
        let partitions: Vec<_> = steps.iter().map(|step| step.partition.clone()).collect();
        // A commit that fails, or is not answered, may have been stored.
        self.of(group).forget(&partitions);
        let answer = match self.groups.commit(group, &offsets, &stamp.render()).await {
            Ok(answer) => answer,
            // Kafka says it of the whole where it is so of each partition.
            Err(refusal) if refusal.kind == RefusalKind::UnknownPartition => partitions
                .iter()
                .map(|partition| (partition.clone(), Err(refusal.clone())))
                .collect(),
            Err(refusal) => return Err(self.refused(group, "all partitions", refusal, true)),
        };
        let (stored, read) = self.read(group, &partitions).await;
        let is_stored = |step: &&Step| {
            stored
                .get(&step.partition)
                .is_some_and(|has| has.offset.get() == step.to)
        };
        self.report_stored(group, steps.iter().filter(is_stored), stamp);
        let absent = self.judge_refusals(group, answer)?;
        read?;
        let differs = |(partition, offset): &&(TopicPartition, i64)| {
            let stored = stored.get(partition).map(|committed| committed.offset.get());
            stored != Some(*offset) && !absent.contains(partition)
        };
        if let Some((partition, offset)) = offsets.iter().find(differs) {
            let refusal = Refusal {
                kind: RefusalKind::Passing,
                code: "READ_BACK".to_owned(),
                reason: "somebody else commits to this group; give the stream a group of its own".to_owned(),
            };
            self.metrics.refused_commit(&self.settings.name, &refusal);
            let what = format!(
                "group {group} does not have offset {offset} of {partition}, which was just committed"
            );
            return Err(StreamError::Kafka {
                what,
                source: refusal,
            });
        }
        self.of(group).complete(absent, Instant::now());
        Ok(())
    }

    /// The partitions that the cluster does not have. Any other refusal fails the turn; all are counted.
    fn judge_refusals(
        &mut self,
        group: &str,
        answer: ByPartition<()>,
    ) -> Result<BTreeSet<TopicPartition>, StreamError> {
        let (asked, mut absent, mut refusals) = (answer.len(), BTreeSet::new(), Vec::new());
        for (partition, answer) in answer {
            match answer {
                Ok(()) => {}
                Err(refusal) if refusal.kind == RefusalKind::UnknownPartition => {
                    absent.insert(partition);
                }
                Err(refusal) => refusals.push((partition, refusal)),
            }
        }
        let are_all = refusals.len() == asked;
        for (_, refusal) in refusals.iter().skip(1) {
            self.metrics.refused_commit(&self.settings.name, refusal);
        }
        match refusals.into_iter().next() {
            None => Ok(absent),
            Some((partition, refusal)) => Err(self.refused(group, &partition.to_string(), refusal, are_all)),
        }
    }

    /// Counts a refusal. What only a person can mend is not tried again at once, if nothing could be committed.
    fn refused(&mut self, group: &str, what: &str, refusal: Refusal, is_all: bool) -> StreamError {
        self.metrics.refused_commit(&self.settings.name, &refusal);
        let needs_person = matches!(
            refusal.kind,
            RefusalKind::InUse | RefusalKind::Denied | RefusalKind::Permanent
        );
        let what = format!(
            "group {group} was refused the commit of {what}{}",
            advice(refusal.kind)
        );
        let error = StreamError::Kafka {
            what,
            source: refusal,
        };
        if needs_person && is_all {
            let refused = error.clone();
            let gate = Gate::new(FIRST_REFUSAL_WAIT);
            let closed = self.gates.entry(group.to_owned());
            let closed = closed.or_insert(CommitGate { gate, refused });
            closed.refused = error.clone();
            closed.gate.close(LAST_REFUSAL_WAIT);
        }
        error
    }

    /// A step back counts when it is stored.
    fn report_stored<'s>(&mut self, group: &str, stored: impl Iterator<Item = &'s Step>, stamp: &Stamp) {
        let mut back = BTreeMap::<_, Vec<&Step>>::new();
        for step in stored {
            if let Some(reason) = step.rewind {
                back.entry(reason).or_default().push(step);
            }
            self.steps.push((group.to_owned(), step.clone()));
        }
        for (reason, steps) in back {
            let Step {
                partition, from, to, ..
            } = steps[0];
            let (batch, partitions, reason) = (stamp.batch.0, steps.len(), reason.name());
            tracing::warn!(group, batch, partitions, reason, %partition, from, to, "went back");
            self.metrics.went_back(&self.settings.name, reason);
        }
    }

    /// What is held is read again before the next plan: a person may have reset the group.
    fn judge_held(&mut self, group: &str, held: &[Step]) -> Result<(), StreamError> {
        let Some(first) = held.first() else { return Ok(()) };
        let reasons: BTreeSet<_> = held.iter().filter_map(|step| step.rewind).collect();
        for reason in &reasons {
            self.metrics.held(&self.settings.name, reason.name());
        }
        self.of(group).forget(held.iter().map(|step| &step.partition));
        let reasons: Vec<_> = reasons.iter().map(|reason| reason.name()).collect();
        Err(StreamError::Held {
            stream: self.settings.name.clone(),
            group: group.to_owned(),
            partitions: held.len(),
            first: Box::new(first.clone()),
            reasons: reasons.join(", "),
        })
    }

    fn of(&mut self, group: &str) -> &mut CommittedOffsets {
        self.has.entry(group.to_owned()).or_default()
    }
}

//! Owns what the loop does if the topic is not the one that was read any more.

use std::ops::Range;

use anyhow::bail;
use kafka_admin::Partition;
use kafka_io::{Start, StartWithout};
use tokio::time::Instant;

use super::Worker;
use super::lookout::Finding;
use crate::config::OnReset;
use crate::consume::{Snapshot, Source};
use crate::produce::Sink;
use crate::sessions::Compute;

/// The most partitions that a line of the log names.
const MAX_NAMED: usize = 10;

impl<C: Source, P: Sink, S: Compute> Worker<C, P, S> {
    pub(super) fn on_inspected(
        &mut self,
        answer: anyhow::Result<Snapshot>,
        now: Instant,
    ) -> anyhow::Result<()> {
        if self.stopping {
            return Ok(());
        }
        let snapshot = match answer {
            Ok(snapshot) => snapshot,
            Err(error) => {
                // Whether Kafka answers at all, the consumer reports.
                tracing::debug!(error = format!("{error:#}"), "the topic cannot be inspected");
                self.lookout.unanswered(now);
                return Ok(());
            }
        };
        self.report_topics(&snapshot);
        for (partition, offsets) in &snapshot.empty {
            self.parts.ledger.pass(*partition, offsets);
        }
        let findings = self
            .lookout
            .judge(&snapshot, &self.parts.ledger, !self.paused, now);
        if self.settings.on_reset != OnReset::Latest {
            // Where the log begins may have changed again since a reset was decided.
            for (partition, range) in &snapshot.ranges {
                if let Some(at) = self.resets.get_mut(partition) {
                    *at = range.start;
                }
            }
        }
        let mut stopped = Vec::new();
        for finding in findings {
            self.on_finding(finding, &mut stopped)?;
        }
        self.read_on(&stopped);
        Ok(())
    }

    /// Reads partitions on from where they stand. One of them had stopped; to the others it does nothing.
    fn read_on(&self, stopped: &[(Partition, i64)]) {
        if stopped.is_empty() {
            return;
        }
        for (partition, expected) in stopped {
            self.parts.source.restart(*partition, *expected);
        }
        let topic = &self.settings.topics.input;
        let some = &stopped[..stopped.len().min(MAX_NAMED)];
        tracing::warn!(
            %topic,
            partitions = stopped.len(),
            "reading of a partition had stopped; all that stand still are read on, each from its offset: {some:?}"
        );
    }

    fn report_topics(&self, snapshot: &Snapshot) {
        let input = snapshot
            .partitions
            .is_empty()
            .then_some(&self.settings.topics.input);
        let missing: Vec<&str> = input
            .into_iter()
            .chain(&snapshot.missing)
            .map(kafka_admin::Topic::as_str)
            .collect();
        if missing.is_empty() {
            self.telemetry.topics.met();
        } else {
            let missing = missing.join(", ");
            self.telemetry
                .topics
                .unmet(format!("{missing} does not exist any more: was it deleted?"));
        }
    }

    /// Does what follows from a finding, but for partitions that stand still, which are read on together.
    fn on_finding(&mut self, finding: Finding, stopped: &mut Vec<(Partition, i64)>) -> anyhow::Result<()> {
        let topic = &self.settings.topics.input;
        match finding {
            // It is about to be read from elsewhere.
            Finding::Expired { partition, .. }
            | Finding::Stopped { partition, .. }
            | Finding::NeverBegan { partition, .. }
                if self.is_left(partition) => {}
            Finding::NewPartitions(partitions) => self.on_new_partitions(&partitions)?,
            Finding::Gone(partitions) => self.on_gone(&partitions)?,
            Finding::BeganAgain {
                partition,
                expected,
                range,
            } => self.on_began_again(partition, expected, &range)?,
            Finding::Expired {
                partition,
                expected,
                start,
            } => {
                self.telemetry.metrics.expired(topic, partition, expected..start);
                self.resets.insert(partition, start);
            }
            Finding::NeverBegan { partition, range } => {
                self.parts.source.restart(partition, range.start);
            }
            Finding::Stopped { partition, expected } => stopped.push((partition, expected)),
        }
        Ok(())
    }

    /// The log of a partition is another one than was read.
    fn on_began_again(
        &mut self,
        partition: Partition,
        expected: Option<i64>,
        range: &Range<i64>,
    ) -> anyhow::Result<()> {
        if self.resets.contains_key(&partition) {
            return Ok(());
        }
        let topic = self.settings.topics.input.clone();
        let what = began_again(&topic, partition, expected, range);
        self.telemetry.metrics.resets.inc();
        let at = match self.settings.on_reset {
            OnReset::Stop => {
                self.telemetry.topics.unmet(what.clone());
                bail!(
                    "{what}. Set input.on_reset to \"earliest\" or \"latest\" to read the new records, from the first \
                     or the next one on"
                );
            }
            OnReset::Earliest => range.start,
            OnReset::Latest => range.end,
        };
        tracing::warn!(%topic, %partition, ?expected, start = range.start, end = range.end, at, "the topic began again");
        self.resets.insert(partition, at);
        Ok(())
    }

    /// The topic lacks partitions that it had, which only another topic of its name can.
    fn on_gone(&self, partitions: &[Partition]) -> anyhow::Result<()> {
        let what = gone(&self.settings.topics.input, partitions);
        if self.settings.on_reset == OnReset::Stop {
            self.telemetry.topics.unmet(what.clone());
            bail!(
                "{what}. Set input.on_reset to \"earliest\" or \"latest\" to read the partitions that there are"
            );
        }
        tracing::warn!("{what}");
        Ok(())
    }

    /// Reads partitions from elsewhere on, each when nothing of it is in hand any more.
    pub(super) fn apply_resets(&mut self) {
        let ledger = &self.parts.ledger;
        let due: Vec<_> = self
            .resets
            .iter()
            .map(|(partition, at)| (*partition, *at))
            .filter(|(partition, _)| !ledger.is_busy(*partition))
            .collect();
        for (partition, at) in due {
            self.resets.remove(&partition);
            if !self.parts.ledger.is_open(partition) {
                continue;
            }
            self.ended.remove(&partition);
            self.lookout.forget(partition);
            self.parts.ledger.open(partition, Some(at));
            self.parts.ledger.mark_moved(partition);
            self.parts.keeper.allow_fall();
            self.restarting.insert(partition, at);
            self.parts.source.restart(partition, at);
        }
    }

    /// Whether what comes of a partition is of a log, or from an offset, that is not read any more.
    pub(super) fn is_left(&self, partition: Partition) -> bool {
        self.resets.contains_key(&partition) || self.restarting.contains_key(&partition)
    }

    pub(super) fn on_restarted(&mut self, partition: Partition, start: Start) -> anyhow::Result<()> {
        if self
            .restarting
            .get(&partition)
            .is_some_and(|at| start == Start::At(*at))
        {
            self.restarting.remove(&partition);
        }
        self.pause_as_others(&[partition])
    }

    /// Partitions that the topic did not have before: all of their records are new.
    fn on_new_partitions(&mut self, partitions: &[Partition]) -> anyhow::Result<()> {
        let Some(shard) = self.settings.shard else {
            return Ok(());
        };
        let new: Vec<_> = partitions
            .iter()
            .copied()
            .filter(|partition| shard.has(*partition) && !self.parts.ledger.is_open(*partition))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        tracing::info!(partitions = ?new, "the topic has new partitions");
        for partition in &new {
            self.parts.ledger.open(*partition, None);
        }
        self.report_partitions();
        let start = Start::Without(StartWithout::Earliest);
        let added: Vec<_> = new.iter().map(|partition| (*partition, start)).collect();
        self.parts.source.add(&added)?;
        self.pause_as_others(&new)
    }
}

/// Says that the topic has fewer partitions than it had, also at the start of a worker.
pub(crate) fn gone(topic: &kafka_admin::Topic, partitions: &[Partition]) -> String {
    let named: Vec<_> = partitions.iter().map(Partition::to_string).collect();
    format!(
        "{topic} does not have the partitions {} any more: the topic was deleted and created again",
        named.join(", ")
    )
}

/// Says that a partition's log began again, also at the start of a worker.
pub(crate) fn began_again(
    topic: &kafka_admin::Topic,
    partition: Partition,
    expected: Option<i64>,
    range: &Range<i64>,
) -> String {
    let stood = expected.map_or_else(
        || "at an unknown offset".to_owned(),
        |at| format!("at offset {at}"),
    );
    format!(
        "{topic}, partition {partition}: reading stood {stood}, but the partition has offsets {} to {} now: the topic \
         was deleted and created again, or truncated",
        range.start, range.end
    )
}

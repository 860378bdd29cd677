//! Owns what the loop does as partitions come and go, and when reading them pauses.

use std::collections::HashSet;

use kafka_admin::Partition;
use kafka_io::Revocation;

use super::Worker;
use crate::config::RawEngine;
use crate::consume::Source;
use crate::metrics::{Rebalance, count};
use crate::produce::Sink;
use crate::sessions::Compute;

impl<C: Source, P: Sink, S: Compute> Worker<C, P, S> {
    pub(super) fn on_assigned(&mut self, partitions: &[Partition]) -> anyhow::Result<()> {
        self.telemetry.metrics.rebalanced(Rebalance::Assigned, partitions);
        self.assigned = true;
        self.forget(partitions);
        let starts = self.parts.source.accept(partitions);
        for (partition, position) in &starts {
            self.parts.ledger.open(*partition, Some(*position));
            // Where nothing was committed, a restart would begin elsewhere: at a later end.
            self.parts.ledger.mark_moved(*partition);
        }
        let ours: Vec<_> = starts.into_iter().map(|(partition, _)| partition).collect();
        self.lookout.knows(ours.iter().copied());
        self.report_partitions();
        self.pause_as_others(&ours)
    }

    pub(super) fn on_revoking(&mut self, partitions: Vec<Partition>, revocation: Revocation) {
        self.telemetry.metrics.rebalanced(Rebalance::Revoked, &partitions);
        self.revoking = Some((partitions, revocation));
    }

    /// Partitions belong to others now, who process again what was not committed.
    pub(super) fn on_lost(&mut self, partitions: &[Partition]) {
        self.telemetry.metrics.rebalanced(Rebalance::Lost, partitions);
        self.forget(partitions);
        // If the drain took too long, the revocation has ended already.
        self.revoking
            .take_if(|(revoking, _)| revoking.iter().all(|its| partitions.contains(its)));
    }

    /// One state holds for all: a partition that comes while reading is paused begins paused, and one that was paused when
    /// it went and came back without a word is resumed.
    pub(super) fn pause_as_others(&self, partitions: &[Partition]) -> anyhow::Result<()> {
        self.parts.source.pause(partitions, self.paused)
    }

    pub(super) fn report_partitions(&self) {
        let partitions = self.parts.ledger.partition_count();
        self.telemetry.metrics.partitions.set(count(partitions));
    }

    /// Releases partitions that are being taken away, once nothing of them is in hand and their positions are committed.
    pub(super) fn release(&mut self) {
        let Self { parts, revoking, .. } = self;
        let is_held = |partition: &Partition| {
            parts.ledger.is_busy(*partition)
                || parts.ledger.has_moved(*partition)
                || parts.keeper.holds(*partition)
        };
        let released = revoking.take_if(|(partitions, _)| !partitions.iter().any(is_held));
        if let Some((partitions, revocation)) = released {
            self.forget(&partitions);
            drop(revocation);
        }
    }

    fn forget(&mut self, partitions: &[Partition]) {
        let forgotten: HashSet<_> = partitions.iter().copied().collect();
        for partition in &forgotten {
            self.parts.ledger.close(*partition);
            self.ended.remove(partition);
            self.resets.remove(partition);
            self.restarting.remove(partition);
            self.lookout.forget(*partition);
        }
        self.origins
            .retain(|_, origin| !forgotten.contains(&origin.partition()));
        let ledger = &self.parts.ledger;
        self.queue.retain(|ticket| ledger.has(ticket));
        self.report_partitions();
    }

    pub(super) fn pause_or_resume(&mut self) -> anyhow::Result<()> {
        let RawEngine {
            in_flight_rows,
            in_flight_bytes,
            ..
        } = &self.settings.engine;
        let (rows, bytes) = (self.parts.ledger.rows(), self.parts.ledger.bytes());
        let full = rows >= in_flight_rows.get() || bytes >= in_flight_bytes.get();
        let low = rows <= in_flight_rows.get() / 2 && bytes <= in_flight_bytes.get() / 2;
        let pause = if self.paused { !low } else { full };
        if pause != self.paused {
            let partitions: Vec<_> = self.parts.ledger.partitions().collect();
            self.parts.source.pause(&partitions, pause)?;
            self.paused = pause;
            self.telemetry.metrics.paused.set(i64::from(pause));
        }
        Ok(())
    }
}

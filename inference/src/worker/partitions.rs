//! Owns what the loop does as partitions come and go, and when reading them pauses.

use kafka_io::{Partition, Start, StartWithout};

use super::Worker;
use crate::config::RawEngine;
use crate::consume::Source;
use crate::metrics::count;
use crate::produce::Sink;

impl<C: Source, P: Sink> Worker<C, P> {
    pub(super) fn on_assigned(&mut self, partitions: &[Partition]) -> anyhow::Result<()> {
        tracing::info!(?partitions, "partitions were given");
        self.told
            .metrics
            .rebalances
            .with_label_values(&["assigned"])
            .inc();
        for partition in partitions {
            self.parts
                .ledger
                .open(*partition, None, self.parts.keeper.first_limit());
        }
        self.tell_partitions();
        self.pause_if_others_are(partitions)
    }

    pub(super) fn on_new_partitions(&mut self, partitions: &[Partition]) -> anyhow::Result<()> {
        tracing::info!(?partitions, "the topic has new partitions");
        for partition in partitions {
            self.parts
                .ledger
                .open(*partition, None, self.parts.keeper.first_limit());
        }
        self.tell_partitions();
        let start = Start::Without(StartWithout::Earliest);
        let added: Vec<_> = partitions.iter().map(|partition| (*partition, start)).collect();
        self.parts.source.add(&added)?;
        self.pause_if_others_are(partitions)
    }

    /// A partition that comes while reading is paused begins paused: one state holds for all.
    fn pause_if_others_are(&self, partitions: &[Partition]) -> anyhow::Result<()> {
        if self.paused {
            self.parts.source.pause(partitions, true)?;
        }
        Ok(())
    }

    fn tell_partitions(&self) {
        let partitions = self.parts.ledger.partitions().count();
        self.told.metrics.partitions.set(count(partitions));
    }

    /// Lets partitions go that are being taken away, once nothing of them is in hand and their positions are written.
    pub(super) fn let_go(&mut self) {
        let Some((partitions, revocation)) = self.revoking.take() else {
            return;
        };
        let busy = partitions
            .iter()
            .any(|partition| self.parts.ledger.is_busy(*partition));
        if busy || !self.parts.keeper.is_idle(&self.parts.ledger) {
            self.revoking = Some((partitions, revocation));
            return;
        }
        self.forget(&partitions);
        drop(revocation);
    }

    pub(super) fn forget(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            self.parts.ledger.close(*partition);
        }
        self.origins
            .retain(|_, origin| !partitions.contains(&origin.partition()));
        self.ended.retain(|partition| !partitions.contains(partition));
        self.tell_partitions();
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
            self.told.metrics.paused.set(i64::from(pause));
        }
        Ok(())
    }
}

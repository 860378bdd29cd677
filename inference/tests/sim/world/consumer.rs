//! Owns a consumer: what it fetched and what waits on its channel. It is what `kafka-io` is to a worker.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, TryRecvError};

use kafka_io::{Event, Revocation};

use super::log::{Logs, Serial, partition};

/// Reading of a partition.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) fetch: i64,
    pub(crate) paused: bool,
    /// The end was reported.
    ended: bool,
    /// The offset was out of range; nothing is read until the partition is read again from elsewhere.
    pub(crate) broken: bool,
}

/// What waits on the channel.
#[derive(Debug)]
pub(crate) enum Item {
    Record {
        serial: Serial,
        partition: usize,
        generation: usize,
    },
    End(usize),
    Restarted(usize, i64),
    Assigned(Vec<Assigned>),
    Revoking(Vec<usize>, Revocation),
    Lost(Vec<usize>),
    OutOfRange(usize),
    Other(Event),
}

/// A partition as a group gives it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Assigned {
    pub(crate) partition: usize,
    pub(crate) from: i64,
    pub(crate) generation: usize,
}

#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) reading: BTreeMap<usize, Reading>,
    pub(crate) channel: VecDeque<Item>,
    /// How many records may wait.
    pub(crate) capacity: usize,
    /// Partitions that are to be read from elsewhere, as soon as the poll thread gets to it.
    pub(crate) restarts: Vec<(usize, i64)>,
    /// A revocation that the poll thread waits for.
    pub(crate) revoking: Option<(Vec<usize>, Receiver<()>)>,
}

impl Consumer {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            reading: BTreeMap::new(),
            channel: VecDeque::from([Item::Other(Event::Connected)]),
            capacity,
            restarts: Vec::new(),
            revoking: None,
        }
    }

    pub(crate) fn read(&mut self, partition: usize, fetch: i64) {
        let reading = Reading {
            fetch,
            paused: false,
            ended: false,
            broken: false,
        };
        self.reading.insert(partition, reading);
    }

    /// Whether a partition was assigned anew and the worker has not heard of it: what it asks for now is about before.
    pub(crate) fn is_unaccepted(&self, partition: usize) -> bool {
        let assigned = |item: &Item| matches!(item, Item::Assigned(all) if all.iter().any(|its| its.partition == partition));
        self.channel.iter().any(assigned)
    }

    /// A partition is to be read from elsewhere.
    pub(crate) fn restart(&mut self, partition: usize, at: i64) {
        if self.is_unaccepted(partition) {
            return;
        }
        self.restarts.retain(|(other, _)| *other != partition);
        self.restarts.push((partition, at));
    }

    /// Reads partitions from elsewhere, if they are still read at all.
    pub(crate) fn carry_out_restarts(&mut self) {
        for (partition, at) in std::mem::take(&mut self.restarts) {
            if self.reading.contains_key(&partition) {
                self.read(partition, at);
                self.channel.push_back(Item::Restarted(partition, at));
            }
        }
    }

    /// Whether a restart was asked for, or the worker has not heard that it was done.
    pub(crate) fn restarts(&self, partition: usize) -> bool {
        let restarted = |item: &Item| matches!(item, Item::Restarted(its, _) if *its == partition);
        self.restarts.iter().any(|(its, _)| *its == partition) || self.channel.iter().any(restarted)
    }

    /// The partitions of which something can be fetched.
    pub(crate) fn fetchable(&self, logs: &Logs) -> impl Iterator<Item = usize> {
        let waits = self.revoking.is_none() && self.channel.len() < self.capacity;
        self.reading
            .iter()
            .filter(move |(partition, reading)| {
                let idle = reading.ended && logs.now(**partition).end() == reading.fetch;
                waits && !reading.paused && !reading.broken && !idle
            })
            .map(|(partition, _)| *partition)
    }

    /// Fetches what comes next in a partition.
    pub(crate) fn fetch(&mut self, partition: usize, logs: &Logs) {
        let Some(reading) = self.reading.get_mut(&partition) else {
            return;
        };
        let log = logs.now(partition);
        self.channel
            .push_back(if !(log.start..=log.end()).contains(&reading.fetch) {
                reading.broken = true;
                Item::OutOfRange(partition)
            } else if let Some(serial) = logs.next(partition, reading.fetch) {
                reading.fetch = logs.written[serial as usize].offset + 1;
                reading.ended = false;
                Item::Record {
                    serial,
                    partition,
                    generation: logs.generation(partition),
                }
            } else {
                reading.fetch = log.end();
                reading.ended = true;
                Item::End(partition)
            });
        self.carry_out_restarts();
    }

    /// Whether a partition was lost, and the worker has not heard of it.
    pub(crate) fn has_lost(&self, partition: usize) -> bool {
        let lost = |item: &Item| matches!(item, Item::Lost(lost) if lost.contains(&partition));
        !self.reading.contains_key(&partition) || self.channel.iter().any(lost)
    }

    /// A rebalance begins to take partitions away.
    pub(crate) fn revoke(&mut self, partitions: Vec<usize>) {
        let (revocation, released) = Revocation::new();
        self.channel
            .push_back(Item::Revoking(partitions.clone(), revocation));
        self.revoking = Some((partitions, released));
    }

    /// Whether the revocation was released by the worker.
    pub(crate) fn is_released(&self) -> bool {
        let released =
            |(_, released): &(_, Receiver<()>)| released.try_recv() == Err(TryRecvError::Disconnected);
        self.revoking.as_ref().is_some_and(released)
    }

    /// Whether the worker has released a partition that is still read.
    pub(crate) fn has_released(&self, partition: usize) -> bool {
        let is_its = |(partitions, _): &(Vec<usize>, _)| partitions.contains(&partition);
        self.is_released() && self.revoking.as_ref().is_some_and(is_its)
    }

    /// The revocation is over.
    pub(crate) fn end_revocation(&mut self, released: bool) {
        let Some((partitions, _)) = self.revoking.take() else {
            return;
        };
        for partition in &partitions {
            self.reading.remove(partition);
        }
        if !released {
            self.channel.push_back(Item::Lost(partitions));
        }
        self.carry_out_restarts();
    }

    /// The group has given the partitions to others.
    pub(crate) fn lose_all(&mut self) {
        self.revoking = None;
        let lost: Vec<usize> = std::mem::take(&mut self.reading).into_keys().collect();
        self.restarts.clear();
        self.channel.push_back(Item::Lost(lost));
    }
}

/// The partitions as Kafka names them.
pub(crate) fn named(partitions: &[usize]) -> Vec<kafka_admin::Partition> {
    partitions.iter().map(|index| partition(*index)).collect()
}

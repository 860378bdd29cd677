//! Owns what the worker holds: the ends through which it asks. What it asks for is kept for the world to carry out.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, pending};
use std::sync::{Arc, Mutex, MutexGuard};

use inference::batch::Waiting;
use inference::consume::{Question, Snapshot, Source};
use inference::produce::Sink;
use inference::sessions::Compute;
use kafka_admin::Partition;
use kafka_io::{DeliveryError, Outgoing, SendError, Start};

use super::log::{Serial, index};

/// Values that the producer and the broker refuse if they are longer.
const MAX_PRODUCER_BYTES: usize = 450;
pub(crate) const MAX_BROKER_BYTES: usize = 320;
/// How many slices the sessions take.
const MAX_SLICES: usize = 2;

/// What a worker asked for.
#[derive(Debug)]
pub(crate) enum Call {
    Send(Asked),
    Restart(usize, i64),
    Pause(Vec<usize>, bool),
    Add(Vec<usize>),
}

/// A result that a worker sent.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) tag: usize,
    pub(crate) serial: Serial,
    pub(crate) bytes: usize,
    pub(crate) is_dead_letter: bool,
    /// The producer itself refused it.
    pub(crate) refused: bool,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) calls: Vec<Call>,
    /// How many results the producer has, and may have.
    pub(crate) queued: usize,
    pub(crate) capacity: usize,
    pub(crate) slices: VecDeque<Vec<Waiting>>,
    pub(crate) session_ended: bool,
    /// Where the group had partitions read from.
    pub(crate) starts: BTreeMap<usize, i64>,
}

/// The ends of one worker. Clones are the same ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends(Arc<Mutex<State>>);

impl Ends {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// Commits and inspections are not asked for here: the world carries out what `Orders` says.
impl Source for Ends {
    fn add(&self, partitions: &[(Partition, Start)]) -> anyhow::Result<()> {
        let partitions = partitions.iter().map(|(partition, _)| index(*partition));
        self.state().calls.push(Call::Add(partitions.collect()));
        Ok(())
    }

    fn accept(&self, partitions: &[Partition]) -> Vec<(Partition, i64)> {
        let mut state = self.state();
        let starts = partitions
            .iter()
            .filter_map(|partition| Some((*partition, state.starts.remove(&index(*partition))?)));
        starts.collect()
    }

    fn restart(&self, partition: Partition, offset: i64) {
        let call = Call::Restart(index(partition), offset);
        self.state().calls.push(call);
    }

    fn pause(&self, partitions: &[Partition], paused: bool) -> anyhow::Result<()> {
        let partitions = partitions.iter().map(|partition| index(*partition));
        self.state().calls.push(Call::Pause(partitions.collect(), paused));
        Ok(())
    }

    fn commit(
        &self,
        _positions: &[(Partition, i64)],
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        pending()
    }

    fn inspect(
        &self,
        _question: &Question,
    ) -> impl Future<Output = anyhow::Result<Snapshot>> + Send + 'static {
        pending()
    }

    async fn close(self) {}
}

impl Sink for Ends {
    fn send(&self, tag: usize, result: &Outgoing) -> Result<(), SendError> {
        let mut state = self.state();
        if state.queued >= state.capacity {
            return Err(SendError::QueueFull);
        }
        let key = result.key.as_deref().unwrap().try_into().unwrap();
        let bytes = result.value.as_ref().map_or(0, Vec::len);
        let refused = bytes > MAX_PRODUCER_BYTES;
        state.calls.push(Call::Send(Asked {
            tag,
            serial: Serial::from_le_bytes(key),
            bytes,
            is_dead_letter: result.topic.as_str() != "output",
            refused,
        }));
        if refused {
            return Err(SendError::Refused(DeliveryError::TooLarge));
        }
        state.queued += 1;
        Ok(())
    }
}

impl Compute for Ends {
    fn offer(&self, slice: Vec<Waiting>) -> Result<(), Vec<Waiting>> {
        let mut state = self.state();
        if state.slices.len() >= MAX_SLICES {
            return Err(slice);
        }
        state.slices.push_back(slice);
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.state().session_ended
    }

    async fn close(self) {}
}

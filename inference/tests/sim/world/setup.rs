//! Owns how a world is set up: the tape chooses.

use std::time::Duration;

use inference::config::{OnReset, RawEngine, Shard, Topics};
use inference::ledger::Ordering;
use inference::record::Fields;
use inference::worker::Settings;

use super::log::Logs;
use crate::tape::Tape;

/// The worker's configuration, and how the world is.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) is_group: bool,
    pub(crate) partitions: usize,
    pub(crate) ordering: Ordering,
    pub(crate) on_reset: OnReset,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    slice_rows: usize,
    has_dead_letters: bool,
    /// Brokers say the identity of a topic.
    pub(crate) has_topic_ids: bool,
    /// How many results the producer's queue takes.
    pub(crate) queue: usize,
    /// How many events wait on the consumer's channel.
    pub(crate) prefetch: usize,
    pub(crate) commit_interval: Duration,
}

impl Setup {
    pub(crate) fn choose(tape: &mut Tape) -> Self {
        Self {
            is_group: tape.below(2) == 1,
            partitions: 1 + tape.below(3),
            ordering: [Ordering::Partition, Ordering::None][tape.below(2)],
            on_reset: [OnReset::Earliest, OnReset::Latest, OnReset::Stop][tape.below(3)],
            rows: [6, 2, 3, 12][tape.below(4)],
            bytes: [100_000, 1500][tape.below(2)],
            slice_rows: 1 + tape.below(4),
            has_dead_letters: tape.below(2) == 1,
            has_topic_ids: tape.below(4) != 3,
            queue: [6, 1, 2, 4][tape.below(4)],
            prefetch: 1 + tape.below(4),
            commit_interval: Duration::from_millis([20, 0, 200][tape.below(3)]),
        }
    }

    pub(crate) fn topic_id(&self, logs: &Logs) -> Option<String> {
        self.has_topic_ids.then(|| format!("topic-{}", logs.incarnation))
    }

    pub(crate) fn settings(&self) -> Settings {
        let some = |number: usize| number.try_into().unwrap();
        Settings {
            topics: Topics {
                input: "input".into(),
                output: "output".into(),
                dead_letter: self.has_dead_letters.then(|| "dead".into()),
            },
            fields: Fields::default(),
            engine: RawEngine {
                slice_rows: some(self.slice_rows),
                in_flight_rows: some(self.rows),
                in_flight_bytes: some(self.bytes),
                ..RawEngine::default()
            },
            shard: (!self.is_group).then(|| Shard::parse("0/1").unwrap()),
            on_reset: self.on_reset,
            metadata_interval: Duration::from_secs(5),
            once: None,
        }
    }
}

//! Owns what the configuration file may say, and what is meant where it says nothing.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use checkpoint::{Location, RawS3};
use kafka_admin::RawKafka;
use kafka_io::{Compression, GroupProtocol, StartWithout};
use serde::{Deserialize, Serialize};
use sidecar::{RawAdmin, RawLog};

use crate::ledger::Ordering;
use crate::record::Fields;
use crate::spacy::CACHE_BYTES;

/// The configuration file. Every key has a default; `inference.toml` beside the program shows and explains them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// The cluster.
    pub kafka: RawKafka,
    /// Where messages come from.
    pub input: RawInput,
    /// Where results go.
    pub output: RawOutput,
    /// Where messages go that are none.
    pub dead_letter: RawDeadLetter,
    /// The form of a message.
    pub message: Fields,
    /// The model.
    pub model: RawModel,
    /// How much is done at a time.
    pub engine: RawEngine,
    /// Where progress is kept.
    pub progress: RawProgress,
    /// How S3 is reached, for a checkpoint there.
    pub s3: RawS3,
    /// The admin port.
    pub admin: RawAdmin<9464>,
    /// The logs.
    pub log: RawLog,
}

/// `[input]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawInput {
    /// The topic.
    pub topic: String,
    /// Where to begin without progress.
    pub start: StartWithout,
    /// Which part of the partitions, `INDEX/COUNT`: partition P belongs to the part P mod COUNT.
    pub shard: String,
    /// What to do if the topic begins again: it was deleted and created, or truncated.
    pub on_reset: OnReset,
    /// How often the topic is inspected: for new partitions, and for whether it is the same.
    #[serde(with = "humantime_serde")]
    pub metadata_interval: Duration,
}

impl Default for RawInput {
    fn default() -> Self {
        Self {
            topic: "ner-input".to_owned(),
            start: StartWithout::Earliest,
            shard: "0/1".to_owned(),
            on_reset: OnReset::Stop,
            metadata_interval: Duration::from_secs(30),
        }
    }
}

/// `[output]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawOutput {
    /// The topic.
    pub topic: String,
    /// Which results leave in the order of their records.
    pub ordering: Ordering,
    /// How batches are compressed.
    pub compression: Compression,
    /// How long a result waits for company.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// How long a result may take to be acknowledged before the worker gives up and ends.
    #[serde(with = "humantime_serde")]
    pub delivery_timeout: Duration,
}

impl Default for RawOutput {
    fn default() -> Self {
        Self {
            topic: "ner-output".to_owned(),
            ordering: Ordering::Partition,
            compression: Compression::Lz4,
            linger: Duration::ZERO,
            delivery_timeout: Duration::from_mins(5),
        }
    }
}

/// `[dead_letter]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawDeadLetter {
    /// The topic; without one such a message becomes a result with an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

/// `[model]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawModel {
    /// The folder that `inference import` wrote.
    pub folder: PathBuf,
    /// ONNX Runtime's shared library; without it `ORT_DYLIB_PATH` says where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onnx_runtime: Option<PathBuf>,
    /// What each session may keep of the words that it has met.
    pub cache_bytes: NonZeroUsize,
}

impl Default for RawModel {
    fn default() -> Self {
        Self {
            folder: "model".into(),
            onnx_runtime: None,
            cache_bytes: positive(CACHE_BYTES),
        }
    }
}

/// `[engine]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawEngine {
    /// Sessions, each a thread with a model of its own.
    pub threads: NonZeroUsize,
    /// The most texts that a session is given at a time.
    pub slice_rows: NonZeroUsize,
    /// The most bytes of text that a session is given at a time, unless it is one text.
    pub slice_bytes: NonZeroUsize,
    /// The most records in hand; reading pauses there and goes on at half of it.
    pub in_flight_rows: NonZeroUsize,
    /// The most bytes of records in hand.
    pub in_flight_bytes: NonZeroUsize,
}

impl Default for RawEngine {
    fn default() -> Self {
        Self {
            threads: positive(1),
            slice_rows: positive(32),
            slice_bytes: positive(64 << 10),
            in_flight_rows: positive(2000),
            in_flight_bytes: positive(64 << 20),
        }
    }
}

/// `[progress]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawProgress {
    /// Where.
    pub kind: ProgressKind,
    /// Where the checkpoint is: a folder, or `s3://BUCKET/PREFIX`.
    pub checkpoint: Location,
    /// The consumer group.
    pub group: String,
    /// Static membership: the same name after a restart keeps the partitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Who assigns partitions.
    pub protocol: GroupProtocol,
    /// How often positions are committed; if absent, 1 s, and 5 s on S3, where each commit is paid for.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub commit_interval: Option<Duration>,
    /// After so long without a heartbeat the worker is out of the group (classic protocol).
    #[serde(with = "humantime_serde")]
    pub session_timeout: Duration,
    /// After so long without a poll the worker is out of the group.
    #[serde(with = "humantime_serde")]
    pub max_poll_interval: Duration,
    /// How long a rebalance may wait for the work in hand.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
}

impl Default for RawProgress {
    fn default() -> Self {
        Self {
            kind: ProgressKind::Checkpoint,
            checkpoint: Location::Local("checkpoint".into()),
            group: "inference".to_owned(),
            instance_id: None,
            protocol: GroupProtocol::Classic,
            commit_interval: None,
            session_timeout: Duration::from_secs(45),
            max_poll_interval: Duration::from_mins(5),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// What to do if the topic begins again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnReset {
    /// End, so that a person decides.
    #[default]
    Stop,
    /// Read what the new topic has, from its first record on.
    Earliest,
    /// Read what comes next.
    Latest,
}

/// Where progress is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgressKind {
    /// In a checkpoint of Spark's form.
    #[default]
    Checkpoint,
    /// In a Kafka consumer group.
    Group,
}

fn positive(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}

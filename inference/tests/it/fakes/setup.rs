//! A worker on fakes, set up.

use std::path::{Path, PathBuf};
use std::time::Duration;

use checkpoint::{Checkpoint, Folder, LocalFolder};
use inference::config::{OnReset, Raw, RawEngine, Shard, Topics};
use inference::consume::Source;
use inference::ledger::{Ledger, Ordering};
use inference::metrics::Metrics;
use inference::progress::{Backend, Keeper};
use inference::sessions::Sessions;
use inference::worker::{self, Inputs, Parts, Settings, Telemetry};
use kafka_admin::Partition;
use kafka_io::{Event, Outgoing, Start};
use sidecar::{Heartbeat, Readiness};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{FakeKafka, FakeModel, FakeSink, FakeSource};

/// How often a test's worker commits, and looks at its topic.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
pub(crate) const METADATA_INTERVAL: Duration = Duration::from_secs(30);

/// How a test's worker is set up.
pub(crate) struct Setup {
    pub(crate) kafka: FakeKafka,
    pub(crate) partitions: i32,
    /// The checkpoint's folder; without one it is a member of a group.
    pub(crate) checkpoint: Option<PathBuf>,
    pub(crate) ordering: Ordering,
    pub(crate) engine: RawEngine,
    pub(crate) dead_letter: Option<&'static str>,
    pub(crate) on_reset: OnReset,
    pub(crate) once: bool,
    /// How long nothing may move: the clock runs ahead of the threads that compute.
    pub(crate) patience: Duration,
}

impl Setup {
    /// One partition, and progress in this checkpoint.
    pub(crate) fn new(kafka: &FakeKafka, checkpoint: Option<&Path>) -> Self {
        Self {
            kafka: kafka.clone(),
            partitions: 1,
            checkpoint: checkpoint.map(Path::to_owned),
            ordering: Ordering::Partition,
            engine: RawEngine::default(),
            dead_letter: None,
            on_reset: OnReset::Stop,
            once: true,
            patience: Duration::from_hours(100_000),
        }
    }

    /// A worker that takes up the checkpoint and reads its partitions; a member of a group waits for its partitions.
    pub(crate) async fn worker(&self) -> (Worker, Around) {
        let (source, events, sink, deliveries) = self.kafka.ends();
        let (sessions, answers) = Sessions::start(self.engine.threads, || Ok(FakeModel))
            .await
            .unwrap();
        let readiness = Readiness::default();
        let registry = prometheus::Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let mut ledger = Ledger::new(self.ordering);
        self.kafka
            .change(|state| state.partitions = (0..self.partitions).map(Partition).collect());
        let backend = match &self.checkpoint {
            Some(folder) => self.take_up(folder, &mut ledger, &source).await,
            None => Backend::Group,
        };
        let around = Around {
            events: source.events.clone(),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
        };
        let parts = Parts {
            source,
            sink,
            sessions,
            ledger,
            keeper: Keeper::new(COMMIT_INTERVAL, Instant::now()),
            topic_id: self.kafka.state().topic_id.clone(),
        };
        let [kafka, topics, progress, results] =
            ["kafka", "topics", "progress", "results"].map(|name| readiness.condition(name));
        results.met();
        let telemetry = Telemetry {
            metrics,
            heartbeat: Heartbeat::default(),
            kafka,
            topics,
            progress,
            results,
        };
        let worker = worker::Worker::new(parts, self.settings(), telemetry, Instant::now());
        let inputs = Inputs::new(events, answers, deliveries);
        (Worker(worker, inputs, backend), around)
    }

    fn settings(&self) -> Settings {
        Settings {
            topics: Topics {
                input: "input".into(),
                output: "output".into(),
                dead_letter: self.dead_letter.map(Into::into),
            },
            fields: Raw::default().message,
            engine: self.engine.clone(),
            shard: self.checkpoint.is_some().then(|| Shard::parse("0/1").unwrap()),
            on_reset: self.on_reset,
            metadata_interval: METADATA_INTERVAL,
            once: self.once.then_some(self.patience),
        }
    }

    async fn take_up(&self, folder: &Path, ledger: &mut Ledger<Outgoing>, source: &FakeSource) -> Backend {
        let checkpoint = Checkpoint::read(Folder::Local(LocalFolder::new(folder)))
            .await
            .unwrap();
        for partition in (0..self.partitions).map(Partition) {
            let position = checkpoint.positions().get("input", partition.0).unwrap_or(0);
            ledger.open(partition, Some(position));
            source.add(&[(partition, Start::At(position))]).unwrap();
        }
        Backend::checkpoint(checkpoint.take_over().await.unwrap(), "input".into())
    }
}

/// A worker with all that it runs with.
pub(crate) struct Worker(worker::Worker<FakeSource, FakeSink, Sessions>, Inputs, Backend);

impl Worker {
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        worker::run(self.0, self.1, self.2, stop).await
    }
}

/// What a test sees of a worker, and says to it.
pub(crate) struct Around {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
}

/// A message that asks for the entities of a text.
pub(crate) fn message(text: &str) -> String {
    format!("{{\"text\":\"{text}\"}}")
}

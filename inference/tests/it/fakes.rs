//! Stand-ins for Kafka and the model: what the loop asks of them is written down, what they do is up to the test.

mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use checkpoint::{CheckpointWriter, Folder, LocalFolder};
use inference::config::{Raw, RawEngine, Topics};
use inference::consume::Source;
use inference::ledger::{Ledger, Ordering};
use inference::metrics::Metrics;
use inference::produce::Sink;
use inference::progress::{Keeper, Progress};
use inference::sessions::Sessions;
use inference::worker::{Parts, Settings, Told, Worker};
use kafka_io::{Delivery, DeliveryError, Event, Outgoing, Partition, Record, SendError, Start};
use sidecar::{Heartbeat, Readiness};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

pub(crate) use self::model::FakeModel;

/// A topic to read from, and what was written to all topics. Clones share it; it outlives a worker.
#[derive(Clone, Default)]
pub(crate) struct FakeKafka(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    killed: Notify,
}

#[derive(Default)]
pub(crate) struct State {
    /// The values of each partition; a record's place is its offset.
    pub(crate) input: BTreeMap<Partition, Vec<Option<Vec<u8>>>>,
    /// What was written.
    pub(crate) output: Vec<Outgoing>,
    /// What a consumer group has committed.
    pub(crate) committed: BTreeMap<Partition, i64>,
    /// Partitions that are paused.
    pub(crate) paused: BTreeSet<Partition>,
    /// Where reading is, in partitions that are read.
    pub(crate) reading: BTreeMap<Partition, i64>,
    /// Whether deliveries are held back.
    pub(crate) hold_deliveries: bool,
    /// A value that is refused for its size if it is longer.
    pub(crate) max_value: Option<usize>,
    /// Whether nothing can be delivered.
    pub(crate) refuse_all: bool,
    unreported: Vec<Delivery>,
    ended: BTreeSet<Partition>,
    operations: usize,
    kill_at: Option<usize>,
}

impl FakeKafka {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Changes the state and lets everybody look again.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.changed.notify_waiters();
    }

    /// Reads a partition from its beginning, as a member of a group that was given it.
    pub(crate) fn read(&self, partition: i32) {
        self.change(|state| state.reading.extend([(Partition(partition), 0)]));
    }

    /// Appends records to a partition.
    pub(crate) fn append<V>(&self, partition: i32, values: impl IntoIterator<Item = V>)
    where
        Option<String>: From<V>,
    {
        let values = values.into_iter();
        let values = values.map(|value| Option::<String>::from(value).map(String::into_bytes));
        self.change(|state| {
            state
                .input
                .entry(Partition(partition))
                .or_default()
                .extend(values);
        });
    }

    /// The worker that lives now is killed at the operation of this number.
    pub(crate) fn kill_at(&self, operation: usize) {
        self.change(|state| {
            state.operations = 0;
            state.kill_at = Some(operation);
            // What a worker had under way is gone with it.
            state.unreported.clear();
            state.reading.clear();
            state.paused.clear();
            state.ended.clear();
        });
    }

    pub(crate) async fn killed(&self) {
        self.0.killed.notified().await;
    }

    /// The values that were written, as text.
    pub(crate) fn results(&self) -> Vec<String> {
        let state = self.state();
        let values = state
            .output
            .iter()
            .map(|result| result.value.clone().unwrap_or_default());
        values.map(|value| String::from_utf8(value).unwrap()).collect()
    }

    fn operation(&self, state: &mut State) {
        state.operations += 1;
        if state.kill_at == Some(state.operations) {
            self.0.killed.notify_one();
        }
    }

    fn next_record(&self) -> Option<Event> {
        let mut state = self.state();
        let State {
            input,
            reading,
            paused,
            ended,
            ..
        } = &mut *state;
        for (partition, next) in reading
            .iter_mut()
            .filter(|(partition, _)| !paused.contains(partition))
        {
            let values = input.get(partition).map_or(&[][..], Vec::as_slice);
            if let Some(value) = values.get(usize::try_from(*next).unwrap()) {
                let record = Record {
                    partition: *partition,
                    offset: *next,
                    timestamp_ms: Some(0),
                    key: Some(format!("{partition}/{next}").into_bytes()),
                    value: value.clone(),
                    headers: Vec::new(),
                };
                *next += 1;
                ended.remove(partition);
                self.operation(&mut state);
                return Some(Event::Record(record));
            }
            if ended.insert(*partition) {
                return Some(Event::EndOfPartition(*partition));
            }
        }
        None
    }

    /// Deliveries of what was sent, the last first: nobody may rely on their order.
    fn deliveries(&self) -> Vec<Delivery> {
        let mut state = self.state();
        if state.hold_deliveries {
            return Vec::new();
        }
        let mut deliveries = std::mem::take(&mut state.unreported);
        deliveries.reverse();
        for _ in &deliveries {
            self.operation(&mut state);
        }
        deliveries
    }

    /// The two ends that a worker holds.
    fn ends(
        &self,
    ) -> (
        FakeSource,
        mpsc::Receiver<Event>,
        FakeSink,
        mpsc::Receiver<Delivery>,
    ) {
        let (event_sender, events) = mpsc::channel(16);
        let (delivery_sender, deliveries) = mpsc::channel(1000);
        let mut tasks = JoinSet::new();
        let kafka = self.clone();
        let sender = event_sender.clone();
        tasks.spawn(async move {
            loop {
                let changed = kafka.0.changed.notified();
                match kafka.next_record() {
                    Some(event) => drop(sender.send(event).await),
                    None => changed.await,
                }
            }
        });
        let kafka = self.clone();
        tasks.spawn(async move {
            loop {
                let changed = kafka.0.changed.notified();
                let deliveries = kafka.deliveries();
                if deliveries.is_empty() {
                    changed.await;
                }
                for delivery in deliveries {
                    drop(delivery_sender.send(delivery).await);
                }
            }
        });
        let source = FakeSource {
            kafka: self.clone(),
            events: event_sender,
            _tasks: tasks,
        };
        (source, events, FakeSink(self.clone()), deliveries)
    }
}

/// Where records come from.
pub(crate) struct FakeSource {
    kafka: FakeKafka,
    events: mpsc::Sender<Event>,
    _tasks: JoinSet<()>,
}

impl Source for FakeSource {
    fn add(&self, partitions: &[(Partition, Start)]) -> anyhow::Result<()> {
        let places = partitions.iter().map(|(partition, start)| match start {
            Start::At(offset) => (*partition, *offset),
            Start::Without(_) => (*partition, 0),
        });
        self.kafka.change(|state| state.reading.extend(places));
        Ok(())
    }

    fn pause(&self, partitions: &[Partition], paused: bool) -> anyhow::Result<()> {
        self.kafka.change(|state| {
            for partition in partitions {
                if paused {
                    state.paused.insert(*partition);
                } else {
                    state.paused.remove(partition);
                }
            }
        });
        Ok(())
    }

    fn commit(
        &self,
        positions: &[(Partition, i64)],
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        let (kafka, positions) = (self.kafka.clone(), positions.to_vec());
        async move {
            kafka.change(|state| state.committed.extend(positions));
            Ok(())
        }
    }

    async fn close(self) {
        drop(self.events);
    }
}

/// Where results go.
pub(crate) struct FakeSink(FakeKafka);

impl Sink for FakeSink {
    fn send(&self, tag: usize, result: &Outgoing) -> Result<(), SendError> {
        self.0.change(|state| {
            let length = result.value.as_ref().map_or(0, Vec::len);
            let result_of = if state.refuse_all {
                Err(DeliveryError::Failed("no leader".to_owned()))
            } else if state.max_value.is_some_and(|max| length > max) {
                Err(DeliveryError::TooLarge)
            } else {
                state.output.push(result.clone());
                Ok(())
            };
            state.unreported.push(Delivery {
                tag,
                result: result_of,
            });
            self.0.operation(state);
        });
        Ok(())
    }
}

/// How a test's worker is set up.
pub(crate) struct Setup {
    pub(crate) kafka: FakeKafka,
    pub(crate) partitions: i32,
    /// The checkpoint's folder; without one it is a member of a group.
    pub(crate) checkpoint: Option<PathBuf>,
    pub(crate) max_batch_rows: usize,
    pub(crate) ordering: Ordering,
    pub(crate) engine: RawEngine,
    pub(crate) dead_letter: Option<&'static str>,
    pub(crate) once: bool,
}

impl Setup {
    /// One partition, and progress in this checkpoint.
    pub(crate) fn new(kafka: &FakeKafka, checkpoint: Option<&Path>) -> Self {
        Self {
            kafka: kafka.clone(),
            partitions: 1,
            checkpoint: checkpoint.map(Path::to_owned),
            max_batch_rows: 1000,
            ordering: Ordering::Partition,
            engine: RawEngine::default(),
            dead_letter: None,
            once: true,
        }
    }

    /// A worker that takes up the checkpoint and reads its partitions; a member of a group waits for its partitions.
    pub(crate) async fn worker(&self) -> (Worker<FakeSource, FakeSink>, Around) {
        let (source, events, sink, deliveries) = self.kafka.ends();
        let (sessions, answers) = Sessions::start(self.engine.threads, || Ok(FakeModel))
            .await
            .unwrap();
        let readiness = Readiness::default();
        let registry = prometheus::Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let mut ledger = Ledger::new(self.ordering);
        let progress = match &self.checkpoint {
            Some(folder) => self.take_up(folder, &mut ledger, &source).await,
            None => Progress::group(std::time::Duration::from_secs(1)),
        };
        let (new_partitions_sender, new_partitions) = mpsc::channel(1);
        let around = Around {
            events: source.events.clone(),
            new_partitions: new_partitions_sender,
            readiness: readiness.clone(),
            metrics: metrics.clone(),
        };
        let keeper = Keeper::new(progress, readiness.condition("progress"), metrics.clone());
        let parts = Parts {
            source,
            events,
            sink,
            deliveries,
            sessions,
            answers,
            ledger,
            keeper,
            new_partitions,
        };
        let settings = Settings {
            topics: Topics {
                input: "input".into(),
                output: "output".into(),
                dead_letter: self.dead_letter.map(Into::into),
            },
            fields: Raw::default().message,
            engine: self.engine.clone(),
            once: self.once,
        };
        let told = Told {
            metrics,
            heartbeat: Heartbeat::default(),
            kafka: readiness.condition("kafka"),
        };
        (Worker::new(parts, settings, told), around)
    }

    async fn take_up(&self, folder: &Path, ledger: &mut Ledger<Outgoing>, source: &FakeSource) -> Progress {
        let (writer, resume) = CheckpointWriter::open(Folder::Local(LocalFolder::new(folder)))
            .await
            .unwrap();
        let progress = Progress::checkpoint(writer, "input".into(), self.max_batch_rows, resume.planned);
        for partition in (0..self.partitions).map(Partition) {
            let position = resume.processed.get("input", partition.0).unwrap_or(0);
            ledger.open(partition, Some(position), progress.first_limit());
            source.add(&[(partition, Start::At(position))]).unwrap();
        }
        progress
    }
}

/// What a test sees of a worker, and says to it.
pub(crate) struct Around {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) new_partitions: mpsc::Sender<Vec<Partition>>,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
}

/// A message that asks for the entities of a text.
pub(crate) fn message(text: &str) -> String {
    format!("{{\"text\":\"{text}\"}}")
}

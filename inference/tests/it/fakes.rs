//! Stand-ins for Kafka and the model: what the loop asks of them is written down, what they do is up to the test.

mod model;
mod setup;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use inference::consume::{Question, Snapshot, Source};
use inference::produce::Sink;
use kafka_admin::Partition;
use kafka_io::{Delivery, DeliveryError, Event, Outgoing, Record, SendError, Start};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

pub(crate) use self::model::FakeModel;
pub(crate) use self::setup::{Around, METADATA_INTERVAL, Setup, Worker, message};

/// A topic to read from, and what was written to all topics. Clones share it; it outlives a worker.
#[derive(Clone, Default)]
pub(crate) struct FakeKafka(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
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
    /// The partitions of the topic, and those of them whose leader does not answer.
    pub(crate) partitions: Vec<Partition>,
    pub(crate) leaderless: BTreeSet<Partition>,
    /// How often the topic was looked at.
    pub(crate) looks: usize,
    /// Where reading is, in partitions that are read.
    pub(crate) reading: BTreeMap<Partition, i64>,
    /// Whether commits of a group are not answered.
    pub(crate) hold_commits: bool,
    /// Whether deliveries are held back.
    pub(crate) hold_deliveries: bool,
    /// A key and value that are refused for their size, with all that was sent and not reported, if they are longer.
    pub(crate) max_bytes: Option<usize>,
    /// The identity of the topic.
    pub(crate) topic_id: Option<String>,
    /// The first offset of each partition that is still there.
    pub(crate) first: BTreeMap<Partition, i64>,
    /// Whether nothing can be delivered.
    pub(crate) refuse_all: bool,
    unreported: Vec<Delivery>,
    ended: BTreeSet<Partition>,
    out_of_range: BTreeSet<Partition>,
    restarted: Vec<(Partition, i64)>,
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

    /// Deletes the topic and makes it again, with these records in partition 0.
    pub(crate) fn begin_again<V>(&self, id: Option<&str>, values: impl IntoIterator<Item = V>)
    where
        Option<String>: From<V>,
    {
        self.change(|state| {
            state.topic_id = id.map(str::to_owned);
            state.input.clear();
            state.ended.clear();
        });
        self.append(0, values);
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

    fn next_record(&self) -> Option<Event> {
        let mut state = self.state();
        let State {
            input,
            reading,
            paused,
            ended,
            out_of_range,
            first,
            restarted,
            ..
        } = &mut *state;
        if let Some((partition, offset)) = restarted.pop() {
            return Some(Event::Restarted(partition, Start::At(offset)));
        }
        for (partition, next) in reading
            .iter_mut()
            .filter(|(partition, _)| !paused.contains(partition))
        {
            let values = input.get(partition).map_or(&[][..], Vec::as_slice);
            let end = i64::try_from(values.len()).unwrap();
            if *next > end || *next < first.get(partition).copied().unwrap_or(0) {
                if out_of_range.insert(*partition) {
                    return Some(Event::OutOfRange);
                }
                continue;
            }
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

    fn accept(&self, partitions: &[Partition]) -> Vec<(Partition, i64)> {
        let state = self.kafka.state();
        let start = |partition: &Partition| state.committed.get(partition).copied().unwrap_or(0);
        let starts = partitions.iter().map(|partition| (*partition, start(partition)));
        starts.collect()
    }

    fn restart(&self, partition: Partition, offset: i64) {
        self.kafka.change(|state| {
            state.restarted.push((partition, offset));
            state.reading.insert(partition, offset);
            state.paused.remove(&partition);
            state.ended.remove(&partition);
            state.out_of_range.remove(&partition);
        });
    }

    fn inspect(
        &self,
        question: &Question,
    ) -> impl Future<Output = anyhow::Result<Snapshot>> + Send + 'static {
        let mut state = self.kafka.state();
        state.looks += 1;
        let answers = |partition: &&Partition| {
            state.partitions.contains(partition) && !state.leaderless.contains(partition)
        };
        let range = |partition: &Partition| {
            let first = state.first.get(partition).copied().unwrap_or(0);
            let end = state.input.get(partition).map_or(0, Vec::len);
            (*partition, first..i64::try_from(end).unwrap())
        };
        let snapshot = Snapshot {
            topic_id: state.topic_id.clone(),
            partitions: state.partitions.clone(),
            ranges: question.partitions.iter().filter(answers).map(range).collect(),
            empty: Vec::new(),
            missing: Vec::new(),
        };
        async { Ok(snapshot) }
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
            loop {
                let changed = kafka.0.changed.notified();
                if !kafka.state().hold_commits {
                    break;
                }
                changed.await;
            }
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
            let length = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
            let bytes = length(&result.key) + length(&result.value);
            let outcome = if state.refuse_all {
                Err(DeliveryError::Failed("no leader".to_owned()))
            } else if state.max_bytes.is_some_and(|max| bytes > max) {
                // What is in one batch with it is refused with it.
                for delivery in &mut state.unreported {
                    if delivery.result.is_ok() {
                        state.output.pop();
                    }
                    delivery.result = Err(DeliveryError::TooLarge);
                }
                Err(DeliveryError::TooLarge)
            } else {
                state.output.push(result.clone());
                Ok(())
            };
            let result = outcome;
            state.unreported.push(Delivery { tag, result });
        });
        Ok(())
    }
}

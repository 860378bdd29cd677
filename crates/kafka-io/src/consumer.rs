//! Owns reading a topic: one thread polls librdkafka and turns what happens into events on a bounded channel.
//!
//! The thread never waits for the work on a record: who listens takes every event at once, and pauses partitions when
//! it has enough in hand. Only a revocation is waited for, for a bounded time, so that work can be finished and
//! committed while the partition is still ours.

mod membership;
mod owned;
mod polling;
mod rebalance;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use kafka_admin::{Connection, Partition, Topic};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError as NativeError;
use rdkafka::topic_partition_list::Offset;
use tokio::sync::mpsc;
use tokio::time::timeout;

pub use self::membership::{GroupProtocol, Membership, Start, StartWithout};
use self::owned::{Owned, Restart};
use self::polling::{Events, State, poll};
use crate::context::Trouble;
use crate::ending::{End, LastHeld, on_thread};
use crate::settings::client_config;
use crate::tokens::Tokens;
use crate::{KafkaError, Record};

/// Events that may wait; the listener is quick.
const EVENTS: usize = 256;
/// librdkafka's read-ahead per consumer, in KiB, and in records per partition.
const READ_AHEAD_KIB: &str = "16384";
const READ_AHEAD_RECORDS: &str = "5000";
/// How long a consumer may take to leave its group and end its connections; after that it does so by itself.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Something that happened to a consumer.
#[derive(Debug)]
pub enum Event {
    /// A record was read.
    Record(Record),
    /// There is nothing more to read in a partition for now.
    EndOfPartition(Partition),
    /// Partitions were given to this member of the group.
    Assigned(Vec<Partition>),
    /// Partitions are about to be taken away. They are ours until the revocation is dropped.
    Revoking(Vec<Partition>, Revocation),
    /// Partitions were taken away, or were not drained in time; nothing is committed for them any more.
    Lost(Vec<Partition>),
    /// The offset that was to be read next of some partition is before the first record or beyond the end: the topic was
    /// made anew, or cut. Reading of that partition, which librdkafka does not name, stands still until
    /// [`Consumer::restart`].
    OutOfRange,
    /// A partition is read from elsewhere, as [`Consumer::restart`] asked for: what comes from now on was read from there,
    /// and it is not paused.
    Restarted(Partition, Start),
    /// The cluster answers.
    Connected,
    /// The cluster does not answer: which address, and why.
    Disconnected(String),
    /// Some error that reading goes on after, of a connection or of one partition. Not more than a few in ten seconds.
    Trouble(String),
    /// Reading cannot go on.
    Failed(String),
}

/// Holds up a rebalance while work on the partitions is finished; dropping it lets go.
#[derive(Debug)]
pub struct Revocation {
    _done: SyncSender<()>,
}

impl Revocation {
    /// A revocation, and the end that is disconnected when it is dropped.
    pub fn new() -> (Self, Receiver<()>) {
        let (done, finished) = sync_channel(0);
        (Self { _done: done }, finished)
    }
}

/// Why offsets were not committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Some of the partitions are another member's by now. What was to be committed for the others was committed.
    #[error("offsets of {0:?} were not committed: these partitions were taken away")]
    NotOurs(Vec<Partition>),
    /// The commit was refused, or not answered.
    #[error("offsets were not committed: {0}")]
    Failed(String),
}

/// Reads one topic.
pub struct Consumer {
    client: Arc<BaseConsumer<Events>>,
    topic: Topic,
    owned: Arc<Owned>,
    restarts: Arc<Mutex<Vec<Restart>>>,
    end: End,
    thread: Option<JoinHandle<()>>,
    last: LastHeld,
}

impl Consumer {
    /// A consumer of these partitions of a topic, no member of a group, and where its events come.
    ///
    /// # Errors
    /// Where librdkafka refuses the settings.
    pub fn assigned(
        connection: &Connection,
        topic: &Topic,
        partitions: &[(Partition, Start)],
    ) -> Result<(Self, mpsc::Receiver<Event>), KafkaError> {
        let mut config = client_config(connection);
        // librdkafka wants a group even where it joins none and commits nothing.
        config.set("group.id", "outrigger-assigned");
        let (consumer, events) = Self::start(
            (config, Tokens::of(connection)),
            topic,
            StartWithout::default(),
            Duration::ZERO,
        )?;
        consumer.add(partitions)?;
        Ok((consumer, events))
    }

    /// A consumer of a topic as a member of a group, and where its events come.
    ///
    /// # Errors
    /// Where librdkafka refuses the settings.
    pub fn subscribed(
        connection: &Connection,
        topic: &Topic,
        member: &Membership,
    ) -> Result<(Self, mpsc::Receiver<Event>), KafkaError> {
        let mut config = client_config(connection);
        config.set("group.id", &member.group).set(
            "max.poll.interval.ms",
            member.max_poll_interval.as_millis().to_string(),
        );
        match member.protocol {
            GroupProtocol::Classic => config
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set(
                    "session.timeout.ms",
                    member.session_timeout.as_millis().to_string(),
                ),
            GroupProtocol::Consumer => config.set("group.protocol", "consumer"),
        };
        if let Some(instance) = &member.instance_id {
            config.set("group.instance.id", instance);
        }
        let (consumer, events) = Self::start(
            (config, Tokens::of(connection)),
            topic,
            member.start,
            member.drain_timeout,
        )?;
        let subscribed = consumer.client.subscribe(&[topic.as_str()]);
        subscribed.map_err(|error| KafkaError::new(format!("cannot subscribe to {topic}"), error))?;
        Ok((consumer, events))
    }

    fn start(
        (mut config, tokens): (rdkafka::ClientConfig, Tokens),
        topic: &Topic,
        start: StartWithout,
        drain_timeout: Duration,
    ) -> Result<(Self, mpsc::Receiver<Event>), KafkaError> {
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            // A position that is out of range is the program's to judge.
            .set("auto.offset.reset", "error");
        for (name, value) in [
            ("queued.max.messages.kbytes", READ_AHEAD_KIB),
            ("queued.min.messages", READ_AHEAD_RECORDS),
        ] {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        let (sender, receiver) = mpsc::channel(EVENTS);
        let (end, life) = End::new()?;
        let owned = Arc::new(Owned::default());
        let restarts = Arc::new(Mutex::new(Vec::new()));
        let context = Events {
            sender,
            life,
            topic: topic.clone(),
            owned: Arc::clone(&owned),
            start,
            drain_timeout,
            bootstrap_servers: config.get("bootstrap.servers").unwrap_or_default().to_owned(),
            trouble: Trouble::default(),
            tokens,
            restarts: Arc::clone(&restarts),
            state: State::default(),
        };
        let client: BaseConsumer<Events> = config
            .create_with_context(context)
            .map_err(|error| KafkaError::new("cannot make a Kafka consumer", error))?;
        let client = Arc::new(client);
        let polled = Arc::clone(&client);
        let thread = std::thread::Builder::new()
            .name("kafka-poll".to_owned())
            .spawn(move || {
                if catch_unwind(AssertUnwindSafe(|| poll(&polled))).is_err() {
                    let what = "the polling thread panicked; the log says where".to_owned();
                    polled.context().send(Event::Failed(what));
                }
            });
        let thread = thread.map_err(|error| KafkaError::new("cannot start the polling thread", error))?;
        Ok((
            Self {
                client,
                topic: topic.clone(),
                owned,
                restarts,
                end,
                thread: Some(thread),
                last: LastHeld::default(),
            },
            receiver,
        ))
    }

    /// Begins to read more partitions.
    ///
    /// # Errors
    /// Where librdkafka refuses it.
    pub fn add(&self, partitions: &[(Partition, Start)]) -> Result<(), KafkaError> {
        let list = list_of(&self.topic, partitions);
        let list = list.map_err(|error| KafkaError::new("cannot name a partition", error))?;
        self.owned
            .take(partitions.iter().map(|(partition, _)| *partition));
        let assigned = self.client.incremental_assign(&list);
        assigned.map_err(|error| KafkaError::new(format!("cannot read {}", self.topic), error))
    }

    /// Begins anew with partitions that are ours, after [`Event::OutOfRange`] or whenever; those that are not are left
    /// out. It is done soon, by the polling thread; records of before may still come until then. If it cannot be done,
    /// the consumer fails.
    pub fn restart(&self, partitions: &[(Partition, Start)]) {
        let mut restarts = self.restarts.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, start) in partitions {
            restarts.retain(|other| other.partition != *partition);
            restarts.push(self.owned.restart(*partition, *start));
        }
    }

    /// Accepts the assignment of which one [`Event::Assigned`] told, and gives where reading of its partitions began, less
    /// those that have been taken away since. Until then restarts and commits of them are left out, since they are about an
    /// assignment before. To be called once for each such event.
    pub fn accept(&self, partitions: &[Partition]) -> Vec<(Partition, i64)> {
        self.owned.accept(partitions)
    }

    /// Stops reading partitions until they are resumed. Events that are on their way still come.
    ///
    /// # Errors
    /// Where librdkafka refuses it.
    pub fn pause(&self, partitions: &[Partition]) -> Result<(), KafkaError> {
        let paused = self.client.pause(&self.list(partitions));
        paused.map_err(|error| KafkaError::new("cannot pause partitions", error))
    }

    /// Reads paused partitions again.
    ///
    /// # Errors
    /// Where librdkafka refuses it.
    pub fn resume(&self, partitions: &[Partition]) -> Result<(), KafkaError> {
        let resumed = self.client.resume(&self.list(partitions));
        resumed.map_err(|error| KafkaError::new("cannot resume partitions", error))
    }

    /// Commits the next record to read of partitions, for the group, and waits for the broker's answer. Partitions that are
    /// not ours when it is sent are left out, and are an error. It should be awaited before the next commit.
    ///
    /// # Errors
    /// Where a partition is not ours any more, or the broker refuses it or does not answer; librdkafka gives up after its
    /// `socket.timeout.ms`, or `session.timeout.ms` while there is no coordinator.
    pub fn commit(
        &self,
        positions: &[(Partition, i64)],
    ) -> impl Future<Output = Result<(), CommitError>> + Send + use<> {
        let (client, owned, topic) = (
            Arc::clone(&self.client),
            Arc::clone(&self.owned),
            self.topic.clone(),
        );
        let positions = owned.positions(positions);
        let committed = on_thread("kafka-commit", move || {
            owned.commit(positions, |ours| commit(&client, &topic, &ours))
        });
        async move {
            let (committed, others) = committed
                .await
                .ok_or_else(|| CommitError::Failed("its thread ended by itself".to_owned()))?;
            committed.map_err(|error| CommitError::Failed(error.to_string()))?;
            if others.is_empty() {
                Ok(())
            } else {
                Err(CommitError::NotOurs(others))
            }
        }
    }

    /// Leaves the group, if it is in one, and ends the polling thread, whether or not somebody takes the events. What takes
    /// too long goes on by itself.
    pub async fn close(mut self) {
        let closed = self.begin_close();
        let topic = self.topic.clone();
        drop(self);
        if timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::warn!(%topic, after = ?CLOSE_TIMEOUT, "the Kafka consumer is still closing");
        }
    }

    fn begin_close(&mut self) -> impl Future<Output = Option<()>> + Send + use<> {
        self.end.come();
        let (thread, client) = (self.thread.take(), Arc::clone(&self.client));
        self.last.then("kafka-close", move || {
            if let Some(thread) = thread {
                drop(thread.join());
            }
            // The last to drop the client leaves the group, which waits for the coordinator: here, or on a commit's thread.
            drop(client);
        })
    }

    fn list(&self, partitions: &[Partition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition(self.topic.as_str(), partition.0);
        }
        list
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.thread.is_some() {
            drop(self.begin_close());
        }
    }
}

fn list_of(topic: &Topic, starts: &[(Partition, Start)]) -> Result<TopicPartitionList, NativeError> {
    let mut list = TopicPartitionList::with_capacity(starts.len());
    for (partition, start) in starts {
        list.add_partition_offset(topic.as_str(), partition.0, start.offset())?;
    }
    Ok(list)
}

fn commit(
    client: &BaseConsumer<Events>,
    topic: &Topic,
    positions: &[(Partition, i64)],
) -> Result<(), NativeError> {
    if positions.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for (partition, offset) in positions {
        list.add_partition_offset(topic.as_str(), partition.0, Offset::Offset(*offset))?;
    }
    client.commit(&list, CommitMode::Sync)
}

//! Owns reading a topic: one thread polls librdkafka and turns what happens into events on a bounded channel.
//!
//! The thread never waits for the work on a record: who listens takes every event at once, and pauses partitions when
//! it has enough in hand. Only a revocation is waited for, for a bounded time, so that work can be finished and
//! committed while the partition is still ours.

mod polling;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::topic_partition_list::Offset;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use self::polling::{Events, poll};
use crate::context::Trouble;
use crate::{Connection, KafkaError, Partition, Record, Topic};

/// Events that may wait; the listener is quick.
const EVENTS: usize = 256;
/// librdkafka's read-ahead per consumer, in KiB, and in records per partition.
const READ_AHEAD_KIB: &str = "16384";
const READ_AHEAD_RECORDS: &str = "5000";

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
    /// Partitions were taken away; a commit for them would be refused.
    Lost(Vec<Partition>),
    /// The cluster answers.
    Connected,
    /// The cluster does not answer: which address, and why.
    Disconnected(String),
    /// A record that was asked for is gone, and reading goes on elsewhere; or some other error of one partition.
    Trouble(String),
    /// Out of range.
    OutOfRange,
    /// A partition is read from elsewhere, as [`Consumer::restart`] asked for: what comes from now on was read from there,
    /// and it is not paused.
    Restarted(Partition, Start),
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

/// Where to begin with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With this record.
    At(i64),
    /// As [`StartWithout`] says.
    Without(StartWithout),
}

/// Where to begin with a partition without progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StartWithout {
    /// With the first record that there is.
    #[default]
    Earliest,
    /// With the next record that comes.
    Latest,
}

impl StartWithout {
    fn name(self) -> &'static str {
        match self {
            Self::Earliest => "earliest",
            Self::Latest => "latest",
        }
    }
}

/// How to be a member of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub group: String,
    /// Static membership: the same name after a restart keeps the partitions.
    pub instance_id: Option<String>,
    /// Who assigns partitions.
    pub protocol: GroupProtocol,
    /// Where to begin where the group has committed nothing.
    pub start: StartWithout,
    /// After so long without a heartbeat a member is out (classic protocol).
    pub session_timeout: Duration,
    /// After so long without a poll a member is out.
    pub max_poll_interval: Duration,
    /// How long a revocation may be held up.
    pub drain_timeout: Duration,
}

/// Who assigns partitions to the members of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupProtocol {
    /// One of the members, cooperatively.
    #[default]
    Classic,
    /// The broker (KIP-848, Kafka 4.0 and newer).
    Consumer,
}

/// A commit was refused or not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("offsets were not committed: {0}")]
pub struct CommitError(String);

/// Reads one topic.
pub struct Consumer {
    client: Arc<BaseConsumer<Events>>,
    topic: Topic,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
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
        let mut config = connection.client_config();
        // librdkafka wants a group even where it joins none and commits nothing.
        config
            .set("group.id", "outrigger-assigned")
            .set("auto.offset.reset", "earliest");
        let (consumer, events) = Self::start(config, topic, Duration::ZERO)?;
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
        let mut config = connection.client_config();
        config
            .set("group.id", &member.group)
            .set("auto.offset.reset", member.start.name())
            .set(
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
        let (consumer, events) = Self::start(config, topic, member.drain_timeout)?;
        let subscribed = consumer.client.subscribe(&[topic.as_str()]);
        subscribed.map_err(|error| KafkaError::new(format!("cannot subscribe to {topic}"), error))?;
        Ok((consumer, events))
    }

    fn start(
        mut config: rdkafka::ClientConfig,
        topic: &Topic,
        drain_timeout: Duration,
    ) -> Result<(Self, mpsc::Receiver<Event>), KafkaError> {
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true");
        for (name, value) in [
            ("queued.max.messages.kbytes", READ_AHEAD_KIB),
            ("queued.min.messages", READ_AHEAD_RECORDS),
        ] {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        let (sender, receiver) = mpsc::channel(EVENTS);
        let ended = Arc::new(AtomicBool::new(false));
        let context = Events {
            sender,
            ended: Arc::clone(&ended),
            drain_timeout,
            bootstrap_servers: config.get("bootstrap.servers").unwrap_or_default().to_owned(),
            trouble: Trouble::default(),
        };
        let client: BaseConsumer<Events> = config
            .create_with_context(context)
            .map_err(|error| KafkaError::new("cannot make a Kafka consumer", error))?;
        let client = Arc::new(client);
        let polled = Arc::clone(&client);
        let thread = std::thread::Builder::new()
            .name("kafka-poll".to_owned())
            .spawn(move || poll(&polled));
        let thread = thread.map_err(|error| KafkaError::new("cannot start the polling thread", error))?;
        Ok((
            Self {
                client,
                topic: topic.clone(),
                ended,
                thread: Some(thread),
            },
            receiver,
        ))
    }

    /// Begins to read more partitions.
    ///
    /// # Errors
    /// Where librdkafka refuses it.
    pub fn add(&self, partitions: &[(Partition, Start)]) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, start) in partitions {
            let offset = match start {
                Start::At(offset) => Offset::Offset(*offset),
                Start::Without(StartWithout::Earliest) => Offset::Beginning,
                Start::Without(StartWithout::Latest) => Offset::End,
            };
            let added = list.add_partition_offset(self.topic.as_str(), partition.0, offset);
            added.map_err(|error| KafkaError::new("cannot name a partition", error))?;
        }
        let assigned = self.client.incremental_assign(&list);
        assigned.map_err(|error| KafkaError::new(format!("cannot read {}", self.topic), error))
    }

    /// stub
    pub fn restart(&self, partitions: &[(Partition, Start)]) -> Result<(), KafkaError> {
        let _ = self.client.incremental_unassign(&self.list(&partitions.iter().map(|x| x.0).collect::<Vec<_>>()));
        self.add(partitions)
    }

    /// stub
    pub fn starts(&self, _partitions: &[Partition]) -> Vec<(Partition, Start)> {
        Vec::new()
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

    /// Commits the next record to read of partitions, for the group, and waits for the broker's answer.
    ///
    /// # Errors
    /// Where the broker refuses it or does not answer.
    pub fn commit(
        &self,
        positions: &[(Partition, i64)],
    ) -> impl Future<Output = Result<(), CommitError>> + Send + use<> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        let named = positions.iter().try_for_each(|(partition, offset)| {
            list.add_partition_offset(self.topic.as_str(), partition.0, Offset::Offset(*offset))
        });
        let client = Arc::clone(&self.client);
        async move {
            let commit = move || named.and_then(|()| client.commit(&list, CommitMode::Sync));
            match spawn_blocking(commit).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(CommitError(error.to_string())),
                Err(error) => Err(CommitError(error.to_string())),
            }
        }
    }

    /// Leaves the group, if it is in one, and ends the polling thread.
    pub async fn close(mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        // Dropping the client leaves the group, which waits for the coordinator.
        let closed = spawn_blocking(move || {
            if let Some(thread) = thread {
                drop(thread.join());
            }
            drop(self);
        });
        drop(closed.await);
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
        self.ended.store(true, Ordering::Relaxed);
    }
}

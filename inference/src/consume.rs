//! Owns the seam in: where records come from. The real one is Kafka; the loop's tests have their own.

use std::collections::HashMap;
use std::future::Future;
use std::ops::Range;
use std::time::Duration;

use kafka_io::{ByPartition, Cluster, Consumer, Partition, Start, Topic, TopicPartition};
use tokio::time::timeout;

use crate::config::Topics;

/// How long the answer about a topic's identity is waited for. Brokers from before Kafka 2.8 have none to give.
const TOPIC_ID_TIMEOUT: Duration = Duration::from_secs(1);

/// Where records come from. They come as [`kafka_io::Event`]s on a channel.
pub trait Source: Send + 'static {
    /// Begins to read more partitions.
    ///
    /// # Errors
    /// If they cannot be read.
    fn add(&self, partitions: &[(Partition, Start)]) -> anyhow::Result<()>;
    /// Accepts an assignment, and gives where reading of its partitions begins, less those that were taken away since.
    fn accept(&self, partitions: &[Partition]) -> Vec<(Partition, i64)>;
    /// Reads a partition from another offset on. It is done when [`kafka_io::Event::Restarted`] comes; records of before
    /// may come until then.
    fn restart(&self, partition: Partition, offset: i64);
    /// Stops reading these partitions for a while, or reads them again.
    ///
    /// # Errors
    /// If that cannot be done.
    fn pause(&self, partitions: &[Partition], paused: bool) -> anyhow::Result<()>;
    /// Commits the next record to process of partitions for the consumer group.
    fn commit(
        &self,
        positions: &[(Partition, i64)],
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static;
    /// Asks for the state of the topic, and for the offsets that these of its partitions have.
    fn inspect(
        &self,
        partitions: &[Partition],
    ) -> impl Future<Output = anyhow::Result<Snapshot>> + Send + 'static;
    /// Ends reading.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// The topics as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The identity of the input topic: another topic of the same name has another. Old brokers do not say it.
    pub topic_id: Option<String>,
    /// All partitions of the input topic; none if it does not exist.
    pub partitions: Vec<Partition>,
    /// The first and the next offset of the partitions that were asked for.
    pub ranges: Vec<(Partition, Range<i64>)>,
    /// Topics that are written to and do not exist.
    pub missing: Vec<Topic>,
}

/// A topic of a Kafka cluster.
pub struct KafkaSource {
    consumer: Consumer,
    cluster: Cluster,
    topics: Topics,
}

impl KafkaSource {
    /// Reads by `consumer`, asks by `cluster`.
    pub fn new(consumer: Consumer, cluster: Cluster, topics: Topics) -> Self {
        Self {
            consumer,
            cluster,
            topics,
        }
    }
}

impl Source for KafkaSource {
    fn add(&self, partitions: &[(Partition, Start)]) -> anyhow::Result<()> {
        Ok(self.consumer.add(partitions)?)
    }

    fn accept(&self, partitions: &[Partition]) -> Vec<(Partition, i64)> {
        self.consumer.accept(partitions)
    }

    fn restart(&self, partition: Partition, offset: i64) {
        self.consumer.restart(&[(partition, Start::At(offset))]);
    }

    fn pause(&self, partitions: &[Partition], paused: bool) -> anyhow::Result<()> {
        if paused {
            self.consumer.pause(partitions)?;
        } else {
            self.consumer.resume(partitions)?;
        }
        Ok(())
    }

    fn commit(
        &self,
        positions: &[(Partition, i64)],
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        let commit = self.consumer.commit(positions);
        async { Ok(commit.await?) }
    }

    fn inspect(
        &self,
        partitions: &[Partition],
    ) -> impl Future<Output = anyhow::Result<Snapshot>> + Send + 'static {
        let (cluster, topics, partitions) = (self.cluster.clone(), self.topics.clone(), partitions.to_vec());
        async move { inspect(&cluster, &topics, &partitions).await }
    }

    fn close(self) -> impl Future<Output = ()> + Send {
        self.consumer.close()
    }
}

/// Asks a cluster for the topics of a worker.
///
/// # Errors
/// If no broker answers in time.
pub async fn inspect(
    cluster: &Cluster,
    topics: &Topics,
    partitions: &[Partition],
) -> anyhow::Result<Snapshot> {
    let mut missing = Vec::new();
    for topic in std::iter::once(&topics.output).chain(&topics.dead_letter) {
        if cluster.partitions(topic).await?.is_empty() {
            missing.push(topic.clone());
        }
    }
    let all = cluster.partitions(&topics.input).await?;
    let there: Vec<_> = partitions
        .iter()
        .copied()
        .filter(|partition| all.binary_search(partition).is_ok())
        .collect();
    Ok(Snapshot {
        topic_id: topic_id(cluster, &topics.input).await,
        ranges: ranges(cluster, &topics.input, &there).await,
        partitions: all,
        missing,
    })
}

/// The identity of a topic, if the cluster says it soon: what has none is watched by its offsets alone.
async fn topic_id(cluster: &Cluster, topic: &Topic) -> Option<String> {
    let asked = timeout(TOPIC_ID_TIMEOUT, cluster.topic_id(topic)).await.ok()?;
    let id = asked.inspect_err(|error| tracing::debug!(%error, "the topic's id is not known"));
    id.ok().flatten().map(|id| id.to_string())
}

/// The first and the next offset of partitions, as far as their leaders answer: one without a leader holds up no other.
pub(crate) async fn ranges(
    cluster: &Cluster,
    topic: &Topic,
    partitions: &[Partition],
) -> Vec<(Partition, Range<i64>)> {
    let asked: Vec<_> = partitions
        .iter()
        .map(|partition| TopicPartition::new(topic.as_str(), partition.0))
        .collect();
    let (beginnings, ends) = tokio::join!(cluster.beginnings(&asked), cluster.ends(&asked));
    let known = |answers: ByPartition<i64>| -> HashMap<Partition, i64> {
        let known = answers.into_iter();
        known
            .filter_map(|(of, offset)| Some((of.partition, offset.ok()?)))
            .collect()
    };
    let (beginnings, ends) = (known(beginnings), known(ends));
    let range =
        |partition: &Partition| Some((*partition, *beginnings.get(partition)?..*ends.get(partition)?));
    partitions.iter().filter_map(range).collect()
}

//! Owns the seam in: where records come from. The real one is Kafka; the loop's tests have their own.

use std::future::Future;
use std::ops::Range;

use kafka_io::{Cluster, Consumer, Partition, Start, Topic};

use crate::config::Topics;

/// Where records come from. They come as [`kafka_io::Event`]s on a channel.
pub trait Source: Send + 'static {
    /// Begins to read more partitions.
    ///
    /// # Errors
    /// If they cannot be read.
    fn add(&self, partitions: &[(Partition, Start)]) -> anyhow::Result<()>;
    /// Where reading of these partitions began; absent if with the first record, or the next one.
    fn starts(&self, partitions: &[Partition]) -> Vec<(Partition, Option<i64>)>;
    /// Reads a partition from another offset on. Until [`kafka_io::Event::Restarted`] its records may be those of before.
    ///
    /// # Errors
    /// If that cannot be done.
    fn restart(&self, partition: Partition, offset: i64) -> anyhow::Result<()>;
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

    fn starts(&self, partitions: &[Partition]) -> Vec<(Partition, Option<i64>)> {
        let starts = self.consumer.starts(partitions).into_iter();
        let known = starts.map(|(partition, start)| match start {
            Start::At(offset) => (partition, Some(offset)),
            Start::Without(_) => (partition, None),
        });
        known.collect()
    }

    fn restart(&self, partition: Partition, offset: i64) -> anyhow::Result<()> {
        Ok(self.consumer.restart(&[(partition, Start::At(offset))])?)
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
        .filter(|partition| all.contains(partition))
        .collect();
    Ok(Snapshot {
        topic_id: cluster.topic_id(&topics.input).await?.map(|id| id.to_string()),
        ranges: cluster.watermarks(&topics.input, &there).await?,
        partitions: all,
        missing,
    })
}

//! Owns what only tests, benchmarks and the demo ask of a cluster: topics that are created, deleted, extended and cut.

use anyhow::Context as _;
use kafka_admin::{Connection, Partition, Topic};
use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

/// A client that changes topics.
pub struct TopicAdmin(AdminClient<DefaultClientContext>);

impl TopicAdmin {
    /// # Errors
    /// If librdkafka refuses the settings.
    pub fn new(connection: &Connection) -> anyhow::Result<Self> {
        let config: ClientConfig = kafka_io::librdkafka_settings(connection).into_iter().collect();
        config.create().map(Self).context("cannot make a Kafka client")
    }

    /// Creates a topic with one replica.
    ///
    /// # Errors
    /// If the cluster refuses it.
    pub async fn create(&self, topic: &Topic, partitions: i32) -> anyhow::Result<()> {
        self.create_with(topic, partitions, &[]).await
    }

    /// Creates a topic with one replica and this configuration.
    ///
    /// # Errors
    /// If the cluster refuses it.
    pub async fn create_with(
        &self,
        topic: &Topic,
        partitions: i32,
        config: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let mut new = NewTopic::new(topic.as_str(), partitions, TopicReplication::Fixed(1));
        new.config.extend_from_slice(config);
        let created = self.0.create_topics([&new], &AdminOptions::new()).await;
        only(created).with_context(|| format!("cannot create the topic {topic}"))
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// If the cluster refuses it.
    pub async fn delete(&self, topic: &Topic) -> anyhow::Result<()> {
        let deleted = self
            .0
            .delete_topics(&[topic.as_str()], &AdminOptions::new())
            .await;
        only(deleted).with_context(|| format!("cannot delete the topic {topic}"))
    }

    /// Gives a topic more partitions.
    ///
    /// # Errors
    /// If the cluster refuses it.
    pub async fn extend(&self, topic: &Topic, total: usize) -> anyhow::Result<()> {
        let new = NewPartitions::new(topic.as_str(), total);
        let created = self.0.create_partitions([&new], &AdminOptions::new()).await;
        only(created).with_context(|| format!("cannot add partitions to {topic}"))
    }

    /// Deletes the records of a partition before an offset, as retention does in time.
    ///
    /// # Errors
    /// If the cluster refuses it.
    pub async fn delete_records(
        &self,
        topic: &Topic,
        partition: Partition,
        before: i64,
    ) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic.as_str(), partition.0, Offset::Offset(before))?;
        let deleted = self.0.delete_records(&list, &AdminOptions::new()).await;
        deleted
            .map(drop)
            .with_context(|| format!("cannot delete records of {topic}"))
    }
}

/// What the cluster says of the only topic that was asked about.
fn only(answer: Result<Vec<TopicResult>, KafkaError>) -> anyhow::Result<()> {
    match answer?.into_iter().next() {
        Some(Err((_, code))) => Err(code.into()),
        Some(Ok(_)) | None => Ok(()),
    }
}

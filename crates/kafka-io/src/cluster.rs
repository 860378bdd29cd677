//! Owns questions to a cluster, each with a time limit.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::Offset;
use tokio::task::spawn_blocking;

use crate::context::{Quiet, describe};
use crate::log_offsets::Leaders;
use crate::unanswered::Unanswered;
use crate::{Connection, KafkaError, Partition, Topic};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The group that the client has, and never joins.
const ASKING_GROUP: &str = "outrigger-asks";
/// What may have happened during a question that was not answered.
const EVENTS: usize = 100;

pub(crate) type AskingClient = BaseConsumer<Quiet>;

/// A client that asks.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) client: Arc<AskingClient>,
    pub(crate) unanswered: Unanswered,
    pub(crate) leaders: Leaders,
    config: ClientConfig,
    bootstrap_servers: String,
}

impl Cluster {
    /// # Errors
    /// Where librdkafka refuses the settings.
    pub fn new(connection: &Connection) -> Result<Self, KafkaError> {
        let config = connection.client_config();
        Ok(Self {
            client: Arc::new(asking_client(&config)?),
            unanswered: Unanswered::default(),
            leaders: Leaders::default(),
            config,
            bootstrap_servers: connection.bootstrap_servers().to_owned(),
        })
    }

    /// The partitions of a topic, in order; none if there is no such topic.
    ///
    /// # Errors
    /// Where no broker answers in time, with the address and the reason.
    pub async fn partitions(&self, topic: &Topic) -> Result<Vec<Partition>, KafkaError> {
        let (cluster, topic) = (self.clone(), topic.clone());
        let asked = spawn_blocking(move || cluster.ask(&topic)).await;
        asked.unwrap_or_else(|error| Err(KafkaError::new("asking the cluster failed", error)))
    }

    /// The first and the next record of each of these partitions.
    ///
    /// # Errors
    /// Where no broker answers in time.
    pub async fn watermarks(
        &self,
        topic: &Topic,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, Range<i64>)>, KafkaError> {
        let (cluster, topic, partitions) = (self.clone(), topic.clone(), partitions.to_vec());
        let asked = spawn_blocking(move || {
            let ask = |partition: Partition| {
                let marks = cluster
                    .client
                    .fetch_watermarks(topic.as_str(), partition.0, PATIENCE);
                let (low, high) = marks.map_err(|error| {
                    KafkaError::new(
                        format!("cannot learn where partition {partition} of {topic} begins"),
                        error,
                    )
                })?;
                Ok((partition, low..high))
            };
            partitions.into_iter().map(ask).collect()
        });
        asked
            .await
            .unwrap_or_else(|error| Err(KafkaError::new("asking the cluster failed", error)))
    }

    /// Creates a topic with one replica: for tests and the demo.
    ///
    /// # Errors
    /// Where the cluster refuses it.
    pub async fn create_topic(&self, topic: &Topic, partitions: i32) -> Result<(), KafkaError> {
        self.create_topic_with(topic, partitions, &[]).await
    }

    /// Creates a topic with one replica and this configuration: for tests.
    ///
    /// # Errors
    /// Where the cluster refuses it.
    pub async fn create_topic_with(
        &self,
        topic: &Topic,
        partitions: i32,
        config: &[(&str, &str)],
    ) -> Result<(), KafkaError> {
        let mut new = NewTopic::new(topic.as_str(), partitions, TopicReplication::Fixed(1));
        new.config.extend_from_slice(config);
        let created = self.admin()?.create_topics([&new], &AdminOptions::new()).await;
        outcome(format!("cannot create the topic {topic}"), created)
    }

    /// Deletes a topic: for tests.
    ///
    /// # Errors
    /// Where the cluster refuses it.
    pub async fn delete_topic(&self, topic: &Topic) -> Result<(), KafkaError> {
        let deleted = self
            .admin()?
            .delete_topics(&[topic.as_str()], &AdminOptions::new())
            .await;
        outcome(format!("cannot delete the topic {topic}"), deleted)
    }

    /// Gives a topic more partitions: for tests.
    ///
    /// # Errors
    /// Where the cluster refuses it.
    pub async fn add_partitions(&self, topic: &Topic, total: usize) -> Result<(), KafkaError> {
        let new = NewPartitions::new(topic.as_str(), total);
        let created = self
            .admin()?
            .create_partitions([&new], &AdminOptions::new())
            .await;
        outcome(format!("cannot add partitions to {topic}"), created)
    }

    /// Deletes the records of a partition before an offset, as retention does in time: for tests.
    ///
    /// # Errors
    /// Where the cluster refuses it.
    pub async fn delete_records(
        &self,
        topic: &Topic,
        partition: Partition,
        before: i64,
    ) -> Result<(), KafkaError> {
        let failed = |error| KafkaError::new(format!("cannot delete records of {topic}"), error);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic.as_str(), partition.0, Offset::Offset(before))
            .map_err(failed)?;
        let deleted = self.admin()?.delete_records(&list, &AdminOptions::new()).await;
        deleted.map(drop).map_err(failed)
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, KafkaError> {
        self.config
            .create()
            .map_err(|error| KafkaError::new("cannot make a Kafka client", error))
    }

    fn ask(&self, topic: &Topic) -> Result<Vec<Partition>, KafkaError> {
        Ok(self.ask_leaders(topic)?.into_keys().collect())
    }

    /// The leader of each partition of a topic, by its number; waits for the answer.
    pub(crate) fn ask_leaders(&self, topic: &Topic) -> Result<BTreeMap<Partition, i32>, KafkaError> {
        let metadata = self
            .client
            .fetch_metadata(Some(topic.as_str()), PATIENCE)
            .map_err(|error| {
                let trouble = trouble_of(&self.client);
                let said = error.rdkafka_error_code().map(describe);
                let reason = trouble.or(said).unwrap_or_else(|| error.to_string());
                KafkaError::new(format!("no broker of {} answers", self.bootstrap_servers), reason)
            })?;
        Ok(metadata
            .topics()
            .iter()
            .filter(|found| found.name() == topic.as_str() && found.error().is_none())
            .flat_map(rdkafka::metadata::MetadataTopic::partitions)
            .map(|partition| (Partition(partition.id()), partition.leader()))
            .collect())
    }
}

fn asking_client(config: &ClientConfig) -> Result<AskingClient, KafkaError> {
    // Nobody joins it. Without a group of its own, librdkafka 2.12 reads through a null pointer where a broker says that
    // it does not coordinate the group that it is asked about.
    let client = config
        .clone()
        .set("group.id", ASKING_GROUP)
        .create_with_context(Quiet::default());
    client.map_err(|error| KafkaError::new("cannot make a Kafka client", error))
}

/// What a client heard of the brokers. Errors and log lines wait until somebody polls.
pub(crate) fn trouble_of(client: &AskingClient) -> Option<String> {
    for _ in 0..EVENTS {
        drop(client.poll(Duration::ZERO));
    }
    client.context().trouble.reason().map(|reason| reason.text)
}

/// What the cluster said of the only topic that was asked about.
fn outcome(
    what: String,
    answer: Result<Vec<TopicResult>, rdkafka::error::KafkaError>,
) -> Result<(), KafkaError> {
    match answer.map(|topics| topics.into_iter().next()) {
        Ok(Some(Err((_, code)))) => Err(KafkaError::new(what, code)),
        Ok(_) => Ok(()),
        Err(error) => Err(KafkaError::new(what, error)),
    }
}

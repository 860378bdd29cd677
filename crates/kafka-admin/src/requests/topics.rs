//! Owns the questions which topics there are, and who leads their partitions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use tokio::time::Instant;

use super::scatter::{Answers, Scatter};
use super::{refuse, topic_name, unique};
use crate::topology::{Leader, Leaders};
use crate::{Admin, BrokerId, Partition, Refusal, Topic, TopicId, TopicPartition};

/// An epoch that is not known.
const NO_EPOCH: i32 = -1;
/// The most topics of one request.
const TOPICS_PER_REQUEST: usize = 2000;

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: Topic,
    /// Its id, if the brokers know ids (since Kafka 2.8).
    pub id: Option<TopicId>,
    /// Whether it is Kafka's own, such as `__consumer_offsets`.
    pub is_internal: bool,
    /// Its partitions, by number.
    pub partitions: BTreeMap<Partition, PartitionDescription>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Who leads it, or why nobody does.
    pub leader: Result<BrokerId, Refusal>,
    /// How often it has had another leader, if the brokers say it (since Kafka 2.3).
    pub leader_epoch: Option<i32>,
    /// Who has it.
    pub replicas: Vec<BrokerId>,
    /// Whose copy is up to date.
    pub in_sync: Vec<BrokerId>,
}

impl Admin {
    /// All topics that may be described, or why one cannot be described.
    ///
    /// # Errors
    /// If no broker answers in time.
    pub async fn topics(&self) -> Result<Vec<(Topic, Result<TopicDescription, Refusal>)>, Refusal> {
        let asked_at = Instant::now();
        let request = |_version| without_creation().with_topics(None);
        let response = self.ask_metadata(self.deadline(), request).await?;
        let described: BTreeMap<_, _> = response.topics.into_iter().filter_map(described).collect();
        self.note_leaders(&described, asked_at);
        Ok(described.into_iter().collect())
    }

    /// Each of these topics, or why it cannot be described.
    ///
    /// # Errors
    /// If no broker answers in time.
    pub async fn describe_topics(
        &self,
        topics: &[Topic],
    ) -> Result<Vec<(Topic, Result<TopicDescription, Refusal>)>, Refusal> {
        self.describe_topics_until(self.deadline(), topics).await
    }

    async fn describe_topics_until(
        &self,
        deadline: Instant,
        topics: &[Topic],
    ) -> Result<Vec<(Topic, Result<TopicDescription, Refusal>)>, Refusal> {
        let topics = unique(topics);
        let mut all = Vec::with_capacity(topics.len());
        for some in topics.chunks(TOPICS_PER_REQUEST) {
            let asked_at = Instant::now();
            let names = some
                .iter()
                .map(|topic| MetadataRequestTopic::default().with_name(Some(topic_name(topic))));
            let names: Vec<_> = names.collect();
            let request = move |_version| without_creation().with_topics(Some(names.clone()));
            let response = self.ask_metadata(deadline, request).await?;
            let mut answers: HashMap<_, _> = response.topics.into_iter().filter_map(described).collect();
            let described = some.iter().map(|topic| {
                let missing = || Err(Refusal::missing("topic that was asked about"));
                (topic.clone(), answers.remove(topic).unwrap_or_else(missing))
            });
            let described: BTreeMap<_, _> = described.collect();
            self.note_leaders(&described, asked_at);
            all.extend(described);
        }
        Ok(all)
    }

    /// Asks each partition's leader, all at once.
    pub(super) async fn scatter_leaders<V, Ask, Asking>(
        &self,
        partitions: Vec<TopicPartition>,
        per_request: usize,
        ask: Ask,
        on_answer: impl FnMut(TopicPartition, Result<V, Refusal>),
    ) where
        V: Send + 'static,
        Ask: Fn(Admin, Instant, BrokerId, Vec<TopicPartition>) -> Asking,
        Asking: Future<Output = Answers<TopicPartition, V>> + Send + 'static,
    {
        let deadline = self.deadline();
        let (finder, asker) = (self.clone(), self.clone());
        let scatter = Scatter {
            locate: |broker| self.topology().address(broker),
            know: |partitions, since| self.know_leaders(partitions, since),
            find: move |partitions| {
                let admin = finder.clone();
                async move { admin.find_leaders(partitions, deadline).await }
            },
            ask: move |leader, partitions| {
                let (admin, asking) = (asker.clone(), ask(asker.clone(), deadline, leader, partitions));
                async move {
                    let answers = asking.await;
                    let silent = answers.iter().filter(|(_, answer)| is_silent(answer));
                    admin
                        .topology()
                        .doubt_leaders(silent.map(|(partition, _)| &partition.topic));
                    answers
                }
            },
            per_request,
            deadline,
        };
        scatter.run(partitions, on_answer).await;
    }

    /// The leaders that were heard since `since`, or else not too long ago, and the partitions whose leaders were not.
    fn know_leaders(
        &self,
        partitions: Vec<TopicPartition>,
        since: Option<Instant>,
    ) -> (Answers<TopicPartition, BrokerId>, Vec<TopicPartition>) {
        let topics: BTreeSet<_> = partitions.iter().map(|partition| &partition.topic).collect();
        let unknown = self.topology().unknown_topics(topics, since);
        let unknown: BTreeSet<_> = unknown.into_iter().cloned().collect();
        let (unknown, known): (Vec<_>, Vec<_>) = partitions
            .into_iter()
            .partition(|partition| unknown.contains(&partition.topic));
        (self.leaders(known), unknown)
    }

    async fn find_leaders(
        &self,
        partitions: Vec<TopicPartition>,
        deadline: Instant,
    ) -> Answers<TopicPartition, BrokerId> {
        let topics: BTreeSet<_> = partitions
            .iter()
            .map(|partition| partition.topic.clone())
            .collect();
        let topics: Vec<_> = topics.into_iter().collect();
        match self.describe_topics_until(deadline, &topics).await {
            Ok(_described) => self.leaders(partitions),
            Err(refusal) => refuse(partitions, &refusal),
        }
    }

    fn leaders(&self, partitions: Vec<TopicPartition>) -> Answers<TopicPartition, BrokerId> {
        let leader = |partition| {
            let leader = self.topology().leader(&partition);
            (partition, leader.map(|leader| leader.broker))
        };
        partitions.into_iter().map(leader).collect()
    }

    fn note_leaders(
        &self,
        described: &BTreeMap<Topic, Result<TopicDescription, Refusal>>,
        asked_at: Instant,
    ) {
        let leaders = |described: &TopicDescription| Leaders {
            topic: described.id,
            partitions: described
                .partitions
                .iter()
                .map(|(partition, described)| (*partition, described.led_by()))
                .collect(),
        };
        let topics = described.iter().map(|(topic, described)| {
            let leaders = described.as_ref().map(leaders).map_err(Clone::clone);
            (topic.clone(), leaders)
        });
        self.topology().set_leaders(topics, asked_at);
    }

    /// The epoch of a partition's leader, as a request names it: -1 if it is not known.
    pub(super) fn leader_epoch(&self, partition: &TopicPartition) -> i32 {
        let leader = self.topology().leader(partition).ok();
        leader.and_then(|leader| leader.epoch).unwrap_or(NO_EPOCH)
    }
}

impl PartitionDescription {
    fn led_by(&self) -> Result<Leader, Refusal> {
        let epoch = self.leader_epoch;
        self.leader.clone().map(|broker| Leader { broker, epoch })
    }
}

pub(super) fn is_silent<V>(answer: &Result<V, Refusal>) -> bool {
    answer.as_ref().is_err_and(Refusal::is_silence)
}

/// A request for metadata creates topics, unless it says not to.
fn without_creation() -> MetadataRequest {
    MetadataRequest::default().with_allow_auto_topic_creation(false)
}

fn described(topic: MetadataResponseTopic) -> Option<(Topic, Result<TopicDescription, Refusal>)> {
    let name = Topic::from(topic.name?.as_str());
    let described = Refusal::check(topic.error_code, None).map(|()| TopicDescription {
        name: name.clone(),
        id: TopicId::new(topic.topic_id),
        is_internal: topic.is_internal,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| {
                (
                    Partition(partition.partition_index),
                    partition_description(partition),
                )
            })
            .collect(),
    });
    Some((name, described))
}

fn partition_description(partition: &MetadataResponsePartition) -> PartitionDescription {
    let brokers = |ids: &[kafka_protocol::messages::BrokerId]| ids.iter().map(|id| BrokerId(id.0)).collect();
    // A replica that is down is an error of the partition, but its leader is known.
    let leader = BrokerId(partition.leader_id.0);
    let refusal = Refusal::check(partition.error_code, None)
        .err()
        .unwrap_or_else(|| Refusal::of(ResponseError::LeaderNotAvailable, None));
    PartitionDescription {
        leader: if leader.0 >= 0 { Ok(leader) } else { Err(refusal) },
        leader_epoch: Some(partition.leader_epoch).filter(|epoch| *epoch >= 0),
        replicas: brokers(&partition.replica_nodes),
        in_sync: brokers(&partition.isr_nodes),
    }
}

//! Owns what groups have committed: read for many groups at a time, written and deleted for one.
//!
//! Nobody here is ever a member of a group: commits are those of Kafka's "simple" consumers, which a group accepts as long
//! as it has no members.

use std::collections::HashMap;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, OffsetFetchResponse,
};
use kafka_protocol::protocol::StrBytes;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::scatter::Answers;
use super::{ByGroup, ByPartition, by_topic, group_id, refuse, str_bytes, topic_name};
use crate::{Admin, BrokerId, GroupId, Offset, Refusal, Topic, TopicPartition};

/// The most groups of one request: a group with 100 partitions has an answer of about 3 kB.
const GROUPS_PER_REQUEST: usize = 100;
/// Since when a request may name many groups (KIP-709, Kafka 3.0).
const MANY_SINCE: i16 = 8;
/// Nobody's generation.
const NO_GENERATION: i32 = -1;

/// What a group has committed in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next record to process.
    pub offset: Offset,
    /// The leader's epoch that the committer knew.
    pub leader_epoch: Option<i32>,
    /// What the committer wrote beside it.
    pub metadata: String,
}

impl Admin {
    /// What each group has committed, in all partitions. A group that is not there has nothing.
    pub async fn committed(&self, groups: &[GroupId]) -> ByGroup<ByPartition<Committed>> {
        let mut all = Vec::with_capacity(groups.len());
        self.committed_each(groups, |group, answer| all.push((group, answer)))
            .await;
        all
    }

    /// As [`Self::committed`]; each answer is given to `on_answer` when it comes, so that a coordinator that hangs holds up
    /// only its own.
    pub async fn committed_each(
        &self,
        groups: &[GroupId],
        on_answer: impl FnMut(GroupId, Result<ByPartition<Committed>, Refusal>),
    ) {
        let ask = |admin: Admin, deadline, broker, groups| async move {
            admin.ask_committed(deadline, broker, groups, None).await
        };
        self.scatter_groups(groups.to_vec(), GROUPS_PER_REQUEST, ask, on_answer)
            .await;
    }

    /// What a group has committed, in all partitions.
    ///
    /// # Errors
    /// If nobody answers, or the group is refused as a whole.
    pub async fn committed_in_all(&self, group: &GroupId) -> Result<ByPartition<Committed>, Refusal> {
        self.ask_group(group, |admin, deadline, broker, groups| async move {
            admin.ask_committed(deadline, broker, groups, None).await
        })
        .await
    }

    /// What a group has committed in these partitions. A partition without a commit is left out.
    ///
    /// # Errors
    /// If nobody answers, or the group is refused as a whole.
    pub async fn committed_in(
        &self,
        group: &GroupId,
        partitions: &[TopicPartition],
    ) -> Result<ByPartition<Committed>, Refusal> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        self.ask_group(group, |admin, deadline, broker, groups| {
            let partitions = partitions.to_vec();
            async move {
                admin
                    .ask_committed(deadline, broker, groups, Some(partitions))
                    .await
            }
        })
        .await
    }

    /// Commits offsets for a group that has no members, with `metadata` beside each.
    ///
    /// # Errors
    /// If nobody answers, or the group is refused as a whole.
    pub async fn commit(
        &self,
        group: &GroupId,
        offsets: &[(TopicPartition, Offset)],
        metadata: &str,
    ) -> Result<ByPartition<()>, Refusal> {
        let metadata = str_bytes(metadata);
        self.ask_group(group, |admin, deadline, broker, groups| {
            let (offsets, metadata) = (offsets.to_vec(), metadata.clone());
            async move {
                let commit = |group| commit_request(group, &offsets, &metadata);
                let group = groups.into_iter().next();
                let Some(group) = group else { return Vec::new() };
                let request = |_version| commit(&group);
                let answer = admin.committing().ask(broker, deadline, request).await;
                let committed = answer.and_then(|(response, _version)| {
                    unless_moved(response.topics.into_iter().flat_map(|topic| {
                        let name = Topic::from(topic.name.as_str());
                        let partitions = topic.partitions.into_iter();
                        partitions
                            .map(move |answer| (name.partition(answer.partition_index), answer.error_code))
                    }))
                });
                vec![(group, committed)]
            }
        })
        .await
    }

    /// Deletes what a group has committed in these partitions. Needs Kafka 2.4.
    ///
    /// # Errors
    /// If nobody answers, or the group is refused as a whole.
    pub async fn delete_committed(
        &self,
        group: &GroupId,
        partitions: &[TopicPartition],
    ) -> Result<ByPartition<()>, Refusal> {
        self.ask_group(group, |admin, deadline, broker, groups| {
            let partitions = partitions.to_vec();
            async move {
                let group = groups.into_iter().next();
                let Some(group) = group else { return Vec::new() };
                let request = |_version| delete_request(&group, &partitions);
                let answer = admin.committing().ask(broker, deadline, request).await;
                let deleted = answer.and_then(|(response, _version)| {
                    Refusal::check(response.error_code, None)?;
                    unless_moved(response.topics.into_iter().flat_map(|topic| {
                        let name = Topic::from(topic.name.as_str());
                        let partitions = topic.partitions.into_iter();
                        partitions
                            .map(move |answer| (name.partition(answer.partition_index), answer.error_code))
                    }))
                });
                vec![(group, deleted)]
            }
        })
        .await
    }

    async fn ask_committed(
        &self,
        deadline: Instant,
        broker: BrokerId,
        groups: Vec<GroupId>,
        partitions: Option<Vec<TopicPartition>>,
    ) -> Answers<GroupId, ByPartition<Committed>> {
        let version = match self.version::<OffsetFetchRequest>(broker, deadline).await {
            Ok(version) => version,
            Err(refusal) => return refuse(groups, &refusal),
        };
        if version < MANY_SINCE {
            return self.ask_one_by_one(deadline, broker, groups, partitions).await;
        }
        let request = |_version| fetch_many(&groups, partitions.as_deref());
        match self.ask(broker, deadline, request).await {
            Ok((response, _version)) => many(groups, response),
            Err(refusal) => refuse(groups, &refusal),
        }
    }

    async fn ask_one_by_one(
        &self,
        deadline: Instant,
        broker: BrokerId,
        groups: Vec<GroupId>,
        partitions: Option<Vec<TopicPartition>>,
    ) -> Answers<GroupId, ByPartition<Committed>> {
        let mut asked = JoinSet::new();
        for group in groups {
            let (admin, partitions) = (self.clone(), partitions.clone());
            asked.spawn(async move {
                let request = |_version| fetch_one(&group, partitions.as_deref());
                let answer = admin.ask_up_to(MANY_SINCE - 1, broker, deadline, request).await;
                (group, answer.and_then(|(response, _version)| one(response)))
            });
        }
        asked.join_all().await
    }
}

fn fetch_many(groups: &[GroupId], partitions: Option<&[TopicPartition]>) -> OffsetFetchRequest {
    let topics: Option<Vec<_>> = partitions.map(|partitions| {
        let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
            OffsetFetchRequestTopics::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(partitions)
        });
        topics.collect()
    });
    let group = |group| {
        OffsetFetchRequestGroup::default()
            .with_group_id(group_id(group))
            .with_topics(topics.clone())
    };
    OffsetFetchRequest::default().with_groups(groups.iter().map(group).collect())
}

fn fetch_one(group: &GroupId, partitions: Option<&[TopicPartition]>) -> OffsetFetchRequest {
    let topics = partitions.map(|partitions| {
        let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
            OffsetFetchRequestTopic::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(partitions)
        });
        topics.collect()
    });
    OffsetFetchRequest::default()
        .with_group_id(group_id(group))
        .with_topics(topics)
}

fn many(groups: Vec<GroupId>, response: OffsetFetchResponse) -> Answers<GroupId, ByPartition<Committed>> {
    let answers = response.groups.into_iter();
    let mut answers: HashMap<_, _> = answers.map(|answer| (answer.group_id.clone(), answer)).collect();
    let answer = |group: GroupId| {
        let answer = answers.remove(&group_id(&group));
        let answer = answer.ok_or_else(|| Refusal::missing("group that was asked about"));
        let committed = answer.and_then(|answer| {
            Refusal::check(answer.error_code, None)?;
            let count = answer.topics.iter().map(|topic| topic.partitions.len()).sum();
            let mut all = Vec::with_capacity(count);
            for topic in answer.topics {
                let name = Topic::from(topic.name.as_str());
                all.extend(topic.partitions.into_iter().filter_map(|answer| {
                    let epoch = answer.committed_leader_epoch;
                    let committed = committed(answer.committed_offset, epoch, answer.metadata);
                    with_refusal(
                        name.partition(answer.partition_index),
                        answer.error_code,
                        committed,
                    )
                }));
            }
            Ok(all)
        });
        (group, committed)
    };
    groups.into_iter().map(answer).collect()
}

fn one(response: OffsetFetchResponse) -> Result<ByPartition<Committed>, Refusal> {
    Refusal::check(response.error_code, None)?;
    let mut all = Vec::new();
    for topic in response.topics {
        let name = Topic::from(topic.name.as_str());
        all.extend(topic.partitions.into_iter().filter_map(|answer| {
            let epoch = answer.committed_leader_epoch;
            let committed = committed(answer.committed_offset, epoch, answer.metadata);
            with_refusal(
                name.partition(answer.partition_index),
                answer.error_code,
                committed,
            )
        }));
    }
    Ok(all)
}

/// `None` if there is no commit, which Kafka writes as offset -1.
fn committed(offset: i64, leader_epoch: i32, metadata: Option<StrBytes>) -> Option<Committed> {
    Some(Committed {
        offset: Offset::new(offset)?,
        leader_epoch: Some(leader_epoch).filter(|epoch| *epoch >= 0),
        metadata: metadata.map(|metadata| metadata.to_string()).unwrap_or_default(),
    })
}

fn with_refusal<V>(
    partition: TopicPartition,
    code: i16,
    value: Option<V>,
) -> Option<(TopicPartition, Result<V, Refusal>)> {
    match Refusal::check(code, None) {
        Ok(()) => value.map(|value| (partition, Ok(value))),
        Err(refusal) => Some((partition, Err(refusal))),
    }
}

fn commit_request(
    group: &GroupId,
    offsets: &[(TopicPartition, Offset)],
    metadata: &StrBytes,
) -> OffsetCommitRequest {
    let mut topics = HashMap::<_, Vec<_>>::new();
    for (TopicPartition { topic, partition }, offset) in offsets {
        topics.entry(topic).or_default().push(
            OffsetCommitRequestPartition::default()
                .with_partition_index(partition.0)
                .with_committed_offset(offset.get())
                .with_committed_metadata(Some(metadata.clone())),
        );
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        OffsetCommitRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions)
    });
    OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(NO_GENERATION)
        .with_topics(topics.collect())
}

fn delete_request(group: &GroupId, partitions: &[TopicPartition]) -> OffsetDeleteRequest {
    let partition = |partition| OffsetDeleteRequestPartition::default().with_partition_index(partition);
    let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
        OffsetDeleteRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions.into_iter().map(partition).collect())
    });
    OffsetDeleteRequest::default()
        .with_group_id(group_id(group))
        .with_topics(topics.collect())
}

/// What is said of each partition. That the group has another coordinator is said of each, and is about the group.
fn unless_moved(answers: impl Iterator<Item = (TopicPartition, i16)>) -> Result<ByPartition<()>, Refusal> {
    let mut all = Vec::new();
    for (partition, code) in answers {
        match Refusal::check(code, None) {
            Err(refusal) if refusal.is_coordinators() => return Err(refusal),
            answer => all.push((partition, answer)),
        }
    }
    Ok(all)
}

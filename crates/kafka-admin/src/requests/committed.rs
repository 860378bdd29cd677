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
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse,
};
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::scatter::Answers;
use super::scatter::PAUSES;
use super::{ByGroup, ByPartition, by_topic, group_id, pick, refuse, str_bytes, topic_name, unique};
use crate::{Admin, BrokerId, GroupId, Offset, Refusal, Topic, TopicPartition};

/// The most groups of one request: a group with 100 partitions has an answer of about 3 kB.
const GROUPS_PER_REQUEST: usize = 100;
/// Since when a request may name many groups (KIP-709, Kafka 3.0).
const MANY_SINCE: i16 = 8;
/// Nobody's generation.
const NO_GENERATION: i32 = -1;

/// What an answer says of each partition; `None` if there is no commit.
type Raw = ByPartition<Option<Committed>>;

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
    /// What each group has committed, in all partitions. A group that is not there has nothing. Topics that may not be
    /// described are left out by the brokers; [`Self::committed_in`] names them.
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
        let mut on_answer = on_answer;
        self.scatter_groups(groups.to_vec(), GROUPS_PER_REQUEST, ask, |group, answer| {
            on_answer(group, answer.map(there));
        })
        .await;
    }

    /// What a group has committed, in all partitions.
    ///
    /// # Errors
    /// If nobody answers, or the group is refused as a whole.
    pub async fn committed_in_all(&self, group: &GroupId) -> Result<ByPartition<Committed>, Refusal> {
        let answers = self.ask_group(group, |admin, deadline, broker, groups| async move {
            admin.ask_committed(deadline, broker, groups, None).await
        });
        answers.await.map(there)
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
        let partitions = unique(partitions);
        let answers = self.ask_group(group, |admin, deadline, broker, groups| {
            let partitions = partitions.clone();
            async move {
                admin
                    .ask_committed(deadline, broker, groups, Some(partitions))
                    .await
            }
        });
        let answers = answers.await?;
        let picked = pick(partitions, answers).into_iter();
        Ok(there(picked.map(|(partition, answer)| {
            (partition, answer.and_then(|answer| answer))
        })))
    }

    /// Commits offsets for a group that has no members, with `metadata` beside each.
    ///
    /// A commit whose answer is lost is not sent again, since it may have been stored, or may be later than the next one: what
    /// a broker has received before its connection was lost it may still carry out.
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
        let request = |_version| commit_request(group, offsets, &metadata);
        let partitions = offsets.iter().map(|(partition, _)| partition.clone());
        let partitions = partitions.collect::<Vec<_>>();
        self.write(group, &partitions, request, |response: OffsetCommitResponse| {
            let topics = response.topics.into_iter().flat_map(|topic| {
                let name = Topic::from(topic.name.as_str());
                let partitions = topic.partitions.into_iter();
                partitions.map(move |answer| (name.partition(answer.partition_index), answer.error_code))
            });
            Ok(topics.collect())
        })
        .await
    }

    /// Deletes what a group has committed in these partitions. Needs Kafka 2.4. A deletion whose answer is lost is not sent
    /// again, as in [`Self::commit`].
    ///
    /// # Errors
    /// If nobody answers, or the group is refused as a whole.
    pub async fn delete_committed(
        &self,
        group: &GroupId,
        partitions: &[TopicPartition],
    ) -> Result<ByPartition<()>, Refusal> {
        let request = |_version| delete_request(group, partitions);
        self.write(group, partitions, request, |response: OffsetDeleteResponse| {
            Refusal::check(response.error_code, None)?;
            let topics = response.topics.into_iter().flat_map(|topic| {
                let name = Topic::from(topic.name.as_str());
                let partitions = topic.partitions.into_iter();
                partitions.map(move |answer| (name.partition(answer.partition_index), answer.error_code))
            });
            Ok(topics.collect())
        })
        .await
    }

    /// Asks a group's coordinator to change something, until one takes it.
    async fn write<Req: Request>(
        &self,
        group: &GroupId,
        partitions: &[TopicPartition],
        request: impl Fn(i16) -> Req,
        answers: impl Fn(Req::Response) -> Result<Vec<(TopicPartition, i16)>, Refusal>,
    ) -> Result<ByPartition<()>, Refusal> {
        let partitions = unique(partitions);
        let deadline = self.deadline();
        let mut pauses = PAUSES.into_iter();
        loop {
            let written = async {
                // Nobody has been asked to write anything yet.
                let broker = self.coordinator(group, deadline).await;
                let broker = broker.map_err(|refusal| (refusal.is_stale(), refusal))?;
                let answer = self.committing().ask(broker, deadline, &request).await;
                let answered = answer.and_then(|(response, _version)| answers(response));
                let written = answered.and_then(|answers| unless_moved(partitions.clone(), answers));
                if written
                    .as_ref()
                    .is_err_and(|refusal| refusal.is_stale() || refusal.is_silence())
                {
                    self.topology().doubt_coordinator(broker, [group]);
                }
                written.map_err(|refusal| (refusal.is_unsent(), refusal))
            };
            match (written.await, pauses.next()) {
                (Err((true, _)), Some(pause)) if Instant::now() + pause < deadline => {
                    sleep(pause).await;
                }
                (written, _) => return written.map_err(|(_, refusal)| refusal),
            }
        }
    }

    async fn ask_committed(
        &self,
        deadline: Instant,
        broker: BrokerId,
        groups: Vec<GroupId>,
        partitions: Option<Vec<TopicPartition>>,
    ) -> Answers<GroupId, Raw> {
        let request = |_version| fetch_many(&groups, partitions.as_deref());
        match self
            .ask_in(MANY_SINCE..=i16::MAX, broker, deadline, request)
            .await
        {
            Ok((response, _version)) => many(groups, response),
            Err(refusal) if refusal.is_unsupported() => {
                self.ask_one_by_one(deadline, broker, groups, partitions).await
            }
            Err(refusal) => refuse(groups, &refusal),
        }
    }

    async fn ask_one_by_one(
        &self,
        deadline: Instant,
        broker: BrokerId,
        groups: Vec<GroupId>,
        partitions: Option<Vec<TopicPartition>>,
    ) -> Answers<GroupId, Raw> {
        let mut asked = JoinSet::new();
        for group in groups {
            let (admin, partitions) = (self.clone(), partitions.clone());
            asked.spawn(async move {
                let request = |_version| fetch_one(&group, partitions.as_deref());
                let answer = admin.ask_in(0..=MANY_SINCE - 1, broker, deadline, request).await;
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

fn many(groups: Vec<GroupId>, response: OffsetFetchResponse) -> Answers<GroupId, Raw> {
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
                all.extend(topic.partitions.into_iter().map(|answer| {
                    let epoch = answer.committed_leader_epoch;
                    let committed = committed(answer.committed_offset, epoch, answer.metadata);
                    let committed = Refusal::check(answer.error_code, None).map(|()| committed);
                    (name.partition(answer.partition_index), committed)
                }));
            }
            Ok(all)
        });
        (group, committed)
    };
    groups.into_iter().map(answer).collect()
}

fn one(response: OffsetFetchResponse) -> Result<Raw, Refusal> {
    Refusal::check(response.error_code, None)?;
    let mut all = Vec::new();
    for topic in response.topics {
        let name = Topic::from(topic.name.as_str());
        all.extend(topic.partitions.into_iter().map(|answer| {
            let epoch = answer.committed_leader_epoch;
            let committed = committed(answer.committed_offset, epoch, answer.metadata);
            let committed = Refusal::check(answer.error_code, None).map(|()| committed);
            (name.partition(answer.partition_index), committed)
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

/// Without the partitions in which there is no commit.
fn there(
    answers: impl IntoIterator<Item = (TopicPartition, Result<Option<Committed>, Refusal>)>,
) -> ByPartition<Committed> {
    let there = answers
        .into_iter()
        .filter_map(|(partition, answer)| Some((partition, answer.transpose()?)));
    there.collect()
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
fn unless_moved(
    partitions: Vec<TopicPartition>,
    answers: Vec<(TopicPartition, i16)>,
) -> Result<ByPartition<()>, Refusal> {
    let mut all = Vec::with_capacity(answers.len());
    for (partition, code) in pick(partitions, answers) {
        let answer = code.and_then(|code| Refusal::check(code, None));
        match answer {
            Err(refusal) if refusal.is_coordinators() => return Err(refusal),
            answer => all.push((partition, answer)),
        }
    }
    Ok(all)
}

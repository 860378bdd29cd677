//! Owns the questions which groups there are, and what they are like: `ListGroups` on every broker, and descriptions of both
//! protocols' groups.

use std::collections::HashMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::{
    DescribedGroup as ConsumerGroup, Member as ConsumerMember,
};
use kafka_protocol::messages::describe_groups_response::{
    DescribedGroup as ClassicGroup, DescribedGroupMember,
};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerProtocolAssignment, DescribeGroupsRequest, ListGroupsRequest,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::scatter::Answers;
use super::{ByGroup, group_id, refuse};
use crate::wire::decode_versioned;
use crate::{Admin, BrokerId, GroupId, Refusal, Topic, TopicPartition};

/// The most groups of one request.
const GROUPS_PER_REQUEST: usize = 100;
/// What consumers call their protocol, beside Kafka Connect's and others'.
const CONSUMER: &str = "consumer";
/// The state in which brokers before Kafka 4.0 describe a group that is not there.
const DEAD: &str = "Dead";
const NO_GROUP: &str = "GROUP_ID_NOT_FOUND";

/// A group, as a broker lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its id.
    pub id: GroupId,
    /// `consumer`, `connect` and others; empty if it has commits and never had members.
    pub protocol_type: String,
    /// `Stable`, `Empty` and others, since Kafka 2.6.
    pub state: Option<String>,
    /// Which protocol its members use, since Kafka 3.7.
    pub group_type: Option<GroupType>,
}

/// Which protocol the members of a group use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupType {
    /// The one with a leader among the members.
    Classic,
    /// The one in which the coordinator assigns partitions (KIP-848).
    Consumer,
    /// Share groups (KIP-932).
    Share,
    /// Kafka Streams' (KIP-1071).
    Streams,
    /// One that is newer than this program.
    Other,
}

/// What a group is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Which protocol its members use.
    pub group_type: GroupType,
    /// `Stable`, `Empty` and others.
    pub state: String,
    /// How partitions are assigned: the assignor's name.
    pub assignor: String,
    /// Who coordinates it.
    pub coordinator: BrokerId,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub id: String,
    /// `group.instance.id`, if it is a static member.
    pub instance_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// Where it is.
    pub host: String,
    /// What is assigned to it.
    pub assigned: Vec<TopicPartition>,
}

impl Admin {
    /// The groups that each broker coordinates.
    ///
    /// # Errors
    /// If no broker says which brokers there are.
    pub async fn list_groups(&self) -> Result<Vec<(BrokerId, Result<Vec<ListedGroup>, Refusal>)>, Refusal> {
        let mut all = Vec::new();
        self.list_groups_each(|broker, answer| all.push((broker, answer)))
            .await?;
        Ok(all)
    }

    /// As [`Self::list_groups`]; each answer is given to `on_answer` when it comes, so that a broker that hangs holds up only
    /// its own.
    ///
    /// # Errors
    /// If no broker says which brokers there are.
    pub async fn list_groups_each(
        &self,
        mut on_answer: impl FnMut(BrokerId, Result<Vec<ListedGroup>, Refusal>),
    ) -> Result<(), Refusal> {
        let deadline = self.deadline();
        let mut asked = JoinSet::new();
        for broker in self.broker_ids(deadline).await? {
            let admin = self.clone();
            asked.spawn(async move { (broker, admin.list_groups_of(broker, deadline).await) });
        }
        while let Some(answered) = asked.join_next().await {
            match answered {
                Ok((broker, answer)) => on_answer(broker, answer),
                Err(failed) => {
                    if let Ok(panicked) = failed.try_into_panic() {
                        std::panic::resume_unwind(panicked);
                    }
                }
            }
        }
        Ok(())
    }

    async fn list_groups_of(&self, broker: BrokerId, deadline: Instant) -> Result<Vec<ListedGroup>, Refusal> {
        let request = |_version| ListGroupsRequest::default();
        let (response, version) = self.ask(broker, deadline, request).await?;
        Refusal::check(response.error_code, None)?;
        let listed = response.groups.iter().map(|group| ListedGroup {
            id: GroupId::from(group.group_id.as_str()),
            protocol_type: group.protocol_type.to_string(),
            state: (version >= 4).then(|| group.group_state.to_string()),
            group_type: (version >= 5).then(|| group_type(&group.group_type)),
        });
        Ok(listed.collect())
    }

    /// How many members a group has; none if there is no such group.
    ///
    /// # Errors
    /// If nobody answers, or the group may not be described.
    pub async fn members(&self, group: &GroupId) -> Result<usize, Refusal> {
        let described = self.describe_groups(std::slice::from_ref(group)).await;
        let described = described.into_iter().next().map(|(_, described)| described);
        match described {
            Some(Ok(group)) => Ok(group.members.len()),
            Some(Err(refusal)) if refusal.code == NO_GROUP => Ok(0),
            Some(Err(refusal)) => Err(refusal),
            None => Err(Refusal::missing("group that was asked about")),
        }
    }

    /// What each group is like, whichever of both protocols its members use.
    pub async fn describe_groups(&self, groups: &[GroupId]) -> ByGroup<GroupDescription> {
        let mut all = Vec::with_capacity(groups.len());
        self.describe_groups_each(groups, |group, answer| all.push((group, answer)))
            .await;
        all
    }

    /// As [`Self::describe_groups`]; each answer is given to `on_answer` when it comes, so that a coordinator that hangs holds
    /// up only its own.
    pub async fn describe_groups_each(
        &self,
        groups: &[GroupId],
        on_answer: impl FnMut(GroupId, Result<GroupDescription, Refusal>),
    ) {
        self.scatter_groups(groups.to_vec(), GROUPS_PER_REQUEST, describe, on_answer)
            .await;
    }
}

/// Asks for groups of the newer protocol, then for those that are not of it.
async fn describe(
    admin: Admin,
    deadline: Instant,
    broker: BrokerId,
    groups: Vec<GroupId>,
) -> Answers<GroupId, GroupDescription> {
    let described = describe_consumer(admin.clone(), deadline, broker, groups).await;
    let is_other = |answer: &Result<_, Refusal>| answer.as_ref().is_err_and(Refusal::is_other_protocol);
    let (others, mut described): (Vec<_>, Vec<_>) =
        described.into_iter().partition(|(_, answer)| is_other(answer));
    if !others.is_empty() {
        let others = others.into_iter().map(|(group, _)| group).collect();
        described.extend(describe_classic(admin, deadline, broker, others).await);
    }
    described
}

async fn describe_consumer(
    admin: Admin,
    deadline: Instant,
    broker: BrokerId,
    groups: Vec<GroupId>,
) -> Answers<GroupId, GroupDescription> {
    let ids = groups.iter().map(group_id).collect();
    let request = |_version| ConsumerGroupDescribeRequest::default().with_group_ids(ids);
    let response = match admin.ask(broker, deadline, request).await {
        Ok((response, _version)) => response,
        Err(refusal) => return refuse(groups, &refusal),
    };
    let answers = response.groups.iter().map(|group| {
        let checked = Refusal::check(group.error_code, group.error_message.as_deref());
        (
            group.group_id.as_str(),
            checked.map(|()| consumer_group(broker, group)),
        )
    });
    pick(groups, answers)
}

async fn describe_classic(
    admin: Admin,
    deadline: Instant,
    broker: BrokerId,
    groups: Vec<GroupId>,
) -> Answers<GroupId, GroupDescription> {
    let ids = groups.iter().map(group_id).collect();
    let request = |_version| DescribeGroupsRequest::default().with_groups(ids);
    let response = match admin.ask(broker, deadline, request).await {
        Ok((response, _version)) => response,
        Err(refusal) => return refuse(groups, &refusal),
    };
    let answers = response.groups.iter().map(|group| {
        let checked = Refusal::check(group.error_code, group.error_message.as_deref());
        let checked = checked.map_err(of_another_kind);
        let described = checked.and_then(|()| classic_group(broker, group));
        (group.group_id.as_str(), described)
    });
    pick(groups, answers)
}

/// Kafka 4 says that there is no such group of one that is a share group, or Kafka Streams', in words.
fn of_another_kind(refusal: Refusal) -> Refusal {
    if refusal.code == NO_GROUP && refusal.reason.contains("is not a") {
        return Refusal::of(ResponseError::InconsistentGroupProtocol, Some(&refusal.reason));
    }
    refusal
}

/// The answers to what was asked; what else the response has is left out.
pub(super) fn pick<'a, V>(
    groups: Vec<GroupId>,
    answers: impl Iterator<Item = (&'a str, Result<V, Refusal>)>,
) -> Answers<GroupId, V> {
    let mut answers: HashMap<_, _> = answers.collect();
    let answer = |group: GroupId| {
        let answer = answers.remove(group.as_str());
        let answer = answer.unwrap_or_else(|| Err(Refusal::missing("group that was asked about")));
        (group, answer)
    };
    groups.into_iter().map(answer).collect()
}

fn group_type(name: &str) -> GroupType {
    match name.to_ascii_lowercase().as_str() {
        "classic" => GroupType::Classic,
        "consumer" => GroupType::Consumer,
        "share" => GroupType::Share,
        "streams" => GroupType::Streams,
        _ => GroupType::Other,
    }
}

fn consumer_group(coordinator: BrokerId, group: &ConsumerGroup) -> GroupDescription {
    GroupDescription {
        group_type: GroupType::Consumer,
        state: group.group_state.to_string(),
        assignor: group.assignor_name.to_string(),
        coordinator,
        members: group.members.iter().map(consumer_member).collect(),
    }
}

fn consumer_member(member: &ConsumerMember) -> GroupMember {
    let topics = member.assignment.topic_partitions.iter();
    GroupMember {
        id: member.member_id.to_string(),
        instance_id: member.instance_id.as_deref().map(str::to_owned),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assigned: topics
            .flat_map(|topic| partitions(&topic.topic_name, &topic.partitions))
            .collect(),
    }
}

fn classic_group(coordinator: BrokerId, group: &ClassicGroup) -> Result<GroupDescription, Refusal> {
    if group.group_state.as_str() == DEAD {
        return Err(Refusal::of(ResponseError::GroupIdNotFound, None));
    }
    let is_consumers = group.protocol_type.as_str() == CONSUMER;
    let members = group.members.iter();
    Ok(GroupDescription {
        group_type: GroupType::Classic,
        state: group.group_state.to_string(),
        assignor: group.protocol_data.to_string(),
        coordinator,
        members: members
            .map(|member| classic_member(member, is_consumers))
            .collect(),
    })
}

fn classic_member(member: &DescribedGroupMember, is_consumers: bool) -> GroupMember {
    // The assignment is the members' own business; one that we cannot read is none that we know.
    let has_assignment = is_consumers && !member.member_assignment.is_empty();
    let assignment = has_assignment
        .then(|| decode_versioned::<ConsumerProtocolAssignment>(member.member_assignment.clone()).ok())
        .flatten();
    let topics = assignment
        .iter()
        .flat_map(|assignment| &assignment.assigned_partitions);
    GroupMember {
        id: member.member_id.to_string(),
        instance_id: member.group_instance_id.as_deref().map(str::to_owned),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assigned: topics
            .flat_map(|topic| partitions(&topic.topic, &topic.partitions))
            .collect(),
    }
}

pub(super) fn partitions<'p>(
    topic: &str,
    partitions: &'p [i32],
) -> impl Iterator<Item = TopicPartition> + use<'p> {
    let topic = Topic::from(topic);
    partitions
        .iter()
        .map(move |partition| topic.partition(*partition))
}

//! Owns the questions about share groups (KIP-932, Kafka 4.1): what they are like, and where they begin to read.

use kafka_protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use kafka_protocol::messages::describe_share_group_offsets_response::DescribeShareGroupOffsetsResponseGroup;
use kafka_protocol::messages::share_group_describe_response::DescribedGroup;
use kafka_protocol::messages::{DescribeShareGroupOffsetsRequest, ShareGroupDescribeRequest};
use tokio::time::Instant;

use super::groups::{partitions, pick};
use super::scatter::Answers;
use super::{ByGroup, ByPartition, GroupDescription, GroupMember, GroupType, group_id, refuse};
use crate::{Admin, BrokerId, GroupId, Offset, Refusal, Topic};

/// The most groups of one request.
const GROUPS_PER_REQUEST: usize = 100;

impl Admin {
    /// What each share group is like.
    pub async fn describe_share_groups(&self, groups: &[GroupId]) -> ByGroup<GroupDescription> {
        let mut all = Vec::with_capacity(groups.len());
        let on_answer = |group, answer| all.push((group, answer));
        self.scatter_groups(groups.to_vec(), GROUPS_PER_REQUEST, describe, on_answer)
            .await;
        all
    }

    /// The first record of each partition that a share group has not finished; `None` if it has not begun with the partition.
    pub async fn share_group_offsets(&self, groups: &[GroupId]) -> ByGroup<ByPartition<Option<Offset>>> {
        let mut all = Vec::with_capacity(groups.len());
        let on_answer = |group, answer| all.push((group, answer));
        self.scatter_groups(groups.to_vec(), GROUPS_PER_REQUEST, offsets, on_answer)
            .await;
        all
    }
}

async fn describe(
    admin: Admin,
    deadline: Instant,
    broker: BrokerId,
    groups: Vec<GroupId>,
) -> Answers<GroupId, GroupDescription> {
    let ids = groups.iter().map(group_id).collect();
    let request = |_version| ShareGroupDescribeRequest::default().with_group_ids(ids);
    let response = match admin.ask(broker, deadline, request).await {
        Ok((response, _version)) => response,
        Err(refusal) => return refuse(groups, &refusal),
    };
    let answers = response.groups.iter().map(|group| {
        let checked = Refusal::check(group.error_code, group.error_message.as_deref());
        (
            group.group_id.as_str(),
            checked.map(|()| description(broker, group)),
        )
    });
    pick(groups, answers)
}

fn description(coordinator: BrokerId, group: &DescribedGroup) -> GroupDescription {
    let members = group.members.iter().map(|member| {
        let topics = member.assignment.topic_partitions.iter();
        GroupMember {
            id: member.member_id.to_string(),
            instance_id: None,
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assigned: topics
                .flat_map(|topic| partitions(&topic.topic_name, &topic.partitions))
                .collect(),
        }
    });
    GroupDescription {
        group_type: GroupType::Share,
        state: group.group_state.to_string(),
        assignor: group.assignor_name.to_string(),
        coordinator,
        members: members.collect(),
    }
}

async fn offsets(
    admin: Admin,
    deadline: Instant,
    broker: BrokerId,
    groups: Vec<GroupId>,
) -> Answers<GroupId, ByPartition<Option<Offset>>> {
    let asked = groups.iter().map(|group| {
        DescribeShareGroupOffsetsRequestGroup::default()
            .with_group_id(group_id(group))
            .with_topics(None)
    });
    let asked = asked.collect();
    let request = |_version| DescribeShareGroupOffsetsRequest::default().with_groups(asked);
    let response = match admin.ask(broker, deadline, request).await {
        Ok((response, _version)) => response,
        Err(refusal) => return refuse(groups, &refusal),
    };
    let answers = response.groups.iter().map(|group| {
        let checked = Refusal::check(group.error_code, group.error_message.as_deref());
        (group.group_id.as_str(), checked.map(|()| starts(group)))
    });
    pick(groups, answers)
}

fn starts(group: &DescribeShareGroupOffsetsResponseGroup) -> ByPartition<Option<Offset>> {
    let topics = group.topics.iter().flat_map(|topic| {
        let name = Topic::from(topic.topic_name.as_str());
        topic.partitions.iter().map(move |answer| {
            let checked = Refusal::check(answer.error_code, answer.error_message.as_deref());
            let start = checked.map(|()| Offset::new(answer.start_offset));
            (name.partition(answer.partition_index), start)
        })
    });
    topics.collect()
}

//! Owns the question which broker coordinates a group: many groups in one request since Kafka 3.0, one by one before.

use std::collections::HashMap;

use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::scatter::{Answers, Scatter};
use super::topics::is_silent;
use super::{refuse, str_bytes};
use crate::connection::Address;
use crate::{Admin, BrokerId, GroupId, Refusal};

/// The most groups of one request.
const GROUPS_PER_REQUEST: usize = 1000;
/// Since when a request may name many groups (KIP-699).
const MANY_SINCE: i16 = 4;
/// Kafka's number for groups, beside that for transactions.
const KEY_TYPE_GROUP: i8 = 0;

impl Admin {
    /// Asks the coordinator of one group.
    pub(super) async fn ask_group<V, Ask, Asking>(&self, group: &GroupId, ask: Ask) -> Result<V, Refusal>
    where
        V: Send + 'static,
        Ask: Fn(Admin, Instant, BrokerId, Vec<GroupId>) -> Asking,
        Asking: Future<Output = Answers<GroupId, V>> + Send + 'static,
    {
        let mut answer = None;
        self.scatter_groups(vec![group.clone()], 1, ask, |_group, answered| {
            answer = Some(answered);
        })
        .await;
        answer.unwrap_or_else(|| Err(Refusal::missing("group that was asked about")))
    }

    /// Asks each group's coordinator, all at once.
    pub(super) async fn scatter_groups<V, Ask, Asking>(
        &self,
        groups: Vec<GroupId>,
        per_request: usize,
        ask: Ask,
        on_answer: impl FnMut(GroupId, Result<V, Refusal>),
    ) where
        V: Send + 'static,
        Ask: Fn(Admin, Instant, BrokerId, Vec<GroupId>) -> Asking,
        Asking: Future<Output = Answers<GroupId, V>> + Send + 'static,
    {
        let deadline = self.deadline();
        let (finder, asker) = (self.clone(), self.clone());
        let scatter = Scatter {
            locate: |broker| self.topology().address(broker),
            know: |groups, since| self.topology().know_coordinators(groups, since),
            find: move |groups: Vec<GroupId>| {
                let admin = finder.clone();
                async move { admin.find_coordinators(groups, deadline).await }
            },
            ask: move |broker, groups| {
                let (admin, asking) = (asker.clone(), ask(asker.clone(), deadline, broker, groups));
                async move {
                    let answers = asking.await;
                    let silent = answers.iter().filter(|(_, answer)| is_silent(answer));
                    admin
                        .topology()
                        .doubt_coordinator(broker, silent.map(|(group, _)| group));
                    answers
                }
            },
            per_request,
            deadline,
        };
        scatter.run(groups, on_answer).await;
    }

    /// Who coordinates a group.
    pub(super) async fn coordinator(&self, group: &GroupId, deadline: Instant) -> Result<BrokerId, Refusal> {
        let (mut known, unknown) = self.topology().know_coordinators(vec![group.clone()], None);
        known.extend(self.find_coordinators(unknown, deadline).await);
        let found = known.pop().map(|(_, broker)| broker);
        found.unwrap_or_else(|| Err(Refusal::missing("group that was asked about")))
    }

    async fn find_coordinators(&self, groups: Vec<GroupId>, deadline: Instant) -> Answers<GroupId, BrokerId> {
        let mut asked = JoinSet::new();
        for some in groups.chunks(GROUPS_PER_REQUEST) {
            let (admin, some, asked_at) = (self.clone(), some.to_vec(), Instant::now());
            asked.spawn(async move {
                let answers = admin.ask_coordinators(&some, deadline).await;
                let known = answers.iter().filter_map(|(group, answer)| {
                    let broker = answer.as_ref().ok()?;
                    Some((group.clone(), *broker))
                });
                admin.topology().set_coordinators(known, asked_at);
                answers
            });
        }
        asked.join_all().await.into_iter().flatten().collect()
    }

    async fn ask_coordinators(&self, groups: &[GroupId], deadline: Instant) -> Answers<GroupId, BrokerId> {
        let Some((first, others)) = groups.split_first() else {
            return Vec::new();
        };
        let keys: Vec<_> = groups.iter().map(|group| str_bytes(group.as_str())).collect();
        let request = move |version| request(&keys, version);
        match self.ask_any(deadline, request).await {
            Err(refusal) => refuse(groups.to_vec(), &refusal),
            Ok((response, version)) if version >= MANY_SINCE => self.many(groups, &response),
            Ok((response, _version)) => {
                let mut asked = JoinSet::new();
                for group in others {
                    let (admin, group) = (self.clone(), group.clone());
                    asked.spawn(async move {
                        let broker = admin.ask_coordinator(&group, deadline).await;
                        (group, broker)
                    });
                }
                let mut answers = asked.join_all().await;
                answers.push((first.clone(), self.one(&response)));
                answers
            }
        }
    }

    async fn ask_coordinator(&self, group: &GroupId, deadline: Instant) -> Result<BrokerId, Refusal> {
        let keys = [str_bytes(group.as_str())];
        let request = move |version| request(&keys, version);
        let (response, version) = self.ask_any(deadline, request).await?;
        if version < MANY_SINCE {
            return self.one(&response);
        }
        let answer = self.many(std::slice::from_ref(group), &response).pop();
        answer.map_or_else(
            || Err(Refusal::missing("group that was asked about")),
            |(_, broker)| broker,
        )
    }

    fn one(&self, response: &FindCoordinatorResponse) -> Result<BrokerId, Refusal> {
        Refusal::check(response.error_code, response.error_message.as_deref())?;
        Ok(self.note_address(response.node_id.0, &response.host, response.port))
    }

    fn many(&self, groups: &[GroupId], response: &FindCoordinatorResponse) -> Answers<GroupId, BrokerId> {
        let answers = response.coordinators.iter();
        let mut answers: HashMap<_, _> = answers.map(|answer| (answer.key.as_str(), answer)).collect();
        let answer = |group: &GroupId| {
            let answer = answers.remove(group.as_str());
            let answer = answer.ok_or_else(|| Refusal::missing("group that was asked about"));
            let broker = answer.and_then(|answer| {
                Refusal::check(answer.error_code, answer.error_message.as_deref())?;
                Ok(self.note_address(answer.node_id.0, &answer.host, answer.port))
            });
            (group.clone(), broker)
        };
        groups.iter().map(answer).collect()
    }

    fn note_address(&self, broker: i32, host: &str, port: i32) -> BrokerId {
        let broker = BrokerId(broker);
        let address = Address::advertised(host, port);
        self.topology()
            .add_brokers(address.map(|address| (broker, address)));
        broker
    }
}

fn request(keys: &[StrBytes], version: i16) -> FindCoordinatorRequest {
    let request = FindCoordinatorRequest::default();
    if version >= MANY_SINCE {
        request
            .with_key_type(KEY_TYPE_GROUP)
            .with_coordinator_keys(keys.to_vec())
    } else {
        request.with_key_type(KEY_TYPE_GROUP).with_key(keys[0].clone())
    }
}

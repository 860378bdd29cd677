//! Owns what is known of the cluster: where its brokers are, who leads which partition, who coordinates which group. It is
//! what was heard last, and may be wrong: then a broker refuses, and it is asked for again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::connection::Address;
use crate::wire::Origin;
use crate::{BrokerId, GroupId, Partition, Refusal, Topic, TopicPartition};

/// The most topics of which the leaders are kept, and the most groups of which the coordinator is. Beyond, all are asked for
/// again.
const MAX_KNOWN: usize = 200_000;

/// Who leads the partitions of a topic; a refusal says why nobody does.
pub(crate) type Leaders = BTreeMap<Partition, Result<BrokerId, Refusal>>;

/// What is known of a cluster.
#[derive(Default)]
pub(crate) struct Topology(Mutex<Known>);

#[derive(Default)]
struct Known {
    brokers: BTreeMap<BrokerId, Address>,
    topics: HashMap<Topic, (Result<Leaders, Refusal>, Instant)>,
    coordinators: HashMap<GroupId, (BrokerId, Instant)>,
}

impl Topology {
    pub(crate) fn set_brokers(&self, brokers: BTreeMap<BrokerId, Address>) {
        self.lock().brokers = brokers;
    }

    pub(crate) fn add_brokers(&self, brokers: impl IntoIterator<Item = (BrokerId, Address)>) {
        self.lock().brokers.extend(brokers);
    }

    /// The addresses of all brokers, and which broker advertises each.
    pub(crate) fn brokers(&self) -> Vec<(BrokerId, Address)> {
        let known = self.lock();
        let brokers = known.brokers.iter();
        brokers
            .map(|(broker, address)| (*broker, address.clone()))
            .collect()
    }

    pub(crate) fn address(&self, broker: BrokerId) -> Option<Address> {
        self.lock().brokers.get(&broker).cloned()
    }

    /// The addresses at which the cluster may answer: its brokers', then `bootstrap`.
    pub(crate) fn candidates(&self, bootstrap: &[Address]) -> Vec<(Address, Origin)> {
        let brokers = self.brokers();
        let known: BTreeSet<_> = brokers.iter().map(|(_, address)| address.clone()).collect();
        let advertised = |(broker, address): (BrokerId, Address)| {
            let origin = Origin::of(broker, &address, bootstrap);
            (address, origin)
        };
        let others = bootstrap.iter().filter(|address| !known.contains(address));
        let others = others.map(|address| (address.clone(), Origin::Bootstrap));
        brokers.into_iter().map(advertised).chain(others).collect()
    }

    pub(crate) fn set_leaders(&self, topics: impl IntoIterator<Item = (Topic, Result<Leaders, Refusal>)>) {
        let mut known = self.lock();
        let now = Instant::now();
        for (topic, leaders) in topics {
            if known.topics.len() >= MAX_KNOWN {
                known.topics.clear();
            }
            known.topics.insert(topic, (leaders, now));
        }
    }

    /// Those of the topics whose leaders were not heard since `since`, or are older than `max_age`.
    pub(crate) fn unknown_topics<'t>(
        &self,
        topics: impl IntoIterator<Item = &'t Topic>,
        since: Option<Instant>,
        max_age: Duration,
    ) -> Vec<Topic> {
        let known = self.lock();
        let is_unknown = |topic: &&Topic| {
            known.topics.get(*topic).is_none_or(|(leaders, at)| {
                let is_old = since.map_or_else(|| at.elapsed() > max_age, |since| *at < since);
                is_old || (since.is_none() && leaders.is_err())
            })
        };
        topics.into_iter().filter(is_unknown).cloned().collect()
    }

    /// Who leads a partition, as it was heard last.
    pub(crate) fn leader(&self, partition: &TopicPartition) -> Result<BrokerId, Refusal> {
        let known = self.lock();
        let unknown = || Refusal::of(kafka_protocol::ResponseError::UnknownTopicOrPartition, None);
        let Some((leaders, _)) = known.topics.get(&partition.topic) else {
            return Err(unknown());
        };
        let leaders = leaders.as_ref().map_err(Clone::clone)?;
        leaders
            .get(&partition.partition)
            .cloned()
            .unwrap_or_else(|| Err(unknown()))
    }

    pub(crate) fn set_coordinators(&self, coordinators: impl IntoIterator<Item = (GroupId, BrokerId)>) {
        let mut known = self.lock();
        let now = Instant::now();
        for (group, broker) in coordinators {
            if known.coordinators.len() >= MAX_KNOWN {
                known.coordinators.clear();
            }
            known.coordinators.insert(group, (broker, now));
        }
    }

    /// The coordinators of groups, as they were heard last, and the groups of which it was not heard, or not since `since`.
    pub(crate) fn know_coordinators(
        &self,
        groups: Vec<GroupId>,
        since: Option<Instant>,
    ) -> (Vec<(GroupId, Result<BrokerId, Refusal>)>, Vec<GroupId>) {
        let known = self.lock();
        let (mut coordinators, mut unknown) = (Vec::with_capacity(groups.len()), Vec::new());
        for group in groups {
            match known.coordinators.get(&group) {
                Some((broker, at)) if since.is_none_or(|since| *at >= since) => {
                    coordinators.push((group, Ok(*broker)));
                }
                _ => unknown.push(group),
            }
        }
        (coordinators, unknown)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

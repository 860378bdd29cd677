//! Owns what is known of the cluster: where its brokers are, who leads which partition, who coordinates which group. It is
//! what was heard last, and may be wrong: then a broker refuses, and it is asked for again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_protocol::ResponseError;
use tokio::time::Instant;

use crate::connection::Address;
use crate::requests::Answers;
use crate::wire::Origin;
use crate::{BrokerId, GroupId, Partition, Refusal, Topic, TopicId, TopicPartition};

/// The most partitions of which the leaders are kept, and the most groups of which the coordinator is. Beyond, all are asked
/// for again.
const MAX_KNOWN: usize = 500_000;

/// Who leads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) broker: BrokerId,
    /// How often the partition has had another leader, if the brokers say it (since Kafka 2.3).
    pub(crate) epoch: Option<i32>,
}

/// What metadata says of a topic's partitions.
#[derive(Debug, Clone)]
pub(crate) struct Leaders {
    pub(crate) topic: Option<TopicId>,
    /// A refusal says why nobody leads a partition.
    pub(crate) partitions: BTreeMap<Partition, Result<Leader, Refusal>>,
}

/// What is known of a cluster.
pub(crate) struct Topology {
    known: Mutex<Known>,
    /// What was heard longer ago is asked for again.
    max_age: Duration,
}

/// An answer about a topic.
struct Heard {
    leaders: Result<Leaders, Refusal>,
    at: Instant,
    /// A leader did not answer since.
    is_doubted: bool,
}

#[derive(Default)]
struct Known {
    brokers: BTreeMap<BrokerId, Address>,
    topics: HashMap<Topic, Heard>,
    coordinators: HashMap<GroupId, (BrokerId, Instant)>,
    /// When what is too old was forgotten last.
    pruned_at: Option<Instant>,
}

impl Known {
    /// Forgets what nobody has asked for again in time, such as topics that were deleted.
    fn prune(&mut self, max_age: Duration, now: Instant) {
        if self.pruned_at.is_some_and(|at| now - at < max_age) {
            return;
        }
        self.pruned_at = Some(now);
        self.topics.retain(|_, heard| now - heard.at < max_age);
        self.coordinators.retain(|_, (_, at)| now - *at < max_age);
    }
}

impl Topology {
    pub(crate) fn new(max_age: Duration) -> Self {
        Self {
            known: Mutex::default(),
            max_age,
        }
    }

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

    /// Takes note of an answer to what was asked at `asked_at`. Of a partition whose leader is known with a later epoch, the
    /// answer is of a broker that has not heard of it.
    pub(crate) fn set_leaders(
        &self,
        topics: impl IntoIterator<Item = (Topic, Result<Leaders, Refusal>)>,
        asked_at: Instant,
    ) {
        let mut known = self.lock();
        known.prune(self.max_age, Instant::now());
        let count =
            |leaders: &Result<Leaders, Refusal>| leaders.as_ref().map_or(1, |its| its.partitions.len());
        let total: usize = known.topics.values().map(|heard| count(&heard.leaders)).sum();
        if total >= MAX_KNOWN {
            known.topics.clear();
        }
        for (topic, mut leaders) in topics {
            if let Some(before) = known.topics.get(&topic) {
                if before.at > asked_at {
                    continue;
                }
                if let (Ok(before), Ok(leaders)) = (&before.leaders, &mut leaders) {
                    leaders.keep_newer(before);
                }
            }
            let heard = Heard {
                leaders,
                at: asked_at,
                is_doubted: false,
            };
            known.topics.insert(topic, heard);
        }
    }

    /// Those of the topics whose leaders were not heard since `since`, or not lately.
    pub(crate) fn unknown_topics<'t>(
        &self,
        topics: impl IntoIterator<Item = &'t Topic>,
        since: Option<Instant>,
    ) -> BTreeSet<&'t Topic> {
        let known = self.lock();
        let is_unknown = |topic: &&Topic| {
            known.topics.get(*topic).is_none_or(|heard| match since {
                Some(since) => heard.at < since,
                None => heard.is_doubted || heard.leaders.is_err() || heard.at.elapsed() > self.max_age,
            })
        };
        topics.into_iter().filter(is_unknown).collect()
    }

    /// Who leads a partition, as it was heard last.
    pub(crate) fn leader(&self, partition: &TopicPartition) -> Result<Leader, Refusal> {
        let known = self.lock();
        let Some(heard) = known.topics.get(&partition.topic) else {
            return Err(Refusal::of(ResponseError::LeaderNotAvailable, None));
        };
        let leaders = heard.leaders.as_ref().map_err(Clone::clone)?;
        let leader = leaders.partitions.get(&partition.partition).cloned();
        leader.unwrap_or_else(|| Err(Refusal::of(ResponseError::UnknownTopicOrPartition, None)))
    }

    /// Marks the leaders of these topics as ones to ask for again: one of them did not answer.
    pub(crate) fn doubt_leaders<'t>(&self, topics: impl IntoIterator<Item = &'t Topic>) {
        let mut known = self.lock();
        for topic in topics {
            if let Some(heard) = known.topics.get_mut(topic) {
                heard.is_doubted = true;
            }
        }
    }

    pub(crate) fn set_coordinators(
        &self,
        coordinators: impl IntoIterator<Item = (GroupId, BrokerId)>,
        asked_at: Instant,
    ) {
        let mut known = self.lock();
        known.prune(self.max_age, Instant::now());
        if known.coordinators.len() >= MAX_KNOWN {
            known.coordinators.clear();
        }
        let answered = coordinators.into_iter();
        known
            .coordinators
            .extend(answered.map(|(group, broker)| (group, (broker, asked_at))));
    }

    /// The coordinators of groups, as they were heard last, and the groups of which it was not heard since `since`, or not
    /// lately.
    pub(crate) fn know_coordinators(
        &self,
        groups: Vec<GroupId>,
        since: Option<Instant>,
    ) -> (Answers<GroupId, BrokerId>, Vec<GroupId>) {
        let known = self.lock();
        let (mut coordinators, mut unknown) = (Vec::with_capacity(groups.len()), Vec::new());
        let is_fresh = |at: Instant| since.map_or_else(|| at.elapsed() <= self.max_age, |since| at >= since);
        for group in groups {
            match known.coordinators.get(&group) {
                Some((broker, at)) if is_fresh(*at) => coordinators.push((group, Ok(*broker))),
                _ => unknown.push(group),
            }
        }
        (coordinators, unknown)
    }

    /// Forgets that this broker coordinates these groups: it did not answer.
    pub(crate) fn doubt_coordinator<'g>(
        &self,
        broker: BrokerId,
        groups: impl IntoIterator<Item = &'g GroupId>,
    ) {
        let mut known = self.lock();
        for group in groups {
            if known
                .coordinators
                .get(group)
                .is_some_and(|(its, _)| *its == broker)
            {
                known.coordinators.remove(group);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leaders {
    /// Keeps the leaders that are known with a later epoch, of the same topic.
    fn keep_newer(&mut self, before: &Self) {
        if self.topic != before.topic || self.topic.is_none() {
            return;
        }
        for (partition, leader) in &before.partitions {
            let Ok(Leader {
                epoch: Some(epoch), ..
            }) = leader
            else {
                continue;
            };
            if let Some(Ok(now)) = self.partitions.get_mut(partition)
                && now.epoch.is_some_and(|now| now < *epoch)
            {
                self.partitions.insert(*partition, leader.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const AGE: Duration = Duration::from_mins(5);

    fn led(id: u128, broker: i32, epoch: i32) -> Leaders {
        let leader = Leader {
            broker: BrokerId(broker),
            epoch: Some(epoch),
        };
        Leaders {
            topic: TopicId::new(Uuid::from_u128(id)),
            partitions: BTreeMap::from([(Partition(0), Ok(leader))]),
        }
    }

    fn broker(topology: &Topology) -> i32 {
        topology.leader(&TopicPartition::new("t", 0)).unwrap().broker.0
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_broker_says_that_lags_behind_is_not_believed() {
        let topology = Topology::new(AGE);
        let set = |leaders, at| topology.set_leaders([(Topic::from("t"), Ok(leaders))], at);
        let (earlier, now) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        set(led(1, 2, 6), now);
        set(led(1, 1, 5), now);
        assert_eq!(broker(&topology), 2, "an older epoch");
        set(led(1, 3, 7), earlier);
        assert_eq!(broker(&topology), 2, "it was asked before");
        set(led(9, 1, 0), now);
        assert_eq!(broker(&topology), 1, "the topic was made anew");
    }

    #[tokio::test(start_paused = true)]
    async fn topics_that_nobody_asks_for_are_forgotten() {
        let topology = Topology::new(AGE);
        topology.set_leaders([(Topic::from("gone"), Ok(led(1, 1, 1)))], Instant::now());
        tokio::time::advance(AGE).await;
        topology.set_leaders([(Topic::from("t"), Ok(led(2, 1, 1)))], Instant::now());
        assert_eq!(topology.lock().topics.len(), 1);
        let refusal = topology.leader(&TopicPartition::new("gone", 0)).unwrap_err();
        assert_eq!(
            refusal.code, "LEADER_NOT_AVAILABLE",
            "nothing says that it is not there"
        );
    }
}

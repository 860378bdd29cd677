//! Owns where partitions begin and end: each leader is asked by itself, all at the same time, and what each says is kept.
//!
//! A leader that hangs costs its own partitions, and so many threads, and nobody waits for it longer than [`PATIENCE`].
//! librdkafka goes on with what it knows of leaders, also where a broker refuses it: then it is made to look again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, timeout};

use crate::admin::Admin;
use crate::groups::{ByPartition, PATIENCE, by_partition, with_trouble};
use crate::{Cluster, Partition, Refusal, RefusalKind, Topic, TopicPartition};

/// The most partitions of one question: librdkafka's cost is quadratic in it, 10,000 cost half a second of a core in one
/// call and 0.03 s in calls of 100 to 500.
const PARTITIONS_PER_CALL: usize = 250;
/// The most questions that one leader is asked at the same time. Each costs a thread.
const CALLS_PER_LEADER: usize = 4;
/// How long a leader may take. What others say in the same answer comes then, too.
const LEADER_TIMEOUT: Duration = Duration::from_secs(8);
/// Whose leader is not known.
const NOBODY: i32 = -1;

/// The beginning of a partition, as `ListOffsets` names it.
const EARLIEST: i64 = -2;
/// The end of a partition, as `ListOffsets` names it.
const LATEST: i64 = -1;

/// Who leads which partition, as it was heard last. It says only who is asked together. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Leaders(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    topics: BTreeMap<Topic, (BTreeMap<Partition, i32>, Instant)>,
    calls: BTreeMap<i32, Arc<Semaphore>>,
}

impl Leaders {
    fn of(&self, partition: &TopicPartition) -> i32 {
        let known = self.lock();
        let leaders = known.topics.get(&partition.topic).map(|(leaders, _)| leaders);
        let leader = leaders.and_then(|leaders| leaders.get(&partition.partition));
        leader.copied().unwrap_or(NOBODY)
    }

    fn calls(&self, leader: i32) -> Arc<Semaphore> {
        let mut known = self.lock();
        let calls = known.calls.entry(leader);
        calls
            .or_insert_with(|| Arc::new(Semaphore::new(CALLS_PER_LEADER)))
            .clone()
    }

    fn are_known(&self, topic: &Topic, since: Option<Instant>) -> bool {
        let known = self.lock();
        let at = known.topics.get(topic).map(|(_, at)| *at);
        at.is_some_and(|at| since.is_none_or(|since| at >= since))
    }

    /// What a refusal is: of a partition that is there and has no leader, librdkafka says that there is none.
    fn judge(&self, partition: &TopicPartition, refusal: Refusal) -> Refusal {
        let known = self.lock();
        let leaders = known.topics.get(&partition.topic).map(|(leaders, _)| leaders);
        let is_there = leaders.is_some_and(|leaders| leaders.contains_key(&partition.partition));
        if refusal.kind == RefusalKind::UnknownPartition && is_there {
            return Refusal::without_leader();
        }
        refusal
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// The first record of each partition that is still there, or why that is not known.
    pub async fn beginnings(&self, partitions: &[TopicPartition]) -> ByPartition<i64> {
        self.offsets_at(partitions, EARLIEST).await
    }

    /// The next record of each partition, or why that is not known.
    pub async fn ends(&self, partitions: &[TopicPartition]) -> ByPartition<i64> {
        self.offsets_at(partitions, LATEST).await
    }

    async fn offsets_at(&self, partitions: &[TopicPartition], spec: i64) -> ByPartition<i64> {
        let begun = Instant::now();
        if let Err(refusal) = self.look_for_leaders(partitions.iter(), None).await {
            let refuse = |partition: &TopicPartition| (partition.clone(), Err(refusal.clone()));
            return partitions.iter().map(refuse).collect();
        }
        let mut answer = self.ask_each_leader(partitions, spec).await;
        let refused = answer.iter().filter(|(_, answer)| {
            matches!(answer, Err(refusal)
                if matches!(refusal.kind, RefusalKind::UnknownPartition | RefusalKind::Passing))
        });
        let refused: BTreeSet<_> = refused.map(|(partition, _)| partition.clone()).collect();
        let is_answered = self.look_for_leaders(refused.iter(), Some(begun)).await.is_ok();
        if is_answered && !refused.is_empty() {
            let again: Vec<_> = refused.iter().cloned().collect();
            answer.retain(|(partition, _)| !refused.contains(partition));
            answer.extend(self.ask_each_leader(&again, spec).await);
        }
        let judge = |(partition, answer): (TopicPartition, Result<i64, Refusal>)| {
            let answer = answer.map_err(|refusal| self.leaders.judge(&partition, refusal));
            (partition, answer)
        };
        answer.into_iter().map(judge).collect()
    }

    /// Makes the client look who leads these topics, unless that was heard since.
    async fn look_for_leaders(
        &self,
        partitions: impl Iterator<Item = &TopicPartition>,
        since: Option<Instant>,
    ) -> Result<(), Refusal> {
        let topics: BTreeSet<_> = partitions.map(|partition| partition.topic.clone()).collect();
        for topic in topics {
            if self.leaders.are_known(&topic, since) {
                continue;
            }
            let (cluster, asked) = (self.clone(), topic.clone());
            let leaders = spawn_blocking(move || cluster.ask_leaders(&asked)).await;
            let leaders = leaders.map_err(|error| Refusal::impossible(&error))?;
            let leaders = leaders.map_err(|error| Refusal::unreachable(&error))?;
            let mut known = self.leaders.lock();
            known.topics.insert(topic, (leaders, Instant::now()));
        }
        Ok(())
    }

    async fn ask_each_leader(&self, partitions: &[TopicPartition], spec: i64) -> ByPartition<i64> {
        let mut by_leader = BTreeMap::<_, Vec<_>>::new();
        for partition in partitions {
            let leader = self.leaders.of(partition);
            by_leader.entry(leader).or_default().push(partition.clone());
        }
        let mut questions = JoinSet::new();
        for (leader, partitions) in by_leader {
            for some in partitions.chunks(PARTITIONS_PER_CALL) {
                let (cluster, some) = (self.clone(), some.to_vec());
                questions.spawn(async move {
                    let asked = timeout(PATIENCE, cluster.ask_leader(leader, &some, spec)).await;
                    match asked.unwrap_or_else(|_elapsed| Err(Refusal::without_answer(PATIENCE))) {
                        Ok(answer) => answer,
                        Err(refusal) => some
                            .into_iter()
                            .map(|partition| (partition, Err(refusal.clone())))
                            .collect(),
                    }
                });
            }
        }
        questions.join_all().await.into_iter().flatten().collect()
    }

    async fn ask_leader(
        &self,
        leader: i32,
        partitions: &[TopicPartition],
        spec: i64,
    ) -> Result<ByPartition<i64>, Refusal> {
        let permit = self.leaders.calls(leader).acquire_owned().await;
        let permit = permit.map_err(|error| Refusal::impossible(&error))?;
        let (cluster, partitions) = (self.clone(), partitions.to_vec());
        let called = spawn_blocking(move || {
            let answer = Admin::of(cluster.client.client(), LEADER_TIMEOUT).list_offsets(&partitions, spec);
            drop(permit);
            answer.map_err(|refusal| with_trouble(refusal, &cluster.client))
        });
        let answer = called
            .await
            .unwrap_or_else(|error| Err(Refusal::impossible(&error)))?;
        Ok(answer
            .into_iter()
            .map(|told| by_partition(told, |told| told.offset))
            .map(|(partition, offset)| (partition, offset.and_then(known)))
            .collect())
    }
}

/// A negative offset is no offset.
fn known(offset: i64) -> Result<i64, Refusal> {
    if offset < 0 {
        return Err(Refusal::without_offset());
    }
    Ok(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_offset_is_no_offset() {
        assert_eq!(known(0), Ok(0));
        for negative in [-1, -1001, i64::MIN] {
            assert_eq!(known(negative).unwrap_err().kind, RefusalKind::Passing);
        }
    }
}

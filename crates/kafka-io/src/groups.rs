//! Owns what a cluster keeps for a consumer group, and where partitions begin and end, for many partitions at a time.
//!
//! Nobody here is ever a member of a group: commits are those of Kafka's "simple" consumers, which a group accepts as
//! long as it has no members.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::types::RDKafkaErrorCode;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::admin::{Admin, Told};
use crate::cluster::{AskingClient, trouble_of};
use crate::{Cluster, Refusal, RefusalKind, TopicPartition};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a thread waits for a coordinator: the longest that librdkafka allows. See [`crate::unanswered`].
const COORDINATOR_PATIENCE: Duration = Duration::from_hours(1);
/// The most partitions of one question about offsets: librdkafka's cost is quadratic in it, 10,000 cost half a second
/// of a core in one call and 0.03 s in calls of 100 to 500.
const PARTITIONS_PER_CALL: usize = 250;

/// The beginning of a partition, as `ListOffsets` names it.
const EARLIEST: i64 = -2;
/// The end of a partition, as `ListOffsets` names it.
const LATEST: i64 = -1;

type Answer = Result<Vec<Told>, Refusal>;

/// What the cluster says of each partition that it was asked about.
pub type ByPartition<T> = Vec<(TopicPartition, Result<T, Refusal>)>;

/// What a group has committed in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next record to process.
    pub offset: i64,
    /// What the committer wrote beside it.
    pub metadata: String,
}

impl Cluster {
    /// The first record of each partition that is still there.
    ///
    /// # Errors
    /// Where nobody answers.
    pub async fn beginnings(&self, partitions: &[TopicPartition]) -> Result<ByPartition<i64>, Refusal> {
        self.offsets_at(partitions, EARLIEST).await
    }

    /// The next record of each partition.
    ///
    /// # Errors
    /// Where nobody answers.
    pub async fn ends(&self, partitions: &[TopicPartition]) -> Result<ByPartition<i64>, Refusal> {
        self.offsets_at(partitions, LATEST).await
    }

    async fn offsets_at(
        &self,
        partitions: &[TopicPartition],
        spec: i64,
    ) -> Result<ByPartition<i64>, Refusal> {
        let mut told = self.list_offsets(partitions, spec).await?;
        // What is not known may be new: librdkafka looks at topics anew after minutes only.
        let is_unknown = |told: &Result<i64, Refusal>| matches!(told, Err(refusal) if refusal.kind == RefusalKind::UnknownPartition);
        let unknown = told
            .iter()
            .filter(|(_, told)| is_unknown(told))
            .map(|(partition, _)| partition.clone());
        let there = self.look_anew(&unknown.collect::<Vec<_>>()).await?;
        told.retain(|(partition, _)| !there.contains(partition));
        told.extend(self.list_offsets(&there, spec).await?);
        Ok(told)
    }

    /// Looks at the topics of these partitions anew, and gives the partitions that are there after all.
    async fn look_anew(&self, unknown: &[TopicPartition]) -> Result<Vec<TopicPartition>, Refusal> {
        let topics: BTreeSet<_> = unknown.iter().map(|partition| partition.topic.clone()).collect();
        let mut there = BTreeSet::new();
        for topic in topics {
            let partitions = self
                .partitions(&topic)
                .await
                .map_err(|error| Refusal::passing(&error))?;
            there.extend(partitions.into_iter().map(|partition| TopicPartition {
                topic: topic.clone(),
                partition,
            }));
        }
        Ok(unknown
            .iter()
            .filter(|partition| there.contains(partition))
            .cloned()
            .collect())
    }

    async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: i64,
    ) -> Result<ByPartition<i64>, Refusal> {
        let mut all = Vec::with_capacity(partitions.len());
        for some in partitions.chunks(PARTITIONS_PER_CALL) {
            let asked = some.to_vec();
            match self.call(move |admin| admin.list_offsets(&asked, spec)).await {
                Ok(told) => all.extend(
                    told.into_iter()
                        .map(|told| by_partition(told, |told| told.offset)),
                ),
                Err(refusal) if refusal.kind == RefusalKind::UnknownPartition => {
                    all.extend(
                        some.iter()
                            .map(|partition| (partition.clone(), Err(Refusal::unknown_partition()))),
                    );
                }
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(all)
    }

    /// Commits offsets for a group that has no members, with `metadata` beside each.
    ///
    /// # Errors
    /// Where nobody answers, or the group is refused as a whole.
    pub async fn commit(
        &self,
        group: &str,
        offsets: &[(TopicPartition, i64)],
        metadata: &str,
    ) -> Result<ByPartition<()>, Refusal> {
        let (offsets, metadata) = (offsets.to_vec(), metadata.to_owned());
        let told = self
            .call_coordinator(group, move |admin, group| {
                admin.commit(group, &offsets, &metadata)
            })
            .await?;
        Ok(told.into_iter().map(|told| by_partition(told, |_| ())).collect())
    }

    /// What a group has committed: in `partitions`, or in all. A partition without a commit is left out.
    ///
    /// # Errors
    /// Where nobody answers, or the group is refused as a whole.
    pub async fn committed(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<ByPartition<Committed>, Refusal> {
        if partitions.is_some_and(<[_]>::is_empty) {
            return Ok(Vec::new());
        }
        let partitions = partitions.map(<[_]>::to_vec);
        let told = self
            .call_coordinator(group, move |admin, group| {
                admin.committed(group, partitions.as_deref())
            })
            .await?;
        let there = told
            .into_iter()
            .filter(|told| told.refused.is_some() || told.offset >= 0);
        let committed = |told: Told| Committed {
            offset: told.offset,
            metadata: told.metadata,
        };
        Ok(there.map(|told| by_partition(told, committed)).collect())
    }

    /// Forgets what a group has committed in these partitions. Needs Kafka 2.4.
    ///
    /// # Errors
    /// Where nobody answers, or the group is refused as a whole.
    pub async fn delete_committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<ByPartition<()>, Refusal> {
        let partitions = partitions.to_vec();
        let told = self
            .call_coordinator(group, move |admin, group| {
                admin.delete_committed(group, &partitions)
            })
            .await?;
        Ok(told.into_iter().map(|told| by_partition(told, |_| ())).collect())
    }

    /// How many members a group has; none if there is no such group.
    ///
    /// # Errors
    /// Where nobody answers, or the group may not be described.
    pub async fn members(&self, group: &str) -> Result<usize, Refusal> {
        let (cluster, group) = (self.clone(), group.to_owned());
        let asked = spawn_blocking(move || {
            let list = cluster.client.fetch_group_list(Some(&group), PATIENCE);
            let list = list.map_err(|error| {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                with_trouble(Refusal::of(code, None), &cluster.client)
            })?;
            Ok(list.groups().iter().map(|group| group.members().len()).sum())
        });
        asked
            .await
            .unwrap_or_else(|error| Err(Refusal::impossible(&error)))
    }

    /// Makes a call on a thread that may wait.
    async fn call(&self, call: impl FnOnce(Admin<'_>) -> Answer + Send + 'static) -> Answer {
        let cluster = self.clone();
        let called = spawn_blocking(move || {
            let told = call(Admin::of(cluster.client.client(), PATIENCE));
            told.map_err(|refusal| with_trouble(refusal, &cluster.client))
        });
        called
            .await
            .unwrap_or_else(|error| Err(Refusal::impossible(&error)))
    }

    /// Makes a call to the coordinator of a group on a thread that waits longer than we do.
    async fn call_coordinator(
        &self,
        group: &str,
        call: impl FnOnce(Admin<'_>, &str) -> Answer + Send + 'static,
    ) -> Answer {
        let question = self.unanswered.begin(group)?;
        let (cluster, group) = (self.clone(), group.to_owned());
        let called = spawn_blocking(move || {
            let told = call(Admin::of(cluster.client.client(), COORDINATOR_PATIENCE), &group);
            drop(question);
            told
        });
        match timeout(PATIENCE, called).await {
            Ok(Ok(told)) => told,
            Ok(Err(error)) => Err(Refusal::impossible(&error)),
            Err(_elapsed) => Err(Refusal::without_answer(PATIENCE)),
        }
        .map_err(|refusal| with_trouble(refusal, &self.client))
    }
}

/// A refusal that passes, with what the client heard of the brokers meanwhile.
fn with_trouble(refusal: Refusal, client: &AskingClient) -> Refusal {
    match trouble_of(client) {
        Some(reason) if refusal.kind == RefusalKind::Passing => Refusal { reason, ..refusal },
        _ => refusal,
    }
}

fn by_partition<T>(told: Told, value: impl FnOnce(Told) -> T) -> (TopicPartition, Result<T, Refusal>) {
    let partition = told.partition.clone();
    match told.refused.clone() {
        Some(refusal) => (partition, Err(refusal)),
        None => (partition, Ok(value(told))),
    }
}

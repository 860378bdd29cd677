//! Owns what a cluster keeps for a consumer group, for many partitions at a time.
//!
//! Nobody here is ever a member of a group: commits are those of Kafka's "simple" consumers, which a group accepts as
//! long as it has no members.

use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::types::RDKafkaErrorCode;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::admin::{Admin, Told};
use crate::cluster::{AskingClient, trouble_of};
use crate::{Cluster, Refusal, RefusalKind, TopicPartition};

/// How long an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a thread waits for a coordinator: the longest that librdkafka allows. See [`crate::unanswered`].
const COORDINATOR_PATIENCE: Duration = Duration::from_hours(1);

pub(crate) type Answer = Result<Vec<Told>, Refusal>;

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
pub(crate) fn with_trouble(refusal: Refusal, client: &AskingClient) -> Refusal {
    match trouble_of(client) {
        Some(reason) if refusal.kind == RefusalKind::Passing => Refusal { reason, ..refusal },
        _ => refusal,
    }
}

pub(crate) fn by_partition<T>(
    told: Told,
    value: impl FnOnce(Told) -> T,
) -> (TopicPartition, Result<T, Refusal>) {
    let partition = told.partition.clone();
    match told.refused.clone() {
        Some(refusal) => (partition, Err(refusal)),
        None => (partition, Ok(value(told))),
    }
}

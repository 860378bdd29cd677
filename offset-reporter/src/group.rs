//! Owns the seam to Kafka: what a group has, what it is given, and where partitions begin and end.

use std::future::Future;

use kafka_admin::{
    Admin, ByPartition, Committed, GroupId, LogEnd, Offset, Refusal, RefusalKind, TopicPartition,
};

use crate::gathering::Gathering;

/// The groups and logs of a cluster.
pub trait Groups: Send + Sync + 'static {
    /// Where partitions begin or end, or why that is not known: of each by itself.
    fn log_offsets(
        &self,
        partitions: &[TopicPartition],
        end: LogEnd,
    ) -> impl Future<Output = ByPartition<Offset>> + Send;
    /// What a group has committed: in these partitions, or in all.
    fn committed(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> impl Future<Output = Result<ByPartition<Committed>, Refusal>> + Send;
    /// Commits, with `metadata` beside each offset.
    fn commit(
        &self,
        group: &str,
        offsets: &[(TopicPartition, i64)],
        metadata: &str,
    ) -> impl Future<Output = Result<ByPartition<()>, Refusal>> + Send;
    /// Forgets what a group has committed in these partitions.
    fn forget(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<ByPartition<()>, Refusal>> + Send;
}

/// A cluster of Kafka.
pub struct Cluster {
    admin: Admin,
    gathering: Gathering,
}

impl Cluster {
    /// The cluster that this client asks.
    pub fn new(admin: Admin) -> Self {
        Self {
            admin,
            gathering: Gathering::default(),
        }
    }

    /// The client.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }
}

impl Groups for Cluster {
    async fn log_offsets(&self, partitions: &[TopicPartition], end: LogEnd) -> ByPartition<Offset> {
        self.gathering.list_offsets(&self.admin, partitions, end).await
    }

    async fn committed(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<ByPartition<Committed>, Refusal> {
        let group = GroupId::from(group);
        match partitions {
            Some(partitions) => self.admin.committed_in(&group, partitions).await,
            None => self.admin.committed_in_all(&group).await,
        }
    }

    async fn commit(
        &self,
        group: &str,
        offsets: &[(TopicPartition, i64)],
        metadata: &str,
    ) -> Result<ByPartition<()>, Refusal> {
        let offsets: Result<Vec<_>, _> = offsets.iter().map(checked).collect();
        let group = GroupId::from(group);
        self.admin.commit(&group, &offsets?, metadata).await
    }

    async fn forget(&self, group: &str, partitions: &[TopicPartition]) -> Result<ByPartition<()>, Refusal> {
        let group = GroupId::from(group);
        self.admin.delete_committed(&group, partitions).await
    }
}

/// Kafka takes a negative offset for one that is to be forgotten.
fn checked((partition, offset): &(TopicPartition, i64)) -> Result<(TopicPartition, Offset), Refusal> {
    let negative = || Refusal {
        kind: RefusalKind::Permanent,
        code: "INVALID_COMMIT_OFFSET".to_owned(),
        reason: format!("the offset {offset} of {partition} is negative"),
    };
    Ok((partition.clone(), Offset::new(*offset).ok_or_else(negative)?))
}

//! Owns the seam to Kafka: what a group has, what it is given, and where partitions begin and end.

use std::future::Future;

use kafka_io::{ByPartition, Cluster, Committed, Refusal, TopicPartition};

/// An end of a partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Its first record that is still there.
    Beginning,
    /// Its next record.
    End,
}

/// The groups and logs of a cluster.
pub trait Groups: Send + Sync + 'static {
    /// Where partitions begin or end, or why that is not known: of each by itself.
    fn log_offsets(
        &self,
        partitions: &[TopicPartition],
        edge: Edge,
    ) -> impl Future<Output = ByPartition<i64>> + Send;
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

impl Groups for Cluster {
    async fn log_offsets(&self, partitions: &[TopicPartition], edge: Edge) -> ByPartition<i64> {
        match edge {
            Edge::Beginning => self.beginnings(partitions).await,
            Edge::End => self.ends(partitions).await,
        }
    }

    async fn committed(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<ByPartition<Committed>, Refusal> {
        Cluster::committed(self, group, partitions).await
    }

    async fn commit(
        &self,
        group: &str,
        offsets: &[(TopicPartition, i64)],
        metadata: &str,
    ) -> Result<ByPartition<()>, Refusal> {
        Cluster::commit(self, group, offsets, metadata).await
    }

    async fn forget(&self, group: &str, partitions: &[TopicPartition]) -> Result<ByPartition<()>, Refusal> {
        self.delete_committed(group, partitions).await
    }
}

//! Owns the seam in: where records come from. The real one is Kafka; the loop's tests have their own.

use std::future::Future;

use kafka_io::{Consumer, Partition, Start};

/// Where records come from. They come as [`kafka_io::Event`]s on a channel.
pub trait Source: Send + 'static {
    /// Begins to read more partitions.
    ///
    /// # Errors
    /// Where they cannot be read.
    fn add(&self, partitions: &[(Partition, Start)]) -> anyhow::Result<()>;
    /// Stops reading these partitions for a while, or reads them again.
    ///
    /// # Errors
    /// Where that cannot be done.
    fn pause(&self, partitions: &[Partition], paused: bool) -> anyhow::Result<()>;
    /// Commits the next record to process of partitions for the consumer group.
    fn commit(
        &self,
        positions: &[(Partition, i64)],
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static;
    /// Ends reading.
    fn close(self) -> impl Future<Output = ()> + Send;
}

impl Source for Consumer {
    fn add(&self, partitions: &[(Partition, Start)]) -> anyhow::Result<()> {
        Ok(Self::add(self, partitions)?)
    }

    fn pause(&self, partitions: &[Partition], paused: bool) -> anyhow::Result<()> {
        let _: () = if paused {
            Self::pause(self, partitions)?;
        } else {
            self.resume(partitions)?;
        };
        Ok(())
    }

    fn commit(
        &self,
        positions: &[(Partition, i64)],
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        let commit = Self::commit(self, positions);
        async { Ok(commit.await?) }
    }

    fn close(self) -> impl Future<Output = ()> + Send {
        Self::close(self)
    }
}

//! Owns the order in which a checkpoint is written.
//!
//! Each batch states what is done: first `offsets/N`, which of two writers only one can make, then `commits/N`, which is
//! the same from every writer. What a kill leaves between the two is true, and the next start commits it.

use std::sync::Arc;

use crate::checkpoint::{CheckpointError, RETAINED_BATCHES, unusable};
use crate::log::{
    BatchId, COMMIT, COMMITS, LogError, METADATA, OFFSETS, OffsetLog, QueryMetadata, batch_ids,
    parse_query_id, render,
};
use crate::purge::Purge;
use crate::{Put, StoredFile, TopicOffsets, WritableStore};

/// The most batches that one call writes: one of a call before that failed half way, and its own.
const MAX_BATCHES: usize = 2;

/// Writes a checkpoint that was taken over.
#[derive(Debug)]
pub struct CheckpointWriter<S> {
    store: Arc<S>,
    /// Tells the files of this writer from those of any other.
    id: String,
    last: Option<BatchId>,
    /// What `last` records.
    recorded: TopicOffsets,
    /// Positions that may fall: see [`Self::reset`].
    resets: TopicOffsets,
    /// The batch that comes next, and the content of its file, if it was planned and is to be replaced.
    planned: Option<(BatchId, Vec<u8>)>,
    purge: Purge,
}

impl<S: WritableStore + 'static> CheckpointWriter<S> {
    pub(crate) fn new(
        store: S,
        last: Option<BatchId>,
        recorded: TopicOffsets,
        planned: Option<(BatchId, Vec<u8>)>,
    ) -> Self {
        Self {
            store: Arc::new(store),
            id: uuid::Uuid::new_v4().to_string(),
            last,
            recorded,
            resets: TopicOffsets::default(),
            planned,
            purge: Purge::default(),
        }
    }

    /// The newest batch that is committed.
    pub fn last_batch(&self) -> Option<BatchId> {
        self.last
    }

    /// Everything below is recorded as done.
    pub fn recorded(&self) -> &TopicOffsets {
        &self.recorded
    }

    /// The log of a partition began again, so what is recorded of it is of no record any more. The next commit records
    /// this position, or a higher one.
    pub fn reset(&mut self, topic: &str, partition: i32, position: i64) {
        self.resets.set(topic, partition, position);
    }

    /// Records that everything below `positions` is done. Partitions that are not named stay as they are. Nothing is
    /// written if nothing moved.
    ///
    /// It can be called again after a failure, with these positions or newer ones. A new checkpoint's first positions are
    /// recorded by it too, before anything is read: without them a restart would not know where it began.
    ///
    /// # Errors
    /// If the store fails, a position would fall, or another writer has won: see [`CheckpointError`].
    pub async fn commit(
        &mut self,
        positions: &TopicOffsets,
        timestamp_ms: i64,
    ) -> Result<BatchId, CheckpointError> {
        for _ in 0..=MAX_BATCHES {
            // A batch of a call before may have recorded more.
            let positions = self.next_positions(positions)?;
            if positions.is_empty() {
                return Err(CheckpointError::NoPositions);
            }
            if let Some(last) = self.last.filter(|_| self.recorded == positions) {
                self.resets = TopicOffsets::default();
                return Ok(last);
            }
            self.write_batch(&positions, timestamp_ms).await?;
        }
        Err(contested(&self.next_batch().key(OFFSETS)))
    }

    /// The positions with those of all other partitions.
    fn next_positions(&self, positions: &TopicOffsets) -> Result<TopicOffsets, CheckpointError> {
        let mut next = positions.clone();
        next.carry_over(&self.resets);
        for (topic, partition, position) in next.iter() {
            let floor = self.resets.get(topic, partition);
            match floor.or_else(|| self.recorded.get(topic, partition)) {
                Some(recorded) if position < recorded => {
                    let topic = topic.to_owned();
                    return Err(CheckpointError::Fallen {
                        topic,
                        partition,
                        position,
                        recorded,
                    });
                }
                _ => {}
            }
        }
        next.carry_over(&self.recorded);
        Ok(next)
    }

    fn next_batch(&self) -> BatchId {
        let planned = self.planned.as_ref().map(|(batch, _)| *batch);
        planned.unwrap_or_else(|| self.last.map_or(BatchId(0), BatchId::next))
    }

    /// Writes the next batch; where a call before has written its positions, those, and else these.
    async fn write_batch(
        &mut self,
        positions: &TopicOffsets,
        timestamp_ms: i64,
    ) -> Result<(), CheckpointError> {
        let batch = self.next_batch();
        let key = batch.key(OFFSETS);
        self.find_predecessor().await?;
        let content = render(positions, timestamp_ms, &self.id)
            .map_err(|error| unusable(&key, LogError::Damaged(error.to_string())))?;
        let planned = self.planned.as_ref().map(|(_, content)| content.as_slice());
        let written = match self.store.put_if(&key, planned, &content).await? {
            Put::Done => positions.clone(),
            Put::Unexpected(there) => self.own(there).ok_or_else(|| contested(&key))?,
        };
        self.write_commit(batch).await?;
        (self.last, self.recorded, self.planned) = (Some(batch), written, None);
        self.purge.add(BatchId(batch.0 - RETAINED_BATCHES - 1));
        self.purge.advance(&self.store);
        Ok(())
    }

    /// The batch before must be there. If another writer is more than all kept batches ahead, it has deleted that one, and
    /// the next one too, which would then look free.
    async fn find_predecessor(&self) -> Result<(), CheckpointError> {
        let stranger = if let Some(last) = self.last {
            let key = last.key(COMMITS);
            self.store.read(&key).await?.is_none().then_some(key)
        } else {
            let listing = self.store.list_part(COMMITS).await?;
            let ids = batch_ids(listing.names.iter().map(String::as_str));
            let stranger = ids.last().filter(|batch| **batch > self.next_batch());
            stranger.map(|batch| batch.key(COMMITS))
        };
        stranger.map_or(Ok(()), |key| Err(contested(&key)))
    }

    /// The positions of a file, if this writer has written it: a call before failed after the write, or its answer was
    /// lost.
    fn own(&self, file: Option<StoredFile>) -> Option<TopicOffsets> {
        let log = OffsetLog::parse(&file?.content).ok()?;
        (log.acknowledged_by.as_ref() == Some(&self.id)).then(|| log.offsets())
    }

    /// Commits the newest batch, which another run left without its commit.
    pub(crate) async fn write_last_commit(&self) -> Result<(), CheckpointError> {
        match self.last {
            Some(last) => self.write_commit(last).await,
            None => Ok(()),
        }
    }

    async fn write_commit(&self, batch: BatchId) -> Result<(), CheckpointError> {
        // What is there already says the same.
        drop(self.store.put_if(&batch.key(COMMITS), None, COMMIT).await?);
        Ok(())
    }

    /// Writes `metadata`, in place of a torn one where `torn` is its content.
    pub(crate) async fn write_metadata(&self, torn: Option<&[u8]>) -> Result<(), CheckpointError> {
        let damaged = |error: serde_json::Error| unusable(METADATA, LogError::Damaged(error.to_string()));
        let metadata = QueryMetadata {
            id: uuid::Uuid::new_v4().to_string(),
        };
        let content = serde_json::to_vec(&metadata).map_err(damaged)?;
        match self.store.put_if(METADATA, torn, &content).await? {
            Put::Unexpected(Some(file)) => {
                let id = parse_query_id(&file.content);
                id.map(drop).map_err(|source| unusable(METADATA, source))
            }
            Put::Done | Put::Unexpected(None) => Ok(()),
        }
    }

    /// Lets old batches be deleted after the next commits; none, if not all are known.
    pub(crate) fn purge_later(&mut self, old: Option<Vec<BatchId>>) {
        match old {
            Some(old) => old.into_iter().for_each(|batch| self.purge.add(batch)),
            None => self.purge.turn_off(),
        }
    }
}

fn contested(key: &str) -> CheckpointError {
    CheckpointError::Contested { key: key.to_owned() }
}

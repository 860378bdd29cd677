//! Owns the order in which a checkpoint is written, and where a writer takes it up again.
//!
//! A batch is planned, processed, committed; only then comes the next. What stands in `commits` was processed, however
//! the writer ended.

use crate::log::{
    BatchId, COMMIT, COMMITS, LogError, METADATA, OFFSETS, OffsetLog, QueryMetadata, batch_ids,
    parse_initial, parse_query_id, render_initial,
};
use crate::{Store, StoreError, TopicOffsets};

/// How many batches are kept behind the newest, as Spark does (`spark.sql.streaming.minBatchesToRetain`).
pub const RETAINED_BATCHES: i64 = 100;

/// Where the only source of a query keeps its first positions.
const INITIAL: &str = "sources/0/0";

/// Why a checkpoint cannot be written or taken up.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store failed; trying again may help.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file is not what it should be, and nothing older can stand in for it.
    #[error("{key}: {what}")]
    Damaged {
        /// The file.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// The file was there already, and says something else.
    #[error("{key} was written by somebody else; two writers share this checkpoint")]
    Contested {
        /// The file.
        key: String,
    },
}

/// Where a writer takes up a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// What has been processed: the end of the newest batch that is planned and committed. Without one, the positions
    /// at which the checkpoint began.
    pub processed: TopicOffsets,
    /// The end of the batch that was planned and not committed: it must be processed first, up to this very end.
    pub planned: Option<TopicOffsets>,
}

/// Writes a checkpoint.
pub struct CheckpointWriter<S> {
    store: S,
    next: BatchId,
    planned: bool,
}

impl<S: Store> CheckpointWriter<S> {
    /// Takes up the checkpoint in `store`, or begins one.
    ///
    /// # Errors
    /// Where the store fails, or batches are committed of which not one can be read.
    pub async fn open(store: S) -> Result<(Self, Resume), CheckpointError> {
        ensure_metadata(&store).await?;
        let commits = list(&store, COMMITS).await?;
        let offsets = list(&store, OFFSETS).await?;
        let processed = match newest_processed(&store, &commits).await? {
            Some(processed) => processed,
            None => initial(&store).await?,
        };

        let last_commit = commits.last().copied();
        let after = last_commit.map_or(BatchId(0), BatchId::next);
        let open = offsets.last().copied().filter(|&id| id >= after);
        let planned = match open {
            Some(id) => read_offsets(&store, id).await?.ok(),
            None => None,
        };
        if let (Some(id), None) = (open, &planned) {
            // It was never committed, so nothing depends on it.
            tracing::warn!(batch = id.0, "removing an unreadable plan");
            store.delete(&id.key(OFFSETS)).await?;
        }
        let writer = Self {
            store,
            next: open.unwrap_or(after),
            planned: planned.is_some(),
        };
        writer.purge(&commits, &offsets).await?;
        Ok((writer, Resume { processed, planned }))
    }

    /// Writes down at which positions a new checkpoint begins. Without them a first batch that is planned and not
    /// committed could not be processed again from its beginning.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn begin(&self, positions: &TopicOffsets) -> Result<(), CheckpointError> {
        let content = render_initial(positions).map_err(|error| damaged(INITIAL, &error))?;
        Ok(self.store.write(INITIAL, &content).await?)
    }

    /// The batch that is planned, or will be next.
    pub fn batch(&self) -> BatchId {
        self.next
    }

    /// Plans the next batch: it ends at `ends`, which must hold every partition that was ever processed. Planning it
    /// again, after a failure, with the same ends is no error.
    ///
    /// # Errors
    /// Where the store fails, or another writer has planned it.
    pub async fn plan(&mut self, ends: &TopicOffsets, timestamp_ms: i64) -> Result<(), CheckpointError> {
        let key = self.next.key(OFFSETS);
        if let Some(there) = self.store.read(&key).await? {
            let same = OffsetLog::parse(&there.content).is_ok_and(|log| log.offsets() == *ends);
            if !same {
                return Err(CheckpointError::Contested { key });
            }
        } else {
            let log = OffsetLog::of_one_source(Some(timestamp_ms), ends.clone());
            let content = log.render().map_err(|error| damaged(&key, &error))?;
            self.store.write(&key, &content).await?;
        }
        self.planned = true;
        Ok(())
    }

    /// Commits the planned batch: it has been processed.
    ///
    /// # Errors
    /// Where the store fails; the batch is then still planned, and can be committed again.
    pub async fn commit(&mut self) -> Result<BatchId, CheckpointError> {
        let batch = self.next;
        if !self.planned {
            return Err(CheckpointError::Damaged {
                key: batch.key(OFFSETS),
                what: "it was not planned".to_owned(),
            });
        }
        self.store.write(&batch.key(COMMITS), COMMIT).await?;
        self.planned = false;
        self.next = batch.next();
        let old = BatchId(batch.0 - RETAINED_BATCHES - 1);
        if old.0 >= 0 {
            self.forget(old).await;
        }
        Ok(batch)
    }

    /// Deletes what is older than the retention.
    async fn purge(&self, commits: &[BatchId], offsets: &[BatchId]) -> Result<(), CheckpointError> {
        let oldest = self.next.0 - 1 - RETAINED_BATCHES;
        for old in commits.iter().chain(offsets).filter(|id| id.0 < oldest) {
            self.forget(*old).await;
        }
        Ok(())
    }

    /// Deletes an old batch. It is in nobody's way, so a failure is only told.
    async fn forget(&self, old: BatchId) {
        for folder in [OFFSETS, COMMITS] {
            if let Err(error) = self.store.delete(&old.key(folder)).await {
                tracing::warn!(batch = old.0, %error, "an old batch was not deleted");
            }
        }
    }
}

async fn ensure_metadata(store: &impl Store) -> Result<(), CheckpointError> {
    if let Some(file) = store.read(METADATA).await? {
        parse_query_id(&file.content).map_err(|error| damaged(METADATA, &error))?;
    } else {
        let metadata = QueryMetadata {
            id: uuid::Uuid::new_v4().to_string(),
        };
        let content = serde_json::to_vec(&metadata).map_err(|error| damaged(METADATA, &error))?;
        store.write(METADATA, &content).await?;
    }
    Ok(())
}

async fn list(store: &impl Store, folder: &str) -> Result<Vec<BatchId>, CheckpointError> {
    Ok(batch_ids(store.list(folder).await?.iter().map(String::as_str)))
}

/// The end of the newest committed batch whose plan can be read. An older one only means that more is processed again.
async fn newest_processed(
    store: &impl Store,
    commits: &[BatchId],
) -> Result<Option<TopicOffsets>, CheckpointError> {
    let mut failure = None;
    for &id in commits.iter().rev() {
        match read_offsets(store, id).await? {
            Ok(offsets) => return Ok(Some(offsets)),
            Err(error) => {
                tracing::warn!(batch = id.0, %error, "a committed batch has no readable plan; falling back");
                failure.get_or_insert(CheckpointError::Damaged {
                    key: id.key(OFFSETS),
                    what: error.to_string(),
                });
            }
        }
    }
    failure.map_or(Ok(None), Err)
}

async fn initial(store: &impl Store) -> Result<TopicOffsets, CheckpointError> {
    let Some(file) = store.read(INITIAL).await? else {
        return Ok(TopicOffsets::default());
    };
    parse_initial(&file.content).map_err(|error| CheckpointError::Damaged {
        key: INITIAL.to_owned(),
        what: error.to_string(),
    })
}

async fn read_offsets(
    store: &impl Store,
    id: BatchId,
) -> Result<Result<TopicOffsets, LogError>, CheckpointError> {
    let Some(file) = store.read(&id.key(OFFSETS)).await? else {
        return Ok(Err(LogError::Damaged("it is missing".to_owned())));
    };
    Ok(OffsetLog::parse(&file.content).and_then(|log| {
        let offsets = log.offsets();
        if offsets.is_empty() {
            return Err(LogError::Damaged("it has no Kafka source".to_owned()));
        }
        Ok(offsets)
    }))
}

fn damaged(key: &str, error: &impl std::fmt::Display) -> CheckpointError {
    CheckpointError::Damaged {
        key: key.to_owned(),
        what: error.to_string(),
    }
}

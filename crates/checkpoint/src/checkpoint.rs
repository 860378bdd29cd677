//! Owns what a checkpoint says when a worker starts: how far everything is done, and which batch comes next.
//!
//! Nothing is written before [`Checkpoint::take_over`]: until its caller has compared the positions with its own topics,
//! the checkpoint may be anybody's.

use crate::log::{
    BatchId, COMMITS, LogError, METADATA, OFFSETS, OffsetLog, batch_ids, initial_key, parse_initial,
    parse_query_id,
};
use crate::writer::CheckpointWriter;
use crate::{Store, StoreError, TopicOffsets, WritableStore};

/// How many batches are kept behind the newest, as Spark does (`spark.sql.streaming.minBatchesToRetain`).
pub const RETAINED_BATCHES: i64 = 100;
/// How often the width of a search for the newest batch is doubled, at the most.
const MAX_DOUBLINGS: u32 = 40;

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store failed; trying again may help.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file is not what it should be, and nothing older can stand in for it.
    #[error("{key} cannot be used")]
    Unusable {
        /// The file.
        key: String,
        /// What is wrong with it.
        source: LogError,
    },
    /// The checkpoint is not of one Kafka source.
    #[error(
        "{key}: the query has {kafka} Kafka sources and {other} of other kinds; a worker's checkpoint has one Kafka source"
    )]
    ForeignSources {
        /// The file.
        key: String,
        /// How many Kafka sources the query has.
        kafka: usize,
        /// How many others.
        other: usize,
    },
    /// Another writer has written, or deleted, a file that is this one's.
    #[error("{key} was written by another writer; give each worker a checkpoint of its own")]
    Contested {
        /// The file.
        key: String,
    },
    /// A position would fall below what is recorded as done.
    #[error(
        "topic {topic}, partition {partition}: position {position} is below {recorded}, which is recorded as done"
    )]
    Fallen {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What should be recorded.
        position: i64,
        /// What is.
        recorded: i64,
    },
    /// There is nothing to record: no position is given, and none is recorded.
    #[error("no position is given for the first batch")]
    NoPositions,
}

/// A checkpoint as it stands. Making and holding it reads only.
#[derive(Debug)]
pub struct Checkpoint<S> {
    store: S,
    metadata: Metadata,
    positions: TopicOffsets,
    /// The newest batch that is done.
    last: Option<BatchId>,
    orphan: Orphan,
    /// Batches that should have been deleted; `None` if there are more than can be listed.
    old: Option<Vec<BatchId>>,
}

/// The file `metadata`.
#[derive(Debug)]
enum Metadata {
    Absent,
    Good,
    /// Damaged, in a checkpoint that has nothing else: a start was killed where a file cannot be written whole. Its content.
    Torn(Vec<u8>),
}

/// The newest file in `offsets`, if it has no commit.
#[derive(Debug)]
enum Orphan {
    None,
    /// It states what is done. Its writer ended before the commit.
    Acknowledged,
    /// It states what was to be done, or is damaged: it does not count. Its content, and what it states.
    Planned(BatchId, Vec<u8>, TopicOffsets),
}

/// The batches of a folder.
struct Batches {
    ids: Vec<BatchId>,
    /// Whether `ids` are all; else the newest is found by asking for one after the other.
    is_complete: bool,
    newest: Option<BatchId>,
}

impl<S: Store> Checkpoint<S> {
    /// Reads the checkpoint in `store`.
    ///
    /// # Errors
    /// If the store fails, or what it has cannot be taken up.
    pub async fn read(store: S) -> Result<Self, CheckpointError> {
        let metadata = store.read(METADATA).await?;
        let commits = Batches::list(&store, COMMITS, None).await?;
        let offsets = Batches::list(&store, OFFSETS, commits.newest).await?;
        let positions = match newest_positions(&store, &commits).await? {
            Some(positions) => positions,
            None => initial(&store).await?,
        };
        let mut checkpoint = Self {
            store,
            metadata: Metadata::Absent,
            positions,
            last: commits.newest,
            orphan: Orphan::None,
            old: None,
        };
        if let Some(open) = offsets.newest.filter(|&open| Some(open) > commits.newest) {
            checkpoint.look_at_orphan(open).await?;
        }
        if let Some(file) = metadata {
            checkpoint.metadata = match parse_query_id(&file.content) {
                Ok(_id) => Metadata::Good,
                Err(_torn) if checkpoint.is_new() => Metadata::Torn(file.content),
                Err(source) => return Err(unusable(METADATA, source)),
            };
        }
        checkpoint.old = checkpoint.old_batches(&[commits, offsets]);
        Ok(checkpoint)
    }

    /// Everything below is done. Partitions without a position were never recorded.
    ///
    /// These are the newest committed positions, or those of a batch that states what is done and lacks only its commit,
    /// or, in a checkpoint without a committed batch, those at which it began. A batch that was planned by Spark, or by a
    /// worker of an older version, does not count.
    pub fn positions(&self) -> &TopicOffsets {
        &self.positions
    }

    /// What a batch states that was planned and does not count: to find out whose checkpoint it is.
    pub fn planned_positions(&self) -> Option<&TopicOffsets> {
        match &self.orphan {
            Orphan::Planned(_, _, positions) => Some(positions),
            Orphan::None | Orphan::Acknowledged => None,
        }
    }

    /// Whether nothing is recorded. A lone `metadata` is what a start leaves that was cut short.
    pub fn is_new(&self) -> bool {
        self.last.is_none() && matches!(self.orphan, Orphan::None) && self.positions.is_empty()
    }

    /// The newest batch that is done.
    pub fn last_batch(&self) -> Option<BatchId> {
        self.last
    }

    async fn look_at_orphan(&mut self, open: BatchId) -> Result<(), CheckpointError> {
        let key = open.key(OFFSETS);
        let Some(file) = self.store.read(&key).await? else {
            return Ok(());
        };
        match one_source(&key, &file.content)? {
            Ok(log) if log.acknowledged_by.is_some() => {
                self.positions = log.offsets();
                self.last = Some(open);
                self.orphan = Orphan::Acknowledged;
            }
            Ok(log) => self.orphan = Orphan::Planned(open, file.content, log.offsets()),
            // Nothing says whose it is.
            Err(source) if self.last.is_none() && self.positions.is_empty() => {
                return Err(unusable(&key, source));
            }
            Err(error) => {
                tracing::warn!(key, %error, "a batch that was not committed is damaged and does not count");
                self.orphan = Orphan::Planned(open, file.content, TopicOffsets::default());
            }
        }
        Ok(())
    }

    /// Those that retention should have deleted. Of more batches than can be listed none is deleted: a search relies on
    /// their having no gaps.
    fn old_batches(&self, folders: &[Batches]) -> Option<Vec<BatchId>> {
        let complete = folders.iter().filter(|folder| folder.is_complete);
        if complete.count() < folders.len() {
            tracing::warn!(
                "the checkpoint has more batches than can be listed; let its writer delete objects, and delete the old ones"
            );
            return None;
        }
        let oldest = self.last.map_or(0, |last| last.0 - RETAINED_BATCHES);
        let mut old: Vec<BatchId> = folders.iter().flat_map(|folder| folder.ids.clone()).collect();
        old.retain(|batch| batch.0 < oldest);
        old.sort_unstable();
        old.dedup();
        Some(old)
    }
}

impl<S: WritableStore + 'static> Checkpoint<S> {
    /// Takes the checkpoint over: writes what is missing of the start or of the last batch. The caller has checked that
    /// it is its own. A planned batch is replaced by the first [`CheckpointWriter::commit`].
    ///
    /// # Errors
    /// If the store fails.
    pub async fn take_over(self) -> Result<CheckpointWriter<S>, CheckpointError> {
        let planned = match &self.orphan {
            Orphan::Planned(batch, content, _) => Some((*batch, content.clone())),
            Orphan::None | Orphan::Acknowledged => None,
        };
        let mut writer = CheckpointWriter::new(self.store, self.last, self.positions, planned);
        match &self.metadata {
            Metadata::Absent => writer.write_metadata(None).await?,
            Metadata::Torn(torn) => writer.write_metadata(Some(torn)).await?,
            Metadata::Good => {}
        }
        if matches!(self.orphan, Orphan::Acknowledged) {
            writer.write_last_commit().await?;
        }
        writer.purge_later(self.old);
        Ok(writer)
    }
}

impl Batches {
    /// Lists a folder. The newest is at least `known`, if the listing is cut.
    async fn list(store: &impl Store, folder: &str, known: Option<BatchId>) -> Result<Self, StoreError> {
        let listing = store.list_part(folder).await?;
        let ids = batch_ids(listing.names.iter().map(String::as_str));
        let listed = ids.last().copied();
        let newest = match listed.max(known) {
            Some(from) if !listing.is_complete => Some(search(store, folder, from).await?),
            _ => listed,
        };
        Ok(Self {
            ids,
            is_complete: listing.is_complete,
            newest,
        })
    }

    /// The newest, then those before it, as many as are kept.
    fn newest_first(&self) -> impl Iterator<Item = BatchId> {
        let searched = self.newest.filter(|_| !self.is_complete);
        let before = searched
            .into_iter()
            .flat_map(|newest| (0..=newest.0).rev().map(BatchId));
        let listed = self.ids.iter().rev().copied().filter(|_| self.is_complete);
        let kept = usize::try_from(RETAINED_BATCHES).unwrap_or(usize::MAX);
        before.chain(listed).take(kept)
    }
}

/// The newest batch of a folder with more files than can be listed, because nobody deletes: they have no gaps behind
/// `from`. Each step is a request, and their number grows with the logarithm of that of the batches.
async fn search(store: &impl Store, folder: &str, from: BatchId) -> Result<BatchId, StoreError> {
    let (mut newest, mut step, mut doublings) = (from, 1_i64, 0);
    let mut is_doubling = true;
    while step > 0 {
        let probed = BatchId(newest.0.saturating_add(step));
        if store.read(&probed.key(folder)).await?.is_some() {
            newest = probed;
        } else {
            is_doubling = false;
        }
        is_doubling &= doublings < MAX_DOUBLINGS;
        doublings += u32::from(is_doubling);
        step = if is_doubling { step * 2 } else { step / 2 };
    }
    Ok(newest)
}

/// The end of the newest committed batch that can be read. An older one means that more is processed again; but if the log
/// began again between the two, its position is of a record of before.
async fn newest_positions(
    store: &impl Store,
    commits: &Batches,
) -> Result<Option<TopicOffsets>, CheckpointError> {
    let mut failure = None;
    for batch in commits.newest_first() {
        let key = batch.key(OFFSETS);
        let log = match store.read(&key).await? {
            Some(file) => one_source(&key, &file.content)?,
            None => Err(LogError::Damaged("it is missing".to_owned())),
        };
        match log {
            Ok(log) => return Ok(Some(log.offsets())),
            Err(source) => {
                tracing::warn!(key, error = %source, "the positions of a committed batch cannot be read; the batch before counts");
                failure.get_or_insert(unusable(&key, source));
            }
        }
    }
    failure.map_or(Ok(None), Err)
}

async fn initial(store: &impl Store) -> Result<TopicOffsets, CheckpointError> {
    let key = initial_key("0");
    match store.read(&key).await? {
        None => Ok(TopicOffsets::default()),
        Some(file) => parse_initial(&file.content).map_err(|source| unusable(&key, source)),
    }
}

/// The offset log of one Kafka source; inside an error if it is damaged. A version that is not known, and other sources,
/// are an error of the whole: whoever wrote them goes on, and no older batch can stand in.
fn one_source(key: &str, content: &[u8]) -> Result<Result<OffsetLog, LogError>, CheckpointError> {
    let log = match OffsetLog::parse(content) {
        Ok(log) => log,
        Err(source @ LogError::Version(_)) => return Err(unusable(key, source)),
        Err(error) => return Ok(Err(error)),
    };
    let (kafka, other) = (log.sources.len(), log.other_sources);
    if (kafka, other) != (1, 0) {
        let key = key.to_owned();
        return Err(CheckpointError::ForeignSources { key, kafka, other });
    }
    if !log.illegal_topics.is_empty() {
        tracing::warn!(
            key,
            topics = log.illegal_topics.join(", "),
            "positions of topics with illegal names are skipped"
        );
    }
    if log.offsets().is_empty() {
        return Ok(Err(LogError::Damaged("it has no position".to_owned())));
    }
    Ok(Ok(log))
}

pub(crate) fn unusable(key: &str, source: LogError) -> CheckpointError {
    CheckpointError::Unusable {
        key: key.to_owned(),
        source,
    }
}

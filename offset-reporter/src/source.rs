//! Owns following a checkpoint: which batch is the newest that is committed, and where it ended, for few requests.
//!
//! A probe costs a twelfth of a listing, so that is what a look mostly is: for the plan of the batch after the newest known,
//! which is written before its commit, and only behind that for commits. A listing is made where a probe cannot tell: at the
//! start, when nothing was found for `list_interval` (the batch may have been purged, or the checkpoint have begun again),
//! when numbers have gaps (asynchronous progress tracking), and when files that were listed are not there.
//!
//! An offsets file without its commit is never used: that batch was planned, not processed.

mod error;
mod look;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use checkpoint::{
    BatchId, COMMITS, LogError, METADATA, OFFSETS, OffsetLog, Store, StoreError, StoreErrorKind, StoredFile,
    TopicOffsets, batch_ids, initial_key, parse_initial, parse_query_id,
};
use tokio::time::Instant;

pub use self::error::SourceError;
pub use self::look::{Activity, Look, Seen};

/// How often files that were listed may be missing or damaged before an older batch stands in.
const LISTINGS: usize = 3;
/// The widest step of a probe, in batches.
const WIDEST_STEP: i64 = 64;
/// How many probes find the newest batch before a listing does.
const PROBES: usize = 16;
/// How many of the newest batches are looked through for one whose positions can be read.
const FALLBACKS: usize = 10;

/// How many sources of a query are looked for before its first batch.
const INITIAL_SOURCES: usize = 4;
/// A file by which whoever runs a query says that it has ended for good. A batch that is committed later contradicts it.
const ENDED: &str = "ended";
/// What comes before the first batch: the next one is batch 0.
pub const BEFORE_FIRST: BatchId = BatchId(-1);

/// A checkpoint that is followed.
#[derive(Debug)]
pub struct Source<S> {
    store: S,
    list_interval: Duration,
    query: String,
    newest: Option<BatchId>,
    /// Numbers have gaps, or a probe is not allowed: only listings tell.
    only_lists: bool,
    /// When a listing, or a probe that found something, told last; `None` if the next look must list.
    told_at: Option<Instant>,
    /// When the query's id was looked at last.
    query_at: Option<Instant>,
    activity: Activity,
    /// Whether there was a query or a batch before.
    was_there: bool,
}

impl<S: Store> Source<S> {
    /// The checkpoint in `store`.
    pub fn new(store: S, list_interval: Duration) -> Self {
        Self {
            store,
            list_interval,
            query: String::new(),
            newest: None,
            only_lists: false,
            told_at: None,
            query_at: None,
            activity: Activity::default(),
            was_there: false,
        }
    }

    /// What the query does, as far as its checkpoint shows.
    pub fn activity(&self) -> Activity {
        self.activity
    }

    /// Makes the next look list, and not probe.
    pub fn list_next(&mut self) {
        self.told_at = None;
    }

    /// Looks for a newer batch.
    ///
    /// # Errors
    /// Where the checkpoint cannot be read; the next look then begins with a listing.
    pub async fn look(&mut self) -> Result<Look, SourceError> {
        let look = self.try_look().await;
        if look.is_err() {
            self.list_next();
        }
        look
    }

    async fn try_look(&mut self) -> Result<Look, SourceError> {
        let Some(known) = self.newest.filter(|_| self.may_probe()) else {
            return self.list().await;
        };
        if !is_recent(self.query_at, self.list_interval) && self.read_query().await? {
            return self.list().await;
        }
        match self.probe(known).await {
            Ok(None) => Ok(Look::Unchanged),
            Ok(Some((newest, committed_at))) => {
                let Ok(log) = self.read_log(newest).await? else {
                    return self.list().await;
                };
                self.newest = Some(newest);
                self.told_at = Some(Instant::now());
                self.activity.ended = false;
                Ok(self.seen(newest, log, committed_at, false).into())
            }
            // Some roles get a refusal where a file is missing. If listing works, that is what it was.
            Err(error) if error.kind == StoreErrorKind::Denied => {
                let look = self.list().await;
                self.only_lists |= look.is_ok();
                look
            }
            Err(error) => Err(error.into()),
        }
    }

    fn may_probe(&self) -> bool {
        !self.only_lists && is_recent(self.told_at, self.list_interval)
    }

    /// The newest commit behind `known`, and whether a batch is planned behind that. A batch that is known to be planned is
    /// not looked for again before the next listing.
    async fn probe(&mut self, known: BatchId) -> Result<Option<(BatchId, Option<SystemTime>)>, StoreError> {
        let next = known.next();
        self.activity.open_batch = self.activity.open_batch || self.is_planned(next).await?;
        if !self.activity.open_batch {
            return Ok(None);
        }
        let Some(commit) = self.store.read(&next.key(COMMITS)).await? else {
            return Ok(None);
        };
        self.activity.open_batch = self.is_planned(next.next()).await?;
        if !self.activity.open_batch {
            return Ok(Some((next, commit.modified)));
        }
        let Some(further) = self.gallop(next).await? else {
            return Ok(Some((next, commit.modified)));
        };
        self.activity.open_batch = self.is_planned(further.0.next()).await?;
        Ok(Some(further))
    }

    /// A file that may be missing; none if it is refused, as some roles get it for a missing file.
    async fn probed(&self, key: &str) -> Result<Option<Option<StoredFile>>, StoreError> {
        match self.store.read(key).await {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind == StoreErrorKind::Denied => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn is_planned(&self, batch: BatchId) -> Result<bool, StoreError> {
        Ok(self.store.read(&batch.key(OFFSETS)).await?.is_some())
    }

    /// The newest commit behind `known`: 1, 2, 4, 8 … batches further as long as there is one, then by halves.
    async fn gallop(&self, known: BatchId) -> Result<Option<(BatchId, Option<SystemTime>)>, StoreError> {
        let (mut found, mut last) = (None, known);
        let (mut step, mut grows) = (1, true);
        for _ in 0..PROBES {
            let probed = BatchId(last.0.saturating_add(step));
            if let Some(commit) = self.store.read(&probed.key(COMMITS)).await? {
                last = probed;
                found = Some((probed, commit.modified));
            } else {
                grows = false;
            }
            step = if grows {
                (last.0 - known.0).min(WIDEST_STEP)
            } else {
                step / 2
            };
            if step == 0 {
                break;
            }
        }
        Ok(found)
    }

    /// Lists the commits. What was listed and is not there, or is not whole yet, is listed again; then an older batch
    /// stands in, until a later look.
    async fn list(&mut self) -> Result<Look, SourceError> {
        self.told_at = None;
        self.read_query().await?;
        for _ in 0..LISTINGS {
            let commits = self.batches(COMMITS).await?;
            let Some(&newest) = commits.last() else {
                return self.without_batch().await;
            };
            let commit = self.store.read(&newest.key(COMMITS)).await?;
            if let (Some(commit), Ok(log)) = (commit, self.read_log(newest).await?) {
                self.listed(&commits, newest, commit.modified).await?;
                return Ok(self.seen(newest, log, commit.modified, true).into());
            }
        }
        let commits = self.batches(COMMITS).await?;
        let Some(&newest) = commits.last() else {
            return self.without_batch().await;
        };
        let mut why = None;
        for &older in commits.iter().rev().take(FALLBACKS) {
            match self.read_log(older).await? {
                Ok(log) => {
                    let seen = self.seen(newest, log, None, true);
                    return Ok(Seen {
                        readable: older,
                        ..seen
                    }
                    .into());
                }
                Err(error) => why.get_or_insert((older, error)),
            };
        }
        let (batch, source) = why.unwrap_or((newest, missing()));
        Err(SourceError::Unusable {
            key: batch.key(OFFSETS),
            source,
        })
    }

    /// Notes what a listing told beside the newest batch.
    async fn listed(
        &mut self,
        commits: &[BatchId],
        newest: BatchId,
        committed_at: Option<SystemTime>,
    ) -> Result<(), StoreError> {
        self.only_lists |= commits.windows(2).any(|pair| pair[1] != pair[0].next());
        self.activity.open_batch = self.is_followed(newest).await?;
        let ended = self.probed(ENDED).await?.flatten();
        self.was_there = true;
        self.activity.ended = ended.is_some_and(|ended| ended.modified >= committed_at);
        self.newest = Some(newest);
        self.told_at = Some(Instant::now());
        Ok(())
    }

    /// Whether a batch is planned behind this one: by a probe, or by a listing where a probe cannot tell.
    async fn is_followed(&mut self, batch: BatchId) -> Result<bool, StoreError> {
        if !self.only_lists
            && let Some(plan) = self.probed(&batch.next().key(OFFSETS)).await?
        {
            return Ok(plan.is_some());
        }
        self.only_lists = true;
        self.is_listed_after(batch).await
    }

    async fn without_batch(&mut self) -> Result<Look, SourceError> {
        self.activity = Activity::default();
        if self.query.is_empty() {
            self.newest = None;
            return Err(if self.was_there {
                SourceError::Vanished
            } else {
                SourceError::Missing
            });
        }
        self.activity.open_batch = self.is_followed(BEFORE_FIRST).await?;
        self.was_there = true;
        self.newest = Some(BEFORE_FIRST);
        self.told_at = Some(Instant::now());
        Ok(Look::NoBatch {
            query: self.query.clone(),
        })
    }

    fn seen(&self, newest: BatchId, log: OffsetLog, committed_at: Option<SystemTime>, listed: bool) -> Seen {
        let query = self.query.clone();
        Seen {
            query,
            newest,
            readable: newest,
            log,
            committed_at,
            listed,
        }
    }

    /// The positions at which the query's sources began, by their place, or of the source of this name alone: those of
    /// Kafka's form. A store cannot be asked for the names.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn initial(&self, only: Option<&str>) -> Result<BTreeMap<String, TopicOffsets>, SourceError> {
        let places: Vec<_> = match only {
            Some(name) => vec![name.to_owned()],
            None => (0..INITIAL_SOURCES).map(|place| place.to_string()).collect(),
        };
        let mut sources = BTreeMap::new();
        for place in places {
            let file = self.probed(&initial_key(&place)).await?;
            if let Some(offsets) = file.flatten().and_then(|file| parse_initial(&file.content).ok()) {
                sources.insert(place, offsets);
            }
        }
        Ok(sources)
    }

    /// Whether any batch behind this one is planned.
    async fn is_listed_after(&self, batch: BatchId) -> Result<bool, StoreError> {
        let planned = self.batches(OFFSETS).await?;
        Ok(planned.last().is_some_and(|last| *last > batch))
    }

    async fn batches(&self, folder: &str) -> Result<Vec<BatchId>, StoreError> {
        Ok(batch_ids(
            self.store.list(folder).await?.iter().map(String::as_str),
        ))
    }

    /// Reads the query's id; says whether it changed.
    async fn read_query(&mut self) -> Result<bool, SourceError> {
        let query = match self.store.read(METADATA).await? {
            None => String::new(),
            Some(file) => parse_query_id(&file.content).map_err(|source| SourceError::Unusable {
                key: METADATA.to_owned(),
                source,
            })?,
        };
        self.query_at = Some(Instant::now());
        let changed = query != self.query;
        if changed {
            self.activity = Activity::default();
        }
        self.query = query;
        Ok(changed)
    }

    /// The positions of a batch; inside an error if they are missing or damaged, which passes or which an older batch
    /// stands in for. A version that nobody knows is an error of the whole: nothing stands in for that.
    async fn read_log(&self, batch: BatchId) -> Result<Result<OffsetLog, LogError>, SourceError> {
        let key = batch.key(OFFSETS);
        let Some(file) = self.store.read(&key).await? else {
            return Ok(Err(missing()));
        };
        match OffsetLog::parse(&file.content) {
            Err(source @ LogError::Version(_)) => Err(SourceError::Unusable { key, source }),
            parsed => Ok(parsed),
        }
    }
}

fn missing() -> LogError {
    LogError::Damaged("it is missing".to_owned())
}

fn is_recent(when: Option<Instant>, interval: Duration) -> bool {
    when.is_some_and(|when| when.elapsed() < interval)
}

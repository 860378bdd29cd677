//! Owns where progress is kept, and when: the position of the ledger, in a checkpoint or in a consumer group.
//!
//! One write is under way at a time, beside the loop. What is written was acknowledged before the write began; a write
//! that fails is tried again and holds up nothing but progress itself.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;
use checkpoint::{CheckpointError, CheckpointWriter, Folder, TopicOffsets};
use kafka_io::{Partition, Topic};
use sidecar::Condition;
use tokio::time::Instant;

use crate::consume::Source;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::sessions::now;

/// How long to wait after a write that failed, at first and at the most.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Where progress is kept.
pub enum Progress {
    /// In a checkpoint: a batch is planned before its results leave, and committed when all are acknowledged.
    Checkpoint(Box<Batches>),
    /// In a consumer group: positions are committed every so often.
    Group(Positions),
}

/// The batches of a checkpoint.
pub struct Batches {
    /// Absent while a write is under way.
    writer: Option<CheckpointWriter<Folder>>,
    topic: Topic,
    max_rows: usize,
    batch: Batch,
}

/// How far the current batch is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Batch {
    /// There is none.
    None,
    /// It is to be planned, with these ends.
    Planned(TopicOffsets),
    /// Its results leave.
    Open(TopicOffsets),
    /// All its results are acknowledged.
    Done(TopicOffsets),
}

/// The positions of a consumer group.
pub struct Positions {
    interval: Duration,
    committed: Vec<(Partition, i64)>,
    due: Instant,
}

/// A write that is under way.
type Write = Pin<Box<dyn Future<Output = Written> + Send>>;

enum Written {
    Batch(CheckpointWriter<Folder>, Result<(), CheckpointError>),
    Positions(Vec<(Partition, i64)>, anyhow::Result<()>),
}

/// Keeps progress: what is to be written, the write under way, and when to try again.
pub struct Keeper {
    progress: Progress,
    write: Option<Write>,
    retry: Option<(Instant, Duration)>,
    condition: Condition,
    metrics: Metrics,
}

impl Progress {
    /// Progress in a checkpoint. `planned` is the end of a batch that was begun before.
    pub fn checkpoint(
        writer: CheckpointWriter<Folder>,
        topic: Topic,
        max_rows: usize,
        planned: Option<TopicOffsets>,
    ) -> Self {
        let batch = planned.map_or(Batch::None, Batch::Planned);
        Self::Checkpoint(Box::new(Batches {
            writer: Some(writer),
            topic,
            max_rows,
            batch,
        }))
    }

    /// Progress in a consumer group.
    pub fn group(interval: Duration) -> Self {
        Self::Group(Positions {
            interval,
            committed: Vec::new(),
            due: Instant::now() + interval,
        })
    }

    /// The limit of a partition that begins now: in a checkpoint results wait for their batch.
    pub fn first_limit(&self) -> i64 {
        match self {
            Self::Checkpoint(_) => i64::MIN,
            Self::Group(_) => i64::MAX,
        }
    }
}

impl Keeper {
    /// Keeps `progress`, and tells by `condition` whether it can be written.
    pub fn new(progress: Progress, condition: Condition, metrics: Metrics) -> Self {
        condition.met();
        Self {
            progress,
            write: None,
            retry: None,
            condition,
            metrics,
        }
    }

    /// See [`Progress::first_limit`].
    pub fn first_limit(&self) -> i64 {
        self.progress.first_limit()
    }

    /// Whether everything that the ledger has acknowledged is written.
    pub fn is_idle<T>(&self, ledger: &Ledger<T>) -> bool {
        let written = match &self.progress {
            Progress::Checkpoint(batches) => batches.batch == Batch::None,
            Progress::Group(positions) => positions.news(ledger).is_empty(),
        };
        written && self.write.is_none()
    }

    /// Looks at the ledger and begins the next write, if there is one to begin. `hurry` does not wait for the
    /// interval of a group's commits.
    pub fn advance<T>(&mut self, ledger: &mut Ledger<T>, source: &impl Source, hurry: bool) {
        if self.write.is_some() || self.retry.is_some_and(|(at, _)| at > Instant::now()) {
            return;
        }
        self.write = match &mut self.progress {
            Progress::Checkpoint(batches) => batches.next_write(ledger),
            Progress::Group(positions) => positions.next_write(ledger, source, hurry),
        };
    }

    /// When [`Self::advance`] should be called though nothing has happened.
    pub fn deadline(&self) -> Option<Instant> {
        match (&self.retry, &self.progress) {
            _ if self.write.is_some() => None,
            (Some((at, _)), _) => Some(*at),
            (None, Progress::Group(positions)) => Some(positions.due),
            (None, Progress::Checkpoint(_)) => None,
        }
    }

    /// Waits for the write that is under way, for ever if there is none.
    ///
    /// # Errors
    /// Where trying again cannot help. Any other failure is told, and tried again.
    pub async fn written(&mut self) -> anyhow::Result<()> {
        let Some(write) = &mut self.write else {
            return std::future::pending().await;
        };
        let written = write.await;
        self.write = None;
        let failure = match (written, &mut self.progress) {
            (Written::Batch(writer, result), Progress::Checkpoint(batches)) => {
                if let Err(contested @ CheckpointError::Contested { .. }) = result {
                    return Err(contested.into());
                }
                let failure = result.context("the checkpoint cannot be written").err();
                if let Some(committed) = batches.written(writer, failure.is_none()) {
                    self.metrics.batch.set(committed);
                }
                failure
            }
            (Written::Positions(sent, result), Progress::Group(positions)) => {
                let failure = result.context("the group's positions cannot be committed").err();
                positions.written(sent, failure.is_none());
                failure
            }
            _ => None,
        };
        self.tell(failure);
        Ok(())
    }

    /// Waits until the write under way, and then one with the ledger's positions, are through.
    ///
    /// # Errors
    /// See [`Self::written`].
    pub async fn flush<T>(&mut self, ledger: &mut Ledger<T>, source: &impl Source) -> anyhow::Result<()> {
        if self.write.is_some() {
            self.written().await?;
        }
        self.retry = None;
        self.advance(ledger, source, true);
        if self.write.is_some() {
            self.written().await?;
        }
        Ok(())
    }

    fn tell(&mut self, failure: Option<anyhow::Error>) {
        let outcome = if failure.is_none() { "success" } else { "failure" };
        self.metrics.commits.with_label_values(&[outcome]).inc();
        match failure {
            None => {
                self.retry = None;
                self.metrics.last_success.set(now().as_secs().cast_signed());
                self.condition.met();
            }
            Some(error) => {
                let wait = self
                    .retry
                    .map_or(FIRST_RETRY, |(_, last)| (last * 2).min(LAST_RETRY));
                self.retry = Some((Instant::now() + wait, wait));
                self.condition.unmet(format!("{error:#}"));
            }
        }
    }
}

impl Batches {
    fn next_write<T>(&mut self, ledger: &mut Ledger<T>) -> Option<Write> {
        if self.batch == Batch::None {
            self.batch = self.next_batch(ledger).map_or(Batch::None, Batch::Planned);
        }
        if let Batch::Open(ends) = &self.batch {
            release(ledger, ends);
            if !is_reached(ledger, ends) {
                return None;
            }
            self.batch = Batch::Done(ends.clone());
        }
        let mut writer = self.writer.take_if(|_| self.batch != Batch::None)?;
        match &self.batch {
            Batch::Planned(ends) => {
                let (ends, made) = (ends.clone(), i64::try_from(now().as_millis()).unwrap_or(i64::MAX));
                Some(Box::pin(async move {
                    let planned = writer.plan(&ends, made).await;
                    Written::Batch(writer, planned)
                }))
            }
            _ => Some(Box::pin(async move {
                let committed = writer.commit().await;
                Written::Batch(writer, committed.map(|_batch| ()))
            })),
        }
    }

    /// A write is through; gives the number of the batch if it was its commit.
    fn written(&mut self, writer: CheckpointWriter<Folder>, succeeded: bool) -> Option<i64> {
        let writer = self.writer.insert(writer);
        if !succeeded {
            return None;
        }
        match std::mem::replace(&mut self.batch, Batch::None) {
            Batch::Planned(ends) => {
                self.batch = Batch::Open(ends);
                None
            }
            Batch::Done(_) => Some(writer.batch().0 - 1),
            Batch::None | Batch::Open(_) => None,
        }
    }

    /// Everything that is in hand, up to the bound; `None` if nothing is.
    fn next_batch<T>(&self, ledger: &Ledger<T>) -> Option<TopicOffsets> {
        let busy = ledger.busy_partitions();
        if busy == 0 {
            return None;
        }
        let mut ends = TopicOffsets::default();
        for (partition, end) in ledger.ends((self.max_rows / busy).max(1)) {
            ends.set(self.topic.as_str(), partition.0, end);
        }
        Some(ends)
    }
}

impl Positions {
    fn news<T>(&self, ledger: &Ledger<T>) -> Vec<(Partition, i64)> {
        ledger
            .positions()
            .filter(|position| !self.committed.contains(position))
            .collect()
    }

    fn next_write<T>(&mut self, ledger: &Ledger<T>, source: &impl Source, hurry: bool) -> Option<Write> {
        if !hurry && self.due > Instant::now() {
            return None;
        }
        self.due = Instant::now() + self.interval;
        let news = self.news(ledger);
        if news.is_empty() {
            return None;
        }
        let commit = source.commit(&news);
        Some(Box::pin(async move { Written::Positions(news, commit.await) }))
    }

    fn written(&mut self, sent: Vec<(Partition, i64)>, succeeded: bool) {
        if succeeded {
            self.committed
                .retain(|(partition, _)| sent.iter().all(|(its, _)| its != partition));
            self.committed.extend(sent);
        }
    }
}

/// Lets results leave up to the end of a batch.
fn release<T>(ledger: &mut Ledger<T>, ends: &TopicOffsets) {
    for (_, partition, end) in ends.iter() {
        ledger.release(Partition(partition), end);
    }
}

/// Whether everything up to the end of a batch is acknowledged.
fn is_reached<T>(ledger: &Ledger<T>, ends: &TopicOffsets) -> bool {
    let positions: std::collections::BTreeMap<_, _> = ledger.positions().collect();
    let reached = |partition: i32, end| positions.get(&Partition(partition)).is_some_and(|&at| at >= end);
    ends.iter().all(|(_, partition, end)| reached(partition, end))
}

//! Owns where a worker with a checkpoint begins: its positions, if they are of this topic and still in it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, bail};
use checkpoint::{Checkpoint, CheckpointWriter, Folder, S3, TopicOffsets};
use kafka_admin::{Admin, Partition, Topic};
use kafka_io::{Consumer, Event, Outgoing, Start, StartWithout};
use tokio::sync::mpsc::Receiver;

use crate::config::{Config, OnReset};
use crate::consume::ranges;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::progress::{Backend, Commit};
use crate::worker::{began_again, gone};

/// Where a partition is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Beginning {
    partition: Partition,
    /// Absent if the partition is new: all of its records are.
    position: Option<i64>,
    lost: Lost,
}

/// What stands between a checkpoint's position and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lost {
    Nothing,
    /// Retention removed these before they were read.
    Expired(Range<i64>),
    /// The log began again, as this says.
    BeganAgain(String),
}

/// The checkpoint, read and found to be ours. Nothing is written.
pub(crate) async fn checkpoint(config: &Config) -> anyhow::Result<Checkpoint<Folder>> {
    let location = &config.raw.progress.checkpoint;
    let s3 = S3::new(config.raw.s3.clone(), Arc::new(|_| {}));
    let read = Checkpoint::read(Folder::open(location, &s3).await).await;
    let checkpoint = read.with_context(|| format!("the checkpoint in {location} cannot be used"))?;
    let planned = checkpoint.planned_positions();
    for positions in std::iter::once(checkpoint.positions()).chain(planned) {
        check_owner(config, positions).with_context(|| format!("the checkpoint in {location}"))?;
    }
    Ok(checkpoint)
}

/// A checkpoint must be of this topic and shard: another's positions would be carried along for ever.
fn check_owner(config: &Config, positions: &TopicOffsets) -> anyhow::Result<()> {
    let (input, shard) = (config.topics.input.as_str(), config.shard);
    for (topic, partition, _) in positions.iter() {
        if topic != input {
            bail!("is of the topic {topic}, not {input}; give each input topic a checkpoint of its own");
        }
        if !shard.has(Partition(partition)) {
            bail!(
                "has partition {partition}, which is not of input.shard; give each shard a checkpoint of its own"
            );
        }
    }
    Ok(())
}

/// A consumer of these partitions from where the checkpoint says.
pub(super) async fn assigned(
    config: &Config,
    admin: &Admin,
    partitions: &[Partition],
    ledger: &mut Ledger<Outgoing>,
    metrics: &Metrics,
) -> anyhow::Result<(Backend, Consumer, Receiver<Event>)> {
    let topic = &config.topics.input;
    let checkpoint = checkpoint(config).await?;
    let known = checkpoint.positions().clone();
    let beginnings = beginnings(config, admin, partitions, &known).await?;
    report(topic, &beginnings, metrics);
    let mut writer = checkpoint.take_over().await.with_context(|| {
        format!(
            "the checkpoint in {} cannot be written",
            config.raw.progress.checkpoint
        )
    })?;
    record(&mut writer, config, &known, &beginnings).await?;
    let mut starts = Vec::new();
    for Beginning {
        partition, position, ..
    } in beginnings
    {
        ledger.open(partition, position);
        let start = position.map_or(Start::Without(StartWithout::Earliest), Start::At);
        starts.push((partition, start));
    }
    let batch = writer.last_batch().map_or(-1, |batch| batch.0);
    tracing::info!(batch, partitions = partitions.len(), "checkpoint taken up");
    metrics.batch.set(batch);
    let (consumer, events) = Consumer::assigned(&config.connection, topic, &starts)?;
    Ok((Backend::checkpoint(writer, topic.clone()), consumer, events))
}

/// Whether a worker could begin with this checkpoint, and go on to write it; says what it has.
pub(crate) async fn check(
    config: &Config,
    admin: &Admin,
    partitions: &[Partition],
) -> anyhow::Result<String> {
    let location = &config.raw.progress.checkpoint;
    let known = checkpoint(config).await?.positions().clone();
    beginnings(config, admin, partitions, &known).await?;
    let s3 = S3::new(config.raw.s3.clone(), Arc::new(|_| {}));
    let writable = Folder::open(location, &s3).await.check_writable().await;
    let untried = writable.with_context(|| format!("the checkpoint in {location} cannot be written"))?;
    let untried = if untried.is_empty() {
        String::new()
    } else {
        format!(
            "; not tried, since nothing is written here: {}",
            untried.join(", ")
        )
    };
    Ok(format!(
        "{} partitions have progress{untried}",
        known.iter().count()
    ))
}

/// Where each partition is read from.
async fn beginnings(
    config: &Config,
    admin: &Admin,
    partitions: &[Partition],
    known: &TopicOffsets,
) -> anyhow::Result<Vec<Beginning>> {
    let topic = &config.topics.input;
    let missing: Vec<_> = known
        .iter()
        .map(|(_, partition, _)| Partition(partition))
        .filter(|partition| partitions.binary_search(partition).is_err())
        .collect();
    if !missing.is_empty() {
        let what = gone(topic, &missing);
        if config.raw.input.on_reset == OnReset::Stop {
            bail!("{}", refused(config, &what));
        }
        tracing::warn!("{what}");
    }
    let ranges: BTreeMap<_, _> = ranges(admin, topic, partitions).await.into_iter().collect();
    let mut beginnings = Vec::with_capacity(partitions.len());
    for partition in partitions.iter().copied() {
        let position = known.get(topic.as_str(), partition.0);
        let (position, lost) = match (position, ranges.get(&partition)) {
            // A checkpoint that knows other partitions: this one is new, and all of its records are.
            (None, _) if !known.is_empty() => (None, Lost::Nothing),
            (None, Some(range)) => (Some(first(config.raw.input.start, range)), Lost::Nothing),
            (None, None) => bail!(
                "the leader of {topic}, partition {partition} does not say where it begins and ends, and the checkpoint \
                 does not either"
            ),
            // Its leader is away: reading waits for it, and the loop judges the position then.
            (Some(position), None) => (Some(position), Lost::Nothing),
            (Some(position), Some(range)) => judge(config, partition, position, range)?,
        };
        beginnings.push(Beginning {
            partition,
            position,
            lost,
        });
    }
    Ok(beginnings)
}

/// Where a partition of which the checkpoint has a position is read from.
fn judge(
    config: &Config,
    partition: Partition,
    position: i64,
    range: &Range<i64>,
) -> anyhow::Result<(Option<i64>, Lost)> {
    if position < range.start {
        return Ok((Some(range.start), Lost::Expired(position..range.start)));
    }
    if position <= range.end {
        return Ok((Some(position), Lost::Nothing));
    }
    let what = began_again(&config.topics.input, partition, Some(position), range);
    let start = match config.raw.input.on_reset {
        OnReset::Stop => bail!("{}", refused(config, &what)),
        OnReset::Earliest => StartWithout::Earliest,
        OnReset::Latest => StartWithout::Latest,
    };
    Ok((Some(first(start, range)), Lost::BeganAgain(what)))
}

fn refused(config: &Config, what: &str) -> String {
    format!(
        "the checkpoint in {}: {what}. Begin with a new checkpoint, or set input.on_reset to \"earliest\" or \"latest\"",
        config.raw.progress.checkpoint
    )
}

fn first(start: StartWithout, range: &Range<i64>) -> i64 {
    match start {
        StartWithout::Earliest => range.start,
        StartWithout::Latest => range.end,
    }
}

fn report(topic: &Topic, beginnings: &[Beginning], metrics: &Metrics) {
    for Beginning {
        partition,
        position,
        lost,
    } in beginnings
    {
        match lost {
            Lost::Nothing => {}
            Lost::Expired(offsets) => metrics.expired(topic, *partition, offsets.clone()),
            Lost::BeganAgain(what) => {
                metrics.resets.inc();
                tracing::warn!(?position, "{what}");
            }
        }
    }
}

/// Writes down where the partitions begin if the checkpoint does not say so already: a restart must not begin later.
async fn record(
    writer: &mut CheckpointWriter<Folder>,
    config: &Config,
    known: &TopicOffsets,
    beginnings: &[Beginning],
) -> anyhow::Result<()> {
    let topic = &config.topics.input;
    let new = beginnings
        .iter()
        .filter_map(|beginning| Some((beginning.partition, beginning.position?)))
        .filter(|(partition, position)| known.get(topic.as_str(), partition.0) != Some(*position));
    // Should the topic have a partition again that it lost, all of its records are new.
    let gone = known.iter().filter(|(_, partition, position)| {
        let is_gone = beginnings
            .iter()
            .all(|beginning| beginning.partition.0 != *partition);
        is_gone && *position > 0
    });
    let gone: Vec<_> = gone.map(|(_, partition, _)| (Partition(partition), 0)).collect();
    let commit = Commit {
        may_fall: !gone.is_empty()
            || beginnings
                .iter()
                .any(|beginning| matches!(beginning.lost, Lost::BeganAgain(_))),
        positions: new.chain(gone).collect(),
    };
    if commit.positions.is_empty() {
        return Ok(());
    }
    Ok(crate::progress::write(writer, topic, &commit)
        .await
        .map(|_batch| ())?)
}

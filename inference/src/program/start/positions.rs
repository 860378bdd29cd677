//! Owns where a worker with a checkpoint begins: its positions, if they are of this topic and still in it.

use std::sync::Arc;

use anyhow::{Context, bail};
use checkpoint::{Checkpoint, CheckpointWriter, Folder, S3, TopicOffsets};
use kafka_io::{Cluster, Consumer, Event, Outgoing, Partition, Start, StartWithout};
use tokio::sync::mpsc::Receiver;

use crate::config::{Config, OnReset};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::progress::{Backend, Commit};
use crate::worker::began_again;

/// Where a partition is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Beginning {
    partition: Partition,
    /// Absent if the partition is new: all of its records are.
    position: Option<i64>,
}

/// The checkpoint, read and found to be ours. Nothing is written.
pub(crate) async fn checkpoint(config: &Config) -> anyhow::Result<Checkpoint<Folder>> {
    let location = &config.raw.progress.checkpoint;
    let s3 = S3::new(config.raw.s3.clone(), Arc::new(|_| {}));
    let read = Checkpoint::read(Folder::open(location, &s3).await).await;
    let checkpoint = read.with_context(|| format!("the checkpoint in {location} cannot be used"))?;
    check_owner(config, checkpoint.positions()).with_context(|| format!("the checkpoint in {location}"))?;
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
    cluster: &Cluster,
    partitions: &[Partition],
    ledger: &mut Ledger<Outgoing>,
    metrics: &Metrics,
) -> anyhow::Result<(Backend, Consumer, Receiver<Event>)> {
    let topic = &config.topics.input;
    let checkpoint = checkpoint(config).await?;
    let known = checkpoint.positions().clone();
    let (beginnings, may_fall) = beginnings(config, cluster, partitions, &known, metrics)
        .await
        .with_context(|| format!("the checkpoint in {}", config.raw.progress.checkpoint))?;
    let mut writer = checkpoint
        .take_over()
        .await
        .with_context(|| format!("the checkpoint in {} cannot be written", config.raw.progress.checkpoint))?;
    record(&mut writer, config, &known, &beginnings, may_fall).await?;
    let mut starts = Vec::new();
    for Beginning { partition, position } in beginnings {
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

/// Where each partition is read from, and whether some position is lower than the checkpoint's.
async fn beginnings(
    config: &Config,
    cluster: &Cluster,
    partitions: &[Partition],
    known: &TopicOffsets,
    metrics: &Metrics,
) -> anyhow::Result<(Vec<Beginning>, bool)> {
    let topic = &config.topics.input;
    let (mut beginnings, mut may_fall) = (Vec::new(), false);
    for (partition, range) in cluster.watermarks(topic, partitions).await? {
        let position = match known.get(topic.as_str(), partition.0) {
            // A checkpoint that knows other partitions: this one is new, and all of its records are.
            None if !known.is_empty() => None,
            None => Some(match config.raw.input.start {
                StartWithout::Earliest => range.start,
                StartWithout::Latest => range.end,
            }),
            Some(position) if position > range.end => {
                let what = began_again(topic, partition, Some(position), &range);
                may_fall = true;
                metrics.resets.inc();
                Some(match config.raw.input.on_reset {
                    OnReset::Stop => bail!(
                        "{what}. Begin with a new checkpoint, or set input.on_reset to \"earliest\" or \"latest\""
                    ),
                    OnReset::Earliest => range.start,
                    OnReset::Latest => range.end,
                })
            }
            Some(position) if position < range.start => {
                metrics.expired(topic, partition, position..range.start);
                Some(range.start)
            }
            Some(position) => Some(position),
        };
        beginnings.push(Beginning { partition, position });
    }
    Ok((beginnings, may_fall))
}

/// Writes down where the partitions begin if the checkpoint does not say so already: a restart must not begin later.
async fn record(
    writer: &mut CheckpointWriter<Folder>,
    config: &Config,
    known: &TopicOffsets,
    beginnings: &[Beginning],
    may_fall: bool,
) -> anyhow::Result<()> {
    let topic = &config.topics.input;
    let new = beginnings
        .iter()
        .filter_map(|beginning| Some((beginning.partition, beginning.position?)))
        .filter(|(partition, position)| known.get(topic.as_str(), partition.0) != Some(*position));
    let commit = Commit {
        positions: new.collect(),
        may_fall,
    };
    if commit.positions.is_empty() {
        return Ok(());
    }
    Ok(crate::progress::write(writer, topic, &commit).await.map(|_batch| ())?)
}

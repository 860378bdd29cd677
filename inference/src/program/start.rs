//! Owns the start of the worker: model, topics, progress, consumer, in this order, each waited for and named.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use checkpoint::{CheckpointWriter, Folder, Resume, S3, TopicOffsets};
use kafka_io::{Cluster, Consumer, Event, Partition, Producer, ProducerSettings, Start, StartWithout, Topic};
use sidecar::{Condition, Frame, RunMode};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ProgressKind};
use crate::ledger::Ledger;
use crate::metrics::{Metrics, count};
use crate::progress::{Keeper, Progress};
use crate::sessions::Sessions;
use crate::spacy::{Manifest, Pipeline, Runtime};
use crate::worker::{Parts, Settings, Told, Worker};

/// How long to wait before a cluster that does not answer, or lacks a topic, is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the worker and lets it run.
pub(super) async fn run(config: Config, frame: Frame, mode: RunMode) -> anyhow::Result<()> {
    let Frame {
        stop,
        readiness,
        heartbeat,
        registry,
    } = frame;
    let metrics = Metrics::register(&registry)?;
    let [kafka, topics, model, progress] =
        ["kafka", "topics", "model", "progress"].map(|name| readiness.condition(name));

    let (sessions, answers, manifest) = sessions(&config).await?;
    metrics.tell_model(&manifest);
    tracing::info!(name = manifest.name, version = manifest.version, "model loaded");
    model.met();

    let cluster = Cluster::new(&config.connection)?;
    let waited = stop
        .run_until_cancelled(wait_for_topics(&cluster, &config, &kafka, &topics))
        .await;
    let Some(partitions) = waited else { return Ok(()) };

    let mut ledger = Ledger::new(config.raw.output.ordering);
    let (kept, source, events) = match config.raw.progress.kind {
        ProgressKind::Checkpoint => assigned(&config, &cluster, &partitions, &mut ledger, &metrics).await?,
        ProgressKind::Group => subscribed(&config)?,
    };
    let (sink, deliveries) = Producer::new(&config.connection, producer_settings(&config))?;
    let (new_partitions, watch) = watch(&config, cluster, partitions, &stop);
    let parts = Parts {
        source,
        events,
        sink,
        deliveries,
        sessions,
        answers,
        ledger,
        keeper: Keeper::new(kept, progress, metrics.clone()),
        new_partitions,
    };
    let settings = Settings {
        topics: config.topics.clone(),
        fields: config.raw.message.clone(),
        engine: config.raw.engine.clone(),
        once: mode.once,
    };
    let worker = Worker::new(
        parts,
        settings,
        Told {
            metrics,
            heartbeat,
            kafka,
        },
    );
    tokio::select! {
        result = worker.run(stop) => result,
        never = watch => never,
    }
}

async fn sessions(
    config: &Config,
) -> anyhow::Result<(Sessions, Receiver<crate::sessions::Answered>, Manifest)> {
    let runtime = Runtime::load(config.raw.model.onnx_runtime.as_deref())?;
    let (folder, bytes) = (
        config.raw.model.folder.clone(),
        config.raw.model.cache_bytes.get(),
    );
    let (told, mut manifests) = mpsc::channel(config.raw.engine.threads.get());
    let load = move || {
        let pipeline = Pipeline::load(&runtime, &folder, bytes)
            .with_context(|| format!("the model in {} cannot be used", folder.display()))?;
        drop(told.try_send(pipeline.manifest().clone()));
        Ok(pipeline)
    };
    let (sessions, answers) = Sessions::start(config.raw.engine.threads, load).await?;
    let manifest = manifests.recv().await.context("no session has a model")?;
    Ok((sessions, answers, manifest))
}

fn producer_settings(config: &Config) -> ProducerSettings {
    ProducerSettings {
        linger: config.raw.output.linger,
        compression: config.raw.output.compression,
        delivery_timeout: config.raw.output.delivery_timeout,
        // Reading pauses at the bound, but what was read already still comes.
        in_flight: config.raw.engine.in_flight_rows.get() * 2,
    }
}

/// Waits until the cluster answers and has all topics; gives the input's partitions that are ours.
async fn wait_for_topics(
    cluster: &Cluster,
    config: &Config,
    kafka: &Condition,
    topics: &Condition,
) -> Vec<Partition> {
    loop {
        match all_topics(cluster, config).await {
            Ok(partitions) => {
                kafka.met();
                topics.met();
                return partitions;
            }
            Err(error) => topics.unmet(format!("{error:#}")),
        }
        sleep(RETRY).await;
    }
}

async fn all_topics(cluster: &Cluster, config: &Config) -> anyhow::Result<Vec<Partition>> {
    for topic in std::iter::once(&config.topics.output).chain(&config.topics.dead_letter) {
        partitions(cluster, topic).await?;
    }
    let input = partitions(cluster, &config.topics.input).await?;
    Ok(input
        .into_iter()
        .filter(|partition| config.shard.has(*partition))
        .collect())
}

/// The partitions of a topic that must exist.
pub(super) async fn partitions(cluster: &Cluster, topic: &Topic) -> anyhow::Result<Vec<Partition>> {
    let partitions = cluster.partitions(topic).await?;
    if partitions.is_empty() {
        bail!("the topic {topic} does not exist; create it, or correct its name in the configuration");
    }
    Ok(partitions)
}

/// The checkpoint, taken up.
pub(super) async fn checkpoint(config: &Config) -> anyhow::Result<(CheckpointWriter<Folder>, Resume)> {
    let place = &config.raw.progress.checkpoint;
    let s3 = S3::new(config.raw.s3.clone(), Arc::new(|_| {}));
    let opened = CheckpointWriter::open(Folder::open(place, &s3).await).await;
    let opened = opened.with_context(|| format!("the checkpoint in {place} cannot be used"))?;
    check_owner(config, &opened.1).with_context(|| format!("the checkpoint in {place}"))?;
    Ok(opened)
}

/// A checkpoint must be of this topic and shard: with another's, a batch could never be finished.
fn check_owner(config: &Config, resume: &Resume) -> anyhow::Result<()> {
    let (input, shard) = (config.topics.input.as_str(), config.shard);
    for (topic, partition, _) in resume
        .processed
        .iter()
        .chain(resume.planned.iter().flat_map(TopicOffsets::iter))
    {
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

/// A consumer of our partitions from where the checkpoint says.
async fn assigned(
    config: &Config,
    cluster: &Cluster,
    partitions: &[Partition],
    ledger: &mut Ledger<kafka_io::Outgoing>,
    metrics: &Metrics,
) -> anyhow::Result<(Progress, Consumer, Receiver<Event>)> {
    let topic = &config.topics.input;
    let (writer, mut resume) = checkpoint(config).await?;
    if resume.processed.is_empty() && resume.planned.is_none() {
        resume.processed = first_positions(config, cluster, partitions).await?;
        writer.begin(&resume.processed).await?;
    }
    check_places(config, cluster, &resume, metrics)
        .await
        .with_context(|| format!("the checkpoint in {}", config.raw.progress.checkpoint))?;
    let planned = resume.planned.as_ref();
    let again = planned.map_or(0, |ends| rows_between(&resume.processed, ends));
    tracing::info!(batch = writer.batch().0, again, "checkpoint taken up");
    metrics.replayed.inc_by(again);
    let progress = Progress::checkpoint(
        writer,
        topic.clone(),
        config.raw.progress.max_batch_rows.get(),
        resume.planned,
    );
    let mut starts = Vec::new();
    for partition in partitions {
        let position = resume.processed.get(topic.as_str(), partition.0);
        ledger.open(*partition, position, progress.first_limit());
        starts.push((
            *partition,
            position.map_or(Start::Without(StartWithout::Earliest), Start::At),
        ));
    }
    metrics.partitions.set(count(partitions.len()));
    let (source, events) = Consumer::assigned(&config.connection, topic, &starts)?;
    Ok((progress, source, events))
}

/// The places of a checkpoint must still be in the topic.
async fn check_places(
    config: &Config,
    cluster: &Cluster,
    resume: &Resume,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    let topic = &config.topics.input;
    let known: Vec<_> = resume
        .processed
        .iter()
        .map(|(_, partition, _)| Partition(partition))
        .collect();
    for (partition, there) in cluster.watermarks(topic, &known).await? {
        let position = resume
            .processed
            .get(topic.as_str(), partition.0)
            .unwrap_or(there.start);
        if position > there.end {
            bail!(
                "is at offset {position} of partition {partition}, but {topic} ends at {}: was it deleted and made \
                 anew? Begin with a new checkpoint",
                there.end
            );
        }
        if position < there.start {
            let lost = there.start - position;
            tracing::warn!(%partition, position, start = there.start, lost, "records were gone before they were read");
            metrics.expired.inc_by(u64::try_from(lost).unwrap_or_default());
        }
    }
    Ok(())
}

/// A consumer as a member of the group.
fn subscribed(config: &Config) -> anyhow::Result<(Progress, Consumer, Receiver<Event>)> {
    let (source, events) =
        Consumer::subscribed(&config.connection, &config.topics.input, &config.membership)?;
    let progress = Progress::group(config.raw.progress.commit_interval);
    Ok((progress, source, events))
}

/// Where a new checkpoint begins.
async fn first_positions(
    config: &Config,
    cluster: &Cluster,
    partitions: &[Partition],
) -> anyhow::Result<TopicOffsets> {
    let mut positions = TopicOffsets::default();
    for (partition, there) in cluster.watermarks(&config.topics.input, partitions).await? {
        let first = match config.raw.input.start {
            StartWithout::Earliest => there.start,
            StartWithout::Latest => there.end,
        };
        positions.set(config.topics.input.as_str(), partition.0, first);
    }
    Ok(positions)
}

fn rows_between(from: &TopicOffsets, to: &TopicOffsets) -> u64 {
    let rows = to
        .iter()
        .map(|(topic, partition, end)| end - from.get(topic, partition).unwrap_or(end));
    rows.map(|rows| u64::try_from(rows).unwrap_or_default()).sum()
}

/// Looks for new partitions every so often, where they do not come by the group. The future never ends.
fn watch(
    config: &Config,
    cluster: Cluster,
    known: Vec<Partition>,
    stop: &CancellationToken,
) -> (
    Receiver<Vec<Partition>>,
    impl Future<Output = anyhow::Result<()>> + use<>,
) {
    let (sender, receiver) = mpsc::channel(1);
    let (config, stop) = (config.clone(), stop.clone());
    let watching = async move {
        if config.raw.progress.kind == ProgressKind::Checkpoint {
            stop.run_until_cancelled(look(&config, &cluster, known, &sender))
                .await;
        }
        std::future::pending().await
    };
    (receiver, watching)
}

async fn look(
    config: &Config,
    cluster: &Cluster,
    mut known: Vec<Partition>,
    sender: &Sender<Vec<Partition>>,
) {
    loop {
        sleep(config.raw.input.metadata_interval).await;
        // An outage is told by the consumer.
        let Ok(found) = cluster.partitions(&config.topics.input).await else {
            continue;
        };
        let is_new = |partition: &Partition| config.shard.has(*partition) && !known.contains(partition);
        let new: Vec<Partition> = found.into_iter().filter(is_new).collect();
        if !new.is_empty() {
            known.extend(&new);
            drop(sender.send(new).await);
        }
    }
}

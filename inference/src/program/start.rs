//! Owns the start of the worker: model, topics, progress, consumer, in this order, each waited for and named.

pub(super) mod positions;

use std::time::Duration;

use anyhow::{Context, bail};
use checkpoint::{CheckpointError, StoreErrorKind};
use kafka_admin::{Admin, Isolation, Partition, Topic};
use kafka_io::{Consumer, Event, Outgoing, Producer, ProducerSettings};
use sidecar::{Frame, Readiness, RunMode};
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::{Instant, sleep, timeout};

use crate::config::{Config, ProgressKind, Shard};
use crate::consume::{KafkaSource, Snapshot, inspect};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::progress::{Backend, Keeper};
use crate::sessions::{Answered, Sessions};
use crate::spacy::{Manifest, Pipeline, Runtime};
use crate::worker::{self, Inputs, Parts, Settings, Telemetry, Worker};

/// How long to wait before a cluster that does not answer, or lacks a topic, is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// With `--once`: how long the cluster and the topics are waited for.
const ONCE_START_TIMEOUT: Duration = Duration::from_mins(1);
/// With `--once`: how long nothing may move before the worker gives up.
const ONCE_STALL_TIMEOUT: Duration = Duration::from_mins(1);

/// Starts the worker and lets it run.
pub(super) async fn run(config: Config, frame: Frame, mode: RunMode) -> anyhow::Result<()> {
    let Frame {
        stop,
        readiness,
        heartbeat,
        registry,
    } = frame;
    let metrics = Metrics::register(&registry)?;
    let [kafka, topics, model, progress, results] =
        ["kafka", "topics", "model", "progress", "results"].map(|name| readiness.condition(name));

    let (sessions, answers, manifest) = sessions(&config).await?;
    metrics.set_model(&manifest);
    tracing::info!(name = manifest.name, version = manifest.version, "model loaded");
    model.met();

    let telemetry = Telemetry {
        metrics,
        heartbeat,
        kafka,
        topics,
        progress,
        results,
    };
    let admin = Admin::new(&config.connection);
    let mut ledger = Ledger::new(config.raw.output.ordering);
    let beginning = async {
        let snapshot = wait_for_topics(&admin, &config, &telemetry).await;
        let begun = begin(&config, &admin, &snapshot.partitions, &mut ledger, &telemetry).await;
        begun.map(|begun| (snapshot, begun))
    };
    // Boxed, since the calls to S3 make it some 50 KB.
    let beginning = Box::pin(within(mode.once, beginning, &readiness));
    let Some(begun) = stop.run_until_cancelled(beginning).await else {
        return stopped_early(mode);
    };
    let (snapshot, (backend, consumer, events)) = begun??;
    telemetry.progress.met();
    telemetry.results.met();
    let (sink, deliveries) = Producer::new(&config.connection, producer_settings(&config))?;
    let now = Instant::now();
    let parts = Parts {
        source: KafkaSource::new(consumer, admin, config.topics.clone(), isolation(&config)),
        sink,
        sessions,
        ledger,
        keeper: Keeper::new(config.commit_interval, now),
        topic_id: snapshot.topic_id,
    };
    let worker = Worker::new(parts, settings(&config, mode), telemetry, now);
    worker::run(worker, Inputs::new(events, answers, deliveries), backend, stop).await
}

/// What the consumer reads: librdkafka's default is `read_committed`.
fn isolation(config: &Config) -> Isolation {
    match config.raw.kafka.properties.get("isolation.level") {
        Some("read_uncommitted") => Isolation::ReadUncommitted,
        _ => Isolation::ReadCommitted,
    }
}

fn settings(config: &Config, mode: RunMode) -> Settings {
    Settings {
        topics: config.topics.clone(),
        fields: config.raw.message.clone(),
        engine: config.raw.engine.clone(),
        shard: (config.raw.progress.kind == ProgressKind::Checkpoint).then_some(config.shard),
        on_reset: config.raw.input.on_reset,
        metadata_interval: config.raw.input.metadata_interval,
        once: mode.once.then_some(ONCE_STALL_TIMEOUT),
    }
}

async fn sessions(config: &Config) -> anyhow::Result<(Sessions, Receiver<Answered>, Manifest)> {
    let runtime = Runtime::load(config.raw.model.onnx_runtime.as_deref())?;
    let (folder, bytes) = (
        config.raw.model.folder.clone(),
        config.raw.model.cache_bytes.get(),
    );
    let (loaded, mut manifests) = mpsc::channel(config.raw.engine.threads.get());
    let load = move || {
        let pipeline = Pipeline::load(&runtime, &folder, bytes)
            .with_context(|| format!("the model in {} cannot be used", folder.display()))?;
        drop(loaded.try_send(pipeline.manifest().clone()));
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

/// With `--once`, waits for a bounded time.
async fn within<T>(once: bool, work: impl Future<Output = T>, readiness: &Readiness) -> anyhow::Result<T> {
    if !once {
        return Ok(work.await);
    }
    let done = timeout(ONCE_START_TIMEOUT, work).await;
    done.map_err(|_elapsed| {
        anyhow::anyhow!(
            "the worker could not start within {} s: {}",
            ONCE_START_TIMEOUT.as_secs(),
            readiness.describe().replace('\n', " ").trim_end()
        )
    })
}

/// A stop before anything was read. With `--once` the job is not done.
fn stopped_early(mode: RunMode) -> anyhow::Result<()> {
    if mode.once {
        bail!("stopped before anything was read");
    }
    Ok(())
}

/// Waits until the cluster answers and has all topics.
async fn wait_for_topics(admin: &Admin, config: &Config, telemetry: &Telemetry) -> Snapshot {
    let Telemetry {
        heartbeat,
        kafka,
        topics,
        ..
    } = telemetry;
    loop {
        heartbeat.beat();
        match inspect(admin, &config.topics, &[]).await {
            Ok(snapshot) => {
                kafka.met();
                let input = snapshot.partitions.is_empty().then_some(&config.topics.input);
                match input.into_iter().chain(&snapshot.missing).next() {
                    None => {
                        topics.met();
                        return snapshot;
                    }
                    Some(missing) => topics.unmet(does_not_exist(missing)),
                }
            }
            Err(error) => kafka.unmet(format!("{error:#}")),
        }
        sleep(RETRY).await;
    }
}

/// What is read from where, and what has been done: again while the checkpoint's store fails in a way that passes.
async fn begin(
    config: &Config,
    admin: &Admin,
    partitions: &[Partition],
    ledger: &mut Ledger<Outgoing>,
    telemetry: &Telemetry,
) -> anyhow::Result<(Backend, Consumer, Receiver<Event>)> {
    if config.raw.progress.kind == ProgressKind::Group {
        return subscribed(config);
    }
    let ours = of_shard(partitions, config.shard);
    loop {
        telemetry.heartbeat.beat();
        match positions::assigned(config, admin, &ours, ledger, &telemetry.metrics).await {
            Err(error) if is_passing(&error) => telemetry.progress.unmet(format!("{error:#}")),
            begun => return begun,
        }
        sleep(RETRY).await;
    }
}

fn is_passing(error: &anyhow::Error) -> bool {
    let passes = |error: &(dyn std::error::Error + 'static)| match error.downcast_ref() {
        Some(CheckpointError::Store(error)) => error.kind == StoreErrorKind::Passing,
        _ => false,
    };
    error.chain().any(passes)
}

/// What to do about a topic that is not there.
pub(super) fn does_not_exist(topic: &Topic) -> String {
    format!("the topic {topic} does not exist; create it, or correct its name in the configuration")
}

/// Those of a topic's partitions that are ours.
pub(super) fn of_shard(partitions: &[Partition], shard: Shard) -> Vec<Partition> {
    let ours = partitions.iter().copied();
    ours.filter(|partition| shard.has(*partition)).collect()
}

/// A consumer as a member of the group.
fn subscribed(config: &Config) -> anyhow::Result<(Backend, Consumer, Receiver<Event>)> {
    let (consumer, events) =
        Consumer::subscribed(&config.connection, &config.topics.input, &config.membership)?;
    Ok((Backend::Group, consumer, events))
}

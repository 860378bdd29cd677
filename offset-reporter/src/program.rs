//! Owns the wiring: which real parts the reporter is made of, and its verbs.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use checkpoint::{Folder, Location, S3};
use kafka_io::Cluster;
use sidecar::{Frame, FrameSettings, Peer, Program, RunMode, Settings, wait_for};

use crate::config::{Config, Mode, Raw, StreamSettings};
use crate::inspect::inspect;
use crate::ledger::partitions;
use crate::log_ends::LogEnds;
use crate::metrics::Metrics;
use crate::reporter::{self, Schedule};
use crate::source::{Look, Source};
use crate::stream::{Shared, Stream};

/// The program `offset-reporter`.
#[derive(Debug)]
pub struct OffsetReporter;

/// Its own verbs.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Show a checkpoint, decoded; `[s3]` of the configuration says how S3 is reached
    Inspect {
        /// A folder, or `s3://BUCKET/PREFIX`
        uri: Location,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
}

impl Program for OffsetReporter {
    const NAME: &'static str = "offset-reporter";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str = "What Spark Structured Streaming has processed, as a Kafka consumer group";
    const CAN_DRY_RUN: bool = true;
    type Raw = Raw;
    type Config = Config;
    type Verb = Verb;

    fn frame(config: &Config) -> FrameSettings {
        FrameSettings::new(&config.raw.admin, &config.raw.log)
    }

    async fn run(config: Config, frame: Frame, mode: RunMode) -> anyhow::Result<()> {
        let metrics = Metrics::register(&frame.registry)?;
        let report = &config.raw.report;
        let concurrency = report.concurrency.get();
        let streams = streams(&config, &metrics, mode).await?;
        tracing::info!(
            streams = streams.len(),
            clusters = config.clusters.len(),
            "reporting"
        );
        if mode.once {
            return reporter::once(streams, concurrency).await;
        }
        let schedule = Schedule {
            poll_interval: report.poll_interval,
            concurrency,
        };
        reporter::run(streams, schedule, &frame).await
    }

    async fn connect(config: Config) -> Vec<Peer> {
        let s3 = unobserved(&config.raw);
        let mut peers = Vec::new();
        for stream in &config.streams {
            let (checkpoint, group) = try_stream(&config, stream, &s3).await;
            peers.push(peer(&format!("{} checkpoint", stream.name), checkpoint));
            peers.push(peer(&format!("{} group", stream.name), group));
        }
        peers
    }

    fn verb(verb: Verb, settings: &Settings<Self>) -> anyhow::Result<()> {
        let Verb::Inspect { uri, json } = verb;
        let raw = settings.raw()?;
        let inspection = wait_for(async {
            let folder = Folder::open(&uri, &unobserved(&raw)).await;
            inspect(&uri, folder).await
        })?;
        let text = if json {
            format!("{}\n", serde_json::to_string_pretty(&inspection)?)
        } else {
            inspection.render()
        };
        std::io::stdout()
            .write_all(text.as_bytes())
            .context("cannot write to standard output")
    }
}

/// S3 for somebody who does not count requests.
fn unobserved(raw: &Raw) -> S3 {
    S3::new(raw.s3.clone(), Arc::new(|_| {}))
}

async fn streams(
    config: &Config,
    metrics: &Metrics,
    mode: RunMode,
) -> anyhow::Result<Vec<Stream<Folder, Cluster>>> {
    let s3 = S3::new(config.raw.s3.clone(), metrics.storage_observer());
    let mut clusters = BTreeMap::new();
    for (name, connection) in &config.clusters {
        let groups = Arc::new(Cluster::new(connection).with_context(|| format!("the cluster {name}"))?);
        let ends = Arc::new(LogEnds::new(groups.clone(), config.raw.report.poll_interval));
        clusters.insert(name, (groups, ends));
    }
    let mut streams = Vec::with_capacity(config.streams.len());
    for settings in &config.streams {
        let (groups, ends) = clusters
            .get(&settings.cluster)
            .context("the configuration was checked")?;
        let shared = Shared {
            groups: groups.clone(),
            ends: ends.clone(),
            metrics: metrics.clone(),
        };
        let folder = Folder::open(&settings.checkpoint, &s3).await;
        streams.push(Stream::new(
            settings.clone(),
            config.raw.report.clone(),
            mode.dry_run,
            folder,
            shared,
        ));
    }
    Ok(streams)
}

/// Whether a stream's checkpoint can be read, and its group be asked.
async fn try_stream(
    config: &Config,
    stream: &StreamSettings,
    s3: &S3,
) -> (anyhow::Result<String>, anyhow::Result<String>) {
    let folder = Folder::open(&stream.checkpoint, s3).await;
    let mut source = Source::new(folder, config.raw.report.list_interval);
    let look = source.look().await.with_context(|| stream.checkpoint.to_string());
    let (found, groups) = match &look {
        Ok(Look::Batch(seen)) => (
            format!("{}: batch {} is committed", stream.checkpoint, seen.newest),
            stream.selection.of(&seen.log.sources),
        ),
        Ok(_) => (
            format!("{}: no batch is committed yet", stream.checkpoint),
            BTreeMap::new(),
        ),
        Err(_) => (String::new(), BTreeMap::new()),
    };
    (look.map(|_| found), try_groups(config, stream, groups).await)
}

async fn try_groups(
    config: &Config,
    stream: &StreamSettings,
    groups: crate::selection::ByGroup,
) -> anyhow::Result<String> {
    let connection = config
        .clusters
        .get(&stream.cluster)
        .context("the configuration was checked")?;
    let cluster = Cluster::new(connection)?;
    let mut found = Vec::new();
    for (group, offsets) in &groups {
        let partitions: Vec<_> = partitions(offsets).collect();
        let ends = cluster.ends(&partitions).await?;
        let known = ends.iter().filter(|(_, end)| end.is_ok()).count();
        let mut line = format!("{known} of {} partitions are in the cluster", partitions.len());
        if stream.mode == Mode::Commit {
            let members = cluster.members(group).await?;
            anyhow::ensure!(
                members == 0,
                "group {group} has {members} members, who alone may commit: choose another group"
            );
            let has = cluster.committed(group, Some(&partitions)).await?.len();
            line = format!("{line}, group {group} has {has} of them");
        }
        anyhow::ensure!(known > 0, "{line}: none of the topics is known there");
        found.push(line);
    }
    if found.is_empty() {
        // Whether the cluster answers at all is worth knowing without any batch.
        cluster.members(&stream.selection.group).await?;
        return Ok("the cluster answers".to_owned());
    }
    Ok(found.join("; "))
}

fn peer(name: &str, result: anyhow::Result<String>) -> Peer {
    Peer {
        name: name.to_owned(),
        result: result.map_err(|error| format!("{error:#}")),
    }
}

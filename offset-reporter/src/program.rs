//! Owns the wiring: which real parts the reporter is made of, and its verbs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use anyhow::Context;
use checkpoint::{Folder, Location, S3};
use kafka_admin::{Admin, GroupId, LogEnd, RefusalKind};
use prometheus::Registry;
use sidecar::{Frame, FrameSettings, Peer, Program, RunMode, Settings, wait_for};

use crate::config::{Config, DEFAULT_CLUSTER, Mode, Raw, StreamSettings};
use crate::group::Cluster;
use crate::inspect::inspect;
use crate::metrics::Metrics;
use crate::plan::{RewindPolicy, Step, partitions};
use crate::reporter::{self, Schedule};
use crate::selection::{ByGroup, unselected};
use crate::source::{Look, Source};
use crate::stream::{Shared, Stream, StreamError};

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
    /// Allow a stream one step back that its `rewind` forbids, and print it; --dry-run only prints it
    Rewind {
        /// The stream's name
        stream: String,
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

    fn notes(config: &Config) -> Vec<String> {
        let mut notes = Vec::new();
        for (cluster, connection) in &config.clusters {
            let table = match cluster.as_str() {
                DEFAULT_CLUSTER => cluster.clone(),
                name => format!("clusters.{name}"),
            };
            let unused = connection.unused_properties().into_iter();
            notes.extend(unused.map(|name| {
                format!("{table}.properties.\"{name}\": is not used by this program, which reads and writes no records")
            }));
        }
        notes
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
            return reporter::once(streams, concurrency).await?.1;
        }
        let schedule = Schedule {
            poll_interval: report.poll_interval,
            idle_poll_interval: report.idle_poll_interval(),
            concurrency,
        };
        reporter::run(streams, schedule, &frame).await
    }

    async fn connect(config: Config) -> Vec<Peer> {
        let s3 = unobserved(&config.raw);
        let clusters = clusters(&config);
        let mut peers = Vec::new();
        for stream in &config.streams {
            let folder = Folder::open(&stream.checkpoint, &s3).await;
            let (checkpoint, positions) = try_checkpoint(&config, stream, folder).await;
            let group = try_groups(&clusters, stream, positions).await;
            peers.push(peer(&format!("{} checkpoint", stream.name), checkpoint));
            peers.push(peer(&format!("{} group", stream.name), group));
        }
        peers
    }

    fn verb(verb: Verb, settings: &Settings<Self>) -> anyhow::Result<()> {
        let (text, result) = match verb {
            Verb::Inspect { uri, json } => (show(&uri, json, &settings.raw()?)?, Ok(())),
            Verb::Rewind { stream } => rewind(settings.checked()?, &stream, settings.mode.dry_run)?,
        };
        std::io::stdout()
            .write_all(text.as_bytes())
            .context("cannot write to standard output")?;
        result
    }
}

fn show(uri: &Location, json: bool, raw: &Raw) -> anyhow::Result<String> {
    let inspection = wait_for(async {
        let folder = Folder::open(uri, &unobserved(raw)).await;
        inspect(uri, folder).await
    })?;
    Ok(if json {
        format!("{}\n", serde_json::to_string_pretty(&inspection)?)
    } else {
        inspection.render()
    })
}

/// One turn of a stream whose steps back are all allowed: those that were made, also if something failed after them.
fn rewind(mut config: Config, name: &str, dry_run: bool) -> anyhow::Result<(String, anyhow::Result<()>)> {
    config.streams.retain(|stream| stream.name == name);
    let stream = config.streams.first_mut();
    let stream = stream.with_context(|| format!("the configuration has no stream {name}"))?;
    anyhow::ensure!(
        stream.mode == Mode::Commit,
        "stream {name} is only observed: it has no group that could go back"
    );
    stream.rewind = RewindPolicy::Allow;
    let metrics = Metrics::register(&Registry::new())?;
    let mode = RunMode { once: true, dry_run };
    let (streams, result) =
        wait_for(async { reporter::once(streams(&config, &metrics, mode).await?, 1).await })?;
    let mut text = String::new();
    for (group, step) in streams.iter().flat_map(Stream::steps) {
        let Step {
            partition, from, to, ..
        } = step;
        let (Some(from), Some(rewind)) = (from, step.rewind) else {
            continue;
        };
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{group} {partition}: {from} -> {to} {}", rewind.name());
    }
    if text.is_empty() && result.is_ok() {
        "nothing is held back\n".clone_into(&mut text);
    }
    Ok((text, result))
}

/// S3 for somebody who does not count requests.
fn unobserved(raw: &Raw) -> S3 {
    S3::new(raw.s3.clone(), Arc::new(|_| {}))
}

/// One client for each cluster.
fn clusters(config: &Config) -> BTreeMap<String, Arc<Cluster>> {
    let clusters = config.clusters.iter();
    clusters
        .map(|(name, connection)| (name.clone(), Arc::new(Cluster::new(Admin::new(connection)))))
        .collect()
}

async fn streams(
    config: &Config,
    metrics: &Metrics,
    mode: RunMode,
) -> anyhow::Result<Vec<Stream<Folder, Cluster>>> {
    let s3 = S3::new(config.raw.s3.clone(), metrics.storage_observer());
    let clusters = clusters(config);
    let mut streams = Vec::with_capacity(config.streams.len());
    for settings in &config.streams {
        let groups = clusters.get(&settings.cluster);
        let shared = Shared {
            groups: groups.context("the configuration was checked")?.clone(),
            metrics: metrics.clone(),
        };
        let folder = Folder::open(&settings.checkpoint, &s3).await;
        let report = &config.raw.report;
        streams.push(Stream::new(
            settings.clone(),
            report,
            mode.dry_run,
            folder,
            shared,
        ));
    }
    Ok(streams)
}

/// Whether a stream's checkpoint can be read, and what it says.
async fn try_checkpoint(
    config: &Config,
    stream: &StreamSettings,
    folder: Folder,
) -> (anyhow::Result<String>, ByGroup) {
    let mut source = Source::new(folder, config.raw.report.list_interval);
    let look = source.look().await.with_context(|| stream.checkpoint.to_string());
    match look {
        Ok(Look::Batch(seen)) => {
            let (place, groups) = (
                stream.checkpoint.to_string(),
                stream.selection.of(&seen.log.sources),
            );
            let told = match unselected(&seen.log.sources, &groups) {
                Some(sources) => Err(StreamError::NothingSelected { place, sources }.into()),
                None => Ok(format!("{place}: batch {} is committed", seen.newest)),
            };
            (told, groups)
        }
        Ok(_) => (
            Ok(format!("{}: no batch is committed yet", stream.checkpoint)),
            ByGroup::new(),
        ),
        Err(error) => (Err(error), ByGroup::new()),
    }
}

/// Whether a stream's groups can be asked.
async fn try_groups(
    clusters: &BTreeMap<String, Arc<Cluster>>,
    stream: &StreamSettings,
    groups: ByGroup,
) -> anyhow::Result<String> {
    let cluster = clusters.get(&stream.cluster);
    let admin = cluster.context("the configuration was checked")?.admin();
    let mut found = Vec::new();
    for (group, offsets) in &groups {
        let partitions: Vec<_> = partitions(offsets).collect();
        let mut known = 0;
        for (partition, end) in admin.list_offsets(&partitions, LogEnd::Latest).await {
            match end {
                Ok(_) => known += 1,
                Err(refusal) if refusal.kind == RefusalKind::UnknownPartition => {}
                Err(refusal) => {
                    return Err(refusal).with_context(|| format!("cannot learn where {partition} ends"));
                }
            }
        }
        let mut line = format!("{known} of {} partitions are in the cluster", partitions.len());
        if stream.mode == Mode::Commit {
            let group_id = GroupId::from(group.as_str());
            let members = admin.members(&group_id).await?;
            anyhow::ensure!(
                members == 0,
                "group {group} has {members} members, who alone may commit: choose another group"
            );
            let has = admin.committed_in(&group_id, &partitions).await?.len();
            line = format!("{line}, group {group} has {has} of them");
        }
        anyhow::ensure!(known > 0, "{line}: none of the topics is known there");
        found.push(line);
    }
    if found.is_empty() {
        // Whether the cluster answers at all is worth knowing without any batch.
        admin.cluster().await?;
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

//! Owns the wiring: which real parts the worker is made of, and in which order they start.

mod start;

use std::path::PathBuf;

use anyhow::Context;
use kafka_admin::{Admin, GroupId, Partition, Topic};
use sidecar::{Frame, FrameSettings, Peer, Program, RunMode, Settings};

use crate::config::{Config, ProgressKind, Raw};
use crate::consume::describe;
use crate::predict::{self, Predict};
use crate::spacy;

/// The program `inference`.
#[derive(Debug)]
pub struct Inference;

/// Its own verbs.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Turn a spaCy model wheel into a bundle that the worker reads
    Import {
        /// The wheel of `en_core_web_sm` 3.8.0
        wheel: PathBuf,
        /// The folder to write; it must not exist or be empty
        out: PathBuf,
    },
    /// Find the entities of texts: JSON Lines `{"text": …}` in, `{"entities": […]}` out, in order
    Predict(Predict),
}

impl Program for Inference {
    const NAME: &'static str = "inference";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const ABOUT: &'static str =
        "Kafka to model to Kafka: named entities, exactly spaCy's, with a Spark-format checkpoint";
    type Raw = Raw;
    type Config = Config;
    type Verb = Verb;

    fn frame(config: &Config) -> FrameSettings {
        FrameSettings::new(&config.raw.admin, &config.raw.log)
    }

    async fn run(config: Config, frame: Frame, mode: RunMode) -> anyhow::Result<()> {
        start::run(config, frame, mode).await
    }

    async fn connect(config: Config) -> Vec<Peer> {
        let admin = Admin::new(&config.connection);
        let (mut peers, input) = topics(&config, &admin).await;
        peers.push(peer("model.folder", model(&config)));
        // Without the topic nothing more can be said of the positions in it.
        if let Ok(partitions) = input {
            peers.push(match config.raw.progress.kind {
                ProgressKind::Checkpoint => peer(
                    "progress.checkpoint",
                    start::positions::check(&config, &admin, &partitions).await,
                ),
                ProgressKind::Group => peer("progress.group", group(&config, &admin, &partitions).await),
            });
        }
        peers
    }

    fn verb(verb: Verb, settings: &Settings<Self>) -> anyhow::Result<()> {
        match verb {
            Verb::Import { wheel, out } => {
                let manifest = spacy::import(&wheel, &out)
                    .with_context(|| format!("cannot import {}", wheel.display()))?;
                let line = format!(
                    "imported {} {} into {}\n",
                    manifest.name,
                    manifest.version,
                    out.display()
                );
                std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).context("cannot write")
            }
            Verb::Predict(predict) => predict::run(&predict, &settings.raw()?.model),
        }
    }
}

/// Whether the topics are there; of the input, the partitions that are ours.
async fn topics(config: &Config, admin: &Admin) -> (Vec<Peer>, anyhow::Result<Vec<Partition>>) {
    let mut peers = Vec::new();
    let named = [
        ("output.topic", Some(&config.topics.output)),
        ("dead_letter.topic", config.topics.dead_letter.as_ref()),
    ];
    let input = partitions(admin, &config.topics.input).await;
    peers.push(found("input.topic", &config.topics.input, &input));
    for (key, topic) in named {
        let Some(topic) = topic else { continue };
        peers.push(found(key, topic, &partitions(admin, topic).await));
    }
    let ours = |partitions: Vec<Partition>| match config.raw.progress.kind {
        ProgressKind::Checkpoint => start::of_shard(&partitions, config.shard),
        ProgressKind::Group => partitions,
    };
    (peers, input.map(ours))
}

/// The partitions of a topic that must exist.
async fn partitions(admin: &Admin, topic: &Topic) -> anyhow::Result<Vec<Partition>> {
    let mut described = describe(admin, std::slice::from_ref(topic)).await?;
    let description = described.remove(topic);
    let description = description.with_context(|| start::does_not_exist(topic))?;
    Ok(description.partitions.into_keys().collect())
}

fn found(key: &str, topic: &Topic, partitions: &anyhow::Result<Vec<Partition>>) -> Peer {
    Peer {
        name: key.to_owned(),
        result: match partitions {
            Ok(partitions) => Ok(format!("{topic} has {} partitions", partitions.len())),
            Err(error) => Err(format!("{error:#}")),
        },
    }
}

/// Whether the group may be used, as far as a question shows.
async fn group(config: &Config, admin: &Admin, partitions: &[Partition]) -> anyhow::Result<String> {
    let topic = &config.topics.input;
    let asked: Vec<_> = partitions
        .iter()
        .map(|partition| topic.partition(partition.0))
        .collect();
    let group = &config.raw.progress.group;
    let committed = admin
        .committed_in(&GroupId::from(group.as_str()), &asked)
        .await
        .with_context(|| format!("the group {group} cannot be used"))?;
    Ok(format!("{group} has offsets of {} partitions", committed.len()))
}

fn model(config: &Config) -> anyhow::Result<String> {
    let runtime = spacy::Runtime::load(config.raw.model.onnx_runtime.as_deref())?;
    let pipeline = spacy::Pipeline::load(
        &runtime,
        &config.raw.model.folder,
        config.raw.model.cache_bytes.get(),
    )?;
    Ok(format!(
        "{} {}",
        pipeline.manifest().name,
        pipeline.manifest().version
    ))
}

fn peer(name: &str, result: anyhow::Result<String>) -> Peer {
    Peer {
        name: name.to_owned(),
        result: result.map_err(|error| format!("{error:#}")),
    }
}

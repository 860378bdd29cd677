//! Owns the wiring: which real parts the worker is made of, and in which order they start.

mod start;

use std::path::PathBuf;

use anyhow::Context;
use kafka_io::Cluster;
use sidecar::{Frame, FrameSettings, Peer, Program, RunMode, Settings};

use crate::config::{Config, ProgressKind, Raw};
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
        let mut peers = topics(&config).await;
        peers.push(peer("model.folder", model(&config)));
        if config.raw.progress.kind == ProgressKind::Checkpoint {
            peers.push(peer(
                "progress.checkpoint",
                start::checkpoint(&config).await.map(|(_, resume)| {
                    format!("{} partitions have progress", resume.processed.iter().count())
                }),
            ));
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

async fn topics(config: &Config) -> Vec<Peer> {
    let cluster = Cluster::new(&config.connection);
    let mut peers = Vec::new();
    let named = [
        ("input.topic", Some(&config.topics.input)),
        ("output.topic", Some(&config.topics.output)),
        ("dead_letter.topic", config.topics.dead_letter.as_ref()),
    ];
    for (key, topic) in named {
        let Some(topic) = topic else { continue };
        let found = match &cluster {
            Ok(cluster) => start::partitions(cluster, topic).await,
            Err(error) => Err(error.clone().into()),
        };
        peers.push(peer(
            key,
            found.map(|partitions| format!("{topic} has {} partitions", partitions.len())),
        ));
    }
    peers
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

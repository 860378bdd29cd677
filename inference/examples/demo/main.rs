//! The main job on real input, on this machine alone: documents into Kafka, entities out of it, and what happens on
//! the way.
//!
//! usage: demo --inference FILE --offset-reporter FILE --pushgateway-exporter FILE --model DIR --documents FILE
//!     --seconds N [--rate N] [--kafka HOST:PORT]
//!
//! Without a broker it starts librdkafka's mock cluster. It runs the real programs as processes of their own, and leaves
//! nothing behind.

mod cluster;
mod documents;
mod sidecars;

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use kafka_io::{Compression, Outgoing, Producer, ProducerSettings};
use tempfile::TempDir;
use testbed::{Found, Process, committed, consume};
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::cluster::{DemoCluster, PARTITIONS};
use self::documents::{Answer, Document};
use self::sidecars::Sidecars;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Arguments {
    /// The program
    #[arg(long)]
    inference: PathBuf,
    /// The program that shows its checkpoint as a group
    #[arg(long)]
    offset_reporter: PathBuf,
    /// The program that pushes its metrics
    #[arg(long)]
    pushgateway_exporter: PathBuf,
    /// The model's bundle
    #[arg(long)]
    model: PathBuf,
    /// Documents, one JSON object per line; the first two are shown with their entities
    #[arg(long)]
    documents: PathBuf,
    /// How long documents are sent
    #[arg(long, default_value = "15")]
    seconds: u64,
    /// Documents per second
    #[arg(long, default_value = "300")]
    rate: u32,
    /// A broker to use in place of the mock cluster
    #[arg(long)]
    kafka: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let documents = documents::read(&arguments.documents)?;
    let mut demo = Demo::start(&arguments).await?;
    demo.show_two(&documents).await?;
    demo.stream(&documents, arguments.rate, Duration::from_secs(arguments.seconds))
        .await?;
    demo.finish().await
}

/// The running parts.
struct Demo {
    worker: Process,
    sidecars: Sidecars,
    producer: Producer,
    deliveries: tokio::sync::mpsc::Receiver<kafka_io::Delivery>,
    answers: Found,
    sent: HashMap<String, Instant>,
    count: usize,
    answered: usize,
    entities: usize,
    latencies: Vec<Duration>,
    // Last, so that it outlives its clients.
    cluster: DemoCluster,
    folder: TempDir,
}

impl Demo {
    async fn start(arguments: &Arguments) -> anyhow::Result<Self> {
        let cluster = DemoCluster::open(arguments.kafka.as_deref()).await?;
        let DemoCluster { input, output, .. } = &cluster;
        say(&format!(
            "Kafka        {} ({}); topics {input} and {output}, {PARTITIONS} partitions each",
            cluster.raw.bootstrap_servers, cluster.kind,
        ))?;
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let checkpoint = folder.path().join("checkpoint");
        let config = configuration(&cluster, &arguments.model, &checkpoint)?;
        let mut worker = Process::start(&arguments.inference, folder.path(), &config, &[])?;
        worker.ready().await?;
        say(&format!(
            "inference    process {}, ready; metrics at {}",
            worker.id(),
            worker.url("/metrics")
        ))?;
        say(&format!("checkpoint   {} (Spark's format)", checkpoint.display()))?;
        let sidecars = Sidecars::start(arguments, &cluster, &worker, folder.path()).await?;
        let settings = ProducerSettings {
            linger: Duration::ZERO,
            compression: Compression::Lz4,
            delivery_timeout: PATIENCE,
            in_flight: 100_000,
        };
        let (producer, deliveries) = Producer::new(&cluster.connection, settings)?;
        let answers = consume(&cluster.connection, output, PARTITIONS)?;
        Ok(Self {
            worker,
            sidecars,
            producer,
            deliveries,
            answers,
            sent: HashMap::new(),
            count: 0,
            answered: 0,
            entities: 0,
            latencies: Vec::new(),
            cluster,
            folder,
        })
    }

    /// Sends the first two documents and shows what is answered.
    async fn show_two(&mut self, documents: &[Document]) -> anyhow::Result<()> {
        for document in documents.iter().take(2) {
            self.send(document)?;
            let (answer, latency) = self.next_answer().await?;
            say(&format!(
                "in   {}…",
                document.text.chars().take(100).collect::<String>()
            ))?;
            let found: Vec<String> = answer
                .ner
                .iter()
                .map(|named| format!("{} {}", named.entity, named.category))
                .collect();
            say(&format!(
                "out  {}  [{:.1} ms]\n",
                found.join(", "),
                latency.as_secs_f64() * 1e3
            ))?;
        }
        Ok(())
    }

    /// Sends documents at a rate, and prints every second what came back.
    async fn stream(&mut self, documents: &[Document], rate: u32, duration: Duration) -> anyhow::Result<()> {
        say(&format!(
            "{rate} documents per second for {} seconds:",
            duration.as_secs()
        ))?;
        say(
            "   time  documents in   answers out   answers/s   entities   p50 ms   p99 ms   checkpoint batch   group's offsets",
        )?;
        let mut documents = documents.iter().cycle();
        let (began, mut second, mut before) = (Instant::now(), 1, self.answered);
        let mut next = interval(Duration::from_secs(1) / rate.max(1));
        next.set_missed_tick_behavior(MissedTickBehavior::Burst);
        self.latencies.clear();
        while began.elapsed() < duration {
            tokio::select! {
                _ = next.tick() => {
                    if let Some(document) = documents.next() {
                        self.send(document)?;
                    }
                }
                answer = self.next_answer() => { answer?; }
            }
            if began.elapsed().as_secs() >= second {
                self.row(second, self.answered - before).await?;
                (second, before) = (second + 1, self.answered);
            }
        }
        while self.answered < self.count {
            self.next_answer().await?;
        }
        Ok(())
    }

    fn send(&mut self, document: &Document) -> anyhow::Result<()> {
        while self.deliveries.try_recv().is_ok() {}
        let uuid = format!("{}-{}", document.uuid, self.count);
        let value = Some(serde_json::to_vec(&Document {
            uuid: uuid.clone(),
            ..document.clone()
        })?);
        let key = Some(uuid.clone().into_bytes());
        self.producer.send(
            self.count,
            &Outgoing {
                topic: self.cluster.input.clone(),
                key,
                value,
                headers: Vec::new(),
            },
        )?;
        self.sent.insert(uuid, Instant::now());
        self.count += 1;
        Ok(())
    }

    async fn next_answer(&mut self) -> anyhow::Result<(Answer, Duration)> {
        loop {
            let record = self.answers.next(Instant::now() + PATIENCE).await?;
            let record = record.context("no answer came")?;
            let answer: Answer = serde_json::from_slice(&record.value.unwrap_or_default())?;
            if let Some(error) = &answer.error_message {
                bail!("a document was answered with an error: {error}");
            }
            let Some(sent) = self.sent.remove(&answer.uuid) else {
                continue;
            };
            self.answered += 1;
            self.entities += answer.ner.len();
            self.latencies.push(sent.elapsed());
            return Ok((answer, sent.elapsed()));
        }
    }

    async fn row(&mut self, second: u64, rate: usize) -> anyhow::Result<()> {
        let group = self.sidecars.reported().await;
        self.latencies.sort_unstable();
        let at = |share: usize| {
            let place = self.latencies.len() * share / 100;
            self.latencies
                .get(place)
                .map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        let row = format!(
            "{second:>6}s  {:>12}  {:>12}  {rate:>10}  {:>9}  {:>7.1}  {:>7.1}   {:>16}  {group:>16}",
            self.count,
            self.answered,
            self.entities,
            at(50),
            at(99),
            committed(&self.checkpoint()).map_or("-".to_owned(), |(batch, _)| batch.0.to_string()),
        );
        self.latencies.clear();
        say(&row)
    }

    fn checkpoint(&self) -> PathBuf {
        self.folder.path().join("checkpoint")
    }

    /// Ends the worker and says what was done.
    async fn finish(self) -> anyhow::Result<()> {
        let folder = self.checkpoint();
        self.sidecars.show(self.count).await?;
        self.worker.stop().await?;
        self.sidecars.stop().await?;
        let (checkpoint, positions) = committed(&folder).context("no batch was committed")?;
        let processed: i64 = positions.iter().map(|(_, _, position)| position).sum();
        say(&format!(
            "\n{} documents went in, {} answers with {} entities came out.",
            self.count, self.answered, self.entities
        ))?;
        say(&format!(
            "The worker ended by SIGTERM with exit code 0; its checkpoint stood at batch {}, {processed} records.",
            checkpoint.0
        ))?;
        if processed != i64::try_from(self.count)? || self.answered != self.count {
            bail!("that should have been {} records", self.count);
        }
        say("Nothing is left running; the checkpoint's folder is removed.")
    }
}

/// What the worker is told.
fn configuration(cluster: &DemoCluster, model: &Path, checkpoint: &Path) -> anyhow::Result<String> {
    let mut raw = inference::config::Raw {
        kafka: cluster.raw.clone(),
        ..Default::default()
    };
    cluster.input.as_str().clone_into(&mut raw.input.topic);
    cluster.output.as_str().clone_into(&mut raw.output.topic);
    model.clone_into(&mut raw.model.folder);
    raw.progress.checkpoint = checkpoint.to_owned().into();
    Ok(toml::to_string(&raw)?)
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

//! The whole worker on Apache Kafka: throughput, CPU, latency and memory, beside the engine alone and one plain Python
//! process, in one run.
//!
//! usage: `bench_worker` --inference FILE --model DIR --documents FILE --python FILE --bench-ner FILE
//!
//! With `--slice-bytes N,N,…` it measures one thread of the worker with each of these in place of all that.
//!
//! Prints a table in Markdown. `make bench-worker` and `make bench-slices` call it.

#![expect(clippy::cast_precision_loss, reason = "what is measured is less precise")]

mod measure;
mod subject;

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Parser;
use kafka_admin::{Connection, Topic};
use testbed::{Kafka, KafkaSettings, ModelFiles, TopicAdmin, connection};

use self::measure::{Documents, Ends, Figures};
use self::subject::Subject;

const PARTITIONS: i32 = 4;
/// Documents of a measurement of throughput.
const BACKLOG: usize = 30_000;
const BACKLOG_OF_PYTHON: usize = 1_500;
const SLOW_RATE: f64 = 10.0;

#[derive(Parser)]
struct Arguments {
    /// The program
    #[arg(long)]
    inference: PathBuf,
    /// The model's bundle
    #[arg(long)]
    model: PathBuf,
    /// Documents, one JSON object per line
    #[arg(long)]
    documents: PathBuf,
    /// A Python that has spaCy and confluent-kafka
    #[arg(long)]
    python: PathBuf,
    /// The engine's benchmark
    #[arg(long)]
    bench_ner: PathBuf,
    /// Values of `engine.slice_bytes` to compare
    #[arg(long, value_delimiter = ',')]
    slice_bytes: Vec<NonZeroUsize>,
}

/// Where everything is measured.
struct Place {
    arguments: Arguments,
    files: ModelFiles,
    kafka: Kafka,
    connection: Connection,
    documents: Documents,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let documents = Documents::read(&arguments.documents)?;
    let kafka = Kafka::start(&KafkaSettings::default()).await?;
    let place = Place {
        connection: connection(kafka.bootstrap_servers())?,
        files: ModelFiles::fetch().await?,
        arguments,
        kafka,
        documents,
    };
    say("| | documents/s | CPU s per 1,000 | memory | 10/s: p50 | p99 | half load | p50 | p99 |")?;
    say("|---|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    if !place.arguments.slice_bytes.is_empty() {
        return place.slices().await;
    }
    let python = place.figures(Way::Python, BACKLOG_OF_PYTHON).await?;
    row("one Python process", &python)?;
    let one = place.figures(Way::worker(1), BACKLOG).await?;
    row("`inference`, 1 thread", &one)?;
    let two = place.figures(Way::worker(2), BACKLOG).await?;
    row("`inference`, 2 threads", &two)?;
    let engine = place.engine()?;
    say(&format!(
        "\nOne thread against the Python process: {:.1} times the documents/s, {:.1} times less CPU, {:.2} times the memory.",
        one.rate / python.rate,
        python.cpu_per_1000 / one.cpu_per_1000,
        one.memory_mb / python.memory_mb,
    ))?;
    say(&format!(
        "The engine alone, one thread: {engine:.0} documents/s; the worker loses {:.0} % of that.",
        100.0 * (1.0 - one.rate / engine)
    ))
}

/// Who does the job.
#[derive(Clone, Copy)]
enum Way {
    Worker {
        threads: usize,
        slice_bytes: Option<NonZeroUsize>,
    },
    Python,
}

impl Way {
    fn worker(threads: usize) -> Self {
        let slice_bytes = None;
        Self::Worker { threads, slice_bytes }
    }
}

impl Place {
    async fn slices(&self) -> anyhow::Result<()> {
        for bytes in &self.arguments.slice_bytes {
            let way = Way::Worker {
                threads: 1,
                slice_bytes: Some(*bytes),
            };
            row(
                &format!("`engine.slice_bytes = {bytes}`"),
                &self.figures(way, BACKLOG).await?,
            )?;
        }
        Ok(())
    }

    /// Measures a way: a backlog first, then documents that come one by one.
    async fn figures(&self, way: Way, backlog: usize) -> anyhow::Result<Figures> {
        let (input, output) = self.topics(way).await?;
        self.documents.produce(&self.connection, &input, backlog).await?;
        let folder = tempfile::tempdir()?;
        let subject = self.start(way, &folder, &input, &output).await?;
        let mut ends = Ends {
            connection: &self.connection,
            documents: &self.documents,
            results: testbed::consume(&self.connection, &output, PARTITIONS)?,
            input,
        };
        let throughput = ends.throughput(&subject, backlog).await?;
        let slow = ends.latency(SLOW_RATE).await?;
        let half = ends.latency(throughput.rate / 2.0).await?;
        let memory_mb = subject.memory_mb().context("the process has ended")?;
        Ok(Figures {
            rate: throughput.rate,
            cpu_per_1000: throughput.cpu_per_1000,
            memory_mb,
            slow,
            half,
        })
    }

    async fn topics(&self, way: Way) -> anyhow::Result<(Topic, Topic)> {
        let name = match way {
            Way::Worker { threads, slice_bytes } => {
                format!("worker-{threads}-{}", slice_bytes.map_or(0, NonZeroUsize::get))
            }
            Way::Python => "python".to_owned(),
        };
        let [input, output] = ["input", "output"].map(|end| Topic::from(format!("{name}-{end}").as_str()));
        let topics = TopicAdmin::new(&self.connection)?;
        for topic in [&input, &output] {
            topics.create(topic, PARTITIONS).await?;
        }
        Ok((input, output))
    }

    async fn start(
        &self,
        way: Way,
        folder: &tempfile::TempDir,
        input: &Topic,
        output: &Topic,
    ) -> anyhow::Result<Subject> {
        let servers = self.kafka.bootstrap_servers();
        let Way::Worker { threads, slice_bytes } = way else {
            return Subject::python(&self.arguments.python, servers, input, output);
        };
        let mut raw = inference::config::Raw::default();
        servers.clone_into(&mut raw.kafka.bootstrap_servers);
        input.as_str().clone_into(&mut raw.input.topic);
        output.as_str().clone_into(&mut raw.output.topic);
        raw.model.folder.clone_from(&self.arguments.model);
        raw.model.onnx_runtime = Some(self.files.library.clone());
        raw.engine.threads = threads.try_into()?;
        raw.engine.slice_bytes = slice_bytes.unwrap_or(raw.engine.slice_bytes);
        raw.progress.checkpoint = folder.path().join("checkpoint").into();
        Subject::worker(&self.arguments.inference, folder.path(), &toml::to_string(&raw)?).await
    }

    /// Documents per second of the engine alone.
    fn engine(&self) -> anyhow::Result<f64> {
        let output = std::process::Command::new(&self.arguments.bench_ner)
            .arg("--model")
            .arg(&self.arguments.model)
            .arg("--onnx-runtime")
            .arg(&self.files.library)
            .arg("--texts")
            .arg(&self.arguments.documents)
            .output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        report["texts_per_second"]
            .as_f64()
            .context("bench_ner says how fast it is")
    }
}

fn row(name: &str, figures: &Figures) -> anyhow::Result<()> {
    let Figures { slow, half, .. } = figures;
    say(&format!(
        "| {name} | {:.0} | {:.2} | {:.0} MB | {:.1} ms | {:.1} ms | {:.0}/s | {:.1} ms | {:.1} ms |",
        figures.rate,
        figures.cpu_per_1000,
        figures.memory_mb,
        slow.p50_ms,
        slow.p99_ms,
        half.rate,
        half.p50_ms,
        half.p99_ms,
    ))
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

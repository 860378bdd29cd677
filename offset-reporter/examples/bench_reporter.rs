//! What the reporter costs: CPU, memory and requests for many streams, and how soon the group has what a checkpoint has.
//!
//! usage: `bench_reporter --reporter FILE [--streams N] [--seconds N]`
//!
//! Against Apache Kafka, and `SeaweedFS` for the checkpoints on S3. An idle stream commits no batch; a busy one commits one
//! in every poll interval, which is the most that costs.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]
#![expect(
    clippy::cast_precision_loss,
    reason = "what is counted here is far below 2^52"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use kafka_admin::Topic;
use tempfile::TempDir;
use testbed::{
    Kafka, KafkaSettings, Process, S3Server, TopicAdmin, connection, cpu_seconds, resident_bytes, until,
};
use tokio::time::{Instant, sleep_until};

const BUCKET: &str = "checkpoints";
/// Each stream has a topic of its own, with so many partitions.
const PARTITIONS: i32 = 2;
/// How often a stream is looked at, as in production.
const POLL: Duration = Duration::from_secs(10);
/// After how long without a batch a stream counts as idle, and a poll interval.
const UNTIL_IDLE: Duration = Duration::from_secs(100);
/// How long all streams may take to be reported once.
const PATIENCE: Duration = Duration::from_mins(5);
const SECONDS_PER_MONTH: f64 = 30.0 * 24.0 * 3600.0;
/// List prices of S3 Standard in us-east-1, in dollars for a request.
const LIST_PRICE: f64 = 0.005 / 1000.0;
const GET_PRICE: f64 = 0.0004 / 1000.0;

#[derive(Parser)]
struct Arguments {
    /// The reporter's binary
    #[arg(long)]
    reporter: PathBuf,
    /// How many streams
    #[arg(long, default_value_t = 1000)]
    streams: usize,
    /// How long each way is measured
    #[arg(long, default_value_t = 120)]
    seconds: u64,
}

/// Where checkpoints are.
enum Store {
    Disk(TempDir),
    S3(Box<S3Server>),
}

impl Store {
    fn name(&self) -> &'static str {
        match self {
            Self::Disk(_) => "disk",
            Self::S3(_) => "S3",
        }
    }

    fn location(&self, stream: usize) -> String {
        match self {
            Self::Disk(folder) => folder.path().join(stream.to_string()).display().to_string(),
            Self::S3(_) => format!("s3://{BUCKET}/{stream}"),
        }
    }

    async fn put(&self, stream: usize, key: &str, content: &str) -> anyhow::Result<()> {
        match self {
            Self::Disk(folder) => {
                let path = folder.path().join(stream.to_string()).join(key);
                std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
                // Under its name it appears whole.
                let unfinished = path.with_extension("tmp");
                std::fs::write(&unfinished, content)?;
                Ok(std::fs::rename(unfinished, path)?)
            }
            Self::S3(server) => server.put(BUCKET, &format!("{stream}/{key}"), content).await,
        }
    }

    async fn commit(&self, stream: usize, batch: usize) -> anyhow::Result<()> {
        let topic = topic(stream);
        let partitions: Vec<_> = (0..PARTITIONS)
            .map(|partition| format!("\"{partition}\":{batch}"))
            .collect();
        let plan = format!(
            "v1\n{{\"batchTimestampMs\":1}}\n{{\"{topic}\":{{{}}}}}",
            partitions.join(",")
        );
        self.put(stream, &format!("offsets/{batch}"), &plan).await?;
        self.put(
            stream,
            &format!("commits/{batch}"),
            "v1\n{\"nextBatchWatermarkMs\":0}",
        )
        .await
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let kafka = Kafka::start(&KafkaSettings::default()).await?;
    let topics = TopicAdmin::new(&connection(kafka.bootstrap_servers())?)?;
    for stream in 0..arguments.streams {
        topics
            .create(&Topic::from(topic(stream).as_str()), PARTITIONS)
            .await?;
    }
    println!(
        "{} streams of a topic with {PARTITIONS} partitions each, a look every {POLL:?}, {} s each\n",
        arguments.streams, arguments.seconds
    );
    println!(
        "| checkpoints | streams are | CPU of a core | memory | GET | LIST | USD a stream and month | commit to commit: mean |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|");
    for store in [disk()?, s3().await?] {
        for stream in 0..arguments.streams {
            store
                .put(
                    stream,
                    "metadata",
                    &format!("{{\"id\":\"{stream:08}-0195-4220-ade2-7cf05b9724bc\"}}"),
                )
                .await?;
            store.commit(stream, 0).await?;
        }
        for busy in [false, true] {
            println!(
                "{}",
                measure(&arguments, kafka.bootstrap_servers(), &store, busy).await?
            );
        }
    }
    Ok(())
}

fn topic(stream: usize) -> String {
    format!("input-{stream}")
}

fn disk() -> anyhow::Result<Store> {
    Ok(Store::Disk(tempfile::tempdir()?))
}

async fn s3() -> anyhow::Result<Store> {
    let server = S3Server::start().await?;
    server.create_bucket(BUCKET).await?;
    Ok(Store::S3(Box::new(server)))
}

/// The counters of a reporter at a moment.
#[derive(Clone, Copy)]
struct Reading {
    cpu: f64,
    gets: f64,
    lists: f64,
    delays: f64,
    delayed: f64,
}

async fn read(process: &Process) -> anyhow::Result<Reading> {
    let (_, page) = process.get("/metrics").await.context("the reporter answers")?;
    let sum = |prefix: &str| -> f64 {
        let lines = page.lines().filter(|line| line.starts_with(prefix));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    let requests = |operation: &str| -> f64 {
        let lines = page
            .lines()
            .filter(|line| line.starts_with("offset_reporter_storage_requests_total"));
        let of_operation = lines.filter(|line| line.contains(&format!("op=\"{operation}\"")));
        of_operation
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    Ok(Reading {
        cpu: cpu_seconds(process.id()).context("the reporter runs")?,
        gets: requests("get"),
        lists: requests("list"),
        delays: sum("offset_reporter_commit_delay_seconds_sum"),
        delayed: sum("offset_reporter_commit_delay_seconds_count"),
    })
}

async fn measure(arguments: &Arguments, kafka: &str, store: &Store, busy: bool) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let group = format!("{}-{busy}", store.name());
    let (config, variables) = configuration(arguments, kafka, store, &group);
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let process = Process::start(&arguments.reporter, folder.path(), &config, &variables)?;
    let all = arguments.streams as f64;
    let reported = until(PATIENCE, async || {
        (process.metric("offset_reporter_commits_total").await? >= all).then_some(())
    });
    reported.await.with_context(|| process.log())?;
    if !busy {
        tokio::time::sleep(UNTIL_IDLE).await;
    }
    let before = read(&process).await?;
    let (began, end) = (
        Instant::now(),
        Instant::now() + Duration::from_secs(arguments.seconds),
    );
    if busy {
        work(arguments.streams, store, end).await?;
    }
    sleep_until(end).await;
    let (after, seconds) = (read(&process).await?, began.elapsed().as_secs_f64());
    let memory = resident_bytes(process.id()).context("the reporter runs")? as f64 / 1e6;
    process.stop().await?;
    let (gets, lists) = (after.gets - before.gets, after.lists - before.lists);
    let cost = (gets * GET_PRICE + lists * LIST_PRICE) / all / seconds * SECONDS_PER_MONTH;
    let delay = (after.delays - before.delays) / (after.delayed - before.delayed);
    let mut row = format!("| {} | {} ", store.name(), if busy { "busy" } else { "idle" });
    write!(
        row,
        "| {:.2} % | {memory:.0} MB ",
        100.0 * (after.cpu - before.cpu) / seconds
    )?;
    write!(
        row,
        "| {gets} | {lists} | {cost:.2} | {} |",
        if busy {
            format!("{delay:.1} s")
        } else {
            "-".to_owned()
        }
    )?;
    Ok(row)
}

/// Commits a batch of each stream in every poll interval, spread over it.
async fn work(streams: usize, store: &Store, end: Instant) -> anyhow::Result<()> {
    let began = Instant::now();
    for number in 0.. {
        let turn = began + POLL.mul_f64(number as f64 / streams as f64);
        if turn >= end {
            return Ok(());
        }
        sleep_until(turn).await;
        store.commit(number % streams, 1 + number / streams).await?;
    }
    Ok(())
}

fn configuration(
    arguments: &Arguments,
    kafka: &str,
    store: &Store,
    group: &str,
) -> (String, Vec<(&'static str, String)>) {
    let mut config = format!("kafka.bootstrap_servers = \"{kafka}\"\n");
    let mut variables = Vec::new();
    if let Store::S3(server) = store {
        // Writing to a String cannot fail.
        let _infallible = write!(
            config,
            "s3.endpoint = \"{}\"\ns3.path_style = true\n",
            server.endpoint()
        );
        variables.push(("AWS_ACCESS_KEY_ID", server.access_key().to_owned()));
        variables.push(("AWS_SECRET_ACCESS_KEY", server.secret_key().to_owned()));
    }
    for stream in 0..arguments.streams {
        let place = store.location(stream);
        let _infallible = write!(
            config,
            "[[streams]]\nname = \"{group}-{stream}\"\ncheckpoint = '{place}'\n"
        );
    }
    (config, variables)
}

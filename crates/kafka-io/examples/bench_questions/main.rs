//! What it costs to ask for the committed offsets of many groups and for many log ends: librdkafka's calls beside those of
//! `kafka-admin`, each in a process of its own, in one run.
//!
//! usage: `bench_questions [--groups N] [--rounds N]`

#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]

mod librdkafka;

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use kafka_admin::{Admin, Connection, GroupId, LogEnd, Topic, TopicPartition};
use testbed::{
    Kafka, KafkaSettings, TopicAdmin, commit_offsets, connection, cpu_seconds, resident_bytes, until,
};
use tokio::process::Command;
use tokio::time::Instant;

/// The topics of which the ends are asked for; the groups have committed in the first.
const TOPICS: usize = 20;
const PARTITIONS: i32 = 100;
const DEFAULT_GROUPS: usize = 1000;
/// How long a group may take to be committed to.
const TIMEOUT: Duration = Duration::from_mins(1);
const DEFAULT_ROUNDS: usize = 20;

/// What is asked.
struct Questions {
    groups: Vec<String>,
    partitions: Vec<TopicPartition>,
    rounds: usize,
}

impl Questions {
    fn new(groups: usize, rounds: usize) -> Self {
        let topic = |number| Topic::from(format!("bench-{number}").as_str());
        let of = |topic: Topic| (0..PARTITIONS).map(move |partition| topic.partition(partition));
        Self {
            groups: (0..groups).map(|number| format!("bench-{number}")).collect(),
            partitions: (0..TOPICS).map(topic).flat_map(of).collect(),
            rounds,
        }
    }
}

fn main() -> anyhow::Result<()> {
    // One thread: what it uses is what the questions cost.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let number = |name: &str, default| {
        let value = arguments.iter().skip_while(|argument| *argument != name).nth(1);
        value.map_or(Ok(default), |value| value.parse().context("a number"))
    };
    let (groups, rounds) = (
        number("--groups", DEFAULT_GROUPS)?,
        number("--rounds", DEFAULT_ROUNDS)?,
    );
    let questions = Questions::new(groups, rounds);
    match &arguments[..] {
        [way, servers, ..] if way == "ours" => ours(&connection(servers)?, &questions).await,
        [way, servers, ..] if way == "librdkafka" => librdkafka(&connection(servers)?, &questions),
        _ => compare(&questions).await,
    }
}

/// Runs both ways against a broker with all that is asked for.
async fn compare(questions: &Questions) -> anyhow::Result<()> {
    let kafka = Kafka::start(&KafkaSettings::default()).await?;
    let connection = connection(kafka.bootstrap_servers())?;
    let topics = TopicAdmin::new(&connection)?;
    for number in 0..TOPICS {
        let topic = Topic::from(format!("bench-{number}").as_str());
        topics.create(&topic, PARTITIONS).await?;
    }
    let first = questions.partitions.iter().take(usize::try_from(PARTITIONS)?);
    let offsets: Vec<_> = first.map(|partition| (partition.clone(), 7)).collect();
    let admin = Admin::new(&connection);
    for group in &questions.groups {
        // A group of a new broker has no coordinator at first, and a new topic no leaders.
        let committed = until(TIMEOUT, async || {
            commit_offsets(&admin, group, &offsets, "").await.ok()
        });
        committed
            .await
            .with_context(|| format!("{group} cannot commit"))?;
    }
    println!(
        "{} groups of {PARTITIONS} partitions, {} log ends, {} rounds; for each round:\n",
        questions.groups.len(),
        questions.partitions.len(),
        questions.rounds
    );
    println!("| | CPU, groups | time | CPU, ends | time | memory |\n|---|--:|--:|--:|--:|--:|");
    for way in ["librdkafka", "ours"] {
        let mut child = Command::new(std::env::current_exe()?);
        child.args([way, kafka.bootstrap_servers()]);
        child.args(["--groups", &questions.groups.len().to_string()]);
        child.args(["--rounds", &questions.rounds.to_string()]);
        let status = child.kill_on_drop(true).status().await?;
        ensure!(status.success(), "{way} failed");
    }
    Ok(())
}

async fn ours(connection: &Connection, questions: &Questions) -> anyhow::Result<()> {
    let admin = Admin::new(connection);
    let groups: Vec<_> = questions
        .groups
        .iter()
        .map(|group| GroupId::from(group.as_str()))
        .collect();
    let (mut of_groups, mut of_ends) = (Cost::default(), Cost::default());
    // The first round connects, and finds leaders and coordinators.
    for round in 0..=questions.rounds {
        let begun = Moment::now()?;
        let mut committed = 0;
        for (_, answer) in admin.committed(&groups).await {
            committed += answer?.len();
        }
        let middle = Moment::now()?;
        let ends = admin.list_offsets(&questions.partitions, LogEnd::Latest).await;
        let known = ends.iter().filter(|(_, end)| end.is_ok()).count();
        check(questions, committed, known)?;
        if round > 0 {
            of_groups.add(&begun, &middle);
            of_ends.add(&middle, &Moment::now()?);
        }
    }
    report("kafka-admin", questions, &of_groups, &of_ends)
}

fn librdkafka(connection: &Connection, questions: &Questions) -> anyhow::Result<()> {
    let client = librdkafka::Client::new(connection)?;
    let (mut of_groups, mut of_ends) = (Cost::default(), Cost::default());
    for round in 0..=questions.rounds {
        let begun = Moment::now()?;
        let committed = client.committed(&questions.groups)?;
        let middle = Moment::now()?;
        let known = client.ends(&questions.partitions)?;
        check(questions, committed, known)?;
        if round > 0 {
            of_groups.add(&begun, &middle);
            of_ends.add(&middle, &Moment::now()?);
        }
    }
    report(
        "librdkafka, a call a group, 50 in flight",
        questions,
        &of_groups,
        &of_ends,
    )
}

fn check(questions: &Questions, committed: usize, ends: usize) -> anyhow::Result<()> {
    let expected = questions.groups.len() * usize::try_from(PARTITIONS)?;
    if committed != expected || ends != questions.partitions.len() {
        bail!("{committed} commits and {ends} ends were read");
    }
    Ok(())
}

/// A moment, and what this process has used until then.
struct Moment {
    at: Instant,
    cpu: f64,
}

impl Moment {
    fn now() -> anyhow::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            cpu: cpu_seconds(std::process::id()).context("this process runs")?,
        })
    }
}

#[derive(Default)]
struct Cost {
    cpu: f64,
    time: Duration,
}

impl Cost {
    fn add(&mut self, from: &Moment, to: &Moment) {
        self.cpu += to.cpu - from.cpu;
        self.time += to.at - from.at;
    }
}

fn report(way: &str, questions: &Questions, groups: &Cost, ends: &Cost) -> anyhow::Result<()> {
    let rounds = f64::from(u32::try_from(questions.rounds)?);
    let milliseconds = |seconds: f64| format!("{:.1} ms", 1e3 * seconds / rounds);
    let bytes = resident_bytes(std::process::id()).context("this process runs")?;
    println!(
        "| {way} | {} | {} | {} | {} | {} MB |",
        milliseconds(groups.cpu),
        milliseconds(groups.time.as_secs_f64()),
        milliseconds(ends.cpu),
        milliseconds(ends.time.as_secs_f64()),
        bytes / 1_000_000
    );
    Ok(())
}

//! What it costs to ask for the commits of many groups, and for the ends of many partitions: CPU and time for each round.
//!
//! usage: `bench_committed HOST:PORT GROUPS PARTITIONS ROUNDS TOPIC...`; each topic has so many partitions already.

use std::time::Duration;

use anyhow::{Context as _, bail};
use kafka_admin::{Admin, Connection, GroupId, LogEnd, Offset, RawKafka, TopicPartition};
use sidecar::Problems;
use tokio::time::Instant;

/// How long all groups may take to be committed to.
const TIMEOUT: Duration = Duration::from_mins(2);

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [servers, groups, partitions, rounds, topics @ ..] = &arguments[..] else {
        bail!("usage: bench_committed HOST:PORT GROUPS PARTITIONS ROUNDS TOPIC...");
    };
    let (groups, partitions, rounds): (usize, i32, usize) =
        (groups.parse()?, partitions.parse()?, rounds.parse()?);
    let raw = RawKafka {
        bootstrap_servers: servers.clone(),
        ..RawKafka::default()
    };
    let mut problems = Problems::new();
    let connection = Connection::check(raw, &mut problems).with_context(|| problems.to_string())?;
    let admin = Admin::new(&connection);
    let of = |topic: &String| {
        (0..partitions)
            .map(|partition| TopicPartition::new(topic, partition))
            .collect::<Vec<_>>()
    };
    let partitions: Vec<_> = topics.iter().flat_map(of).collect();
    let groups: Vec<_> = (0..groups)
        .map(|group| GroupId::from(&*format!("bench-{group}")))
        .collect();
    prepare(&admin, &groups, &partitions).await?;
    for _ in 0..rounds {
        let (begun, cpu) = (Instant::now(), cpu()?);
        let answers = admin.committed(&groups).await;
        report("committed", begun, cpu)?;
        let answers = answers
            .into_iter()
            .map(|(_, answer)| answer)
            .collect::<Result<Vec<_>, _>>()?;
        let count: usize = answers.iter().map(Vec::len).sum();
        if count != groups.len() * partitions.len() {
            bail!("{count} commits were read");
        }
        let (begun, cpu) = (Instant::now(), self::cpu()?);
        let ends = admin.list_offsets(&partitions, LogEnd::Latest).await;
        report("ends", begun, cpu)?;
        for (_, end) in ends {
            end?;
        }
    }
    Ok(())
}

async fn prepare(admin: &Admin, groups: &[GroupId], partitions: &[TopicPartition]) -> anyhow::Result<()> {
    let zero = Offset::new(0).context("zero is not negative")?;
    let offsets: Vec<_> = partitions
        .iter()
        .map(|partition| (partition.clone(), zero))
        .collect();
    let begun = Instant::now();
    for group in groups {
        while let Err(refusal) = admin.commit(group, &offsets, "").await {
            if begun.elapsed() > TIMEOUT {
                return Err(refusal.into());
            }
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it is what this program is for")]
fn report(what: &str, begun: Instant, cpu_before: Duration) -> anyhow::Result<()> {
    let cpu = cpu()?.saturating_sub(cpu_before);
    let status = std::fs::read_to_string("/proc/self/status")?;
    let memory = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap_or_default();
    println!("{what}: {cpu:.1?} CPU, {:.1?}, {memory}", begun.elapsed());
    Ok(())
}

/// The CPU time of this thread, which is all that runs.
fn cpu() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = stat.split(' ').next().context("schedstat is empty")?.parse()?;
    Ok(Duration::from_nanos(nanoseconds))
}

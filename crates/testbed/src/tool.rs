//! Owns runs of Kafka's own command line tools.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;
use tokio::time::timeout;

use crate::script;

/// How long a tool may take.
const TIMEOUT: Duration = Duration::from_mins(1);

/// What a tool printed.
pub(crate) struct Printed {
    pub(crate) output: String,
    pub(crate) errors: String,
    pub(crate) is_success: bool,
}

/// Runs the tool of this class.
pub(crate) async fn run(class: &str, arguments: &[&str]) -> anyhow::Result<Printed> {
    let jars = script::line("kafka/fetch", &[]).await?;
    let mut tool = Command::new("java");
    tool.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
        .args([&format!("{jars}/*"), class])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(TIMEOUT, tool.output())
        .await
        .context("Kafka's tool did not end")?;
    let output = output.context("cannot run java")?;
    Ok(Printed {
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        is_success: output.status.success(),
    })
}

/// Where all partitions end, by `kafka-get-offsets`: the topic, the partition and its end, sorted.
///
/// # Errors
/// If the tool cannot be had, or fails.
pub async fn get_offsets(servers: &str) -> anyhow::Result<Vec<(String, i32, i64)>> {
    let class = "org.apache.kafka.tools.GetOffsetShell";
    let printed = run(class, &["--bootstrap-server", servers]).await?;
    if !printed.is_success {
        bail!("Kafka's tool failed: {}{}", printed.output, printed.errors);
    }
    let mut ends: Vec<_> = printed.output.lines().filter_map(end).collect();
    ends.sort();
    Ok(ends)
}

/// `TOPIC:PARTITION:OFFSET`.
fn end(line: &str) -> Option<(String, i32, i64)> {
    let mut parts = line.rsplitn(3, ':');
    let (end, partition, topic) = (parts.next()?, parts.next()?, parts.next()?);
    Some((topic.to_owned(), partition.parse().ok()?, end.parse().ok()?))
}

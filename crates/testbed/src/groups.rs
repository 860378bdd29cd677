//! Owns what Kafka's own tool says about a consumer group.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;
use tokio::time::timeout;

use crate::script;

const TOOL: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
/// How long the tool may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A partition as `kafka-consumer-groups --describe` shows it. What it shows as `-` is not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupRow {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// What the group has committed.
    pub current_offset: Option<i64>,
    /// Where the partition ends.
    pub log_end_offset: Option<i64>,
    /// The difference.
    pub lag: Option<i64>,
    /// The member that has the partition.
    pub consumer: Option<String>,
}

/// Describes a group by Kafka's own tool, sorted by topic and partition. A group that does not exist has no rows.
///
/// # Errors
/// Where the tool cannot be had, or fails.
pub async fn consumer_groups(servers: &str, group: &str) -> anyhow::Result<Vec<GroupRow>> {
    let jars = script::line("kafka/fetch", &[]).await?;
    let mut tool = Command::new("java");
    tool.args([
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        &format!("{jars}/*"),
        TOOL,
    ])
    .args(["--bootstrap-server", servers, "--describe", "--group", group])
    .stdin(Stdio::null())
    .kill_on_drop(true);
    let output = timeout(PATIENCE, tool.output())
        .await
        .context("Kafka's tool did not end")?;
    let output = output.context("cannot run java")?;
    let (printed, told) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    // Whatever goes wrong, it is printed where the table would be.
    if printed.contains("GroupIdNotFoundException") {
        return Ok(Vec::new());
    }
    if !output.status.success() || printed.contains("Error: ") {
        bail!("Kafka's tool failed: {printed}{told}");
    }
    let mut rows: Vec<_> = printed.lines().filter_map(|line| row(line, group)).collect();
    rows.sort();
    Ok(rows)
}

/// `GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID`.
fn row(line: &str, group: &str) -> Option<GroupRow> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let [name, topic, partition, current, end, lag, consumer, ..] = columns[..] else {
        return None;
    };
    if name != group {
        return None;
    }
    Some(GroupRow {
        topic: topic.to_owned(),
        partition: partition.parse().ok()?,
        current_offset: current.parse().ok(),
        log_end_offset: end.parse().ok(),
        lag: lag.parse().ok(),
        consumer: (consumer != "-").then(|| consumer.to_owned()),
    })
}

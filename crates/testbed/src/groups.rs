//! Owns what Kafka's own tool says about a consumer group.

use anyhow::bail;

use crate::tool;

const TOOL: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

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
    let arguments = ["--bootstrap-server", servers, "--describe", "--group", group];
    let printed = tool::run(TOOL, &arguments).await?;
    let (output, errors) = (printed.output, printed.errors);
    // Whatever goes wrong, it is printed where the table would be.
    if output.contains("GroupIdNotFoundException") {
        return Ok(Vec::new());
    }
    if !printed.is_success || output.contains("Error: ") {
        bail!("Kafka's tool failed: {output}{errors}");
    }
    let mut rows: Vec<_> = output.lines().filter_map(|line| row(line, group)).collect();
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

//! Prints the values of a topic's records, from the first on, until interrupted or so many are printed.
//!
//! usage: `consume_result` HOST:PORT TOPIC [COUNT]

use std::io::Write;

use anyhow::{Context, bail};
use kafka_admin::{Admin, RawKafka, Topic};
use kafka_io::{Consumer, Event, Start, StartWithout};
use sidecar::Problems;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (broker, topic, count) = match arguments.as_slice() {
        [broker, topic] => (broker, topic, usize::MAX),
        [broker, topic, count] => (broker, topic, count.parse().context("COUNT is no number")?),
        _ => bail!("usage: consume_result HOST:PORT TOPIC [COUNT]"),
    };
    let raw = RawKafka {
        bootstrap_servers: broker.clone(),
        ..RawKafka::default()
    };
    let connection = kafka_io::check(raw, &mut Problems::new()).context("HOST:PORT is empty")?;
    let topic = Topic::from(topic.as_str());
    let described = Admin::new(&connection)
        .describe_topics(std::slice::from_ref(&topic))
        .await?;
    let (_, described) = described.into_iter().next().context("the topic is described")?;
    let partitions = described
        .with_context(|| format!("the topic {topic} on {broker}"))?
        .partitions;
    let start = Start::Without(StartWithout::Earliest);
    let starts: Vec<_> = partitions
        .into_keys()
        .map(|partition| (partition, start))
        .collect();
    let (consumer, mut events) = Consumer::assigned(&connection, &topic, &starts)?;
    let (mut printed, mut output) = (0, std::io::stdout().lock());
    while printed < count {
        match events.recv().await.context("the consumer ended")? {
            Event::Record(record) => {
                output.write_all(record.value.as_deref().unwrap_or(b"null"))?;
                output.write_all(b"\n")?;
                printed += 1;
            }
            Event::Disconnected(why) => bail!("{broker} does not answer: {why}"),
            _ => {}
        }
    }
    consumer.close().await;
    Ok(())
}

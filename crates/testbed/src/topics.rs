//! Owns what tests put into topics and find in them.

use std::time::Duration;

use anyhow::Context;
use kafka_admin::{Connection, Partition, RawKafka, Topic};
use kafka_io::{
    Compression, Consumer, Event, Outgoing, Producer, ProducerSettings, Record, Start, StartWithout,
};
use sidecar::Problems;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

/// How long a broker may take to acknowledge what a test produces.
const PATIENCE: Duration = Duration::from_mins(1);
/// The most records of a test that are on their way to the broker. librdkafka counts a record until after its report.
const IN_FLIGHT: usize = 10_000;

/// How to reach a cluster that asks for no secret.
///
/// # Errors
/// Where the address is none.
pub fn connection(servers: &str) -> anyhow::Result<Connection> {
    let raw = RawKafka {
        bootstrap_servers: servers.to_owned(),
        ..RawKafka::default()
    };
    let mut problems = Problems::new();
    kafka_io::check(raw, &mut problems).with_context(|| problems.to_string())
}

/// Produces records and waits until all are acknowledged.
///
/// # Errors
/// Where the broker does not take them.
pub async fn produce(
    connection: &Connection,
    compression: Compression,
    records: impl IntoIterator<Item = Outgoing>,
) -> anyhow::Result<()> {
    let settings = ProducerSettings {
        linger: Duration::from_millis(5),
        compression,
        delivery_timeout: PATIENCE,
        in_flight: IN_FLIGHT * 2,
    };
    let (producer, mut deliveries) = Producer::new(connection, settings)?;
    let mut pending = 0;
    let mut records = records.into_iter().peekable();
    while pending > 0 || records.peek().is_some() {
        while pending < IN_FLIGHT
            && let Some(record) = records.next()
        {
            producer.send(0, &record)?;
            pending += 1;
        }
        deliveries.recv().await.context("the producer lives")?.result?;
        pending -= 1;
    }
    Ok(())
}

/// What was found in a topic.
pub struct Found {
    events: Receiver<Event>,
    _consumer: Consumer,
}

/// Reads all partitions of a topic from the beginning.
///
/// # Errors
/// Where the topic cannot be read.
pub fn consume(connection: &Connection, topic: &Topic, partitions: i32) -> anyhow::Result<Found> {
    let start = Start::Without(StartWithout::Earliest);
    let starts: Vec<_> = (0..partitions)
        .map(|partition| (Partition(partition), start))
        .collect();
    let (consumer, events) = Consumer::assigned(connection, topic, &starts)?;
    Ok(Found {
        events,
        _consumer: consumer,
    })
}

impl Found {
    /// The next record; `None` if none comes before the deadline.
    ///
    /// # Errors
    /// Where the topic cannot be read any more.
    pub async fn next(&mut self, deadline: Instant) -> anyhow::Result<Option<Record>> {
        loop {
            let Ok(event) = timeout_at(deadline, self.events.recv()).await else {
                return Ok(None);
            };
            match event.context("the consumer lives")? {
                Event::Record(record) => return Ok(Some(record)),
                Event::Failed(why) => anyhow::bail!("reading cannot go on: {why}"),
                _ => {}
            }
        }
    }

    /// Takes records until `enough` says so.
    ///
    /// # Errors
    /// Where that is not within `patience`.
    pub async fn take(
        &mut self,
        patience: Duration,
        mut enough: impl FnMut(&[Record]) -> bool,
    ) -> anyhow::Result<Vec<Record>> {
        let deadline = Instant::now() + patience;
        let mut records = Vec::new();
        while !enough(&records) {
            match self.next(deadline).await? {
                Some(record) => records.push(record),
                None => anyhow::bail!("only {} records came in {patience:?}", records.len()),
            }
        }
        Ok(records)
    }
}

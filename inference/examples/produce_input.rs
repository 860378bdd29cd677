//! Sends the lines of a file to a topic, as fast as the broker takes them.
//!
//! usage: `produce_input` HOST:PORT TOPIC FILE

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use kafka_admin::{Connection, RawKafka, Topic};
use kafka_io::{Compression, Outgoing, Producer, ProducerSettings, SendError};
use sidecar::Problems;

/// Lines that may be on their way at a time.
const IN_FLIGHT: usize = 10_000;
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [broker, topic, file] = arguments.as_slice() else {
        bail!("usage: produce_input HOST:PORT TOPIC FILE")
    };
    let raw = RawKafka {
        bootstrap_servers: broker.clone(),
        ..RawKafka::default()
    };
    let connection = Connection::check(raw, &mut Problems::new()).context("HOST:PORT is empty")?;
    let settings = ProducerSettings {
        linger: Duration::from_millis(5),
        compression: Compression::Lz4,
        delivery_timeout: DELIVERY_TIMEOUT,
        in_flight: IN_FLIGHT,
    };
    let (producer, mut deliveries) = Producer::new(&connection, settings)?;
    let content = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let topic = Topic::from(topic.as_str());
    let (mut sent, mut delivered) = (0, 0);
    let mut lines = content.lines().filter(|line| !line.is_empty()).peekable();
    while lines.peek().is_some() || delivered < sent {
        if let Some(line) = lines.peek() {
            let value = Some(line.as_bytes().to_vec());
            let record = Outgoing {
                topic: topic.clone(),
                key: None,
                value,
                headers: Vec::new(),
            };
            match producer.send(sent, &record) {
                Ok(()) => {
                    sent += 1;
                    lines.next();
                    continue;
                }
                Err(SendError::QueueFull) => {}
                Err(SendError::Refused(error)) => return Err(error).context("a line was not taken"),
            }
        }
        deliveries
            .recv()
            .await
            .context("the producer ended")?
            .result
            .context("a line was not delivered")?;
        delivered += 1;
    }
    writeln!(
        std::io::stdout(),
        "{delivered} messages sent to {topic} on {broker}"
    )?;
    Ok(())
}

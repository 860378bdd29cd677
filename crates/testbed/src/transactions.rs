//! Owns what tests write in transactions.

use std::time::Duration;

use anyhow::Context as _;
use kafka_admin::{Connection, Topic};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use tokio::task::spawn_blocking;

/// How long a broker may take for any step of a transaction.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Its records are there for everybody.
    Commit,
    /// Its records are there for nobody who reads what is committed.
    Abort,
}

/// Writes records with these values to a topic, in one transaction.
///
/// # Errors
/// If the broker does not take them.
pub async fn produce_in_transaction(
    connection: &Connection,
    topic: &Topic,
    values: Vec<String>,
    ending: Ending,
) -> anyhow::Result<()> {
    let mut config: ClientConfig = kafka_io::librdkafka_settings(connection).into_iter().collect();
    config.set("transactional.id", format!("testbed-{topic}"));
    let topic = topic.clone();
    let written = spawn_blocking(move || {
        let producer: ThreadedProducer<DefaultProducerContext> = config.create()?;
        producer.init_transactions(PATIENCE)?;
        producer.begin_transaction()?;
        for value in &values {
            let record = BaseRecord::to(topic.as_str()).key(value).payload(value);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(PATIENCE)?;
        match ending {
            Ending::Commit => producer.commit_transaction(PATIENCE),
            Ending::Abort => producer.abort_transaction(PATIENCE),
        }
    });
    written.await?.context("a transaction failed")
}

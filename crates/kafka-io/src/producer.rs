//! Owns writing records: an idempotent producer that reports every delivery, once, on a channel.

use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as NativeError, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::context::{describe, log};
use crate::{Connection, KafkaError, Outgoing};

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerSettings {
    /// How long a record waits for company.
    pub linger: Duration,
    /// How batches are compressed.
    pub compression: Compression,
    /// How long librdkafka tries before it gives a record up.
    pub delivery_timeout: Duration,
    /// How many records may be unreported at a time: the bound of the queue and of the reports.
    pub in_flight: usize,
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip: small and slow.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4: fast.
    #[default]
    Lz4,
    /// Zstandard: small and quick.
    Zstd,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// What became of a record that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The tag that was given to [`Producer::send`].
    pub tag: usize,
    /// Whether all replicas in sync have it.
    pub result: Result<(), DeliveryError>,
}

/// Why a record was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The record is greater than the broker or the topic takes; a smaller one would go through.
    #[error("the record is too large for the broker or topic")]
    TooLarge,
    /// It could not be delivered in time, or not at all; whether the broker has it is not known.
    #[error("the record was not delivered: {0}")]
    Failed(String),
}

/// Why a record was not even taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The queue is full; try again when deliveries have been reported.
    #[error("the producer's queue is full")]
    QueueFull,
    /// See [`DeliveryError`].
    #[error(transparent)]
    Refused(DeliveryError),
}

/// Writes records. One thread of librdkafka's reports the deliveries.
pub struct Producer(ThreadedProducer<Reports>);

impl Producer {
    /// A producer, and where it reports deliveries.
    ///
    /// # Errors
    /// Where librdkafka refuses the settings.
    pub fn new(
        connection: &Connection,
        settings: ProducerSettings,
    ) -> Result<(Self, mpsc::Receiver<Delivery>), KafkaError> {
        let (reports, receiver) = mpsc::channel(settings.in_flight);
        let mut config = connection.client_config();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", settings.linger.as_millis().to_string())
            .set("compression.type", settings.compression.name())
            .set(
                "message.timeout.ms",
                settings.delivery_timeout.as_millis().to_string(),
            )
            .set("queue.buffering.max.messages", settings.in_flight.to_string());
        let producer = config.create_with_context(Reports { reports });
        let producer = producer.map_err(|error| KafkaError::new("cannot make a Kafka producer", error))?;
        Ok((Self(producer), receiver))
    }

    /// Sends a record. Its delivery is reported with `tag`, unless this fails.
    ///
    /// # Errors
    /// Where the record was not taken.
    pub fn send(&self, tag: usize, record: &Outgoing) -> Result<(), SendError> {
        let mut native: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(record.topic.as_str(), tag);
        native.key = record.key.as_deref();
        native.payload = record.value.as_deref();
        native.headers = record.native_headers();
        self.0.send(native).map_err(|(error, _record)| match error {
            NativeError::MessageProduction(Code::QueueFull) => SendError::QueueFull,
            error => SendError::Refused(delivery_error(&error)),
        })
    }
}

/// Where librdkafka's thread reports deliveries.
struct Reports {
    reports: mpsc::Sender<Delivery>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: NativeError, reason: &str) {
        // What matters of it comes with the deliveries.
        tracing::debug!(target: "librdkafka", %error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        let result = result
            .as_ref()
            .map(|_message| ())
            .map_err(|(error, _message)| delivery_error(error));
        // If nobody listens any more, nobody cares.
        let sent = self.reports.try_send(Delivery { tag, result });
        // Within a runtime this is the producer's end, which reports what was never sent; nobody takes that.
        if let Err(TrySendError::Full(delivery)) = sent
            && Handle::try_current().is_err()
        {
            drop(self.reports.blocking_send(delivery));
        }
    }
}

fn delivery_error(error: &NativeError) -> DeliveryError {
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => DeliveryError::TooLarge,
        Some(code) => DeliveryError::Failed(describe(code)),
        None => DeliveryError::Failed(error.to_string()),
    }
}

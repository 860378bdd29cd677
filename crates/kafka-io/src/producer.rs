//! Owns writing records: an idempotent producer that reports every delivery, once, on a channel.

use std::error::Error;
use std::time::Duration;

use kafka_admin::Connection;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as NativeError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::context::{Trouble, describe};
use crate::ending::{End, LastHeld, Life};
use crate::reason::Reason;
use crate::settings::client_config;
use crate::tokens::Tokens;
use crate::{KafkaError, Outgoing};

/// The largest record that librdkafka takes, in bytes before compression. Its own default would refuse records that the
/// broker takes: how large a record may be is said by the topic's `max.message.bytes`, and is about the compressed batch. A
/// request above the broker's `socket.request.max.bytes`, by default 100 MiB, ends the connection instead of being refused.
const MAX_RECORD_BYTES: &str = "100000000";
/// Keys land on the partitions where Kafka's Java clients, and so Spark, put them.
const PARTITIONER: &str = "murmur2_random";
/// How long a topic may be missing until what is sent to it fails. A topic that was made just now is known by then.
const TOPIC_PATIENCE: &str = "5000";

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
    /// The broker refuses the record for what it is, such as one without a key in a compacted topic.
    #[error("the broker refuses the record; in a compacted topic it needs a key")]
    Invalid,
    /// The topic, or the partition of it that the record was for, does not exist or no longer does.
    #[error("the topic {0} does not exist, or lost a partition")]
    UnknownTopic(String),
    /// It could not be delivered in time, or not at all; whether the broker has it is not known.
    #[error("the record was not delivered: {0}")]
    Failed(String),
}

impl DeliveryError {
    /// Whether it is about a record of the batch itself, so that another record in its place can be delivered.
    pub fn is_of_the_record(&self) -> bool {
        matches!(self, Self::TooLarge | Self::Invalid)
    }
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
///
/// When it is dropped, what was not delivered is given up, and nothing more is reported; its threads end by themselves.
pub struct Producer {
    client: Client,
    end: End,
    last: LastHeld,
}

type Client = ThreadedProducer<Reports>;

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
        let mut config = client_config(connection);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", settings.linger.as_millis().to_string())
            .set("compression.type", settings.compression.name())
            .set(
                "message.timeout.ms",
                settings.delivery_timeout.as_millis().to_string(),
            )
            .set("topic.metadata.propagation.max.ms", TOPIC_PATIENCE)
            .set("queue.buffering.max.messages", settings.in_flight.to_string());
        for (name, value) in [
            ("message.max.bytes", MAX_RECORD_BYTES),
            ("partitioner", PARTITIONER),
        ] {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        let (end, life) = End::new()?;
        let context = Reports {
            sender: reports,
            life,
            trouble: Trouble::default(),
            tokens: Tokens::of(connection),
        };
        let client = config.create_with_context(context);
        let client = client.map_err(|error| KafkaError::new("cannot make a Kafka producer", error))?;
        let last = LastHeld::default();
        Ok((Self { client, end, last }, receiver))
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
        self.client.send(native).map_err(|(error, record)| match error {
            NativeError::MessageProduction(Code::QueueFull) => SendError::QueueFull,
            error => SendError::Refused(delivery_error(&error, record.topic, None)),
        })
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.end.come();
        let client = self.client.clone();
        drop(self.last.then("kafka-producer-end", move || drop(client)));
    }
}

/// Where librdkafka's thread reports deliveries.
struct Reports {
    sender: mpsc::Sender<Delivery>,
    life: Life,
    trouble: Trouble,
    tokens: Tokens,
}

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.trouble.log(level, facility, line);
    }

    fn error(&self, error: NativeError, reason: &str) {
        // It comes with the deliveries that it costs.
        self.trouble.hear(&error, reason);
    }

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens
            .generate()
            .inspect_err(|error| self.trouble.record(Reason::of_login(&error.to_string())))
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        let result = result.as_ref().map(|_message| ()).map_err(|(error, message)| {
            let reason = self.trouble.reason().map(|reason| reason.text);
            delivery_error(error, message.topic(), reason)
        });
        self.life.send(&self.sender, Delivery { tag, result });
    }
}

/// What an error means for a record; `reason` is what is known of the connection.
fn delivery_error(error: &NativeError, topic: &str, reason: Option<String>) -> DeliveryError {
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize) => {
            DeliveryError::TooLarge
        }
        // Of all records of the batch: who sends each alone learns which it was.
        Some(Code::InvalidRecord | Code::InvalidDifferentRecord) => DeliveryError::Invalid,
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
            DeliveryError::UnknownTopic(topic.to_owned())
        }
        Some(code @ Code::MessageTimedOut) => {
            let code = code.to_string();
            DeliveryError::Failed(reason.map_or(code.clone(), |reason| format!("{code}: {reason}")))
        }
        Some(code) => DeliveryError::Failed(describe(code)),
        None => DeliveryError::Failed(error.to_string()),
    }
}

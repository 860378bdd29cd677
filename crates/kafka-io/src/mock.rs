//! Owns librdkafka's mock cluster: brokers on loopback within this process, which other processes can reach too.

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::KafkaError;

/// A mock cluster. It ends when it is dropped.
pub struct MockBroker(MockCluster<'static, DefaultProducerContext>);

impl MockBroker {
    /// Starts a cluster of so many brokers, on free ports.
    ///
    /// # Errors
    /// Where librdkafka cannot start it.
    pub fn start(brokers: i32) -> Result<Self, KafkaError> {
        let cluster = MockCluster::new(brokers);
        cluster
            .map(Self)
            .map_err(|error| KafkaError::new("cannot start the mock cluster", error))
    }

    /// Its addresses.
    pub fn bootstrap_servers(&self) -> String {
        self.0.bootstrap_servers()
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// Where it exists already.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        let created = self.0.create_topic(name, partitions, 1);
        created.map_err(|error| KafkaError::new(format!("cannot create the topic {name}"), error))
    }

    /// Takes a broker, counted from 1, off the network.
    ///
    /// # Errors
    /// Where there is no such broker.
    pub fn take_down(&self, broker: i32) -> Result<(), KafkaError> {
        self.0
            .broker_down(broker)
            .map_err(|error| KafkaError::new("cannot take the broker down", error))
    }

    /// Puts a broker back.
    ///
    /// # Errors
    /// Where there is no such broker.
    pub fn bring_up(&self, broker: i32) -> Result<(), KafkaError> {
        self.0
            .broker_up(broker)
            .map_err(|error| KafkaError::new("cannot bring the broker up", error))
    }

    /// Refuses so many of the next questions about committed offsets, as to somebody without a right to the group.
    pub fn refuse_committed(&self, times: usize) {
        let code = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
        self.0
            .request_errors(RDKafkaApiKey::OffsetFetch, &vec![code; times]);
    }

    /// Refuses so many of the next batches because of their size.
    pub fn refuse_batches(&self, times: usize) {
        let code = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
        self.0.request_errors(RDKafkaApiKey::Produce, &vec![code; times]);
    }

    /// Says from now on that there is no such topic.
    ///
    /// # Errors
    /// Where the name cannot be one.
    pub fn hide_topic(&self, name: &str) -> Result<(), KafkaError> {
        let code = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        let hidden = self.0.topic_error(name, code);
        hidden.map_err(|error| KafkaError::new(format!("cannot hide the topic {name}"), error))
    }

    /// Makes a broker the leader of a partition.
    ///
    /// # Errors
    /// Where there is no such partition.
    pub fn lead(&self, broker: i32, topic: &str, partition: i32) -> Result<(), KafkaError> {
        let led = self.0.partition_leader(topic, partition, Some(broker));
        led.map_err(|error| KafkaError::new("cannot change the leader", error))
    }

    /// Lets a broker answer so late.
    ///
    /// # Errors
    /// Where there is no such broker.
    pub fn delay(&self, broker: i32, delay: Duration) -> Result<(), KafkaError> {
        let delayed = self.0.broker_round_trip_time(broker, delay);
        delayed.map_err(|error| KafkaError::new("cannot delay the broker", error))
    }
}

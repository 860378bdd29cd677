//! Owns librdkafka's mock cluster: brokers on loopback within this process, which other processes can reach too.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

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
}

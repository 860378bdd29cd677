//! Owns a cluster of several brokers of Apache Kafka, each of which can be killed, frozen and started again.

use anyhow::Context as _;

use crate::kafka::{Kafka, KafkaSettings};
use crate::server::free_ports;

/// The brokers of a cluster.
const BROKERS: usize = 3;

/// Three brokers on loopback. Topics of Kafka's own have three replicas, of which two must be in sync. They end, with their
/// data, when this is dropped.
pub struct KafkaCluster {
    brokers: Vec<Kafka>,
}

impl KafkaCluster {
    /// Starts a cluster with empty folders.
    ///
    /// # Errors
    /// If a broker cannot be had or started.
    pub async fn start(settings: &KafkaSettings) -> anyhow::Result<Self> {
        let ports = free_ports::<BROKERS>()?.map(|port| port.to_string()).join(",");
        let start = async |node: usize| {
            let node = ["--node".to_owned(), node.to_string()];
            let controllers = ["--controllers".to_owned(), ports.clone()];
            Kafka::start_with(settings, &[node, controllers].concat()).await
        };
        // None is up before most are.
        let brokers = tokio::join!(start(1), start(2), start(3));
        let brokers = [brokers.0, brokers.1, brokers.2].into_iter().collect();
        let brokers: anyhow::Result<Vec<_>> = brokers;
        Ok(Self {
            brokers: brokers.context("a cluster did not start")?,
        })
    }

    /// All addresses.
    pub fn bootstrap_servers(&self) -> String {
        let addresses: Vec<_> = self.brokers.iter().map(Kafka::bootstrap_servers).collect();
        addresses.join(",")
    }

    /// The brokers; the first has the id 1.
    pub fn brokers(&mut self) -> &mut [Kafka] {
        &mut self.brokers
    }
}

impl Drop for KafkaCluster {
    fn drop(&mut self) {
        // Those that are left without most others would wait for them before they end.
        for broker in &self.brokers {
            // One that was stopped has ended already.
            drop(broker.signal("KILL"));
        }
    }
}

//! Owns the question which brokers there are.

use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use tokio::time::Instant;

use crate::connection::Address;
use crate::{Admin, BrokerId, Refusal};

/// A cluster and its brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its id.
    pub id: Option<String>,
    /// The broker that acts for the controller (with KRaft: any of them), if there is one.
    pub controller: Option<BrokerId>,
    /// The brokers that are up.
    pub brokers: Vec<Broker>,
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: BrokerId,
    /// The address that it advertises, as `HOST:PORT`.
    pub address: String,
    /// Its rack.
    pub rack: Option<String>,
}

impl Admin {
    /// The cluster's id, controller and brokers.
    ///
    /// # Errors
    /// If no broker answers in time, with an address and the reason.
    pub async fn cluster(&self) -> Result<Cluster, Refusal> {
        // No topics: an empty list means none since version 1.
        let request = |_version| MetadataRequest::default().with_topics(Some(Vec::new()));
        let response = self.ask_metadata(self.deadline(), request).await?;
        Ok(Cluster {
            id: response.cluster_id.as_deref().map(str::to_owned),
            controller: Some(BrokerId(response.controller_id.0)).filter(|controller| controller.0 >= 0),
            brokers: response.brokers.iter().map(broker).collect(),
        })
    }

    /// Asks for metadata, and takes note of the brokers in the answer.
    pub(crate) async fn ask_metadata(
        &self,
        deadline: Instant,
        request: impl Fn(i16) -> MetadataRequest + Clone + Send + 'static,
    ) -> Result<MetadataResponse, Refusal> {
        let (response, _version) = self.ask_any(deadline, request).await?;
        Refusal::check(response.error_code, None)?;
        if response.brokers.is_empty() {
            // What it says of topics and groups is as empty.
            return Err(Refusal::unreachable(
                "the broker that answers has not heard of the cluster yet",
            ));
        }
        self.set_brokers(response.brokers.iter().filter_map(|broker| {
            let address = Address::advertised(&broker.host, broker.port)?;
            Some((BrokerId(broker.node_id.0), address))
        }));
        Ok(response)
    }

    /// The ids of all brokers.
    pub(crate) async fn broker_ids(&self, deadline: Instant) -> Result<Vec<BrokerId>, Refusal> {
        let request = |_version| MetadataRequest::default().with_topics(Some(Vec::new()));
        let response = self.ask_metadata(deadline, request).await?;
        let brokers = response.brokers.iter();
        Ok(brokers.map(|broker| BrokerId(broker.node_id.0)).collect())
    }
}

fn broker(broker: &kafka_protocol::messages::metadata_response::MetadataResponseBroker) -> Broker {
    Broker {
        id: BrokerId(broker.node_id.0),
        address: format!("{}:{}", broker.host, broker.port),
        rack: broker.rack.as_deref().map(str::to_owned),
    }
}

//! Owns what a Pushgateway tells about its groups, by `GET /api/v1/metrics`, and their end.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::client::Client;
use crate::grouping::GroupingKey;
use crate::push::PushError;
use crate::report::RUN;

/// The groups of a Pushgateway.
#[derive(Debug)]
pub struct Groups {
    client: Client,
    base: String,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was pushed to last, in seconds since 1970.
    pub push_time: f64,
    /// The run of an exporter that did; none if something else did.
    pub run: Option<String>,
}

impl Groups {
    /// Those of the gateway of this address.
    pub fn new(client: Client, base: &str) -> Self {
        Self {
            client,
            base: base.trim_end_matches('/').to_owned(),
        }
    }

    /// All groups.
    ///
    /// # Errors
    /// Where the gateway does not tell.
    pub async fn list(&self) -> Result<Vec<Group>, PushError> {
        let body = self.get("/api/v1/metrics").await?;
        let listing: Listing = serde_json::from_slice(&body)
            .map_err(|error| PushError::Failed(format!("{}: its list of groups: {error}", self.base)))?;
        Ok(listing.data.into_iter().map(Group::from).collect())
    }

    /// The version of the gateway.
    ///
    /// # Errors
    /// Where it does not tell.
    pub async fn version(&self) -> Result<String, PushError> {
        let body = self.get("/api/v1/status").await?;
        let status: serde_json::Value = serde_json::from_slice(&body)
            .map_err(|error| PushError::Failed(format!("{} is no Pushgateway: {error}", self.base)))?;
        let version = status["data"]["build_information"]["version"].as_str();
        Ok(version.unwrap_or("of an unknown version").to_owned())
    }

    /// Deletes the group of a key.
    ///
    /// # Errors
    /// Where the gateway does not do it.
    pub async fn delete(&self, key: &GroupingKey) -> Result<(), PushError> {
        let url = format!("{}{}", self.base, key.path());
        match self.client.delete(&url).await {
            Ok(answer) if answer.status == 202 => Ok(()),
            Ok(answer) => Err(PushError::of(answer.status, &url, &answer.explanation())),
            Err(error) => Err(PushError::without_answer(&url, &error)),
        }
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, PushError> {
        let url = format!("{}{path}", self.base);
        match self.client.get(&url, "application/json").await {
            Ok(answer) if answer.status == 200 => Ok(answer.body),
            Ok(answer) => Err(PushError::of(answer.status, &url, &answer.explanation())),
            Err(error) => Err(PushError::without_answer(&url, &error)),
        }
    }
}

impl Group {
    /// Whether it has exactly the labels of the key. A label without a value is as good as none.
    pub fn is_of(&self, key: &GroupingKey) -> bool {
        let with_value = |labels: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            let labels = labels.iter().filter(|(_, value)| !value.is_empty());
            labels
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        };
        with_value(&self.labels) == with_value(key.labels())
    }
}

#[derive(Debug, Deserialize)]
struct Listing {
    data: Vec<Told>,
}

#[derive(Debug, Deserialize)]
struct Told {
    labels: BTreeMap<String, String>,
    push_time_seconds: Option<Family>,
    spark_exporter_run_info: Option<Family>,
}

#[derive(Debug, Deserialize)]
struct Family {
    metrics: Vec<Metric>,
}

#[derive(Debug, Deserialize)]
struct Metric {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    value: Option<String>,
}

impl From<Told> for Group {
    fn from(told: Told) -> Self {
        let first = |family: Option<Family>| family.and_then(|family| family.metrics.into_iter().next());
        let push_time = first(told.push_time_seconds).and_then(|metric| metric.value?.parse().ok());
        let mut run = first(told.spark_exporter_run_info);
        Self {
            labels: told.labels,
            push_time: push_time.unwrap_or_default(),
            run: run.as_mut().and_then(|metric| metric.labels.remove(RUN)),
        }
    }
}

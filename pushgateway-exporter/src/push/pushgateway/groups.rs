//! Owns what a Pushgateway says of its groups, by `GET /api/v1/metrics`, and their end.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;

use crate::client::{Answer, Client};
use crate::grouping::GroupingKey;
use crate::push::PushError;
use crate::report::RUN;

/// The groups of a Pushgateway.
#[derive(Debug)]
pub struct Groups {
    client: Client,
    base: String,
}

/// All of them at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The groups.
    pub groups: Vec<Group>,
    /// The time by the gateway's own clock, if it says so.
    pub now: Option<SystemTime>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was pushed to last by the gateway's clock, in seconds since 1970; none if the gateway does not say so.
    pub push_time: Option<f64>,
    /// The run of an exporter that did; none if something else did.
    pub run: Option<String>,
    /// Whether it has all targets, as exporters up to version 0.1.0 pushed them.
    pub is_shared: bool,
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
    /// If the gateway does not answer with them.
    pub async fn list(&self) -> Result<Listing, PushError> {
        let answer = self.get("/api/v1/metrics").await?;
        let metrics: Metrics = serde_json::from_slice(&answer.body)
            .map_err(|error| PushError::Failed(format!("{}: its list of groups: {error}", self.base)))?;
        Ok(Listing {
            groups: metrics.data.into_iter().map(Group::from).collect(),
            now: answer.date,
        })
    }

    /// The version of the gateway.
    ///
    /// # Errors
    /// If it does not answer with it.
    pub async fn version(&self) -> Result<String, PushError> {
        let answer = self.get("/api/v1/status").await?;
        let status: serde_json::Value = serde_json::from_slice(&answer.body)
            .map_err(|error| PushError::Failed(format!("{} is no Pushgateway: {error}", self.base)))?;
        let version = status["data"]["build_information"]["version"].as_str();
        Ok(version.unwrap_or("of an unknown version").to_owned())
    }

    /// Deletes the group of a key.
    ///
    /// # Errors
    /// If the gateway does not do it.
    pub async fn delete(&self, key: &GroupingKey) -> Result<(), PushError> {
        let url = format!("{}{}", self.base, key.path());
        match self.client.delete(&url).await {
            Ok(answer) if answer.status == 202 => Ok(()),
            Ok(answer) => Err(PushError::of(answer.status, &url, &answer.explanation())),
            Err(error) => Err(PushError::without_answer(&url, &error)),
        }
    }

    /// Deletes the group of a key if it has all targets; returns whether it was there.
    ///
    /// # Errors
    /// If the gateway does not answer with its groups, or does not delete it.
    pub async fn delete_shared(&self, key: &GroupingKey) -> Result<bool, PushError> {
        let groups = self.list().await?.groups;
        let is_there = groups.iter().any(|group| group.is_shared && group.is_of(key));
        if is_there {
            self.delete(key).await?;
        }
        Ok(is_there)
    }

    async fn get(&self, path: &str) -> Result<Answer, PushError> {
        let url = format!("{}{path}", self.base);
        match self.client.get(&url, "application/json").await {
            Ok(answer) if answer.status == 200 => Ok(answer),
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
struct Metrics {
    data: Vec<GroupMetrics>,
}

#[derive(Debug, Deserialize)]
struct GroupMetrics {
    labels: BTreeMap<String, String>,
    push_time_seconds: Option<Family>,
    spark_exporter_run_info: Option<Family>,
    /// It has had another name since each target has a group of its own.
    spark_exporter_target_repaired_total: Option<Family>,
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

impl From<GroupMetrics> for Group {
    fn from(group: GroupMetrics) -> Self {
        let first = |family: Option<Family>| family.and_then(|family| family.metrics.into_iter().next());
        let mut run = first(group.spark_exporter_run_info);
        Self {
            labels: group.labels,
            push_time: first(group.push_time_seconds).and_then(|metric| metric.value?.parse().ok()),
            run: run.as_mut().and_then(|metric| metric.labels.remove(RUN)),
            is_shared: group.spark_exporter_target_repaired_total.is_some(),
        }
    }
}

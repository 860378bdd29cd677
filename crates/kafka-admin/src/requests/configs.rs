//! Owns the question how topics are configured.

use std::collections::BTreeMap;

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;

use super::str_bytes;
use crate::{Admin, Refusal, Topic};

/// Kafka's number for topics, beside those for brokers and groups.
const TOPIC: i8 = 2;
/// Kafka's number for a value that is set on the topic itself.
const SET_ON_TOPIC: i8 = 1;
/// The most topics of one request.
const TOPICS_PER_REQUEST: usize = 500;

/// One setting of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// Its value; sensitive ones are not shown.
    pub value: Option<String>,
    /// Whether it is set on the topic, not on the brokers or by default.
    pub is_set_on_topic: bool,
}

impl Admin {
    /// These settings (`retention.ms`, `cleanup.policy`) of each topic, or all settings if none is named.
    ///
    /// # Errors
    /// If no broker answers in time.
    pub async fn topic_configs(
        &self,
        topics: &[Topic],
        names: &[&str],
    ) -> Result<Vec<(Topic, Result<BTreeMap<String, TopicConfig>, Refusal>)>, Refusal> {
        let deadline = self.deadline();
        let names: Vec<_> = names.iter().map(|name| str_bytes(name)).collect();
        let names = (!names.is_empty()).then_some(names);
        let mut all = Vec::with_capacity(topics.len());
        for some in topics.chunks(TOPICS_PER_REQUEST) {
            let resources = some.iter().map(|topic| {
                DescribeConfigsResource::default()
                    .with_resource_type(TOPIC)
                    .with_resource_name(str_bytes(topic.as_str()))
                    .with_configuration_keys(names.clone())
            });
            let request = DescribeConfigsRequest::default().with_resources(resources.collect());
            let (response, _version) = self.ask_any(deadline, move |_version| request.clone()).await?;
            all.extend(response.results.iter().map(|result| {
                let topic = Topic::from(result.resource_name.as_str());
                (topic, settings(result))
            }));
        }
        Ok(all)
    }
}

fn settings(result: &DescribeConfigsResult) -> Result<BTreeMap<String, TopicConfig>, Refusal> {
    Refusal::check(result.error_code, result.error_message.as_deref())?;
    let settings = result.configs.iter().map(|config| {
        let value = config.value.as_deref().map(str::to_owned);
        let is_set_on_topic = config.config_source == SET_ON_TOPIC;
        (
            config.name.to_string(),
            TopicConfig {
                value,
                is_set_on_topic,
            },
        )
    });
    Ok(settings.collect())
}

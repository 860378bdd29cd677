//! Owns the question which topic stands behind a name: one that is deleted and made again has another id.

#![expect(
    unsafe_code,
    reason = "rdkafka has no safe way to this call; our own client replaces it"
)]

use std::fmt;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_admin_op_t as Operation;
use rdkafka::consumer::Consumer as _;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::task::spawn_blocking;

use crate::admin::{Admin, entries, name, text};
use crate::cluster::trouble_of;
use crate::refusal::Refusal;
use crate::{Cluster, KafkaError, Topic};

/// How long an answer may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// What a broker says that gives topics no ids (before Kafka 2.8).
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// A topic's id, in Kafka's base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicId(String);

impl fmt::Display for TopicId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Cluster {
    /// The id of a topic; `None` if there is no such topic, or the broker gives no ids.
    ///
    /// # Errors
    /// Where no broker answers in time, or the topic may not be described.
    pub async fn topic_id(&self, topic: &Topic) -> Result<Option<TopicId>, KafkaError> {
        let (cluster, wanted) = (self.clone(), topic.clone());
        let asked = spawn_blocking(move || {
            let described = describe_topic(&cluster, &wanted);
            described.map_err(|refusal| trouble_of(&cluster.client).unwrap_or_else(|| refusal.to_string()))
        });
        let asked = asked.await.unwrap_or_else(|error| Err(error.to_string()));
        asked.map_err(|reason| KafkaError::new(format!("cannot learn the id of the topic {topic}"), reason))
    }
}

fn describe_topic(cluster: &Cluster, topic: &Topic) -> Result<Option<TopicId>, Refusal> {
    let admin = Admin::of(cluster.client.client(), REQUEST_TIMEOUT);
    let topic = name(topic.as_str())?;
    // SAFETY: the names, the options and the queue live until the call has answered; the result is read before the event
    // that owns it is destroyed; a description has an error, or an id that lives as long as it.
    let described = admin.call(
        Operation::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        |options, queue| unsafe {
            let mut names = [topic.as_ptr()];
            let topics = native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            native::rd_kafka_DescribeTopics(admin.client, topics, options, queue);
            native::rd_kafka_TopicCollection_destroy(topics);
        },
        |event| unsafe {
            let result = native::rd_kafka_event_DescribeTopics_result(event);
            let found = entries(|count| native::rd_kafka_DescribeTopics_result_topics(result, count));
            found.first().map(|topic| {
                let error = native::rd_kafka_TopicDescription_error(*topic);
                let code = Code::from(native::rd_kafka_error_code(error));
                let id = native::rd_kafka_TopicDescription_topic_id(*topic);
                (code, text(native::rd_kafka_Uuid_base64str(id)))
            })
        },
    )?;
    match described {
        None | Some((Code::UnknownTopicOrPartition, _)) => Ok(None),
        Some((Code::NoError, id)) => Ok((id != NO_ID).then_some(TopicId(id))),
        Some((code, _)) => Err(Refusal::of(code, None)),
    }
}

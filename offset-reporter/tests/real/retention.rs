//! A broker that forgets offsets after a minute, and a reporter that keeps them alive.

use std::time::Duration;

use kafka_admin::TopicPartition;
use testbed::{Kafka, KafkaSettings, commit_offsets, until};

use crate::stage::{Stage, Written};

/// Kafka looks every second for offsets that nobody committed for a minute.
const PATIENCE: Duration = Duration::from_mins(3);

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_forgets_after_a_minute_is_kept_alive() {
    let properties = [
        ("offsets.retention.minutes", "1"),
        ("offsets.retention.check.interval.ms", "1000"),
    ];
    let properties = properties
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let broker = Kafka::start(&KafkaSettings {
        properties,
        ..KafkaSettings::default()
    })
    .await
    .unwrap();
    let stage = Stage::on(broker.bootstrap_servers());
    stage.topic("t", 1, 50).await;
    let mut checkpoint = Written::at(stage.path("c")).await;
    checkpoint.commit(&[("t", 0, 10)]).await;
    let process = stage.reporter("kept", stage.path("c").to_str().unwrap(), "");
    stage.comes_to_have(&process, "kept", ("t", 0), 10).await;
    // A commit of nobody's shows when the broker forgets.
    let by_hand = [(TopicPartition::new("t", 0), 10)];
    commit_offsets(&stage.admin, "forgotten", &by_hand, "")
        .await
        .unwrap();
    let forgotten = until(PATIENCE, async || {
        (stage.has("forgotten", "t", 0).await == Ok(None)).then_some(())
    });
    forgotten.await.unwrap();
    assert_eq!(stage.has("kept", "t", 0).await, Ok(Some(10)), "{}", process.log());
    process.stop().await.unwrap();
}

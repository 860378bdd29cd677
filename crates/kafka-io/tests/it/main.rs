//! The adapters against librdkafka's mock cluster: real TCP, no Java.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot set itself up has failed"
)]

mod ends;
mod groups;
mod headers;
#[path = "../support/kafka.rs"]
mod kafka;
mod mistakes;
mod producing;
mod ranges;

use kafka_admin::{Connection, Partition, Topic, TopicPartition};
use kafka_io::{Consumer, Event, MockBroker, Start, StartWithout};

use crate::kafka::{connection, next, next_record, produce};

fn mock(topic: &str, partitions: i32) -> (MockBroker, Connection, Topic) {
    let broker = MockBroker::start(1).unwrap();
    broker.create_topic(topic, partitions).unwrap();
    let connection = connection(&broker.bootstrap_servers());
    (broker, connection, Topic::from(topic))
}

#[tokio::test]
async fn what_is_written_is_read_and_then_the_end() {
    let (_broker, connection, topic) = mock("input", 1);
    produce(&connection, &topic, &["a", "b"]).await;
    let start = [(Partition(0), Start::Without(StartWithout::Earliest))];
    let (consumer, mut events) = Consumer::assigned(&connection, &topic, &start).unwrap();
    for (offset, value) in [(0, "a"), (1, "b")] {
        let record = next_record(&mut events).await;
        assert_eq!(
            (record.offset, record.key.as_deref()),
            (offset, Some(value.as_bytes()))
        );
        assert_eq!(record.headers[0].value.as_deref(), Some(value.as_bytes()));
        assert!(record.timestamp_ms.is_some());
    }
    assert!(matches!(
        next(&mut events).await,
        Event::EndOfPartition(Partition(0))
    ));
    consumer.close().await;
}

#[tokio::test]
async fn partitions_are_added_paused_and_resumed() {
    let (_broker, connection, topic) = mock("input", 2);
    let (consumer, mut events) =
        Consumer::assigned(&connection, &topic, &[(Partition(0), Start::At(0))]).unwrap();
    consumer.add(&[(Partition(1), Start::At(0))]).unwrap();
    let mut ended = Vec::new();
    while ended.len() < 2 {
        if let Event::EndOfPartition(partition) = next(&mut events).await {
            ended.push(partition);
        }
    }
    consumer.pause(&[Partition(0), Partition(1)]).unwrap();
    produce(&connection, &topic, &["a", "b", "c"]).await;
    consumer.resume(&[Partition(0), Partition(1)]).unwrap();
    for _ in 0..3 {
        next_record(&mut events).await;
    }
    consumer.close().await;
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition::new("input", partition)
}

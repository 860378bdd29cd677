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
mod log_offsets;
mod mistakes;
mod producing;
mod ranges;

use kafka_io::{
    Cluster, Committed, Connection, Consumer, Event, MockBroker, Partition, RefusalKind, Start, StartWithout,
    Topic, TopicPartition,
};

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

#[tokio::test]
async fn what_nobodys_member_commits_is_read_back_with_its_metadata() {
    let (_broker, connection, topic) = mock("input", 2);
    produce(&connection, &topic, &["a", "b", "c"]).await;
    let cluster = Cluster::new(&connection).unwrap();
    let told = cluster
        .commit("group", &[(at(0), 1), (at(1), 2)], "q=1 b=2 t=3")
        .await
        .unwrap();
    assert_eq!(told, [(at(0), Ok(())), (at(1), Ok(()))]);
    let committed = cluster.committed("group", Some(&[at(0), at(1)])).await.unwrap();
    let expected = |offset| Committed {
        offset,
        metadata: "q=1 b=2 t=3".to_owned(),
    };
    assert_eq!(committed, [(at(0), Ok(expected(1))), (at(1), Ok(expected(2)))]);
    cluster.commit("group", &[(at(0), 0)], "").await.unwrap();
    let lower = cluster.committed("group", Some(&[at(0)])).await.unwrap();
    assert_eq!(lower[0].1.as_ref().unwrap().offset, 0, "it may go back");
    assert_eq!(cluster.committed("another", Some(&[at(0)])).await.unwrap(), []);
}

#[tokio::test]
async fn one_unknown_partition_does_not_hide_what_the_others_are_told() {
    let (_broker, connection, topic) = mock("input", 1);
    produce(&connection, &topic, &["a", "b", "c"]).await;
    let cluster = Cluster::new(&connection).unwrap();
    let nowhere = TopicPartition::new("nowhere", 0);
    for asked in [[at(0), nowhere.clone()], [nowhere.clone(), at(0)]] {
        let ends = cluster.ends(&asked).await;
        let end = |wanted: &TopicPartition| ends.iter().find(|(found, _)| found == wanted).unwrap().1.clone();
        assert_eq!(end(&at(0)), Ok(3));
        assert_eq!(end(&nowhere).unwrap_err().kind, RefusalKind::UnknownPartition);
    }
    let alone = cluster.ends(std::slice::from_ref(&nowhere)).await;
    assert_eq!(
        alone[0].1.as_ref().unwrap_err().kind,
        RefusalKind::UnknownPartition
    );
    assert_eq!(cluster.beginnings(&[at(0)]).await, [(at(0), Ok(0))]);
}

#[tokio::test]
async fn a_cluster_that_is_away_is_a_refusal_that_passes() {
    let cluster = Cluster::new(&connection("127.0.0.1:1")).unwrap();
    let (_, end) = cluster.ends(&[at(0)]).await.remove(0);
    let refusal = end.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Passing);
    assert!(
        refusal.to_string().contains("kafka.bootstrap_servers"),
        "{refusal}"
    );
}

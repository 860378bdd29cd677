//! The questions against librdkafka's mock cluster: real TCP, old versions, no Java.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod log_ends;
mod three;

use kafka_admin::{
    Admin, Committed, Connection, GroupId, LogEnd, Offset, RefusalKind, Topic, TopicPartition,
};
use kafka_io::{Compression, MockBroker, Outgoing};

fn connection(servers: &str) -> Connection {
    testbed::connection(servers).unwrap()
}

async fn produce(connection: &Connection, topic: &Topic, values: &[&str]) {
    let records = values.iter().map(|value| Outgoing {
        topic: topic.clone(),
        key: Some(value.as_bytes().to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: Vec::new(),
    });
    testbed::produce(connection, Compression::None, records)
        .await
        .unwrap();
}

fn mock(topic: &str, partitions: i32) -> (MockBroker, Connection, Topic) {
    let broker = MockBroker::start(1).unwrap();
    broker.create_topic(topic, partitions).unwrap();
    let connection = connection(&broker.bootstrap_servers());
    (broker, connection, Topic::from(topic))
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition::new("input", partition)
}

fn offset(offset: i64) -> Offset {
    Offset::new(offset).unwrap()
}

#[tokio::test]
async fn what_nobodys_member_commits_is_read_back_with_its_metadata() {
    let (_broker, connection, topic) = mock("input", 2);
    produce(&connection, &topic, &["a", "b", "c"]).await;
    let admin = Admin::new(&connection);
    let group = GroupId::from("group");
    let told = admin
        .commit(&group, &[(at(0), offset(1)), (at(1), offset(2))], "q=1 b=2 t=3")
        .await
        .unwrap();
    assert_eq!(told, [(at(0), Ok(())), (at(1), Ok(()))]);
    let committed = admin.committed_in(&group, &[at(0), at(1)]).await.unwrap();
    let expected = |at| Committed {
        offset: offset(at),
        // The mock has an epoch of its own.
        leader_epoch: Some(0),
        metadata: "q=1 b=2 t=3".to_owned(),
    };
    assert_eq!(committed, [(at(0), Ok(expected(1))), (at(1), Ok(expected(2)))]);
    admin.commit(&group, &[(at(0), offset(0))], "").await.unwrap();
    let lower = admin.committed_in(&group, &[at(0)]).await.unwrap();
    assert_eq!(lower[0].1.as_ref().unwrap().offset, offset(0), "it may go back");
    let another = GroupId::from("another");
    assert_eq!(admin.committed_in(&another, &[at(0)]).await.unwrap(), []);
}

#[tokio::test]
async fn one_unknown_partition_does_not_hide_what_the_others_are_told() {
    let (_broker, connection, topic) = mock("input", 1);
    produce(&connection, &topic, &["a", "b", "c"]).await;
    let admin = Admin::new(&connection);
    let nowhere = TopicPartition::new("nowhere", 0);
    for asked in [[at(0), nowhere.clone()], [nowhere.clone(), at(0)]] {
        let ends = admin.list_offsets(&asked, LogEnd::Latest).await;
        let end = |wanted: &TopicPartition| ends.iter().find(|(found, _)| found == wanted).unwrap().1.clone();
        assert_eq!(end(&at(0)), Ok(offset(3)));
        assert_eq!(end(&nowhere).unwrap_err().kind, RefusalKind::UnknownPartition);
    }
    let alone = admin
        .list_offsets(std::slice::from_ref(&nowhere), LogEnd::Latest)
        .await;
    assert_eq!(
        alone[0].1.as_ref().unwrap_err().kind,
        RefusalKind::UnknownPartition
    );
    let beginnings = admin.list_offsets(&[at(0)], LogEnd::Earliest).await;
    assert_eq!(beginnings, [(at(0), Ok(offset(0)))]);
}

#[tokio::test]
async fn a_cluster_that_is_away_is_a_refusal_that_passes() {
    let admin = Admin::new(&connection("127.0.0.1:1"));
    let (_, end) = admin.list_offsets(&[at(0)], LogEnd::Latest).await.remove(0);
    let refusal = end.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Passing);
    assert!(
        refusal.to_string().contains("kafka.bootstrap_servers"),
        "{refusal}"
    );
}

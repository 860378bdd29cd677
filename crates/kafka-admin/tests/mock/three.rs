//! librdkafka's mock cluster of three brokers, which knows old versions of a few requests.

use kafka_admin::{Admin, GroupId, Offset, RefusalKind, Topic, TopicPartition};
use kafka_io::MockBroker;

use crate::connection;

#[tokio::test]
async fn the_mock_has_brokers_topics_and_a_coordinator() {
    let mock = MockBroker::start(3).unwrap();
    mock.create_topic("a", 2).unwrap();
    let servers = mock.bootstrap_servers();
    let admin = Admin::new(&connection(&servers));
    assert_eq!(admin.cluster().await.unwrap().brokers.len(), 3);
    let topic = Topic::from("a");
    assert!(
        admin
            .topics()
            .await
            .unwrap()
            .iter()
            .any(|(found, _)| *found == topic)
    );
    let described = admin
        .describe_topics(&[topic, Topic::from("nowhere")])
        .await
        .unwrap();
    assert_eq!(described[0].1.as_ref().unwrap().partitions.len(), 2);
    assert_eq!(
        described[1].1.as_ref().unwrap_err().kind,
        RefusalKind::UnknownPartition
    );
    let both = [0, 1].map(|partition| TopicPartition::new("a", partition));

    let groups = ["first", "second"].map(GroupId::from);
    let offsets = [(both[1].clone(), Offset::new(2).unwrap())];
    let answers = admin.commit(&groups[0], &offsets, "beside").await.unwrap();
    assert!(answers[0].1.is_ok(), "{answers:?}");
    let committed = admin.committed_in(&groups[0], &both).await.unwrap();
    assert_eq!(committed.len(), 1, "{committed:?}");
    let committed = committed[0].1.as_ref().unwrap();
    assert_eq!(
        (committed.offset.get(), committed.metadata.as_str()),
        (2, "beside")
    );
    // It answers only about partitions that are named: about all it says "null", which no broker may.
    let others = admin.committed_in(&groups[1], &both).await.unwrap();
    assert_eq!(others.len(), 0, "{others:?}");
}

//! Kafka 2.8 and 3.7: each request works, or says that the broker does not know it.

use std::collections::BTreeMap;
use std::fmt::Debug;

use kafka_admin::{Admin, ByGroup, GroupId, GroupType, LogEnd, RecordTime, Topic, TopicPartition};
use testbed::{Kafka, KafkaSettings, KafkaVersion};

use crate::client::Client;
use crate::{commit, offset, plain, values};

async fn asked(version: KafkaVersion) -> (Kafka, Admin, [TopicPartition; 2]) {
    let settings = KafkaSettings {
        version,
        heap_mib: Some(384),
        ..KafkaSettings::default()
    };
    let broker = Kafka::start(&settings).await.unwrap();
    let mut client = Client::new(broker.bootstrap_servers());
    client.create_topic("a", 2, &[("retention.ms", "-1")]);
    client.produce("a", 0, &[100, 300, 200]);
    let admin = plain(broker.bootstrap_servers());
    (
        broker,
        admin,
        [0, 1].map(|partition| TopicPartition::new("a", partition)),
    )
}

fn unsupported<T: Debug>(answers: ByGroup<T>) {
    for (group, answer) in answers {
        assert_eq!(answer.unwrap_err().code, "UNSUPPORTED_VERSION", "{group}");
    }
}

/// What both versions know.
async fn assert_common(admin: &Admin, partitions: &[TopicPartition; 2]) {
    let cluster = admin.cluster().await.unwrap();
    assert!(cluster.id.is_some() && cluster.brokers.len() == 1, "{cluster:?}");
    let topics = admin.topics().await.unwrap();
    assert!(
        topics
            .iter()
            .filter_map(|(_, topic)| topic.as_ref().ok())
            .any(|topic| topic.id.is_some() && topic.partitions.len() == 2)
    );
    let configs = admin.topic_configs(&[Topic::from("a")], &["retention.ms"]).await;
    let configs = configs.unwrap().pop().unwrap().1.unwrap();
    assert_eq!(configs["retention.ms"].value.as_deref(), Some("-1"));
    for (end, expected) in [
        (LogEnd::Earliest, 0),
        (LogEnd::Latest, 3),
        (LogEnd::LatestStable, 3),
    ] {
        let ends = values(admin.list_offsets(partitions, end).await);
        assert_eq!(ends[&partitions[0]], offset(expected), "{end:?}");
    }
    let found = values(admin.find_offsets(partitions, RecordTime::NotBefore(150)).await);
    assert_eq!(found[&partitions[0]].unwrap().offset, offset(1));
    let from = [(partitions[0].clone(), offset(0))];
    let sections = values(admin.log_sections(&from, 1000).await);
    assert_eq!(sections[&partitions[0]].batches[0].last, offset(2));
}

/// Groups: committed, read, listed, described, deleted.
async fn assert_groups(admin: &Admin, partitions: &[TopicPartition; 2]) {
    let groups: Vec<_> = (0..30)
        .map(|number| GroupId::from(&*format!("group-{number}")))
        .collect();
    for (group, at) in groups.iter().zip(0..) {
        commit(admin, group, &[(partitions[0].clone(), offset(at))], "beside").await;
    }
    let committed: BTreeMap<_, _> = admin.committed(&groups).await.into_iter().collect();
    for (group, at) in groups.iter().zip(0..) {
        let committed = values(committed[group].clone().unwrap());
        assert_eq!(committed[&partitions[0]].offset, offset(at));
        assert_eq!(committed[&partitions[0]].metadata, "beside");
    }
    let listed = admin.list_groups().await.unwrap().pop().unwrap().1.unwrap();
    assert_eq!((listed.len(), listed[0].state.as_deref()), (30, Some("Empty")));
    let nobody = GroupId::from("nobody");
    let described = admin.describe_groups(&[groups[0].clone(), nobody.clone()]).await;
    let described: BTreeMap<_, _> = described.into_iter().collect();
    assert_eq!(
        described[&groups[0]].as_ref().unwrap().group_type,
        GroupType::Classic
    );
    assert_eq!(
        described[&nobody].as_ref().unwrap_err().code,
        "GROUP_ID_NOT_FOUND"
    );
    values(
        admin
            .delete_committed(&groups[0], &partitions[..1])
            .await
            .unwrap(),
    );
    let left = admin.committed(&groups[..1]).await.pop().unwrap().1.unwrap();
    assert!(left.is_empty(), "{left:?}");
    unsupported(admin.describe_share_groups(&groups[..1]).await);
    unsupported(admin.share_group_offsets(&groups[..1]).await);
}

#[tokio::test]
async fn kafka_2_8_answers_each_request_or_does_not_know_it() {
    let (_broker, admin, partitions) = asked(KafkaVersion::V2_8).await;
    assert_common(&admin, &partitions).await;
    assert_groups(&admin, &partitions).await;
    for (partition, answer) in admin.find_offsets(&partitions, RecordTime::Largest).await {
        assert_eq!(answer.unwrap_err().code, "UNSUPPORTED_VERSION", "{partition}");
    }
}

#[tokio::test]
async fn kafka_3_7_answers_each_request_or_does_not_know_it() {
    let (_broker, admin, partitions) = asked(KafkaVersion::V3_7).await;
    assert_common(&admin, &partitions).await;
    assert_groups(&admin, &partitions).await;
    let largest = values(admin.find_offsets(&partitions, RecordTime::Largest).await);
    assert_eq!(largest[&partitions[0]].unwrap().timestamp_ms, Some(300));
}

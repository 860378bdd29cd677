//! Requests to Apache Kafka itself: Java 17, Maven; see `scripts/kafka`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set itself up has failed"
)]

mod client;
mod members;
mod permissions;
mod secured;
mod tools;
mod versions;

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_admin::{
    Admin, ByPartition, Connection, GroupId, GroupType, LogEnd, Offset, Partition, RawKafka, RawSecurity,
    RecordTime, RefusalKind, Topic, TopicPartition,
};
use sidecar::Problems;
use testbed::{Kafka, KafkaSettings};
use tokio::time::Instant;

use crate::client::Client;

/// How long a broker may take to have its coordinators.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn admin(servers: &str, security: RawSecurity) -> Admin {
    let raw = RawKafka {
        bootstrap_servers: servers.to_owned(),
        security,
        ..RawKafka::default()
    };
    let mut problems = Problems::new();
    let connection = Connection::check(raw, &mut problems);
    Admin::new(&connection.unwrap_or_else(|| panic!("{problems}")))
}

/// A broker that is configured so.
async fn start(properties: &[(&str, &str)]) -> Kafka {
    let properties = properties
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let settings = KafkaSettings {
        properties: properties.collect(),
        ..KafkaSettings::default()
    };
    Kafka::start(&settings).await.unwrap()
}

fn plain(servers: &str) -> Admin {
    admin(servers, RawSecurity::default())
}

fn offset(offset: i64) -> Offset {
    Offset::new(offset).unwrap()
}

fn values<T>(answers: ByPartition<T>) -> BTreeMap<TopicPartition, T> {
    let value = |(partition, answer): (TopicPartition, Result<T, _>)| (partition, answer.unwrap());
    answers.into_iter().map(value).collect()
}

/// Commits; the coordinator may still be loading.
async fn commit(admin: &Admin, group: &GroupId, offsets: &[(TopicPartition, Offset)], metadata: &str) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match admin.commit(group, offsets, metadata).await {
            Ok(answers) => {
                values(answers);
                return;
            }
            Err(refusal) => assert!(Instant::now() < deadline, "{refusal}"),
        }
    }
}

/// Offsets by time, in a topic of which the first partition has records of 100, 300 and 200 ms.
async fn assert_found(admin: &Admin, both: &[TopicPartition]) {
    for (time, expected) in [
        (RecordTime::NotBefore(150), Some((1, Some(300)))),
        (RecordTime::NotBefore(301), None),
        (RecordTime::Largest, Some((1, Some(300)))),
    ] {
        let found = values(admin.find_offsets(both, time).await);
        let found = found[&both[0]].map(|found| (found.offset.get(), found.timestamp_ms));
        assert_eq!(found, expected, "{time:?}");
    }
}

#[tokio::test]
async fn a_cluster_its_topics_and_where_they_end() {
    let broker = start(&[]).await;
    let mut client = Client::new(broker.bootstrap_servers());
    client.create_topic("a", 2, &[("retention.ms", "5000")]);
    client.produce("a", 0, &[100, 300, 200]);
    let admin = plain(broker.bootstrap_servers());

    let cluster = admin.cluster().await.unwrap();
    assert_eq!(cluster.id.as_deref(), Some("AAAAAAAAAAAAAAAAAAAAAA"));
    assert_eq!(cluster.brokers[0].address, broker.bootstrap_servers());
    let topics = admin.topics().await.unwrap();
    let (_, topic) = topics.iter().find(|(name, _)| name.as_str() == "a").unwrap();
    let topic = topic.as_ref().unwrap();
    assert!(topic.id.is_some() && !topic.is_internal);
    let numbers: Vec<_> = topic.partitions.keys().copied().collect();
    assert_eq!(numbers, [Partition(0), Partition(1)]);
    assert_eq!(topic.partitions[&Partition(0)].leader, Ok(cluster.brokers[0].id));

    descriptions_of(&admin).await;
    offsets_of(&admin).await;
}

async fn descriptions_of(admin: &Admin) {
    let names = [Topic::from("a"), Topic::from("nowhere")];
    let described = admin.describe_topics(&names).await.unwrap();
    let unknown = described
        .iter()
        .find(|(topic, _)| topic.as_str() == "nowhere")
        .unwrap();
    assert_eq!(
        unknown.1.as_ref().unwrap_err().kind,
        RefusalKind::UnknownPartition
    );
    let configs = admin
        .topic_configs(&names[..1], &["retention.ms", "cleanup.policy"])
        .await;
    let configs = configs.unwrap().pop().unwrap().1.unwrap();
    assert_eq!(configs["retention.ms"].value.as_deref(), Some("5000"));
    assert!(configs["retention.ms"].is_set_on_topic && !configs["cleanup.policy"].is_set_on_topic);
}

async fn offsets_of(admin: &Admin) {
    let both = [TopicPartition::new("a", 0), TopicPartition::new("a", 1)];
    for (end, expected) in [
        (LogEnd::Earliest, [0, 0]),
        (LogEnd::Latest, [3, 0]),
        (LogEnd::LatestStable, [3, 0]),
    ] {
        let ends = values(admin.list_offsets(&both, end).await);
        assert_eq!(
            ends.into_values().map(Offset::get).collect::<Vec<_>>(),
            expected,
            "{end:?}"
        );
    }
    assert_found(admin, &both).await;
    let asked = [
        both[0].clone(),
        TopicPartition::new("a", 2),
        TopicPartition::new("nowhere", 0),
    ];
    let answers: BTreeMap<_, _> = admin
        .list_offsets(&asked, LogEnd::Latest)
        .await
        .into_iter()
        .collect();
    assert_eq!(answers[&asked[0]], Ok(offset(3)));
    for unknown in &asked[1..] {
        assert_eq!(
            answers[unknown].as_ref().unwrap_err().kind,
            RefusalKind::UnknownPartition
        );
    }
}

#[tokio::test]
async fn commits_as_nobodys_member_are_read_listed_described_and_deleted() {
    let broker = start(&[]).await;
    Client::new(broker.bootstrap_servers()).create_topic("a", 3, &[]);
    let admin = plain(broker.bootstrap_servers());
    let partitions = [0, 1].map(|partition| TopicPartition::new("a", partition));
    let offsets = [
        (partitions[0].clone(), offset(0)),
        (partitions[1].clone(), offset(7)),
    ];
    let groups: Vec<_> = (0..20)
        .map(|number| GroupId::from(&*format!("group-{number}")))
        .collect();
    for group in &groups {
        commit(&admin, group, &offsets, "beside").await;
    }
    let unknown = TopicPartition::new("nowhere", 0);
    let refused = admin
        .commit(&groups[0], &[(unknown, offset(1))], "")
        .await
        .unwrap();
    assert_eq!(
        refused[0].1.as_ref().unwrap_err().kind,
        RefusalKind::UnknownPartition
    );

    let asked = [&groups[..], &[GroupId::from("nobody")]].concat();
    let committed: BTreeMap<_, _> = admin.committed(&asked).await.into_iter().collect();
    assert_eq!(committed[&asked[20]], Ok(Vec::new()));
    for group in &groups {
        let committed = values(committed[group].clone().unwrap());
        assert_eq!(committed[&partitions[1]].offset.get(), 7);
        assert_eq!(committed[&partitions[1]].metadata, "beside");
        assert_eq!(committed.len(), 2);
    }
    let asked = [partitions[1].clone(), TopicPartition::new("a", 2)];
    let committed = values(admin.committed_in(&groups[0], &asked).await.unwrap());
    assert_eq!(committed.into_keys().collect::<Vec<_>>(), asked[..1]);
    values(
        admin
            .delete_committed(&groups[0], &partitions[1..])
            .await
            .unwrap(),
    );
    let committed = values(admin.committed_in(&groups[0], &partitions).await.unwrap());
    assert_eq!(committed.into_keys().collect::<Vec<_>>(), partitions[..1]);
    listed_and_described(&admin, &groups).await;
}

async fn listed_and_described(admin: &Admin, groups: &[GroupId]) {
    let listed = admin.list_groups().await.unwrap().pop().unwrap().1.unwrap();
    assert_eq!(listed.len(), 20);
    assert_eq!(listed[0].group_type, Some(GroupType::Classic));
    assert_eq!(listed[0].state.as_deref(), Some("Empty"));
    let described = admin
        .describe_groups(&[groups[1].clone(), GroupId::from("nobody")])
        .await;
    let described: BTreeMap<_, _> = described.into_iter().collect();
    let group = described[&groups[1]].as_ref().unwrap();
    assert_eq!((group.state.as_str(), group.members.len()), ("Empty", 0));
    let refusal = described[&GroupId::from("nobody")].as_ref().unwrap_err();
    assert_eq!(refusal.code, "GROUP_ID_NOT_FOUND");
    let share = [GroupId::from("nobody")];
    let refusal = admin
        .describe_share_groups(&share)
        .await
        .pop()
        .unwrap()
        .1
        .unwrap_err();
    assert_eq!(refusal.code, "GROUP_ID_NOT_FOUND");
    let (_, offsets) = admin.share_group_offsets(&share).await.pop().unwrap();
    assert!(offsets.is_err() || offsets == Ok(Vec::new()), "{offsets:?}");
}

#[tokio::test]
async fn a_tail_without_a_record_is_seen_in_the_log() {
    let broker = start(&[("transaction.state.log.num.partitions", "1")]).await;
    let mut client = Client::new(broker.bootstrap_servers());
    client.create_topic("a", 1, &[]);
    // Markers are of now. Records of another time stand in another segment, and a fetch ends with its segment.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now = i64::try_from(now.as_millis()).unwrap();
    client.produce("a", 0, &[now, now + 100]);
    client.transaction("t", "a", now, true);
    client.transaction("t", "a", now, false);
    let admin = plain(broker.bootstrap_servers());
    let partition = TopicPartition::new("a", 0);
    // The marker of the end is written after the answer.
    let deadline = Instant::now() + TIMEOUT;
    let section = loop {
        let from = [(partition.clone(), offset(1))];
        let section = values(admin.log_sections(&from, 1 << 20).await)
            .remove(&partition)
            .unwrap();
        if section.last_stable == Some(offset(6)) {
            break section;
        }
        assert!(Instant::now() < deadline, "{section:?}");
    };
    let shape = |batch: &kafka_admin::BatchHeader| {
        (
            batch.first.get(),
            batch.last.get(),
            batch.is_transactional,
            batch.is_control,
        )
    };
    let batches: Vec<_> = section.batches.iter().map(shape).collect();
    assert_eq!(
        batches,
        [
            (0, 1, false, false),
            (2, 2, true, false),
            (3, 3, true, true),
            (4, 4, true, false),
            (5, 5, true, true)
        ]
    );
    assert_eq!(section.aborted.len(), 1);
    assert_eq!(section.aborted[0].first, offset(4));
    assert_eq!(
        Some(section.aborted[0].producer_id),
        section.batches[3].producer_id
    );
    assert_eq!(section.batches[0].max_timestamp_ms, Some(now + 100));
}

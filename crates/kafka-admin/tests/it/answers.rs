//! Answers that lack something, or have less than they should: what nobody said is a refusal.

use std::sync::Mutex;

use kafka_admin::{Admin, Connection, GroupId, Offset, RawKafka, RefusalKind, Topic, TopicPartition};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    ApiKey, DescribeGroupsResponse, FetchRequest, FetchResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, MetadataRequest, MetadataResponse, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse,
};
use kafka_protocol::protocol::StrBytes;
use sidecar::Problems;

use crate::admin;
use crate::fake::{Asked, Fake, Reaction};

const VERSIONS: [(ApiKey, i16, i16); 7] = [
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::Fetch, 4, 12),
    (ApiKey::FindCoordinator, 0, 4),
    (ApiKey::OffsetFetch, 1, 9),
    (ApiKey::OffsetCommit, 2, 9),
    (ApiKey::DescribeGroups, 0, 6),
];
/// The header of a batch, and one record.
const BATCH_BYTES: usize = 80;
const GROUP_ID_NOT_FOUND: i16 = 69;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A broker that leads and coordinates everything, but for what `script` answers.
async fn broker(script: impl Fn(&Asked) -> Option<Reaction> + Send + Sync + 'static) -> Fake {
    let (listener, port) = Fake::listen().await;
    Fake::serve(listener, move |asked| {
        script(&asked).unwrap_or_else(|| match asked.key {
            ApiKey::ApiVersions => asked.versions(&VERSIONS),
            ApiKey::Metadata => metadata(&asked, port),
            ApiKey::FindCoordinator => coordinator(&asked, port),
            key => panic!("nobody asks {key:?}"),
        })
    })
}

fn metadata(asked: &Asked, port: u16) -> Reaction {
    let broker = MetadataResponseBroker::default()
        .with_host(text("127.0.0.1"))
        .with_port(i32::from(port));
    let topics = asked.decode::<MetadataRequest>().topics.unwrap_or_default();
    let topics = topics.into_iter().map(|topic| {
        let partitions =
            (0..3).map(|partition| MetadataResponsePartition::default().with_partition_index(partition));
        MetadataResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    let response = MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_topics(topics.collect());
    asked.answer(&response)
}

fn coordinator(asked: &Asked, port: u16) -> Reaction {
    let coordinator = Coordinator::default()
        .with_key(text("group"))
        .with_host(text("127.0.0.1"))
        .with_port(i32::from(port));
    asked.answer(&FindCoordinatorResponse::default().with_coordinators(vec![coordinator]))
}

#[tokio::test]
async fn a_broker_that_has_not_heard_of_the_cluster_does_not_say_that_it_is_empty() {
    let fake =
        broker(|asked| (asked.key == ApiKey::Metadata).then(|| asked.answer(&MetadataResponse::default())))
            .await;
    let admin = admin(&fake.servers(), 2000, 2000);
    let refusals = [
        admin.topics().await.map(drop).unwrap_err(),
        admin.list_groups().await.map(drop).unwrap_err(),
        admin
            .describe_topics(&[Topic::from("a")])
            .await
            .map(drop)
            .unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.kind, RefusalKind::Passing, "{refusal}");
    }
}

#[tokio::test]
async fn a_partition_that_the_answer_lacks_is_not_one_without_a_commit() {
    let fake = broker(|asked| {
        (asked.key == ApiKey::OffsetFetch).then(|| {
            let group = OffsetFetchResponseGroup::default().with_group_id(text("group").into());
            asked.answer(&OffsetFetchResponse::default().with_groups(vec![group]))
        })
    })
    .await;
    let admin = admin(&fake.servers(), 2000, 2000);
    let asked = [TopicPartition::new("a", 0)];
    let committed = admin.committed_in(&GroupId::from("group"), &asked).await.unwrap();
    assert!(committed[0].1.is_err(), "{committed:?}");
}

/// How many commits come if each is answered so, and what the last answer was.
async fn commits_that_come(code: i16) -> (usize, String) {
    let commits = std::sync::Arc::new(Mutex::new(0));
    let counted = std::sync::Arc::clone(&commits);
    let fake = broker(move |asked| {
        (asked.key == ApiKey::OffsetCommit).then(|| {
            *counted.lock().unwrap() += 1;
            let partition = OffsetCommitResponsePartition::default().with_error_code(code);
            let topic = OffsetCommitResponseTopic::default()
                .with_name(text("a").into())
                .with_partitions(vec![partition]);
            asked.answer(&OffsetCommitResponse::default().with_topics(vec![topic]))
        })
    })
    .await;
    let admin = admin(&fake.servers(), 2000, 2000);
    let offsets = [(TopicPartition::new("a", 0), Offset::new(7).unwrap())];
    let refusal = admin
        .commit(&GroupId::from("group"), &offsets, "")
        .await
        .unwrap_err();
    let commits = *commits.lock().unwrap();
    (commits, refusal.code)
}

#[tokio::test]
async fn a_commit_that_may_be_stored_is_not_sent_again() {
    let (commits, code) = commits_that_come(COORDINATOR_NOT_AVAILABLE).await;
    assert_eq!((commits, code.as_str()), (1, "COORDINATOR_NOT_AVAILABLE"));
    let (commits, code) = commits_that_come(NOT_COORDINATOR).await;
    assert!(commits > 1 && code == "NOT_COORDINATOR", "{commits} {code}");
}

#[tokio::test]
async fn a_group_of_another_kind_is_not_absent() {
    let fake = broker(|asked| {
        (asked.key == ApiKey::DescribeGroups).then(|| {
            let group = kafka_protocol::messages::describe_groups_response::DescribedGroup::default()
                .with_group_id(text("group").into())
                .with_error_code(GROUP_ID_NOT_FOUND)
                .with_error_message(Some(text("Group group is not a classic group.")));
            asked.answer(&DescribeGroupsResponse::default().with_groups(vec![group]))
        })
    })
    .await;
    let refusal = admin(&fake.servers(), 2000, 2000)
        .members(&GroupId::from("group"))
        .await
        .unwrap_err();
    assert_eq!(refusal.code, "INCONSISTENT_GROUP_PROTOCOL", "{refusal}");
}

/// As Kafka does, the answer has a batch that is larger than was asked for only if it is the first one.
fn fetch(asked: &Asked) -> Reaction {
    let request: FetchRequest = asked.decode();
    let mut is_first = true;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let batch = if std::mem::take(&mut is_first) {
                batch(partition.fetch_offset)
            } else {
                Vec::new()
            };
            PartitionData::default()
                .with_partition_index(partition.partition)
                .with_high_watermark(100)
                .with_last_stable_offset(100)
                .with_records(Some(batch.into()))
        });
        FetchableTopicResponse::default()
            .with_topic(topic.topic)
            .with_partitions(partitions.collect())
    });
    asked.answer(&FetchResponse::default().with_responses(topics.collect()))
}

/// A batch of one record.
fn batch(first: i64) -> Vec<u8> {
    let mut batch = vec![0; BATCH_BYTES];
    batch[..8].copy_from_slice(&first.to_be_bytes());
    batch[8..12].copy_from_slice(&i32::try_from(BATCH_BYTES - 12).unwrap().to_be_bytes());
    batch[16] = 2;
    batch[57..61].copy_from_slice(&1_i32.to_be_bytes());
    batch
}

#[tokio::test]
async fn no_partition_is_empty_since_another_came_first() {
    let fetches = std::sync::Arc::new(Mutex::new(0));
    let counted = std::sync::Arc::clone(&fetches);
    let fake = broker(move |asked| {
        (asked.key == ApiKey::Fetch).then(|| {
            *counted.lock().unwrap() += 1;
            fetch(asked)
        })
    })
    .await;
    let admin = admin(&fake.servers(), 2000, 2000);
    let from: Vec<_> = (0..3)
        .map(|partition| (TopicPartition::new("a", partition), Offset::new(7).unwrap()))
        .collect();
    for (partition, section) in admin.log_sections(&from, 10).await {
        let section = section.unwrap();
        assert_eq!(section.batches.len(), 1, "{partition}");
        assert_eq!(section.batches[0].first, section.from);
    }
    assert_eq!(
        *fetches.lock().unwrap(),
        3,
        "one for all, and one for each that was held back"
    );
}

/// An answer of so many groups is larger than this client takes.
const TOO_MANY_GROUPS: usize = 3;
const MAX_RESPONSE_BYTES: usize = 2000;

#[tokio::test]
async fn an_answer_that_is_too_large_is_asked_for_in_parts() {
    let fake = broker(|asked| match asked.key {
        ApiKey::FindCoordinator => {
            let keys = asked.decode::<FindCoordinatorRequest>().coordinator_keys;
            let coordinators = keys.into_iter().map(|key| Coordinator::default().with_key(key));
            let response = FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
            Some(asked.answer(&response))
        }
        ApiKey::OffsetFetch => {
            let groups = asked.decode::<OffsetFetchRequest>().groups;
            let noise = if groups.len() >= TOO_MANY_GROUPS {
                MAX_RESPONSE_BYTES
            } else {
                1
            };
            let groups = groups.into_iter().map(|group| {
                let partition = OffsetFetchResponsePartitions::default()
                    .with_committed_offset(7)
                    .with_metadata(Some(text(&"x".repeat(noise))));
                let topic = OffsetFetchResponseTopics::default()
                    .with_name(text("a").into())
                    .with_partitions(vec![partition]);
                OffsetFetchResponseGroup::default()
                    .with_group_id(group.group_id)
                    .with_topics(vec![topic])
            });
            Some(asked.answer(&OffsetFetchResponse::default().with_groups(groups.collect())))
        }
        _ => None,
    })
    .await;
    let mut raw = RawKafka {
        bootstrap_servers: fake.servers(),
        ..RawKafka::default()
    };
    raw.properties
        .insert("receive.message.max.bytes", MAX_RESPONSE_BYTES.to_string());
    let admin = Admin::new(&Connection::check(raw, &mut Problems::new()).unwrap());
    admin.cluster().await.unwrap();
    let groups: Vec<_> = (0..10)
        .map(|number| GroupId::from(number.to_string().as_str()))
        .collect();
    let answers = admin.committed(&groups).await;
    assert_eq!(answers.len(), groups.len());
    for (group, answer) in answers {
        assert_eq!(answer.unwrap()[0].1.as_ref().unwrap().offset.get(), 7, "{group}");
    }
}

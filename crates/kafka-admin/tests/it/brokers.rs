//! Questions to several brokers: they move, they hang, they are old.

use std::time::Duration;

use kafka_admin::{GroupId, LogEnd, RefusalKind, TopicPartition};
use kafka_protocol::messages::ApiKey;
use tokio::time::{Instant, timeout};

use crate::admin;
use crate::cluster::{FakeCluster, NEW, OLD, TOPIC};

/// How long anything may take here that has nothing to wait for.
const SOON: Duration = Duration::from_secs(5);

fn partitions(count: i32) -> Vec<TopicPartition> {
    (0..count)
        .map(|partition| TopicPartition::new(TOPIC, partition))
        .collect()
}

fn groups(count: usize) -> Vec<GroupId> {
    (0..count)
        .map(|number| GroupId::from(&*format!("group-{number}")))
        .collect()
}

#[tokio::test]
async fn each_leader_is_asked_once_for_all_that_it_leads() {
    let cluster = FakeCluster::start(3, &NEW).await;
    cluster.state.lock().unwrap().leaders = vec![0, 1, 2, 0, 1, 2];
    let admin = admin(&cluster.servers(), 5000, 5000);
    let mut answers = admin.list_offsets(&partitions(6), LogEnd::Latest).await;
    answers.sort_by(|a, b| a.0.cmp(&b.0));
    let ends: Vec<_> = answers.into_iter().map(|(_, end)| end.unwrap().get()).collect();
    assert_eq!(ends, [100, 101, 102, 103, 104, 105]);
    let state = cluster.state.lock().unwrap();
    assert_eq!(
        (state.count(ApiKey::ListOffsets), state.count(ApiKey::Metadata)),
        (3, 1)
    );
}

#[tokio::test]
async fn a_leader_that_moved_is_found_with_fresh_metadata() {
    let cluster = FakeCluster::start(2, &NEW).await;
    let admin = admin(&cluster.servers(), 5000, 5000);
    cluster.state.lock().unwrap().moved.insert(1, 0);
    let answers = admin.list_offsets(&partitions(2), LogEnd::Latest).await;
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    let state = cluster.state.lock().unwrap();
    assert_eq!(
        (state.count(ApiKey::ListOffsets), state.count(ApiKey::Metadata)),
        (3, 2)
    );
}

#[tokio::test]
async fn a_partition_that_is_nowhere_is_refused_and_others_are_not() {
    let cluster = FakeCluster::start(1, &NEW).await;
    let admin = admin(&cluster.servers(), 5000, 5000);
    let asked = [
        TopicPartition::new(TOPIC, 0),
        TopicPartition::new(TOPIC, 9),
        TopicPartition::new("other", 0),
    ];
    let answers = timeout(SOON, admin.list_offsets(&asked, LogEnd::Latest))
        .await
        .unwrap();
    assert_eq!(answers.len(), 3);
    for (partition, answer) in answers {
        match answer {
            Ok(end) => assert_eq!((&partition, end.get()), (&asked[0], 100)),
            Err(refusal) => assert_eq!(refusal.kind, RefusalKind::UnknownPartition, "{partition}"),
        }
    }
}

#[tokio::test]
async fn a_broker_that_hangs_costs_its_own_partitions_alone() {
    let cluster = FakeCluster::start(3, &NEW).await;
    let admin = admin(&cluster.servers(), 2000, 2000);
    admin.list_offsets(&partitions(3), LogEnd::Latest).await;
    cluster.state.lock().unwrap().hanging.push(1);
    let begun = Instant::now();
    let mut answers = Vec::new();
    admin
        .list_offsets_each(&partitions(3), LogEnd::Latest, |partition, answer| {
            answers.push((partition.partition.0, answer, begun.elapsed()));
        })
        .await;
    assert!(begun.elapsed() < SOON);
    for (partition, answer, after) in answers {
        match partition {
            1 => {
                let refusal = answer.unwrap_err();
                assert_eq!(refusal.kind, RefusalKind::Passing);
                let address = format!("127.0.0.1:{}: no answer to ListOffsets", cluster.brokers[1].port);
                assert!(refusal.reason.starts_with(&address), "{refusal}");
            }
            _ => assert!(
                answer.is_ok() && after < Duration::from_secs(1),
                "{partition} {after:?}"
            ),
        }
    }
}

#[tokio::test]
async fn metadata_comes_from_the_next_broker_if_one_hesitates() {
    let cluster = FakeCluster::start(3, &NEW).await;
    let admin = admin(&cluster.servers(), 5000, 8000);
    admin.list_offsets(&partitions(3), LogEnd::Latest).await;
    cluster.state.lock().unwrap().hanging = vec![0, 1];
    let begun = Instant::now();
    admin.cluster().await.unwrap();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn many_groups_are_asked_about_in_few_requests() {
    let cluster = FakeCluster::start(2, &NEW).await;
    cluster.state.lock().unwrap().coordinator = 1;
    let admin = admin(&cluster.servers(), 5000, 5000);
    let answers = admin.committed(&groups(250)).await;
    assert_eq!(answers.len(), 250);
    for (_, answer) in answers {
        assert_eq!(answer.unwrap()[0].1.as_ref().unwrap().offset.get(), 7);
    }
    let state = cluster.state.lock().unwrap();
    assert_eq!(
        (
            state.count(ApiKey::FindCoordinator),
            state.count(ApiKey::OffsetFetch)
        ),
        (1, 3)
    );
}

#[tokio::test]
async fn an_old_broker_is_asked_in_its_own_versions_one_by_one() {
    let cluster = FakeCluster::start(2, &OLD).await;
    let admin = admin(&cluster.servers(), 5000, 5000);
    let answers = admin.committed(&groups(30)).await;
    assert_eq!(answers.len(), 30);
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()));
    let answers = admin.list_offsets(&partitions(2), LogEnd::LatestStable).await;
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    let state = cluster.state.lock().unwrap();
    assert_eq!(
        (
            state.count(ApiKey::FindCoordinator),
            state.count(ApiKey::OffsetFetch)
        ),
        (30, 30)
    );
    let newest = |key| {
        state
            .asked
            .iter()
            .filter(|(asked, _)| *asked == key)
            .map(|(_, version)| *version)
            .max()
    };
    assert_eq!(
        (newest(ApiKey::OffsetFetch), newest(ApiKey::ListOffsets)),
        (Some(5), Some(4))
    );
}

#[tokio::test]
async fn groups_whose_coordinator_moved_are_all_found_again_at_once() {
    let cluster = FakeCluster::start(2, &NEW).await;
    let admin = admin(&cluster.servers(), 5000, 5000);
    admin.committed(&groups(500)).await;
    {
        let mut state = cluster.state.lock().unwrap();
        state.coordinator = 1;
        state.asked.clear();
    }
    let begun = Instant::now();
    let answers = admin.committed(&groups(500)).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    let state = cluster.state.lock().unwrap();
    // Five requests of a hundred groups to the wrong broker, then to the right one.
    assert_eq!(state.count(ApiKey::OffsetFetch), 10);
    assert!(state.count(ApiKey::FindCoordinator) <= 5);
}

#[tokio::test]
async fn a_frozen_broker_costs_the_time_of_a_request_once() {
    let cluster = FakeCluster::start(2, &NEW).await;
    let admin = admin(&cluster.servers(), 3000, 3000);
    admin.list_offsets(&partitions(2), LogEnd::Latest).await;
    cluster.state.lock().unwrap().frozen.push(1);
    let mut times = Vec::new();
    for _ in 0..4 {
        let begun = Instant::now();
        let answers = admin.list_offsets(&partitions(2), LogEnd::Latest).await;
        times.push(begun.elapsed());
        let refused = answers.iter().filter(|(_, answer)| answer.is_err());
        assert_eq!(refused.count(), 1, "{answers:?}");
    }
    // The first waits for its answer, others for a new connection, at most a second.
    assert!(times[0] > Duration::from_millis(2900), "{times:?}");
    assert!(
        times[1..].iter().all(|time| *time < Duration::from_millis(2500)),
        "{times:?}"
    );
    cluster.state.lock().unwrap().frozen.clear();
    let begun = Instant::now();
    while admin
        .list_offsets(&partitions(2), LogEnd::Latest)
        .await
        .iter()
        .any(|(_, answer)| answer.is_err())
    {
        assert!(begun.elapsed() < SOON);
    }
}

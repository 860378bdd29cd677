//! Brokers that hang, in whole or in part: what is asked of others is answered, and what is asked of them is refused soon.

use std::time::Duration;

use kafka_admin::{GroupId, LogEnd, Offset, TopicPartition};
use kafka_protocol::messages::ApiKey;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::admin;
use crate::cluster::{FakeCluster, NEW, TOPIC};
use crate::fake::Held;

/// How long anything may take here that has nothing to wait for.
const SOON: Duration = Duration::from_secs(1);

fn partitions(count: i32) -> Vec<TopicPartition> {
    let partition = |partition| TopicPartition::new(TOPIC, partition);
    (0..count).map(partition).collect()
}

#[tokio::test]
async fn a_broker_that_answers_versions_alone_costs_the_time_of_a_request_once() {
    let cluster = FakeCluster::start(2, &NEW).await;
    let admin = admin(&cluster.servers(), 3000, 3000);
    admin.list_offsets(&partitions(2), LogEnd::Latest).await;
    cluster.state.lock().unwrap().hanging.push(1);
    let mut times = Vec::new();
    // Long enough that the connection is closed, and made again.
    while times.iter().sum::<Duration>() < Duration::from_secs(8) {
        let begun = Instant::now();
        let answers = admin.list_offsets(&partitions(2), LogEnd::Latest).await;
        let refused: Vec<_> = answers
            .iter()
            .filter_map(|(_, answer)| answer.as_ref().err())
            .collect();
        assert_eq!(refused.len(), 1, "{answers:?}");
        sleep(Duration::from_millis(100)).await;
        times.push(begun.elapsed());
    }
    assert!(times[0] > Duration::from_millis(2900), "{times:?}");
    assert!(times[1..].iter().all(|time| *time < SOON), "{times:?}");
    cluster.state.lock().unwrap().hanging.clear();
    let begun = Instant::now();
    loop {
        let answers = admin.list_offsets(&partitions(2), LogEnd::Latest).await;
        if answers.iter().all(|(_, answer)| answer.is_ok()) {
            break;
        }
        assert!(begun.elapsed() < SOON * 4, "{answers:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn groups_whose_coordinators_are_known_do_not_wait_for_others() {
    let cluster = FakeCluster::start(2, &NEW).await;
    let admin = admin(&cluster.servers(), 2000, 2000);
    let groups = ["known", "unknown"].map(GroupId::from);
    admin.committed(&groups[..1]).await;
    cluster
        .state
        .lock()
        .unwrap()
        .hanging_keys
        .push(ApiKey::FindCoordinator);
    let begun = Instant::now();
    let mut answers = Vec::new();
    let on_answer =
        |group: GroupId, answer: Result<_, _>| answers.push((group, answer.is_ok(), begun.elapsed()));
    admin.committed_each(&groups, on_answer).await;
    assert_eq!(answers.len(), 2);
    assert!(answers[0].1 && answers[0].2 < SOON, "{answers:?}");
    assert!(!answers[1].1, "{answers:?}");
}

#[tokio::test]
async fn each_broker_lists_its_groups_and_nobody_waits_for_one_that_hangs() {
    let cluster = FakeCluster::start(3, &NEW).await;
    let admin = admin(&cluster.servers(), 2000, 2000);
    admin.list_groups().await.unwrap();
    cluster.state.lock().unwrap().hanging.push(1);
    let begun = Instant::now();
    let mut answers = Vec::new();
    let on_answer = |broker, answer: Result<_, _>| answers.push((broker, answer.is_ok(), begun.elapsed()));
    // The one that hangs may be asked first which brokers there are.
    admin.list_groups_each(on_answer).await.unwrap();
    let listed = answers.iter().filter(|(_, is_ok, _)| *is_ok);
    let in_time = listed.filter(|(_, _, after)| *after < SOON * 3 / 2);
    assert_eq!((answers.len(), in_time.count()), (3, 2), "{answers:?}");
}

#[tokio::test]
async fn a_commit_that_was_given_up_does_not_arrive_later() {
    let cluster = FakeCluster::start(2, &NEW).await;
    let (go_on, until) = oneshot::channel();
    let (received, arrived) = oneshot::channel();
    {
        let mut state = cluster.state.lock().unwrap();
        state.coordinator = 1;
        state.held = Some(Held { until, received });
    }
    let admin = admin(&cluster.servers(), 2000, 1000);
    let offsets = [(TopicPartition::new(TOPIC, 0), Offset::new(1).unwrap())];
    // More than the broker's buffers take while it does not read, and less than ours.
    let metadata = "x".repeat(1_000_000);
    let committed = admin.commit(&GroupId::from("group"), &offsets, &metadata).await;
    committed.unwrap_err();
    drop(admin);
    go_on.send(()).unwrap();
    let (is_whole, received) = arrived.await.unwrap();
    assert!(!is_whole && received < metadata.len(), "{is_whole} {received}");
}

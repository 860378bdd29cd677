//! Where partitions end, asked of leaders that move, hang, and are away: an offset or a refusal for each, never a number that
//! nobody said.

use std::time::Duration;

use kafka_admin::{Admin, LogEnd, RefusalKind, Topic, TopicPartition};
use kafka_io::MockBroker;
use tokio::time::Instant;

use crate::{connection, produce};

/// Longer than any leader is waited for.
const DELAY: Duration = Duration::from_secs(40);

/// Two brokers, the first of which leads `a` and the second `b`; both topics have three records.
async fn two_brokers() -> (MockBroker, Admin, [TopicPartition; 2]) {
    let broker = MockBroker::start(2).unwrap();
    let connection = connection(&broker.bootstrap_servers());
    for (leader, topic) in [(1, "a"), (2, "b")] {
        broker.create_topic(topic, 1).unwrap();
        broker.lead(leader, topic, 0).unwrap();
        produce(&connection, &Topic::from(topic), &["1", "2", "3"]).await;
    }
    let admin = Admin::new(&connection);
    let asked = ["a", "b"].map(|topic| TopicPartition::new(topic, 0));
    (broker, admin, asked)
}

/// The end of each partition, or what it is refused for.
async fn ends(admin: &Admin, asked: &[TopicPartition; 2]) -> [Result<i64, RefusalKind>; 2] {
    let answer = admin.list_offsets(asked, LogEnd::Latest).await;
    assert_eq!(answer.len(), 2, "an answer for each: {answer:?}");
    asked.clone().map(|wanted| {
        let (_, end) = answer.iter().find(|(partition, _)| *partition == wanted).unwrap();
        end.as_ref().map(|end| end.get()).map_err(|refusal| refusal.kind)
    })
}

#[tokio::test]
async fn a_leader_that_moves_is_found_with_the_same_question() {
    let (broker, admin, asked) = two_brokers().await;
    for leader in [2, 1, 2] {
        broker.lead(leader, "a", 0).unwrap();
        assert_eq!(ends(&admin, &asked).await, [Ok(3), Ok(3)], "broker {leader}");
    }
}

#[tokio::test]
async fn a_leader_that_is_away_or_hangs_costs_its_own_partitions_alone() {
    for is_away in [true, false] {
        let (broker, admin, asked) = two_brokers().await;
        assert_eq!(ends(&admin, &asked).await, [Ok(3), Ok(3)]);
        if is_away {
            broker.take_down(2).unwrap();
        } else {
            broker.delay(2, DELAY).unwrap();
        }
        let begun = Instant::now();
        let answer = ends(&admin, &asked).await;
        assert_eq!(answer, [Ok(3), Err(RefusalKind::Passing)], "is away: {is_away}");
        assert!(begun.elapsed() < DELAY, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_partition_without_a_leader_is_not_taken_for_one_that_does_not_exist() {
    let (broker, admin, asked) = two_brokers().await;
    broker.lead(-1, "b", 0).unwrap();
    assert_eq!(ends(&admin, &asked).await, [Ok(3), Err(RefusalKind::Passing)]);
}

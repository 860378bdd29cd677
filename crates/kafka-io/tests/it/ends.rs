//! Ends: nobody waits for somebody who takes nothing any more.

use std::time::Duration;

use kafka_admin::Partition;
use kafka_io::{Consumer, Producer, ProducerSettings, Start};
use tokio::time::{Instant, timeout};

use crate::kafka::{PATIENCE, member, produce, record, settings};
use crate::mock;

/// What an end may take here; each of these took for ever.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_consumer_closes_though_its_receiver_is_full() {
    let (_broker, connection, topic) = mock("input", 1);
    let values: Vec<_> = (0..900).map(|_| "a").collect();
    produce(&connection, &topic, &values).await;
    let start = [(Partition(0), Start::At(0))];
    let (consumer, events) = Consumer::assigned(&connection, &topic, &start).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while events.len() < events.max_capacity() {
        assert!(Instant::now() < deadline, "the receiver is never full");
        tokio::task::yield_now().await;
    }
    timeout(SOON, consumer.close()).await.unwrap();
    drop(events);
}

#[tokio::test]
async fn a_member_closes_though_nobody_takes_its_revocation() {
    let (_broker, connection, topic) = mock("input", 1);
    let (consumer, events) = Consumer::subscribed(&connection, &topic, &member("group")).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while consumer.accept(&[Partition(0)]).is_empty() {
        assert!(Instant::now() < deadline, "nothing is assigned");
        tokio::task::yield_now().await;
    }
    timeout(SOON, consumer.close()).await.unwrap();
    drop(events);
}

#[test]
fn a_runtime_ends_without_waiting_for_a_consumer_or_a_commit() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let begun = runtime.block_on(async {
        let (broker, connection, topic) = mock("input", 1);
        let (consumer, events) = Consumer::subscribed(&connection, &topic, &member("group")).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while consumer.accept(&[Partition(0)]).is_empty() {
            assert!(Instant::now() < deadline, "nothing is assigned");
            tokio::task::yield_now().await;
        }
        broker.take_down(1).unwrap();
        let commit = consumer.commit(&[(Partition(0), 1)]);
        assert!(timeout(Duration::from_millis(50), commit).await.is_err());
        drop((consumer, events));
        Instant::now()
    });
    drop(runtime);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_producer_is_dropped_though_nobody_takes_its_reports() {
    let (_broker, connection, topic) = mock("output", 1);
    let few = ProducerSettings {
        in_flight: 2,
        ..settings()
    };
    let (producer, reports) = Producer::new(&connection, few).unwrap();
    let deadline = Instant::now() + PATIENCE;
    // A third one is taken when the first was reported, and then its own report waits for room.
    for tag in 0..4 {
        while producer.send(tag, &record(&topic, "a", "a")).is_err() {
            assert!(Instant::now() < deadline, "the queue stays full");
            tokio::task::yield_now().await;
        }
    }
    while reports.len() < 2 {
        assert!(Instant::now() < deadline, "nothing is reported");
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    drop(producer);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    drop(reports);
}

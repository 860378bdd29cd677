//! The worker as a member of a group: partitions come and go.

use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use kafka_io::{Event, Partition, Revocation};
use testbed::until;

use crate::fakes::{Around, FakeKafka, Setup, message};
use crate::run::{PATIENCE, beside};

/// Partitions are taken from a member of a group; gives where it is seen that it has let go.
async fn revoke(around: &Around, partition: i32) -> std::sync::mpsc::Receiver<()> {
    let (revocation, released) = Revocation::new();
    let partitions = vec![Partition(partition)];
    around
        .events
        .send(Event::Revoking(partitions, revocation))
        .await
        .unwrap();
    released
}

#[tokio::test(start_paused = true)]
async fn a_member_lets_a_partition_go_when_its_results_are_acknowledged_and_committed() {
    let kafka = FakeKafka::default();
    let setup = Setup {
        once: false,
        ..Setup::new(&kafka, None)
    };
    let (worker, around) = setup.worker().await;
    kafka.append(0, (0..5).map(|row| message(&format!("t{row}"))));
    kafka.change(|state| state.hold_deliveries = true);
    let test = async {
        around
            .events
            .send(Event::Assigned(vec![Partition(0)]))
            .await
            .unwrap();
        kafka.read(0);
        let all = || (kafka.results().len() == 5).then_some(());
        until(PATIENCE, async || all()).await.expect("results leave");
        let released = revoke(&around, 0).await;
        let waits = until(Duration::from_secs(5), async || {
            released.try_recv().err().filter(|&error| is_released(error))
        })
        .await;
        assert_eq!(waits, None, "nothing is acknowledged yet");
        kafka.change(|state| state.hold_deliveries = false);
        until(PATIENCE, async || {
            released.try_recv().err().filter(|&error| is_released(error))
        })
        .await
        .expect("it lets go");
        assert_eq!(kafka.state().committed.get(&Partition(0)), Some(&5));
        assert_eq!(around.metrics.partitions.get(), 0);
    };
    beside(worker, test).await.unwrap();
}

fn is_released(error: TryRecvError) -> bool {
    error == TryRecvError::Disconnected
}

#[tokio::test(start_paused = true)]
async fn what_still_comes_for_a_lost_partition_is_ignored() {
    let kafka = FakeKafka::default();
    let setup = Setup {
        once: false,
        ..Setup::new(&kafka, None)
    };
    let (worker, around) = setup.worker().await;
    kafka.append(0, (0..5).map(|row| message(&format!("t{row}"))));
    kafka.change(|state| state.hold_deliveries = true);
    let test = async {
        around
            .events
            .send(Event::Assigned(vec![Partition(0)]))
            .await
            .unwrap();
        kafka.read(0);
        let all = || (kafka.results().len() == 5).then_some(());
        until(PATIENCE, async || all()).await.expect("results leave");
        around.events.send(Event::Lost(vec![Partition(0)])).await.unwrap();
        let lost = || (around.metrics.partitions.get() == 0).then_some(());
        until(PATIENCE, async || lost()).await.expect("it forgets");
        kafka.change(|state| state.hold_deliveries = false);
    };
    beside(worker, test).await.unwrap();
    // The position at which it began may stand there; it commits nothing beyond.
    assert!(
        kafka
            .state()
            .committed
            .get(&Partition(0))
            .is_none_or(|&at| at == 0)
    );
    assert_eq!(around.metrics.rebalances.with_label_values(&["lost"]).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_drain_that_took_too_long_a_partition_can_come_back() {
    let kafka = FakeKafka::default();
    let setup = Setup {
        once: false,
        ..Setup::new(&kafka, None)
    };
    let (worker, around) = setup.worker().await;
    kafka.append(0, (0..5).map(|row| message(&format!("t{row}"))));
    kafka.change(|state| state.hold_deliveries = true);
    let test = async {
        around
            .events
            .send(Event::Assigned(vec![Partition(0)]))
            .await
            .unwrap();
        kafka.read(0);
        let all = || (kafka.results().len() == 5).then_some(());
        until(PATIENCE, async || all()).await.expect("results leave");
        let released = revoke(&around, 0).await;
        around.events.send(Event::Lost(vec![Partition(0)])).await.unwrap();
        until(PATIENCE, async || {
            released.try_recv().err().filter(|&error| is_released(error))
        })
        .await
        .expect("nothing holds up the rebalance");
        kafka.change(|state| state.hold_deliveries = false);
        around
            .events
            .send(Event::Assigned(vec![Partition(0)]))
            .await
            .unwrap();
        kafka.read(0);
        let again = || (kafka.state().committed.get(&Partition(0)) == Some(&5)).then_some(());
        until(PATIENCE, async || again())
            .await
            .expect("it is read and committed again");
    };
    beside(worker, test).await.unwrap();
    assert_eq!(kafka.results().len(), 10);
}

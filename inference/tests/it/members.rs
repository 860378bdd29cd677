//! The worker as a member of a group: partitions come and go.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use kafka_admin::Partition;
use kafka_io::{Event, Revocation};
use testbed::until;

use crate::fakes::{Around, FakeKafka, Setup, Worker, message};
use crate::run::{PATIENCE, beside};

/// A member of a group, and a topic with five records, whose results will not be acknowledged before
/// [`acknowledge`].
async fn member() -> (FakeKafka, Worker, Around) {
    let kafka = FakeKafka::default();
    let setup = Setup {
        once: false,
        ..Setup::new(&kafka, None)
    };
    let (worker, around) = setup.worker().await;
    kafka.append(0, (0..5).map(|row| message(&format!("t{row}"))));
    kafka.change(|state| state.hold_deliveries = true);
    (kafka, worker, around)
}

fn acknowledge(kafka: &FakeKafka) {
    kafka.change(|state| state.hold_deliveries = false);
}

/// The member is given the partition.
async fn assign(kafka: &FakeKafka, around: &Around) {
    let assigned = Event::Assigned(vec![Partition(0)]);
    around.events.send(assigned).await.unwrap();
    kafka.read(0);
}

/// The member is given the partition, and has sent the results of all of its records.
async fn all_sent(kafka: &FakeKafka, around: &Around) {
    assign(kafka, around).await;
    let all = || (kafka.results().len() == 5).then_some(());
    until(PATIENCE, async || all()).await.expect("results leave");
}

/// The partition is taken away; gives where it is seen that the member has let go.
async fn revoke(around: &Around) -> Receiver<()> {
    let (revocation, released) = Revocation::new();
    let revoking = Event::Revoking(vec![Partition(0)], revocation);
    around.events.send(revoking).await.unwrap();
    released
}

async fn lets_go(released: &Receiver<()>, within: Duration) -> bool {
    let let_go = async || (released.try_recv() == Err(TryRecvError::Disconnected)).then_some(());
    until(within, let_go).await.is_some()
}

#[tokio::test(start_paused = true)]
async fn a_member_lets_a_partition_go_when_its_results_are_acknowledged_and_committed() {
    let (kafka, worker, around) = member().await;
    let test = async {
        all_sent(&kafka, &around).await;
        let released = revoke(&around).await;
        assert!(
            !lets_go(&released, Duration::from_secs(5)).await,
            "nothing is acknowledged yet"
        );
        acknowledge(&kafka);
        assert!(lets_go(&released, PATIENCE).await);
        assert_eq!(kafka.state().committed.get(&Partition(0)), Some(&5));
        assert_eq!(around.metrics.partitions.get(), 0);
    };
    beside(worker, test).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_still_comes_for_a_lost_partition_is_ignored() {
    let (kafka, worker, around) = member().await;
    let test = async {
        all_sent(&kafka, &around).await;
        around.events.send(Event::Lost(vec![Partition(0)])).await.unwrap();
        let lost = || (around.metrics.partitions.get() == 0).then_some(());
        until(PATIENCE, async || lost()).await.expect("it forgets");
        acknowledge(&kafka);
    };
    beside(worker, test).await.unwrap();
    // The position at which it began may stand there; it commits nothing beyond.
    let committed = kafka.state().committed.get(&Partition(0)).copied();
    assert!(committed.is_none_or(|at| at == 0), "{committed:?}");
    assert_eq!(around.metrics.rebalances.with_label_values(&["lost"]).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_drain_that_took_too_long_a_partition_can_come_back() {
    let (kafka, worker, around) = member().await;
    let test = async {
        all_sent(&kafka, &around).await;
        let released = revoke(&around).await;
        around.events.send(Event::Lost(vec![Partition(0)])).await.unwrap();
        assert!(
            lets_go(&released, PATIENCE).await,
            "nothing holds up the rebalance"
        );
        acknowledge(&kafka);
        assign(&kafka, &around).await;
        let again = || (kafka.state().committed.get(&Partition(0)) == Some(&5)).then_some(());
        until(PATIENCE, async || again())
            .await
            .expect("it is read and committed again");
    };
    beside(worker, test).await.unwrap();
    assert_eq!(kafka.results().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_nobody_answers_is_told_and_met_again() {
    let (kafka, worker, around) = member().await;
    kafka.change(|state| state.hold_commits = true);
    let test = async {
        all_sent(&kafka, &around).await;
        acknowledge(&kafka);
        let says = |what: &str| around.readiness.describe().contains(what).then_some(());
        let unanswered = "[-]progress: a commit has not been answered for 10s: the group waits";
        until(PATIENCE, async || says(unanswered))
            .await
            .expect("it says so");
        kafka.change(|state| state.hold_commits = false);
        until(PATIENCE, async || says("[+]progress"))
            .await
            .expect("it is answered");
    };
    beside(worker, test).await.unwrap();
    assert_eq!(kafka.state().committed.get(&Partition(0)), Some(&5));
}

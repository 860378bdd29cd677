//! The worker's loop between fakes.

use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use kafka_io::{Event, Partition, Revocation};
use testbed::{committed, until};
use tokio_util::sync::CancellationToken;

use crate::fakes::{Around, FakeKafka, FakeSink, FakeSource, Setup, message};

const PATIENCE: Duration = Duration::from_hours(1);

type Worker = inference::worker::Worker<FakeSource, FakeSink>;

/// Runs a worker to its end.
async fn run(setup: &Setup) -> (anyhow::Result<()>, Around) {
    let (worker, around) = setup.worker().await;
    (worker.run(CancellationToken::new()).await, around)
}

/// Runs a worker beside a test that watches it, then stops it.
async fn beside(worker: Worker, test: impl Future<Output = ()>) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let test = async {
        test.await;
        stop.cancel();
    };
    tokio::join!(worker.run(stop.clone()), test).0
}

fn position(folder: &std::path::Path, partition: i32) -> Option<i64> {
    committed(folder)?.1.get("input", partition)
}

#[tokio::test(start_paused = true)]
async fn every_record_gets_one_result_and_then_its_position_is_committed() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    kafka.append(0, (0..100).map(|row| message(&format!("t{row}"))));
    let (result, around) = run(&Setup::new(&kafka, Some(folder.path()))).await;
    result.unwrap();
    let results = kafka.results();
    assert_eq!(results.len(), 100);
    for (row, result) in results.iter().enumerate() {
        assert!(
            result.contains(&format!("\"entity\":\"t{row}\"")),
            "{row}: {result}"
        );
    }
    assert_eq!(position(folder.path(), 0), Some(100));
    assert_eq!(around.metrics.records.get(), 100);
    assert_eq!(around.metrics.results.get(), 100);
    assert!(around.readiness.describe().contains("[+]progress"));
}

#[tokio::test(start_paused = true)]
async fn what_has_no_text_or_fails_is_answered_with_an_error_in_its_place() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    let bad = [
        Some("{".to_owned()),
        None,
        Some("{}".to_owned()),
        Some(message("fail")),
        Some(message("good")),
    ];
    kafka.append(0, bad);
    let (result, around) = run(&Setup::new(&kafka, Some(folder.path()))).await;
    result.unwrap();
    let results = kafka.results();
    let errors = [
        "not a JSON object",
        "no value",
        "no text",
        "the model failed: as asked",
    ];
    for (error, result) in errors.iter().zip(&results) {
        assert!(
            result.contains(error) && !result.contains("\"ner\""),
            "{error}: {result}"
        );
    }
    assert!(results[4].contains("\"error_message\":null"));
    let keys: Vec<_> = kafka
        .state()
        .output
        .iter()
        .map(|result| result.key.clone().unwrap())
        .collect();
    assert_eq!(
        keys,
        [b"0/0", b"0/1", b"0/2", b"0/3", b"0/4"].map(|key| key.to_vec())
    );
    for class in ["not_json", "null_value", "no_text", "model_failed"] {
        assert_eq!(
            around.metrics.failures.with_label_values(&[class]).get(),
            1,
            "{class}"
        );
    }
    assert_eq!(position(folder.path(), 0), Some(5));
}

#[tokio::test(start_paused = true)]
async fn with_a_dead_letter_topic_an_unreadable_message_goes_there_as_it_is() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    kafka.append(0, [Some("{".to_owned())]);
    let setup = Setup {
        dead_letter: Some("dead"),
        ..Setup::new(&kafka, Some(folder.path()))
    };
    let (result, around) = run(&setup).await;
    result.unwrap();
    let letter = kafka.state().output[0].clone();
    assert_eq!(
        (letter.topic.as_str(), letter.value.as_deref()),
        ("dead", Some(&b"{"[..]))
    );
    let headers: Vec<String> = letter
        .headers
        .iter()
        .map(|header| {
            format!(
                "{}={}",
                header.name,
                String::from_utf8_lossy(header.value.as_deref().unwrap())
            )
        })
        .collect();
    assert_eq!(
        headers,
        [
            "dead_letter_topic=input",
            "dead_letter_partition=0",
            "dead_letter_offset=0",
            "dead_letter_timestamp_ms=0",
            "dead_letter_error_class=not_json",
            "dead_letter_error_message=the message is not a JSON object",
        ]
    );
    assert_eq!(around.metrics.dead_letters.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn reading_pauses_at_the_bound_and_goes_on_at_half_of_it() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    kafka.append(0, (0..1000).map(|row| message(&format!("t{row}"))));
    kafka.change(|state| state.hold_deliveries = true);
    let mut setup = Setup::new(&kafka, Some(folder.path()));
    setup.engine.in_flight_rows = 50.try_into().unwrap();
    let (worker, around) = setup.worker().await;
    let test = async {
        let is_paused = || kafka.state().paused.contains(&Partition(0)).then_some(());
        until(PATIENCE, async || is_paused())
            .await
            .expect("reading pauses");
        assert_eq!(around.metrics.paused.get(), 1);
        // What a partition that appears now begins with.
        around.new_partitions.send(vec![Partition(1)]).await.unwrap();
        let both = || kafka.state().paused.contains(&Partition(1)).then_some(());
        until(PATIENCE, async || both())
            .await
            .expect("the new one is paused too");
        let in_hand = around.metrics.in_flight_rows.get();
        assert!((50..=50 + 20).contains(&in_hand), "{in_hand} are in hand");
        kafka.change(|state| state.hold_deliveries = false);
    };
    tokio::join!(
        async { worker.run(CancellationToken::new()).await.unwrap() },
        test
    );
    assert_eq!(kafka.results().len(), 1000);
    assert!(kafka.state().paused.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_result_that_the_broker_refuses_for_its_size_is_replaced_by_an_error() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    kafka.append(0, [message(&"x".repeat(1000)), message("short")]);
    kafka.change(|state| state.max_value = Some(500));
    let (result, around) = run(&Setup::new(&kafka, Some(folder.path()))).await;
    result.unwrap();
    let results = kafka.results();
    assert_eq!(results.len(), 2);
    assert!(
        results
            .iter()
            .any(|result| result.contains("the result is too large"))
    );
    let class = around.metrics.failures.with_label_values(&["result_too_large"]);
    assert_eq!((class.get(), position(folder.path(), 0)), (1, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_result_that_cannot_be_delivered_ends_the_worker_without_a_commit() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    kafka.append(0, [message("a")]);
    kafka.change(|state| state.refuse_all = true);
    let (result, _) = run(&Setup::new(&kafka, Some(folder.path()))).await;
    assert_eq!(
        format!("{:#}", result.unwrap_err()),
        "a result for output cannot be delivered: the record was not delivered: no leader"
    );
    assert_eq!(position(folder.path(), 0), None);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_panics_ends_the_worker() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    kafka.append(0, [message("panic"), message("a")]);
    let mut setup = Setup::new(&kafka, Some(folder.path()));
    setup.engine.threads = 2.try_into().unwrap();
    setup.engine.slice_rows = 1.try_into().unwrap();
    let (result, _) = run(&setup).await;
    let told = result.unwrap_err().to_string();
    assert!(
        told.starts_with("a session of the model ended by itself"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_is_in_hand() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    kafka.append(0, (0..200).map(|row| message(&format!("t{row}"))));
    kafka.change(|state| state.hold_deliveries = true);
    let setup = Setup {
        once: false,
        ..Setup::new(&kafka, Some(folder.path()))
    };
    let (worker, around) = setup.worker().await;
    let stop = CancellationToken::new();
    let test = async {
        let some = || (!kafka.results().is_empty()).then_some(());
        until(PATIENCE, async || some()).await.expect("results leave");
        stop.cancel();
        kafka.change(|state| state.hold_deliveries = false);
    };
    tokio::join!(async { worker.run(stop.clone()).await.unwrap() }, test);
    let records = around.metrics.records.get();
    assert_eq!(around.metrics.results.get(), records);
    assert_eq!(position(folder.path(), 0), Some(records.cast_signed()));
}

#[tokio::test(start_paused = true)]
async fn while_the_checkpoint_cannot_be_written_the_worker_is_not_ready_and_loses_nothing() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    let setup = Setup {
        once: false,
        ..Setup::new(&kafka, Some(folder.path()))
    };
    let (worker, around) = setup.worker().await;
    // A file stands where the folder has to be made.
    std::fs::write(folder.path().join("offsets"), "").unwrap();
    kafka.append(0, (0..10).map(|row| message(&format!("t{row}"))));
    let test = async {
        let told = || {
            around
                .readiness
                .describe()
                .contains("[-]progress: the checkpoint cannot be written")
                .then_some(())
        };
        until(PATIENCE, async || told()).await.expect("it says so");
        assert_eq!(
            kafka.results(),
            [""; 0],
            "no result leaves before its batch is planned"
        );
        std::fs::remove_file(folder.path().join("offsets")).unwrap();
        let all = || (position(folder.path(), 0) == Some(10)).then_some(());
        until(PATIENCE, async || all()).await.expect("it goes on");
        assert!(around.readiness.describe().contains("[+]progress"));
    };
    beside(worker, test).await.unwrap();
    assert_eq!(kafka.results().len(), 10);
    assert!(around.metrics.commits.with_label_values(&["failure"]).get() > 0);
}

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

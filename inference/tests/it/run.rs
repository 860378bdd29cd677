//! The worker's loop between fakes.

use std::time::Duration;

use kafka_admin::Partition;
use testbed::{committed, until};
use tokio_util::sync::CancellationToken;

use crate::fakes::{Around, FakeKafka, Setup, Worker, message};

/// The clock is paused, and runs ahead of the threads that compute.
pub(crate) const PATIENCE: Duration = Duration::from_hours(10_000);

/// Runs a worker to its end.
pub(crate) async fn run(setup: &Setup) -> (anyhow::Result<()>, Around) {
    let (worker, around) = setup.worker().await;
    (worker.run(CancellationToken::new()).await, around)
}

/// Runs a worker beside a test that watches it, then stops it.
pub(crate) async fn beside(worker: Worker, test: impl Future<Output = ()>) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let test = async {
        test.await;
        stop.cancel();
    };
    tokio::join!(worker.run(stop.clone()), test).0
}

pub(crate) fn position(folder: &std::path::Path, partition: i32) -> Option<i64> {
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
        kafka.change(|state| state.partitions.push(Partition(1)));
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
    let large = format!("{{\"text\":\"a\",\"uuid\":\"{}\"}}", "u".repeat(1000));
    kafka.append(
        0,
        [
            message("before"),
            large,
            message(&"x".repeat(1000)),
            message("after"),
        ],
    );
    kafka.change(|state| {
        state.max_bytes = Some(500);
        state.hold_deliveries = true;
    });
    let (worker, around) = Setup::new(&kafka, Some(folder.path())).worker().await;
    let test = async {
        // All are sent before the first is reported, as in one batch.
        let sent = || (around.metrics.in_flight_rows.get() == 4).then_some(());
        until(PATIENCE, async || sent()).await.expect("all are in hand");
        kafka.change(|state| state.hold_deliveries = false);
    };
    tokio::join!(
        async { worker.run(CancellationToken::new()).await.unwrap() },
        test
    );
    let mut results = kafka.results();
    results.sort();
    let [after, before, large, long] = &results[..] else {
        panic!("{results:#?}");
    };
    for (error, offset) in [(large, 1), (long, 2)] {
        let what = format!("input, partition 0, offset {offset}: the record is too large");
        assert!(error.contains(&what) && !error.contains("\"ner\""), "{error}");
    }
    assert!(
        before.contains("\"entity\":\"before\"") && after.contains("\"entity\":\"after\""),
        "what was beside it has its own result: {results:#?}"
    );
    let class = around.metrics.failures.with_label_values(&["result_too_large"]);
    assert_eq!((class.get(), position(folder.path(), 0)), (2, Some(4)));
}

#[tokio::test(start_paused = true)]
async fn a_worker_ends_if_not_even_an_error_is_small_enough() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    kafka.append(0, [message("a")]);
    kafka.change(|state| state.max_bytes = Some(10));
    let (result, _) = run(&Setup::new(&kafka, Some(folder.path()))).await;
    let error = result.unwrap_err().to_string();
    assert!(
        error.contains("input, partition 0, offset 0 is refused by output: the record is too large"),
        "{error}"
    );
    assert_eq!(position(folder.path(), 0), None);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_cannot_be_delivered_ends_the_worker_without_a_commit() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    kafka.append(0, [message("a")]);
    kafka.change(|state| state.refuse_all = true);
    let (result, _) = run(&Setup::new(&kafka, Some(folder.path()))).await;
    assert_eq!(
        format!("{:#}", result.unwrap_err()),
        "the result for input, partition 0, offset 0 cannot be delivered to output: the record was not delivered: no \
         leader"
    );
    assert_eq!(position(folder.path(), 0), None);
}

#[tokio::test(start_paused = true)]
async fn a_text_on_which_the_model_panics_costs_that_text_alone() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    kafka.append(0, ["a", "panic", "b", "panic"].map(message));
    let (result, around) = run(&Setup::new(&kafka, Some(folder.path()))).await;
    result.unwrap();
    let results = kafka.results();
    for (text, at) in [("a", 0), ("b", 2)] {
        assert!(
            results[at].contains(&format!("\"entity\":\"{text}\"")),
            "{results:#?}"
        );
    }
    for at in [1, 3] {
        assert!(
            results[at].contains("the model panicked on this text"),
            "{results:#?}"
        );
    }
    let class = around.metrics.failures.with_label_values(&["model_panicked"]);
    assert_eq!((class.get(), position(folder.path(), 0)), (2, Some(4)));
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
async fn brokers_that_hang_are_told_though_nothing_fails() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    let setup = Setup {
        once: false,
        ..Setup::new(&kafka, Some(folder.path()))
    };
    let (worker, around) = setup.worker().await;
    kafka.append(0, [message("a")]);
    kafka.change(|state| state.hold_deliveries = true);
    let test = async {
        let says = |what: &str| around.readiness.describe().contains(what).then_some(());
        until(PATIENCE, async || {
            says("[-]results: no result was acknowledged for 10s")
        })
        .await
        .expect("it says so");
        kafka.change(|state| state.hold_deliveries = false);
        until(PATIENCE, async || says("[+]results"))
            .await
            .expect("they answer");
    };
    beside(worker, test).await.unwrap();
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
        let said = || {
            around
                .readiness
                .describe()
                .contains("[-]progress: the checkpoint cannot be written")
                .then_some(())
        };
        until(PATIENCE, async || said()).await.expect("it says so");
        assert_eq!(kafka.results().len(), 10, "no result waits for a commit");
        std::fs::remove_file(folder.path().join("offsets")).unwrap();
        let all = || (position(folder.path(), 0) == Some(10)).then_some(());
        until(PATIENCE, async || all()).await.expect("it goes on");
        assert!(around.readiness.describe().contains("[+]progress"));
    };
    beside(worker, test).await.unwrap();
    assert_eq!(kafka.results().len(), 10);
    assert!(around.metrics.commits.with_label_values(&["failure"]).get() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_checkpoint_that_cannot_be_written() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    let setup = Setup {
        once: false,
        ..Setup::new(&kafka, Some(folder.path()))
    };
    let (worker, around) = setup.worker().await;
    std::fs::write(folder.path().join("offsets"), "").unwrap();
    kafka.append(0, [message("a")]);
    let mut stopped = None;
    let test = async {
        // After some failures the next one is some time away.
        let failed = || (around.metrics.commits.with_label_values(&["failure"]).get() == 8).then_some(());
        until(PATIENCE, async || failed()).await.expect("commits fail");
        stopped = Some(tokio::time::Instant::now());
    };
    let result = beside(worker, test).await;
    assert!(stopped.unwrap().elapsed() < Duration::from_secs(1));
    let error = format!("{:#}", result.unwrap_err());
    assert!(
        error.starts_with("everything in hand was acknowledged but not committed")
            && error.contains("the checkpoint cannot be written"),
        "{error}"
    );
}

//! A topic that begins again while the worker runs: it was deleted and created, or truncated.

use std::path::Path;

use inference::config::OnReset;
use kafka_admin::Partition;
use testbed::until;

use crate::fakes::{Around, FakeKafka, METADATA_INTERVAL, Setup, message};
use crate::run::{PATIENCE, beside, position};

/// A worker that has read 50 records of a topic, which is then made again with `again` records. Gives the results of
/// these, and how the worker ended.
async fn begin_again(
    on_reset: OnReset,
    ids: [Option<&str>; 2],
    again: usize,
) -> (Vec<String>, anyhow::Result<()>, Option<i64>) {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    kafka.change(|state| state.topic_id = ids[0].map(str::to_owned));
    kafka.append(0, (0..50).map(|row| message(&format!("old{row}"))));
    let setup = Setup {
        once: false,
        on_reset,
        ..Setup::new(&kafka, Some(folder.path()))
    };
    let (worker, around) = setup.worker().await;
    let test = async {
        let read = || (position(folder.path(), 0) == Some(50)).then_some(());
        until(PATIENCE, async || read()).await.expect("all is read");
        kafka.begin_again(ids[1], (0..again).map(|row| message(&format!("new{row}"))));
        let reset = || (around.metrics.resets.get() == 1).then_some(());
        until(PATIENCE, async || reset()).await.expect("it is noticed");
        if on_reset == OnReset::Stop {
            assert!(!around.readiness.is_ready());
            return;
        }
        if on_reset == OnReset::Latest {
            let restarted = || kafka.state().reading.get(&Partition(0)).copied();
            let end = i64::try_from(again).unwrap();
            until(PATIENCE, async || (restarted() == Some(end)).then_some(()))
                .await
                .expect("it goes to the end");
        }
        kafka.append(0, [message("last")]);
        let end = i64::try_from(again + 1).unwrap();
        let all = || (position(folder.path(), 0) == Some(end)).then_some(());
        until(PATIENCE, async || all())
            .await
            .expect("all is read and committed");
    };
    let result = beside(worker, test).await;
    let new = kafka
        .results()
        .into_iter()
        .filter(|result| !result.contains("old"));
    (new.collect(), result, position(folder.path(), 0))
}

#[tokio::test(start_paused = true)]
async fn earliest_answers_every_record_of_the_new_topic() {
    let (results, result, at) = begin_again(OnReset::Earliest, [None, None], 20).await;
    result.unwrap();
    assert_eq!((results.len(), at), (21, Some(21)));
}

#[tokio::test(start_paused = true)]
async fn another_topic_of_the_name_is_noticed_though_it_is_longer() {
    let (results, result, at) = begin_again(OnReset::Earliest, [Some("a"), Some("b")], 80).await;
    result.unwrap();
    // Some of the new ones may have been read before it was noticed.
    assert!(results.len() >= 81, "{}", results.len());
    assert_eq!(at, Some(81));
}

#[tokio::test(start_paused = true)]
async fn latest_answers_what_comes_next() {
    let (results, result, at) = begin_again(OnReset::Latest, [None, None], 20).await;
    result.unwrap();
    assert_eq!((results.len(), at), (1, Some(21)));
}

#[tokio::test(start_paused = true)]
async fn stop_ends_the_worker_with_topic_partition_and_offsets() {
    let (results, result, at) = begin_again(OnReset::Stop, [None, None], 20).await;
    let error = result.unwrap_err().to_string();
    assert!(
        error.starts_with(
            "input, partition 0: reading stood at offset 50, but the partition has offsets 0 to 20 now"
        ),
        "{error}"
    );
    assert_eq!((results.len(), at), (0, Some(50)), "nothing is committed");
}

#[tokio::test(start_paused = true)]
async fn what_retention_removed_is_counted_and_the_rest_is_read() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    kafka.append(0, (0..10).map(|row| message(&format!("t{row}"))));
    let setup = Setup {
        once: false,
        ..Setup::new(&kafka, Some(folder.path()))
    };
    let (worker, around) = setup.worker().await;
    let test = async {
        let read = || (position(folder.path(), 0) == Some(10)).then_some(());
        until(PATIENCE, async || read()).await.expect("all is read");
        // Retention goes past what was read, before the worker reads on.
        kafka.change(|state| {
            let values = state.input.get_mut(&Partition(0)).unwrap();
            values.extend((0..10).map(|row| Some(message(&format!("later{row}")).into_bytes())));
            state.first.insert(Partition(0), 15);
        });
        let all = || (position(folder.path(), 0) == Some(20)).then_some(());
        until(PATIENCE, async || all()).await.expect("the rest is read");
    };
    beside(worker, test).await.unwrap();
    assert_eq!((kafka.results().len(), around.metrics.expired.get()), (15, 5));
    assert_eq!(around.metrics.resets.get(), 0);
}

/// Two partitions with ten records each, all of which a worker that may begin again has read and committed when `then` runs.
async fn of_two_partitions(kafka: &FakeKafka, folder: &Path, then: impl Future<Output = ()>) -> Around {
    for partition in 0..2 {
        kafka.append(partition, (0..10).map(|row| message(&format!("old{row}"))));
    }
    let setup = Setup {
        once: false,
        on_reset: OnReset::Earliest,
        partitions: 2,
        ..Setup::new(kafka, Some(folder))
    };
    let (worker, around) = setup.worker().await;
    let test = async {
        reaches(folder, 0, 10).await;
        reaches(folder, 1, 10).await;
        then.await;
    };
    beside(worker, test).await.unwrap();
    around
}

/// Waits until this position is committed.
async fn reaches(folder: &Path, partition: i32, expected: i64) {
    let at = || (position(folder, partition) == Some(expected)).then_some(());
    until(PATIENCE, async || at()).await.expect("it is committed");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_made_again_with_fewer_partitions_is_read_on() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    kafka.change(|state| state.topic_id = Some("a".to_owned()));
    let then = async {
        kafka.change(|state| state.partitions = vec![Partition(0)]);
        kafka.begin_again(Some("b"), (0..5).map(|row| message(&format!("new{row}"))));
        reaches(folder.path(), 0, 5).await;
        // Partition 1 is not waited for, and no other one is read again because of it.
        let before = kafka.state().looks;
        tokio::time::sleep(METADATA_INTERVAL * 10).await;
        let looks = kafka.state().looks - before;
        assert!((5..=15).contains(&looks), "{looks}");
        // When it comes once more it is another one.
        kafka.append(1, [message("new5")]);
        kafka.change(|state| state.partitions.push(Partition(1)));
        reaches(folder.path(), 1, 1).await;
    };
    of_two_partitions(&kafka, folder.path(), then).await;
    let results = kafka.results();
    let new = results.iter().filter(|result| result.contains("new"));
    assert_eq!(new.count(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_partition_whose_leader_is_away_hides_no_other() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    let then = async {
        kafka.change(|state| state.leaderless.extend([Partition(1)]));
        kafka.begin_again(None, (0..5).map(|row| message(&format!("new{row}"))));
        reaches(folder.path(), 0, 5).await;
    };
    let around = of_two_partitions(&kafka, folder.path(), then).await;
    assert_eq!(around.metrics.resets.get(), 1);
}

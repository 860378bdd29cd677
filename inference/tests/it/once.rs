//! A worker that ends when all is read.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::fakes::{FakeKafka, Setup, message};
use crate::run::{beside, position, run};

#[tokio::test(start_paused = true)]
async fn once_ends_though_the_topic_is_written_to_all_the_time() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    kafka.append(0, (0..200).map(|row| message(&format!("t{row}"))));
    let (worker, around) = Setup::new(&kafka, Some(folder.path())).worker().await;
    let busy = async {
        loop {
            kafka.append(0, [message("a")]);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        result = worker.run(CancellationToken::new()) => result.unwrap(),
        () = busy => unreachable!(),
        () = tokio::time::sleep(Duration::from_mins(10)) => panic!("it never ends"),
    }
    let records = around.metrics.records.get();
    assert_eq!(
        (around.metrics.results.get(), position(folder.path(), 0)),
        (records, Some(records.cast_signed()))
    );
}

#[tokio::test(start_paused = true)]
async fn once_ends_with_an_error_if_it_is_stopped_or_nothing_moves() {
    let (kafka, folder) = (FakeKafka::default(), tempfile::tempdir().unwrap());
    kafka.append(0, [message("a")]);
    kafka.change(|state| state.hold_deliveries = true);
    let setup = Setup {
        patience: Duration::from_mins(1),
        ..Setup::new(&kafka, Some(folder.path()))
    };
    let (result, _) = run(&setup).await;
    let error = result.unwrap_err().to_string();
    assert!(
        error.starts_with("nothing was read, computed or acknowledged for 60s"),
        "{error}"
    );
    kafka.change(|state| state.hold_deliveries = false);
    let (worker, _around) = Setup::new(&kafka, Some(folder.path())).worker().await;
    kafka.change(|state| state.reading.clear());
    let error = beside(worker, async {}).await.unwrap_err().to_string();
    assert_eq!(error, "stopped before every partition was read to its end");
}

//! An input that is written in transactions: what was aborted is not read, and the position comes to the end of the topic
//! though no record stands there.

use testbed::{Ending, produce_in_transaction, until};

use crate::stage::{PATIENCE, Stage, texts};

#[tokio::test(flavor = "multi_thread")]
async fn the_position_passes_markers_and_aborted_records_at_the_end() {
    let stage = Stage::new("transactions", 1).await;
    let worker = stage
        .worker("checkpoint", &[("INFERENCE_INPUT__METADATA_INTERVAL", "500ms")])
        .await;
    let write = async |numbers, ending| {
        let values = texts(numbers).filter_map(|message| message.value);
        produce_in_transaction(&stage.connection, &stage.input, values.collect(), ending)
            .await
            .unwrap();
    };
    let comes_to = async |position| {
        let there = until(PATIENCE, async || {
            (stage.processed("checkpoint") == position).then_some(())
        });
        assert!(
            there.await.is_some(),
            "{position}: {}, {}",
            stage.processed("checkpoint"),
            worker.log()
        );
    };
    write(0..10, Ending::Commit).await;
    comes_to(11).await;
    write(10..510, Ending::Abort).await;
    comes_to(11 + 501).await;
    write(510..513, Ending::Commit).await;
    comes_to(11 + 501 + 4).await;
    let results = worker.metric("inference_results_total").await;
    assert_eq!(results, Some(13.0));
    worker.stop().await.unwrap();
}

//! When several workers share a topic, and when the topic grows.

use testbed::until;

use crate::stage::{PATIENCE, Stage, counts, key, texts};

#[tokio::test(flavor = "multi_thread")]
async fn two_shards_with_a_checkpoint_each_split_the_partitions() {
    let stage = Stage::new("shards", 4).await;
    stage.produce(texts(0..2_000)).await;
    let first = stage.worker("first", &[("INFERENCE_INPUT__SHARD", "0/2")]).await;
    let second = stage.worker("second", &[("INFERENCE_INPUT__SHARD", "1/2")]).await;
    stage.results((0..2_000).map(key)).await;
    for worker in [&first, &second] {
        let partitions = worker.metric("inference_partitions").await;
        assert_eq!(partitions, Some(2.0));
    }
    let results = stage.finish([first, second], (0..2_000).map(key)).await;
    assert_eq!(results.len(), 2_000, "no record is of both");
    assert_eq!(stage.processed("first") + stage.processed("second"), 2_000);
    // Another shard's checkpoint is refused: its batches could not be finished.
    let mut wrong = stage.worker("first", &[("INFERENCE_INPUT__SHARD", "1/2")]).await;
    assert_eq!(wrong.exit().await.unwrap().code(), Some(1));
    assert!(
        wrong.log().contains("give each shard a checkpoint of its own"),
        "{}",
        wrong.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_a_group_share_the_partitions_and_lose_nothing_when_they_change() {
    for (protocol, name) in [("classic", "replicas-classic"), ("consumer", "replicas-consumer")] {
        let stage = Stage::new(name, 4).await;
        let settings = [
            ("INFERENCE_PROGRESS__KIND", "group"),
            ("INFERENCE_PROGRESS__GROUP", name),
            ("INFERENCE_PROGRESS__PROTOCOL", protocol),
            ("INFERENCE_PROGRESS__SESSION_TIMEOUT", "10s"),
        ];
        let first = stage.worker("none", &settings).await;
        stage.produce(texts(0..3_000)).await;
        let second = stage.worker("none", &settings).await;
        for worker in [&first, &second] {
            let shared = async || {
                worker
                    .metric("inference_partitions")
                    .await
                    .filter(|&partitions| partitions > 1.5 && partitions < 2.5)
            };
            until(PATIENCE, shared)
                .await
                .unwrap_or_else(|| panic!("{}", worker.log()));
        }
        stage.produce(texts(3_000..6_000)).await;
        first.stop().await.unwrap();
        stage.produce(texts(6_000..7_000)).await;
        let all = async || {
            second
                .metric("inference_partitions")
                .await
                .filter(|&partitions| partitions > 3.5)
        };
        until(PATIENCE, all)
            .await
            .unwrap_or_else(|| panic!("{}", second.log()));
        let results = stage.finish([second], (0..7_000).map(key)).await;
        assert_eq!(counts(&results).len(), 7_000);
        assert_eq!(
            results.len(),
            7_000,
            "what changed hands was finished and committed before"
        );
        assert!(!stage.checkpoint("none").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_while_the_worker_runs_are_read_too() {
    let stage = Stage::new("grows", 1).await;
    let mut worker = stage
        .worker("checkpoint", &[("INFERENCE_INPUT__METADATA_INTERVAL", "500ms")])
        .await;
    worker.ready().await.unwrap();
    stage.produce(texts(0..200)).await;
    stage.topics().extend(&stage.input, 3).await.unwrap();
    let grown = async || {
        worker
            .metric("inference_partitions")
            .await
            .filter(|&partitions| partitions > 2.5)
    };
    until(PATIENCE, grown)
        .await
        .unwrap_or_else(|| panic!("{}", worker.log()));
    stage.produce(texts(200..1_000)).await;
    let results = stage.finish([worker], (0..1_000).map(key)).await;
    assert_eq!(results.len(), 1_000);
    let (_, positions) = testbed::committed(&stage.checkpoint("checkpoint")).unwrap();
    assert_eq!(
        positions.iter().filter(|(_, _, position)| *position > 0).count(),
        3
    );
    // A worker that starts with the longer checkpoint finds its place in all of them.
    let worker = stage.worker("checkpoint", &[]).await;
    stage.produce(texts(1_000..1_200)).await;
    assert_eq!(stage.finish([worker], (0..1_200).map(key)).await.len(), 1_200);
}

//! When something else fails: the broker, the disk, the topic.

use std::time::Duration;

use checkpoint::{Checkpoint, LocalFolder, TopicOffsets};
use kafka_admin::Partition;
use kafka_io::{Compression, Outgoing};
use testbed::{Process, committed, produce, until};
use tokio::time::{Instant, sleep_until};

use crate::stage::{PATIENCE, Stage, broker, key, plain, texts};

const OUTAGE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_for_twenty_seconds_costs_nothing_but_time() {
    let mut kafka = broker().await;
    let stage = Stage::on(plain(kafka.bootstrap_servers()), "outage", 2).await;
    stage.produce(texts(0..10_000)).await;
    let mut worker = stage.worker("checkpoint", &[]).await;
    worker.ready().await.unwrap();
    until(PATIENCE, async || {
        worker
            .metric("inference_results_total")
            .await
            .filter(|&results| results > 200.0)
    })
    .await
    .expect("results are written");
    let (back, before) = (
        Instant::now() + OUTAGE,
        worker.metric("inference_results_total").await,
    );
    kafka.stop().await.unwrap();
    assert!(before < Some(10_000.0), "it has work to do");
    until(OUTAGE, async || (!worker.is_ready().await).then_some(()))
        .await
        .unwrap_or_else(|| panic!("{}", worker.log()));
    let (_, page) = worker.get("/readyz?verbose").await.unwrap();
    assert!(
        page.contains("[-]kafka: ") && page.contains(kafka.bootstrap_servers()),
        "{page}"
    );
    // The length of the outage is what is tested.
    sleep_until(back).await;
    assert!(!worker.is_ready().await);
    kafka.restart().await.unwrap();
    worker.ready().await.unwrap();
    stage.produce(texts(10_000..10_500)).await;
    let results = stage.finish([worker], (0..10_500).map(key)).await;
    assert_eq!(
        results.len(),
        10_500,
        "an idempotent producer writes nothing twice"
    );
    assert_eq!(stage.processed("checkpoint"), 10_500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_cannot_be_written_stops_commits_and_loses_nothing() {
    let stage = Stage::new("disk", 2).await;
    let mut worker = stage.worker("checkpoint", &[]).await;
    worker.ready().await.unwrap();
    stage.produce(texts(0..500)).await;
    stage.results((0..500).map(key)).await;
    // A file in the place of the folder stands for a disk that takes nothing.
    let commits = stage.checkpoint("checkpoint/commits");
    let aside = stage.checkpoint("aside");
    std::fs::rename(&commits, &aside).unwrap();
    std::fs::write(&commits, "").unwrap();
    stage.produce(texts(500..1_000)).await;
    until(PATIENCE, async || (!worker.is_ready().await).then_some(()))
        .await
        .expect("it is not ready");
    let (_, page) = worker.get("/readyz?verbose").await.unwrap();
    assert!(
        page.contains("[-]progress: the checkpoint cannot be written"),
        "{page}"
    );
    std::fs::remove_file(&commits).unwrap();
    std::fs::rename(&aside, &commits).unwrap();
    worker.ready().await.unwrap();
    assert_eq!(stage.finish([worker], (0..1_000).map(key)).await.len(), 1_000);
    assert_eq!(stage.processed("checkpoint"), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_missing_is_named_until_it_is_there() {
    let stage = Stage::new("missing", 1).await;
    let late = "missing-dead-letters";
    let mut worker = stage
        .worker("checkpoint", &[("INFERENCE_DEAD_LETTER__TOPIC", late)])
        .await;
    let named = until(PATIENCE, async || {
        let (status, page) = worker.get("/readyz?verbose").await?;
        (status == 503 && page.contains(&format!("the topic {late} does not exist"))).then_some(())
    });
    named.await.unwrap_or_else(|| panic!("{}", worker.log()));
    stage.topics().create(&late.into(), 1).await.unwrap();
    worker.ready().await.unwrap();
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_removed_before_it_was_read_is_counted() {
    let stage = Stage::new("expired", 1).await;
    stage.produce(texts(0..100)).await;
    let mut worker = stage.worker("checkpoint", &[]).await;
    worker.ready().await.unwrap();
    stage.results((0..100).map(key)).await;
    worker.stop().await.unwrap();
    stage.produce(texts(100..200)).await;
    stage
        .topics()
        .delete_records(&stage.input, Partition(0), 150)
        .await
        .unwrap();
    let worker = stage.worker("checkpoint", &[]).await;
    stage.results((150..200).map(key)).await;
    assert_eq!(worker.metric("inference_expired_records_total").await, Some(50.0));
    worker.stop().await.unwrap();
    assert_eq!(stage.processed("checkpoint"), 200);
}

/// A stage with ten records, and a checkpoint that has this position of a partition.
async fn with_position(name: &str, partition: i32, position: i64) -> Stage {
    let stage = Stage::new(name, 1).await;
    stage.produce(texts(0..10)).await;
    let place = LocalFolder::new(stage.checkpoint("checkpoint"));
    let mut writer = Checkpoint::read(place).await.unwrap().take_over().await.unwrap();
    let mut positions = TopicOffsets::default();
    positions.set(stage.input.as_str(), 0, 0);
    positions.set(stage.input.as_str(), partition, position);
    writer.commit(&positions, 0).await.unwrap();
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_beyond_the_end_of_the_topic_is_refused() {
    let stage = with_position("anew", 0, 500).await;
    let mut worker = stage.worker("checkpoint", &[]).await;
    assert_eq!(worker.exit().await.unwrap().code(), Some(1));
    let reason =
        "anew-input, partition 0: reading stood at offset 500, but the partition has offsets 0 to 10 now";
    assert!(worker.log().contains(reason), "{}", worker.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_the_topic_lost_begins_again_should_it_come_back() {
    let stage = with_position("lost", 1, 5).await;
    let mut worker = stage.worker("checkpoint", &[]).await;
    assert_eq!(worker.exit().await.unwrap().code(), Some(1));
    let reason = "lost-input does not have the partitions 1 any more";
    assert!(worker.log().contains(reason), "{}", worker.log());
    let settings = [("INFERENCE_INPUT__ON_RESET", "earliest")];
    let mut worker = stage.worker("checkpoint", &settings).await;
    worker.ready().await.unwrap();
    stage.finish([worker], (0..10).map(key)).await;
    stage.topics().extend(&stage.input, 2).await.unwrap();
    stage.produce(texts(10..40)).await;
    let worker = stage.worker("checkpoint", &settings).await;
    let results = stage.finish([worker], (10..40).map(key)).await;
    assert_eq!(results.len(), 40);
}

/// A worker that has read ten records of a topic, which is then deleted and made again with `again` records.
async fn made_again(name: &str, on_reset: &str, again: usize) -> (Stage, Process) {
    let stage = Stage::new(name, 1).await;
    stage.produce(texts(0..10)).await;
    let settings = [
        ("INFERENCE_INPUT__ON_RESET", on_reset),
        ("INFERENCE_INPUT__METADATA_INTERVAL", "1s"),
    ];
    let worker = stage.worker("checkpoint", &settings).await;
    let processed = || {
        (committed(&stage.checkpoint("checkpoint"))?
            .1
            .get(stage.input.as_str(), 0)?
            == 10)
            .then_some(())
    };
    until(PATIENCE, async || processed()).await.unwrap();
    let topics = stage.topics();
    topics.delete(&stage.input).await.unwrap();
    // A topic that is being deleted may be there for a moment.
    let created = until(PATIENCE, async || topics.create(&stage.input, 1).await.ok());
    created.await.unwrap();
    stage.produce(texts(100..100 + again)).await;
    (stage, worker)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_again_ends_the_worker_unless_it_may_begin_again() {
    let (_stage, mut worker) = made_again("reset-stop", "stop", 5).await;
    assert_eq!(worker.exit().await.unwrap().code(), Some(1));
    let reason =
        "reset-stop-input, partition 0: reading stood at offset 10, but the partition has offsets 0 to 5 now";
    assert!(worker.log().contains(reason), "{}", worker.log());
    // One with fewer records is out of range; one with more is known by its id alone.
    for (name, again) in [("reset-short", 5), ("reset-long", 40)] {
        let (stage, worker) = made_again(name, "earliest", again).await;
        stage.results((0..10).chain(100..100 + again).map(key)).await;
        worker.stop().await.unwrap();
        assert_eq!(stage.processed("checkpoint"), i64::try_from(again).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_a_compacted_topic_refuses_costs_itself_alone() {
    const RECORDS: usize = 300;
    let mut stage = Stage::new("compacted", 1).await;
    stage.output = "compacted".into();
    let config = [("cleanup.policy", "compact")];
    stage
        .topics()
        .create_with(&stage.output, 1, &config)
        .await
        .unwrap();
    let is_keyless = |number: usize| number % 100 == 50;
    let records = texts(0..RECORDS).enumerate().map(|(number, message)| Outgoing {
        topic: stage.input.clone(),
        key: (!is_keyless(number)).then(|| message.key.into_bytes()),
        value: message.value.map(String::into_bytes),
        headers: Vec::new(),
    });
    produce(&stage.connection, Compression::None, records)
        .await
        .unwrap();
    let mut worker = stage.worker("checkpoint", &[]).await;
    worker.ready().await.unwrap();
    let all = until(Duration::from_secs(30), async || {
        let results = worker.metric("inference_results_total").await?;
        (results >= 300.0).then_some(())
    });
    all.await.unwrap_or_else(|| panic!("{}", worker.log()));
    let place = |number| format!("{}-0-{number}", stage.input);
    let keys = (0..RECORDS).map(|number| {
        if is_keyless(number) {
            place(number)
        } else {
            key(number)
        }
    });
    let results = stage.finish([worker], keys).await;
    assert_eq!(results.len(), RECORDS);
    let errors: Vec<_> = results
        .iter()
        .filter_map(|result| {
            let value: serde_json::Value = serde_json::from_slice(result.value.as_deref()?).unwrap();
            Some(value["error_message"].as_str()?.to_owned())
        })
        .collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(
        errors
            .iter()
            .all(|error| error.contains("in a compacted topic it needs a key")),
        "{errors:?}"
    );
    assert_eq!(stage.processed("checkpoint"), i64::try_from(RECORDS).unwrap());
}

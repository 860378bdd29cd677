//! What Apache Spark has committed is what the group has: after each batch, and only then.

use serde_json::Value;
use testbed::{Process, S3Server, Spark, SparkJob, SparkVersion, consumer_groups};

use crate::stage::{PATIENCE, Stage};

const PARTITIONS: i32 = 2;

fn job(stage: &Stage, topic: &str, checkpoint: &str, more: &[&str]) -> SparkJob {
    let mut arguments = vec![
        "--servers",
        &stage.servers,
        "--topics",
        topic,
        "--checkpoint",
        checkpoint,
    ];
    arguments.extend(["--option", "startingOffsets=earliest"]);
    arguments.extend(more);
    SparkJob {
        arguments: arguments.into_iter().map(str::to_owned).collect(),
        ..SparkJob::default()
    }
}

/// Where the batch of an event ends in each partition of a topic.
fn ends(batch: &Value, topic: &str) -> Vec<i64> {
    let end = &batch["sources"][0]["end"];
    // Some versions tell the offsets as an object, some as its text.
    let end: Value = end
        .as_str()
        .map_or_else(|| end.clone(), |text| serde_json::from_str(text).unwrap());
    let of_topic = &end[topic];
    (0..PARTITIONS)
        .map(|partition| of_topic[partition.to_string()].as_i64().unwrap())
        .collect()
}

/// Waits until the group has what a batch ended with.
async fn follows(stage: &Stage, process: &Process, topic: &str, batch: &Value) {
    for (partition, end) in (0..PARTITIONS).zip(ends(batch, topic)) {
        stage.comes_to_have(process, topic, (topic, partition), end).await;
    }
}

/// Follows batches until so many records are processed; a batch may have a part of what was produced.
async fn follows_to(stage: &Stage, process: &Process, spark: &mut Spark, topic: &str, records: i64) -> Value {
    loop {
        let batch = spark.event("batch", PATIENCE).await.unwrap();
        follows(stage, process, topic, &batch).await;
        if ends(&batch, topic).iter().sum::<i64>() == records {
            return batch;
        }
    }
}

async fn microbatches(version: SparkVersion, topic: &str) {
    let stage = Stage::new().await;
    stage.topic(topic, PARTITIONS, 100).await;
    let checkpoint = stage.path("checkpoint");
    let process = stage.reporter(topic, checkpoint.to_str().unwrap(), "");
    let more = [
        "--output",
        "foreachBatch",
        "--trigger",
        "processingTime=200 milliseconds",
    ];
    let job = job(&stage, topic, checkpoint.to_str().unwrap(), &more);
    let mut spark = Spark::start(version, &job).await.unwrap();
    for round in 0..3 {
        follows_to(&stage, &process, &mut spark, topic, 100 + 50 * round).await;
        let rows = consumer_groups(&stage.servers, topic).await.unwrap();
        assert!(
            rows.iter().all(|row| row.lag == Some(0)),
            "round {round}: {rows:?}"
        );
        stage.produce(topic, 50).await;
    }
    let batch = follows_to(&stage, &process, &mut spark, topic, 250).await;

    // A batch that is under way was planned, not processed.
    spark.send("hold").unwrap();
    stage.produce(topic, 70).await;
    spark.event("held", PATIENCE).await.unwrap();
    stage
        .comes_to_tell(&process, "offset_reporter_offsets_without_commit", 1.0)
        .await;
    follows(&stage, &process, topic, &batch).await;
    stage.comes_to_tell(&process, "offset_reporter_lag", 70.0).await;
    spark.send("release").unwrap();
    follows_to(&stage, &process, &mut spark, topic, 320).await;

    // Without Spark the group still shows what was processed, and what waits.
    spark.kill().await.unwrap();
    stage.produce(topic, 30).await;
    stage.comes_to_tell(&process, "offset_reporter_lag", 30.0).await;
    let rows = consumer_groups(&stage.servers, topic).await.unwrap();
    assert_eq!(rows.iter().filter_map(|row| row.lag).sum::<i64>(), 30);
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_spark_3_5_are_followed_one_by_one() {
    microbatches(SparkVersion::V3_5, "spark-three").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_spark_4_2_are_followed_one_by_one() {
    microbatches(SparkVersion::V4_2, "spark-four").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_is_never_reported() {
    let topic = "spark-fails";
    let stage = Stage::new().await;
    stage.topic(topic, PARTITIONS, 100).await;
    let checkpoint = stage.path("checkpoint");
    let process = stage.reporter(topic, checkpoint.to_str().unwrap(), "");
    let more = [
        "--output",
        "foreachBatch",
        "--fail-at-batch",
        "1",
        "--trigger",
        "processingTime=200 milliseconds",
    ];
    let job = job(&stage, topic, checkpoint.to_str().unwrap(), &more);
    let mut spark = Spark::start(SparkVersion::V4_2, &job).await.unwrap();
    let batch = spark.event("batch", PATIENCE).await.unwrap();
    stage.produce(topic, 40).await;
    spark.event("failed", PATIENCE).await.unwrap();
    assert!(checkpoint.join("offsets/1").exists() && !checkpoint.join("commits/1").exists());
    stage
        .comes_to_tell(&process, "offset_reporter_offsets_without_commit", 1.0)
        .await;
    follows(&stage, &process, topic, &batch).await;
    stage.comes_to_tell(&process, "offset_reporter_lag", 40.0).await;
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_available_now_is_followed_to_its_end_on_s3() {
    let topic = "spark-s3";
    let stage = Stage::new().await;
    stage.topic(topic, PARTITIONS, 300).await;
    let server = S3Server::start().await.unwrap();
    server.create_bucket("checkpoints").await.unwrap();
    let variables = [
        ("AWS_ACCESS_KEY_ID", server.access_key()),
        ("AWS_SECRET_ACCESS_KEY", server.secret_key()),
    ];
    let tables = format!(
        "[s3]\nendpoint = \"{}\"\npath_style = true\n[[streams]]\nname = \"{topic}\"\ncheckpoint = \"s3a://checkpoints/{topic}\"\n",
        server.endpoint()
    );
    let process = stage.reporter_of(&tables, &variables);
    let place = format!("s3a://checkpoints/{topic}");
    let more = [
        "--trigger",
        "availableNow",
        "--option",
        "maxOffsetsPerTrigger=100",
    ];
    let mut job = job(&stage, topic, &place, &more);
    job.keep_on(&server);
    let mut spark = Spark::start(SparkVersion::V3_5, &job).await.unwrap();
    let mut last = None;
    while let Ok(batch) = spark.event("batch", PATIENCE).await {
        last = Some(batch);
    }
    assert_eq!(spark.ended(PATIENCE).await.unwrap(), 0, "{}", spark.log());
    let last = last.unwrap();
    assert!(last["number"].as_i64().unwrap() >= 2, "several batches: {last}");
    assert_eq!(ends(&last, topic).iter().sum::<i64>(), 300);
    follows(&stage, &process, topic, &last).await;
    stage.comes_to_tell(&process, "offset_reporter_lag", 0.0).await;
    process.stop().await.unwrap();
}

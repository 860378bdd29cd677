//! Spark reads Kafka, keeps its checkpoint on disk and on S3, and serves its metrics when it is told to.

use std::time::Duration;

use testbed::{Kafka, S3Server, Spark, SparkJob, SparkVersion, committed};

use crate::kafka_with_records;

const PATIENCE: Duration = Duration::from_mins(2);
const TOPIC: &str = "in";
/// A legal name, which Spark escapes nowhere.
const NAME: &str = r#"q"uo\te"#;

/// A query with a batch for each record.
fn job(kafka: &Kafka, checkpoint: &str, more: &[&str]) -> SparkJob {
    let start = [
        "--servers",
        kafka.bootstrap_servers(),
        "--topics",
        TOPIC,
        "--checkpoint",
        checkpoint,
    ];
    let options = [
        "--option",
        "startingOffsets=earliest",
        "--option",
        "maxOffsetsPerTrigger=1",
    ];
    let arguments = start.iter().chain(&options).chain(more);
    SparkJob {
        arguments: arguments.map(|&argument| argument.to_owned()).collect(),
        ..SparkJob::default()
    }
}

fn set(job: &mut SparkJob, settings: &[(&str, &str)]) {
    let settings = settings
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()));
    job.conf.extend(settings);
}

/// A page of a driver's metrics, if it is one.
async fn metrics(spark: &Spark, path: &str) -> Option<String> {
    let answer = reqwest::get(format!("{}{path}", spark.ui().unwrap()))
        .await
        .unwrap();
    let kind = answer.headers().get(reqwest::header::CONTENT_TYPE);
    let kind = kind.map(|kind| kind.to_str().unwrap().to_owned());
    let found = answer.status().is_success() && kind.is_some_and(|kind| kind.starts_with("text/plain"));
    if found { answer.text().await.ok() } else { None }
}

#[tokio::test]
async fn spark_3_keeps_its_checkpoint_on_s3() {
    let (kafka, s3) = (
        kafka_with_records(TOPIC, 2).await,
        S3Server::start().await.unwrap(),
    );
    s3.create_bucket("checkpoints").await.unwrap();
    let mut job = job(&kafka, "s3a://checkpoints/query", &[]);
    job.keep_on(&s3);
    let mut spark = Spark::start(SparkVersion::V3_5, &job).await.unwrap();
    for number in 0..2 {
        let batch = spark.event("batch", PATIENCE).await.unwrap();
        assert_eq!(
            (&batch["number"], &batch["sources"][0]["end"][TOPIC]["0"]),
            (&number.into(), &(number + 1).into())
        );
    }
    assert_eq!(metrics(&spark, "/metrics/prometheus/").await, None);
    assert_eq!(metrics(&spark, "/metrics/executors/prometheus/").await, None);
    spark.send("stop").unwrap();
    assert_eq!(spark.ended(PATIENCE).await.unwrap(), 0);
    let commit = s3.get("checkpoints", "query/commits/1").await.unwrap().unwrap();
    assert!(commit.starts_with(b"v1\n"));
}

#[tokio::test]
async fn spark_4_keeps_its_checkpoint_on_disk_and_fails_where_it_is_told_to() {
    let kafka = kafka_with_records(TOPIC, 3).await;
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = format!("file://{}", folder.path().display());
    let more = ["--output", "foreachBatch", "--fail-at-batch", "2"];
    let mut job = job(&kafka, &checkpoint, &more);
    set(&mut job, &METRICS);
    let mut spark = Spark::start(SparkVersion::V4_2, &job).await.unwrap();
    spark.event("ui", PATIENCE).await.unwrap();
    assert!(metrics(&spark, "/metrics/prometheus/").await.is_some());
    assert!(metrics(&spark, "/metrics/executors/prometheus/").await.is_some());
    let why = spark.event("failed", PATIENCE).await.unwrap();
    assert!(why.as_str().unwrap().contains("batch 2 shall fail"), "{why}");
    assert_eq!(spark.ended(PATIENCE).await.unwrap(), 1);
    assert_eq!(committed(folder.path()).unwrap().0.0, 1);
}

#[tokio::test]
async fn a_batch_that_is_held_is_planned_and_not_committed() {
    let kafka = kafka_with_records(TOPIC, 2).await;
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = format!("file://{}", folder.path().display());
    let mut job = job(&kafka, &checkpoint, &["--output", "foreachBatch"]);
    set(&mut job, &METRICS);
    set(&mut job, &[("spark.app.name", NAME)]);
    let mut spark = Spark::start(SparkVersion::V3_5, &job).await.unwrap();
    spark.send("hold").unwrap();
    assert_eq!(spark.event("held", PATIENCE).await.unwrap(), 0);
    assert!(metrics(&spark, "/metrics/prometheus/").await.is_some());
    let page = metrics(&spark, "/metrics/executors/prometheus/").await.unwrap();
    assert!(page.contains(&format!("application_name=\"{NAME}\"")), "{page}");
    // Had it not been held, it would have been committed before those pages came.
    assert!(folder.path().join("offsets/0").exists());
    assert_eq!(committed(folder.path()), None);
    spark.send("release").unwrap();
    assert_eq!(spark.event("batch", PATIENCE).await.unwrap()["number"], 0);
    spark.kill().await.unwrap();
}

/// Both of a driver's pages.
const METRICS: [(&str, &str); 3] = [
    ("spark.ui.prometheus.enabled", "true"),
    (
        "spark.metrics.conf.*.sink.prometheusServlet.class",
        "org.apache.spark.metrics.sink.PrometheusServlet",
    ),
    (
        "spark.metrics.conf.*.sink.prometheusServlet.path",
        "/metrics/prometheus",
    ),
];

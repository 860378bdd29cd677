//! Real drivers of Spark, with metrics on and off.

use std::path::Path;
use std::time::Duration;

use testbed::{Spark, SparkJob, SparkVersion, until};

use crate::stage::{PATIENCE, Stage, values};

/// How long a driver may take to start on a busy machine.
const START: Duration = Duration::from_mins(3);

const SERVLET: [(&str, &str); 3] = [
    (
        "spark.metrics.conf.*.sink.prometheusServlet.class",
        "org.apache.spark.metrics.sink.PrometheusServlet",
    ),
    (
        "spark.metrics.conf.*.sink.prometheusServlet.path",
        "/metrics/prometheus",
    ),
    ("spark.sql.streaming.metricsEnabled", "true"),
];

/// A driver with a streaming query and these settings, and the port of its user interface.
async fn driver(version: SparkVersion, query: &str, conf: &[(&str, &str)]) -> (Spark, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/rate.py");
    let conf = conf
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let job = SparkJob {
        script: Some(script),
        conf: conf.collect(),
        arguments: vec![query.to_owned()],
    };
    let mut spark = Spark::start(version, &job).await.unwrap();
    let told = spark.event("ui", START).await.unwrap();
    let address = told["address"].as_str().unwrap();
    (spark, address.rsplit(':').next().unwrap().to_owned())
}

/// A configuration of the two presets at this port.
fn presets(stage: &Stage, port: &str) -> String {
    // Where the driver is said to be, its executors are, too.
    let targets = format!("targets.driver.ports = \"1,{port}\"\n[targets.executors]\n");
    stage.config(&[], "") + &targets
}

/// With metrics on, a query tells how the stream is doing, by names that do not change with the application's id.
async fn with_metrics_on(version: SparkVersion) {
    let stage = Stage::new().await;
    let mut conf = SERVLET.to_vec();
    conf.push(("spark.ui.prometheus.enabled", "true"));
    conf.push(("spark.app.name", "q\"uo\\te, \", executor_id=\"9"));
    let (mut spark, port) = driver(version, "my query-1", &conf).await;
    let exporter = crate::stage::start(&stage.folder, &presets(&stage, &port));
    stage
        .becomes("spark_exporter_target_up{job=\"orders\"}", &[1.0, 1.0])
        .await;
    stage.becomes("spark_exporter_target_refused", &[0.0, 0.0]).await;
    stage
        .becomes(
            "spark_streaming_processingRate_total{query=\"my_query_1\"} > bool 0",
            &[1.0],
        )
        .await;
    stage
        .becomes("spark_executor_totalCores{executor_id=\"driver\"}", &[2.0])
        .await;
    stage
        .becomes(
            "count(spark_driver_jvm_heap_used_Value or spark_driver_JVMCPU_jvmCpuTime_Value) > bool 0",
            &[1.0],
        )
        .await;
    stage
        .becomes("count({__name__=~\".*local_[0-9]+.*\"})", &[])
        .await;
    stage
        .becomes("count({application_id!=\"\"}) by (__name__) > bool 0", &[1.0])
        .await;
    stage.becomes("count(up{job=\"gateway\"} == 1)", &[1.0]).await;
    spark.send("end").unwrap();
    assert_eq!(spark.ended(START).await.unwrap(), 0, "{}", spark.log());
    stage.becomes("spark_exporter_target_up", &[0.0, 0.0]).await;
    stage.becomes("spark_streaming_processingRate_total", &[]).await;
    exporter.stop().await.unwrap();
}

/// With metrics off nothing but that they are off is pushed, and the setting is named.
async fn with_metrics_off(version: SparkVersion) {
    let stage = Stage::new().await;
    let off = [("spark.ui.prometheus.enabled", "false")];
    let (_spark, port) = driver(version, "quiet", &off).await;
    let exporter = crate::stage::start(&stage.folder, &presets(&stage, &port));
    let told = until(PATIENCE, async || {
        let (_, page) = exporter.get("/readyz?verbose").await?;
        let both = page.contains("sink.prometheusServlet.class=")
            && page.contains("spark.ui.prometheus.enabled=true");
        both.then_some(())
    });
    assert!(told.await.is_some(), "{}", exporter.log());
    stage.becomes("spark_exporter_target_up", &[0.0, 0.0]).await;
    assert_eq!(
        values(
            &stage.prometheus,
            "count({__name__=~\"spark_(driver|executor|streaming).*\"})"
        )
        .await,
        [0.0; 0]
    );
    exporter.stop().await.unwrap();
}

/// With the page on, but not the metrics of queries, the check names the setting.
async fn with_metrics_of_queries_off(version: SparkVersion) {
    let stage = Stage::new().await;
    let mut conf = SERVLET.to_vec();
    conf.retain(|(key, _)| !key.starts_with("spark.sql"));
    conf.push(("spark.ui.prometheus.enabled", "true"));
    let (mut spark, port) = driver(version, "quiet", &conf).await;
    let config = presets(&stage, &port);
    let check = async || {
        let output = stage.run(&config, &["check", "--connect"]).await;
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let named = until(PATIENCE, async || {
        let (code, printed) = check().await;
        let is_named = printed.contains("failed  targets.driver: ")
            && printed.contains("spark.sql.streaming.metricsEnabled=true");
        (code == Some(1) && is_named).then_some(())
    });
    assert!(named.await.is_some(), "{:?}", check().await);
    spark.send("end").unwrap();
    assert_eq!(spark.ended(START).await.unwrap(), 0, "{}", spark.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_3_5_with_metrics_of_queries_off() {
    with_metrics_of_queries_off(SparkVersion::V3_5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_4_2_with_metrics_of_queries_off() {
    with_metrics_of_queries_off(SparkVersion::V4_2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_3_5_with_metrics_on() {
    with_metrics_on(SparkVersion::V3_5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_4_2_with_metrics_on() {
    with_metrics_on(SparkVersion::V4_2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_3_5_with_metrics_off() {
    with_metrics_off(SparkVersion::V3_5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_4_2_with_metrics_off() {
    with_metrics_off(SparkVersion::V4_2).await;
}

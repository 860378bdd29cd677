//! What a real Pushgateway refuses, and that it blanks nothing.

use crate::page::Page;
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_another_group_has_with_another_type_costs_its_target_alone() {
    let stage = Stage::new().await;
    stage.push("stranger", "# TYPE x counter\nx 7\n").await;
    let (clashing, good) = (Page::start("x 1\n").await, Page::start("y 1\n").await);
    let exporter = stage.exporter(&[("clashing", &clashing.url), ("good", &good.url)], "");
    stage.becomes("y{job=\"orders\"}", &[1.0]).await;
    stage
        .becomes("spark_exporter_target_refused{target=\"clashing\"}", &[1.0])
        .await;
    stage
        .becomes("spark_exporter_target_refused{target=\"good\"}", &[0.0])
        .await;
    stage.becomes("x", &[7.0]).await;
    let log = exporter.log();
    assert!(
        log.contains("the sink refuses the target's samples") && log.contains("pushed metrics are invalid"),
        "{log}"
    );
    assert!(log.contains("\"clashing\""), "{log}");
    exporter.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_a_target_that_is_refused_later_are_not_kept_as_fresh() {
    let stage = Stage::new().await;
    let (turning, good) = (Page::start("x 1\n").await, Page::start("y 1\n").await);
    let exporter = stage.exporter(&[("turning", &turning.url), ("good", &good.url)], "");
    stage.becomes("x{job=\"orders\"}", &[1.0]).await;
    stage.push("stranger", "# TYPE w counter\nw 7\n").await;
    turning.set("x 2\nw 1\n");
    stage.becomes("x{job=\"orders\"}", &[]).await;
    stage.becomes("y{job=\"orders\"}", &[1.0]).await;
    stage
        .becomes(
            "push_failure_time_seconds{job=\"orders\"} > bool push_time_seconds",
            &[0.0, 0.0],
        )
        .await;
    exporter.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_a_gateway_refuses_as_they_are_pass_with_what_is_good_in_them() {
    let stage = Stage::new().await;
    let labels = "application_id=\"app-1\", application_name=\"q\"uo\\te\", executor_id=\"0\"";
    let executors =
        format!("metrics_executor_rddBlocks{{{labels}}} 3\nx null\ny []\nz{{a=\"1\"}} 1\nz{{a=\"1\"}} 2\n");
    let driver = "metrics_local_1_driver_spark_streaming_a_b_latency_Value{type=\"gauges\"} 5\r\n\
                  metrics_local_1_driver_spark_streaming_a_b_latency_Value{type=\"gauges\"} 6\r\n\
                  metrics_local_1_driver_jvm_heap_Value{type=\"gauges\"} 1.0E7\ntimed 4 1700000000000\ngood NaN\nlast 1";
    let (executors, driver) = (Page::start(&executors).await, Page::start(driver).await);
    let config = stage.config(&[("executors", &executors.url), ("driver", &driver.url)], "");
    let output = stage.run(&config, &["--once"]).await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    stage
        .becomes("spark_executor_rddBlocks{executor_id=\"0\"}", &[3.0])
        .await;
    stage.becomes("z", &[2.0]).await;
    stage
        .becomes("spark_streaming_latency{query=\"a_b\"}", &[6.0])
        .await;
    stage.becomes("spark_driver_jvm_heap_Value", &[1e7]).await;
    stage.becomes("timed", &[4.0]).await;
    stage.becomes("last", &[1.0]).await;
    stage.becomes("count(good)", &[1.0]).await;
    stage.becomes("count(x or y)", &[]).await;
    stage
        .becomes(
            "spark_exporter_target_dropped_samples_total{target=\"executors\",reason=\"not_a_number\"}",
            &[2.0],
        )
        .await;
    stage
        .becomes(
            "spark_exporter_target_info{application_name=\"q\\\"uo\\\\te\"}",
            &[1.0],
        )
        .await;
}

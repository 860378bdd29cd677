//! The life of a run, as Prometheus sees it through a Pushgateway.

use testbed::Process;
use tokio::net::TcpListener;

use crate::page::Page;
use crate::stage::Stage;

/// Values are of the last push, which is not long ago.
const FRESH: &str = "min(time() - push_time_seconds{job=\"orders\"}) < bool 5";

#[tokio::test(flavor = "multi_thread")]
async fn at_the_start_in_flight_and_after_the_exit_a_query_is_right() {
    let stage = Stage::new().await;
    let late = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", late.local_addr().unwrap());
    drop(late);
    let exporter = stage.exporter(&[("app", &url)], "");
    stage
        .becomes(
            "spark_exporter_target_up{job=\"orders\",instance=\"driver\",target=\"app\"}",
            &[0.0],
        )
        .await;
    let page = Page::on(
        TcpListener::bind(&url["http://".len()..url.len() - "/metrics".len()])
            .await
            .unwrap(),
        "x 1\n",
    );
    stage.becomes("spark_exporter_target_up", &[1.0]).await;
    stage
        .becomes("x{job=\"orders\",instance=\"driver\",target=\"app\"}", &[1.0])
        .await;
    page.set("x 2\n");
    stage.becomes("x", &[2.0]).await;
    stage.becomes(FRESH, &[1.0]).await;
    exporter.stop().await.unwrap();
    stage
        .becomes("spark_exporter_target_up{target=\"app\"}", &[0.0])
        .await;
    stage.becomes("x", &[]).await;
    stage
        .becomes(
            "spark_exporter_target_last_success_timestamp_seconds > bool 1",
            &[1.0],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_dies_is_down_and_its_values_go_while_the_push_stays_fresh() {
    let stage = Stage::new().await;
    let (dying, living) = (Page::start("x 1\n").await, Page::start("y 1\n").await);
    let exporter = stage.exporter(&[("dying", &dying.url), ("living", &living.url)], "");
    stage.becomes("x", &[1.0]).await;
    drop(dying);
    stage
        .becomes("spark_exporter_target_up{target=\"dying\"}", &[0.0])
        .await;
    stage.becomes("x", &[]).await;
    stage.becomes("y", &[1.0]).await;
    stage
        .becomes("spark_exporter_target_up{target=\"living\"}", &[1.0])
        .await;
    stage.becomes(FRESH, &[1.0]).await;
    exporter.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_restarts_empty_has_everything_after_the_next_push() {
    let mut stage = Stage::new().await;
    let page = Page::start("x 1\n").await;
    let exporter = stage.exporter(&[("app", &page.url)], "");
    stage.becomes("x", &[1.0]).await;
    stage.gateway.stop().await.unwrap();
    stage.becomes("x", &[]).await;
    stage.gateway.restart().await.unwrap();
    stage.becomes("x", &[1.0]).await;
    stage.becomes("spark_exporter_target_up", &[1.0]).await;
    exporter.stop().await.unwrap();
}

/// An old run ends while a new one has pushed last, and sleeps: what is there then is what the old one left.
async fn overlap(stage: &Stage, page: &Page, on_exit: &str) -> Process {
    let more = format!("push.on_exit = \"{on_exit}\"\n");
    let mut old = stage.exporter(&[("app", &page.url)], &more);
    stage.becomes("x", &[1.0]).await;
    old.signal("STOP").unwrap();
    let more = more + "group.info.generation = \"new\"\n";
    let new = stage.exporter(&[("app", &page.url)], &more);
    stage
        .becomes("spark_exporter_run_info{generation=\"new\"}", &[1.0])
        .await;
    new.signal("STOP").unwrap();
    old.signal("TERM").unwrap();
    old.signal("CONT").unwrap();
    assert!(old.exit().await.unwrap().success());
    let is_kept = old.log().contains("another run has replaced the values");
    assert_eq!(is_kept, on_exit == "delete", "{}", old.log());
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn if_two_runs_overlap_the_old_one_does_not_delete_the_new_ones_values() {
    let (stage, page) = (Stage::new().await, Page::start("x 1\n").await);
    let new = overlap(&stage, &page, "delete").await;
    stage.becomes("x", &[1.0]).await;
    stage.becomes("spark_exporter_target_up", &[1.0]).await;
    stage
        .becomes("spark_exporter_run_info{generation=\"new\"}", &[1.0])
        .await;
    new.signal("CONT").unwrap();
    new.stop().await.unwrap();
    stage.becomes("spark_exporter_target_up", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn if_two_runs_overlap_the_new_ones_next_push_replaces_what_the_old_one_marked_down() {
    let (stage, page) = (Stage::new().await, Page::start("x 1\n").await);
    let new = overlap(&stage, &page, "mark_down").await;
    stage.becomes("spark_exporter_target_up", &[0.0]).await;
    new.signal("CONT").unwrap();
    stage.becomes("spark_exporter_target_up", &[1.0]).await;
    new.stop().await.unwrap();
    stage.becomes("spark_exporter_target_up", &[0.0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_exporter_leaves_up_and_the_time_of_its_last_push_shows_it() {
    let stage = Stage::new().await;
    let page = Page::start("x 1\n").await;
    let mut killed = stage.exporter(&[("app", &page.url)], "");
    stage.becomes("spark_exporter_target_up", &[1.0]).await;
    killed.kill().unwrap();
    stage
        .becomes("time() - push_time_seconds{job=\"orders\"} > bool 3", &[1.0])
        .await;
    stage.becomes("spark_exporter_target_up", &[1.0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_exit_delete_leaves_nothing_and_keep_leaves_everything() {
    let stage = Stage::new().await;
    let page = Page::start("x 1\n").await;
    let keeping = stage.exporter(&[("app", &page.url)], "push.on_exit = \"keep\"\n");
    stage.becomes("x", &[1.0]).await;
    keeping.stop().await.unwrap();
    stage.becomes("x", &[1.0]).await;
    let deleting = stage.exporter(
        &[("app", &page.url)],
        "push.on_exit = \"delete\"\ngroup.info.second = \"y\"\n",
    );
    stage
        .becomes("spark_exporter_run_info{second=\"y\"}", &[1.0])
        .await;
    deleting.stop().await.unwrap();
    stage.becomes("x", &[]).await;
    stage.becomes("count({job=\"orders\"})", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_pulls_sees_the_same() {
    let stage = Stage::new().await;
    let page = Page::start("x{instance=\"mine\"} 1\n").await;
    let port = free_port();
    let more = format!("push.sink = \"http\"\nhttp.address = \"127.0.0.1:{port}\"\n");
    let exporter = stage.exporter(&[("app", &page.url)], &more);
    let scrape = format!(
        "scrape_configs:\n- job_name: pulled\n  scrape_interval: 500ms\n  static_configs:\n  - targets: \
         ['127.0.0.1:{port}']\n"
    );
    let prometheus = testbed::Prometheus::start(&scrape, &[]).await.unwrap();
    crate::stage::becomes(
        &prometheus,
        "x{job=\"pulled\",exported_instance=\"mine\"}",
        &[1.0],
    )
    .await;
    crate::stage::becomes(&prometheus, "spark_exporter_target_up{job=\"pulled\"}", &[1.0]).await;
    exporter.stop().await.unwrap();
    crate::stage::becomes(&prometheus, "x", &[]).await;
}

/// A port that is free now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

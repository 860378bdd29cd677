//! Remote write into a real Prometheus.

use tempfile::TempDir;
use testbed::{Process, Prometheus};

use crate::page::Page;
use crate::stage::{becomes, start, urls};

async fn receiver() -> Prometheus {
    Prometheus::start("", &["--web.enable-remote-write-receiver"])
        .await
        .unwrap()
}

fn exporter(folder: &TempDir, prometheus: &Prometheus, targets: &[(&str, &str)], more: &str) -> Process {
    let targets = urls(targets);
    let config = format!(
        "{targets}push.sink = \"remote_write\"\nremote_write.url = \"{}/api/v1/write\"\n\
         push.interval = \"500ms\"\ngroup.job = \"orders\"\n{more}",
        prometheus.url()
    );
    start(folder, &config)
}

#[tokio::test(flavor = "multi_thread")]
async fn values_come_and_go_with_their_series_and_the_end_is_marked() {
    let (prometheus, folder) = (receiver().await, tempfile::tempdir().unwrap());
    let (first, second) = (Page::start("x 1\ny 1\n").await, Page::start("z 1\n").await);
    let exporter = exporter(
        &folder,
        &prometheus,
        &[("first", &first.url), ("second", &second.url)],
        "",
    );
    becomes(
        &prometheus,
        "x{job=\"orders\",instance=\"driver\",target=\"first\"}",
        &[1.0],
    )
    .await;
    first.set("x 2\n");
    becomes(&prometheus, "x", &[2.0]).await;
    // Without the mark the old value would be there for five minutes.
    becomes(&prometheus, "y", &[]).await;
    drop(second);
    becomes(&prometheus, "z", &[]).await;
    becomes(&prometheus, "spark_exporter_target_up", &[0.0, 1.0]).await;
    becomes(&prometheus, "time() - timestamp(x) < bool 5", &[1.0]).await;
    exporter.stop().await.unwrap();
    becomes(&prometheus, "x", &[]).await;
    becomes(&prometheus, "spark_exporter_target_up", &[0.0, 0.0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_exit_delete_ends_every_series() {
    let (prometheus, folder) = (receiver().await, tempfile::tempdir().unwrap());
    let page = Page::start("x 1\n").await;
    let exporter = exporter(
        &folder,
        &prometheus,
        &[("app", &page.url)],
        "push.on_exit = \"delete\"\n",
    );
    becomes(&prometheus, "x", &[1.0]).await;
    exporter.stop().await.unwrap();
    becomes(&prometheus, "count({job=\"orders\"})", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_does_not_receive_is_named_with_the_flag() {
    let (prometheus, folder) = (
        Prometheus::start("", &[]).await.unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let page = Page::start("x 1\n").await;
    let exporter = exporter(&folder, &prometheus, &[("app", &page.url)], "");
    let told = testbed::until(crate::stage::PATIENCE, async || {
        let (_, text) = exporter.get("/readyz?verbose").await?;
        text.contains("--web.enable-remote-write-receiver").then_some(())
    });
    assert!(told.await.is_some(), "{}", exporter.log());
    exporter.stop().await.unwrap();
}

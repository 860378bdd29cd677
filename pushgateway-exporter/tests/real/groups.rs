//! Groups: their names, who comes after whom, and what is swept.

use crate::page::Page;
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn any_job_and_instance_can_name_a_group() {
    let stage = Stage::new().await;
    let page = Page::start("x{job=\"own\",instance=\"own\"} 1\n").await;
    for (job, instance) in [
        ("a/b", "c d"),
        ("größe", ".."),
        ("plain", ""),
        ("\"q\"", "日本/x"),
    ] {
        let more = format!("[group]\njob = '{job}'\ninstance = '{instance}'\n");
        let config = stage
            .config(&[("app", &page.url)], "")
            .replace("group.job = \"orders\"\n", "")
            + &more;
        let output = stage.run(&config, &["--once"]).await;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let job = job.replace('"', "\\\"");
        let labels = format!("job=\"{job}\",instance=\"{instance}\"");
        stage
            .becomes(
                &format!("x{{{labels},exported_job=\"own\",exported_instance=\"own\"}}"),
                &[1.0],
            )
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_another_address_takes_its_predecessors_place() {
    let stage = Stage::new().await;
    let (first, second) = (Page::start("x 1\n").await, Page::start("x 2\n").await);
    let mut killed = stage.exporter(&[("app", &first.url)], "");
    stage.becomes("x", &[1.0]).await;
    killed.kill().unwrap();
    let exporter = stage.exporter(&[("app", &second.url)], "");
    stage.becomes("x", &[2.0]).await;
    stage.becomes("count(push_time_seconds)", &[1.0]).await;
    exporter.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_is_swept_when_it_is_old_enough_and_nothing_else_is() {
    let stage = Stage::new().await;
    let page = Page::start("x 1\n").await;
    let mut killed = stage.exporter(&[("app", &page.url)], "");
    stage.becomes("x{job=\"orders\"}", &[1.0]).await;
    killed.kill().unwrap();
    let other = stage
        .config(&[("app", &page.url)], "")
        .replace("\"orders\"", "\"other\"");
    assert!(stage.run(&other, &["--once"]).await.status.success());
    stage.push("foreign", "z 1\n").await;
    let config = stage.config(&[("app", &page.url)], "");
    let sweep = async |arguments: &[&str]| {
        let output = stage.run(&config, &[&["sweep"], arguments].concat()).await;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(sweep(&["--ttl", "1h"]).await, "0 groups\n");
    let dry = sweep(&["--ttl", "0s", "--match", "job=orders"]).await;
    assert!(
        dry.starts_with("would delete {instance=\"driver\", job=\"orders\", target=\"app\"}"),
        "{dry}"
    );
    stage.becomes("x{job=\"orders\"}", &[1.0]).await;
    sweep(&["--ttl", "0s", "--match", "job=orders", "--delete"]).await;
    stage.becomes("count({job=\"orders\"})", &[]).await;
    stage.becomes("x{job=\"other\"}", &[1.0]).await;
    sweep(&["--ttl", "0s", "--delete"]).await;
    stage.becomes("count({job=\"other\"})", &[]).await;
    stage.becomes("z{job=\"foreign\"}", &[1.0]).await;
}

/// What version 0.1.0 pushed to the one group that all of its targets shared.
const OLDER: &str = include_str!("../fixtures/group-0.1.0.txt");

#[tokio::test(flavor = "multi_thread")]
async fn the_group_of_an_older_version_is_taken_over() {
    let stage = Stage::new().await;
    stage.push("orders/instance/driver", OLDER).await;
    stage
        .becomes("spark_exporter_target_up{target=\"app\"}", &[1.0])
        .await;
    let page = Page::start("x 1\n").await;
    let exporter = stage.exporter(&[("app", &page.url), ("second", &page.url)], "");
    let log = testbed::until(crate::stage::PATIENCE, async || {
        let log = exporter.log();
        log.contains("deleted the group of an older version")
            .then_some(log)
    });
    assert!(log.await.is_some(), "{}", exporter.log());
    stage.becomes("x{job=\"orders\"}", &[1.0, 1.0]).await;
    stage.becomes("spark_exporter_target_up", &[1.0, 1.0]).await;
    stage.becomes("spark_executor_rddBlocks", &[]).await;
    exporter.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_of_an_older_version_that_nobody_takes_over_is_swept() {
    let stage = Stage::new().await;
    stage.push("orders/instance/driver", OLDER).await;
    let config = stage.config(&[("app", "http://127.0.0.1:1/")], "");
    let output = stage.run(&config, &["sweep", "--ttl", "0s", "--delete"]).await;
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.starts_with("deleted {instance=\"driver\", job=\"orders\"}"),
        "{printed}"
    );
    stage.becomes("count({job=\"orders\"})", &[]).await;
}

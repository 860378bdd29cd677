//! What is said of lag while a broker restarts, is away, and is busy.

use std::collections::BTreeSet;
use std::time::Duration;

use kafka_admin::{Partition, Topic};
use testbed::{Kafka, KafkaSettings, Process, until};

use crate::stage::{PATIENCE, Stage, Written};

const LAG: &str = "offset_reporter_lag";
/// How often the broker restarts, and how many batches a busy query commits.
const RESTARTS: i64 = 3;
const BATCHES: usize = 60;

async fn is_gone(process: &Process, metric: &str) {
    let gone = until(PATIENCE, async || {
        process.metric(metric).await.is_none().then_some(())
    });
    assert!(gone.await.is_some(), "{metric} stays; {}", process.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_takes_lag_away_and_its_restart_brings_it_back() {
    let mut broker = Kafka::start(&KafkaSettings::default()).await.unwrap();
    let stage = Stage::on(broker.bootstrap_servers());
    stage.topic("t", 1, 50).await;
    let mut checkpoint = Written::at(stage.path("c")).await;
    checkpoint.commit(&[("t", 0, 10)]).await;
    let mut process = stage.reporter("g", stage.path("c").to_str().unwrap(), "");
    process.ready().await.unwrap();
    stage.comes_to_tell(&process, LAG, 40.0).await;
    for restart in 1..=RESTARTS {
        broker.stop().await.unwrap();
        // No batch comes: all that says that the cluster is away is the question about ends.
        let unready = until(PATIENCE, async || (!process.is_ready().await).then_some(()));
        assert!(unready.await.is_some(), "{}", process.log());
        for metric in [LAG, "offset_reporter_processed_offset"] {
            is_gone(&process, metric).await;
        }
        assert_eq!(process.metric("offset_reporter_stream_up").await, Some(0.0));
        let failures = process.metric("offset_reporter_log_end_failures_total").await;
        assert!(failures.is_some_and(|failures| failures >= 1.0), "{failures:?}");
        broker.restart().await.unwrap();
        stage.produce("t", 10).await;
        let lag = 40 + 10 * i32::try_from(restart).unwrap();
        stage.comes_to_tell(&process, LAG, f64::from(lag)).await;
        process.ready().await.unwrap();
    }
    each_sort_of_refusal_is_logged_once_an_outage(&process.log());
    process.stop().await.unwrap();
}

fn each_sort_of_refusal_is_logged_once_an_outage(log: &str) {
    let mut codes = BTreeSet::new();
    for line in log.lines() {
        if line.contains("where partitions end is known again") {
            codes.clear();
        } else if line.contains("where partitions end is not known") {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let refusal = line["refusal"].as_str().unwrap();
            let (code, _) = refusal.split_once(':').unwrap();
            assert!(codes.insert(code.to_owned()), "{code} again: {log}");
        }
    }
    assert!(log.contains("where partitions end is not known"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_query_that_keeps_up_is_never_said_to_be_beyond_the_end() {
    let stage = Stage::new().await;
    stage.topic("busy", 1, 0).await;
    let mut checkpoint = Written::at(stage.path("c")).await;
    let process = stage.reporter("busy", stage.path("c").to_str().unwrap(), "");
    for batch in 1..=BATCHES {
        stage.produce("busy", 20).await;
        let end = i64::try_from(20 * batch).unwrap();
        checkpoint.commit(&[("busy", 0, end)]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let beyond = process.metric("offset_reporter_out_of_range").await;
        assert!(
            beyond.is_none_or(|beyond| beyond == 0.0),
            "batch {batch}: {beyond:?}"
        );
    }
    stage.comes_to_tell(&process, LAG, 0.0).await;
    stage.produce("busy", 7).await;
    stage.comes_to_tell(&process, LAG, 7.0).await;
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_retention_removed_before_they_were_processed_are_said_to_be_lost() {
    let stage = Stage::new().await;
    stage.topic("overtaken", 1, 30).await;
    let mut checkpoint = Written::at(stage.path("c")).await;
    checkpoint.commit(&[("overtaken", 0, 10)]).await;
    let process = stage.reporter("overtaken", stage.path("c").to_str().unwrap(), "");
    let before = "offset_reporter_out_of_range{kind=\"before_beginning\",stream=\"overtaken\"}";
    stage.comes_to_tell(&process, LAG, 20.0).await;
    let page = async || process.get("/metrics").await.unwrap().1;
    assert!(page().await.contains(&format!("{before} 0")), "{}", page().await);
    let topic = Topic::from("overtaken");
    stage
        .topics
        .delete_records(&topic, Partition(0), 25)
        .await
        .unwrap();
    let told = until(PATIENCE, async || {
        page().await.contains(&format!("{before} 1")).then_some(())
    });
    assert!(told.await.is_some(), "{}", page().await);
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_back_that_is_held_can_be_shown_and_allowed_once() {
    let stage = Stage::new().await;
    stage.topic("held", 1, 30).await;
    let place = stage.path("c");
    let mut checkpoint = Written::at(place.clone()).await;
    checkpoint.commit(&[("held", 0, 20)]).await;
    let more = "rewind = \"never\"";
    let process = stage.reporter("held", place.to_str().unwrap(), more);
    stage.comes_to_have(&process, "held", ("held", 0), 20).await;
    std::fs::remove_dir_all(&place).unwrap();
    let mut checkpoint = Written::at(place.clone()).await;
    checkpoint.commit(&[("held", 0, 5)]).await;
    let held = until(PATIENCE, async || {
        let (_, page) = process.get("/readyz?verbose").await?;
        page.contains("offset-reporter rewind held").then_some(())
    });
    held.await.unwrap_or_else(|| panic!("{}", process.log()));
    let config = stage.path("rewind.toml");
    let text = format!(
        "kafka.bootstrap_servers = \"{}\"\n[[streams]]\nname = \"held\"\ncheckpoint = '{}'\n{more}\n",
        stage.servers,
        place.display()
    );
    std::fs::write(&config, text).unwrap();
    let rewind = |arguments: &[&str]| {
        let output = std::process::Command::new(crate::stage::program())
            .args(
                [
                    &["rewind", "held", "--config", config.to_str().unwrap()],
                    arguments,
                ]
                .concat(),
            )
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let step = "held held-0: 20 -> 5 new_query\n";
    assert_eq!(rewind(&["--dry-run"]), step);
    assert_eq!(stage.has("held", "held", 0).await, Ok(Some(20)));
    assert_eq!(rewind(&[]), step);
    stage.comes_to_have(&process, "held", ("held", 0), 5).await;
    checkpoint.commit(&[("held", 0, 8)]).await;
    // The running reporter learns of it, and goes on.
    stage.comes_to_have(&process, "held", ("held", 0), 8).await;
    let (status, page) = process.get("/readyz?verbose").await.unwrap();
    assert_eq!(status, 200, "{page}");
    process.stop().await.unwrap();
}

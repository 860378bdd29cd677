//! What is said of lag: what is known now, never what was known or is guessed.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use crate::fakes::{FakeKafka, FakeStore, Stage, configured};

const QUERY: &str = "1f3a99c2-0195-4220-ade2-7cf05b9724bc";
const UP: &str = "stream_up{stream=\"s\"}";

fn of_partition(stage: &Stage, metric: &str, partition: i32) -> Option<f64> {
    stage.metric(&format!(
        "{metric}{{group=\"g\",partition=\"{partition}\",stream=\"s\",topic=\"t\"}}"
    ))
}

fn lag(stage: &Stage) -> Option<f64> {
    of_partition(stage, "lag", 0)
}

fn out_of_range(stage: &Stage, kind: &str) -> Option<f64> {
    stage.metric(&format!("out_of_range{{kind=\"{kind}\",stream=\"s\"}}"))
}

/// A stream at offset 5 of 9 records, which was looked at once.
async fn followed() -> (FakeStore, Stage) {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    let mut stage = Stage::new(&store, &FakeKafka::with(9), "");
    stage.cycle().await;
    assert_eq!(lag(&stage), Some(4.0));
    (store, stage)
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_does_not_answer_makes_the_stream_not_ready_and_its_lag_unknown() {
    let (_store, mut stage) = followed().await;
    stage.kafka.take_down(true);
    let told = stage.failing_cycle().await;
    assert!(
        told.contains("cluster kafka") && told.contains("BROKER_NOT_AVAILABLE"),
        "{told}"
    );
    assert_eq!(stage.metric(UP), Some(0.0));
    for metric in ["lag", "processed_offset", "log_end_offset"] {
        assert_eq!(of_partition(&stage, metric, 0), None, "{metric} is not known now");
    }
    let failures = "failures_total{reason=\"log_ends\",stream=\"s\"}";
    assert_eq!(stage.metric(failures), Some(1.0));
    stage.kafka.take_down(false);
    stage.cycle().await;
    assert_eq!((lag(&stage), stage.metric(UP)), (Some(4.0), Some(1.0)));
}

#[tokio::test(start_paused = true)]
async fn a_partition_whose_leader_refuses_is_counted_and_costs_no_other_its_lag() {
    let store = FakeStore::of_query(QUERY);
    store.plan(0, "{\"t\":{\"0\":5,\"1\":6}}");
    store.put("commits/0", "v1\n{}");
    let kafka = FakeKafka::with(9);
    kafka.end("t", 1, 9);
    let mut stage = Stage::new(&store, &kafka, "");
    stage.cycle().await;
    kafka.refuse_end("t", 0, Some("FENCED_LEADER_EPOCH"));
    kafka.end("t", 1, 10);
    let told = stage.failing_cycle().await;
    assert!(
        told.contains("t-0") && told.contains("FENCED_LEADER_EPOCH"),
        "{told}"
    );
    assert_eq!(lag(&stage), None);
    assert_eq!(of_partition(&stage, "lag", 1), Some(4.0), "what came is kept");
    stage.failing_cycle().await;
    let refused = "log_end_failures_total{reason=\"FENCED_LEADER_EPOCH\",stream=\"s\"}";
    assert_eq!((stage.metric(refused), stage.metric(UP)), (Some(2.0), Some(0.0)));
    kafka.refuse_end("t", 0, None);
    stage.cycle().await;
    assert_eq!((lag(&stage), stage.metric(UP)), (Some(4.0), Some(1.0)));
}

#[tokio::test(start_paused = true)]
async fn ends_are_those_after_the_checkpoint_was_read() {
    let (store, mut stage) = followed().await;
    for batch in 1..20 {
        // More records arrive, and all are processed, between two looks.
        let end = 9 + 100 * batch;
        stage.kafka.end("t", 0, end);
        store.commit(batch, end);
        stage.stream.cycle().await.unwrap();
        assert_eq!(out_of_range(&stage, "beyond_end"), Some(0.0), "batch {batch}");
        assert_eq!(lag(&stage), Some(0.0), "batch {batch}");
        stage.kafka.end("t", 0, end + 7);
        tokio::time::advance(Duration::from_secs(9)).await;
        stage.stream.cycle().await.unwrap();
        assert_eq!(lag(&stage), Some(7.0), "records that arrived are seen");
        tokio::time::advance(Duration::from_secs(9)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_nobody_knows_is_beyond_nothing() {
    let (store, mut stage) = followed().await;
    store.commit(1, 50);
    stage.kafka.refuse_end("t", 0, Some("LEADER_NOT_AVAILABLE"));
    stage.failing_cycle().await;
    assert_eq!(out_of_range(&stage, "beyond_end"), Some(0.0));
    stage.kafka.refuse_end("t", 0, None);
    stage.cycle().await;
    assert_eq!(out_of_range(&stage, "beyond_end"), Some(1.0));
    assert_eq!(lag(&stage), None, "it is not zero");
}

#[tokio::test(start_paused = true)]
async fn a_commit_waits_for_no_end() {
    let (store, mut stage) = followed().await;
    stage.kafka.hang_ends(true);
    store.commit(1, 8);
    drop(tokio::time::timeout(Duration::from_secs(1), stage.stream.cycle()).await);
    assert_eq!(stage.kafka.has("g", "t", 0), Some(8));
}

#[tokio::test(start_paused = true)]
async fn what_retention_removed_before_it_was_processed_is_counted_and_a_topic_made_anew_is_not() {
    let (_store, mut stage) = followed().await;
    assert_eq!(out_of_range(&stage, "before_beginning"), Some(0.0));
    stage.kafka.begin_at("t", 0, 7);
    stage.run(Duration::from_mins(6)).await;
    assert_eq!(out_of_range(&stage, "before_beginning"), Some(1.0));
    stage.kafka.begin_at("t", 0, 0);
    stage.cycle().await;
    assert_eq!(
        out_of_range(&stage, "before_beginning"),
        Some(0.0),
        "a beginning that is older than that is not believed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_query_that_stands_still_does_not_look_idle_while_its_lag_is_not_known() {
    let store = FakeStore::of_query(QUERY);
    store.plan(0, "{\"t\":{\"0\":5,\"1\":9}}");
    store.put("commits/0", "v1\n{}");
    let kafka = FakeKafka::with(9);
    kafka.end("t", 1, 9);
    let mut stage = Stage::new(&store, &kafka, "");
    let stalled = |stage: &Stage| stage.metric("stalled_seconds{stream=\"s\"}");
    stage.run(Duration::from_mins(10)).await;
    kafka.refuse_end("t", 0, Some("LEADER_NOT_AVAILABLE"));
    stage.failing_cycle().await;
    assert_eq!(
        stalled(&stage),
        None,
        "the other partition has no lag, which says nothing"
    );
    kafka.refuse_end("t", 0, None);
    stage.cycle().await;
    let seconds = stalled(&stage).unwrap();
    assert!((600.0..=620.0).contains(&seconds), "{seconds}");
    kafka.end("t", 0, 3);
    stage.cycle().await;
    assert_eq!(
        stalled(&stage),
        None,
        "a position beyond the end is no lag of zero"
    );
}

#[tokio::test(start_paused = true)]
async fn each_sort_of_refusal_is_logged_once_an_outage_however_they_alternate() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let file = Arc::new(File::create(log.path()).unwrap());
    let subscriber = tracing_subscriber::fmt().with_writer(file).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (_store, mut stage) = followed().await;
    for outages in 1..3 {
        for code in ["LEADER_NOT_AVAILABLE", "REQUEST_TIMED_OUT"].repeat(3) {
            stage.kafka.refuse_end("t", 0, Some(code));
            stage.failing_cycle().await;
        }
        stage.kafka.refuse_end("t", 0, None);
        stage.cycle().await;
        let log = std::fs::read_to_string(log.path()).unwrap();
        for what in ["LEADER_NOT_AVAILABLE", "REQUEST_TIMED_OUT", "is known again"] {
            assert_eq!(log.matches(what).count(), outages, "{what}: {log}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_does_not_answer_makes_no_checkpoint_unknown() {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    let mut config = configured("");
    config.raw.report.list_interval = Duration::from_secs(10);
    let mut stage = Stage::by(&store, &FakeKafka::with(9), &config, false);
    stage.cycle().await;
    stage.kafka.hang_commits(true);
    store.commit(1, 7);
    let told = stage.failing_cycle().await;
    assert!(told.contains("the turn was cut off"), "{told}");
    assert_eq!(lag(&stage), Some(2.0));
}

//! What Kafka refuses, and what goes on meanwhile.

use std::time::Duration;

use crate::fakes::{FakeKafka, FakeStore, Stage};

const QUERY: &str = "1f3a99c2-0195-4220-ade2-7cf05b9724bc";

fn one_batch() -> FakeStore {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    store
}

#[tokio::test(start_paused = true)]
async fn a_group_with_members_is_named_left_alone_for_a_while_and_taken_up_when_it_is_empty() {
    let store = one_batch();
    let kafka = FakeKafka::with(9);
    kafka.use_group("g", true);
    let mut stage = Stage::new(&store, &kafka, "");
    let told = stage.failing_cycle().await;
    assert!(
        told.contains("group g") && told.contains("members") && told.contains("UNKNOWN_MEMBER_ID"),
        "{told}"
    );
    stage.run(Duration::from_mins(10)).await;
    let refused = stage
        .metric("kafka_commit_errors_total{code=\"UNKNOWN_MEMBER_ID\",stream=\"s\"}")
        .unwrap();
    assert!(
        (3.0..=5.0).contains(&refused),
        "after one, two and four minutes: {refused}"
    );
    assert_eq!(stage.metric("stream_up{stream=\"s\"}"), Some(0.0));
    assert_eq!(
        stage.metric("lag{group=\"g\",partition=\"0\",stream=\"s\",topic=\"t\"}"),
        Some(4.0),
        "it is still observed"
    );
    kafka.use_group("g", false);
    stage.run(Duration::from_mins(10)).await;
    assert_eq!(kafka.has("g", "t", 0), Some(5));
    assert_eq!(stage.metric("stream_up{stream=\"s\"}"), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_failed_is_tried_again_without_a_new_batch() {
    let store = one_batch();
    let kafka = FakeKafka::with(9);
    kafka.take_down(true);
    let mut stage = Stage::new(&store, &kafka, "");
    let told = stage.failing_cycle().await;
    assert!(
        told.contains("cluster kafka") && told.contains("BROKER_NOT_AVAILABLE"),
        "{told}"
    );
    kafka.take_down(false);
    // The first look's failure was Kafka's: what the group has was not known.
    stage.run(Duration::from_secs(30)).await;
    assert_eq!(kafka.has("g", "t", 0), Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_goes_away_later_gets_what_it_missed() {
    let store = one_batch();
    let kafka = FakeKafka::with(9);
    let mut stage = Stage::new(&store, &kafka, "");
    stage.cycle().await;
    kafka.take_down(true);
    store.commit(1, 8);
    stage.failing_cycle().await;
    kafka.take_down(false);
    stage.run(Duration::from_secs(20)).await;
    assert_eq!(kafka.has("g", "t", 0), Some(8));
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_not_in_the_cluster_blocks_no_other() {
    let store = FakeStore::of_query(QUERY);
    store.plan(0, "{\"hub\":{\"0\":7},\"t\":{\"0\":5}}");
    store.put("commits/0", "v1\n{}");
    let mut stage = Stage::new(&store, &FakeKafka::with(9), "");
    stage.cycle().await;
    assert_eq!(
        (stage.kafka.has("g", "t", 0), stage.kafka.has("g", "hub", 0)),
        (Some(5), None)
    );
    assert_eq!(stage.metric("unknown_partitions{stream=\"s\"}"), Some(1.0));
    stage.kafka.commits();
    stage.run(Duration::from_mins(2)).await;
    assert_eq!(stage.kafka.commits(), [""; 0], "it makes nothing due");
    stage.kafka.end("hub", 0, 9);
    stage.run(Duration::from_secs(20)).await;
    assert_eq!(stage.kafka.has("g", "hub", 0), Some(7), "it is there now");
    let mut lost = Stage::new(&store, &FakeKafka::with(9), "topics = [\"hub\"]");
    let told = lost.failing_cycle().await;
    assert!(
        told.contains("none of the topics hub is in the cluster kafka"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_deleted_and_made_anew_is_taken_up_again() {
    let store = FakeStore::of_query(QUERY);
    store.plan(0, "{\"u\":{\"0\":7},\"t\":{\"0\":5}}");
    store.put("commits/0", "v1\n{}");
    let kafka = FakeKafka::with(9);
    kafka.end("u", 0, 9);
    let mut stage = Stage::new(&store, &kafka, "");
    stage.cycle().await;
    kafka.delete_topic("u");
    stage.run(Duration::from_mins(1)).await;
    assert_eq!(stage.metric("stream_up{stream=\"s\"}"), Some(1.0));
    kafka.end("u", 0, 2);
    stage.run(Duration::from_mins(6)).await;
    assert_eq!(kafka.has("g", "u", 0), Some(7), "it is not ours to mend");
    assert_eq!(
        stage.metric("out_of_range{kind=\"beyond_end\",stream=\"s\"}"),
        Some(1.0)
    );
    assert_eq!(
        stage.metric("lag{group=\"g\",partition=\"0\",stream=\"s\",topic=\"u\"}"),
        None,
        "it is unknown, not negative"
    );
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_denied_blocks_no_other() {
    let store = FakeStore::of_query(QUERY);
    store.plan(0, "{\"secret\":{\"0\":7},\"t\":{\"0\":5}}");
    store.put("commits/0", "v1\n{}");
    let kafka = FakeKafka::with(9);
    kafka.end("secret", 0, 9);
    kafka.deny("secret", true);
    let mut stage = Stage::new(&store, &kafka, "");
    let told = stage.failing_cycle().await;
    assert!(
        told.contains("secret-0") && told.contains("READ on the group"),
        "{told}"
    );
    assert_eq!(kafka.has("g", "t", 0), Some(5));
    store.plan(1, "{\"secret\":{\"0\":8},\"t\":{\"0\":6}}");
    store.put("commits/1", "v1\n{}");
    stage.failing_cycle().await;
    assert_eq!(kafka.has("g", "t", 0), Some(6));
    assert_eq!(stage.metric("commits_total{stream=\"s\"}"), Some(2.0));
    kafka.deny("secret", false);
    stage.cycle().await;
    assert_eq!(kafka.has("g", "secret", 0), Some(8), "it is allowed now");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_cannot_be_read_back_does_not_count_and_is_made_again() {
    let store = one_batch();
    let kafka = FakeKafka::with(9);
    kafka.lose_commits(true);
    let mut stage = Stage::new(&store, &kafka, "");
    let told = stage.failing_cycle().await;
    assert!(
        told.contains("t-0, which was just committed") && told.contains("somebody else commits"),
        "{told}"
    );
    assert_eq!(stage.metric("commits_total{stream=\"s\"}"), None);
    kafka.lose_commits(false);
    stage.cycle().await;
    assert_eq!(kafka.has("g", "t", 0), Some(5));
    assert_eq!(stage.metric("commits_total{stream=\"s\"}"), Some(1.0));
}

/// A query with two sources, each with a group of its own, whose batch ends at this offset of both.
fn plan_two_sources(store: &FakeStore, batch: i64, offset: i64) {
    let line = format!("{{\"t\":{{\"0\":{offset}}}}}\n{{\"u\":{{\"0\":{offset}}}}}");
    store.plan(batch, &line);
    store.put(&format!("commits/{batch}"), "v1\n{}");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_refused_holds_up_no_other_of_the_stream() {
    let store = FakeStore::of_query(QUERY);
    plan_two_sources(&store, 0, 5);
    let kafka = FakeKafka::with(9);
    kafka.end("u", 0, 9);
    kafka.use_group("g.0", true);
    let mut stage = Stage::new(&store, &kafka, "sources_as = \"group_each\"");
    let told = stage.failing_cycle().await;
    assert!(told.contains("group g.0"), "{told}");
    plan_two_sources(&store, 1, 6);
    let told = stage.failing_cycle().await;
    assert!(told.contains("group g.0"), "as long as it waits: {told}");
    let both = || (kafka.has("g.0", "t", 0), kafka.has("g.1", "u", 0));
    assert_eq!(both(), (None, Some(6)));
    kafka.use_group("g.0", false);
    stage.run(Duration::from_mins(2)).await;
    assert_eq!(both(), (Some(6), Some(6)));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_cannot_be_read_back_holds_up_no_other_of_the_stream() {
    let store = FakeStore::of_query(QUERY);
    plan_two_sources(&store, 0, 5);
    let kafka = FakeKafka::with(9);
    kafka.end("u", 0, 9);
    kafka.leave_group("g.0", true);
    let mut stage = Stage::new(&store, &kafka, "sources_as = \"group_each\"");
    let told = stage.failing_cycle().await;
    assert!(told.contains("group g.0"), "{told}");
    let both = || (kafka.has("g.0", "t", 0), kafka.has("g.1", "u", 0));
    assert_eq!(both(), (None, Some(5)));
    kafka.leave_group("g.0", false);
    stage.cycle().await;
    assert_eq!(both(), (Some(5), Some(5)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_selects_nothing_of_what_its_query_reads_is_not_well() {
    for settings in [
        "source = \"typo\"",
        "topics = [\"typo\"]",
        "except_topics = [\"t\"]",
    ] {
        let told = Stage::new(&one_batch(), &FakeKafka::with(9), settings)
            .failing_cycle()
            .await;
        assert!(
            told.contains("/checkpoint") && told.contains("`source`") && told.contains("0 (t)"),
            "{told}"
        );
    }
    let without_kafka = FakeStore::of_query(QUERY);
    without_kafka.plan(0, "30");
    without_kafka.put("commits/0", "v1\n{}");
    Stage::new(&without_kafka, &FakeKafka::with(9), "").cycle().await;
}

//! When a group goes back, and when it does not.

use std::time::Duration;

use crate::fakes::{FakeKafka, FakeStore, Stage};

const QUERY: &str = "1f3a99c2-0195-4220-ade2-7cf05b9724bc";
const ANOTHER: &str = "aaaaaaaa-0195-4220-ade2-7cf05b9724bc";

fn rewinds(stage: &Stage, reason: &str) -> Option<f64> {
    stage.metric(&format!("rewinds_total{{reason=\"{reason}\",stream=\"s\"}}"))
}

/// A checkpoint with batches 0 to 9; batch N ends at 10 N.
fn ten_batches() -> FakeStore {
    let store = FakeStore::of_query(QUERY);
    for batch in 0..10 {
        store.commit(batch, 10 * batch);
    }
    store
}

fn begin_anew(store: &FakeStore) {
    store.clear();
    store.put("metadata", &format!("{{\"id\":\"{ANOTHER}\"}}"));
    store.commit(0, 5);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_began_anew_takes_the_group_back_once() {
    let store = ten_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "");
    stage.cycle().await;
    begin_anew(&store);
    stage.run(Duration::from_secs(80)).await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(5));
    assert_eq!(rewinds(&stage, "new_query"), Some(1.0));
    stage.run(Duration::from_mins(10)).await;
    assert_eq!(
        rewinds(&stage, "new_query"),
        Some(1.0),
        "going back is counted once"
    );
}

#[tokio::test(start_paused = true)]
async fn deleted_batches_take_the_group_back_after_two_listings() {
    let store = ten_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "");
    stage.cycle().await;
    for batch in [8, 9] {
        store.remove(&format!("commits/{batch}"));
        store.remove(&format!("offsets/{batch}"));
    }
    stage.run(Duration::from_mins(1)).await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(90), "one listing may be late");
    stage.cycle().await;
    stage.cycle().await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(70));
    assert_eq!(rewinds(&stage, "rolled_back"), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_late_listing_takes_nothing_back() {
    let store = ten_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "");
    stage.cycle().await;
    stage.kafka.commits();
    store.list_once(&["5", "6", "7"]);
    stage.run(Duration::from_mins(3)).await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(90));
    assert_eq!(rewinds(&stage, "rolled_back"), None);
    assert_eq!(stage.kafka.commits(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_the_policy_forbids_is_held_and_told() {
    let store = ten_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "rewind = \"never\"");
    stage.cycle().await;
    begin_anew(&store);
    stage.run(Duration::from_mins(1)).await;
    let told = stage.failing_cycle().await;
    assert!(
        told.contains("(new_query), which `rewind` forbids, the first of them t-0 from 90 to 5; to allow it once: offset-reporter rewind s"),
        "{told}"
    );
    assert_eq!(stage.kafka.has("g", "t", 0), Some(90));
    assert_eq!(stage.metric("stream_up{stream=\"s\"}"), Some(0.0));
    assert!(
        stage
            .metric("holds_total{reason=\"new_query\",stream=\"s\"}")
            .unwrap()
            >= 1.0
    );
}

#[tokio::test(start_paused = true)]
async fn a_restarted_reporter_knows_what_it_reported() {
    let store = ten_batches();
    let kafka = FakeKafka::with(100);
    Stage::new(&store, &kafka, "").cycle().await;
    for batch in 3..10 {
        store.remove(&format!("commits/{batch}"));
    }
    let mut restarted = Stage::new(&store, &kafka, "");
    restarted.cycle().await;
    assert_eq!(
        kafka.has("g", "t", 0),
        Some(90),
        "the first listing after a restart is one listing"
    );
    restarted.cycle().await;
    assert_eq!(kafka.has("g", "t", 0), Some(20));
    assert_eq!(rewinds(&restarted, "rolled_back"), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_restart_without_news_goes_back_nowhere() {
    let store = ten_batches();
    let kafka = FakeKafka::with(100);
    Stage::new(&store, &kafka, "").cycle().await;
    let mut restarted = Stage::new(&store, &kafka, "rewind = \"never\"");
    restarted.cycle().await;
    assert_eq!(kafka.has("g", "t", 0), Some(90));
    assert_eq!(rewinds(&restarted, "lowered"), None);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_somebody_else_committed_ahead_is_lowered_with_that_reason() {
    let store = ten_batches();
    let kafka = FakeKafka::with(100);
    kafka.give("g", "t", 95, "by hand");
    let mut held = Stage::new(&store, &kafka, "rewind = \"new_query\"");
    let told = held.failing_cycle().await;
    assert!(
        told.contains("1 partitions of group g would go back (lowered)"),
        "{told}"
    );
    assert_eq!(kafka.has("g", "t", 0), Some(95));
    let mut stage = Stage::new(&store, &kafka, "");
    stage.cycle().await;
    assert_eq!(
        (kafka.has("g", "t", 0), rewinds(&stage, "lowered")),
        (Some(90), Some(1.0))
    );
}

#[tokio::test(start_paused = true)]
async fn a_reporter_that_looks_once_lists_twice_where_a_lower_batch_must_be_confirmed() {
    let store = ten_batches();
    let kafka = FakeKafka::with(100);
    Stage::new(&store, &kafka, "").cycle().await;
    for batch in 3..10 {
        store.remove(&format!("commits/{batch}"));
    }
    let stage = Stage::new(&store, &kafka, "");
    let (_, result) = offset_reporter::reporter::once(vec![stage.stream], 1)
        .await
        .unwrap();
    result.unwrap();
    assert_eq!(kafka.has("g", "t", 0), Some(20));
}

#[tokio::test(start_paused = true)]
async fn a_new_query_that_is_ahead_goes_back_nowhere_and_no_policy_holds_it() {
    let store = ten_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(200), "rewind = \"never\"");
    stage.cycle().await;
    store.clear();
    store.put("metadata", &format!("{{\"id\":\"{ANOTHER}\"}}"));
    store.commit(0, 120);
    stage.run(Duration::from_secs(80)).await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(120));
    assert_eq!(stage.metric("stream_up{stream=\"s\"}"), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_a_step_back_outlives_a_failed_commit_and_a_newer_batch() {
    let store = ten_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "rewind = \"new_query\"");
    stage.cycle().await;
    begin_anew(&store);
    stage.kafka.refuse_commits(true);
    stage.run(Duration::from_secs(80)).await;
    store.commit(1, 7);
    stage.run(Duration::from_secs(20)).await;
    stage.kafka.refuse_commits(false);
    stage.run(Duration::from_secs(20)).await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(7));
    assert_eq!(
        (rewinds(&stage, "new_query"), rewinds(&stage, "lowered")),
        (Some(1.0), None)
    );
}

#[tokio::test(start_paused = true)]
async fn a_step_back_that_was_made_by_hand_ends_the_hold() {
    let store = ten_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "rewind = \"never\"");
    stage.cycle().await;
    begin_anew(&store);
    stage.run(Duration::from_secs(80)).await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(90), "it is held");
    stage.kafka.give("g", "t", 5, "by hand");
    store.commit(1, 8);
    stage.run(Duration::from_secs(30)).await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(8));
}

#[tokio::test(start_paused = true)]
async fn what_a_former_query_did_is_not_said_of_the_one_after_it() {
    let told = |stage: &Stage| {
        [
            "offsets_without_commit",
            "ended",
            "last_batch_id",
            "checkpoint_age_seconds",
        ]
        .map(|metric| stage.metric(&format!("{metric}{{stream=\"s\"}}")))
    };
    let former = || {
        let store = ten_batches();
        store.plan(10, "{\"t\":{\"0\":95}}");
        store.put("ended", "");
        store
    };
    let begins = |store: &FakeStore| {
        store.clear();
        store.put("metadata", &format!("{{\"id\":\"{ANOTHER}\"}}"));
    };
    let store = former();
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "");
    stage.cycle().await;
    assert_eq!(told(&stage)[..3], [Some(1.0), Some(1.0), Some(9.0)]);
    begins(&store);
    stage.run(Duration::from_secs(80)).await;
    assert_eq!(told(&stage), [Some(0.0), Some(0.0), None, None]);

    let store = former();
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "");
    stage.cycle().await;
    begins(&store);
    store.commit(0, 5);
    store.put("commits/1", "v1\n{}");
    stage.run(Duration::from_secs(80)).await;
    assert_eq!(
        told(&stage),
        [Some(0.0), Some(0.0), Some(1.0), None],
        "its newest batch cannot be read"
    );
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_committed_meanwhile_is_not_taken_back_unsaid() {
    let store = ten_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(200), "rewind = \"never\"");
    stage.cycle().await;
    stage.kafka.give("g", "t", 150, "by hand");
    store.commit(10, 100);
    let told = stage.failing_cycle().await;
    assert!(
        told.contains("(lowered)") && told.contains("from 150 to 100"),
        "{told}"
    );
    assert_eq!(stage.kafka.has("g", "t", 0), Some(150));
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_was_lost_is_not_taken_for_one_that_was_not_made() {
    let store = ten_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(200), "");
    stage.cycle().await;
    stage.kafka.lose_answers(true);
    store.commit(10, 100);
    stage.failing_cycle().await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(100));
    stage.kafka.lose_answers(false);
    for folder in ["commits", "offsets"] {
        store.remove(&format!("{folder}/10"));
    }
    stage.kafka.refuse_commits(true);
    stage.run(Duration::from_secs(90)).await;
    stage.kafka.refuse_commits(false);
    stage.run(Duration::from_mins(1)).await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(90));
    assert_eq!(rewinds(&stage, "rolled_back"), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_group_is_read_again_before_anything_is_committed() {
    let store = ten_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(200), "");
    stage.cycle().await;
    stage.kafka.reads();
    store.commit(10, 100);
    stage.cycle().await;
    assert_eq!(stage.kafka.reads(), 2, "before and after");
    stage.kafka.commits();
    stage.run(Duration::from_secs(301)).await;
    assert_eq!((stage.kafka.commits().len(), stage.kafka.reads()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn keeping_offsets_alive_takes_no_group_back_unless_that_is_allowed() {
    let store = ten_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(200), "rewind = \"never\"");
    stage.cycle().await;
    stage.kafka.give("g", "t", 150, "by hand");
    stage.run(Duration::from_secs(301)).await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(150));
    assert_eq!(rewinds(&stage, "lowered"), None);
}

#[tokio::test(start_paused = true)]
async fn a_step_back_that_was_made_is_known_though_something_failed_after_it() {
    let store = ten_batches();
    let kafka = FakeKafka::with(100);
    kafka.give("g", "t", 95, "by hand");
    kafka.refuse_end("t", 0, Some("LEADER_NOT_AVAILABLE"));
    let stage = Stage::new(&store, &kafka, "");
    let (streams, result) = offset_reporter::reporter::once(vec![stage.stream], 1)
        .await
        .unwrap();
    assert!(result.unwrap_err().to_string().contains("LEADER_NOT_AVAILABLE"));
    let (group, step) = &streams[0].steps()[0];
    assert_eq!((group.as_str(), step.from, step.to), ("g", Some(95), 90));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_of_a_stream_that_is_only_observed() {
    let store = ten_batches();
    let settings = "mode = \"observe\"\nrewind = \"never\"";
    let mut stage = Stage::new(&store, &FakeKafka::with(100), settings);
    stage.cycle().await;
    begin_anew(&store);
    for _ in 0..20 {
        stage.cycle().await;
    }
    assert_eq!(
        stage.metric("holds_total{reason=\"new_query\",stream=\"s\"}"),
        None
    );
    assert_eq!(rewinds(&stage, "new_query"), None);
}

//! What a store does wrong, and that the right result or a clear error comes of it, never a wrong commit.

use std::time::Duration;

use checkpoint::StoreErrorKind;

use crate::fakes::{FakeKafka, FakeStore, Stage};

const QUERY: &str = "1f3a99c2-0195-4220-ade2-7cf05b9724bc";

/// A checkpoint with batches 0 to 2; batch N ends at 10 N.
fn three_batches() -> FakeStore {
    let store = FakeStore::of_query(QUERY);
    for batch in 0..3 {
        store.commit(batch, 10 * batch);
    }
    store
}

#[tokio::test(start_paused = true)]
async fn positions_that_are_listed_late_are_waited_for() {
    let store = three_batches();
    store.delay("offsets/2", 2);
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "");
    stage.cycle().await;
    assert_eq!(stage.kafka.commits(), ["g t-0=20 q=1f3a99c2 b=2 t=1002"]);
}

#[tokio::test(start_paused = true)]
async fn positions_that_stay_away_are_stood_in_for_until_they_come() {
    let store = three_batches();
    store.delay("offsets/2", 4);
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "");
    stage.cycle().await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(10));
    stage.cycle().await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(20));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_purged_between_listing_and_reading_is_listed_again() {
    let store = three_batches();
    store.list_once(&["0", "1"]);
    store.remove("offsets/0");
    store.remove("offsets/1");
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "");
    stage.cycle().await;
    assert_eq!(stage.kafka.commits(), ["g t-0=20 q=1f3a99c2 b=2 t=1002"]);
    assert_eq!(
        stage.metric("failures_total{reason=\"damaged\",stream=\"s\"}"),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_stood_in_for_and_takes_nothing_back() {
    for damage in ["", "v1\n{}\n{\"t\":{\"0\":3", "v1\n{}\n{\"t\":{\"0\":3}"] {
        let store = three_batches();
        let mut stage = Stage::new(&store, &FakeKafka::with(100), "");
        stage.cycle().await;
        store.commit(3, 30);
        store.put("offsets/3", damage);
        stage.run(Duration::from_mins(2)).await;
        assert_eq!(stage.kafka.has("g", "t", 0), Some(20), "{damage:?}");
        store.commit(3, 30);
        stage.run(Duration::from_mins(2)).await;
        assert_eq!(stage.kafka.has("g", "t", 0), Some(30), "{damage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_without_any_readable_positions_is_named() {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    store.put("offsets/0", "");
    let told = Stage::new(&store, &FakeKafka::with(9), "").failing_cycle().await;
    assert_eq!(
        told,
        "the checkpoint /checkpoint cannot be read: offsets/0 cannot be used: damaged: it is empty"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_version_is_refused_loudly_and_nothing_stands_in_for_it() {
    let store = three_batches();
    store.put("offsets/3", "v3\n{}\n{\"t\":{\"0\":99}}");
    store.put("commits/3", "v7\n{}");
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "");
    let told = stage.failing_cycle().await;
    assert!(
        told.contains("offsets/3") && told.contains("\"v3\"") && told.contains("v1 and v2"),
        "{told}"
    );
    assert_eq!(stage.kafka.commits(), [""; 0]);
    assert_eq!(
        stage.metric("failures_total{reason=\"version\",stream=\"s\"}"),
        Some(1.0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_refused_what_is_missing_is_served_by_listings() {
    let store = three_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "");
    stage.cycle().await;
    store.fail(Some(|request| {
        (request == "get offsets/3").then_some(StoreErrorKind::Denied)
    }));
    stage.cycle().await;
    store.fail(None);
    store.commit(3, 30);
    store.requests();
    stage.cycle().await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(30));
    assert!(store.requests().contains(&"list commits".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_is_lost_is_an_error_and_comes_back() {
    let store = three_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "");
    stage.cycle().await;
    store.fail(Some(|_| Some(StoreErrorKind::Denied)));
    let told = stage.failing_cycle().await;
    assert!(told.contains("/checkpoint cannot be read"), "{told}");
    assert_eq!(
        stage.metric("failures_total{reason=\"denied\",stream=\"s\"}"),
        Some(1.0)
    );
    store.fail(None);
    store.commit(3, 30);
    stage.run(Duration::from_mins(6)).await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(30));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_overloaded_is_asked_less_and_less() {
    let store = three_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "");
    stage.cycle().await;
    store.fail(Some(|_| Some(StoreErrorKind::Passing)));
    store.requests();
    stage.run(Duration::from_mins(20)).await;
    let asked = store.requests().len();
    assert!((6..=12).contains(&asked), "10 s, 20 s, 40 s … 5 min: {asked}");
    for _ in 0..3 {
        stage.failing_cycle().await;
        assert_eq!(
            stage.metric("stream_up{stream=\"s\"}"),
            Some(0.0),
            "also while nobody asks"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_place_is_told() {
    let told = Stage::new(&FakeStore::default(), &FakeKafka::with(9), "")
        .failing_cycle()
        .await;
    assert!(
        told.contains("/checkpoint") && told.contains("there is no checkpoint"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_vanished_is_not_taken_for_one_that_never_began() {
    let store = three_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "");
    stage.cycle().await;
    store.clear();
    stage.run(Duration::from_mins(2)).await;
    let told = stage.failing_cycle().await;
    assert!(
        told.contains("the checkpoint vanished") && !told.contains("did the query start"),
        "{told}"
    );
    assert!(
        stage
            .metric("failures_total{reason=\"vanished\",stream=\"s\"}")
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_is_missing_is_looked_for_once_in_a_list_interval() {
    let store = FakeStore::default();
    let mut stage = Stage::new(&store, &FakeKafka::with(9), "");
    stage.run(Duration::from_hours(1)).await;
    store.put("metadata", &format!("{{\"id\":\"{QUERY}\"}}"));
    store.commit(0, 5);
    stage.run(Duration::from_secs(70)).await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_cut_off_is_a_failure_and_loses_nothing() {
    let store = three_batches();
    let mut stage = Stage::new(&store, &FakeKafka::with(100), "");
    stage.cycle().await;
    store.hang(true);
    let told = stage.failing_cycle().await;
    assert!(told.contains("the turn was cut off"), "{told}");
    assert_eq!(
        stage.metric("failures_total{reason=\"time_limit\",stream=\"s\"}"),
        Some(1.0)
    );
    assert_eq!(stage.metric("stream_up{stream=\"s\"}"), Some(0.0));
    store.hang(false);
    store.commit(3, 30);
    stage.cycle().await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(30));
    assert_eq!(stage.metric("stream_up{stream=\"s\"}"), Some(1.0));
}

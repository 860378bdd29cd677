//! What is reported of a query before its first batch is committed.

use std::time::Duration;

use crate::fakes::{FakeKafka, FakeStore, Stage};

const QUERY: &str = "1f3a99c2-0195-4220-ade2-7cf05b9724bc";

#[tokio::test(start_paused = true)]
async fn before_its_first_batch_a_query_stands_where_it_began() {
    let store = FakeStore::of_query(QUERY);
    store.put("sources/0/0", "\0v1\n{\"t\":{\"0\":3}}");
    store.plan(0, "{\"t\":{\"0\":30}}");
    let mut silent = Stage::new(&store, &FakeKafka::with(40), "report_initial = false");
    silent.cycle().await;
    assert_eq!(silent.kafka.commits(), [""; 0]);
    let mut stage = Stage::new(&store, &FakeKafka::with(40), "");
    stage.cycle().await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(3));
    store.put("commits/0", "v1\n{}");
    stage.cycle().await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(30));
}

#[tokio::test(start_paused = true)]
async fn initial_positions_that_come_after_the_query_are_reported() {
    let store = FakeStore::of_query(QUERY);
    let mut stage = Stage::new(&store, &FakeKafka::with(40), "");
    stage.cycle().await;
    store.put("sources/0/0", "\0v1\n{\"t\":{\"0\":3}}");
    stage.run(Duration::from_mins(2)).await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(3));
}

#[tokio::test(start_paused = true)]
async fn initial_positions_are_reported_after_a_restart_whatever_an_older_query_left() {
    let store = FakeStore::of_query(QUERY);
    store.put("sources/0/0", "\0v1\n{\"t\":{\"0\":30},\"u\":{\"0\":30}}");
    let kafka = FakeKafka::with(40);
    kafka.end("u", 0, 40);
    kafka.give("g", "t", 7, "q=1f3a99c2 b=-1 t=0");
    kafka.give("g", "u", 7, "q=aaaaaaaa b=90 t=1795337460366");
    let mut stage = Stage::new(&store, &kafka, "rewind = \"never\"");
    drop(stage.stream.cycle().await);
    assert_eq!(
        (kafka.has("g", "t", 0), kafka.has("g", "u", 0)),
        (Some(30), Some(30))
    );
}

#[tokio::test(start_paused = true)]
async fn before_the_first_batch_of_named_sources_looks_are_cheap_and_see_a_batch_that_fails() {
    let store = FakeStore::of_query(QUERY);
    store.put("sources/clicks/0", "\0v1\n{\"t\":{\"0\":3}}");
    let mut stage = Stage::new(&store, &FakeKafka::with(40), "");
    let open = |stage: &Stage| stage.metric("offsets_without_commit{stream=\"s\"}");
    stage.cycle().await;
    assert_eq!(open(&stage), Some(0.0));
    store.requests();
    stage.run(Duration::from_mins(10)).await;
    let requests = store.requests();
    let lists = requests.iter().filter(|request| request.starts_with("list"));
    assert!(lists.count() <= 10, "{requests:?}");
    assert!(requests.len() <= 60 + 10 * 7, "{requests:?}");
    store.plan(0, "{\"t\":{\"0\":30}}");
    stage.cycle().await;
    assert_eq!(open(&stage), Some(1.0));
    let mut restarted = Stage::new(&store, &FakeKafka::with(40), "");
    restarted.cycle().await;
    assert_eq!(open(&restarted), Some(1.0), "a listing sees it too");
}

#[tokio::test(start_paused = true)]
async fn before_the_first_batch_a_role_that_is_refused_what_is_missing_is_served() {
    let store = FakeStore::of_query(QUERY);
    store.put("sources/1/0", "\0v1\n{\"t\":{\"0\":3}}");
    store.fail(Some(|request| {
        let is_there = ["get metadata", "get sources/1/0"].contains(&request);
        (request.starts_with("get") && !is_there).then_some(checkpoint::StoreErrorKind::Denied)
    }));
    let mut stage = Stage::new(&store, &FakeKafka::with(40), "");
    stage.cycle().await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(3));
}

//! What is reported while a query runs, idles, and writes its checkpoint in one of the ways that there are.

use std::time::Duration;

use crate::fakes::{FakeKafka, FakeStore, Stage, configured};

const QUERY: &str = "1f3a99c2-0195-4220-ade2-7cf05b9724bc";

#[tokio::test(start_paused = true)]
async fn what_is_committed_is_reported_and_what_is_planned_is_not() {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    store.commit(1, 9);
    store.plan(2, "{\"t\":{\"0\":30}}");
    let mut stage = Stage::new(&store, &FakeKafka::with(40), "");
    stage.cycle().await;
    assert_eq!(stage.kafka.commits(), ["g t-0=9 q=1f3a99c2 b=1 t=1001"]);
    assert_eq!(stage.metric("offsets_without_commit{stream=\"s\"}"), Some(1.0));
    assert_eq!(
        stage.metric("lag{group=\"g\",partition=\"0\",stream=\"s\",topic=\"t\"}"),
        Some(31.0)
    );
    assert_eq!(stage.metric("last_batch_id{stream=\"s\"}"), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_failed_batch_of_a_real_checkpoint_does_not_count() {
    let mut stage = Stage::new(
        &FakeStore::of_fixture("spark-4.3.0-failed-batch"),
        &FakeKafka::default(),
        "",
    );
    stage.cycle().await;
    assert_eq!(stage.metric("last_batch_id{stream=\"s\"}"), Some(1.0));
    assert_eq!(stage.metric("offsets_without_commit{stream=\"s\"}"), Some(1.0));
    assert_eq!(stage.metric("other_sources{stream=\"s\"}"), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_real_checkpoint_of_kafka_is_reported() {
    let kafka = FakeKafka::default();
    for partition in 0..4 {
        kafka.end("in-9b5817e8", partition, 2000);
    }
    let mut stage = Stage::new(&FakeStore::of_fixture("spark-4.2.0-kafka"), &kafka, "");
    stage.cycle().await;
    assert_eq!(stage.kafka.commits().len(), 4);
    assert_eq!(stage.kafka.has("g", "in-9b5817e8", 3), Some(1500));
}

#[tokio::test(start_paused = true)]
async fn batches_are_compared_as_numbers() {
    let store = FakeStore::of_query(QUERY);
    for (batch, offset) in [(9, 90), (10, 100)] {
        store.commit(batch, offset);
    }
    for other in [
        ".10.crc",
        ".11.4f2a.tmp",
        "metadata",
        "-1",
        "007",
        "99999999999999999999",
    ] {
        store.put(&format!("commits/{other}"), "");
    }
    let mut stage = Stage::new(&store, &FakeKafka::with(1000), "");
    stage.cycle().await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(100));
    for (batch, offset) in [(11, 110), (12, 120), (13, 130)] {
        store.commit(batch, offset);
    }
    stage.cycle().await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(130));
}

#[tokio::test(start_paused = true)]
async fn a_look_that_finds_nothing_costs_one_request() {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    let mut stage = Stage::new(&store, &FakeKafka::with(9), "");
    stage.cycle().await;
    store.requests();
    stage.cycle().await;
    assert_eq!(store.requests(), ["get offsets/1"]);
    store.commit(1, 7);
    stage.cycle().await;
    assert_eq!(
        store.requests(),
        ["get offsets/1", "get commits/1", "get offsets/2", "get offsets/1"]
    );
    stage.run(Duration::from_mins(1)).await;
    assert_eq!(
        store
            .requests()
            .iter()
            .filter(|request| request.starts_with("list"))
            .count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn many_batches_at_once_are_found_in_few_requests() {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 0);
    let mut stage = Stage::new(&store, &FakeKafka::with(1000), "");
    stage.cycle().await;
    store.requests();
    for batch in 1..=45 {
        store.commit(batch, batch);
    }
    stage.cycle().await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(45));
    let requests = store.requests();
    assert!(
        requests.len() <= 17 && requests.iter().all(|request| request.starts_with("get")),
        "{requests:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn gaps_between_batches_are_seen_within_one_interval() {
    let store = FakeStore::of_query(QUERY);
    for batch in [5, 10, 15] {
        store.commit(batch, 10 * batch);
    }
    let mut stage = Stage::new(&store, &FakeKafka::with(1000), "");
    stage.cycle().await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(150));
    store.commit(20, 200);
    stage.cycle().await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(200));
}

#[tokio::test(start_paused = true)]
async fn a_real_checkpoint_of_asynchronous_progress_is_listed() {
    let store = FakeStore::of_fixture("spark-4.3.0-async");
    let mut stage = Stage::new(&store, &FakeKafka::default(), "");
    stage.cycle().await;
    assert_eq!(stage.metric("last_batch_id{stream=\"s\"}"), Some(15.0));
    store.requests();
    stage.cycle().await;
    assert!(store.requests().contains(&"list commits".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_reporter_that_slept_while_batches_were_purged_recovers() {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 0);
    let mut stage = Stage::new(&store, &FakeKafka::with(10_000), "");
    stage.cycle().await;
    store.clear();
    store.put("metadata", &format!("{{\"id\":\"{QUERY}\"}}"));
    for batch in 400..=500 {
        store.commit(batch, batch);
    }
    stage.run(Duration::from_secs(80)).await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(500));
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_is_kept_alive() {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    let mut stage = Stage::new(&store, &FakeKafka::with(5), "");
    stage.run(Duration::from_hours(24)).await;
    let commits = stage.kafka.commits();
    assert!(
        (280..=290).contains(&commits.len()),
        "one in five minutes: {}",
        commits.len()
    );
    assert!(
        commits
            .iter()
            .all(|commit| commit == "g t-0=5 q=1f3a99c2 b=0 t=1000")
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_kept_alive_while_its_checkpoint_cannot_be_read() {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    let mut stage = Stage::new(&store, &FakeKafka::with(9), "");
    stage.cycle().await;
    stage.kafka.commits();
    store.fail(Some(|_| Some(checkpoint::StoreErrorKind::Passing)));
    stage.run(Duration::from_mins(20)).await;
    assert!(stage.kafka.commits().len() >= 3);
}

#[tokio::test(start_paused = true)]
async fn what_a_checkpoint_said_is_shown_for_a_while_and_not_for_ever() {
    let shown = |stage: &Stage| {
        let of_partition = "{group=\"g\",partition=\"0\",stream=\"s\",topic=\"t\"}";
        [
            format!("lag{of_partition}"),
            format!("processed_offset{of_partition}"),
            "out_of_range{kind=\"beyond_end\",stream=\"s\"}".to_owned(),
            "stalled_seconds{stream=\"s\"}".to_owned(),
        ]
        .map(|metric| stage.metric(&metric).is_some())
    };
    let unreadable: crate::fakes::StoreFault = |_| Some(checkpoint::StoreErrorKind::Passing);
    for hangs in [false, true] {
        let store = FakeStore::of_query(QUERY);
        store.commit(0, 5);
        let mut stage = Stage::new(&store, &FakeKafka::with(9), "");
        stage.cycle().await;
        store.fail((!hangs).then_some(unreadable));
        store.hang(hangs);
        stage.failing_cycle().await;
        assert_eq!(shown(&stage), [true; 4], "one failure is nothing; hangs: {hangs}");
        stage.run(Duration::from_mins(4)).await;
        assert_eq!(shown(&stage), [false; 4], "hangs: {hangs}");
        store.fail(None);
        store.hang(false);
        stage.run(Duration::from_mins(6)).await;
        assert_eq!(shown(&stage), [true; 4], "hangs: {hangs}");
    }
}

#[tokio::test(start_paused = true)]
async fn partitions_come_and_go_with_the_checkpoint() {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    let kafka = FakeKafka::with(9);
    kafka.end("t", 1, 9);
    let mut stage = Stage::new(&store, &kafka, "");
    stage.cycle().await;
    store.plan(1, "{\"t\":{\"0\":6,\"1\":2}}");
    store.put("commits/1", "v9\nwhatever");
    stage.cycle().await;
    assert_eq!(
        (kafka.has("g", "t", 0), kafka.has("g", "t", 1)),
        (Some(6), Some(2))
    );
    store.commit(2, 7);
    stage.cycle().await;
    assert_eq!(
        stage.metric("processed_offset{group=\"g\",partition=\"1\",stream=\"s\",topic=\"t\"}"),
        None
    );
    assert_eq!(kafka.has("g", "t", 1), Some(2), "nothing is pruned unasked");
}

#[tokio::test(start_paused = true)]
async fn batches_that_appear_with_their_commit_and_orphans_that_vanish_do_no_harm() {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    let mut stage = Stage::new(&store, &FakeKafka::with(90), "");
    stage.cycle().await;
    store.plan(1, "{\"t\":{\"0\":50}}");
    stage.run(Duration::from_mins(2)).await;
    store.remove("offsets/1");
    stage.run(Duration::from_mins(2)).await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(5));
    store.commit(1, 60);
    stage.cycle().await;
    assert_eq!(stage.kafka.has("g", "t", 0), Some(60));
    assert_eq!(
        stage.metric("rewinds_total{reason=\"lowered\",stream=\"s\"}"),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_and_a_stream_that_is_only_observed_commit_nothing() {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    let kafka = FakeKafka::with(9);
    let mut dry = Stage::by(&store, &kafka, &configured(""), true);
    dry.cycle().await;
    let mut observed = Stage::new(&store, &kafka, "mode = \"observe\"");
    observed.cycle().await;
    assert_eq!(kafka.commits(), [""; 0]);
    assert_eq!(
        observed.metric("lag{group=\"g\",partition=\"0\",stream=\"s\",topic=\"t\"}"),
        Some(4.0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_runs_is_seen_also_behind_one_that_was_just_committed() {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    let mut stage = Stage::new(&store, &FakeKafka::with(400), "");
    let open = |stage: &Stage| stage.metric("offsets_without_commit{stream=\"s\"}");
    stage.cycle().await;
    assert_eq!(open(&stage), Some(0.0));
    for batch in 1..9 {
        store.commit(batch, 10 * batch);
        store.plan(batch + 1, &format!("{{\"t\":{{\"0\":{}}}}}", 10 * batch + 10));
        stage.cycle().await;
        assert_eq!(open(&stage), Some(1.0), "batch {} runs", batch + 1);
    }
    store.put("commits/9", "v1\n{}");
    stage.cycle().await;
    assert_eq!(open(&stage), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_runs_behind_a_gap_is_seen() {
    let store = FakeStore::of_query(QUERY);
    for batch in [5, 10] {
        store.commit(batch, 10 * batch);
    }
    store.plan(15, "{\"t\":{\"0\":150}}");
    let mut stage = Stage::new(&store, &FakeKafka::with(1000), "");
    stage.cycle().await;
    assert_eq!(stage.metric("offsets_without_commit{stream=\"s\"}"), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_query_that_stands_still_before_waiting_records_differs_from_an_idle_one() {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    let mut stage = Stage::new(&store, &FakeKafka::with(5), "");
    let stalled = |stage: &Stage| stage.metric("stalled_seconds{stream=\"s\"}");
    stage.run(Duration::from_mins(10)).await;
    assert_eq!(stalled(&stage), Some(0.0), "it is idle");
    stage.kafka.end("t", 0, 9);
    stage.run(Duration::from_mins(10)).await;
    let seconds = stalled(&stage).unwrap();
    assert!((590.0..=600.0).contains(&seconds), "{seconds}");
    store.commit(1, 7);
    stage.stream.cycle().await.unwrap();
    assert_eq!(
        stalled(&stage),
        Some(0.0),
        "a batch came, though records still wait"
    );
}

#[tokio::test(start_paused = true)]
async fn a_query_that_is_said_to_have_ended_is_not_missed_until_it_commits_again() {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    store.put("ended", "");
    let mut stage = Stage::new(&store, &FakeKafka::with(9), "");
    stage.run(Duration::from_mins(10)).await;
    let told = |stage: &Stage| {
        let of = |name: &str| stage.metric(&format!("{name}{{stream=\"s\"}}"));
        (of("ended"), of("stalled_seconds"), of("stream_up"))
    };
    assert_eq!(told(&stage), (Some(1.0), Some(0.0), Some(1.0)));
    store.commit(1, 7);
    stage.cycle().await;
    assert_eq!(told(&stage).0, Some(0.0));
    assert_eq!(stage.kafka.has("g", "t", 0), Some(7));
}

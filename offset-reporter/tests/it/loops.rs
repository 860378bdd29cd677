//! The loops of a reporter: none holds up another, and what they say of themselves is what they do.

use std::time::Duration;

use offset_reporter::reporter::{self, Schedule};
use prometheus::Registry;
use sidecar::{Frame, Heartbeat, Readiness};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::fakes::{FakeKafka, FakeStore, Stage, configured};

const QUERY: &str = "1f3a99c2-0195-4220-ade2-7cf05b9724bc";
const SCHEDULE: Schedule = Schedule {
    poll_interval: Duration::from_secs(10),
    idle_poll_interval: Duration::from_secs(30),
    concurrency: 2,
};

/// A reporter that runs.
struct Running {
    frame: Frame,
    loops: JoinSet<anyhow::Result<()>>,
}

impl Running {
    fn start(stages: Vec<Stage>) -> Self {
        let frame = Frame {
            stop: CancellationToken::new(),
            readiness: Readiness::default(),
            heartbeat: Heartbeat::default(),
            registry: Registry::new(),
        };
        let streams: Vec<_> = stages.into_iter().map(|stage| stage.stream).collect();
        let mut loops = JoinSet::new();
        let of_loops = frame.clone();
        loops.spawn(async move { reporter::run(streams, SCHEDULE, &of_loops).await });
        Self { frame, loops }
    }

    async fn stop(mut self) {
        self.frame.stop.cancel();
        self.loops.join_next().await.unwrap().unwrap().unwrap();
    }
}

/// A stream of this name, whose group is its name with a `g` before it.
fn stage(name: &str, store: &FakeStore, kafka: &FakeKafka) -> Stage {
    let mut config = configured("");
    name.clone_into(&mut config.streams[0].name);
    config.streams[0].selection.group = format!("g{name}");
    Stage::by(store, kafka, &config, false)
}

fn one_batch() -> FakeStore {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    store
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_hangs_holds_up_no_other_stream() {
    let (hanging, fine, kafka) = (one_batch(), one_batch(), FakeKafka::with(9));
    hanging.hang(true);
    let running = Running::start(vec![stage("a", &hanging, &kafka), stage("b", &fine, &kafka)]);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(
        (kafka.has("ga", "t", 0), kafka.has("gb", "t", 0)),
        (None, Some(5))
    );
    tokio::time::sleep(Duration::from_mins(5)).await;
    let told = running.frame.readiness.describe();
    assert!(
        told.contains("[-]stream a: the turn was cut off") && told.contains("[+]stream b"),
        "{told}"
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn ends_that_nobody_says_hold_up_no_commit() {
    let (store, kafka) = (one_batch(), FakeKafka::with(9));
    let running = Running::start(vec![stage("a", &store, &kafka)]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(running.frame.readiness.is_ready());
    kafka.hang_ends(true);
    for batch in 1..6 {
        store.commit(batch, 5 + batch);
        tokio::time::sleep(Duration::from_secs(12)).await;
        assert_eq!(kafka.has("ga", "t", 0), Some(5 + batch));
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn streams_begin_one_after_the_other_and_the_first_at_once() {
    let kafka = FakeKafka::with(9);
    let stores: Vec<_> = (0..10).map(|_| one_batch()).collect();
    let stages = stores
        .iter()
        .enumerate()
        .map(|(number, store)| stage(&number.to_string(), store, &kafka));
    let running = Running::start(stages.collect());
    // The tenth is not before the first comes again.
    for begun in 1..10 {
        tokio::time::sleep(Duration::from_millis(if begun == 1 { 500 } else { 1000 })).await;
        let asked = stores.iter().filter(|store| !store.requests().is_empty());
        assert_eq!(asked.count(), 1, "one in a second");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_same_trouble_is_said_once_however_its_text_changes() {
    let (store, kafka) = (one_batch(), FakeKafka::with(9));
    let running = Running::start(vec![stage("a", &store, &kafka)]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    kafka.refuse_end("t", 0, Some("LEADER_NOT_AVAILABLE"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    let told = running.frame.readiness.describe();
    assert!(told.contains("LEADER_NOT_AVAILABLE"), "{told}");
    kafka.refuse_end("t", 0, Some("OFFSET_NOT_AVAILABLE"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(running.frame.readiness.describe(), told);
    kafka.refuse_end("t", 0, None);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(running.frame.readiness.is_ready());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_heart_beats_while_every_loop_advances() {
    let (store, kafka) = (one_batch(), FakeKafka::with(9));
    let running = Running::start(vec![stage("a", &store, &kafka)]);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(running.frame.heartbeat.is_alive());
    }
    running.stop().await;
}

//! What a group has that its checkpoint lacks.

use std::time::Duration;

use crate::fakes::{FakeKafka, FakeStore, Stage};

const QUERY: &str = "1f3a99c2-0195-4220-ade2-7cf05b9724bc";

#[tokio::test(start_paused = true)]
async fn stale_partitions_are_reported_and_forgotten_only_where_that_is_wanted() {
    for prune in [false, true] {
        let store = FakeStore::of_query(QUERY);
        store.commit(0, 5);
        let kafka = FakeKafka::with(9);
        kafka.give("g", "old", 3, "");
        let mut stage = Stage::new(&store, &kafka, &format!("prune = {prune}"));
        stage.run(Duration::from_mins(30)).await;
        assert_eq!(kafka.has("g", "old", 0), Some(3), "not stale for long enough");
        stage.run(Duration::from_mins(40)).await;
        assert_eq!(kafka.has("g", "old", 0), (!prune).then_some(3));
        assert_eq!(kafka.has("g", "t", 0), Some(5));
        if !prune {
            assert_eq!(stage.metric("stale_partitions{stream=\"s\"}"), Some(1.0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_may_not_be_forgotten_keeps_no_other_and_is_reported_until_the_next_try() {
    let store = FakeStore::of_query(QUERY);
    store.commit(0, 5);
    let kafka = FakeKafka::with(9);
    kafka.give("g", "kept", 3, "");
    kafka.give("g", "old", 3, "");
    kafka.keep("kept");
    let mut stage = Stage::new(&store, &kafka, "prune = true");
    stage.run(Duration::from_mins(70)).await;
    assert_eq!(
        (kafka.has("g", "kept", 0), kafka.has("g", "old", 0)),
        (Some(3), None)
    );
    for _ in 0..40 {
        let told = stage.failing_cycle().await;
        assert!(told.contains("cannot forget kept-0 of the group g"), "{told}");
    }
}

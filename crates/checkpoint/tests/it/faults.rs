//! A writer among faults: whatever fails, and wherever it is killed, what is recorded is done and never falls.

use checkpoint::{
    BatchId, COMMITS, Checkpoint, CheckpointError, OFFSETS, OffsetLog, StoreErrorKind, batch_ids,
};
use proptest::prelude::*;

use crate::fakes::{Fault, MemoryStore, at};

/// What happens to each request, for as long as there are bytes; then all is well.
fn faults(bytes: Vec<u8>) -> impl FnMut(&str) -> Option<Fault> + Send + 'static {
    let mut bytes = bytes.into_iter();
    move |_request| match bytes.next()? % 8 {
        0 => Some(Fault::Refused(StoreErrorKind::Passing)),
        1 => Some(Fault::Refused(StoreErrorKind::Denied)),
        2 | 3 => Some(Fault::AnswerLost),
        _ => None,
    }
}

/// What a reader of Spark's checkpoints takes for processed.
fn processed(store: &MemoryStore) -> Option<(BatchId, i64)> {
    let files = store.files();
    let commits = files
        .keys()
        .filter_map(|key| key.strip_prefix(COMMITS)?.strip_prefix('/'));
    let newest = batch_ids(commits).last().copied()?;
    let log = OffsetLog::parse(&files[&newest.key(OFFSETS)]).unwrap();
    Some((newest, log.offsets().get("documents", 0)?))
}

/// Lives of one writer after the other: `steps` are commits of so many records more, or, at 0, a kill.
async fn live(steps: Vec<i64>, bytes: Vec<u8>, fixture: Option<&str>) {
    let store = fixture.map_or_else(MemoryStore::default, MemoryStore::of_fixture);
    store.fail(faults(bytes));
    let (mut done, mut recorded) = (35_i64, processed(&store));
    let mut writer = None;
    for step in steps {
        if step == 0 {
            writer = None;
        }
        let Some(alive) = &mut writer else {
            // A start may fail like anything else; the next one tries again.
            let Ok(checkpoint) = Checkpoint::read(store.clone()).await else {
                continue;
            };
            let position = checkpoint.positions().get("documents", 0);
            assert!(
                position.is_none_or(|position| position <= done),
                "taken up beyond what is done"
            );
            assert!(
                position >= recorded.map(|(_, position)| position),
                "taken up below what was recorded"
            );
            writer = checkpoint.take_over().await.ok();
            continue;
        };
        done += step;
        let committed = alive.commit(&at(&[(0, done)]), 7).await;
        assert!(!matches!(
            committed,
            Err(CheckpointError::Contested { .. } | CheckpointError::Fallen { .. })
        ));
        let now = processed(&store);
        assert!(
            now.is_none_or(|(_, position)| position <= done),
            "recorded and not done"
        );
        assert!(now >= recorded, "what is recorded fell");
        if let Ok(batch) = committed {
            assert_eq!(now, Some((batch, done)), "committed and not recorded");
        }
        recorded = now;
    }
    store.heal();
    let checkpoint = Checkpoint::read(store.clone()).await.unwrap();
    let mut writer = checkpoint.take_over().await.unwrap();
    let batch = writer.commit(&at(&[(0, done + 1)]), 7).await.unwrap();
    assert_eq!(processed(&store), Some((batch, done + 1)));
}

proptest! {
    #[test]
    fn what_is_recorded_is_done_and_never_falls(
        steps in proptest::collection::vec(0..4_i64, 1..40),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        is_old in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live(steps, bytes, is_old.then_some("outrigger-0.1-planned")));
    }
}

#[tokio::test]
async fn a_partition_that_a_later_call_does_not_name_keeps_what_a_lost_answer_recorded() {
    let store = MemoryStore::default();
    let checkpoint = Checkpoint::read(store.clone()).await.unwrap();
    let mut writer = checkpoint.take_over().await.unwrap();
    writer.commit(&at(&[(0, 1), (5, 50)]), 7).await.unwrap();
    store.fail(|request| (request == "put offsets/1").then_some(Fault::AnswerLost));
    writer.commit(&at(&[(0, 10), (5, 100)]), 7).await.unwrap_err();
    store.heal();
    writer.commit(&at(&[(0, 20)]), 7).await.unwrap();
    let checkpoint = Checkpoint::read(store).await.unwrap();
    assert_eq!(*checkpoint.positions(), at(&[(0, 20), (5, 100)]));
}

#[tokio::test]
async fn ones_own_success_after_a_lost_answer_is_a_success() {
    let store = MemoryStore::default();
    let mut writer = Checkpoint::read(store.clone())
        .await
        .unwrap()
        .take_over()
        .await
        .unwrap();
    store.fail(|request| (request == "put offsets/0").then_some(Fault::AnswerLost));
    writer.commit(&at(&[(0, 1)]), 7).await.unwrap_err();
    store.heal();
    // With newer positions: the first batch states what it did, the second the rest.
    assert_eq!(writer.commit(&at(&[(0, 2)]), 8).await.unwrap(), BatchId(1));
    let log = |key: &str| OffsetLog::parse(store.get(key).unwrap().as_bytes()).unwrap();
    assert_eq!(
        (log("offsets/0").offsets(), log("offsets/1").offsets()),
        (at(&[(0, 1)]), at(&[(0, 2)]))
    );
    assert!(store.get("commits/0").is_some() && store.get("commits/1").is_some());
}

//! A checkpoint is read before anything is written, and taken over from whoever wrote it.

use checkpoint::{BatchId, Checkpoint, CheckpointError, OffsetLog, StoreErrorKind, TopicOffsets};

use crate::fakes::{Fault, MemoryStore, at};

/// The checkpoint that the version before wrote: batches 0 to 2, and batch 3 planned.
const OLD: &str = "outrigger-0.1-planned";
const SPARK: &str = "spark-3.5.7-kafka";

async fn read(store: &MemoryStore) -> Checkpoint<MemoryStore> {
    Checkpoint::read(store.clone()).await.unwrap()
}

async fn refused(store: &MemoryStore) -> CheckpointError {
    Checkpoint::read(store.clone()).await.map(drop).unwrap_err()
}

fn log(store: &MemoryStore, key: &str) -> OffsetLog {
    OffsetLog::parse(store.get(key).unwrap().as_bytes()).unwrap()
}

#[tokio::test]
async fn reading_writes_nothing_whatever_is_there() {
    let foreign = MemoryStore::default();
    foreign.put("metadata", b"{\"id\":\"a\"}");
    for batch in 0..301 {
        foreign.put(
            &format!("offsets/{batch}"),
            b"v1\n{}\n{\"other-topic\":{\"0\":1}}",
        );
        foreign.put(&format!("commits/{batch}"), b"v1\n{}");
    }
    let newer = MemoryStore::of_fixture(SPARK);
    newer.put("offsets/47", b"v3\n{}\n{\"t\":{\"0\":1}}");
    let damaged = MemoryStore::of_fixture(SPARK);
    damaged.put("offsets/47", b"");
    let all = [
        MemoryStore::of_fixture(OLD),
        MemoryStore::default(),
        foreign,
        newer,
        damaged,
    ];
    for store in all {
        let before = store.files();
        drop(Checkpoint::read(store.clone()).await);
        assert_eq!(store.files(), before);
        let writes: Vec<_> = store
            .requests()
            .into_iter()
            .filter(|request| !request.starts_with("get "))
            .collect();
        assert_eq!(
            writes
                .iter()
                .filter(|request| !request.starts_with("list "))
                .count(),
            0,
            "{writes:?}"
        );
    }
}

#[tokio::test]
async fn a_new_checkpoint_begins_with_batch_0_and_a_query_id_that_stays() {
    let store = MemoryStore::default();
    let checkpoint = read(&store).await;
    assert!(checkpoint.is_new() && checkpoint.positions().is_empty() && checkpoint.last_batch().is_none());
    let mut writer = checkpoint.take_over().await.unwrap();
    let id = store.get("metadata").unwrap();
    assert!(read(&store).await.is_new(), "a lone query id is new");
    assert_eq!(writer.commit(&at(&[(0, 5)]), 7).await.unwrap(), BatchId(0));
    let checkpoint = read(&store).await;
    assert!(!checkpoint.is_new() && *checkpoint.positions() == at(&[(0, 5)]));
    drop(checkpoint.take_over().await.unwrap());
    assert_eq!(store.get("metadata").unwrap(), id);
}

#[tokio::test]
async fn a_torn_query_id_is_replaced_only_where_there_is_nothing_else() {
    let store = MemoryStore::default();
    store.put("metadata", b"{\"i");
    drop(read(&store).await.take_over().await.unwrap());
    assert!(store.get("metadata").unwrap().contains("\"id\""));
    let store = MemoryStore::of_fixture(SPARK);
    store.put("metadata", b"{\"i");
    assert!(matches!(refused(&store).await, CheckpointError::Unusable { key, .. } if key == "metadata"));
}

/// A query of Spark that runs its first batch has committed nothing, and if its source has a name, not even its initial
/// offsets are found.
#[tokio::test]
async fn whose_a_planned_first_batch_is_can_be_told() {
    let store = MemoryStore::default();
    store.put("metadata", b"{\"id\":\"a\"}");
    store.put("offsets/0", b"v1\n{}\n{\"other-topic\":{\"0\":1}}");
    let checkpoint = read(&store).await;
    assert!(checkpoint.positions().is_empty());
    let planned = checkpoint.planned_positions().unwrap();
    assert_eq!(planned.get("other-topic", 0), Some(1));
    for nobodys in ["", "v1\n{}\n{\"an illegal name\":{\"0\":1}}"] {
        store.put("offsets/0", nobodys.as_bytes());
        assert!(matches!(refused(&store).await, CheckpointError::Unusable { key, .. } if key == "offsets/0"));
    }
}

/// An upgrade loses nothing: the old version's planned batch may have no results, and is read again.
#[tokio::test]
async fn a_planned_batch_of_the_version_before_does_not_count_and_is_replaced() {
    let store = MemoryStore::of_fixture(OLD);
    let checkpoint = read(&store).await;
    assert_eq!(
        *checkpoint.positions(),
        at(&[(0, 35), (1, 21)]),
        "and not 45 and 33, which were planned"
    );
    assert_eq!(
        (checkpoint.last_batch(), checkpoint.is_new()),
        (Some(BatchId(2)), false)
    );
    let mut writer = checkpoint.take_over().await.unwrap();
    assert_eq!(store.get("commits/3"), None);
    assert_eq!(*read(&store).await.positions(), at(&[(0, 35), (1, 21)]));
    assert_eq!(writer.commit(&at(&[(0, 40)]), 7).await.unwrap(), BatchId(3));
    assert_eq!(log(&store, "offsets/3").offsets(), at(&[(0, 40), (1, 21)]));
    assert_eq!(writer.commit(&at(&[(0, 41)]), 7).await.unwrap(), BatchId(4));
    assert_eq!(*read(&store).await.positions(), at(&[(0, 41), (1, 21)]));
}

#[tokio::test]
async fn a_first_batch_that_was_planned_leaves_the_positions_at_which_the_checkpoint_began() {
    let store = MemoryStore::of_fixture(OLD);
    for batch in 0..3 {
        store.remove(&format!("commits/{batch}"));
    }
    for batch in 1..4 {
        store.remove(&format!("offsets/{batch}"));
    }
    let checkpoint = read(&store).await;
    assert_eq!(
        (checkpoint.positions().clone(), checkpoint.is_new()),
        (at(&[(0, 5), (1, 0)]), false)
    );
    let mut writer = checkpoint.take_over().await.unwrap();
    assert_eq!(writer.commit(&at(&[(0, 6)]), 7).await.unwrap(), BatchId(0));
    assert_eq!(*read(&store).await.positions(), at(&[(0, 6), (1, 0)]));
}

#[tokio::test]
async fn a_batch_that_lacks_its_commit_alone_is_true_and_is_committed() {
    let store = MemoryStore::of_fixture(OLD);
    let mut writer = read(&store).await.take_over().await.unwrap();
    store.fail(|request| (request == "put commits/3").then_some(Fault::Refused(StoreErrorKind::Passing)));
    writer.commit(&at(&[(0, 40)]), 7).await.unwrap_err();
    store.heal();
    let checkpoint = read(&store).await;
    assert_eq!(*checkpoint.positions(), at(&[(0, 40), (1, 21)]));
    assert_eq!(
        (checkpoint.last_batch(), store.get("commits/3")),
        (Some(BatchId(3)), None)
    );
    let mut writer = checkpoint.take_over().await.unwrap();
    assert_eq!(store.get("commits/3"), store.get("commits/2"));
    assert_eq!(writer.commit(&at(&[(0, 41)]), 7).await.unwrap(), BatchId(4));
}

#[tokio::test]
async fn a_checkpoint_that_spark_wrote_is_taken_over() {
    let store = MemoryStore::of_fixture(SPARK);
    let newest = log(&store, "offsets/46").offsets();
    let checkpoint = read(&store).await;
    assert_eq!(
        (checkpoint.positions(), checkpoint.last_batch()),
        (&newest, Some(BatchId(46)))
    );
    let mut writer = checkpoint.take_over().await.unwrap();
    let (topic, partition, position) = newest.iter().next().unwrap();
    let mut next = TopicOffsets::default();
    next.set(topic, partition, position + 1);
    assert_eq!(writer.commit(&next, 7).await.unwrap(), BatchId(47));
    let written = log(&store, "offsets/47").offsets();
    assert_eq!(
        written.iter().count(),
        newest.iter().count(),
        "the other partitions are carried over"
    );
}

#[tokio::test]
async fn a_batch_without_its_positions_falls_back_and_its_number_is_never_used_again() {
    for damaged in [
        &b""[..],
        b"\0\0\0\0",
        b"v1\n{\"batchTimestampMs\":1",
        b"v1\n{}\n",
        b"v1\n{}\n{\"documents\":{\"0\"",
    ] {
        let store = MemoryStore::of_fixture(OLD);
        store.remove("offsets/3");
        store.put("offsets/2", damaged);
        let checkpoint = read(&store).await;
        assert_eq!(*checkpoint.positions(), at(&[(0, 25), (1, 14)]), "{damaged:?}");
        let mut writer = checkpoint.take_over().await.unwrap();
        assert_eq!(writer.commit(&at(&[(0, 26)]), 7).await.unwrap(), BatchId(3));
    }
}

#[tokio::test]
async fn a_damaged_batch_without_a_commit_is_replaced() {
    let store = MemoryStore::of_fixture(OLD);
    store.put("offsets/3", b"\0\0\0");
    let mut writer = read(&store).await.take_over().await.unwrap();
    assert_eq!(writer.commit(&at(&[(0, 36)]), 7).await.unwrap(), BatchId(3));
}

#[tokio::test]
async fn commits_of_which_no_batch_can_be_read_are_an_error_and_not_a_new_checkpoint() {
    let store = MemoryStore::of_fixture(OLD);
    for batch in 0..4 {
        store.remove(&format!("offsets/{batch}"));
    }
    let error = refused(&store).await;
    assert_eq!(error.to_string(), "offsets/2 cannot be used");
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "damaged: it is missing");
}

#[tokio::test]
async fn what_a_newer_spark_wrote_is_refused_and_left_alone() {
    for key in ["offsets/2", "offsets/3"] {
        let store = MemoryStore::of_fixture(OLD);
        store.put(key, b"v3\n{}\n{\"documents\":{\"0\":1}}");
        let error = refused(&store).await;
        assert!(
            matches!(&error, CheckpointError::Unusable { key: its, .. } if its == key),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_query_with_other_sources_is_refused() {
    for (key, sources) in [
        ("offsets/2", "30\n{\"documents\":{\"0\":1}}"),
        (
            "offsets/3",
            "{\"documents\":{\"0\":1}}\n{\"documents\":{\"1\":1}}",
        ),
        ("offsets/2", "30"),
    ] {
        let store = MemoryStore::of_fixture(OLD);
        store.put(key, format!("v1\n{{}}\n{sources}").as_bytes());
        let error = refused(&store).await;
        assert!(matches!(error, CheckpointError::ForeignSources { .. }), "{error}");
    }
}

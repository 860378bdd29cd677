//! What a commit writes.

use std::sync::Arc;

use checkpoint::{
    BatchId, Checkpoint, CheckpointError, CheckpointWriter, LocalFolder, OffsetLog, Put, WritableStore,
};

use crate::fakes::{MemoryStore, at};

async fn writer(store: &MemoryStore) -> CheckpointWriter<MemoryStore> {
    let checkpoint = Checkpoint::read(store.clone()).await.unwrap();
    checkpoint.take_over().await.unwrap()
}

async fn positions(store: &MemoryStore) -> checkpoint::TopicOffsets {
    Checkpoint::read(store.clone()).await.unwrap().positions().clone()
}

#[tokio::test]
async fn files_have_sparks_form_and_our_mark() {
    let store = MemoryStore::default();
    let mut writer = writer(&store).await;
    writer.commit(&at(&[(0, 23)]), 1_795_337_460_366).await.unwrap();
    let offsets = store.get("offsets/0").unwrap();
    let by = OffsetLog::parse(offsets.as_bytes())
        .unwrap()
        .acknowledged_by
        .unwrap();
    let metadata = format!(
        r#"{{"batchWatermarkMs":0,"batchTimestampMs":1795337460366,"conf":{{"outrigger.positions":"acknowledged","outrigger.writer":"{by}"}}}}"#
    );
    assert_eq!(offsets, format!("v1\n{metadata}\n{{\"documents\":{{\"0\":23}}}}"));
    let commit = include_str!("../fixtures/spark-3.5.7-kafka/commits/46");
    assert_eq!(store.get("commits/0").unwrap(), commit);
}

#[tokio::test]
async fn a_batch_is_two_writes_the_positions_first_and_one_where_nothing_moved_is_none() {
    let store = MemoryStore::default();
    let mut writer = writer(&store).await;
    let written_by = |store: &MemoryStore| {
        let requests = store.requests().into_iter();
        requests
            .filter(|request| request.starts_with("put "))
            .collect::<Vec<_>>()
    };
    assert_eq!(written_by(&store), ["put metadata"]);
    writer.commit(&at(&[(0, 1)]), 7).await.unwrap();
    assert_eq!(written_by(&store), ["put offsets/0", "put commits/0"]);
    assert_eq!(writer.commit(&at(&[(0, 1)]), 8).await.unwrap(), BatchId(0));
    assert_eq!(store.requests(), [""; 0]);
    assert_eq!(writer.commit(&at(&[(1, 1)]), 9).await.unwrap(), BatchId(1));
    assert_eq!(positions(&store).await, at(&[(0, 1), (1, 1)]));
}

#[tokio::test]
async fn a_position_never_falls_unless_its_log_began_again() {
    let store = MemoryStore::default();
    let mut writer = writer(&store).await;
    assert!(matches!(
        writer.commit(&at(&[]), 7).await,
        Err(CheckpointError::NoPositions)
    ));
    writer.commit(&at(&[(0, 50), (1, 50)]), 7).await.unwrap();
    let error = writer.commit(&at(&[(0, 60), (1, 49)]), 7).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "topic documents, partition 1: position 49 is below 50, which is recorded as done"
    );
    assert_eq!(positions(&store).await, at(&[(0, 50), (1, 50)]));
    writer.reset("documents", 1, 3);
    assert!(
        writer.commit(&at(&[(1, 2)]), 7).await.is_err(),
        "nor below where it began again"
    );
    writer.commit(&at(&[(0, 60)]), 7).await.unwrap();
    assert_eq!(positions(&store).await, at(&[(0, 60), (1, 3)]));
    writer.commit(&at(&[(1, 4)]), 7).await.unwrap();
    writer.commit(&at(&[(1, 3)]), 7).await.unwrap_err();
}

#[tokio::test]
async fn of_two_writers_on_one_checkpoint_the_second_is_contested() {
    for fixture in [None, Some("outrigger-0.1-planned")] {
        let store = fixture.map_or_else(MemoryStore::default, MemoryStore::of_fixture);
        let (mut first, mut second) = (writer(&store).await, writer(&store).await);
        let batch = first.commit(&at(&[(0, 100)]), 7).await.unwrap();
        // The very same positions are another writer's all the same.
        let error = second.commit(&at(&[(0, 100)]), 7).await.unwrap_err();
        let key = if fixture.is_none() {
            "offsets/0"
        } else {
            "offsets/3"
        };
        assert!(
            matches!(&error, CheckpointError::Contested { key: its } if its == key),
            "{error}"
        );
        assert!(second.commit(&at(&[(0, 200)]), 7).await.is_err(), "and stays so");
        assert_eq!(first.commit(&at(&[(0, 101)]), 7).await.unwrap(), batch.next());
        assert_eq!(positions(&store).await.get("documents", 0), Some(101));
    }
}

#[tokio::test]
async fn a_writer_that_slept_until_its_next_batch_was_deleted_is_contested() {
    let store = MemoryStore::default();
    let mut asleep = writer(&store).await;
    asleep.commit(&at(&[(0, 1)]), 7).await.unwrap();
    let mut awake = writer(&store).await;
    for position in 2..150 {
        awake.commit(&at(&[(0, position)]), 7).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(
        store.get("offsets/1"),
        None,
        "the next batch of the sleeper looks free"
    );
    let error = asleep.commit(&at(&[(0, 2)]), 7).await.unwrap_err();
    assert!(matches!(error, CheckpointError::Contested { .. }), "{error}");
    assert_eq!(store.get("offsets/1"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_writers_that_race_on_a_disk_one_wins_each_batch() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..50_i64 {
        let contents: Vec<Vec<u8>> = (0..8_u8).map(|writer| vec![writer; 1000]).collect();
        let mut races = tokio::task::JoinSet::new();
        for content in contents {
            let store = Arc::new(LocalFolder::new(folder.path()));
            races.spawn(async move {
                let put = store
                    .put_if(&format!("offsets/{round}"), None, &content)
                    .await
                    .unwrap();
                (put == Put::Done).then_some(content)
            });
        }
        let won: Vec<_> = races.join_all().await.into_iter().flatten().collect();
        assert_eq!(won.len(), 1, "{round}");
        assert_eq!(
            std::fs::read(folder.path().join(format!("offsets/{round}"))).unwrap(),
            won[0]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_writers_that_race_to_replace_on_a_disk_at_most_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("offsets")).unwrap();
    let mut winners = 0;
    for round in 0..50_i64 {
        let (key, path) = (
            format!("offsets/{round}"),
            folder.path().join(format!("offsets/{round}")),
        );
        std::fs::write(&path, b"old").unwrap();
        let mut races = tokio::task::JoinSet::new();
        for writer in 0..4_u8 {
            let (store, key) = (LocalFolder::new(folder.path()), key.clone());
            races.spawn(async move { (writer, store.put_if(&key, Some(b"old"), &[writer]).await.ok()) });
        }
        let puts = races.join_all().await;
        let won: Vec<_> = puts.iter().filter(|(_, put)| *put == Some(Put::Done)).collect();
        assert!(won.len() <= 1, "{round}: {puts:?}");
        if let Some((writer, _)) = won.first() {
            assert_eq!(std::fs::read(&path).unwrap(), [*writer], "{round}");
            winners += 1;
        }
    }
    assert!(winners > 0);
}

//! What a writer promises: however and wherever it ends, what stands as processed was processed.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::fs;
use std::path::Path;

use checkpoint::{
    BatchId, CheckpointError, CheckpointWriter, LocalFolder, OffsetLog, RETAINED_BATCHES, TopicOffsets,
};

fn at(position: i64) -> TopicOffsets {
    let mut offsets = TopicOffsets::default();
    offsets.set("input", 0, position);
    offsets
}

async fn open(folder: &Path) -> (CheckpointWriter<LocalFolder>, checkpoint::Resume) {
    CheckpointWriter::open(LocalFolder::new(folder)).await.unwrap()
}

/// A checkpoint with batches 0 to `last` committed; batch N ends at 10 N.
async fn with_batches(folder: &Path, last: i64) {
    let (mut writer, _) = open(folder).await;
    for batch in 0..=last {
        writer.plan(&at(10 * batch), 1_700_000_000_000).await.unwrap();
        writer.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_new_checkpoint_begins_with_batch_0_and_a_query_id_that_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, resume) = open(folder.path()).await;
    assert_eq!(writer.batch(), BatchId(0));
    assert!(resume.processed.is_empty() && resume.planned.is_none());
    let id = fs::read_to_string(folder.path().join("metadata")).unwrap();
    open(folder.path()).await;
    assert_eq!(fs::read_to_string(folder.path().join("metadata")).unwrap(), id);
}

#[tokio::test]
async fn a_planned_batch_is_taken_up_with_its_own_end() {
    let folder = tempfile::tempdir().unwrap();
    with_batches(folder.path(), 2).await;
    let (mut writer, _) = open(folder.path()).await;
    writer.plan(&at(35), 0).await.unwrap();
    let (writer, resume) = open(folder.path()).await;
    assert_eq!(
        (writer.batch(), resume.processed, resume.planned),
        (BatchId(3), at(20), Some(at(35)))
    );
}

#[tokio::test]
async fn a_first_batch_is_taken_up_from_where_the_checkpoint_began() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(folder.path()).await;
    writer.begin(&at(7)).await.unwrap();
    writer.plan(&at(9), 0).await.unwrap();
    let (_, resume) = open(folder.path()).await;
    assert_eq!((resume.processed, resume.planned), (at(7), Some(at(9))));
}

#[tokio::test]
async fn a_damaged_plan_without_a_commit_is_planned_anew() {
    let folder = tempfile::tempdir().unwrap();
    with_batches(folder.path(), 2).await;
    fs::write(folder.path().join("offsets/3"), "").unwrap();
    let (mut writer, resume) = open(folder.path()).await;
    assert_eq!(
        (writer.batch(), resume.processed, resume.planned),
        (BatchId(3), at(20), None)
    );
    writer.plan(&at(30), 0).await.unwrap();
    assert_eq!(writer.commit().await.unwrap(), BatchId(3));
}

#[tokio::test]
async fn a_committed_batch_without_a_readable_plan_falls_back_and_is_never_reused() {
    let folder = tempfile::tempdir().unwrap();
    with_batches(folder.path(), 3).await;
    fs::write(folder.path().join("offsets/3"), "v1\n{}\n{\"input\":{\"0\"").unwrap();
    let (writer, resume) = open(folder.path()).await;
    assert_eq!((writer.batch(), resume.processed), (BatchId(4), at(20)));
}

#[tokio::test]
async fn commits_without_any_plan_are_an_error_and_not_a_fresh_start() {
    let folder = tempfile::tempdir().unwrap();
    with_batches(folder.path(), 1).await;
    fs::remove_dir_all(folder.path().join("offsets")).unwrap();
    let error = CheckpointWriter::open(LocalFolder::new(folder.path()))
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(error.to_string(), "offsets/1: damaged: it is missing");
}

#[tokio::test]
async fn a_second_writer_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let ((mut first, _), (mut second, _)) = (open(folder.path()).await, open(folder.path()).await);
    first.plan(&at(1), 0).await.unwrap();
    first.plan(&at(1), 0).await.unwrap();
    let error = second.plan(&at(2), 0).await.unwrap_err();
    assert!(
        matches!(&error, CheckpointError::Contested { key } if key == "offsets/0"),
        "{error}"
    );
}

#[tokio::test]
async fn old_batches_are_deleted_as_spark_deletes_them() {
    let folder = tempfile::tempdir().unwrap();
    let last = RETAINED_BATCHES + 5;
    with_batches(folder.path(), last).await;
    for part in ["offsets", "commits"] {
        let names: Vec<_> = fs::read_dir(folder.path().join(part))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 101, "{part}");
        assert!(
            !names.iter().any(|name| name == "4") && names.iter().any(|name| name == "5"),
            "{part}"
        );
    }
}

#[tokio::test]
async fn a_batch_cannot_be_committed_unplanned() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(folder.path()).await;
    writer.commit().await.unwrap_err();
    assert!(!folder.path().join("commits/0").exists());
}

#[tokio::test]
async fn files_have_sparks_form() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(folder.path()).await;
    writer.plan(&at(23), 1_795_337_460_366).await.unwrap();
    writer.commit().await.unwrap();
    let offsets = fs::read_to_string(folder.path().join("offsets/0")).unwrap();
    let metadata = r#"{"batchWatermarkMs":0,"batchTimestampMs":1795337460366,"conf":{}}"#;
    assert_eq!(offsets, format!("v1\n{metadata}\n{{\"input\":{{\"0\":23}}}}"));
    let commit = fs::read_to_string(folder.path().join("commits/0")).unwrap();
    assert_eq!(commit, include_str!("../fixtures/spark-3.5.7-kafka/commits/46"));
}

#[tokio::test]
async fn a_checkpoint_that_spark_wrote_is_taken_up() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spark-3.5.7-kafka");
    let folder = tempfile::tempdir().unwrap();
    for part in ["offsets", "commits"] {
        fs::create_dir(folder.path().join(part)).unwrap();
        for entry in fs::read_dir(fixture.join(part)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(part).join(entry.file_name())).unwrap();
        }
    }
    let (writer, resume) = open(folder.path()).await;
    let newest = OffsetLog::parse(&fs::read(fixture.join("offsets/46")).unwrap()).unwrap();
    assert_eq!(
        (writer.batch(), resume.processed),
        (BatchId(47), newest.offsets())
    );
}

//! Checkpoints on real S3 servers: two writers, and more batches than a page of a listing.

use std::sync::Arc;

use checkpoint::{
    BatchId, COMMITS, Checkpoint, CheckpointError, CheckpointWriter, OFFSETS, Put, RawS3, S3, S3Folder,
    Store, TopicOffsets, WritableStore,
};
use testbed::{Moto, S3Server};
use tokio::task::JoinSet;

const BUCKET: &str = "checkpoints";
const RACES: usize = 10;
const WRITERS: usize = 5;

fn s3(endpoint: &str, (access_key, secret_key): (&str, &str)) -> S3 {
    let settings = RawS3 {
        endpoint: Some(endpoint.to_owned()),
        path_style: true,
        ..RawS3::default()
    };
    S3::new(settings, Arc::new(|_| {})).with_keys(access_key, secret_key)
}

async fn seaweedfs() -> (S3Server, S3) {
    let server = S3Server::start().await.unwrap();
    server.create_bucket(BUCKET).await.unwrap();
    let s3 = s3(server.endpoint(), (server.access_key(), server.secret_key()));
    (server, s3)
}

async fn moto() -> (Moto, S3) {
    let server = Moto::start().await.unwrap();
    server.create_bucket(BUCKET).await.unwrap();
    let s3 = s3(server.endpoint(), ("test", "test"));
    (server, s3)
}

fn at(position: i64) -> TopicOffsets {
    let mut offsets = TopicOffsets::default();
    offsets.set("documents", 0, position);
    offsets
}

async fn writer(folder: &S3Folder) -> CheckpointWriter<S3Folder> {
    let checkpoint = Checkpoint::read(folder.clone()).await.unwrap();
    checkpoint.take_over().await.unwrap()
}

/// What holds on every server.
async fn holds_on(s3: &S3) {
    let folder = s3.folder(BUCKET, "query").await;
    assert!(Checkpoint::read(folder.clone()).await.unwrap().is_new());
    let (mut first, mut second) = (writer(&folder).await, writer(&folder).await);
    assert_eq!(first.commit(&at(1), 7).await.unwrap(), BatchId(0));
    let error = second.commit(&at(1), 7).await.unwrap_err();
    assert!(matches!(error, CheckpointError::Contested { .. }), "{error}");
    assert_eq!(first.commit(&at(2), 7).await.unwrap(), BatchId(1));
    let checkpoint = Checkpoint::read(folder.clone()).await.unwrap();
    assert_eq!(
        (checkpoint.positions(), checkpoint.last_batch()),
        (&at(2), Some(BatchId(1)))
    );
    let planned = b"v1\n{}\n{\"documents\":{\"0\":9}}";
    assert_eq!(
        folder.put_if("offsets/2", None, planned).await.unwrap(),
        Put::Done
    );
    let (mut third, mut fourth) = (writer(&folder).await, writer(&folder).await);
    assert_eq!(third.commit(&at(3), 7).await.unwrap(), BatchId(2));
    let error = fourth.commit(&at(4), 7).await.unwrap_err();
    assert!(matches!(error, CheckpointError::Contested { .. }), "{error}");
    folder.delete("offsets/2").await.unwrap();
    folder.delete("offsets/2").await.unwrap();
    assert_eq!(folder.read("offsets/2").await.unwrap(), None);
}

/// Lets writers race for each of a number of keys; gives for each how many won.
async fn winners(folder: &S3Folder, expected: Option<&'static [u8]>) -> Vec<usize> {
    let mut winners = Vec::new();
    for race in 0..RACES {
        let key = format!("races/{race}");
        let mut races = JoinSet::new();
        for writer in 0..WRITERS {
            let (folder, key) = (folder.clone(), key.clone());
            races.spawn(async move {
                let put = folder
                    .put_if(&key, expected, format!("writer {writer}").as_bytes())
                    .await;
                matches!(put, Ok(Put::Done)).then_some(writer)
            });
        }
        let won: Vec<_> = races.join_all().await.into_iter().flatten().collect();
        if let [writer] = won[..] {
            let content = folder.read(&key).await.unwrap().unwrap().content;
            assert_eq!(content, format!("writer {writer}").as_bytes());
        }
        winners.push(won.len());
    }
    winners
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_in_moto_has_one_writer() {
    let (_server, s3) = moto().await;
    holds_on(&s3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_in_seaweedfs_has_one_writer() {
    let (_server, s3) = seaweedfs().await;
    holds_on(&s3).await;
}

/// Before the fix of its issue 8800 all writers won.
#[tokio::test(flavor = "multi_thread")]
async fn of_writers_that_race_in_seaweedfs_one_wins() {
    let (server, s3) = seaweedfs().await;
    let folder = s3.folder(BUCKET, "query").await;
    assert_eq!(winners(&folder, None).await, [1; RACES]);
    for race in 0..RACES {
        server
            .put(BUCKET, &format!("query/races/{race}"), "old")
            .await
            .unwrap();
    }
    assert_eq!(winners(&folder, Some(b"old")).await, [1; RACES]);
}

/// More than a server lists at a time.
const BATCHES: i64 = 2_345;

/// A server lists a thousand names at a time, and `10` before `9`.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_more_than_a_thousand_files_is_listed_whole() {
    let (server, s3) = moto().await;
    for batch in 0..BATCHES {
        let log = format!("v1\n{{}}\n{{\"documents\":{{\"0\":{batch}}}}}");
        for (folder, content) in [(OFFSETS, log.as_str()), (COMMITS, "v1\n{}")] {
            let key = format!("query/{}", BatchId(batch).key(folder));
            server.put(BUCKET, &key, content).await.unwrap();
        }
    }
    let folder = s3.folder(BUCKET, "query").await;
    assert_eq!(
        i64::try_from(folder.list(COMMITS).await.unwrap().len()),
        Ok(BATCHES)
    );
    let checkpoint = Checkpoint::read(folder).await.unwrap();
    assert_eq!(
        (checkpoint.last_batch(), checkpoint.positions()),
        (Some(BatchId(BATCHES - 1)), &at(BATCHES - 1))
    );
}

//! The worker with its checkpoint in a bucket: killed, and with a store that goes away for a while.

use checkpoint::{BatchId, COMMITS, Location, OFFSETS, OffsetLog, RawS3};
use testbed::{Process, S3Server, until};

use crate::stage::{PATIENCE, Stage, counts, key, texts};

const BUCKET: &str = "checkpoints";
const ROUND: usize = 500;
const KILLS: usize = 4;

async fn worker(stage: &Stage, server: &S3Server) -> Process {
    let place = Location::S3 {
        bucket: BUCKET.to_owned(),
        prefix: "ner".to_owned(),
    };
    let s3 = RawS3 {
        endpoint: Some(server.endpoint().to_owned()),
        path_style: true,
        ..RawS3::default()
    };
    let variables = [
        ("AWS_ACCESS_KEY_ID", server.access_key()),
        ("AWS_SECRET_ACCESS_KEY", server.secret_key()),
        ("INFERENCE_PROGRESS__COMMIT_INTERVAL", "100ms"),
    ];
    stage.worker_at(place, s3, &variables).await
}

/// How many records the newest committed batch behind `from` says to be processed, and that batch.
async fn processed(server: &S3Server, mut from: BatchId) -> (BatchId, i64) {
    let key = |batch: BatchId, folder| format!("ner/{}", batch.key(folder));
    while server
        .get(BUCKET, &key(from.next(), COMMITS))
        .await
        .unwrap()
        .is_some()
    {
        from = from.next();
    }
    let plan = server.get(BUCKET, &key(from, OFFSETS)).await.unwrap();
    let offsets = plan.map(|plan| OffsetLog::parse(&plan).unwrap().offsets());
    let rows = offsets
        .iter()
        .flat_map(|offsets| offsets.iter().map(|(_, _, position)| position));
    (from, rows.sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_in_a_bucket_survives_kills_and_an_outage_of_the_store() {
    let mut server = S3Server::start().await.unwrap();
    server.create_bucket(BUCKET).await.unwrap();
    let stage = Stage::new("s3", 2).await;
    let mut seen = (BatchId(-1), 0);
    for life in 0..KILLS {
        let mut worker = worker(&stage, &server).await;
        stage.produce(texts(life * ROUND..(life + 1) * ROUND)).await;
        let advanced = until(PATIENCE, async || {
            let now = processed(&server, seen.0).await;
            (now.0 > seen.0).then_some(now)
        });
        let now = advanced.await.unwrap_or_else(|| panic!("{}", worker.log()));
        assert!(now.1 >= seen.1, "the checkpoint went back");
        seen = now;
        worker.kill().unwrap();
    }
    let mut worker = worker(&stage, &server).await;
    worker.ready().await.unwrap();
    server.stop().await.unwrap();
    stage.produce(texts(KILLS * ROUND..(KILLS + 1) * ROUND)).await;
    let unready = until(PATIENCE, async || {
        let (_, page) = worker.get("/readyz?verbose").await?;
        page.contains("[-]progress: the checkpoint cannot be written")
            .then_some(())
    });
    unready.await.unwrap_or_else(|| panic!("{}", worker.log()));
    server.restart().await.unwrap();
    let all = (KILLS + 1) * ROUND;
    let results = stage.results((0..all).map(key)).await;
    assert_eq!(counts(&results).len(), all);
    let settled = until(PATIENCE, async || {
        let (_, rows) = processed(&server, seen.0).await;
        (rows == i64::try_from(all).unwrap()).then_some(())
    });
    settled.await.unwrap_or_else(|| panic!("{}", worker.log()));
    worker.stop().await.unwrap();
}

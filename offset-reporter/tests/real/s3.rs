//! Checkpoints on real S3 servers.

use checkpoint::RawS3;
use testbed::{Moto, S3Server};

use crate::stage::Stage;

const QUERY: &str = r#"{"id":"1f3a99c2-0195-4220-ade2-7cf05b9724bc"}"#;

fn table(s3: &RawS3) -> String {
    format!("[s3]\n{}", toml::to_string(s3).unwrap())
}

fn at(endpoint: &str) -> RawS3 {
    RawS3 {
        endpoint: Some(endpoint.to_owned()),
        path_style: true,
        ..RawS3::default()
    }
}

fn plan(topic: &str, offset: i64) -> String {
    format!("v1\n{{\"batchTimestampMs\":1}}\n{{\"{topic}\":{{\"0\":{offset}}}}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_in_seaweedfs_is_followed_and_its_requests_are_counted() {
    let stage = Stage::new().await;
    stage.topic("weed", 1, 50).await;
    let server = S3Server::start().await.unwrap();
    server.create_bucket("bucket").await.unwrap();
    let put =
        async |key: &str, content: String| server.put("bucket", &format!("c/{key}"), content).await.unwrap();
    put("metadata", QUERY.to_owned()).await;
    for batch in 8..=10 {
        put(&format!("offsets/{batch}"), plan("weed", batch)).await;
        put(&format!("commits/{batch}"), "v1\n{}".to_owned()).await;
    }
    let variables = [
        ("AWS_ACCESS_KEY_ID", server.access_key()),
        ("AWS_SECRET_ACCESS_KEY", server.secret_key()),
    ];
    let stream = "[[streams]]\nname = \"weed-group\"\ncheckpoint = \"s3a://bucket/c\"\n";
    let process = stage.reporter_of(&(table(&at(server.endpoint())) + stream), &variables);
    stage.comes_to_have(&process, "weed-group", ("weed", 0), 10).await;
    put("offsets/11", plan("weed", 33)).await;
    put("commits/11", "v1\n{}".to_owned()).await;
    stage.comes_to_have(&process, "weed-group", ("weed", 0), 33).await;
    let (_, page) = process.get("/metrics").await.unwrap();
    for labels in [
        r#"{code="200",op="list"}"#,
        r#"{code="404",op="get"}"#,
        r#"{code="200",op="get"}"#,
    ] {
        assert!(
            page.contains(&format!("offset_reporter_storage_requests_total{labels}")),
            "{page}"
        );
    }
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_and_a_key_that_is_wrong_are_named_and_block_no_other_stream() {
    let stage = Stage::new().await;
    stage.topic("named", 1, 50).await;
    let server = S3Server::start().await.unwrap();
    server.create_bucket("bucket").await.unwrap();
    let mut local = crate::stage::Written::at(stage.path("c")).await;
    local.commit(&[("named", 0, 7)]).await;
    let streams = format!(
        "[[streams]]\nname = \"good\"\ncheckpoint = '{}'\n[[streams]]\nname = \"lost\"\ncheckpoint = \"s3://nowhere/c\"\n",
        stage.path("c").display()
    );
    let right = [
        ("AWS_ACCESS_KEY_ID", server.access_key()),
        ("AWS_SECRET_ACCESS_KEY", server.secret_key()),
    ];
    let wrong = [
        ("AWS_ACCESS_KEY_ID", "nobody"),
        ("AWS_SECRET_ACCESS_KEY", "nothing"),
    ];
    for (variables, expected) in [(right, "NoSuchBucket"), (wrong, "check the credentials")] {
        let process = stage.reporter_of(&(table(&at(server.endpoint())) + &streams), &variables);
        stage.comes_to_have(&process, "good", ("named", 0), 7).await;
        stage
            .comes_to_tell(&process, "offset_reporter_failures_total", 1.0)
            .await;
        let (_, page) = process.get("/readyz?verbose").await.unwrap();
        assert!(
            page.contains("[-]stream lost") && page.contains("s3://nowhere/c"),
            "{page}"
        );
        assert!(page.contains(expected), "{page}");
        process.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_in_moto_is_followed() {
    let stage = Stage::new().await;
    stage.topic("moto", 1, 50).await;
    let moto = Moto::start().await.unwrap();
    moto.create_bucket("bucket").await.unwrap();
    for (key, content) in [
        ("c/metadata", QUERY.to_owned()),
        ("c/offsets/0", plan("moto", 21)),
        ("c/commits/0", "v1\n{}".to_owned()),
    ] {
        moto.put("bucket", key, content).await.unwrap();
    }
    let stream = "[[streams]]\nname = \"moto-group\"\ncheckpoint = \"s3://bucket/c\"\n";
    let variables = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
    let process = stage.reporter_of(&(table(&at(moto.endpoint())) + stream), &variables);
    stage.comes_to_have(&process, "moto-group", ("moto", 0), 21).await;
    process.stop().await.unwrap();
}

//! Each peer starts and answers.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod checkpoints;
mod spark;

use std::time::Duration;

use kafka_admin::{Admin, Topic, TopicPartition};
use kafka_io::{Compression, Outgoing};
use testbed::{
    FaultProxy, GroupRow, Kafka, KafkaSettings, Moto, Prometheus, Pushgateway, S3Server, TopicAdmin,
    commit_offsets, connection, consume, consumer_groups, produce, until,
};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn an_s3_server_keeps_objects_over_a_restart() {
    let mut s3 = S3Server::start().await.unwrap();
    s3.create_bucket("checkpoints").await.unwrap();
    s3.put("checkpoints", "query/commits/0", "v1\n{}").await.unwrap();
    s3.stop().await.unwrap();
    s3.restart().await.unwrap();
    assert_eq!(
        s3.get("checkpoints", "query/commits/0").await.unwrap().unwrap(),
        b"v1\n{}"
    );
    assert_eq!(s3.list("checkpoints", "query/commits").await.unwrap(), ["0"]);
    assert!(s3.list("checkpoints", "query/offsets").await.unwrap().is_empty());
    s3.delete("checkpoints", "query/").await.unwrap();
    assert_eq!(s3.get("checkpoints", "query/commits/0").await.unwrap(), None);
    let unsigned = reqwest::get(format!("{}/checkpoints", s3.endpoint()))
        .await
        .unwrap();
    assert_eq!(unsigned.status(), reqwest::StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn moto_keeps_objects() {
    let moto = Moto::start().await.unwrap();
    moto.create_bucket("checkpoints").await.unwrap();
    moto.put("checkpoints", "query/commits/0", "v1\n{}")
        .await
        .unwrap();
    assert_eq!(
        moto.get("checkpoints", "query/commits/0").await.unwrap(),
        b"v1\n{}"
    );
    assert!(moto.get("checkpoints", "query/commits/1").await.is_err());
}

#[tokio::test]
async fn a_pushgateway_forgets_at_a_restart_and_prometheus_scrapes_it() {
    let mut gateway = Pushgateway::start(&[]).await.unwrap();
    let target = gateway.url().trim_start_matches("http://");
    let config = format!(
        "scrape_configs: [{{job_name: gateway, honor_labels: true, static_configs: [{{targets: ['{target}']}}]}}]"
    );
    let prometheus = Prometheus::start(&config, &[]).await.unwrap();
    assert_eq!(gateway.push("job/other", "answer 42\n").await.unwrap().0, 200);
    assert_eq!(gateway.push("job/other", "answer null\n").await.unwrap().0, 400);
    assert_eq!(gateway.groups().await.unwrap()[0]["labels"]["job"], "other");
    let found = until(PATIENCE, async || prometheus.query("answer").await.unwrap().pop()).await;
    let (labels, value) = found.unwrap();
    assert_eq!((labels["job"].as_str(), value), ("other", 42.0));
    gateway.stop().await.unwrap();
    gateway.restart().await.unwrap();
    assert!(gateway.groups().await.unwrap().is_empty());
    let gone = async || prometheus.query("answer").await.unwrap().is_empty().then_some(());
    assert!(until(PATIENCE, gone).await.is_some());
}

#[tokio::test]
async fn kafkas_own_tool_describes_a_group() {
    let kafka = kafka_with_records("in", 3).await;
    let servers = kafka.bootstrap_servers();
    let admin = Admin::new(&connection(servers).unwrap());
    let committed = [(TopicPartition::new("in", 0), 1)];
    commit_offsets(&admin, "reporter", &committed, "").await.unwrap();
    let row = GroupRow {
        topic: "in".to_owned(),
        partition: 0,
        current_offset: Some(1),
        log_end_offset: Some(3),
        lag: Some(2),
        consumer: None,
    };
    assert_eq!(consumer_groups(servers, "reporter").await.unwrap(), [row]);
    assert_eq!(consumer_groups(servers, "nobody").await.unwrap(), []);
}

#[tokio::test]
async fn a_broker_behind_a_proxy_is_reached_through_it_alone_and_survives_being_killed() {
    let proxy = FaultProxy::start().unwrap();
    let settings = KafkaSettings {
        advertised_port: Some(proxy.address().port()),
        ..KafkaSettings::default()
    };
    let mut kafka = Kafka::start(&settings).await.unwrap();
    assert_eq!(kafka.bootstrap_servers(), proxy.address().to_string());
    proxy.forward_to(kafka.listener());
    let connection = connection(kafka.bootstrap_servers()).unwrap();
    let topic = Topic::from("in");
    let topics = TopicAdmin::new(&connection).unwrap();
    topics.create(&topic, 1).await.unwrap();
    let megabyte = || Outgoing {
        topic: topic.clone(),
        key: None,
        value: Some(vec![b'a'; 900_000]),
        headers: Vec::new(),
    };
    produce(&connection, Compression::None, [megabyte()])
        .await
        .unwrap();
    assert!(proxy.counts().request_bytes > 900_000, "{:?}", proxy.counts());
    kafka.kill().await.unwrap();
    kafka.restart().await.unwrap();
    // The connections that stood belong to the broker that was killed.
    assert_eq!(kafka.bootstrap_servers(), proxy.address().to_string());
    let mut found = consume(&connection, &topic, 1).unwrap();
    let records = found.take(PATIENCE, |records| records.len() == 1).await.unwrap();
    assert_eq!(records[0].offset, 0);
    assert!(proxy.counts().answer_bytes > 900_000, "{:?}", proxy.counts());
}

/// A broker with a topic of one partition and so many records.
async fn kafka_with_records(topic: &str, records: usize) -> Kafka {
    let kafka = Kafka::start(&KafkaSettings::default()).await.unwrap();
    let connection = connection(kafka.bootstrap_servers()).unwrap();
    let topic = Topic::from(topic);
    let topics = TopicAdmin::new(&connection).unwrap();
    topics.create(&topic, 1).await.unwrap();
    let record = Outgoing {
        topic,
        key: None,
        value: Some(b"record".to_vec()),
        headers: Vec::new(),
    };
    produce(&connection, Compression::None, vec![record; records])
        .await
        .unwrap();
    kafka
}

//! The adapters against Apache Kafka itself: Java 17, Maven; see `scripts/kafka`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot set itself up has failed"
)]

#[path = "../support/kafka.rs"]
mod kafka;
mod secured;
mod tokens;

use std::time::Duration;

use kafka_admin::{Admin, Connection, Partition, SecurityProtocol, Topic, TopicId, TopicPartition};
use kafka_io::{
    Consumer, DeliveryError, Event, GroupProtocol, Membership, Producer, ProducerSettings, Start,
    StartWithout,
};
use testbed::{Kafka, KafkaSettings, TopicAdmin, commit_offsets};
use tokio::time::Instant;

use crate::kafka::{
    PATIENCE, assert_late_drain_is_a_loss, assert_told, assigned, connection, delivered, member, next,
    next_record, out_of_range, produce, record, secured, settings,
};

/// The broker takes batches of this size.
const MAX_BYTES: usize = 100_000;

async fn with_topic(broker: &Kafka, partitions: i32) -> (Connection, TopicAdmin, Topic) {
    let connection = connection(broker.bootstrap_servers());
    let topics = TopicAdmin::new(&connection).unwrap();
    let topic = Topic::from("topic");
    topics.create(&topic, partitions).await.unwrap();
    (connection, topics, topic)
}

async fn plain() -> Kafka {
    let settings = KafkaSettings {
        properties: vec![("message.max.bytes".to_owned(), MAX_BYTES.to_string())],
        ..KafkaSettings::default()
    };
    Kafka::start(&settings).await.unwrap()
}

async fn create(topics: &TopicAdmin, topic: &Topic, partitions: i32) {
    // A topic that is being deleted is there for a while.
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = topics.create(topic, partitions).await {
        assert!(Instant::now() < deadline, "{error}");
    }
}

async fn topic_id(admin: &Admin, topic: &Topic) -> Option<TopicId> {
    let described = admin.describe_topics(std::slice::from_ref(topic)).await.unwrap();
    described
        .into_iter()
        .find_map(|(_, described)| described.ok()?.id)
}

#[tokio::test]
async fn a_topic_that_is_made_anew_or_cut_stops_its_readers_and_has_another_id() {
    let broker = plain().await;
    let (connection, topics, topic) = with_topic(&broker, 1).await;
    let admin = Admin::new(&connection);
    let before = topic_id(&admin, &topic).await;
    assert!(before.is_some());
    produce(&connection, &topic, &["a", "b", "c", "d"]).await;
    let start = [(Partition(0), Start::At(0))];
    let (consumer, mut events) = Consumer::assigned(&connection, &topic, &start).unwrap();
    while !matches!(next(&mut events).await, Event::EndOfPartition(_)) {}
    topics.delete(&topic).await.unwrap();
    create(&topics, &topic, 1).await;
    produce(&connection, &topic, &["e", "f"]).await;
    out_of_range(&mut events).await;
    let after = topic_id(&admin, &topic).await;
    assert!(after.is_some() && after != before, "{before:?} {after:?}");
    assert_eq!(topic_id(&admin, &Topic::from("nowhere")).await, None);
    consumer.restart(&[(Partition(0), Start::Without(StartWithout::Earliest))]);
    assert_eq!(next_record(&mut events).await.value.as_deref(), Some(&b"e"[..]));
    consumer.close().await;

    topics.delete_records(&topic, Partition(0), 1).await.unwrap();
    let (consumer, mut events) = Consumer::assigned(&connection, &topic, &start).unwrap();
    out_of_range(&mut events).await;
    consumer.close().await;
}

#[tokio::test]
async fn members_begin_at_the_commit_or_where_they_are_told() {
    let broker = plain().await;
    let (connection, _topics, topic) = with_topic(&broker, 2).await;
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let group = format!("{protocol:?}");
        let committed = [(TopicPartition::new("topic", 0), 0)];
        let admin = Admin::new(&connection);
        commit_offsets(&admin, &group, &committed, "").await.unwrap();
        let member = Membership {
            protocol,
            start: StartWithout::Latest,
            ..member(&group)
        };
        let (consumer, mut events) = Consumer::subscribed(&connection, &topic, &member).unwrap();
        let mut starts = Vec::new();
        while starts.len() < 2 {
            starts.extend(assigned(&consumer, &mut events).await);
        }
        starts.sort_unstable_by_key(|(partition, _)| *partition);
        assert_eq!(starts, [0, 1].map(|partition| (Partition(partition), 0)));
        consumer.commit(&[(Partition(1), 0)]).await.unwrap();
        // A restart in the middle of a group's life is no rebalance, and what is committed after it counts.
        consumer.restart(&[(Partition(1), Start::At(100))]);
        out_of_range(&mut events).await;
        consumer.restart(&[(Partition(1), Start::At(0))]);
        while !matches!(next(&mut events).await, Event::EndOfPartition(Partition(1))) {}
        consumer
            .commit(&[(Partition(0), 0), (Partition(1), 0)])
            .await
            .unwrap();
        consumer.close().await;
    }
}

#[tokio::test]
async fn a_late_drain_is_a_loss_with_both_protocols() {
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let broker = plain().await;
        let (connection, _topics, topic) = with_topic(&broker, 2).await;
        assert_late_drain_is_a_loss(&connection, &topic, protocol).await;
    }
}

#[tokio::test]
async fn the_broker_decides_what_is_too_large_and_the_innocent_can_be_sent_alone() {
    let broker = plain().await;
    let (connection, _topics, topic) = with_topic(&broker, 1).await;
    let company = ProducerSettings {
        linger: Duration::from_millis(200),
        ..settings()
    };
    let (producer, mut deliveries) = Producer::new(&connection, company).unwrap();
    // It is twice what the broker takes, and librdkafka's own limit, but not when it is compressed.
    producer
        .send(0, &record(&topic, "a", &"x".repeat(2_000_000)))
        .unwrap();
    assert_eq!(delivered(&mut deliveries).await.result, Ok(()));
    let records = [
        record(&topic, "a", "small"),
        record(&topic, "a", &noise(MAX_BYTES * 3 / 2)),
        record(&topic, "a", "small"),
    ];
    for (tag, record) in records.iter().enumerate() {
        producer.send(tag, record).unwrap();
    }
    for _ in &records {
        // All in the batch are refused with it.
        assert_eq!(
            delivered(&mut deliveries).await.result,
            Err(DeliveryError::TooLarge)
        );
    }
    for (tag, record) in records.iter().enumerate() {
        producer.send(tag, record).unwrap();
        let expected = if tag == 1 {
            Err(DeliveryError::TooLarge)
        } else {
            Ok(())
        };
        assert_eq!(delivered(&mut deliveries).await.result, expected, "{tag}");
    }
}

#[tokio::test]
async fn a_compacted_topic_takes_no_record_without_a_key() {
    let broker = plain().await;
    let (connection, topics, _topic) = with_topic(&broker, 1).await;
    let topic = Topic::from("compacted");
    let config = [("cleanup.policy", "compact")];
    topics.create_with(&topic, 1, &config).await.unwrap();
    let (producer, mut deliveries) = Producer::new(&connection, settings()).unwrap();
    let mut keyless = record(&topic, "a", "a");
    keyless.key = None;
    for (tag, (record, expected)) in [
        (record(&topic, "a", "a"), Ok(())),
        (keyless, Err(DeliveryError::Invalid)),
        (record(&topic, "a", "a"), Ok(())),
    ]
    .into_iter()
    .enumerate()
    {
        producer.send(tag, &record).unwrap();
        let delivery = delivered(&mut deliveries).await;
        assert_eq!((delivery.tag, delivery.result), (tag, expected));
    }
}

/// Text that does not become smaller by compression by more than a quarter.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let letters = (0..bytes).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b' ' + u8::try_from((state >> 33) % 94).unwrap_or_default())
    });
    letters.collect()
}

#[tokio::test]
async fn an_output_topic_that_is_deleted_is_named_soon() {
    let broker = plain().await;
    let (connection, topics, topic) = with_topic(&broker, 1).await;
    let patient = ProducerSettings {
        delivery_timeout: Duration::from_mins(5),
        ..settings()
    };
    let (producer, mut deliveries) = Producer::new(&connection, patient).unwrap();
    producer.send(0, &record(&topic, "a", "a")).unwrap();
    assert_eq!(delivered(&mut deliveries).await.result, Ok(()));
    topics.delete(&topic).await.unwrap();
    let begun = Instant::now();
    let failed = loop {
        if let Err(kafka_io::SendError::Refused(error)) = producer.send(1, &record(&topic, "a", "a")) {
            break error;
        }
        if let Err(error) = delivered(&mut deliveries).await.result {
            break error;
        }
    };
    assert_eq!(failed, DeliveryError::UnknownTopic("topic".to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn sasl_and_tls_against_a_plaintext_listener_are_named() {
    let broker = plain().await;
    let sasl = secured(
        broker.bootstrap_servers(),
        SecurityProtocol::SaslPlaintext,
        Some("secret"),
    );
    assert_told(&sasl, &["does not use SASL", "kafka.security.protocol"]).await;
    let tls = secured(broker.bootstrap_servers(), SecurityProtocol::Ssl, None);
    assert_told(&tls, &["the port does not speak TLS", "kafka.security.protocol"]).await;
}

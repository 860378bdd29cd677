//! Where records land, and what is said of those that do not arrive.

use std::time::Duration;

use kafka_admin::Partition;
use kafka_io::{Consumer, DeliveryError, Producer, ProducerSettings, Start, StartWithout};

use crate::kafka::{delivered, next_record, produce, record, settings};
use crate::mock;

/// Keys and what Kafka's own tests of its Java clients say of them (`UtilsTest.testMurmur2`).
const HASHES: [(&str, i32); 6] = [
    ("21", -973_932_308),
    ("foobar", -790_332_482),
    ("a-little-bit-long-string", -985_981_536),
    ("a-little-bit-longer-string", -1_486_304_829),
    ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
    ("abc", 479_470_107),
];

#[tokio::test]
async fn keys_land_where_java_clients_put_them() {
    const PARTITIONS: i32 = 31;
    let (_broker, connection, topic) = mock("output", PARTITIONS);
    produce(&connection, &topic, &HASHES.map(|(key, _)| key)).await;
    let start = Start::Without(StartWithout::Earliest);
    let all: Vec<_> = (0..PARTITIONS).map(|number| (Partition(number), start)).collect();
    let (consumer, mut events) = Consumer::assigned(&connection, &topic, &all).unwrap();
    for _ in HASHES {
        let read = next_record(&mut events).await;
        let (key, hash) = HASHES
            .into_iter()
            .find(|(key, _)| read.key.as_deref() == Some(key.as_bytes()))
            .unwrap();
        assert_eq!(read.partition.0, (hash & i32::MAX) % PARTITIONS, "{key}");
    }
    consumer.close().await;
}

#[tokio::test]
async fn a_record_is_not_too_large_before_the_broker_says_so() {
    let (broker, connection, topic) = mock("output", 1);
    let (producer, mut deliveries) = Producer::new(&connection, settings()).unwrap();
    // Above librdkafka's own limit of 1,000,000 bytes.
    let large = record(&topic, "a", &"x".repeat(3_000_000));
    producer.send(1, &large).unwrap();
    assert_eq!(delivered(&mut deliveries).await.result, Ok(()));
    broker.refuse_batches(1);
    producer.send(2, &large).unwrap();
    let refused = delivered(&mut deliveries).await;
    assert_eq!((refused.tag, refused.result), (2, Err(DeliveryError::TooLarge)));
    producer.send(3, &large).unwrap();
    assert_eq!(
        delivered(&mut deliveries).await.result,
        Ok(()),
        "the next one is tried anew"
    );
}

#[tokio::test]
async fn a_topic_that_is_gone_is_named_long_before_the_delivery_times_out() {
    let (broker, connection, topic) = mock("output", 1);
    let patient = ProducerSettings {
        delivery_timeout: Duration::from_mins(5),
        ..settings()
    };
    let (producer, mut deliveries) = Producer::new(&connection, patient).unwrap();
    broker.hide_topic(topic.as_str()).unwrap();
    producer.send(1, &record(&topic, "a", "a")).unwrap();
    let failed = delivered(&mut deliveries).await.result.unwrap_err();
    assert_eq!(failed, DeliveryError::UnknownTopic("output".to_owned()));
    assert!(failed.to_string().contains("output"), "{failed}");
}

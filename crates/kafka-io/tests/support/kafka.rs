//! What the tests of this crate have in common: connections, records, and events that come in time.

use std::time::Duration;

use kafka_admin::{Admin, Connection, Partition, RawKafka, SaslMechanism, SecurityProtocol, Topic};
use kafka_io::{
    CommitError, Compression, Consumer, Delivery, Event, GroupProtocol, Header, Membership, Outgoing,
    Producer, ProducerSettings, Record, Start, StartWithout,
};
use sidecar::Problems;
use testbed::group_offset;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// How long anything may take here; the mock delays a group's first rebalance by three seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn connection(bootstrap_servers: &str) -> Connection {
    let raw = RawKafka {
        bootstrap_servers: bootstrap_servers.to_owned(),
        ..RawKafka::default()
    };
    kafka_io::check(raw, &mut Problems::new()).unwrap()
}

pub(crate) fn settings() -> ProducerSettings {
    ProducerSettings {
        linger: Duration::ZERO,
        compression: Compression::Lz4,
        delivery_timeout: PATIENCE,
        in_flight: 1000,
    }
}

pub(crate) fn record(topic: &Topic, key: &str, value: &str) -> Outgoing {
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    Outgoing {
        topic: topic.clone(),
        key: bytes(key),
        value: bytes(value),
        headers: vec![Header {
            name: "traceparent".into(),
            value: bytes(key),
        }],
    }
}

pub(crate) async fn produce(connection: &Connection, topic: &Topic, values: &[&str]) {
    let (producer, mut deliveries) = Producer::new(connection, settings()).unwrap();
    for (tag, value) in values.iter().enumerate() {
        producer.send(tag, &record(topic, value, value)).unwrap();
    }
    for _ in values {
        timeout(PATIENCE, deliveries.recv())
            .await
            .unwrap()
            .unwrap()
            .result
            .unwrap();
    }
}

pub(crate) async fn next(events: &mut Receiver<Event>) -> Event {
    timeout(PATIENCE, events.recv())
        .await
        .expect("an event in time")
        .expect("the consumer lives")
}

pub(crate) async fn next_record(events: &mut Receiver<Event>) -> Record {
    let found = async {
        loop {
            if let Event::Record(record) = next(events).await {
                return record;
            }
        }
    };
    timeout(PATIENCE, found).await.expect("a record in time")
}

pub(crate) fn member(group: &str) -> Membership {
    Membership {
        group: group.to_owned(),
        instance_id: None,
        protocol: GroupProtocol::Classic,
        start: StartWithout::Earliest,
        session_timeout: Duration::from_secs(10),
        max_poll_interval: Duration::from_mins(1),
        drain_timeout: Duration::from_secs(20),
    }
}

/// The next partitions that are assigned, accepted, and where reading of them began.
pub(crate) async fn assigned(consumer: &Consumer, events: &mut Receiver<Event>) -> Vec<(Partition, i64)> {
    loop {
        match next(events).await {
            Event::Assigned(partitions) => {
                let starts = consumer.accept(&partitions);
                if !starts.is_empty() {
                    return starts;
                }
            }
            Event::Failed(why) => panic!("{why}"),
            _ => {}
        }
    }
}

pub(crate) fn secured(servers: &str, protocol: SecurityProtocol, password: Option<&str>) -> Connection {
    let mut raw = RawKafka {
        bootstrap_servers: servers.to_owned(),
        ..RawKafka::default()
    };
    raw.security.protocol = protocol;
    if let Some(password) = password {
        raw.security.sasl_mechanism = Some(SaslMechanism::Plain);
        raw.security.username = Some("user".to_owned());
        raw.security.password = Some(password.into());
    }
    let mut problems = Problems::new();
    Connection::check(raw, &mut problems).unwrap_or_else(|| panic!("{problems}"))
}

/// What a consumer and a question are told: the consumer once the reason is known, the question at once and again later.
pub(crate) async fn assert_told(connection: &Connection, words: &[&str]) {
    let topic = Topic::from("input");
    let start = [(Partition(0), Start::At(0))];
    let (consumer, mut events) = Consumer::assigned(connection, &topic, &start).unwrap();
    let mut told = Vec::new();
    loop {
        if let Event::Disconnected(why) = next(&mut events).await {
            let is_it = words.iter().all(|word| why.contains(word));
            told.push(why);
            if is_it {
                break;
            }
            assert!(told.len() < 4, "{words:?} was never told: {told:?}");
        }
    }
    consumer.close().await;
}

/// The first of two members does not drain in time: it loses the partition, and its late commit does not touch what the
/// second one, which has it now, committed. The topic has two partitions.
pub(crate) async fn assert_late_drain_is_a_loss(
    connection: &Connection,
    topic: &Topic,
    protocol: GroupProtocol,
) {
    let slow = Membership {
        drain_timeout: Duration::from_millis(200),
        protocol,
        ..member("group")
    };
    let (first, mut events) = Consumer::subscribed(connection, topic, &slow).unwrap();
    assert_eq!(assigned(&first, &mut events).await.len(), 2);
    let (second, mut second_events) = Consumer::subscribed(connection, topic, &slow).unwrap();
    let (revoked, _never_drained) = loop {
        if let Event::Revoking(partitions, revocation) = next(&mut events).await {
            break (partitions, revocation);
        }
    };
    let lost = loop {
        if let Event::Lost(partitions) = next(&mut events).await {
            break partitions;
        }
    };
    assert_eq!(lost, revoked);
    let given = assigned(&second, &mut second_events).await;
    assert!(given.iter().map(|(partition, _)| partition).eq(&revoked));
    second.commit(&[(revoked[0], 7)]).await.unwrap();
    let kept = Partition(1 - revoked[0].0);
    let refused = first.commit(&[(revoked[0], 3), (kept, 4)]).await.unwrap_err();
    assert_eq!(refused, CommitError::NotOurs(revoked.clone()));
    let admin = Admin::new(connection);
    for (partition, offset) in [(revoked[0], 7), (kept, 4)] {
        let committed = group_offset(&admin, "group", &topic.partition(partition.0)).await;
        assert_eq!(committed, Ok(Some(offset)));
    }
    first.close().await;
    second.close().await;
}

pub(crate) async fn out_of_range(events: &mut Receiver<Event>) {
    loop {
        match next(events).await {
            Event::OutOfRange => return,
            Event::Record(record) => panic!("a record of {} came", record.offset),
            Event::Failed(why) => panic!("{why}"),
            _ => {}
        }
    }
}

pub(crate) async fn delivered(deliveries: &mut Receiver<Delivery>) -> Delivery {
    timeout(PATIENCE, deliveries.recv()).await.unwrap().unwrap()
}

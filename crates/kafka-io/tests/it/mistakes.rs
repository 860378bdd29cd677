//! What is said of a cluster that is not what the configuration says: the first good reason, and the setting to change.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use kafka_admin::{Partition, SecurityProtocol, Topic};
use kafka_io::{Consumer, Event, Start};

use crate::kafka::{assert_told, connection, next, secured};
use crate::mock;

/// A port whose every connection is answered so, after its first bytes, and closed.
fn server(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let _read = connection.read(&mut [0; 512]);
            let _written = connection.write_all(answer);
        }
    });
    address
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_told_with_its_address() {
    let start = [(Partition(0), Start::At(0))];
    let (consumer, mut events) =
        Consumer::assigned(&connection("127.0.0.1:1"), &Topic::from("input"), &start).unwrap();
    let why = loop {
        if let Event::Disconnected(why) = next(&mut events).await {
            break why;
        }
    };
    assert!(
        why.contains("127.0.0.1:1") && why.contains("kafka.bootstrap_servers"),
        "{why}"
    );
    consumer.close().await;
}

#[tokio::test]
async fn an_outage_is_told_at_its_beginning_and_its_end() {
    let (broker, connection, topic) = mock("input", 1);
    let (consumer, mut events) =
        Consumer::assigned(&connection, &topic, &[(Partition(0), Start::At(0))]).unwrap();
    while !matches!(next(&mut events).await, Event::Connected) {}
    broker.take_down(1).unwrap();
    while !matches!(next(&mut events).await, Event::Disconnected(_)) {}
    broker.bring_up(1).unwrap();
    while !matches!(next(&mut events).await, Event::Connected) {}
    consumer.close().await;
}

#[tokio::test]
async fn a_port_that_speaks_http_is_named() {
    let server = server(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_told(
        &connection(&server),
        &[&server, "\"HTTP\"", "kafka.bootstrap_servers"],
    )
    .await;
}

#[tokio::test]
async fn a_port_that_speaks_tls_is_named() {
    // The alert "protocol version", and nothing at all, as Kafka does.
    for answer in [&[0x15, 3, 3, 0, 2, 2, 70][..], b""] {
        let server = server(answer);
        assert_told(
            &connection(&server),
            &[&server, "may expect TLS", "kafka.security.protocol"],
        )
        .await;
    }
}

#[tokio::test]
async fn tls_against_a_port_without_it_is_named() {
    let (broker, ..) = mock("input", 1);
    let connection = secured(&broker.bootstrap_servers(), SecurityProtocol::Ssl, None);
    assert_told(
        &connection,
        &["the port does not speak TLS", "kafka.security.protocol"],
    )
    .await;
}

#[tokio::test]
async fn an_outage_is_counted_as_trouble() {
    let (broker, connection, topic) = mock("input", 1);
    let start = [(Partition(0), Start::At(0))];
    let (consumer, mut events) = Consumer::assigned(&connection, &topic, &start).unwrap();
    while !matches!(next(&mut events).await, Event::Connected) {}
    broker.take_down(1).unwrap();
    loop {
        if let Event::Trouble(what) = next(&mut events).await {
            assert!(what.contains("kafka.bootstrap_servers"), "{what}");
            break;
        }
    }
    consumer.close().await;
}

//! Settings that do not fit the port: each is named, within the time of a connection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kafka_admin::{
    Admin, Connection, RawKafka, RawSecurity, Refusal, RefusalKind, SaslMechanism, SecurityProtocol,
};
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{ApiKey, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use sidecar::Problems;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::cluster::NEW;
use crate::fake::{Fake, Reaction};
use crate::issuer::server_config;

const CONNECT: Duration = Duration::from_secs(2);

fn admin(servers: &str, security: RawSecurity) -> Admin {
    let mut raw = RawKafka {
        bootstrap_servers: servers.to_owned(),
        security,
        ..RawKafka::default()
    };
    let milliseconds = CONNECT.as_millis().to_string();
    raw.properties
        .insert("socket.connection.setup.timeout.ms", milliseconds);
    let mut problems = Problems::new();
    let connection = Connection::check(raw, &mut problems);
    Admin::new(&connection.unwrap_or_else(|| panic!("{problems}")))
}

/// The refusal, which comes within the time of a connection and names the address.
async fn refused(servers: &str, security: RawSecurity) -> Refusal {
    let begun = Instant::now();
    let refusal = admin(servers, security).cluster().await.unwrap_err();
    assert!(
        begun.elapsed() < CONNECT + Duration::from_millis(500),
        "{refusal}"
    );
    assert!(refusal.reason.starts_with(&format!("{servers}: ")), "{refusal}");
    refusal
}

fn tls(ca_file: Option<&Path>) -> RawSecurity {
    RawSecurity {
        protocol: SecurityProtocol::Ssl,
        ca_file: ca_file.map(Path::to_owned),
        ..RawSecurity::default()
    }
}

/// A port with TLS for 127.0.0.1, its authority's certificate, and what keeps it.
async fn tls_port() -> (u16, tempfile::NamedTempFile, JoinSet<()>) {
    let (config, authority) = server_config();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, port) = Fake::listen().await;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                drop(stream.read(&mut [0; 100]).await);
            }
        }
    });
    (port, file, tasks)
}

#[tokio::test]
async fn plaintext_settings_at_a_port_of_tls_name_the_protocol() {
    let (port, _authority, _tasks) = tls_port().await;
    let servers = format!("127.0.0.1:{port}");
    let sasl = RawSecurity {
        protocol: SecurityProtocol::SaslPlaintext,
        sasl_mechanism: Some(SaslMechanism::Plain),
        username: Some("user".to_owned()),
        password: Some("right".into()),
        ..RawSecurity::default()
    };
    for security in [RawSecurity::default(), sasl] {
        let refusal = refused(&servers, security).await;
        let advice = "the port uses TLS: set kafka.security.protocol to \"ssl\" or \"sasl_ssl\"";
        assert!(refusal.reason.contains(advice), "{refusal}");
    }
}

#[tokio::test]
async fn tls_settings_at_a_plaintext_port_name_the_protocol() {
    let (_port, authority, _tasks) = tls_port().await;
    // Kafka takes the beginning of the handshake for a size, and closes; another server waits, or answers in its own protocol.
    for reaction in [None, Some(""), Some("HTTP/1.1 400 Bad Request\r\n\r\n")] {
        let (listener, port) = Fake::listen().await;
        let mut tasks = JoinSet::new();
        tasks.spawn(plaintext(listener, reaction));
        let refusal = refused(&format!("127.0.0.1:{port}"), tls(Some(authority.path()))).await;
        let advice = "the port does not use TLS: set kafka.security.protocol to \"plaintext\"";
        assert!(refusal.reason.contains(advice), "{reaction:?}: {refusal}");
    }
}

/// `None` waits.
async fn plaintext(listener: TcpListener, answer: Option<&'static str>) {
    let mut kept = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        drop(stream.read(&mut [0; 1000]).await);
        match answer {
            Some(answer) => {
                drop(tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await);
            }
            None => kept.push(stream),
        }
    }
}

#[tokio::test]
async fn an_unknown_authority_and_another_host_are_named() {
    let (port, authority, _tasks) = tls_port().await;
    let (_config, other) = server_config();
    let other_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(other_file.path(), other).unwrap();
    for ca_file in [None, Some(other_file.path())] {
        let refusal = refused(&format!("127.0.0.1:{port}"), tls(ca_file)).await;
        assert!(
            refusal
                .reason
                .contains("not signed by a known authority: check kafka.security.ca_file"),
            "{refusal}"
        );
    }
    let refusal = refused(&format!("localhost:{port}"), tls(Some(authority.path()))).await;
    assert!(
        refusal
            .reason
            .contains("the broker's certificate is for another host: check kafka.bootstrap_servers"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_named() {
    let refusal = refused("nowhere.invalid:9092", RawSecurity::default()).await;
    assert_eq!(refusal.kind, RefusalKind::Passing);
    for part in ["cannot resolve nowhere.invalid", "check kafka.bootstrap_servers"] {
        assert!(refusal.reason.contains(part), "{refusal}");
    }
}

#[tokio::test]
async fn an_advertised_address_that_swallows_packets_is_named_in_time() {
    // Its queue of connections is full: a further one is not answered.
    let swallowing = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = swallowing.local_addr().unwrap().port();
    let mut waiting = JoinSet::new();
    for _ in 0..1000 {
        waiting.spawn(tokio::net::TcpStream::connect(("127.0.0.1", port)));
    }
    let fake = Fake::start(move |asked| match asked.key {
        ApiKey::ApiVersions => asked.versions(&[NEW.as_slice(), &[(ApiKey::ListGroups, 0, 5)]].concat()),
        ApiKey::Metadata => {
            let broker = MetadataResponseBroker::default()
                .with_node_id(3.into())
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(i32::from(port));
            asked.answer(&MetadataResponse::default().with_brokers(vec![broker]))
        }
        _ => Reaction::Hang,
    })
    .await;
    let begun = Instant::now();
    let groups = admin(&fake.servers(), RawSecurity::default())
        .list_groups()
        .await
        .unwrap();
    assert!(begun.elapsed() < CONNECT + Duration::from_millis(500));
    let refusal = groups[0].1.as_ref().unwrap_err();
    let expected = format!(
        "127.0.0.1:{port}: cannot connect: no connection within 2s; broker 3 advertises this address: check the broker's \
         advertised.listeners, and the network"
    );
    assert_eq!(refusal.reason, expected);
}

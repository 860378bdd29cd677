//! A broker with TLS, by an authority that nobody knows, and SASL.

use std::path::Path;

use kafka_admin::{Connection, Partition, RawKafka, RawSecurity, SaslMechanism, SecurityProtocol, Topic};
use kafka_io::{Consumer, Event, Start};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use sidecar::Problems;
use testbed::{Kafka, KafkaSettings};

use crate::kafka::{assert_told, connection, next, secured};

const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required;";

/// Writes an authority's certificate to `ca.pem`, and a broker's key and certificate to `broker.pem`.
fn certificates(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    let name = &mut authority.distinguished_name;
    name.push(DnType::CommonName, "an authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut broker = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    broker.distinguished_name.push(DnType::CommonName, "a broker");
    let broker = broker.signed_by(&key, &authority).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(folder.join("broker.pem"), key.serialize_pem() + &broker.pem()).unwrap();
}

fn with(broker: &Kafka, folder: &Path, password: &str, mechanism: SaslMechanism) -> Connection {
    let raw = RawKafka {
        bootstrap_servers: broker.bootstrap_servers().to_owned(),
        security: RawSecurity {
            protocol: SecurityProtocol::SaslSsl,
            ca_file: Some(folder.join("ca.pem")),
            sasl_mechanism: Some(mechanism),
            username: Some("user".to_owned()),
            password: Some(password.into()),
            ..RawSecurity::default()
        },
        ..RawKafka::default()
    };
    kafka_io::check(raw, &mut Problems::new()).unwrap()
}

#[tokio::test]
async fn each_mistake_with_a_secured_broker_names_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let keystore = folder.path().join("broker.pem");
    let properties = [
        (
            "listener.security.protocol.map",
            "CLIENT:SASL_SSL,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        ),
        ("sasl.enabled.mechanisms", "SCRAM-SHA-512"),
        ("listener.name.client.scram-sha-512.sasl.jaas.config", SCRAM),
        ("ssl.keystore.type", "PEM"),
        ("ssl.keystore.location", keystore.to_str().unwrap()),
    ];
    let settings = KafkaSettings {
        properties: properties
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec(),
        user: Some(("user".to_owned(), "right".to_owned())),
        ..KafkaSettings::default()
    };
    let broker = Kafka::start(&settings).await.unwrap();
    let scram = |password| with(&broker, folder.path(), password, SaslMechanism::ScramSha512);
    let start = [(Partition(0), Start::At(0))];
    let (consumer, mut events) =
        Consumer::assigned(&scram("right"), &Topic::from("nowhere"), &start).unwrap();
    while !matches!(next(&mut events).await, Event::Connected) {}
    consumer.close().await;
    assert_told(&scram("wrong"), &["kafka.security.password"]).await;
    let plain = with(&broker, folder.path(), "right", SaslMechanism::Plain);
    assert_told(&plain, &["kafka.security.sasl_mechanism"]).await;
    let unknown = secured(
        broker.bootstrap_servers(),
        SecurityProtocol::SaslSsl,
        Some("right"),
    );
    assert_told(&unknown, &["kafka.security.ca_file"]).await;
    assert_told(
        &connection(broker.bootstrap_servers()),
        &["may expect TLS", "kafka.security.protocol"],
    )
    .await;
}

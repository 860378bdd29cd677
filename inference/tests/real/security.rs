//! When the broker asks who we are: `SASL_SSL` with SCRAM-SHA-512 and a certificate authority of the test's own.

use std::path::Path;
use std::process::Command;

use kafka_admin::{RawKafka, RawSecurity, SaslMechanism, SecurityProtocol};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use testbed::{Kafka, until};

use crate::stage::{PATIENCE, Stage, key, program, settings, texts};

const USER: &str = "inference";
const PASSWORD: &str = "right-secret";

/// Writes an authority's certificate to `ca.pem`, and a broker's key and certificate by it to `broker.pem`.
fn certificates(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority
        .distinguished_name
        .push(DnType::CommonName, "authority of a test");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let broker_key = KeyPair::generate().unwrap();
    let mut broker = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    broker
        .distinguished_name
        .push(DnType::CommonName, "broker of a test");
    let broker = broker.signed_by(&broker_key, &authority).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(
        folder.join("broker.pem"),
        broker_key.serialize_pem() + &broker.pem(),
    )
    .unwrap();
}

async fn secured_broker(folder: &Path) -> Kafka {
    certificates(folder);
    let keystore = folder.join("broker.pem");
    let mut settings = settings();
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let properties = [
        (
            "listener.security.protocol.map",
            "CLIENT:SASL_SSL,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        ),
        ("sasl.enabled.mechanisms", "SCRAM-SHA-512"),
        ("listener.name.client.scram-sha-512.sasl.jaas.config", scram),
        ("ssl.keystore.type", "PEM"),
        ("ssl.keystore.location", keystore.to_str().unwrap()),
    ];
    settings
        .properties
        .extend(properties.map(|(key, value)| (key.to_owned(), value.to_owned())));
    settings.user = Some((USER.to_owned(), PASSWORD.to_owned()));
    Kafka::start(&settings).await.unwrap()
}

fn secured(servers: &str, folder: &Path) -> RawKafka {
    RawKafka {
        bootstrap_servers: servers.to_owned(),
        security: RawSecurity {
            protocol: SecurityProtocol::SaslSsl,
            ca_file: Some(folder.join("ca.pem")),
            sasl_mechanism: Some(SaslMechanism::ScramSha512),
            username: Some(USER.to_owned()),
            password: Some(PASSWORD.into()),
            ..RawSecurity::default()
        },
        ..RawKafka::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_with_tls_and_scram_takes_the_right_secret_and_a_wrong_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let kafka = secured_broker(folder.path()).await;
    let stage = Stage::on(secured(kafka.bootstrap_servers(), folder.path()), "secured", 1).await;
    let secret = |password| [("INFERENCE_KAFKA__SECURITY__PASSWORD", password)];

    let mut worker = stage.worker("checkpoint", &secret(PASSWORD)).await;
    worker.ready().await.unwrap();
    stage.produce(texts(0..100)).await;
    assert_eq!(stage.results((0..100).map(key)).await.len(), 100);
    worker.stop().await.unwrap();

    let wrong = stage.worker("checkpoint", &secret("wrong-secret")).await;
    let named = until(PATIENCE, async || {
        let (status, page) = wrong.get("/readyz?verbose").await?;
        (status == 503 && page.contains("check kafka.security.username, password")).then_some(())
    });
    named.await.unwrap_or_else(|| panic!("{}", wrong.log()));
    assert!(!wrong.log().contains("wrong-secret"), "a secret is never told");

    let checked = Command::new(program())
        .args(["check", "--connect"])
        // The default checkpoint is a folder there.
        .current_dir(folder.path())
        .env("INFERENCE_KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap_servers())
        .env("INFERENCE_KAFKA__SECURITY__PROTOCOL", "ssl")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(1));
    assert!(
        printed.contains("kafka.security.ca_file"),
        "an authority that is not known is named: {printed}"
    );
}

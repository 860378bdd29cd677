//! Brokers with TLS, by an authority that nobody knows, and SASL.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka_admin::{RawSecurity, Refusal, RefusalKind, SaslMechanism, SecurityProtocol};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use testbed::{Kafka, KafkaSettings};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::admin;

const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required user_user=\"right\";";
const TOKEN: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                     unsecuredLoginStringClaim_sub=\"user\";";
const TOKEN_CALLBACK: &str = "org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler";

/// Writes an authority's certificate to `ca.pem`, and keys and certificates of a broker and a client.
fn certificates(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    let name = &mut authority.distinguished_name;
    name.push(DnType::CommonName, "an authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    for (file, host) in [("broker", "127.0.0.1"), ("client", "client")] {
        let key = KeyPair::generate().unwrap();
        let mut certificate = CertificateParams::new(vec![host.to_owned()]).unwrap();
        certificate.distinguished_name.push(DnType::CommonName, file);
        let certificate = certificate.signed_by(&key, &authority).unwrap();
        std::fs::write(folder.join(format!("{file}.key")), key.serialize_pem()).unwrap();
        std::fs::write(folder.join(format!("{file}.crt")), certificate.pem()).unwrap();
        let both = key.serialize_pem() + &certificate.pem();
        std::fs::write(folder.join(format!("{file}.pem")), both).unwrap();
    }
}

async fn start(folder: &Path, protocol: &str, more: &[(String, &str)]) -> Kafka {
    let map = format!("CLIENT:{protocol},BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT");
    let file = |name| folder.join(name).display().to_string();
    let properties = [
        ("listener.security.protocol.map", map),
        ("ssl.keystore.type", "PEM".to_owned()),
        ("ssl.keystore.location", file("broker.pem")),
        ("ssl.truststore.type", "PEM".to_owned()),
        ("ssl.truststore.location", file("ca.pem")),
    ];
    let properties = properties.map(|(key, value)| (key.to_owned(), value));
    let more = more.iter().map(|(key, value)| (key.clone(), (*value).to_owned()));
    let settings = KafkaSettings {
        properties: properties.into_iter().chain(more).collect(),
        user: Some(("user".to_owned(), "right".to_owned())),
        ..KafkaSettings::default()
    };
    Kafka::start(&settings).await.unwrap()
}

/// Writes a token of an hour.
fn token(folder: &Path, subject: &str) {
    std::fs::write(folder.join("token"), unsigned(subject, 3600)).unwrap();
}

/// A token that says who one is and is not signed.
fn unsigned(subject: &str, seconds: u64) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let claims = format!(
        "{{\"sub\":\"{subject}\",\"iat\":{now},\"exp\":{}}}",
        now + seconds
    );
    let header = BASE64.encode("{\"alg\":\"none\"}");
    format!("{header}.{}.", BASE64.encode(claims))
}

fn with_password(folder: &Path, mechanism: SaslMechanism, password: &str) -> RawSecurity {
    RawSecurity {
        protocol: SecurityProtocol::SaslSsl,
        ca_file: Some(folder.join("ca.pem")),
        sasl_mechanism: Some(mechanism),
        username: Some("user".to_owned()),
        password: Some(password.into()),
        ..RawSecurity::default()
    }
}

async fn refused(broker: &Kafka, security: RawSecurity) -> Refusal {
    admin(broker.bootstrap_servers(), security)
        .cluster()
        .await
        .unwrap_err()
}

fn with_token(folder: &Path) -> RawSecurity {
    RawSecurity {
        protocol: SecurityProtocol::SaslSsl,
        ca_file: Some(folder.join("ca.pem")),
        sasl_mechanism: Some(SaslMechanism::OauthBearer),
        token_file: Some(folder.join("token")),
        ..RawSecurity::default()
    }
}

/// A broker with three mechanisms, whose sessions end after two seconds.
async fn with_mechanisms(folder: &Path) -> Kafka {
    let jaas = |mechanism: &str| format!("listener.name.client.{mechanism}.sasl.jaas.config");
    let properties = [
        (
            "sasl.enabled.mechanisms".to_owned(),
            "SCRAM-SHA-512,PLAIN,OAUTHBEARER",
        ),
        ("connections.max.reauth.ms".to_owned(), "2000"),
        (jaas("scram-sha-512"), SCRAM),
        (jaas("plain"), PLAIN),
        (jaas("oauthbearer"), TOKEN),
        (
            "listener.name.client.oauthbearer.sasl.server.callback.handler.class".to_owned(),
            TOKEN_CALLBACK,
        ),
    ];
    start(folder, "SASL_SSL", &properties).await
}

#[tokio::test]
async fn each_mechanism_logs_in_and_again_before_its_session_ends_and_each_mistake_names_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certificates(folder);
    token(folder, "user");
    let broker = with_mechanisms(folder).await;
    let admins = [
        with_password(folder, SaslMechanism::ScramSha512, "right"),
        with_password(folder, SaslMechanism::Plain, "right"),
        with_token(folder),
    ]
    .map(|security| admin(broker.bootstrap_servers(), security));
    // Longer than a session: a connection that does not log in again is closed.
    for _ in 0..8 {
        for admin in &admins {
            admin.cluster().await.unwrap();
        }
        sleep(Duration::from_millis(500)).await;
    }

    for mechanism in [SaslMechanism::ScramSha512, SaslMechanism::Plain] {
        let refusal = refused(&broker, with_password(folder, mechanism, "wrong")).await;
        assert_eq!(refusal.kind, RefusalKind::Denied, "{refusal}");
        assert!(
            refusal.reason.contains("kafka.security.username, password"),
            "{refusal}"
        );
    }
    std::fs::write(folder.join("token"), "no token").unwrap();
    let refusal = refused(&broker, with_token(folder)).await;
    assert_eq!(refusal.kind, RefusalKind::Denied, "{refusal}");
    let other = with_password(folder, SaslMechanism::ScramSha256, "right");
    let unknown = RawSecurity {
        ca_file: None,
        ..with_password(folder, SaslMechanism::Plain, "right")
    };
    for (security, advice) in [
        (with_token(folder), "token_file"),
        (other, "check kafka.security.sasl_mechanism"),
        (unknown, "kafka.security.ca_file"),
        (
            RawSecurity::default(),
            "set kafka.security.protocol to \"ssl\" or \"sasl_ssl\"",
        ),
    ] {
        let refusal = refused(&broker, security).await;
        assert!(refusal.reason.contains(advice), "{refusal}");
    }
}

#[tokio::test]
async fn a_client_shows_its_own_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certificates(folder);
    let broker = start(folder, "SSL", &[("ssl.client.auth".to_owned(), "required")]).await;
    let without = RawSecurity {
        protocol: SecurityProtocol::Ssl,
        ca_file: Some(folder.join("ca.pem")),
        ..RawSecurity::default()
    };
    let with = RawSecurity {
        certificate_file: Some(folder.join("client.crt")),
        key_file: Some(folder.join("client.key")),
        ..without.clone()
    };
    admin(broker.bootstrap_servers(), with).cluster().await.unwrap();
    let refusal = refused(&broker, without).await;
    assert!(
        refusal.reason.contains("kafka.security.certificate_file"),
        "{refusal}"
    );
    let host = broker.bootstrap_servers().replace("127.0.0.1", "localhost");
    let other_host = RawSecurity {
        protocol: SecurityProtocol::Ssl,
        ca_file: Some(folder.join("ca.pem")),
        certificate_file: Some(folder.join("client.crt")),
        key_file: Some(folder.join("client.key")),
        ..RawSecurity::default()
    };
    let refusal = admin(&host, other_host).cluster().await.unwrap_err();
    assert!(
        refusal.reason.contains("certificate is for another host"),
        "{refusal}"
    );
}

#[tokio::test]
async fn sasl_and_tls_against_a_plaintext_listener_are_named() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let broker = crate::start(&[]).await;
    let sasl = RawSecurity {
        protocol: SecurityProtocol::SaslPlaintext,
        ca_file: None,
        ..with_password(folder.path(), SaslMechanism::Plain, "right")
    };
    let refusal = refused(&broker, sasl).await;
    assert!(
        refusal.reason.contains("the listener does not use SASL"),
        "{refusal}"
    );
    let tls = RawSecurity {
        protocol: SecurityProtocol::Ssl,
        ca_file: Some(folder.path().join("ca.pem")),
        ..RawSecurity::default()
    };
    let refusal = refused(&broker, tls).await;
    assert!(refusal.reason.contains("the port does not use TLS"), "{refusal}");
}

/// Answers each request with a token of a few seconds, and counts them.
async fn issue(listener: tokio::net::TcpListener, issued: Arc<AtomicUsize>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    while let Ok((mut stream, _)) = listener.accept().await {
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        let body = format!(
            "{{\"access_token\":\"{}\",\"token_type\":\"Bearer\"}}",
            unsigned("user", 4)
        );
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        issued.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn tokens_of_an_endpoint_log_in_and_sessions_that_end_with_them_are_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certificates(folder);
    let broker = with_mechanisms(folder).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let issued = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    tasks.spawn(issue(listener, Arc::clone(&issued)));
    let security = RawSecurity {
        token_file: None,
        token_endpoint: Some(format!("http://127.0.0.1:{port}/token")),
        client_id: Some("me".to_owned()),
        client_secret: Some("hunter2".into()),
        extensions: [("logicalCluster".to_owned(), "lkc-1".to_owned())].into(),
        ..with_token(folder)
    };
    let admin = admin(broker.bootstrap_servers(), security);
    let begun = Instant::now();
    while issued.load(Ordering::Relaxed) < 3 {
        admin.cluster().await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20));
        sleep(Duration::from_millis(50)).await;
    }
}

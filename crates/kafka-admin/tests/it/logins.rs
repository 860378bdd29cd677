//! Logging in with SASL, and again before a session ends (KIP-368).

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use kafka_admin::{Admin, Connection, RawKafka, RawSecurity, RefusalKind, SaslMechanism, SecurityProtocol};
use kafka_protocol::messages::{
    ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;
use ring::{digest, hmac, pbkdf2};
use sidecar::Problems;
use tokio::time::{Instant, sleep};

use crate::cluster::NEW;
use crate::connections::brokers;
use crate::fake::{Asked, Fake};
use crate::issuer::{Issuer, granted};

const SESSION: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(10);

/// What a broker makes of a message of SASL: its own message, or why not.
type Answer = Result<Vec<u8>, String>;

/// A broker that enables one mechanism; `of` answers the mechanism's messages.
async fn broker(
    mechanism: &'static str,
    lifetime: Duration,
    of: impl Fn(&[u8]) -> Answer + Send + Sync + 'static,
) -> Fake {
    let keys = [(ApiKey::SaslHandshake, 0, 1), (ApiKey::SaslAuthenticate, 0, 2)];
    let (listener, port) = Fake::listen().await;
    Fake::serve(listener, move |asked: Asked| match asked.key {
        ApiKey::ApiVersions => asked.versions(&[NEW.as_slice(), &keys].concat()),
        ApiKey::SaslHandshake => {
            let wanted = asked.decode::<SaslHandshakeRequest>().mechanism;
            let response = SaslHandshakeResponse::default()
                .with_error_code(if wanted.as_str() == mechanism { 0 } else { 33 })
                .with_mechanisms(vec![StrBytes::from_static_str(mechanism)]);
            asked.answer(&response)
        }
        ApiKey::SaslAuthenticate => {
            let response = SaslAuthenticateResponse::default();
            let response = match of(&asked.decode::<SaslAuthenticateRequest>().auth_bytes) {
                Ok(message) => response
                    .with_auth_bytes(Bytes::from(message))
                    .with_session_lifetime_ms(i64::try_from(lifetime.as_millis()).unwrap()),
                Err(reason) => response
                    .with_error_code(58)
                    .with_error_message(Some(StrBytes::from_string(reason))),
            };
            asked.answer(&response)
        }
        _ => asked.answer(&brokers(port)),
    })
}

fn admin(broker: &Fake, security: RawSecurity) -> Admin {
    let raw = RawKafka {
        bootstrap_servers: broker.servers(),
        security,
        ..RawKafka::default()
    };
    let mut problems = Problems::new();
    let connection = Connection::check(raw, &mut problems);
    Admin::new(&connection.unwrap_or_else(|| panic!("{problems}")))
}

fn security(mechanism: SaslMechanism) -> RawSecurity {
    RawSecurity {
        protocol: SecurityProtocol::SaslPlaintext,
        sasl_mechanism: Some(mechanism),
        ..RawSecurity::default()
    }
}

fn by_file(file: &Path) -> RawSecurity {
    RawSecurity {
        token_file: Some(file.to_owned()),
        ..security(SaslMechanism::OauthBearer)
    }
}

fn by_password(password: &str) -> RawSecurity {
    RawSecurity {
        username: Some("user".to_owned()),
        password: Some(password.into()),
        ..security(SaslMechanism::ScramSha256)
    }
}

/// The messages that came, and when.
type Logins = Arc<Mutex<Vec<(Instant, String)>>>;

/// Notes each message, and accepts it.
fn note(logins: &Logins) -> impl Fn(&[u8]) -> Answer + use<> {
    let logins = Arc::clone(logins);
    move |message| {
        let text = String::from_utf8_lossy(message).into_owned();
        logins.lock().unwrap().push((Instant::now(), text));
        Ok(Vec::new())
    }
}

/// Asks until so many have logged in; each but the first within a session.
async fn logins(admin: &Admin, logins: &Logins, count: usize) -> Vec<String> {
    let begun = Instant::now();
    while logins.lock().unwrap().len() < count {
        admin.cluster().await.unwrap();
        assert!(begun.elapsed() < DEADLINE);
        sleep(Duration::from_millis(5)).await;
    }
    let logins = logins.lock().unwrap();
    for pair in logins.windows(2) {
        let between = pair[1].0 - pair[0].0;
        assert!(between > SESSION / 2 && between < SESSION, "{between:?}");
    }
    logins.iter().map(|(_, message)| message.clone()).collect()
}

#[tokio::test]
async fn a_session_is_renewed_with_a_new_token_of_the_endpoint() {
    // A token lives as long as a session.
    let issuer = Issuer::start(|number, _text| Some(granted(&format!("token{number}"), 2))).await;
    let noted = Logins::default();
    let broker = broker("OAUTHBEARER", SESSION, note(&noted)).await;
    let admin = admin(
        &broker,
        RawSecurity {
            token_endpoint: Some(issuer.url("http")),
            client_id: Some("me".to_owned()),
            client_secret: Some("hunter2".into()),
            extensions: [("logicalCluster", "lkc-1"), ("identityPoolId", "pool-1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..security(SaslMechanism::OauthBearer)
        },
    );
    let message = |number| {
        format!(
            "n,,\u{1}auth=Bearer token{number}\u{1}identityPoolId=pool-1\u{1}logicalCluster=lkc-1\u{1}\u{1}"
        )
    };
    assert_eq!(
        logins(&admin, &noted, 3).await,
        [message(0), message(1), message(2)]
    );
}

#[tokio::test]
async fn a_session_is_renewed_with_what_the_file_has_then() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first\n").unwrap();
    let noted = Logins::default();
    let broker = broker("OAUTHBEARER", SESSION, note(&noted)).await;
    let admin = admin(&broker, by_file(file.path()));
    logins(&admin, &noted, 1).await;
    std::fs::write(file.path(), "second").unwrap();
    let messages = logins(&admin, &noted, 2).await;
    let message = |token| format!("n,,\u{1}auth=Bearer {token}\u{1}\u{1}");
    assert_eq!(messages, [message("first"), message("second")]);
}

#[tokio::test]
async fn a_token_that_has_expired_is_named_before_a_broker_is_asked() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode("{\"exp\":1000}");
    std::fs::write(file.path(), format!("e30.{claims}.x")).unwrap();
    let noted = Logins::default();
    let broker = broker("OAUTHBEARER", SESSION, note(&noted)).await;
    let refusal = admin(&broker, by_file(file.path())).cluster().await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Denied);
    assert!(
        refusal
            .reason
            .starts_with("kafka.security.token_file: the token in ")
            && refusal.reason.contains(" expired "),
        "{refusal}"
    );
    assert!(noted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_reason_for_which_a_broker_refuses_a_token_is_shown() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "token").unwrap();
    let broker = broker("OAUTHBEARER", SESSION, |message| match message {
        b"\x01" => Err("closing".to_owned()),
        _ => Ok(b"{\"status\":\"invalid_token\"}".to_vec()),
    })
    .await;
    let refusal = admin(&broker, by_file(file.path())).cluster().await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Denied);
    for part in ["invalid_token", "check kafka.security.token_file"] {
        assert!(refusal.reason.contains(part), "{refusal}");
    }
}

#[tokio::test]
async fn a_session_is_renewed_with_a_password() {
    let noted = Logins::default();
    let broker = broker("SCRAM-SHA-256", SESSION, scram("right", &noted)).await;
    let admin = admin(&broker, by_password("right"));
    logins(&admin, &noted, 3).await;
}

#[tokio::test]
async fn a_wrong_password_and_a_wrong_mechanism_name_their_settings() {
    let broker = broker("SCRAM-SHA-256", SESSION, scram("right", &Logins::default())).await;
    let refusal = admin(&broker, by_password("wrong")).cluster().await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Denied);
    assert!(
        refusal.reason.starts_with(&broker.servers())
            && refusal.reason.contains("check kafka.security.username, password"),
        "{refusal}"
    );
    let other = RawSecurity {
        sasl_mechanism: Some(SaslMechanism::ScramSha512),
        ..by_password("right")
    };
    let refusal = admin(&broker, other).cluster().await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Denied);
    assert!(
        refusal.reason.contains(
            "the broker enables SCRAM-SHA-256, not SCRAM-SHA-512: check kafka.security.sasl_mechanism"
        ),
        "{refusal}"
    );
}

/// The broker's side of SCRAM-SHA-256 with this password; notes whom it let in.
fn scram(password: &'static str, logins: &Logins) -> impl Fn(&[u8]) -> Answer + use<> {
    let logins = Arc::clone(logins);
    let begun: Mutex<HashMap<String, String>> = Mutex::default();
    let mut salted = [0; 32];
    let rounds = NonZeroU32::new(4096).unwrap();
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        rounds,
        b"salt",
        password.as_bytes(),
        &mut salted,
    );
    let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    move |message| {
        let text = String::from_utf8(message.to_vec()).unwrap();
        if let Some(first) = text.strip_prefix("n,,") {
            let nonce = format!("{}server", first.split_once("r=").unwrap().1);
            let answer = format!("r={nonce},s={},i=4096", BASE64.encode("salt"));
            begun.lock().unwrap().insert(nonce, format!("{first},{answer}"));
            return Ok(answer.into_bytes());
        }
        let (without_proof, proof) = text.split_once(",p=").unwrap();
        let nonce = without_proof.strip_prefix("c=biws,r=").unwrap();
        let signed = format!("{},{without_proof}", begun.lock().unwrap().remove(nonce).unwrap());
        let client_key = sign(&salted, "Client Key");
        let stored = digest::digest(&digest::SHA256, client_key.as_ref());
        let signature = sign(stored.as_ref(), &signed);
        let pairs = client_key.as_ref().iter().zip(signature.as_ref());
        if BASE64.decode(proof).unwrap() != pairs.map(|(key, signature)| key ^ signature).collect::<Vec<_>>()
        {
            return Err("Authentication failed during authentication due to invalid credentials".to_owned());
        }
        logins.lock().unwrap().push((Instant::now(), nonce.to_owned()));
        let verifier = sign(sign(&salted, "Server Key").as_ref(), &signed);
        Ok(format!("v={}", BASE64.encode(verifier)).into_bytes())
    }
}

#[tokio::test]
async fn sessions_of_a_millisecond_keep_no_request_waiting_and_no_broker_busy() {
    let noted = Logins::default();
    let broker = broker("SCRAM-SHA-256", Duration::from_millis(1), scram("right", &noted)).await;
    let admin = admin(&broker, by_password("right"));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        admin.cluster().await.unwrap();
    }
    let logins = noted.lock().unwrap().len();
    assert!(logins <= 17, "{logins}");
}

#[tokio::test]
async fn what_a_broker_says_is_shown_on_one_line_and_not_at_any_length() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "token").unwrap();
    let long = "x\n".repeat(100_000);
    for is_challenge in [true, false] {
        let long = long.clone();
        let broker = broker("OAUTHBEARER", SESSION, move |_message| {
            if is_challenge {
                Ok(long.clone().into_bytes())
            } else {
                Err(long[..30_000].to_owned())
            }
        })
        .await;
        let refusal = admin(&broker, by_file(file.path())).cluster().await.unwrap_err();
        assert!(refusal.reason.contains("x x x"), "{refusal}");
        assert!(refusal.reason.len() < 1000 && !refusal.reason.contains('\n'));
    }
}

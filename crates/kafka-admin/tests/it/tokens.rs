//! Tokens of OAUTHBEARER by client credentials: fetched once for all, kept, replaced in time; and each mistake.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_admin::{
    Connection, RawKafka, RawSecurity, RefusalKind, SaslMechanism, SecurityProtocol, TokenSource,
};
use sidecar::Problems;
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::fake::Fake;
use crate::issuer::{Issuer, answer, granted};

const DEADLINE: Duration = Duration::from_secs(10);

fn security(token_endpoint: String) -> RawSecurity {
    RawSecurity {
        protocol: SecurityProtocol::SaslPlaintext,
        sasl_mechanism: Some(SaslMechanism::OauthBearer),
        token_endpoint: Some(token_endpoint),
        client_id: Some("me".to_owned()),
        client_secret: Some("hunter2".into()),
        ..RawSecurity::default()
    }
}

/// A source that waits a second at most.
fn source(security: RawSecurity) -> TokenSource {
    let mut raw = RawKafka {
        security,
        ..RawKafka::default()
    };
    raw.properties
        .insert("socket.connection.setup.timeout.ms", "1250");
    let mut problems = Problems::new();
    let connection = Connection::check(raw, &mut problems);
    let connection = connection.unwrap_or_else(|| panic!("{problems}"));
    connection.token_source().unwrap().clone()
}

async fn value(source: &TokenSource) -> String {
    source.token().await.unwrap().value.expose().to_owned()
}

#[tokio::test]
async fn all_who_ask_share_one_request_with_the_clients_credentials() {
    let asked = Arc::new(Mutex::new(String::new()));
    let note = Arc::clone(&asked);
    let issuer = Issuer::start(move |_number, text| {
        text.clone_into(&mut note.lock().unwrap());
        Some(granted("a.b.c", 3600))
    })
    .await;
    let source = source(RawSecurity {
        scope: Some("kafka read".to_owned()),
        ..security(issuer.url("http"))
    });
    let mut asking = JoinSet::new();
    for _ in 0..50 {
        let source = source.clone();
        asking.spawn(async move { source.token().await.unwrap() });
    }
    let tokens = asking.join_all().await;
    assert!(tokens.iter().all(|token| token.value.expose() == "a.b.c"));
    assert_eq!(issuer.requests(), 1);
    let asked = asked.lock().unwrap();
    for part in [
        "POST /token HTTP/1.1\r\n",
        // me:hunter2
        "authorization: Basic bWU6aHVudGVyMg==\r\n",
        "accept: application/json\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "\r\n\r\ngrant_type=client_credentials&scope=kafka+read",
    ] {
        assert!(asked.contains(part), "{asked}");
    }
    assert!(!format!("{source:?}{tokens:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_token_is_replaced_before_it_expires_and_not_asked_for_until_then() {
    let issuer = Issuer::start(|number, _text| Some(granted(&format!("token{number}"), 2))).await;
    let source = source(security(issuer.url("http")));
    let begun = Instant::now();
    assert_eq!(value(&source).await, "token0");
    while value(&source).await == "token0" {
        assert!(begun.elapsed() < DEADLINE);
        sleep(Duration::from_millis(5)).await;
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(issuer.requests(), 2);
}

#[tokio::test]
async fn an_endpoint_that_fails_later_does_not_take_a_token_that_is_still_valid() {
    let issuer = Issuer::start(|number, _text| {
        Some(if number == 0 {
            granted("token", 2)
        } else {
            answer("503 Unavailable", "")
        })
    })
    .await;
    let source = source(security(issuer.url("http")));
    let begun = Instant::now();
    let refusal = loop {
        match source.token().await {
            Ok(token) => assert_eq!(token.value.expose(), "token"),
            Err(refusal) => break refusal,
        }
        assert!(begun.elapsed() < DEADLINE);
        sleep(Duration::from_millis(5)).await;
    };
    // Three quarters of its time end earlier.
    assert!(
        begun.elapsed() >= Duration::from_millis(1900),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(refusal.kind, RefusalKind::Passing, "{refusal}");
    assert!(refusal.reason.contains("HTTP status 503"), "{refusal}");
}

#[tokio::test]
async fn an_endpoint_that_fails_is_asked_once_a_second_whoever_asks() {
    let issuer = Issuer::start(|_number, _text| Some(answer("500 Oh", ""))).await;
    let source = source(security(issuer.url("http")));
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(source.token().await.is_err());
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(issuer.requests() <= 1 + seconds, "{}", issuer.requests());
}

#[tokio::test]
async fn each_failure_of_an_endpoint_names_the_setting() {
    let large = "x".repeat(1 << 20);
    let answers = [
        (
            answer("401 No", "{\"error\":\"invalid_client\"}"),
            "HTTP status 401: invalid_client; check kafka.security.client_id",
        ),
        (
            answer("400 No", "{\"error\":\"invalid_scope\"}"),
            "check kafka.security.scope",
        ),
        (
            answer("404 No", "<html>"),
            "HTTP status 404; check kafka.security.token_endpoint",
        ),
        (
            answer("302 Found\r\nLocation: /other", ""),
            "redirects are not followed",
        ),
        (
            answer("200 OK", "{\"token\":\"x\"}"),
            "the answer has no access_token; check kafka.security.token_endpoint",
        ),
        (answer("200 OK", &large), "the answer is larger than"),
        (
            "SSH-2.0-OpenSSH\r\n\r\n".to_owned(),
            "check kafka.security.token_endpoint",
        ),
    ];
    for (answer, expected) in answers {
        let issuer = Issuer::start(move |_number, _text| Some(answer.clone())).await;
        let refusal = source(security(issuer.url("http"))).token().await.unwrap_err();
        assert!(
            refusal
                .reason
                .starts_with(&format!("no token from {}: ", issuer.url("http"))),
            "{refusal}"
        );
        assert!(refusal.reason.contains(expected), "{refusal}");
        assert_eq!(issuer.requests(), 1);
    }
}

#[tokio::test]
async fn an_endpoint_that_is_silent_or_away_is_named_in_time() {
    let issuer = Issuer::start(|_number, _text| None).await;
    let silent = source(security(issuer.url("http")));
    let begun = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..20 {
        let silent = silent.clone();
        asking.spawn(async move { silent.token().await.unwrap_err() });
    }
    for refusal in asking.join_all().await {
        assert!(refusal.reason.contains("no answer"), "{refusal}");
        assert!(
            refusal.reason.contains("check kafka.security.token_endpoint"),
            "{refusal}"
        );
    }
    assert!(
        begun.elapsed() < Duration::from_millis(1250),
        "{:?}",
        begun.elapsed()
    );
    let (listener, port) = Fake::listen().await;
    drop(listener);
    let refusal = source(security(format!("http://127.0.0.1:{port}/")))
        .token()
        .await
        .unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Passing);
    assert!(
        refusal.reason.contains("cannot connect: ")
            && refusal.reason.contains("check kafka.security.token_endpoint"),
        "{refusal}"
    );
}

#[tokio::test]
async fn https_needs_a_known_authority_and_a_port_that_has_it() {
    let (issuer, authority) = Issuer::start_tls(|_number, _text| Some(granted("token", 60))).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority).unwrap();
    let known = RawSecurity {
        token_ca_file: Some(file.path().to_owned()),
        ..security(issuer.url("https"))
    };
    assert_eq!(value(&source(known.clone())).await, "token");
    let refusal = source(security(issuer.url("https"))).token().await.unwrap_err();
    assert!(
        refusal.reason.contains("check kafka.security.token_ca_file"),
        "{refusal}"
    );
    let (listener, port) = Fake::listen().await;
    let mut plain = JoinSet::new();
    plain.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(stream.read(&mut [0; 100]).await);
            drop(tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
        }
    });
    let refusal = source(RawSecurity {
        token_endpoint: Some(format!("https://127.0.0.1:{port}/")),
        ..known
    });
    let refusal = refusal.token().await.unwrap_err();
    assert!(
        refusal
            .reason
            .contains("the port does not use HTTPS: check kafka.security.token_endpoint"),
        "{refusal}"
    );
}

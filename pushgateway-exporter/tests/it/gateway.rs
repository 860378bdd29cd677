//! The exporter's end at a Pushgateway: what is asked of it, and what its answers mean.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::IntCounter;
use pushgateway_exporter::config::Security;
use pushgateway_exporter::document::Document;
use pushgateway_exporter::exposition::{Labels, Sample};
use pushgateway_exporter::grouping::GroupingKey;
use pushgateway_exporter::push::{Gateway, PushError, Sink};
use tokio::time::Instant;

use crate::server::{Asked, RawServer, Server, client};

const PATH: &str = "/metrics/job@base64/YSBi/instance/driver";

fn gateway(url: &str, security: &Security) -> Gateway {
    let labels = [("job", "a b"), ("instance", "driver")];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let key = GroupingKey::new(BTreeMap::from(labels)).unwrap();
    Gateway::new(
        client(security),
        url,
        key,
        true,
        IntCounter::new("sent", "Bytes").unwrap(),
    )
}

async fn put(gateway: &mut Gateway) -> Result<(), PushError> {
    let document = Document {
        about: vec![
            Sample::new("x", [("k", "v")], 1.5),
            Sample::new("y", Labels::new(), f64::NAN),
        ],
        ..Document::default()
    };
    gateway.put(&document).await
}

fn ok(_: &Asked) -> (u16, String) {
    (200, String::new())
}

#[tokio::test]
async fn a_push_replaces_the_group_with_compressed_text() {
    let server = Server::start(ok).await;
    let mut gateway = gateway(&format!("{}/", server.url), &Security::default());
    put(&mut gateway).await.unwrap();
    let asked = &server.asked()[0];
    assert_eq!(server.lines(), [format!("PUT {PATH}")]);
    assert_eq!(asked.headers["content-encoding"], "gzip");
    assert_eq!(
        asked.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert_eq!(asked.text(), "x{k=\"v\"} 1.5\ny NaN\n");
    assert_eq!(gateway.sent.get(), asked.body.len() as u64);
}

#[tokio::test]
async fn a_gateway_that_cannot_read_gzip_gets_plain_text_from_then_on() {
    let server = Server::start(|asked| {
        if asked.headers.contains_key("content-encoding") {
            (
                400,
                "text format parsing error in line 1: invalid metric name\n".to_owned(),
            )
        } else {
            (200, String::new())
        }
    });
    let server = server.await;
    let mut gateway = gateway(&server.url, &Security::default());
    for _ in 0..3 {
        put(&mut gateway).await.unwrap();
    }
    let compressed = |asked: &Asked| asked.headers.contains_key("content-encoding");
    let forms: Vec<bool> = server.asked().iter().map(compressed).collect();
    assert_eq!(forms, [true, false, false, false]);
}

#[tokio::test]
async fn a_refusal_is_told_with_the_gateways_words_and_gzip_is_not_blamed() {
    let server = Server::start(|_| (400, "pushed metrics are invalid: x is a gauge\n".to_owned())).await;
    let mut gateway = gateway(&server.url, &Security::default());
    let error = put(&mut gateway).await.unwrap_err();
    let told = format!(
        "{}{PATH} refuses the push: pushed metrics are invalid: x is a gauge",
        server.url
    );
    assert_eq!(error, PushError::Refused(told));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_an_error_since_a_put_would_arrive_as_a_get() {
    let moved =
        |_: &str, _: u16| b"HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n".to_vec();
    let server = RawServer::start(moved, false).await;
    let error = put(&mut gateway(&server.url(""), &Security::default()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("moved to /login"), "{error}");
}

#[tokio::test]
async fn failures_have_classes() {
    for (status, class) in [
        (401, "denied"),
        (403, "denied"),
        (500, "failed"),
        (404, "failed"),
        (503, "failed"),
    ] {
        let server = Server::start(move |_| (status, "why\n".to_owned())).await;
        let error = put(&mut gateway(&server.url, &Security::default()))
            .await
            .unwrap_err();
        assert_eq!(error.class(), class, "{status}");
        let told = error.to_string();
        assert!(
            told.contains(&server.url) && told.contains(&status.to_string()),
            "{told}"
        );
    }
    let error = put(&mut gateway("http://127.0.0.1:1", &Security::default()))
        .await
        .unwrap_err();
    assert_eq!(error.class(), "unreachable");
    let hanging = RawServer::start(|_, _| Vec::new(), true).await;
    let began = Instant::now();
    let error = put(&mut gateway(&hanging.url(""), &Security::default()))
        .await
        .unwrap_err();
    assert_eq!(error.class(), "timeout");
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn we_say_who_we_are_by_password_or_token() {
    let server = Server::start(ok).await;
    let basic = Security {
        user: Some(("me".to_owned(), "secret".into())),
        ..Security::default()
    };
    let bearer = Security {
        bearer_token: Some("token".into()),
        ..Security::default()
    };
    for security in [basic, bearer] {
        put(&mut gateway(&server.url, &security)).await.unwrap();
    }
    let headers: Vec<String> = server
        .asked()
        .iter()
        .map(|asked| asked.headers["authorization"].clone())
        .collect();
    assert_eq!(headers, ["Basic bWU6c2VjcmV0", "Bearer token"]);
}

#[tokio::test]
async fn the_owner_of_the_group_is_read_among_all_groups() {
    let listing = r#"{"status": "success", "data": [
        {"labels": {"job": "a b"}, "spark_exporter_run_info": {"metrics": [{"labels": {"run": "wrong"}, "value": "1"}]}},
        {"labels": {"job": "a b", "instance": "driver"}, "last_push_successful": true,
         "push_time_seconds": {"metrics": [{"labels": {"job": "a b"}, "value": "1.79e+09"}]},
         "spark_exporter_run_info": {"metrics": [{"labels": {"run": "abc", "job": "a b"}, "value": "1"}]},
         "h": {"metrics": [{"labels": {}, "buckets": {"1": "2"}, "count": "2"}]}}]}"#;
    let server = Server::start(move |_| (200, listing.to_owned())).await;
    let mut with_owner = gateway(&server.url, &Security::default());
    assert_eq!(with_owner.owner().await.unwrap(), Some("abc".to_owned()));
    assert_eq!(server.lines(), ["GET /api/v1/metrics"]);
    let server = Server::start(|_| (200, r#"{"data": []}"#.to_owned())).await;
    assert_eq!(
        gateway(&server.url, &Security::default()).owner().await.unwrap(),
        None
    );
    let server = Server::start(|_| (200, "<html>".to_owned())).await;
    let error = gateway(&server.url, &Security::default())
        .owner()
        .await
        .unwrap_err();
    assert_eq!(error.class(), "failed");
}

#[tokio::test]
async fn the_group_is_deleted_by_its_key() {
    let server = Server::start(|_| (202, String::new())).await;
    gateway(&server.url, &Security::default()).delete().await.unwrap();
    assert_eq!(server.lines(), [format!("DELETE {PATH}")]);
}

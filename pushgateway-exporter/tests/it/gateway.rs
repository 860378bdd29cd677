//! The exporter's end at a Pushgateway: what is asked of it, and what its answers mean.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::IntCounter;
use pushgateway_exporter::config::Security;
use pushgateway_exporter::document::{Document, Types};
use pushgateway_exporter::exposition::{Labels, Sample};
use pushgateway_exporter::grouping::GroupingKey;
use pushgateway_exporter::push::{Gateway, Keys, PushError, Sink};
use tokio::time::Instant;

use crate::server::{Asked, RawServer, Server, client};

const PATH: &str = "/metrics/job@base64/YSBi/instance/driver/target/t";

fn key(labels: &[(&str, &str)]) -> GroupingKey {
    let labels = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    GroupingKey::new(labels.collect()).unwrap()
}

fn gateway(url: &str, security: &Security) -> Gateway {
    let older = [("job", "a b"), ("instance", "driver")];
    let targets = ["t", "u"].map(|target| key(&[older[0], older[1], ("target", target)]));
    let keys = Keys {
        targets: targets.into(),
        older: key(&older),
    };
    let sent = IntCounter::new("sent", "Bytes").unwrap();
    Gateway::new(client(security), url, keys, true, sent)
}

async fn put(gateway: &Gateway) -> Result<(), PushError> {
    let samples = [Sample::new("y", Labels::new(), f64::NAN)];
    put_all(gateway, &samples).await
}

async fn put_all(gateway: &Gateway, samples: &[Sample]) -> Result<(), PushError> {
    let document = Document {
        about: vec![Sample::new("x", [("k", "v")], 1.5)],
        about_types: Types::new(),
        samples,
        types: &Types::new(),
    };
    gateway.put(0, &document).await
}

/// What a gateway says of a series that another group has.
const TWICE: &str =
    "pushed metrics are invalid: x was collected before with the same name and label values\n";

fn ok(_: &Asked) -> (u16, String) {
    (200, String::new())
}

#[tokio::test]
async fn a_push_replaces_the_group_with_compressed_text() {
    let server = Server::start(ok).await;
    let gateway = gateway(&format!("{}/", server.url), &Security::default());
    put(&gateway).await.unwrap();
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
async fn a_push_takes_a_fraction_of_its_text() {
    let server = Server::start(ok).await;
    let gateway = gateway(&server.url, &Security::default());
    let sample = |number: u32| {
        let labels = [("kind", "gauges"), ("number", &number.to_string())]
            .map(|(name, value)| (name, value.to_owned()));
        Sample::new(
            "spark_driver_stage_shuffleRecords_Value",
            labels,
            f64::from(number),
        )
    };
    let samples: Vec<Sample> = (0..1000).map(sample).collect();
    put_all(&gateway, &samples).await.unwrap();
    let asked = &server.asked()[0];
    assert_eq!(asked.text().lines().count(), 1001);
    assert!(
        asked.body.len() < asked.text().len() / 5,
        "{} bytes for {}",
        asked.body.len(),
        asked.text().len()
    );
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
    let gateway = gateway(&server.url, &Security::default());
    for _ in 0..3 {
        put(&gateway).await.unwrap();
    }
    let compressed = |asked: &Asked| asked.headers.contains_key("content-encoding");
    let forms: Vec<bool> = server.asked().iter().map(compressed).collect();
    assert_eq!(forms, [true, false, false, false]);
}

#[tokio::test]
async fn gzip_is_blamed_only_if_the_first_line_cannot_be_read_and_plain_text_can() {
    for (compressed, plain, requests) in [
        (
            (400, "text format parsing error in line 12: invalid metric name\n"),
            (200, ""),
            2,
        ),
        (
            (400, "text format parsing error in line 1: invalid metric name\n"),
            (400, "x is a gauge\n"),
            4,
        ),
        (
            (400, "text format parsing error in line 1: invalid metric name\n"),
            (503, "not now\n"),
            4,
        ),
    ] {
        let server = Server::start(move |asked| {
            let is_compressed = asked.headers.contains_key("content-encoding");
            let (status, text) = if is_compressed { compressed } else { plain };
            (status, text.to_owned())
        });
        let server = server.await;
        let gateway = gateway(&server.url, &Security::default());
        for _ in 0..2 {
            put(&gateway).await.unwrap_err();
        }
        let asked = server.asked();
        assert_eq!(asked.len(), requests, "{compressed:?} {plain:?}");
        assert!(
            asked[requests / 2].headers.contains_key("content-encoding"),
            "it is tried again"
        );
    }
}

#[tokio::test]
async fn a_refusal_is_told_with_the_gateways_words_and_gzip_is_not_blamed() {
    let server = Server::start(|_| (400, "pushed metrics are invalid:\n* x is a gauge\n".to_owned())).await;
    let gateway = gateway(&server.url, &Security::default());
    let error = put(&gateway).await.unwrap_err();
    let told = format!(
        "{}{PATH} refuses the push: pushed metrics are invalid: * x is a gauge",
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
    let error = put(&gateway(&server.url(""), &Security::default()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("moved to /login"), "{error}");
}

#[tokio::test]
async fn failures_have_classes() {
    for (status, class) in [
        (401, "denied"),
        (413, "refused"),
        (403, "denied"),
        (500, "failed"),
        (404, "failed"),
        (503, "failed"),
    ] {
        let server = Server::start(move |_| (status, "why\n".to_owned())).await;
        let error = put(&gateway(&server.url, &Security::default()))
            .await
            .unwrap_err();
        assert_eq!(error.class(), class, "{status}");
        let told = error.to_string();
        assert!(
            told.contains(&server.url) && told.contains(&status.to_string()),
            "{told}"
        );
    }
    let error = put(&gateway("http://127.0.0.1:1", &Security::default()))
        .await
        .unwrap_err();
    assert_eq!(error.class(), "unreachable");
    let hanging = RawServer::start(|_, _| Vec::new(), true).await;
    let began = Instant::now();
    let error = put(&gateway(&hanging.url(""), &Security::default()))
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
        put(&gateway(&server.url, &security)).await.unwrap();
    }
    let headers: Vec<String> = server
        .asked()
        .iter()
        .map(|asked| asked.headers["authorization"].clone())
        .collect();
    assert_eq!(headers, ["Basic bWU6c2VjcmV0", "Bearer token"]);
}

#[tokio::test]
async fn whose_the_groups_are_is_read_line_by_line() {
    let page = |target: &str, run: &str| {
        format!(
            "spark_exporter_run_info{{cluster=\"c\",instance=\"driver\",job=\"a b\",run=\"{run}\",target=\"{target}\"}} 1\n"
        )
    };
    let run = Labels::from([("run", "abc"), ("cluster", "c")]);
    for (lines, owned) in [
        (page("t", "abc") + &page("u", "abc"), [true, true]),
        (page("t", "other") + &page("u", "abc"), [false, true]),
        (page("x", "abc") + "spark_exporter_run_info{", [false, false]),
        (String::new(), [false, false]),
    ] {
        let server = Server::start(move |_| (200, format!("# HELP x\nx 1\n{lines}"))).await;
        let gateway = gateway(&server.url, &Security::default());
        assert_eq!(gateway.owned(&run).await.unwrap(), owned);
        assert_eq!(server.lines(), ["GET /metrics"]);
    }
    let server = Server::start(|_| (503, "not now".to_owned())).await;
    let error = gateway(&server.url, &Security::default())
        .owned(&run)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("answers 503: not now"), "{error}");
}

#[tokio::test]
async fn a_page_greater_than_any_answer_that_is_kept_can_be_read_by_lines() {
    let page = "x{l=\"1\"} 1\n".repeat(200_000)
        + "spark_exporter_run_info{instance=\"driver\",job=\"a b\",run=\"abc\",target=\"u\"} 1\n";
    assert!(page.len() > crate::server::limits(Duration::ZERO).max_body_bytes);
    let server = Server::start(move |_| (200, page.clone())).await;
    let gateway = gateway(&server.url, &Security::default());
    let owned = gateway.owned(&Labels::from([("run", "abc")])).await.unwrap();
    assert_eq!(owned, [false, true]);
}

#[tokio::test]
async fn a_group_of_an_older_version_that_is_in_the_way_is_deleted_and_no_other() {
    let listing = |job: &str, stamp: &str| {
        format!(
            "{{\"data\": [{{\"labels\": {{\"job\": \"{job}\", \"instance\": \"driver\"}}, \"{stamp}\": {{\"metrics\": []}}}}]}}"
        )
    };
    let old = "spark_exporter_target_repaired_total";
    for (listing, deletes) in [
        (listing("a b", old), true),
        (listing("other", old), false),
        (listing("a b", "x"), false),
    ] {
        let puts = AtomicUsize::new(0);
        let server = Server::start(move |asked| match asked.method.as_str() {
            "GET" => (200, listing.clone()),
            "DELETE" => (202, String::new()),
            _ if deletes && puts.fetch_add(1, Ordering::Relaxed) > 0 => (200, String::new()),
            _ => (400, TWICE.to_owned()),
        });
        let server = server.await;
        let gateway = gateway(&server.url, &Security::default());
        assert_eq!(put(&gateway).await.is_ok(), deletes);
        let (put_line, list) = (format!("PUT {PATH}"), "GET /api/v1/metrics".to_owned());
        let delete = "DELETE /metrics/job@base64/YSBi/instance/driver".to_owned();
        if deletes {
            assert_eq!(server.lines(), [put_line.clone(), list, delete, put_line]);
        } else {
            put(&gateway).await.unwrap_err();
            assert_eq!(
                server.lines(),
                [put_line.clone(), list, put_line],
                "it is looked for once"
            );
        }
    }
}

#[tokio::test]
async fn a_refusal_stays_one_though_the_group_of_an_older_version_cannot_be_looked_for() {
    let server = Server::start(|asked| match asked.method.as_str() {
        "PUT" => (400, TWICE.to_owned()),
        _ => (503, "not now\n".to_owned()),
    });
    let server = server.await;
    let gateway = gateway(&server.url, &Security::default());
    for _ in 0..2 {
        assert_eq!(put(&gateway).await.unwrap_err().class(), "refused");
    }
    let (put, list) = (format!("PUT {PATH}"), "GET /api/v1/metrics".to_owned());
    assert_eq!(server.lines(), [put.clone(), list, put], "it is looked for once");
}

#[tokio::test]
async fn a_group_is_deleted_by_its_key() {
    let server = Server::start(|_| (202, String::new())).await;
    gateway(&server.url, &Security::default())
        .delete(0)
        .await
        .unwrap();
    assert_eq!(server.lines(), [format!("DELETE {PATH}")]);
}

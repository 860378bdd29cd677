//! The exporter's end at a remote-write receiver.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntCounter;
use prost::Message;
use pushgateway_exporter::config::Security;
use pushgateway_exporter::document::{Document, Types};
use pushgateway_exporter::exposition::{Labels, Sample};
use pushgateway_exporter::push::{PushError, RemoteWrite, Sink};
use pushgateway_exporter::remote_write::{STALE, WriteRequest};

use crate::server::{Asked, Server, client};

fn receiver(server: &Server) -> RemoteWrite {
    let labels = ["t", "u"].map(|target| {
        let labels = [("job", "orders"), ("target", target)];
        BTreeMap::from(labels.map(|(name, value)| (name.to_owned(), value.to_owned())))
    });
    let sent = IntCounter::new("sent", "Bytes").unwrap();
    RemoteWrite::new(
        client(&Security::default()),
        &format!("{}/write", server.url),
        labels.into(),
        sent,
    )
}

async fn put(receiver: &RemoteWrite, names: &[&str]) -> Result<(), PushError> {
    put_of(receiver, 0, names).await
}

async fn put_of(receiver: &RemoteWrite, target: usize, names: &[&str]) -> Result<(), PushError> {
    let samples = names.iter().map(|name| Sample::new(*name, Labels::new(), 1.0));
    let document = Document {
        about: samples.collect(),
        about_types: Types::new(),
        samples: &[],
        types: &Types::new(),
    };
    receiver.put(target, &document).await
}

/// The names of a request, and whether each series ends.
fn series(asked: &Asked) -> Vec<(String, bool)> {
    let body = snap::raw::Decoder::new().decompress_vec(&asked.body).unwrap();
    let request = WriteRequest::decode(&body[..]).unwrap();
    let series = request.timeseries.into_iter().map(|series| {
        let label = |name: &str| {
            let found = series.labels.iter().find(|label| label.name == name);
            found.map(|label| label.value.clone()).unwrap_or_default()
        };
        assert_eq!(label("job"), "orders");
        (
            label("__name__"),
            series.samples[0].value.to_bits() == STALE.to_bits(),
        )
    });
    series.collect()
}

fn lives(name: &str) -> (String, bool) {
    (name.to_owned(), false)
}

fn ends(name: &str) -> (String, bool) {
    (name.to_owned(), true)
}

#[tokio::test]
async fn samples_are_sent_and_a_series_that_vanished_is_ended_once() {
    let server = Server::start(|_| (204, String::new())).await;
    let receiver = receiver(&server);
    for names in [&["a", "b"][..], &["a"], &["a"]] {
        put(&receiver, names).await.unwrap();
    }
    receiver.delete(0).await.unwrap();
    let asked = server.asked();
    assert_eq!(asked[0].headers["content-encoding"], "snappy");
    assert_eq!(asked[0].headers["content-type"], "application/x-protobuf");
    assert_eq!(asked[0].headers["x-prometheus-remote-write-version"], "0.1.0");
    let sent: Vec<_> = asked.iter().map(series).collect();
    assert_eq!(sent[0], [lives("a"), lives("b")]);
    assert_eq!(sent[1..], [[lives("a")], [ends("b")], [lives("a")], [ends("a")]]);
}

#[tokio::test]
async fn each_target_has_series_of_its_own() {
    let server = Server::start(|_| (204, String::new())).await;
    let receiver = receiver(&server);
    put_of(&receiver, 0, &["a"]).await.unwrap();
    put_of(&receiver, 1, &["a", "b"]).await.unwrap();
    receiver.delete(0).await.unwrap();
    let sent: Vec<_> = server.asked().iter().map(series).collect();
    assert_eq!(sent[1], [lives("a"), lives("b")]);
    assert_eq!(sent[2], [ends("a")]);
}

#[tokio::test]
async fn an_end_that_did_not_arrive_is_sent_again_and_does_not_fail_the_push() {
    let answers = AtomicUsize::new(0);
    let refuse_the_third = move |_: &Asked| match answers.fetch_add(1, Ordering::Relaxed) {
        2 => (403, "not now\n".to_owned()),
        _ => (204, String::new()),
    };
    let server = Server::start(refuse_the_third).await;
    let receiver = receiver(&server);
    for names in [&["a", "b"][..], &["a"], &["a"]] {
        put(&receiver, names).await.unwrap();
    }
    let sent: Vec<_> = server.asked().iter().map(series).collect();
    assert_eq!(sent[1..], [[lives("a")], [ends("b")], [lives("a")], [ends("b")]]);
}

#[tokio::test]
async fn what_is_pushed_in_place_of_a_refused_push_holds_nothing_of_it() {
    let server = Server::start(|asked| {
        let is_refused = series(asked).iter().any(|(name, _)| name.starts_with("bad"));
        if is_refused {
            (413, "too large\n".to_owned())
        } else {
            (204, String::new())
        }
    });
    let server = server.await;
    let receiver = receiver(&server);
    put(&receiver, &["a", "old"]).await.unwrap();
    for _ in 0..2 {
        let error = put(&receiver, &["a", "bad1", "bad2", "old"]).await.unwrap_err();
        assert_eq!(error.class(), "refused");
        put(&receiver, &["a"]).await.unwrap();
    }
    receiver.delete(0).await.unwrap();
    let accepted: Vec<_> = server
        .asked()
        .iter()
        .map(series)
        .filter(|sent| sent.len() == 1)
        .collect();
    assert_eq!(
        accepted,
        [[lives("a")], [ends("old")], [lives("a")], [ends("a")]],
        "what the receiver never took needs no end"
    );
}

#[tokio::test]
async fn the_ends_of_many_series_are_sent_a_thousand_at_a_time() {
    let server = Server::start(|_| (204, String::new())).await;
    let receiver = receiver(&server);
    let names: Vec<String> = (0..2500).map(|number| format!("n{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    put(&receiver, &names).await.unwrap();
    put(&receiver, &["a"]).await.unwrap();
    let sizes: Vec<usize> = server.asked().iter().map(|asked| series(asked).len()).collect();
    assert_eq!(sizes, [2500, 1, 1000, 1000, 500]);
}

#[tokio::test]
async fn a_receiver_that_is_busy_is_asked_three_times() {
    let server = Server::start(|_| (503, "busy\n".to_owned())).await;
    let error = put(&receiver(&server), &["a"]).await.unwrap_err();
    assert_eq!(error.class(), "failed");
    assert!(error.to_string().contains("answers 503: busy"), "{error}");
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn a_receiver_that_is_switched_off_is_named_with_the_flag() {
    let server = Server::start(|_| (404, "remote write receiver needs to be enabled\n".to_owned())).await;
    let error = receiver(&server).probe().await.unwrap_err();
    assert!(
        error.to_string().contains("--web.enable-remote-write-receiver"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_refused_is_refused() {
    let server = Server::start(|_| (400, "out of order sample\n".to_owned())).await;
    let error = put(&receiver(&server), &["a"]).await.unwrap_err();
    assert_eq!((error.class(), server.asked().len()), ("refused", 1));
}

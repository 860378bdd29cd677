//! One connection: cut, closed, silent, too large, of another protocol; and whoever asked goes away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kafka_admin::{Refusal, RefusalKind};
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{ApiKey, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::admin;
use crate::cluster::NEW;
use crate::fake::{Asked, Fake, Reaction, framed};

pub(crate) fn brokers(port: u16) -> MetadataResponse {
    let broker = MetadataResponseBroker::default()
        .with_host(StrBytes::from_static_str("127.0.0.1"))
        .with_port(i32::from(port));
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(StrBytes::from_static_str("cluster")))
}

/// A broker that answers a request for metadata with what `of` makes of the right answer.
async fn metadata(of: impl Fn(&Asked, Bytes) -> Reaction + Send + Sync + 'static) -> Fake {
    let (listener, port) = Fake::listen().await;
    Fake::serve(listener, move |asked| match asked.key {
        ApiKey::ApiVersions => asked.versions(&NEW),
        _ => of(&asked, asked.frame(&brokers(port), asked.version)),
    })
}

async fn refusal(fake: &Fake) -> Refusal {
    let refusal = admin(&fake.servers(), 1000, 2000).cluster().await.unwrap_err();
    assert_eq!(refusal.kind, RefusalKind::Passing, "{refusal}");
    assert!(refusal.reason.starts_with(&fake.servers()), "{refusal}");
    refusal
}

#[tokio::test]
async fn an_answer_that_is_cut_at_any_byte_is_an_error_and_the_next_is_not() {
    let cut = Arc::new(Mutex::new(None));
    let whole = Arc::new(AtomicUsize::new(0));
    let (of, size) = (Arc::clone(&cut), Arc::clone(&whole));
    let fake = metadata(move |_asked, frame| match *of.lock().unwrap() {
        None => {
            size.store(frame.len(), Ordering::Relaxed);
            Reaction::Send(frame)
        }
        Some((length, true)) => Reaction::SendAndClose(frame.slice(..length)),
        Some((length, false)) => Reaction::Send(framed(&frame[4..length])),
    })
    .await;
    let admin = admin(&fake.servers(), 2000, 2000);
    assert_eq!(admin.cluster().await.unwrap().id.as_deref(), Some("cluster"));
    for length in 0..whole.load(Ordering::Relaxed) {
        for is_closed in [true, false] {
            *cut.lock().unwrap() = Some((length.max(if is_closed { 0 } else { 4 }), is_closed));
            let refusal = admin.cluster().await.unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::Passing, "{length}: {refusal}");
            *cut.lock().unwrap() = None;
            admin.cluster().await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_answer_of_two_gigabytes_is_refused_before_it_comes() {
    let fake = metadata(|_asked, _frame| Reaction::Send(Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]))).await;
    let refusal = refusal(&fake).await;
    assert!(
        refusal
            .reason
            .contains("2147483647 bytes, and receive.message.max.bytes"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_broker_that_does_not_answer_or_closes_is_named() {
    let fake = metadata(|_asked, _frame| Reaction::Hang).await;
    let refused = refusal(&fake).await;
    assert!(
        refused.reason.contains("no answer to Metadata within 2.0s"),
        "{refused}"
    );
    let fake = metadata(|_asked, _frame| Reaction::SendAndClose(Bytes::new())).await;
    let refused = refusal(&fake).await;
    assert!(
        refused.reason.contains("the listener may require SASL"),
        "{refused}"
    );
    let fake = Fake::start(|_asked| Reaction::SendAndClose(Bytes::new())).await;
    let refused = refusal(&fake).await;
    assert!(refused.reason.contains("the port may expect TLS"), "{refused}");
    let fake = Fake::start(|_asked| Reaction::Hang).await;
    let refused = refusal(&fake).await;
    assert!(
        refused.reason.contains("no answer to ApiVersions within 1s"),
        "{refused}"
    );
}

#[tokio::test]
async fn an_answer_to_nothing_ends_the_connection() {
    let fake = metadata(|_asked, _frame| Reaction::Send(framed(&[9; 20]))).await;
    let refused = refusal(&fake).await;
    assert!(
        refused.reason.contains("a request that was not made"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_port_of_http_and_one_of_nobody_are_named() {
    let (listener, port) = Fake::listen().await;
    let mut http = JoinSet::new();
    http.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(stream.read(&mut [0; 100]).await);
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
        }
    });
    let servers = format!("127.0.0.1:{port}");
    let refusal = admin(&servers, 2000, 2000).cluster().await.unwrap_err();
    assert!(
        refusal.reason.contains("its answer begins with \"HTTP\""),
        "{refusal}"
    );
    http.shutdown().await;
    let refusal = admin(&servers, 2000, 2000).cluster().await.unwrap_err();
    assert!(
        refusal.reason.contains("check kafka.bootstrap_servers"),
        "{refusal}"
    );
}

#[tokio::test]
async fn an_advertised_address_that_nobody_reaches_names_the_brokers_setting() {
    let (listener, port) = Fake::listen().await;
    drop(listener);
    let fake = Fake::start(move |asked| match asked.key {
        ApiKey::ApiVersions => asked.versions(&[NEW.as_slice(), &[(ApiKey::ListGroups, 0, 5)]].concat()),
        _ => asked.answer(&brokers(port)),
    })
    .await;
    let groups = admin(&fake.servers(), 2000, 2000).list_groups().await.unwrap();
    let refusal = groups[0].1.as_ref().unwrap_err();
    assert!(
        refusal
            .reason
            .starts_with(&format!("127.0.0.1:{port}: cannot connect")),
        "{refusal}"
    );
    assert!(
        refusal.reason.contains("check the broker's advertised.listeners"),
        "{refusal}"
    );
}

#[tokio::test]
async fn whoever_goes_away_harms_nobody_and_a_late_answer_is_thrown_away() {
    let count = Arc::new(AtomicUsize::new(0));
    let of = Arc::clone(&count);
    let first = Arc::new(Mutex::new(None));
    let fake = metadata(move |_asked, frame| {
        // The first answer comes with the second.
        if of.fetch_add(1, Ordering::Relaxed) == 0 {
            *first.lock().unwrap() = Some(frame);
            return Reaction::Hang;
        }
        let late = first.lock().unwrap().take();
        Reaction::Send(late.into_iter().chain([frame]).flatten().collect())
    })
    .await;
    let admin = admin(&fake.servers(), 5000, 5000);
    let given_up = timeout(Duration::from_millis(300), admin.cluster()).await;
    assert!(given_up.is_err());
    assert_eq!(admin.cluster().await.unwrap().id.as_deref(), Some("cluster"));
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn requests_in_flight_are_bounded_and_none_is_lost() {
    // It answers only when eight have come, so it never gets more.
    let waiting = Arc::new(Mutex::new(Vec::new()));
    let of = Arc::clone(&waiting);
    let fake = metadata(move |_asked, frame| {
        let mut waiting = of.lock().unwrap();
        waiting.push(frame);
        if waiting.len() < 8 {
            return Reaction::Hang;
        }
        Reaction::Send(waiting.drain(..).flatten().collect())
    })
    .await;
    let admin = admin(&fake.servers(), 5000, 5000);
    let mut asking = JoinSet::new();
    for _ in 0..400 {
        let admin = admin.clone();
        asking.spawn(async move { admin.cluster().await.map(drop) });
    }
    let answers = asking.join_all().await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

#[tokio::test]
async fn a_broker_that_comes_back_is_found_again() {
    let (listener, port) = Fake::listen().await;
    drop(listener);
    let admin = admin(&format!("127.0.0.1:{port}"), 2000, 2000);
    for _ in 0..5 {
        assert!(admin.cluster().await.is_err());
    }
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let _fake = Fake::serve(listener, move |asked| match asked.key {
        ApiKey::ApiVersions => asked.versions(&NEW),
        _ => asked.answer(&brokers(port)),
    });
    let begun = Instant::now();
    while admin.cluster().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5));
        sleep(Duration::from_millis(10)).await;
    }
}

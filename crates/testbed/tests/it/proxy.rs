//! The fault proxy, between a client and a server that answers each letter.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use testbed::{Cut, Fault, FaultProxy, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_secs(30);
/// Nothing comes if nothing came for so long.
const SILENCE: Duration = Duration::from_millis(300);

/// A server that answers each byte with the next one, and counts them and its open connections.
struct Next {
    asked: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    _connections: JoinSet<()>,
}

impl Next {
    async fn behind(proxy: &FaultProxy) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        proxy.forward_to(listener.local_addr().unwrap());
        let (asked, open) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let mut connections = JoinSet::new();
        let counters = (Arc::clone(&asked), Arc::clone(&open));
        connections.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, counters.clone()));
            }
        });
        Self {
            asked,
            open,
            _connections: connections,
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    async fn has_open(&self, connections: usize) {
        let has = async || (self.open.load(Ordering::Relaxed) == connections).then_some(());
        until(PATIENCE, has).await.unwrap();
    }
}

async fn answer(mut stream: TcpStream, (asked, open): (Arc<AtomicUsize>, Arc<AtomicUsize>)) {
    open.fetch_add(1, Ordering::Relaxed);
    while let Ok(byte) = stream.read_u8().await {
        asked.fetch_add(1, Ordering::Relaxed);
        if stream.write_u8(byte + 1).await.is_err() {
            break;
        }
    }
    open.fetch_sub(1, Ordering::Relaxed);
}

struct Client(TcpStream);

impl Client {
    async fn of(proxy: &FaultProxy) -> Self {
        Self(TcpStream::connect(proxy.address()).await.unwrap())
    }

    async fn send(&mut self, byte: u8) {
        self.0.write_u8(byte).await.unwrap();
    }

    async fn asks(&mut self, byte: u8) -> u8 {
        self.send(byte).await;
        timeout(PATIENCE, self.0.read_u8()).await.unwrap().unwrap()
    }

    async fn hears_nothing(&mut self) -> bool {
        timeout(SILENCE, self.0.read_u8()).await.is_err()
    }

    /// How the connection ended.
    async fn end(&mut self) -> ErrorKind {
        let read = timeout(PATIENCE, self.0.read_u8()).await.unwrap();
        read.unwrap_err().kind()
    }
}

async fn stage() -> (FaultProxy, Next) {
    let proxy = FaultProxy::start().unwrap();
    let server = Next::behind(&proxy).await;
    (proxy, server)
}

#[tokio::test]
async fn without_a_fault_bytes_and_ends_pass_and_are_counted() {
    let (proxy, server) = stage().await;
    let mut client = Client::of(&proxy).await;
    for byte in 1..=5 {
        assert_eq!(client.asks(byte).await, byte + 1);
    }
    let counts = proxy.counts();
    assert_eq!((counts.connections, counts.open), (1, 1));
    assert_eq!((counts.request_bytes, counts.answer_bytes), (5, 5));
    server.has_open(1).await;
    drop(client);
    server.has_open(0).await;
    let closed = until(PATIENCE, async || (proxy.counts().open == 0).then_some(()));
    closed.await.unwrap();
}

#[tokio::test]
async fn a_delay_holds_back_requests_and_answers() {
    let (proxy, _server) = stage().await;
    let mut client = Client::of(&proxy).await;
    proxy.set(Fault::Delay(SILENCE));
    let began = Instant::now();
    assert_eq!(client.asks(1).await, 2);
    assert!(began.elapsed() >= SILENCE * 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_black_hole_accepts_and_keeps_what_it_got_until_it_is_over() {
    let (proxy, server) = stage().await;
    let mut standing = Client::of(&proxy).await;
    assert_eq!(standing.asks(1).await, 2);
    proxy.set(Fault::BlackHole);
    let mut new = Client::of(&proxy).await;
    for client in [&mut standing, &mut new] {
        client.send(5).await;
        assert!(client.hears_nothing().await);
    }
    assert_eq!(server.asked(), 1);
    proxy.set(Fault::None);
    for client in [&mut standing, &mut new] {
        assert_eq!(timeout(PATIENCE, client.0.read_u8()).await.unwrap().unwrap(), 6);
    }
}

#[tokio::test]
async fn where_answers_are_swallowed_requests_are_done_and_their_connection_is_reset_at_the_end() {
    let (proxy, server) = stage().await;
    let mut client = Client::of(&proxy).await;
    let mut silent = Client::of(&proxy).await;
    assert_eq!(silent.asks(1).await, 2);
    proxy.set(Fault::SwallowAnswers);
    client.send(7).await;
    client.send(8).await;
    until(PATIENCE, async || (server.asked() == 3).then_some(()))
        .await
        .unwrap();
    assert!(client.hears_nothing().await);
    assert_eq!(proxy.counts().swallowed_bytes, 2);
    proxy.set(Fault::None);
    assert_eq!(client.end().await, ErrorKind::ConnectionReset);
    assert_eq!(silent.asks(3).await, 4, "it lost nothing");
    assert_eq!(Client::of(&proxy).await.asks(3).await, 4);
}

#[tokio::test]
async fn a_cut_resets_or_closes_what_stands_and_spares_what_comes() {
    let (proxy, server) = stage().await;
    let cuts = [
        (Cut::Reset, ErrorKind::ConnectionReset),
        (Cut::Close, ErrorKind::UnexpectedEof),
    ];
    for (cut, seen) in cuts {
        let mut client = Client::of(&proxy).await;
        assert_eq!(client.asks(1).await, 2);
        proxy.cut(cut);
        assert_eq!(client.end().await, seen);
        server.has_open(0).await;
        assert_eq!(Client::of(&proxy).await.asks(1).await, 2);
        server.has_open(0).await;
    }
}

#[tokio::test]
async fn a_half_open_connection_takes_requests_and_never_answers() {
    let (proxy, server) = stage().await;
    let mut client = Client::of(&proxy).await;
    assert_eq!(client.asks(1).await, 2);
    proxy.cut(Cut::HalfOpen);
    server.has_open(0).await;
    client.send(1).await;
    client.send(1).await;
    assert!(client.hears_nothing().await);
    assert_eq!(server.asked(), 1);
    assert_eq!(Client::of(&proxy).await.asks(1).await, 2);
    proxy.cut(Cut::Reset);
    assert_eq!(client.end().await, ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn refused_connections_never_reach_the_far_end() {
    let (proxy, server) = stage().await;
    let mut standing = Client::of(&proxy).await;
    assert_eq!(standing.asks(1).await, 2);
    proxy.set(Fault::Refuse);
    assert_eq!(standing.end().await, ErrorKind::ConnectionReset);
    // The reset may be there before the connection is seen to stand.
    let refused = match TcpStream::connect(proxy.address()).await {
        Ok(stream) => Client(stream).end().await,
        Err(error) => error.kind(),
    };
    assert_eq!(refused, ErrorKind::ConnectionReset);
    server.has_open(0).await;
    proxy.set(Fault::None);
    assert_eq!(Client::of(&proxy).await.asks(1).await, 2);
    assert_eq!(server.asked(), 2);
}

//! Owns a TCP proxy on loopback whose faults are switched while connections run: it stands between a program and any peer.
//!
//! It knows no protocol. It runs on a thread of its own, so that neither a paused clock nor a test that blocks holds it up.

mod connection;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The most connections at a time. Further ones wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 1024;

/// What happens to all connections, standing and new, until the next [`FaultProxy::set`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Everything passes.
    #[default]
    None,
    /// Everything passes; each read, in either direction, is written only so much later.
    Delay(Duration),
    /// Connections are accepted and kept open; nothing passes, the end of a connection neither. What was sent meanwhile
    /// passes when the fault is over, as TCP sends again what a network lost.
    BlackHole,
    /// Requests pass, and the far end acts on them; answers are thrown away. A connection that lost some is reset when
    /// the fault is over.
    SwallowAnswers,
    /// Connections are reset.
    Refuse,
}

/// How [`FaultProxy::cut`] ends the connections that stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Both ends get a TCP reset.
    Reset,
    /// Both ends read the end of the stream.
    Close,
    /// The far end reads the end of the stream. The near end is not informed: its connection stays open, takes what is
    /// sent, and nothing ever comes back.
    HalfOpen,
}

/// What went through a [`FaultProxy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProxyCounts {
    /// Connections that were accepted.
    pub connections: u64,
    /// Those of them that are open.
    pub open: u64,
    /// Bytes that passed to the far end.
    pub request_bytes: u64,
    /// Bytes that passed from the far end.
    pub answer_bytes: u64,
    /// Bytes from the far end that were thrown away.
    pub swallowed_bytes: u64,
}

/// A TCP proxy on loopback. It ends, with its connections, when it is dropped.
pub struct FaultProxy {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

/// What connections are to do.
#[derive(Debug, Clone, Copy)]
struct Orders {
    fault: Fault,
    /// The far end; without one connections are reset.
    far: Option<SocketAddr>,
    /// How often [`FaultProxy::cut`] was called: a connection ends if that was after it began.
    cuts: u64,
    cut: Cut,
    ended: bool,
}

#[derive(Default)]
struct Counters {
    connections: AtomicU64,
    open: AtomicU64,
    requests: AtomicU64,
    answers: AtomicU64,
    swallowed: AtomicU64,
}

impl FaultProxy {
    /// Listens on a free port. Connections are reset until [`Self::forward_to`] names the far end: a broker has to know
    /// the proxy's port before it starts ([`crate::KafkaSettings::advertised_port`]).
    ///
    /// # Errors
    /// If no port or thread is to be had.
    pub fn start() -> anyhow::Result<Self> {
        let listener =
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("the proxy has no port")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let orders = watch::Sender::new(Orders {
            fault: Fault::None,
            far: None,
            cuts: 0,
            cut: Cut::Reset,
            ended: false,
        });
        let counters = Arc::<Counters>::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("the proxy has no runtime")?;
        let (receiver, counted) = (orders.subscribe(), Arc::clone(&counters));
        let thread = std::thread::Builder::new().name("fault-proxy".to_owned());
        let thread = thread
            .spawn(move || runtime.block_on(accept(listener, receiver, counted)))
            .context("the proxy has no thread")?;
        Ok(Self {
            address,
            orders,
            counters,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Names the far end of connections that begin from now on.
    pub fn forward_to(&self, far: SocketAddr) {
        self.orders.send_modify(|orders| orders.far = Some(far));
    }

    /// Switches to a fault, or to none.
    pub fn set(&self, fault: Fault) {
        self.orders.send_modify(|orders| orders.fault = fault);
    }

    /// Ends the connections that stand. New ones are not touched.
    pub fn cut(&self, cut: Cut) {
        self.orders.send_modify(|orders| {
            orders.cut = cut;
            orders.cuts += 1;
        });
    }

    /// What went through it so far.
    pub fn counts(&self) -> ProxyCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProxyCounts {
            connections: count(&self.counters.connections),
            open: count(&self.counters.open),
            request_bytes: count(&self.counters.requests),
            answer_bytes: count(&self.counters.answers),
            swallowed_bytes: count(&self.counters.swallowed),
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.orders.send_modify(|orders| orders.ended = true);
        // A panic there was printed by its thread already.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

async fn accept(listener: std::net::TcpListener, orders: watch::Receiver<Orders>, counters: Arc<Counters>) {
    let mut ends = orders.clone();
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = ended(&mut ends) => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                if let Ok((near, _)) = accepted {
                    counters.connections.fetch_add(1, Ordering::Relaxed);
                    counters.open.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(connection::run(near, orders.clone(), Arc::clone(&counters)));
                }
            }
        }
    }
}

async fn ended(orders: &mut watch::Receiver<Orders>) {
    // Without a sender it has ended, too.
    drop(orders.wait_for(|orders| orders.ended).await);
}

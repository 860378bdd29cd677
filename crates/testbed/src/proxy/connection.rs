//! Owns one connection of the proxy, from its acceptance to its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch::Receiver;
use tokio::time::sleep;

use super::{Counters, Cut, Fault, Orders};

/// The most that is read at a time.
const CHUNK: usize = 64 << 10;

/// Forwards a connection until one of its ends, or an order, ends it.
pub(super) async fn run(mut near: TcpStream, orders: Receiver<Orders>, counters: Arc<Counters>) {
    let began_at = orders.borrow().cuts;
    let mut far = None;
    let cut = tokio::select! {
        // Also the first word: with a fault that refuses, the far end sees nothing of the connection.
        biased;
        cut = ordered_cut(orders.clone(), began_at) => Some(cut),
        relayed = relay(&mut near, &mut far, &orders, &counters) => relayed.is_err().then_some(Cut::Reset),
    };
    match cut {
        Some(Cut::Reset) => {
            // If that fails, the connection is gone already.
            drop(near.set_zero_linger());
            drop(far.map(|far| far.set_zero_linger()));
        }
        Some(Cut::HalfOpen) => {
            drop(far);
            let cuts = orders.borrow().cuts;
            tokio::select! {
                _ = ordered_cut(orders, cuts) => drop(near.set_zero_linger()),
                () = ignore(&near) => {}
            }
        }
        Some(Cut::Close) | None => {}
    }
    counters.open.fetch_sub(1, Ordering::Relaxed);
}

/// Waits for an order that ends a connection which began after so many cuts.
async fn ordered_cut(mut orders: Receiver<Orders>, began_at: u64) -> Cut {
    let is_cut = |orders: &Orders| orders.cuts > began_at || orders.fault == Fault::Refuse;
    match orders.wait_for(is_cut).await {
        Ok(orders) if orders.cuts > began_at => orders.cut,
        _ => Cut::Reset,
    }
}

/// Takes what is sent, without an answer, until the near end closes.
async fn ignore(near: &TcpStream) {
    let mut buffer = vec![0; CHUNK];
    while near.readable().await.is_ok() {
        match near.try_read(&mut buffer) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

async fn relay(
    near: &mut TcpStream,
    far: &mut Option<TcpStream>,
    orders: &Receiver<Orders>,
    counters: &Counters,
) -> io::Result<()> {
    let mut ours = orders.clone();
    outlast_black_hole(&mut ours).await?;
    let address = orders.borrow().far.ok_or(io::ErrorKind::ConnectionRefused)?;
    let far = far.insert(TcpStream::connect(address).await?);
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = far.split();
    let requests = Pump {
        from: near_read,
        to: far_write,
        orders: orders.clone(),
        passed: &counters.requests,
        swallowed: None,
    };
    let answers = Pump {
        from: far_read,
        to: near_write,
        orders: orders.clone(),
        passed: &counters.answers,
        swallowed: Some(&counters.swallowed),
    };
    tokio::try_join!(requests.run(), answers.run()).map(drop)
}

/// Waits until a black hole, if there is one, is over.
async fn outlast_black_hole(orders: &mut Receiver<Orders>) -> io::Result<()> {
    let passable = orders.wait_for(|orders| orders.fault != Fault::BlackHole).await;
    passable.map(drop).map_err(io::Error::other)
}

/// One direction of a connection.
struct Pump<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    orders: Receiver<Orders>,
    passed: &'a AtomicU64,
    /// In the direction of answers: counts those that are thrown away.
    swallowed: Option<&'a AtomicU64>,
}

impl Pump<'_> {
    /// Forwards until the end of the stream, and then that.
    async fn run(mut self) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            self.from.readable().await?;
            // Before reading: what a black hole holds back stays with the kernel, which then holds back the sender.
            outlast_black_hole(&mut self.orders).await?;
            let length = match self.from.try_read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                read => read?,
            };
            let fault = self.orders.borrow().fault;
            match (fault, self.swallowed) {
                (Fault::SwallowAnswers, Some(swallowed)) => return self.swallow(length, swallowed).await,
                (Fault::Delay(delay), _) => sleep(delay).await,
                _ => {}
            }
            outlast_black_hole(&mut self.orders).await?;
            if length == 0 {
                return self.to.shutdown().await;
            }
            // First: who has read it finds it counted.
            self.passed.fetch_add(length as u64, Ordering::Relaxed);
            self.to.write_all(&buffer[..length]).await?;
        }
    }

    /// Throws answers away until the fault is over, after one of this length, and then fails: who reads on would take
    /// the next answer for the one that is lost.
    async fn swallow(self, length: usize, swallowed: &AtomicU64) -> io::Result<()> {
        swallowed.fetch_add(length as u64, Ordering::Relaxed);
        let (from, mut orders) = (self.from, self.orders);
        let throw_away = async {
            let mut buffer = vec![0; CHUNK];
            // The end of the stream is an answer, too.
            while from.readable().await.is_ok() {
                match from.try_read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => {
                        swallowed.fetch_add(length as u64, Ordering::Relaxed);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = throw_away => {}
            _ = orders.wait_for(|orders| orders.fault != Fault::SwallowAnswers) => {}
        }
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

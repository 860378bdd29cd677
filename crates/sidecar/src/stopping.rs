//! Owns how a program ends: a signal asks it to, a second one or the end of the grace period abandons its work.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

/// The signals that ask a program to end.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Waits for the end of `work`. On a signal it calls `stop` and gives the work `grace` to end by itself.
pub(crate) async fn until_stopped(
    work: impl Future<Output = anyhow::Result<()>>,
    stop: impl FnOnce(),
    mut signals: Signals,
    grace: Duration,
) -> anyhow::Result<()> {
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => return result,
        signal = signals.next() => tracing::info!(signal, ?grace, "stopping"),
    }
    stop();
    tokio::select! {
        result = work => result,
        () = sleep(grace) => bail!("the work was abandoned: it did not end within the grace period of {grace:?}"),
        signal = signals.next() => bail!("the work was abandoned: a second signal came ({signal})"),
    }
}

//! Owns how a program ends: a signal asks it to, a second one or the end of the grace period abandons its work.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

/// What comes so soon after a signal is the same one: some supervisors signal a process, and then its group.
const SAME_SIGNAL: Duration = Duration::from_millis(100);

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

    /// The next signal that is not the same as one that came just now.
    async fn another(&mut self) -> &'static str {
        let first = Instant::now();
        loop {
            let signal = self.next().await;
            if first.elapsed() >= SAME_SIGNAL {
                return signal;
            }
        }
    }
}

/// Waits for the end of `work`. On a signal it calls `stop` and gives the work `grace` to end by itself. `unmet` says what
/// it may have waited for.
pub(crate) async fn until_stopped(
    work: impl Future<Output = anyhow::Result<()>>,
    stop: impl FnOnce(),
    mut signals: Signals,
    (grace, unmet): (Duration, impl FnOnce() -> String),
) -> anyhow::Result<()> {
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => return result,
        signal = signals.next() => tracing::info!(signal, ?grace, "stopping"),
    }
    stop();
    tokio::select! {
        result = work => result,
        () = sleep(grace) => bail!("the work was abandoned: it did not end within the grace period of {grace:?}{}", unmet()),
        signal = signals.another() => bail!("the work was abandoned: a second signal came ({signal})"),
    }
}

//! Owns the loops: one task for each stream, none of which can hold up another, and how they end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use checkpoint::Store;
use sidecar::{Condition, Frame, Heartbeat};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::jittered;
use crate::group::Groups;
use crate::stream::{Stream, StreamError};

/// A cycle that takes longer is abandoned, and begun again with the next turn. Each of its waits has a bound of its own,
/// which together are shorter unless a checkpoint has to be searched.
const CYCLE_LIMIT: Duration = Duration::from_mins(2);
/// How long a cycle that is under way may go on after a signal. What it has committed is true however it ends.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How often the reporter shows that it is alive.
const BEAT: Duration = Duration::from_secs(10);

/// How streams are run.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// How often each is looked at.
    pub poll_interval: Duration,
    /// How many are at the same time.
    pub concurrency: usize,
}

/// Runs streams until the frame says stop.
///
/// # Errors
/// Where a loop ends by itself, which is a bug.
pub async fn run<S: Store + 'static, G: Groups>(
    streams: Vec<Stream<S, G>>,
    schedule: Schedule,
    frame: &Frame,
) -> anyhow::Result<()> {
    let permits = Arc::new(Semaphore::new(schedule.concurrency));
    let mut loops = JoinSet::new();
    for stream in streams {
        let condition = frame.readiness.condition(&format!("stream {}", stream.name()));
        let turns = Turns {
            permits: permits.clone(),
            condition,
            interval: schedule.poll_interval,
        };
        loops.spawn(turns.until(frame.stop.clone(), stream));
    }
    let ended = tokio::select! {
        ended = loops.join_next() => ended,
        () = beat(&frame.heartbeat) => None,
    };
    if !frame.stop.is_cancelled() {
        bail!("a stream's loop ended by itself: {ended:?}");
    }
    while loops.join_next().await.is_some() {}
    Ok(())
}

/// Looks at each stream once.
///
/// # Errors
/// Where any of them failed.
pub async fn once<S: Store + 'static, G: Groups>(
    streams: Vec<Stream<S, G>>,
    concurrency: usize,
) -> anyhow::Result<()> {
    let permits = Arc::new(Semaphore::new(concurrency));
    let total = streams.len();
    let mut cycles = JoinSet::new();
    for mut stream in streams {
        let permits = permits.clone();
        cycles.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let mut result = cycle(&mut stream).await;
            if stream.is_unconfirmed() {
                result = cycle(&mut stream).await;
            }
            (stream.name().to_owned(), result)
        });
    }
    let mut failed = Vec::new();
    while let Some(ended) = cycles.join_next().await {
        let (name, result) = ended?;
        if let Err(error) = result {
            tracing::error!(stream = name, "{error:#}");
            failed.push(format!("{name}: {error:#}"));
        }
    }
    failed.sort();
    if !failed.is_empty() {
        bail!(
            "{} of {total} streams failed:\n{}",
            failed.len(),
            failed.join("\n")
        );
    }
    Ok(())
}

/// The turns of one stream.
struct Turns {
    permits: Arc<Semaphore>,
    condition: Condition,
    interval: Duration,
}

impl Turns {
    async fn until<S: Store, G: Groups>(self, stop: CancellationToken, mut stream: Stream<S, G>) {
        // The first looks are spread over the interval as later ones are.
        let mut wait = self.interval.mul_f64(fastrand::f64()).min(Duration::from_secs(1));
        while stop.run_until_cancelled(sleep(wait)).await.is_some() {
            let Some(Ok(permit)) = stop.run_until_cancelled(self.permits.acquire()).await else {
                return;
            };
            let turn = tokio::select! {
                turn = cycle(&mut stream) => Some(turn),
                () = patience_after(&stop) => None,
            };
            drop(permit);
            match turn {
                Some(Ok(())) => self.condition.met(),
                // The condition tells a change of the reason once.
                Some(Err(error)) => self.condition.unmet(format!("{error:#}")),
                None => return,
            }
            wait = jittered(self.interval);
        }
    }
}

/// A cycle, with its causes in one line where it fails.
async fn cycle<S: Store, G: Groups>(stream: &mut Stream<S, G>) -> anyhow::Result<()> {
    match timeout(CYCLE_LIMIT, stream.cycle()).await {
        Ok(result) => result.map_err(|error: StreamError| error.into()),
        Err(_elapsed) => bail!("the cycle did not end within {CYCLE_LIMIT:?}"),
    }
}

async fn patience_after(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(STOP_PATIENCE).await;
}

async fn beat(heartbeat: &Heartbeat) {
    loop {
        heartbeat.beat();
        sleep(BEAT).await;
    }
}

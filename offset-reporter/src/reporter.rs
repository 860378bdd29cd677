//! Owns the loops: one task for each stream, none of which can hold up another, and how they end.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;
use checkpoint::{BatchId, Store};
use sidecar::{Condition, Frame};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::backoff::jittered;
use crate::group::Groups;
use crate::stream::{Observation, Stream, TURN_LIMIT};

/// How long a turn that is under way may go on after a signal. What it has committed is true however it ends.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often is looked whether the loops advance.
const BEAT: Duration = Duration::from_secs(10);
/// A stream is idle that is well and has had no new batch for so many poll intervals.
const IDLE_AFTER: u32 = 9;
/// How much later than it should a loop may advance on a busy machine.
const LATENESS: Duration = Duration::from_secs(30);

/// How streams are run.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// How often each is looked at.
    pub poll_interval: Duration,
    /// How often one is that is idle.
    pub idle_poll_interval: Duration,
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
    let deadlines = Arc::new(Deadlines(Mutex::new(vec![None; streams.len()])));
    let total = u32::try_from(streams.len()).unwrap_or(u32::MAX);
    let mut loops = JoinSet::new();
    for ((index, stream), number) in streams.into_iter().enumerate().zip(0u32..) {
        let span = tracing::info_span!("stream", name = stream.name());
        let turns = Turns {
            permits: permits.clone(),
            condition: frame.readiness.condition(&format!("stream {}", stream.name())),
            deadlines: deadlines.clone(),
            index,
            pace: Pace::new(schedule, Instant::now()),
            reported: None,
        };
        // The first turns are spread evenly over the interval; jitter keeps later ones apart.
        let first = Instant::now() + schedule.poll_interval * number / total;
        loops.spawn(turns.until(frame.stop.clone(), first, stream).instrument(span));
    }
    loop {
        // It beats for the loops: only as long as each of them advances.
        if deadlines.are_kept() {
            frame.heartbeat.beat();
        }
        tokio::select! {
            ended = loops.join_next() => {
                if !frame.stop.is_cancelled() {
                    bail!("a stream's loop ended by itself: {ended:?}");
                }
                if ended.is_none() {
                    return Ok(());
                }
            }
            () = sleep(BEAT) => {}
        }
    }
}

/// Looks at each stream once. The streams, whose steps were made however it ended; and an error if any of them failed.
///
/// # Errors
/// Where a cycle ended by itself, which is a bug.
pub async fn once<S: Store + 'static, G: Groups>(
    streams: Vec<Stream<S, G>>,
    concurrency: usize,
) -> anyhow::Result<(Vec<Stream<S, G>>, anyhow::Result<()>)> {
    let permits = Arc::new(Semaphore::new(concurrency));
    let total = streams.len();
    let mut cycles = JoinSet::new();
    for mut stream in streams {
        let permits = permits.clone();
        let span = tracing::info_span!("stream", name = stream.name());
        let cycle = async move {
            let _permit = permits.acquire_owned().await;
            let mut result = stream.cycle().await;
            if stream.is_unconfirmed() {
                result = stream.cycle().await;
            }
            (stream, result.map_err(anyhow::Error::from))
        };
        cycles.spawn(cycle.instrument(span));
    }
    let (mut streams, mut failed) = (Vec::new(), Vec::new());
    while let Some(ended) = cycles.join_next().await {
        let (stream, result) = ended?;
        if let Err(error) = result {
            tracing::error!(stream = stream.name(), "{error:#}");
            failed.push(format!("{}: {error:#}", stream.name()));
        }
        streams.push(stream);
    }
    failed.sort();
    let result = if failed.is_empty() {
        Ok(())
    } else {
        let (count, list) = (failed.len(), failed.join("\n"));
        Err(anyhow::anyhow!("{count} of {total} streams failed:\n{list}"))
    };
    Ok((streams, result))
}

/// By when each loop must have advanced; none while it waits for others, whose own bounds are here.
struct Deadlines(Mutex<Vec<Option<Instant>>>);

impl Deadlines {
    fn set(&self, index: usize, deadline: Option<Instant>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[index] = deadline;
    }

    fn are_kept(&self) -> bool {
        let deadlines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        deadlines
            .iter()
            .flatten()
            .all(|deadline| now <= *deadline + LATENESS)
    }
}

/// A question that is not answered yet.
type Asked = Pin<Box<dyn Future<Output = Observation> + Send>>;

/// The turns of one stream.
struct Turns {
    permits: Arc<Semaphore>,
    condition: Condition,
    deadlines: Arc<Deadlines>,
    index: usize,
    pace: Pace,
    /// Which failure was reported last: its text changes while it is the same.
    reported: Option<&'static str>,
}

/// How soon a stream is looked at again.
struct Pace {
    schedule: Schedule,
    newest: Option<BatchId>,
    /// When there was a new batch last, or the stream was not well.
    moved_at: Instant,
}

impl Pace {
    fn new(schedule: Schedule, now: Instant) -> Self {
        Self {
            schedule,
            newest: None,
            moved_at: now,
        }
    }

    /// After a look that found this batch to be the newest.
    fn after(&mut self, newest: Option<BatchId>, is_well: bool, now: Instant) -> Duration {
        let Schedule {
            poll_interval,
            idle_poll_interval,
            ..
        } = self.schedule;
        if newest != self.newest || !is_well {
            self.newest = newest;
            self.moved_at = now;
        }
        if now - self.moved_at < IDLE_AFTER * poll_interval {
            poll_interval
        } else {
            idle_poll_interval
        }
    }
}

impl Turns {
    async fn until<S: Store + 'static, G: Groups>(
        mut self,
        stop: CancellationToken,
        mut next: Instant,
        mut stream: Stream<S, G>,
    ) {
        let mut asked: Option<Asked> = None;
        loop {
            self.deadlines.set(self.index, Some(next));
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(next) => {}
                observation = answer(&mut asked) => {
                    asked = None;
                    stream.show(observation);
                    self.report(&stream);
                    continue;
                }
            }
            self.deadlines.set(self.index, None);
            let Some(Ok(permit)) = stop.run_until_cancelled(self.permits.acquire()).await else {
                return;
            };
            self.deadlines.set(self.index, Some(Instant::now() + TURN_LIMIT));
            // On the heap, since the calls to a store make it some ten kilobytes, which a stream needs only in its turn.
            let turn = Box::pin(stream.report());
            tokio::select! {
                () = turn => {}
                () = timeout_after(&stop) => return,
            }
            drop(permit);
            if asked.is_none() {
                asked = stream.ask().map(|asked| -> Asked { Box::pin(asked) });
            }
            // Without an answer nobody knows yet whether the stream is well.
            if asked.is_none() || stream.health().is_err() {
                self.report(&stream);
            }
            let now = Instant::now();
            let interval = self.pace.after(stream.newest(), stream.health().is_ok(), now);
            next = now + jittered(interval);
        }
    }

    fn report<S: Store, G: Groups>(&mut self, stream: &Stream<S, G>) {
        match stream.health() {
            Ok(()) => {
                self.reported = None;
                self.condition.met();
            }
            Err(error) if self.reported != Some(error.name()) => {
                self.reported = Some(error.name());
                self.condition.unmet(format!("{:#}", anyhow::Error::from(error)));
            }
            Err(_) => {}
        }
    }
}

/// The answer, if there is a question.
async fn answer(asked: &mut Option<Asked>) -> Observation {
    match asked {
        Some(asked) => asked.await,
        None => std::future::pending().await,
    }
}

async fn timeout_after(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(STOP_TIMEOUT).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_without_new_batches_is_looked_at_less_often_until_there_is_one() {
        let (poll, idle) = (Duration::from_secs(10), Duration::from_secs(30));
        let schedule = Schedule {
            poll_interval: poll,
            idle_poll_interval: idle,
            concurrency: 1,
        };
        let begun = Instant::now();
        let mut pace = Pace::new(schedule, begun);
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(pace.after(Some(BatchId(1)), true, at(0)), poll);
        assert_eq!(pace.after(Some(BatchId(1)), true, at(89)), poll);
        assert_eq!(pace.after(Some(BatchId(1)), true, at(90)), idle);
        assert_eq!(pace.after(Some(BatchId(2)), true, at(120)), poll);
        assert_eq!(
            pace.after(Some(BatchId(2)), false, at(240)),
            poll,
            "it is not well"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_loop_that_is_late_is_enough_to_stop_the_heart() {
        let deadlines = Deadlines(Mutex::new(vec![None; 3]));
        assert!(deadlines.are_kept(), "they wait for others");
        deadlines.set(0, Some(Instant::now() + 10 * LATENESS));
        deadlines.set(2, Some(Instant::now()));
        tokio::time::advance(LATENESS).await;
        assert!(deadlines.are_kept(), "a busy machine");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!deadlines.are_kept());
        deadlines.set(2, Some(Instant::now()));
        assert!(deadlines.are_kept());
    }
}

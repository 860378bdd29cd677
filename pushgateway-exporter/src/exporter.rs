//! Owns the loop: each cycle scrapes all targets, then pushes each. It is the only module that knows both ends.
//!
//! The law: one bad sample or target never blanks the others; nothing is invented.

mod telemetry;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::telemetry::Telemetry;
use crate::pace::Pace;
use crate::push::{OnExit, PushError, Pushed, Pusher, Sink};
use crate::report::Run;
use crate::scrape::{NoPage, Scrape};
use crate::shape::{Shape, Shaped};
use crate::status::Status;
use crate::target::Target;
use crate::{clock, exposition};

/// The most targets that are scraped at a time: each may hold a page of the greatest size.
const MAX_SCRAPES: usize = 4;
/// How long the pushes of a cycle may take in all.
const PUSH_BUDGET: Duration = Duration::from_secs(40);
/// How long a push that is on its way may take after a signal.
const PUSH_GRACE: Duration = Duration::from_secs(1);
/// How long the last pushes, and the question before them, may then take.
const LAST_PUSH_BUDGET: Duration = Duration::from_secs(2);

/// How the exporter behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What becomes of a page.
    pub shape: Shape,
    /// After so many failures in a row the last values of a target are not pushed any more.
    pub stale_after: NonZeroU32,
    /// What becomes of the values at the end.
    pub on_exit: OnExit,
    /// What does not change while it runs.
    pub run: Run,
}

/// Scrapes and pushes.
#[derive(Debug)]
pub struct Exporter<S, K> {
    scrape: Arc<S>,
    pusher: Pusher<K>,
    settings: Settings,
    labels: Vec<BTreeMap<String, String>>,
    statuses: Vec<Status>,
    pace: Pace,
    telemetry: Telemetry,
    /// The target that is pushed first: the last cycle had no time for it.
    first: usize,
}

/// How a scrape went.
struct Scraped {
    took: Duration,
    page: Result<Vec<u8>, NoPage>,
    permit: Option<OwnedSemaphorePermit>,
}

/// How the push of a target went.
type Push = (usize, Result<Pushed, PushError>);

impl<S: Scrape, K: Sink> Exporter<S, K> {
    /// From `scrape`, which gives the pages of these targets, to `sink`.
    pub fn new(scrape: S, sink: K, targets: &[Target], settings: Settings, telemetry: Telemetry) -> Self {
        let status = |target: &Target| Status::new(&target.name, target.role.name());
        Self {
            scrape: Arc::new(scrape),
            pusher: Pusher::new(sink, settings.run.clone(), targets.len()),
            pace: Pace::new(settings.run.interval),
            settings,
            labels: targets.iter().map(|target| target.labels.clone()).collect(),
            statuses: targets.iter().map(status).collect(),
            telemetry,
            first: 0,
        }
    }

    /// Exports until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let began = Instant::now();
            let cycle = self.cycle(&stop);
            let ended = tokio::select! {
                ended = cycle => ended,
                () = overdue(&stop) => None,
            };
            if ended.is_none() {
                break;
            }
            let jitter = fastrand::f64() * 2.0 - 1.0;
            let (wait, skipped) = self.pace.wait(began.elapsed(), jitter);
            self.telemetry.metrics.skipped.inc_by(skipped);
            if self.telemetry.rest(wait, &stop).await.is_none() {
                break;
            }
        }
        self.finish().await;
    }

    /// Exports once.
    ///
    /// # Errors
    /// If a target gave no page, or not everything could be pushed.
    pub async fn once(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let Some(problems) = self.cycle(&stop).await else {
            bail!("stopped before the cycle was done");
        };
        if problems.is_empty() {
            return Ok(());
        }
        bail!("{}", problems.join("; "))
    }

    /// One cycle; returns what went wrong, or nothing if it was left. Once it pushes it is not left at once: a push that
    /// is still on its way must not arrive after the last one.
    async fn cycle(&mut self, stop: &CancellationToken) -> Option<Vec<String>> {
        self.telemetry.heartbeat.beat();
        let began = Instant::now();
        let mut problems = stop.run_until_cancelled(self.scrape_all()).await?;
        let pushes = self.push_all().await;
        let trouble = trouble(&pushes);
        let all_were_there = self.statuses.iter().all(|status| status.last_success.is_some());
        self.pace.cycle_ended(trouble.is_none(), all_were_there);
        self.telemetry
            .cycle(&self.statuses, trouble.as_deref(), began.elapsed());
        problems.extend(pushes.iter().filter_map(|push| self.problem(push)));
        Some(problems)
    }

    /// Scrapes all targets, several at a time; returns what went wrong, in the order of the targets.
    async fn scrape_all(&mut self) -> Vec<String> {
        let permits = Arc::new(Semaphore::new(MAX_SCRAPES));
        let mut scrapes = JoinSet::new();
        for target in 0..self.statuses.len() {
            let (scrape, permits) = (self.scrape.clone(), permits.clone());
            scrapes.spawn(async move {
                // Nobody closes it. It is held as long as the page is.
                let permit = permits.acquire_owned().await.ok();
                let began = Instant::now();
                let page = scrape.scrape(target).await;
                let took = began.elapsed();
                (target, Scraped { took, page, permit })
            });
        }
        let mut problems = BTreeMap::new();
        while let Some(joined) = scrapes.join_next().await {
            self.telemetry.heartbeat.beat();
            match joined {
                Ok((target, one)) => problems.extend(self.take(target, one).map(|what| (target, what))),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        problems.into_values().collect()
    }

    /// Takes note of a scrape; returns what went wrong.
    fn take(&mut self, target: usize, scraped: Scraped) -> Option<String> {
        let Scraped { took, page, permit } = scraped;
        let status = &mut self.statuses[target];
        self.telemetry.metrics.scrape.observe(took.as_secs_f64());
        let problem = match page {
            Ok(body) => {
                // What it said before makes room for what it says now.
                status.forget();
                let shaped = shaped(body, &self.settings, &self.labels[target]);
                status.succeeded(shaped, took, clock::since_epoch().as_secs_f64());
                self.telemetry.page(target, status);
                None
            }
            Err(error) => {
                status.failed(took, self.settings.stale_after);
                self.telemetry.no_page(target, &error);
                Some(format!("target {}: {error}", status.name))
            }
        };
        drop(permit);
        problem
    }

    /// Pushes all targets, one after another, as long as there is time and a connection.
    async fn push_all(&mut self) -> Vec<Push> {
        let began = Instant::now();
        let mut all = Vec::new();
        let targets = self.statuses.len();
        for (turn, target) in (self.first..targets).chain(0..self.first).enumerate() {
            let left = PUSH_BUDGET.saturating_sub(began.elapsed());
            let pushed = self.push(target, left).await;
            let is_over = began.elapsed() >= PUSH_BUDGET || matches!(pushed, Err(PushError::Unreachable(_)));
            all.push((target, pushed));
            if is_over {
                // One that takes all the time does not get it a second time in a row.
                self.first = if turn == 0 { (target + 1) % targets } else { target };
                break;
            }
        }
        self.telemetry.metrics.push.observe(began.elapsed().as_secs_f64());
        all
    }

    async fn push(&mut self, target: usize, left: Duration) -> Result<Pushed, PushError> {
        self.telemetry.heartbeat.beat();
        let status = &self.statuses[target];
        let pushed = timeout(left, self.pusher.push(target, status)).await;
        let pushed = pushed.unwrap_or_else(|_elapsed| {
            Err(PushError::TimedOut(format!(
                "the pushes did not end within {PUSH_BUDGET:?}"
            )))
        });
        self.telemetry.pushed(target, &status.name, &pushed);
        pushed
    }

    /// What went wrong with the push of a target.
    fn problem(&self, (target, pushed): &Push) -> Option<String> {
        let why = match pushed {
            Ok(Pushed::Whole) => return None,
            Ok(Pushed::WithoutSamples(why)) => why.clone(),
            Err(error) => error.to_string(),
        };
        Some(format!("target {}: {why}", self.statuses[*target].name))
    }

    async fn finish(mut self) {
        let on_exit = self.settings.on_exit;
        let finish = self.pusher.finish(&self.statuses, on_exit);
        match timeout(LAST_PUSH_BUDGET, finish).await {
            Ok(Ok(())) => tracing::info!(?on_exit, "the sink has the end of the run"),
            Ok(Err(error)) => tracing::warn!(%error, ?on_exit, "the sink has not got the end of the run"),
            Err(_elapsed) => {
                tracing::warn!(budget = ?LAST_PUSH_BUDGET, ?on_exit, "the sink did not get the end of the run in time");
            }
        }
    }
}

/// What is wrong with the sink, and not with some targets: it does not answer, or takes none of them.
fn trouble(pushes: &[Push]) -> Option<String> {
    let takes_some = pushes.iter().any(|(_, pushed)| pushed.is_ok());
    let mut errors = pushes.iter().filter_map(|(_, pushed)| pushed.as_ref().err());
    let of_sink = errors.find(|error| !takes_some || error.is_without_answer());
    of_sink.map(ToString::to_string)
}

/// Ends when a push may not take longer after a signal.
async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(PUSH_GRACE).await;
}

fn shaped(body: Vec<u8>, settings: &Settings, labels: &BTreeMap<String, String>) -> Shaped {
    let page = exposition::parse(&body);
    // A page of some megabytes goes before its samples are worked on.
    drop(body);
    settings.shape.apply(page, labels)
}

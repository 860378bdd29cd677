//! Owns the loop: each cycle scrapes all targets, then pushes one report. It is the only module that knows both ends.
//!
//! The law: one bad sample or target never blanks the others; nothing is invented.

mod told;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::told::Told;
use crate::pace::Pace;
use crate::push::{OnExit, PushError, Pusher, Refusals, Sink};
use crate::report::{Report, Run, remove_collisions};
use crate::scrape::{NoPage, Scrape};
use crate::shape::{Shape, Shaped};
use crate::status::{Status, label};
use crate::target::Target;
use crate::{clock, exposition};

/// The most targets that are scraped at a time: each may hold a page of the greatest size.
const MAX_SCRAPES: usize = 4;
/// How long a push may take with the search for targets that are refused; the sink's own limits are shorter.
const PUSH_BUDGET: Duration = Duration::from_secs(40);
/// How long a push that is on its way may take after a signal.
const PUSH_GRACE: Duration = Duration::from_secs(1);
/// How long the last push, and the question before it, may then take.
const LAST_PUSH_BUDGET: Duration = Duration::from_secs(2);

/// How the exporter behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What becomes of a page.
    pub shape: Shape,
    /// Labels that are the group's, so that no sample can have them.
    pub reserved: Vec<String>,
    /// After so many failures the last values of a target are not pushed any more.
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
    told: Told,
}

/// How a scrape went.
struct Scraped {
    took: Duration,
    page: Result<Vec<u8>, NoPage>,
    permit: Option<OwnedSemaphorePermit>,
}

impl<S: Scrape, K: Sink> Exporter<S, K> {
    /// From `scrape`, which gives the pages of these targets, to `sink`.
    pub fn new(scrape: S, sink: K, targets: &[Target], settings: Settings, told: Told) -> Self {
        let status = |target: &Target| Status::new(&target.name, target.role.name());
        Self {
            scrape: Arc::new(scrape),
            pusher: Pusher::new(sink),
            pace: Pace::new(settings.run.interval),
            settings,
            labels: targets.iter().map(|target| target.labels.clone()).collect(),
            statuses: targets.iter().map(status).collect(),
            told,
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
            self.told.metrics.skipped.inc_by(skipped);
            if self.told.rest(wait, &stop).await.is_none() {
                break;
            }
        }
        self.finish().await;
    }

    /// Exports once.
    ///
    /// # Errors
    /// Where a target gave no page, or not everything could be pushed.
    pub async fn once(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let Some(problems) = self.cycle(&stop).await else {
            bail!("stopped before the cycle was done");
        };
        if problems.is_empty() {
            return Ok(());
        }
        bail!("{}", problems.join("; "))
    }

    /// One cycle; gives what went wrong, or nothing if it was left. Once it pushes it is not left at once: a push that is
    /// still on its way must not arrive after the last one.
    async fn cycle(&mut self, stop: &CancellationToken) -> Option<Vec<String>> {
        self.told.heartbeat.beat();
        let began = Instant::now();
        let mut problems = stop.run_until_cancelled(self.scrape_all()).await?;
        remove_collisions(&self.settings.run, &mut self.statuses);
        let pushed = self.push().await;
        let is_pushed = pushed.is_ok();
        problems.extend(match pushed {
            Ok(refusals) => refusals.into_values().collect(),
            Err(problem) => vec![problem],
        });
        let all_were_there = self.statuses.iter().all(|status| status.last_success.is_some());
        self.pace.cycle_ended(is_pushed, all_were_there);
        self.told.metrics.cycle.observe(began.elapsed().as_secs_f64());
        self.told.metrics.cycles.inc();
        Some(problems)
    }

    /// Scrapes all targets, several at a time; gives what went wrong, in the order of the targets.
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
            self.told.heartbeat.beat();
            match joined {
                Ok((target, one)) => problems.extend(self.take(target, one).map(|what| (target, what))),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        problems.into_values().collect()
    }

    /// Takes note of a scrape; gives what went wrong.
    fn take(&mut self, target: usize, scraped: Scraped) -> Option<String> {
        let Scraped { took, page, permit } = scraped;
        let status = &mut self.statuses[target];
        self.told.metrics.scrape.observe(took.as_secs_f64());
        let told = match page {
            Ok(body) => {
                // What it said before makes room for what it says now.
                status.forget();
                let shaped = shaped(body, &self.settings, &self.labels[target]);
                status.succeeded(shaped, took, clock::since_epoch().as_secs_f64());
                None
            }
            Err(error) => {
                status.failed(took, self.settings.stale_after);
                self.told.no_page(target, &error);
                Some(format!("target {}: {error}", status.name))
            }
        };
        drop(permit);
        told
    }

    async fn push(&mut self) -> Result<Refusals, String> {
        let report = Report {
            run: &self.settings.run,
            statuses: &self.statuses,
        };
        let began = Instant::now();
        let pushed = timeout(PUSH_BUDGET, self.pusher.push(&report)).await;
        let pushed = pushed.unwrap_or_else(|_elapsed| {
            Err(PushError::TimedOut(format!(
                "the push did not end within {PUSH_BUDGET:?}"
            )))
        });
        self.told.metrics.push.observe(began.elapsed().as_secs_f64());
        self.told.targets(&self.statuses, pushed.as_ref().ok());
        self.told.pushed(&pushed);
        pushed.map_err(|error| error.to_string())
    }

    async fn finish(mut self) {
        let report = Report {
            run: &self.settings.run,
            statuses: &self.statuses,
        };
        match timeout(
            LAST_PUSH_BUDGET,
            self.pusher.finish(&report, self.settings.on_exit),
        )
        .await
        {
            Ok(Ok(())) => tracing::info!(on_exit = ?self.settings.on_exit, "the end is told to the sink"),
            Ok(Err(error)) => tracing::warn!(%error, "the sink could not be told of the end"),
            Err(_elapsed) => {
                tracing::warn!(budget = ?LAST_PUSH_BUDGET, "the sink could not be told of the end in time");
            }
        }
    }
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
    let mut shaped = settings.shape.apply(page);
    label(&mut shaped.samples, labels, &settings.reserved);
    shaped
}

//! Owns the fakes at the seams: pages that a test decides, and a sink that writes down what came and when.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::Registry;
use pushgateway_exporter::document::Document;
use pushgateway_exporter::exporter::{Exporter, Settings, Telemetry};
use pushgateway_exporter::exposition::Labels;
use pushgateway_exporter::metrics::Metrics;
use pushgateway_exporter::push::{OnExit, PushError, Sink};
use pushgateway_exporter::report::Run;
use pushgateway_exporter::scrape::{NoPage, Scrape};
use pushgateway_exporter::shape::{Rewrite, Shape, patterns};
use pushgateway_exporter::target::{Place, Role, Target};
use sidecar::{Heartbeat, Readiness};
use tokio::time::{Instant, sleep};

pub(crate) const INTERVAL: Duration = Duration::from_secs(15);
pub(crate) const RUN_ID: &str = "run-1";

/// What a target gives: a page after a while, or none.
pub(crate) type Given = Result<(Duration, String), NoPage>;

/// Targets by number, and what each gives; without an entry nobody is there.
#[derive(Clone, Default)]
pub(crate) struct Pages(Arc<Mutex<BTreeMap<usize, Given>>>);

impl Pages {
    pub(crate) fn give(&self, target: usize, page: &str) {
        self.give_late(target, Duration::ZERO, page);
    }

    pub(crate) fn give_late(&self, target: usize, after: Duration, page: &str) {
        self.0
            .lock()
            .unwrap()
            .insert(target, Ok((after, page.to_owned())));
    }

    pub(crate) fn kill(&self, target: usize) {
        self.0.lock().unwrap().remove(&target);
    }
}

impl Scrape for Pages {
    async fn scrape(&self, target: usize) -> Result<Vec<u8>, NoPage> {
        let given = self.0.lock().unwrap().get(&target).cloned();
        let nobody = NoPage::Unreachable {
            url: format!("http://target-{target}/"),
            why: "nobody is there".to_owned(),
        };
        let (after, page) = given.unwrap_or(Err(nobody))?;
        sleep(after).await;
        Ok(page.into_bytes())
    }
}

type Judge = dyn Fn(&str) -> Result<(), PushError> + Send;

/// A push that was accepted.
#[derive(Clone)]
pub(crate) struct Put {
    /// Seconds since the start.
    pub(crate) at: u64,
    pub(crate) target: usize,
    pub(crate) text: String,
}

/// What reached a sink, and how it answers.
pub(crate) struct Ledger {
    pub(crate) put: Vec<Put>,
    /// Each trial, accepted or not.
    pub(crate) trials: usize,
    pub(crate) deleted: BTreeSet<usize>,
    /// Whether the values of each target are the run's; `None` if that question fails.
    pub(crate) owned: Option<Vec<bool>>,
    /// How often it was asked.
    pub(crate) owned_questions: usize,
    pub(crate) hangs: bool,
    pub(crate) slowness: Duration,
    pub(crate) owned_slowness: Duration,
    judge: Box<Judge>,
}

/// A sink that writes down what came.
#[derive(Clone)]
pub(crate) struct FakeSink {
    ledger: Arc<Mutex<Ledger>>,
    began: Instant,
}

impl FakeSink {
    pub(crate) fn new() -> Self {
        let ledger = Ledger {
            put: Vec::new(),
            trials: 0,
            deleted: BTreeSet::new(),
            owned: Some(vec![true; 9]),
            owned_questions: 0,
            hangs: false,
            slowness: Duration::ZERO,
            owned_slowness: Duration::ZERO,
            judge: Box::new(|_| Ok(())),
        };
        Self {
            ledger: Arc::new(Mutex::new(ledger)),
            began: Instant::now(),
        }
    }

    /// From now on `judge` decides what is accepted.
    pub(crate) fn judge(&self, judge: impl Fn(&str) -> Result<(), PushError> + Send + 'static) {
        self.ledger(|ledger| ledger.judge = Box::new(judge));
    }

    pub(crate) fn ledger<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        look(&mut self.ledger.lock().unwrap())
    }

    /// What was accepted of a target.
    pub(crate) fn put_of(&self, target: usize) -> Vec<Put> {
        self.ledger(|ledger| {
            let put = ledger.put.iter().filter(|put| put.target == target);
            put.cloned().collect()
        })
    }

    /// When something was accepted of a target, in seconds since the start.
    pub(crate) fn times(&self, target: usize) -> Vec<u64> {
        self.put_of(target).into_iter().map(|put| put.at).collect()
    }

    /// What was accepted last of a target, without what changes by itself.
    pub(crate) fn newest(&self, target: usize) -> String {
        let newest = self.put_of(target).pop();
        without_times(&newest.map(|put| put.text).unwrap_or_default())
    }
}

/// Lines whose values are times are left out.
pub(crate) fn without_times(text: &str) -> String {
    let is_steady = |line: &&str| !line.contains("_duration_seconds") && !line.contains("_timestamp_seconds");
    let lines: Vec<&str> = text.split_inclusive('\n').filter(is_steady).collect();
    lines.concat()
}

impl Sink for FakeSink {
    async fn put(&self, target: usize, document: &Document<'_>) -> Result<(), PushError> {
        if self.ledger(|ledger| ledger.hangs) {
            std::future::pending::<()>().await;
        }
        let slowness = self.ledger(|ledger| ledger.slowness);
        sleep(slowness).await;
        let text = document.to_text();
        let at = self.began.elapsed().as_secs();
        self.ledger(|ledger| {
            ledger.trials += 1;
            (ledger.judge)(&text)?;
            ledger.put.push(Put { at, target, text });
            Ok(())
        })
    }

    async fn delete(&self, target: usize) -> Result<(), PushError> {
        self.ledger(|ledger| ledger.deleted.insert(target));
        Ok(())
    }

    async fn owned(&self, run: &Labels) -> Result<Vec<bool>, PushError> {
        assert_eq!(run.get("run"), Some(RUN_ID));
        let (owned, slowness) = self.ledger(|ledger| {
            ledger.owned_questions += 1;
            (ledger.owned.clone(), ledger.owned_slowness)
        });
        sleep(slowness).await;
        owned.ok_or_else(|| PushError::Failed("the list breaks off".to_owned()))
    }
}

/// What a test looks at besides the sink.
pub(crate) struct Watch {
    pub(crate) registry: Registry,
    pub(crate) readiness: Readiness,
    pub(crate) heartbeat: Heartbeat,
}

impl Watch {
    /// The value of one of the exporter's own metrics, by its name and labels as they are written.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap();
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found.map(|value| value.parse().unwrap())
    }
}

pub(crate) fn settings(on_exit: OnExit) -> Settings {
    Settings {
        shape: Shape {
            rewrite: Rewrite::Stable,
            allow: patterns([""; 0]).unwrap(),
            deny: patterns([""; 0]).unwrap(),
            max_series: 100,
            typed: false,
        },
        stale_after: NonZeroU32::MIN.saturating_add(2),
        on_exit,
        run: Run {
            id: RUN_ID.to_owned(),
            info: BTreeMap::new(),
            interval: INTERVAL,
            typed: false,
        },
    }
}

/// An exporter of so many targets, called a, b, ….
pub(crate) fn exporter(
    pages: &Pages,
    sink: &FakeSink,
    targets: usize,
    settings: Settings,
) -> (Exporter<Pages, FakeSink>, Watch) {
    let target = |name: char| Target {
        name: name.to_string(),
        role: Role::Page,
        place: Place::Url("http://unused/".to_owned()),
        labels: ["instance", "job", "target"]
            .map(|label| (label.to_owned(), name.to_string()))
            .into(),
    };
    let targets: Vec<Target> = ('a'..).take(targets).map(target).collect();
    let watch = Watch {
        registry: Registry::new(),
        readiness: Readiness::default(),
        heartbeat: Heartbeat::default(),
    };
    let telemetry = Telemetry::new(
        Metrics::register(&watch.registry).unwrap(),
        watch.heartbeat.clone(),
        &watch.readiness,
        targets.iter().map(|target| target.name.as_str()),
    );
    let exporter = Exporter::new(pages.clone(), sink.clone(), &targets, settings, telemetry);
    (exporter, watch)
}

/// Lets an exporter run for so long on the paused clock, then asks it to end.
pub(crate) async fn run_for(exporter: Exporter<Pages, FakeSink>, time: Duration) {
    let stop = tokio_util::sync::CancellationToken::new();
    tokio::join!(exporter.run(stop.clone()), async {
        sleep(time).await;
        stop.cancel();
    });
}

//! A stream between a checkpoint and a cluster in memory.

mod kafka;
mod store;

use std::sync::Arc;
use std::time::Duration;

use offset_reporter::config::{Config, Raw, StreamSettings};
use offset_reporter::metrics::Metrics;
use offset_reporter::stream::{Shared, Stream};
use prometheus::Registry;

pub(crate) use self::kafka::FakeKafka;
pub(crate) use self::store::{FakeStore, Fault as StoreFault};

/// A stream between fakes.
pub(crate) struct Stage {
    pub(crate) kafka: FakeKafka,
    pub(crate) stream: Stream<FakeStore, FakeKafka>,
    registry: Registry,
}

impl Stage {
    /// A stream with the defaults, and what `settings` says of it in TOML. Its group is `g`.
    pub(crate) fn new(store: &FakeStore, kafka: &FakeKafka, settings: &str) -> Self {
        Self::by(store, kafka, &configured(settings), false)
    }

    pub(crate) fn by(store: &FakeStore, kafka: &FakeKafka, config: &Config, dry_run: bool) -> Self {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let groups = Arc::new(kafka.clone());
        let report = config.raw.report.clone();
        let settings: StreamSettings = config.streams[0].clone();
        let stream = Stream::new(
            settings,
            &report,
            dry_run,
            store.clone(),
            Shared { groups, metrics },
        );
        Self {
            kafka: kafka.clone(),
            stream,
            registry,
        }
    }

    /// A cycle, which succeeds; then the poll interval passes.
    pub(crate) async fn cycle(&mut self) {
        self.stream.cycle().await.unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
    }

    /// A cycle, which fails; then the poll interval passes.
    pub(crate) async fn failing_cycle(&mut self) -> String {
        let error = anyhow::Error::from(self.stream.cycle().await.unwrap_err());
        tokio::time::advance(Duration::from_secs(10)).await;
        format!("{error:#}")
    }

    /// Cycles for so long.
    pub(crate) async fn run(&mut self, time: Duration) {
        let until = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < until {
            drop(self.stream.cycle().await);
            tokio::time::advance(Duration::from_secs(10)).await;
        }
    }

    /// The value of a metric with these labels in its name, such as `lag{…}`; all of it must match.
    pub(crate) fn metric(&self, line: &str) -> Option<f64> {
        let page = prometheus::TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap();
        let wanted = format!("offset_reporter_{line} ");
        page.lines()
            .find_map(|line| line.strip_prefix(&wanted)?.parse().ok())
    }
}

/// The configuration of a stream whose group is `g`.
pub(crate) fn configured(settings: &str) -> Config {
    let text = format!("[[streams]]\nname = \"s\"\ngroup = \"g\"\ncheckpoint = \"/checkpoint\"\n{settings}");
    let raw: Raw = toml::from_str(&text).unwrap();
    Config::try_from(raw).unwrap()
}

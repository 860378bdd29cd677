//! Owns the start of the exporter: the scraper, the sink, then the loop between them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use prometheus::IntCounter;
use sidecar::{Frame, RunMode};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, Limits};
use crate::config::{Config, SinkKind};
use crate::exporter::{Exporter, Settings, Telemetry};
use crate::grouping::GroupingKey;
use crate::metrics::Metrics;
use crate::push::{Gateway, Keys, OnExit, Printed, PullPort, RemoteWrite, Sink};
use crate::report::Run;
use crate::scrape::HttpScrape;
use crate::target::Target;

/// The greatest answer of a sink that is read: a gateway's list of all its groups is the longest.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Starts the exporter and lets it run.
pub(super) async fn run(config: Config, frame: Frame, mode: RunMode) -> anyhow::Result<()> {
    let metrics = Metrics::register(&frame.registry)?;
    let sent = metrics.pushed_bytes.clone();
    let start = Start {
        config,
        frame,
        metrics,
        mode,
    };
    let config = &start.config;
    if mode.dry_run {
        let destinations = destinations(config)?;
        return start.work(Printed::new(destinations)).await;
    }
    match config.raw.push.sink {
        SinkKind::Pushgateway => {
            let gateway = gateway(config, sent)?;
            start.work(gateway).await
        }
        SinkKind::RemoteWrite => {
            let receiver = receiver(config, sent)?;
            start.work(receiver).await
        }
        SinkKind::Http => {
            let port = PullPort::bind(config.raw.http.address).await?;
            let sink = port.sink(labels(config));
            let work = start.work(sink);
            tokio::select! {
                result = work => result,
                result = port.serve() => result,
            }
        }
    }
}

struct Start {
    config: Config,
    frame: Frame,
    metrics: Metrics,
    mode: RunMode,
}

impl Start {
    async fn work<K: Sink>(self, sink: K) -> anyhow::Result<()> {
        let scrape = HttpScrape::new(&self.config.targets, scrape_limits(&self.config))?;
        let targets: Vec<Target> = self
            .config
            .targets
            .iter()
            .map(|(target, _)| target.clone())
            .collect();
        let names = targets.iter().map(|target| target.name.as_str());
        let telemetry = Telemetry::new(self.metrics, self.frame.heartbeat, &self.frame.readiness, names);
        let settings = settings(&self.config, self.mode);
        let exporter = Exporter::new(scrape, sink, &targets, settings, telemetry);
        let stop: CancellationToken = self.frame.stop;
        if self.mode.once {
            return exporter.once(stop).await;
        }
        exporter.run(stop).await;
        Ok(())
    }
}

fn settings(config: &Config, mode: RunMode) -> Settings {
    let raw = &config.raw;
    Settings {
        shape: config.shape.clone(),
        stale_after: match raw.push.sink {
            SinkKind::Pushgateway => raw.push.stale_after,
            // These give values a time: old ones would be taken for new.
            SinkKind::RemoteWrite | SinkKind::Http => NonZeroU32::MIN,
        },
        on_exit: if mode.dry_run {
            OnExit::Keep
        } else {
            raw.push.on_exit
        },
        run: Run {
            id: format!("{:016x}", fastrand::u64(..)),
            info: raw.group.info.clone(),
            interval: raw.push.interval,
            typed: raw.shape.typed,
        },
    }
}

/// Where the pushes of each target go, for people.
fn destinations(config: &Config) -> anyhow::Result<Vec<String>> {
    let url = &config.sink_url;
    let destination = |labels: &BTreeMap<String, String>| {
        Ok(match config.raw.push.sink {
            SinkKind::Pushgateway => {
                let base = url.trim_end_matches('/');
                format!("{base}{}", GroupingKey::new(labels.clone())?.path())
            }
            SinkKind::RemoteWrite | SinkKind::Http => format!("{url} with {labels:?}"),
        })
    };
    labels(config).iter().map(destination).collect()
}

fn labels(config: &Config) -> Vec<BTreeMap<String, String>> {
    let targets = config.targets.iter();
    targets.map(|(target, _)| target.labels.clone()).collect()
}

pub(super) fn scrape_limits(config: &Config) -> Limits {
    Limits {
        connect_timeout: config.raw.scrape.connect_timeout,
        timeout: config.raw.scrape.timeout,
        max_body_bytes: config.raw.scrape.max_body_bytes.get(),
        follow: true,
        proxy: false,
        https: false, // the scraper knows
    }
}

pub(super) fn sink_client(config: &Config, timeout: Duration) -> anyhow::Result<Client> {
    let limits = Limits {
        connect_timeout: timeout,
        timeout,
        max_body_bytes: MAX_ANSWER_BYTES,
        follow: false,
        proxy: true,
        https: config.sink_url.starts_with("https:"),
    };
    Client::new(&config.sink_security, &limits)
}

fn gateway(config: &Config, sent: IntCounter) -> anyhow::Result<Gateway> {
    let raw = &config.raw.pushgateway;
    let client = sink_client(config, raw.timeout)?;
    let keys = labels(config).into_iter().map(GroupingKey::new);
    let keys = Keys {
        targets: keys.collect::<Result<_, _>>()?,
        older: config.group.clone(),
    };
    Ok(Gateway::new(client, &config.sink_url, keys, raw.gzip, sent))
}

pub(super) fn receiver(config: &Config, sent: IntCounter) -> anyhow::Result<RemoteWrite> {
    let raw = &config.raw.remote_write;
    let client = sink_client(config, raw.timeout)?;
    Ok(RemoteWrite::new(client, &config.sink_url, labels(config), sent))
}

//! Owns what a test stands on: a Pushgateway, a Prometheus that scrapes it, and exporters.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use testbed::{Process, Prometheus, Pushgateway, until};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_pushgateway-exporter"))
}

/// A gateway, and who asks it.
pub(crate) struct Stage {
    pub(crate) gateway: Pushgateway,
    pub(crate) prometheus: Prometheus,
    pub(crate) folder: TempDir,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let gateway = Pushgateway::start(&[]).await.unwrap();
        let scrape = format!(
            "scrape_configs:\n- job_name: gateway\n  honor_labels: true\n  scrape_interval: 500ms\n  \
             static_configs:\n  - targets: ['{}']\n",
            host(gateway.url())
        );
        Self {
            prometheus: Prometheus::start(&scrape, &[]).await.unwrap(),
            gateway,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The configuration of an exporter of these targets, which pushes often.
    pub(crate) fn config(&self, targets: &[(&str, &str)], more: &str) -> String {
        let targets = urls(targets);
        format!(
            "{targets}pushgateway.url = \"{}\"\npush.interval = \"500ms\"\ngroup.job = \"orders\"\n{more}",
            self.gateway.url()
        )
    }

    pub(crate) fn exporter(&self, targets: &[(&str, &str)], more: &str) -> Process {
        start(&self.folder, &self.config(targets, more))
    }

    /// Runs the program with a configuration and arguments to its end.
    pub(crate) async fn run(&self, config: &str, arguments: &[&str]) -> Output {
        run(&self.folder, config, arguments).await
    }

    /// Waits until Prometheus answers a query as expected, with what it scraped after this was called.
    pub(crate) async fn becomes(&self, query: &str, expected: &[f64]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let scraped = format!("timestamp(up{{job=\"gateway\"}}) > bool {}", now.as_secs_f64());
        becomes(&self.prometheus, &scraped, &[1.0]).await;
        becomes(&self.prometheus, query, expected).await;
    }
}

pub(crate) fn start(folder: &TempDir, config: &str) -> Process {
    Process::start(program(), folder.path(), config, &[]).unwrap()
}

/// Runs the program with a configuration and arguments to its end.
pub(crate) async fn run(folder: &TempDir, config: &str, arguments: &[&str]) -> Output {
    let file = folder.path().join("once.toml");
    std::fs::write(&file, format!("admin.address = \"127.0.0.1:0\"\n{config}")).unwrap();
    let mut command = Command::new(program());
    command
        .arg("--config")
        .arg(file)
        .args(arguments)
        .stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// Waits until Prometheus answers a query with these values.
pub(crate) async fn becomes(prometheus: &Prometheus, query: &str, expected: &[f64]) {
    let mut last = Vec::new();
    let found = until(PATIENCE, async || {
        last = values(prometheus, query).await;
        (last == expected).then_some(())
    });
    assert!(found.await.is_some(), "{query} is {last:?}, not {expected:?}");
}

/// The values that a query has, in order.
pub(crate) async fn values(prometheus: &Prometheus, query: &str) -> Vec<f64> {
    let found = prometheus.query(query).await.unwrap();
    let mut values: Vec<f64> = found.into_iter().map(|(_, value)| value).collect();
    values.sort_by(f64::total_cmp);
    values
}

impl Stage {
    /// Pushes a text to the group of a job, as somebody else.
    pub(crate) async fn push(&self, job: &str, text: &str) {
        let (status, answer) = self.gateway.push(&format!("job/{job}"), text).await.unwrap();
        assert_eq!(status, 200, "{answer}");
    }
}

/// Where `address` listens, without the scheme.
pub(crate) fn host(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, host)| host)
}

/// The settings of targets at these addresses, by name.
pub(crate) fn urls(targets: &[(&str, &str)]) -> String {
    let lines = targets
        .iter()
        .map(|(name, url)| format!("targets.{name}.url = \"{url}\"\n"));
    lines.collect::<Vec<_>>().concat()
}

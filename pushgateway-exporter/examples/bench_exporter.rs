//! What the exporter costs, beside a thread in Python that relays the same page unparsed: CPU and memory of each.
//!
//! Each pushes to a Pushgateway of its own, more often than in production; the cost of a push does not depend on that.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]
#![expect(
    clippy::cast_precision_loss,
    reason = "what is counted here is far below 2^52"
)]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use clap::Parser;
use testbed::{Process, Pushgateway, resident_bytes, until};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The thread in Python.
const RELAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/exporter/relay.py");
/// How often is pushed in production, for the share of a core.
const INTERVAL: Duration = Duration::from_secs(15);
/// How often is pushed here.
const BENCH_INTERVAL: Duration = Duration::from_secs(2);
/// Pushes before the measurement: connections are made and memory is taken.
const WARM: usize = 5;
/// How long everything may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// The arguments.
#[derive(Debug, Parser)]
struct Arguments {
    /// The exporter's binary
    #[arg(long)]
    exporter: PathBuf,
    /// Series on the page
    #[arg(long, default_value_t = 15_000)]
    series: usize,
    /// Pushes that are measured
    #[arg(long, default_value_t = 20)]
    pushes: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let page = Page::start(arguments.series).await?;
    println!(
        "{} series, {} bytes, {} pushes each\n",
        arguments.series, page.bytes, arguments.pushes
    );
    let exporter = exporter(&arguments, &page).await?;
    let relay = relay(&arguments, &page).await?;
    println!(
        "{:24} {:>14} {:>22} {:>12}",
        "", "ms CPU a push", "% of a core at 15 s", "memory, MB"
    );
    for (name, cost) in [("pushgateway-exporter", &exporter), ("thread in Python", &relay)] {
        let share = cost.cpu / INTERVAL.as_secs_f64() * 100.0;
        println!(
            "{name:24} {:>14.1} {share:>22.2} {:>12.1}",
            cost.cpu * 1e3,
            cost.memory / 1e6
        );
    }
    println!(
        "\nratio of CPU {:.2}, of memory {:.2}",
        exporter.cpu / relay.cpu,
        exporter.memory / relay.memory
    );
    Ok(())
}

/// What a push costs.
struct Cost {
    /// Seconds of CPU.
    cpu: f64,
    /// Bytes, at the end.
    memory: f64,
}

async fn exporter(arguments: &Arguments, page: &Page) -> anyhow::Result<Cost> {
    let gateway = Pushgateway::start(&[]).await?;
    let folder = tempfile::tempdir()?;
    let config = format!(
        "targets.page.url = \"{}\"\npushgateway.url = \"{}\"\npush.interval = \"{}ms\"\nshape.max_series = {}\n",
        page.url,
        gateway.url(),
        BENCH_INTERVAL.as_millis(),
        arguments.series
    );
    let exporter = Process::start(&arguments.exporter, folder.path(), &config, &[])?;
    let cost = page.measure(exporter.id(), arguments.pushes).await?;
    let pushed = exporter.metric("pushgateway_exporter_target_samples").await;
    anyhow::ensure!(
        pushed == Some(arguments.series as f64),
        "{pushed:?} samples were pushed"
    );
    exporter.stop().await?;
    Ok(cost)
}

async fn relay(arguments: &Arguments, page: &Page) -> anyhow::Result<Cost> {
    let gateway = Pushgateway::start(&[]).await?;
    let child = Command::new("python3")
        .arg(RELAY)
        .args([&page.url, &format!("{}/metrics/job/relay", gateway.url())])
        .arg(BENCH_INTERVAL.as_secs_f64().to_string())
        .stdout(Stdio::null())
        .spawn();
    let relay = Relay(child.context("cannot run python3")?);
    page.measure(relay.0.id(), arguments.pushes).await
}

/// The thread, which ends when it is dropped.
struct Relay(Child);

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A page that counts how often it is asked for.
struct Page {
    url: String,
    bytes: usize,
    asked: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Page {
    async fn start(series: usize) -> anyhow::Result<Self> {
        let text: Arc<str> = text(series).into();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/metrics/prometheus/", listener.local_addr()?);
        let (asked, bytes) = (Arc::new(AtomicUsize::new(0)), text.len());
        let router = Router::new()
            .route("/metrics/prometheus/", get(serve))
            .with_state((text, asked.clone()));
        let mut serving = JoinSet::new();
        serving.spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self {
            url,
            bytes,
            asked,
            _serving: serving,
        })
    }

    /// What a process pays for a push of the page, once it is warm.
    async fn measure(&self, process: u32, pushes: usize) -> anyhow::Result<Cost> {
        self.asked.store(0, Ordering::Relaxed);
        self.after(WARM).await?;
        let before = testbed::cpu_seconds(process).context("the process runs")?;
        self.after(WARM + pushes).await?;
        let cpu = (testbed::cpu_seconds(process).context("the process runs")? - before) / pushes as f64;
        let memory = resident_bytes(process).context("the process has ended")? as f64;
        Ok(Cost { cpu, memory })
    }

    /// Waits until the page has been asked for so often and once more, so that the push before is over.
    async fn after(&self, pushes: usize) -> anyhow::Result<()> {
        let reached = until(PATIENCE, async || {
            (self.asked.load(Ordering::Relaxed) > pushes).then_some(())
        });
        reached.await.context("the pushes did not come")
    }
}

async fn serve(State((text, asked)): State<(Arc<str>, Arc<AtomicUsize>)>) -> impl IntoResponse {
    asked.fetch_add(1, Ordering::Relaxed);
    (
        [(header::CONTENT_TYPE, "text/plain;charset=utf-8")],
        text.to_string(),
    )
}

/// A page like a driver's that runs many queries.
fn text(series: usize) -> String {
    let line = |number: usize| {
        format!(
            "metrics_local_1795337120538_driver_stage_{}_shuffleRecords_{}_Count{{type=\"counters\"}} {}\n",
            number / 100,
            number % 100,
            number * 37
        )
    };
    (0..series).map(line).collect()
}

//! Owns the programs beside the worker: offset-reporter, which shows its checkpoint as a consumer group, and
//! pushgateway-exporter, which pushes its metrics.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use kafka_admin::{Admin, GroupId, Topic, TopicPartition};
use testbed::{Process, Pushgateway, until};

use crate::cluster::{DemoCluster, PARTITIONS};
use crate::{Arguments, PATIENCE, say};

/// The group that shows the checkpoint.
const GROUP: &str = "ner-demo";
/// How many of the worker's metrics are shown.
const SHOWN: usize = 6;

/// The running programs.
pub(crate) struct Sidecars {
    reporter: Process,
    admin: Admin,
    input: Topic,
    exporter: Exporter,
}

/// The exporter, if there is a gateway to push to.
enum Exporter {
    Pushing(Process, Pushgateway),
    /// The program, and its configuration.
    Printing(PathBuf, PathBuf),
}

impl Sidecars {
    pub(crate) async fn start(
        arguments: &Arguments,
        kafka: &DemoCluster,
        worker: &Process,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let config = reporting(kafka, &folder.join("checkpoint"))?;
        let mut reporter = Process::start(&arguments.offset_reporter, folder, &config, &[])?;
        reporter.ready().await?;
        say(&format!(
            "reporter     process {}, reads the checkpoint into the group {GROUP}",
            reporter.id()
        ))?;
        let exporter = Exporter::start(&arguments.pushgateway_exporter, worker, folder).await?;
        say("")?;
        Ok(Self {
            reporter,
            admin: Admin::new(&kafka.connection),
            input: kafka.input.clone(),
            exporter,
        })
    }

    /// The sum of the group's offsets.
    pub(crate) async fn reported(&self) -> i64 {
        let input = self.input.as_str();
        let partitions: Vec<_> = (0..PARTITIONS)
            .map(|partition| TopicPartition::new(input, partition))
            .collect();
        let committed = self.admin.committed_in(&GroupId::from(GROUP), &partitions).await;
        let committed = committed.unwrap_or_default().into_iter();
        committed
            .filter_map(|(_, committed)| Some(committed.ok()?.offset.get()))
            .sum()
    }

    /// Shows what the programs made of the stream, when the group has so many records.
    pub(crate) async fn show(&self, records: usize) -> anyhow::Result<()> {
        let all = i64::try_from(records)?;
        let followed = until(PATIENCE, async || (self.reported().await == all).then_some(())).await;
        followed.with_context(|| format!("the group has not {all} records; {}", self.reporter.log()))?;
        let lag = self.reporter.metric("offset_reporter_lag").await;
        say(&format!(
            "\nThe group {GROUP} has followed the checkpoint to {all} records; its lag is {}.",
            lag.map_or("unknown".to_owned(), |lag| lag.to_string())
        ))?;
        self.exporter.show().await
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.reporter.stop().await?;
        match self.exporter {
            Exporter::Pushing(process, _gateway) => process.stop().await,
            Exporter::Printing(..) => Ok(()),
        }
    }
}

impl Exporter {
    async fn start(program: &Path, worker: &Process, folder: &Path) -> anyhow::Result<Self> {
        match Pushgateway::start(&[]).await {
            Ok(gateway) => {
                let process = Process::start(program, folder, &exporting(worker, gateway.url()), &[])?;
                say(&format!(
                    "exporter     process {}, pushes the worker's metrics to {}",
                    process.id(),
                    gateway.url()
                ))?;
                Ok(Self::Pushing(process, gateway))
            }
            Err(error) => {
                say(&format!(
                    "exporter     only prints: there is no Pushgateway here ({error:#})"
                ))?;
                let file = folder.join("exporter.toml");
                std::fs::write(&file, exporting(worker, "http://127.0.0.1:9091"))?;
                Ok(Self::Printing(program.to_owned(), file))
            }
        }
    }

    async fn show(&self) -> anyhow::Result<()> {
        let page = match self {
            Self::Pushing(process, gateway) => {
                say("The Pushgateway has of the worker:")?;
                let pushed = until(PATIENCE, async || {
                    let page = gateway.metrics().await.ok()?;
                    page.contains("inference_results_total").then_some(page)
                });
                pushed.await.with_context(|| process.log())?
            }
            Self::Printing(program, file) => {
                say("The exporter would push of the worker:")?;
                let output = Command::new(program)
                    .args(["--once", "--dry-run", "--config"])
                    .arg(file)
                    .output()?;
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
        };
        for line in page
            .lines()
            .filter(|line| line.starts_with("inference_"))
            .take(SHOWN)
        {
            say(&format!("  {line}"))?;
        }
        Ok(())
    }
}

/// What the reporter is told.
fn reporting(kafka: &DemoCluster, checkpoint: &Path) -> anyhow::Result<String> {
    let kafka = toml::to_string(&kafka.raw)?
        .replace("[properties]", "[kafka.properties]")
        .replace("[security]", "[kafka.security]");
    Ok(format!(
        "[report]\npoll_interval = \"250ms\"\n[[streams]]\nname = \"{GROUP}\"\ncheckpoint = '{}'\n[kafka]\n{kafka}",
        checkpoint.display()
    ))
}

/// What the exporter is told.
fn exporting(worker: &Process, gateway: &str) -> String {
    format!(
        "[targets.worker]\nurl = \"{}\"\n[shape]\nallow = [\"inference_(records|results|commits)_total\"]\n\
         [group]\njob = \"inference\"\ninstance = \"demo\"\n[push]\ninterval = \"1s\"\n[pushgateway]\nurl = \"{gateway}\"\n",
        worker.url("/metrics")
    )
}

//! Owns a driver of Apache Spark: its settings, what its script says and is told, its end.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::s3::S3Server;
use crate::server::Server;
use crate::{script, until};

/// What every driver is like: small, quick to start, on loopback, with all its files in one folder.
const SETTINGS: [(&str, &str); 9] = [
    ("spark.master", "local[2]"),
    ("spark.app.name", "testbed"),
    ("spark.driver.memory", "768m"),
    ("spark.driver.host", "127.0.0.1"),
    ("spark.driver.bindAddress", "127.0.0.1"),
    (
        "spark.driver.extraJavaOptions",
        "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.io.tmpdir=.",
    ),
    ("spark.sql.shuffle.partitions", "1"),
    ("spark.ui.port", "0"),
    ("spark.ui.showConsoleProgress", "false"),
];

/// A version that the tests are run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SparkVersion {
    /// 3.5.7; it can keep checkpoints on S3.
    V3_5,
    /// 4.2.0.
    V4_2,
}

/// What a driver shall do.
#[derive(Debug, Clone, Default)]
pub struct SparkJob {
    /// The script in Python; without one it is `scripts/spark/stream.py`, whose head says what it takes and prints.
    pub script: Option<PathBuf>,
    /// Spark's settings, such as `spark.sql.streaming.metricsEnabled`.
    pub conf: Vec<(String, String)>,
    /// The script's arguments.
    pub arguments: Vec<String>,
}

impl SparkJob {
    /// Lets the job have checkpoints at `s3a://BUCKET/…` on a server. Spark 3.5.7 alone can.
    pub fn keep_on(&mut self, s3: &S3Server) {
        let settings = [
            ("endpoint", s3.endpoint()),
            ("access.key", s3.access_key()),
            ("secret.key", s3.secret_key()),
            ("path.style.access", "true"),
            ("connection.ssl.enabled", "false"),
        ];
        let settings = settings.map(|(key, value)| (format!("spark.hadoop.fs.s3a.{key}"), value.to_owned()));
        self.conf.extend(settings);
    }
}

/// A running driver. It is killed when it is dropped.
pub struct Spark {
    server: Server,
    /// How many lines of its output were looked at.
    taken: usize,
}

impl Spark {
    /// Starts a driver. The script's first event comes after some ten seconds.
    ///
    /// # Errors
    /// Where Spark cannot be had, and what is missing.
    pub async fn start(version: SparkVersion, job: &SparkJob) -> anyhow::Result<Self> {
        let number = match version {
            SparkVersion::V3_5 => "3.5.7",
            SparkVersion::V4_2 => "4.2.0",
        };
        let home = script::line("spark/fetch", &[number]).await?;
        Ok(Self {
            server: Server::start("spark", |folder| command(&home, folder, job))?,
            taken: 0,
        })
    }

    /// Waits for the next event of a name, and gives its content. Those before it are passed over.
    ///
    /// # Errors
    /// Where none comes in time, or the driver ends before; with what it said.
    pub async fn event(&mut self, name: &str, patience: Duration) -> anyhow::Result<Value> {
        let found = until(patience, async || {
            // Looked at before the output, whose last lines would be missed otherwise.
            let ended = self.server.status().is_some();
            self.next(name).map(Some).or(ended.then_some(None))
        });
        match found.await.flatten() {
            Some(content) => Ok(content),
            None => bail!("Spark told nothing of {name}: {}{}", self.output(), self.log()),
        }
    }

    /// The address of its user interface, where its metrics are, too; once the script has told it.
    pub fn ui(&self) -> Option<String> {
        let output = self.server.output();
        let told = output.lines().find_map(|line| event(line, "ui"))?;
        told["address"].as_str().map(str::to_owned)
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        self.server.output()
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Gives the script a line.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn send(&mut self, line: &str) -> anyhow::Result<()> {
        self.server.send(line)
    }

    /// Waits until it has ended by itself, and gives its exit code.
    ///
    /// # Errors
    /// Where it does not, in time.
    pub async fn ended(&self, patience: Duration) -> anyhow::Result<i32> {
        self.server.ended(patience).await
    }

    /// Kills it, as a lost machine does.
    ///
    /// # Errors
    /// Where it has ended already.
    pub async fn kill(&self) -> anyhow::Result<()> {
        self.server.stop("KILL").await
    }

    fn next(&mut self, name: &str) -> Option<Value> {
        let output = self.server.output();
        // A line without its end is still being written.
        let lines = output.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let mut lines = lines.enumerate().skip(self.taken);
        let (at, content) = lines.find_map(|(at, line)| Some((at, event(line, name)?)))?;
        self.taken = at + 1;
        Some(content)
    }
}

/// The content of a line that is an event of this name.
fn event(line: &str, name: &str) -> Option<Value> {
    let mut line: Value = serde_json::from_str(line).ok()?;
    line.get_mut(name).map(Value::take)
}

fn command(home: &str, folder: &Path, job: &SparkJob) -> anyhow::Result<Vec<OsString>> {
    let local = folder.to_str().context("a folder with a name in UTF-8")?;
    std::fs::write(folder.join("spark-defaults.conf"), settings(local, &job.conf))
        .context("cannot write settings")?;
    std::fs::copy(
        script::path("spark/log4j2.properties"),
        folder.join("log4j2.properties"),
    )
    .context("cannot write settings")?;
    let mut command: Vec<OsString> = vec!["env".into(), format!("--chdir={local}").into()];
    let variables = [
        format!("PYTHONPATH={home}:{home}/py4j.zip"),
        format!("SPARK_HOME={home}/pyspark"),
        format!("SPARK_CONF_DIR={local}"),
        format!("SPARK_LOCAL_DIRS={local}"),
        format!("TMPDIR={local}"),
        "SPARK_LOCAL_IP=127.0.0.1".to_owned(),
        "PYSPARK_PYTHON=python3".to_owned(),
    ];
    command.extend(variables.map(Into::into));
    command.push("python3".into());
    command.push(
        job.script
            .clone()
            .unwrap_or_else(|| script::path("spark/stream.py"))
            .into(),
    );
    command.extend(job.arguments.iter().map(Into::into));
    Ok(command)
}

/// A file of settings in the form of Java's properties, in which the last line of a key wins.
fn settings(local: &str, conf: &[(String, String)]) -> String {
    let places = [
        ("spark.sql.warehouse.dir", local),
        ("spark.hadoop.hadoop.tmp.dir", local),
    ];
    let own = conf.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let mut lines = String::new();
    for (key, value) in SETTINGS.into_iter().chain(places).chain(own) {
        let value = value.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{key}={value}");
    }
    lines
}

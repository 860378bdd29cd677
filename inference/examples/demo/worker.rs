//! Owns the program as a process: its folder, its start, its end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use checkpoint::{OffsetLog, batch_ids};
use kafka_io::Topic;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How long the program may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(50);

/// The running program.
pub(crate) struct Worker {
    child: Child,
    admin: SocketAddr,
    folder: TempDir,
}

impl Worker {
    /// Starts the program and waits until it is ready.
    pub(crate) async fn start(
        program: &Path,
        model: &Path,
        servers: &str,
        input: &Topic,
        output: &Topic,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        // Free now; nobody else is likely to take it within the next moment.
        let admin = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = format!(
            "kafka.bootstrap_servers = {servers:?}\ninput.topic = \"{input}\"\noutput.topic = \"{output}\"\n\
             model.folder = {model:?}\nprogress.checkpoint = {:?}\nadmin.address = \"{admin}\"\n",
            folder.path().join("checkpoint"),
        );
        let file = folder.path().join("inference.toml");
        std::fs::write(&file, config)?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let child = Command::new(program)
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn();
        let child = child.with_context(|| format!("cannot start {}", program.display()))?;
        let mut worker = Self { child, admin, folder };
        let deadline = Instant::now() + PATIENCE;
        while !worker.is_ready() {
            if worker.child.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("the program did not get ready; it says:\n{}", worker.log());
            }
            sleep(LOOK).await;
        }
        Ok(worker)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.folder.path().join("checkpoint")
    }

    /// The batch that was committed last.
    pub(crate) fn newest_batch(&self) -> Option<i64> {
        let entries = std::fs::read_dir(self.checkpoint().join("commits")).ok()?;
        let names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        batch_ids(names.iter().map(String::as_str))
            .last()
            .map(|batch| batch.0)
    }

    /// Asks the program to end; gives the last batch, and how many records its checkpoint has processed.
    pub(crate) async fn stop(mut self) -> anyhow::Result<(i64, i64)> {
        Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .context("cannot send SIGTERM")?;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    bail!("the program did not end; it says:\n{}", self.log())
                }
                None => sleep(LOOK).await,
            }
        };
        if !status.success() {
            bail!("the program ended with {status}; it says:\n{}", self.log());
        }
        let batch = self.newest_batch().context("no batch was committed")?;
        let plan = std::fs::read(self.checkpoint().join(format!("offsets/{batch}")))?;
        let processed = OffsetLog::parse(&plan)?
            .offsets
            .iter()
            .map(|(_, _, position)| position)
            .sum();
        Ok((batch, processed))
    }

    fn is_ready(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.admin)?;
            stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Where the demo fails the program ends with it; a program that has ended already is no failure.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

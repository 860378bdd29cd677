//! Owns a program of the workspace as a process: its start, what it says, its end.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::client::client;
use crate::{spawner, until};

/// How long a program may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_mins(1);

/// What `/proc` counts CPU time in, on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running program. It is killed when it is dropped, and when we end, however we end.
pub struct Process {
    child: Child,
    admin: SocketAddr,
    log: PathBuf,
    client: reqwest::Client,
}

impl Process {
    /// Starts `program` with a configuration. Its file and log are put into `folder`; the admin port, and in
    /// `variables` whatever else the environment shall say, are added to it.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(
        program: &Path,
        folder: &Path,
        config: &str,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        // Free now; nobody else is likely to take it within the next moment.
        let admin = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let name_with = |end: &str| folder.join(format!("{name}-{}.{end}", admin.port()));
        let (file, log) = (name_with("toml"), name_with("log"));
        std::fs::write(&file, config)?;
        let prefix = name.to_uppercase().replace('-', "_");
        // Through setpriv a missing program would be one that ends.
        std::fs::metadata(program).with_context(|| format!("cannot start {}", program.display()))?;
        let mut command = spawner::command(program.as_os_str());
        command
            .arg("--config")
            .arg(&file)
            .env(format!("{prefix}_ADMIN__ADDRESS"), admin.to_string())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        Ok(Self {
            child: spawner::spawn(command)?,
            admin,
            log,
            client: client()?,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The address of a page of its admin port.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A page of its admin port: the status and the text; `None` if nobody answers.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = self.client.get(self.url(path)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// Whether it says that it is ready.
    pub async fn is_ready(&self) -> bool {
        matches!(self.get("/readyz").await, Some((200, _)))
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// Where it ends, or is not ready in time; with what it said.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let state = until(PATIENCE, async || {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Some(false);
            }
            self.is_ready().await.then_some(true)
        });
        match state.await {
            Some(true) => Ok(()),
            Some(false) => bail!("the program ended; it says:\n{}", self.log()),
            None => bail!("the program did not get ready; it says:\n{}", self.log()),
        }
    }

    /// The sum of a metric over its labels; `None` if it is not there.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let (_, page) = self.get("/metrics").await?;
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with(['{', ' '])
                .then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        let values: Vec<f64> = values.collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// Sends a signal by its name, such as `TERM`.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        if sent.context("cannot run kill")?.success() {
            Ok(())
        } else {
            bail!("the process has ended already; it says:\n{}", self.log())
        }
    }

    /// Kills it, as the kernel does where memory runs out.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().context("cannot kill")?;
        self.child.wait().context("cannot wait").map(drop)
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// Where it does not, in time; with what it said.
    pub async fn exit(&mut self) -> anyhow::Result<ExitStatus> {
        let exited = until(PATIENCE, async || self.child.try_wait().ok().flatten()).await;
        exited.with_context(|| format!("the program did not end; it says:\n{}", self.log()))
    }

    /// Asks it to end by SIGTERM, which it must do with exit code 0.
    ///
    /// # Errors
    /// Where it does not; with what it said.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let status = self.exit().await?;
        if !status.success() {
            bail!("the program ended with {status}; it says:\n{}", self.log());
        }
        Ok(())
    }
}

/// How much memory a process has, in bytes.
pub fn resident_bytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// How much CPU time a process has used, in seconds.
pub fn cpu_seconds(process: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is a name in brackets; user and system time are the 14th and 15th.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let ticks = |field: Option<&str>| field?.parse::<f64>().ok();
    Some((ticks(fields.next())? + ticks(fields.next())?) / TICKS_PER_SECOND)
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

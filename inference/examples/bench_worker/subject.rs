//! Owns the process that is measured: the worker, or Python.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use kafka_io::Topic;
use testbed::Process;

/// The script that does the job in Python.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/spacy/worker.py");
/// The kernel counts CPU time in hundredths of a second, on every Linux there is.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process that is measured. It ends when it is dropped.
pub(crate) enum Subject {
    Worker(Process),
    Python(Child),
}

impl Subject {
    pub(crate) async fn worker(program: &Path, folder: &Path, config: &str) -> anyhow::Result<Self> {
        let mut process = Process::start(program, folder, config, &[])?;
        process.ready().await?;
        Ok(Self::Worker(process))
    }

    pub(crate) fn python(
        python: &Path,
        servers: &str,
        input: &Topic,
        output: &Topic,
    ) -> anyhow::Result<Self> {
        let child = Command::new(python)
            .args([SCRIPT, servers, input.as_str(), output.as_str()])
            .stdin(Stdio::null())
            .spawn();
        Ok(Self::Python(child.context("cannot start Python")?))
    }

    fn id(&self) -> u32 {
        match self {
            Self::Worker(process) => process.id(),
            Self::Python(child) => child.id(),
        }
    }

    /// CPU time so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).ok()?;
        // The second field is a name in brackets; user and system time are the 14th and 15th.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace().skip(11);
        let ticks = |field: Option<&str>| field?.parse::<f64>().ok();
        Some((ticks(fields.next())? + ticks(fields.next())?) / TICKS_PER_SECOND)
    }

    /// Resident memory, in units of 10^6 bytes.
    pub(crate) fn memory_mb(&self) -> Option<f64> {
        testbed::resident_bytes(self.id()).map(|bytes| bytes as f64 / 1e6)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Self::Python(child) = self {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

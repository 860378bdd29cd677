//! Owns the process that is measured: the worker, or Python.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use kafka_admin::Topic;
use testbed::Process;

/// The script that does the job in Python.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/spacy/worker.py");

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
        testbed::cpu_seconds(self.id())
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

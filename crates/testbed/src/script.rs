//! Owns the way to the workspace's scripts.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

/// The path of a script, or of a file beside the scripts.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts")).join(name)
}

/// Runs a script and gives the lines that it prints. What it says on standard error is part of the error.
pub(crate) async fn run(name: &str, arguments: &[&str]) -> anyhow::Result<Vec<String>> {
    // A file, since a broker that the script leaves running keeps its standard error, and so a pipe, open.
    let told = tempfile::NamedTempFile::new().context("cannot make a file")?;
    let output = Command::new(path(name))
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(told.reopen()?)
        .output()
        .await
        .with_context(|| format!("cannot run scripts/{name}"))?;
    if !output.status.success() {
        let told = std::fs::read_to_string(told.path()).unwrap_or_default();
        bail!("scripts/{name} failed: {}", told.trim());
    }
    let printed = String::from_utf8(output.stdout).context("a script prints text")?;
    Ok(printed.lines().map(str::to_owned).collect())
}

/// Runs a script and gives the line that it prints.
pub(crate) async fn line(name: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let lines = run(name, arguments).await?;
    lines
        .into_iter()
        .next()
        .with_context(|| format!("scripts/{name} prints a line"))
}

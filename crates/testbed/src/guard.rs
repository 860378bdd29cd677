//! Owns that what we started ends with us, however we end.
//!
//! A shell holds the other end of a pipe. The pipe closes when the guard is dropped, and also when we are killed.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::Context as _;

/// A shell that waits for its standard input to close, and then ends what it guards.
pub(crate) struct Guard {
    shell: Child,
    /// Open as long as what is guarded shall live.
    lifeline: Option<ChildStdin>,
}

impl Guard {
    /// Runs a script of the shell. Its `$0`, `$1` and so on are the arguments.
    pub(crate) fn start<A: AsRef<OsStr>>(
        script: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> anyhow::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .args(arguments)
            // Control-C in a terminal ends a whole group of processes; the guard must outlive it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run sh")?;
        let lifeline = shell.stdin.take();
        Ok(Self { shell, lifeline })
    }

    /// Gives the script a line.
    pub(crate) fn send(&mut self, line: &str) -> anyhow::Result<()> {
        let mut pipe = self.lifeline.as_ref().context("the guard lives")?;
        pipe.write_all(format!("{line}\n").as_bytes())
            .context("the guard takes no more lines")
    }

    /// Ends the guard alone; somebody else has taken over.
    pub(crate) fn dismiss(&mut self) -> anyhow::Result<()> {
        self.shell.kill().context("cannot kill a guard")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.lifeline = None;
        // It has no way to fail that could be mended here.
        drop(self.shell.wait());
    }
}

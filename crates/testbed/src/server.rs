//! Owns a foreign program as a process: its start on a folder of its own, what it says, its end.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::guard::Guard;
use crate::until;

/// Runs `$@` on the folder `$0`, hands our lines to it, and kills it, with all that it started, when the pipe closes.
const GUARD: &str = r#"
mkfifo "$0/in"
{
    setsid "$@" <"$0/in" >>"$0/out" 2>>"$0/log" &
    echo $! >"$0/pid"
    wait $!
    echo $? >"$0/status"
} &
cat >"$0/in"
cat >/dev/null
tries=0
until [ -s "$0/pid" ] || [ $tries -ge 500 ]; do sleep 0.01; tries=$((tries + 1)); done
read -r pid <"$0/pid"
kill -s KILL -- "-$pid"
wait
[ ! -f "$0/litter" ] || xargs rm -f <"$0/litter"
rm -rf "$0"
"#;
/// In a server's folder: names files elsewhere that it leaves behind.
pub(crate) const LITTER: &str = "litter";
/// How long a program may take to answer, and to end.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running program. It ends, with its folder, when it is dropped, and also when we are killed.
pub(crate) struct Server {
    name: &'static str,
    folder: PathBuf,
    command: Vec<OsString>,
    guard: Guard,
}

impl Server {
    /// Starts a program. `command` gets its folder, which is empty, and says what to run.
    pub(crate) fn start(
        name: &'static str,
        command: impl FnOnce(&Path) -> anyhow::Result<Vec<OsString>>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix(name).tempdir();
        let folder = folder.context("cannot make a folder")?;
        let command = command(folder.path())?;
        let guard = guard(folder.path(), &command)?;
        // From here on it is the guard that removes the folder.
        let folder = folder.keep();
        Ok(Self {
            name,
            folder,
            command,
            guard,
        })
    }

    /// What it wrote to standard output so far.
    pub(crate) fn output(&self) -> String {
        self.text("out")
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.text("log")
    }

    /// The exit code with which it ended; `None` while it runs. One that a signal ended has 128 and the signal.
    pub(crate) fn status(&self) -> Option<i32> {
        self.text("status").trim().parse().ok()
    }

    /// Gives it a line on standard input.
    pub(crate) fn send(&mut self, line: &str) -> anyhow::Result<()> {
        self.guard.send(line)
    }

    /// Sends a signal by its name, such as `TERM`, to it and all that it started.
    pub(crate) fn signal(&self, name: &str) -> anyhow::Result<()> {
        let group = format!("-{}", self.text("pid").trim());
        let sent = Command::new("kill").args(["-s", name, "--", &group]).status();
        if !sent.context("cannot run kill")?.success() {
            bail!("{} has ended already; it says:\n{}", self.name, self.log());
        }
        Ok(())
    }

    /// Ends it by a signal and waits for that; its folder stays.
    pub(crate) async fn stop(&self, signal: &str) -> anyhow::Result<()> {
        self.signal(signal)?;
        self.ended(PATIENCE).await.map(drop)
    }

    /// Waits until it has ended by itself, and gives its exit code.
    pub(crate) async fn ended(&self, patience: Duration) -> anyhow::Result<i32> {
        let ended = until(patience, async || self.status()).await;
        ended.with_context(|| format!("{} did not end in {patience:?}", self.name))
    }

    /// Runs the same program again on the same folder, after [`Self::stop`].
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        // The old guard would remove the folder.
        self.guard.dismiss()?;
        for left in ["in", "pid", "status"] {
            std::fs::remove_file(self.folder.join(left)).context("a server was not stopped")?;
        }
        self.guard = guard(&self.folder, &self.command)?;
        Ok(())
    }

    /// Waits until it answers, which `answers` finds out.
    pub(crate) async fn ready<T>(&self, mut answers: impl AsyncFnMut() -> Option<T>) -> anyhow::Result<T> {
        let state = until(PATIENCE, async || {
            if self.status().is_some() {
                return Some(None);
            }
            answers().await.map(Some)
        });
        let why = match state.await {
            Some(Some(answer)) => return Ok(answer),
            Some(None) => "ended",
            None => "did not answer",
        };
        bail!("{} {why}; it says:\n{}{}", self.name, self.output(), self.log())
    }

    fn text(&self, name: &str) -> String {
        std::fs::read(self.folder.join(name))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

fn guard(folder: &Path, command: &[OsString]) -> anyhow::Result<Guard> {
    Guard::start(
        GUARD,
        std::iter::once(folder.as_os_str()).chain(command.iter().map(OsString::as_os_str)),
    )
}

/// So many different ports of loopback that are free now; nobody else is likely to take them within the next moment.
pub(crate) fn free_ports<const COUNT: usize>() -> anyhow::Result<[u16; COUNT]> {
    let mut ports = [0; COUNT];
    // All are held until the last one is found, so that none is given twice.
    let mut held = Vec::with_capacity(COUNT);
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

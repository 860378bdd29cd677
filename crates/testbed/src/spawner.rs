//! Owns that a program of the workspace ends with us, also if we are killed.
//!
//! The kernel kills it when its parent ends (`PR_SET_PDEATHSIG`), and takes the *thread* that started it for the parent.
//! So all are started by one thread that lives as long as the process: a thread of a test or of a runtime ends before.

use std::ffi::OsStr;
use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::Context as _;

/// Starts that may wait for the thread; further ones wait to be taken.
const QUEUE: usize = 16;

type Start = (Command, SyncSender<io::Result<Child>>);

/// A command of a program that is killed when we end; for [`spawn`] alone.
pub(crate) fn command(program: &OsStr) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Starts what [`command`] made.
pub(crate) fn spawn(command: Command) -> anyhow::Result<Child> {
    static SPAWNER: OnceLock<SyncSender<Start>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, starts) = sync_channel::<Start>(QUEUE);
        std::thread::spawn(move || {
            for (mut command, reply) in starts {
                // The caller waits for it.
                drop(reply.send(command.spawn()));
            }
        });
        sender
    });
    let (reply, started) = sync_channel(1);
    spawner.send((command, reply)).context("the spawner lives")?;
    let started = started.recv().context("the spawner answers")?;
    started.context("cannot run setpriv of util-linux")
}

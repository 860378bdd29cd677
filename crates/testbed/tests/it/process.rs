//! A program ends with the process that started it, and not before.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use testbed::{Process, until};

const PATIENCE: Duration = Duration::from_secs(30);
/// The kernel kills a program within so long, if it does.
const SILENCE: Duration = Duration::from_millis(500);
/// Names the folder, for the copy of this test that is killed.
const VICTIM: &str = "TESTBED_VICTIM_FOLDER";
const NAME: &str = "process::a_program_ends_when_the_process_that_started_it_is_killed";

/// A program that takes anything and ends only when it is killed.
fn sleeper(folder: &Path) -> PathBuf {
    let program = folder.join("sleeper");
    std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    program
}

fn is_running(process: u32) -> bool {
    // A zombie has ended; its parent has not looked yet.
    std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with('Z'))
    })
}

#[tokio::test]
async fn a_program_ends_when_the_process_that_started_it_is_killed() {
    if let Some(folder) = std::env::var_os(VICTIM).map(PathBuf::from) {
        let process = Process::start(&sleeper(&folder), &folder, "", &[]).unwrap();
        std::fs::write(folder.join("new"), process.id().to_string()).unwrap();
        std::fs::rename(folder.join("new"), folder.join("id")).unwrap();
        std::future::pending::<()>().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME])
        .env(VICTIM, folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let id = until(PATIENCE, async || {
        std::fs::read_to_string(folder.path().join("id")).ok()
    })
    .await;
    let id = id.unwrap().parse().unwrap();
    assert!(is_running(id));
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(
        until(PATIENCE, async || (!is_running(id)).then_some(()))
            .await
            .is_some()
    );
}

#[tokio::test]
async fn a_program_outlives_the_thread_that_started_it() {
    let folder = tempfile::tempdir().unwrap();
    let program = sleeper(folder.path());
    let start = || Process::start(&program, folder.path(), "", &[]).unwrap();
    let mut process = std::thread::scope(|scope| scope.spawn(start).join()).unwrap();
    let id = process.id();
    assert_eq!(
        until(SILENCE, async || (!is_running(id)).then_some(())).await,
        None
    );
    process.signal("TERM").unwrap();
    assert_eq!(process.exit().await.unwrap().signal(), Some(15));
}

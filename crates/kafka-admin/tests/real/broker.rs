//! Owns a broker of Apache Kafka for these tests. It ends when the pipe to its guard closes, which is at the latest when we
//! do.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = r#"trap '' INT; "$0/start" --data "$1" "${@:2}" && exec >/dev/null && cat; "$0/stop" --data "$1"; rm -rf "$1""#;

/// A broker on loopback.
pub(crate) struct Broker {
    /// `HOST:PORT`.
    pub(crate) servers: String,
    guard: Child,
}

impl Broker {
    /// Starts one. `arguments` are those of `scripts/kafka/start`.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap().keep();
        let mut guard = Command::new("bash")
            .args(["-c", SCRIPT])
            .arg(scripts())
            .arg(&data)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut servers = String::new();
        guard.stdout.take().unwrap().read_to_string(&mut servers).unwrap();
        let servers = servers.trim().to_owned();
        assert!(!servers.is_empty(), "the broker did not start");
        Self { servers, guard }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        drop(self.guard.wait());
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka")
}

//! Owns a broker of Apache Kafka: its start, its stop, and that it does not outlive us.

use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::Context;

use crate::script;

/// Ends the broker and removes its data when standard input closes, which it does however we end.
const GUARD: &str = r#"cat >/dev/null; "$0" --data "$1"; rm -rf "$1""#;

/// What a broker shall be like.
#[derive(Debug, Clone, Default)]
pub struct KafkaSettings {
    /// Lines of its configuration.
    pub properties: Vec<(String, String)>,
    /// A user and a password, for SCRAM-SHA-512.
    pub user: Option<(String, String)>,
}

/// A broker on loopback. It ends, with its data, when it is dropped.
pub struct Kafka {
    data: String,
    servers: String,
    guard: Child,
    /// Open as long as the broker shall live.
    lifeline: Option<ChildStdin>,
}

impl Kafka {
    /// Starts a broker with an empty folder.
    ///
    /// # Errors
    /// Where it cannot be had or started, and what is missing.
    pub async fn start(settings: &KafkaSettings) -> anyhow::Result<Self> {
        let data = tempfile::tempdir().context("cannot make a folder")?.keep();
        let data = data.to_str().context("a folder with a name in UTF-8")?.to_owned();
        let mut guard = Command::new("sh")
            .args(["-c", GUARD])
            .arg(script::path("kafka/stop"))
            .arg(&data)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run sh")?;
        let lifeline = guard.stdin.take();
        let mut kafka = Self {
            data,
            servers: String::new(),
            guard,
            lifeline,
        };
        let mut arguments = Vec::new();
        let lines = settings.properties.iter();
        let lines: Vec<_> = lines.map(|(key, value)| format!("{key}={value}")).collect();
        arguments.extend(lines.iter().flat_map(|line| ["--set", line]));
        let user = settings.user.as_ref();
        let user = user.map(|(name, password)| format!("{name}:{password}"));
        arguments.extend(user.iter().flat_map(|user| ["--scram", user]));
        kafka.launch(&arguments).await?;
        Ok(kafka)
    }

    /// Its address.
    pub fn bootstrap_servers(&self) -> &str {
        &self.servers
    }

    /// Where its data is.
    pub fn data(&self) -> &Path {
        Path::new(&self.data)
    }

    /// Stops the broker; its data stays.
    ///
    /// # Errors
    /// Where it does not end.
    pub async fn stop(&self) -> anyhow::Result<()> {
        script::run("kafka/stop", &["--data", &self.data]).await.map(drop)
    }

    /// Starts the broker again after [`Self::stop`].
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.launch(&[]).await
    }

    async fn launch(&mut self, arguments: &[&str]) -> anyhow::Result<()> {
        let arguments = [&["--data", &self.data], arguments].concat();
        let lines = script::run("kafka/start", &arguments).await?;
        self.servers = lines.into_iter().next().context("start prints the address")?;
        Ok(())
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.lifeline = None;
        // It has no way to fail that could be mended here.
        drop(self.guard.wait());
    }
}

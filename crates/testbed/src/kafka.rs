//! Owns a broker of Apache Kafka: its start, its stop, and that it does not outlive us.

use std::path::Path;

use anyhow::Context;

use crate::guard::Guard;
use crate::script;

/// Ends the broker and removes its data when the pipe closes.
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
    /// Its end is the broker's.
    _guard: Guard,
}

impl Kafka {
    /// Starts a broker with an empty folder.
    ///
    /// # Errors
    /// Where it cannot be had or started, and what is missing.
    pub async fn start(settings: &KafkaSettings) -> anyhow::Result<Self> {
        let data = tempfile::tempdir().context("cannot make a folder")?.keep();
        let data = data.to_str().context("a folder with a name in UTF-8")?.to_owned();
        let guard = Guard::start(GUARD, [script::path("kafka/stop").as_os_str(), data.as_ref()])?;
        let mut kafka = Self {
            data,
            servers: String::new(),
            _guard: guard,
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
        self.servers = script::line("kafka/start", &arguments).await?;
        Ok(())
    }
}

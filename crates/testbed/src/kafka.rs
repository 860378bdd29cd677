//! Owns a broker of Apache Kafka: its start, its stop, and that it does not outlive us.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

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
    /// The port of loopback under which clients shall find it: of a [`crate::FaultProxy`], which is then to forward to
    /// [`Kafka::listener`]. Without one it is the broker's own.
    pub advertised_port: Option<u16>,
}

/// A broker on loopback. It ends, with its data, when it is dropped.
pub struct Kafka {
    data: String,
    listener: SocketAddr,
    advertised: String,
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
            listener: (Ipv4Addr::LOCALHOST, 0).into(),
            advertised: String::new(),
            _guard: guard,
        };
        let mut arguments = Vec::new();
        let port = settings.advertised_port.map(|port| port.to_string());
        arguments.extend(port.iter().flat_map(|port| ["--advertise", port]));
        let lines = settings.properties.iter();
        let lines: Vec<_> = lines.map(|(key, value)| format!("{key}={value}")).collect();
        arguments.extend(lines.iter().flat_map(|line| ["--set", line]));
        let user = settings.user.as_ref();
        let user = user.map(|(name, password)| format!("{name}:{password}"));
        arguments.extend(user.iter().flat_map(|user| ["--scram", user]));
        kafka.launch(&arguments).await?;
        let port = settings.advertised_port.unwrap_or(kafka.listener.port());
        kafka.advertised = format!("127.0.0.1:{port}");
        Ok(kafka)
    }

    /// Its address, as clients find it.
    pub fn bootstrap_servers(&self) -> &str {
        &self.advertised
    }

    /// Where it listens for clients.
    pub fn listener(&self) -> SocketAddr {
        self.listener
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

    /// Kills the broker, as the kernel does if memory runs out; its data stays.
    ///
    /// # Errors
    /// If it has ended already.
    pub async fn kill(&self) -> anyhow::Result<()> {
        self.signal("KILL")?;
        self.stop().await
    }

    /// Sends it a signal by its name: after `STOP` it hangs until `CONT`.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let process = std::fs::read_to_string(self.data().join("pid")).context("the broker was stopped")?;
        let sent = Command::new("kill").args(["-s", name, process.trim()]).status();
        if !sent.context("cannot run kill")?.success() {
            bail!("the broker has ended already");
        }
        Ok(())
    }

    /// Starts the broker again after [`Self::stop`] or [`Self::kill`].
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.launch(&[]).await
    }

    async fn launch(&mut self, arguments: &[&str]) -> anyhow::Result<()> {
        let arguments = [&["--data", &self.data], arguments].concat();
        let printed = script::line("kafka/start", &arguments).await?;
        self.listener = printed.parse().context("kafka/start prints an address")?;
        Ok(())
    }
}

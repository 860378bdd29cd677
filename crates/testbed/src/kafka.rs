//! Owns a broker of Apache Kafka: its start, its stop, and that it does not outlive us.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::guard::Guard;
use crate::script;

/// Ends the broker and removes its data when the pipe closes.
const GUARD: &str = r#"cat >/dev/null; "$0" --data "$1"; rm -rf "$1""#;

/// A version of Apache Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KafkaVersion {
    /// 2.8.2, on a `ZooKeeper` of its own.
    V2_8,
    /// 3.7.2.
    V3_7,
    /// 4.3.1.
    #[default]
    V4_3,
}

impl KafkaVersion {
    pub(crate) fn number(self) -> &'static str {
        match self {
            Self::V2_8 => "2.8.2",
            Self::V3_7 => "3.7.2",
            Self::V4_3 => "4.3.1",
        }
    }
}

/// What a broker shall be like.
#[derive(Debug, Clone, Default)]
pub struct KafkaSettings {
    /// Which Kafka it is.
    pub version: KafkaVersion,
    /// The largest heap of its JVM, in MiB; 1 GiB by default.
    pub heap_mib: Option<u32>,
    /// Lines of its configuration.
    pub properties: Vec<(String, String)>,
    /// A user and a password, for SCRAM-SHA-512.
    pub user: Option<(String, String)>,
    /// The port of loopback under which clients shall find it: of a [`crate::FaultProxy`], which is then to forward to
    /// [`Kafka::listener`]. Without one it is the broker's own.
    pub advertised_port: Option<u16>,
}

impl KafkaSettings {
    /// The arguments of `scripts/kafka/start`.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        add("--version", self.version.number().to_owned());
        if let Some(heap) = self.heap_mib {
            add("--heap", format!("{heap}m"));
        }
        if let Some(port) = self.advertised_port {
            add("--advertise", port.to_string());
        }
        for (key, value) in &self.properties {
            add("--set", format!("{key}={value}"));
        }
        if let Some((name, password)) = &self.user {
            add("--scram", format!("{name}:{password}"));
        }
        arguments
    }
}

/// A broker on loopback. It ends, with its data, when it is dropped.
pub struct Kafka {
    data: String,
    arguments: Vec<String>,
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
        Self::start_with(settings, &[]).await
    }

    /// As [`Self::start`], with more arguments of `scripts/kafka/start`.
    pub(crate) async fn start_with(settings: &KafkaSettings, more: &[String]) -> anyhow::Result<Self> {
        let data = tempfile::tempdir().context("cannot make a folder")?.keep();
        let data = data.to_str().context("a folder with a name in UTF-8")?.to_owned();
        let guard = Guard::start(GUARD, [script::path("kafka/stop").as_os_str(), data.as_ref()])?;
        let mut arguments = vec!["--data".to_owned(), data.clone()];
        arguments.extend(settings.arguments());
        arguments.extend_from_slice(more);
        let mut kafka = Self {
            data,
            arguments,
            listener: (Ipv4Addr::LOCALHOST, 0).into(),
            advertised: String::new(),
            _guard: guard,
        };
        kafka.restart().await?;
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

    /// The address of its other listener, which is for brokers: whoever comes there needs neither TLS nor a password.
    ///
    /// # Errors
    /// If its configuration cannot be read.
    pub fn internal_listener(&self) -> anyhow::Result<String> {
        let file = self.data().join("server.properties");
        let properties = std::fs::read_to_string(file).context("a broker has its configuration")?;
        let listeners = properties
            .lines()
            .find_map(|line| line.strip_prefix("listeners="));
        let internal = listeners
            .and_then(|listeners| listeners.split(',').find_map(|one| one.strip_prefix("BROKER://")));
        internal
            .map(str::to_owned)
            .context("a broker listens for brokers")
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
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        let printed = script::line("kafka/start", &arguments).await?;
        self.listener = printed.parse().context("kafka/start prints an address")?;
        Ok(())
    }
}

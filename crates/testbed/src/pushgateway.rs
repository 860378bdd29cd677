//! Owns a Pushgateway of Prometheus, and what a person sees in it.

use std::ffi::OsString;

use anyhow::Context as _;
use serde_json::Value;

use crate::client::client;
use crate::script;
use crate::server::{Server, free_ports};

/// A Pushgateway on loopback. It ends, with what was pushed, when it is dropped.
pub struct Pushgateway {
    server: Server,
    url: String,
    client: reqwest::Client,
}

impl Pushgateway {
    /// Starts a gateway that keeps nothing on disk, with more flags.
    ///
    /// # Errors
    /// Where it cannot be had or started, and what is missing.
    pub async fn start(flags: &[&str]) -> anyhow::Result<Self> {
        let program = script::line("prometheus/fetch", &["prometheus-pushgateway"]).await?;
        let [port] = free_ports()?;
        let mut command: Vec<OsString> = vec![program.into()];
        command.push(format!("--web.listen-address=127.0.0.1:{port}").into());
        // Debian's default is a file of the whole machine's. The last flag of a name would be refused, not win.
        if !flags.iter().any(|flag| flag.starts_with("--persistence.file")) {
            command.push("--persistence.file=".into());
        }
        command.extend(flags.iter().map(Into::into));
        let gateway = Self {
            server: Server::start("pushgateway", |_| Ok(command))?,
            url: format!("http://127.0.0.1:{port}"),
            client: client()?,
        };
        gateway.ready().await?;
        Ok(gateway)
    }

    /// Its address, such as `http://127.0.0.1:9091`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it says on standard error.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Its groups: the `data` of `GET /api/v1/metrics`, one object a group.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn groups(&self) -> anyhow::Result<Vec<Value>> {
        let mut answer: Value = serde_json::from_str(&self.page("/api/v1/metrics").await?)?;
        match answer["data"].take() {
            Value::Array(groups) => Ok(groups),
            other => anyhow::bail!("the gateway answered no groups but {other}"),
        }
    }

    /// What Prometheus would scrape.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        self.page("/metrics").await
    }

    /// Pushes a page by PUT to the path of a group, such as `job/other`, as a stranger would: the status and the text.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn push(&self, group: &str, page: &str) -> anyhow::Result<(u16, String)> {
        let request = self.client.put(format!("{}/metrics/{group}", self.url));
        let answer = request.body(page.to_owned()).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Stops it.
    ///
    /// # Errors
    /// Where it does not end.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.server.stop("TERM").await
    }

    /// Starts it again after [`Self::stop`], on the same port, empty.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.server.restart()?;
        self.ready().await
    }

    /// Sends it a signal by its name: after `STOP` it hangs until `CONT`.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        self.server.signal(name)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        // With a password it answers 401, which is an answer.
        let address = format!("{}/-/ready", self.url);
        let answers = self
            .server
            .ready(async || self.client.get(&address).send().await.ok().map(drop));
        answers.await
    }

    async fn page(&self, path: &str) -> anyhow::Result<String> {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await;
        let answer = answer
            .context("the gateway does not answer")?
            .error_for_status()?;
        Ok(answer.text().await?)
    }
}

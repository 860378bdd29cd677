//! Owns a Prometheus, and what a person gets who asks it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::client::client;
use crate::script;
use crate::server::{Server, free_ports};

/// The part of the configuration that is always the same.
const GLOBAL: &str = "global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}\n";

/// A sample that a query gave: its labels, `__name__` among them, and its value.
pub type Sample = (BTreeMap<String, String>, f64);

/// A Prometheus on loopback that scrapes five times a second. It ends, with its data, when it is dropped.
pub struct Prometheus {
    _server: Server,
    url: String,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts it with the rest of a configuration in YAML, such as `scrape_configs:` and what follows, and more flags,
    /// such as `--web.enable-remote-write-receiver`.
    ///
    /// # Errors
    /// Where it cannot be had or started, and what is missing.
    pub async fn start(config: &str, flags: &[&str]) -> anyhow::Result<Self> {
        let program = script::line("prometheus/fetch", &["prometheus"]).await?;
        let [port] = free_ports()?;
        let server = Server::start("prometheus", |folder| {
            let file = folder.join("prometheus.yml");
            std::fs::write(&file, format!("{GLOBAL}{config}")).context("cannot write a configuration")?;
            let mut command: Vec<OsString> = vec![program.into()];
            command.push(format!("--config.file={}", file.display()).into());
            command.push(format!("--storage.tsdb.path={}", folder.join("data").display()).into());
            command.push(format!("--web.listen-address=127.0.0.1:{port}").into());
            command.extend(flags.iter().map(Into::into));
            Ok(command)
        })?;
        let (client, url) = (client()?, format!("http://127.0.0.1:{port}"));
        let address = format!("{url}/-/ready");
        let ready = server.ready(async || {
            let answer = client.get(&address).send().await.ok()?;
            answer.status().is_success().then_some(())
        });
        ready.await?;
        Ok(Self {
            _server: server,
            url,
            client,
        })
    }

    /// Its address, such as `http://127.0.0.1:9090`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a query in `PromQL` gives now, as it does in a dashboard: samples older than five minutes, or marked as
    /// stale, are not there.
    ///
    /// # Errors
    /// Where the query is wrong, or gives no vector.
    pub async fn query(&self, query: &str) -> anyhow::Result<Vec<Sample>> {
        let address =
            reqwest::Url::parse_with_params(&format!("{}/api/v1/query", self.url), [("query", query)])?;
        let answer = self
            .client
            .get(address)
            .send()
            .await
            .context("Prometheus does not answer")?;
        let mut answer: Value = serde_json::from_str(&answer.text().await?)?;
        let Value::Array(samples) = answer["data"]["result"].take() else {
            bail!("Prometheus answered to {query}: {answer}");
        };
        samples
            .iter()
            .map(|found| sample(found).with_context(|| format!("not a sample: {found}")))
            .collect()
    }
}

/// `{"metric": {"name": "value"}, "value": [time, "number"]}`.
fn sample(found: &Value) -> Option<Sample> {
    let labels = found["metric"].as_object()?.iter();
    let labels = labels.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    // Rust reads `NaN`, `+Inf` and `-Inf`, too.
    Some((
        labels.collect::<Option<_>>()?,
        found["value"][1].as_str()?.parse().ok()?,
    ))
}

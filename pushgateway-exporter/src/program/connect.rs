//! Owns `check --connect`: each target is scraped and the sink is asked, and nothing is pushed.

use prometheus::IntCounter;
use sidecar::Peer;

use super::start::{receiver, scrape_limits, sink_client};
use crate::config::{Config, SinkKind};
use crate::exposition;
use crate::push::{Groups, PullPort};
use crate::scrape::{HttpScrape, Scrape};

/// Tries each target and the sink.
pub(super) async fn peers(config: &Config) -> Vec<Peer> {
    let mut peers = Vec::new();
    let scrape = HttpScrape::new(&config.targets, scrape_limits(config));
    for (number, (target, _)) in config.targets.iter().enumerate() {
        let found = match &scrape {
            Ok(scrape) => page(config, scrape, number).await,
            Err(error) => Err(format!("{error:#}")),
        };
        peers.push(Peer {
            name: format!("targets.{}", target.name),
            result: found,
        });
    }
    let (name, result) = match config.raw.push.sink {
        SinkKind::Pushgateway => ("pushgateway.url", gateway(config).await),
        SinkKind::RemoteWrite => ("remote_write.url", remote_write(config).await),
        SinkKind::Http => ("http.address", port(config).await),
    };
    peers.push(Peer {
        name: name.to_owned(),
        result: result.map_err(|error| format!("{error:#}")),
    });
    peers
}

async fn page(config: &Config, scrape: &HttpScrape, target: usize) -> Result<String, String> {
    let body = scrape.scrape(target).await.map_err(|error| error.to_string())?;
    let shaped = config.shape.apply(exposition::parse(&body));
    Ok(format!(
        "{} bytes, {} samples, {} dropped",
        body.len(),
        shaped.samples.len(),
        shaped.dropped.total()
    ))
}

async fn gateway(config: &Config) -> anyhow::Result<String> {
    let raw = &config.raw.pushgateway;
    let groups = Groups::new(sink_client(config, &raw.url, raw.timeout)?, &raw.url);
    Ok(format!("Pushgateway {}", groups.version().await?))
}

async fn remote_write(config: &Config) -> anyhow::Result<String> {
    receiver(config, IntCounter::new("sent", "Bytes")?)?
        .probe()
        .await?;
    Ok("takes remote writes".to_owned())
}

async fn port(config: &Config) -> anyhow::Result<String> {
    Ok(format!(
        "{} is free",
        PullPort::bind(config.raw.http.address).await?.address()?
    ))
}

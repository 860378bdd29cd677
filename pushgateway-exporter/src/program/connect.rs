//! Owns `check --connect`: each target is scraped and the sink is asked, and nothing is pushed.

use prometheus::IntCounter;
use sidecar::Peer;

use super::start::{receiver, scrape_limits, sink_client};
use crate::config::{Config, SinkKind};
use crate::exposition::{self, Reason};
use crate::push::{Groups, PullPort};
use crate::scrape::{HttpScrape, Scrape};
use crate::target::Role;

/// Why samples are dropped that people will miss and that no limit of ours has asked for.
const LOST: [(Reason, &str); 2] = [
    (Reason::Collision, "other series have the same names and labels"),
    (
        Reason::Duplicate,
        "the page has their series more than once, as when names of streaming queries differ only in \
         characters that Spark replaces by _",
    ),
];

/// Tries each target and the sink.
pub(super) async fn peers(config: &Config) -> Vec<Peer> {
    let mut peers = Vec::new();
    let scrape = HttpScrape::new(&config.targets, scrape_limits(config));
    for (number, (target, _)) in config.targets.iter().enumerate() {
        let result = match &scrape {
            Ok(scrape) => page(config, scrape, number).await,
            Err(error) => Err(format!("{error:#}")),
        };
        peers.push(Peer {
            name: format!("targets.{}", target.name),
            result,
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
    let (target, _) = &config.targets[target];
    if target.role == Role::Driver && !has_streaming_metrics(&body) {
        return Err(format!(
            "{} bytes, but nothing of the streaming queries that the driver runs; set \
             spark.sql.streaming.metricsEnabled=true before they start",
            body.len()
        ));
    }
    let shaped = config.shape.apply(exposition::parse(&body), &target.labels);
    let said = format!(
        "{} bytes, {} samples, {} dropped",
        body.len(),
        shaped.samples.len(),
        shaped.dropped.total()
    );
    let lost = LOST.into_iter().filter_map(|(reason, why)| {
        let names: Vec<&str> = shaped.dropped.names(reason).collect();
        let dropped = shaped.dropped.get(reason);
        (dropped > 0).then(|| format!("{dropped} of these because {why}: {}", names.join(", ")))
    });
    let lost: Vec<String> = lost.collect();
    if lost.is_empty() {
        Ok(said)
    } else {
        Err(format!("{said}, {}", lost.join("; ")))
    }
}

/// Whether a driver's page has what there is of its streaming queries: that it has queries, a queue for their events
/// shows.
fn has_streaming_metrics(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    text.contains("_driver_spark_streaming_") || !text.contains("_LiveListenerBus_queue_streams_")
}

async fn gateway(config: &Config) -> anyhow::Result<String> {
    let client = sink_client(config, config.raw.pushgateway.timeout)?;
    let groups = Groups::new(client, &config.sink_url);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_whose_queries_have_no_metrics_is_told_from_one_without_queries() {
        let page = include_str!("../../tests/fixtures/driver-3.5.9.txt");
        assert!(has_streaming_metrics(page.as_bytes()));
        let without = |word: &str| {
            let lines = page.split_inclusive('\n').filter(|line| !line.contains(word));
            lines.collect::<String>()
        };
        let off = without("_spark_streaming_");
        assert!(!has_streaming_metrics(off.as_bytes()));
        let batch = off.replace("queue_streams", "queue_other");
        assert!(has_streaming_metrics(batch.as_bytes()));
    }
}

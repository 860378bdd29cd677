//! Owns what is measured, and how.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use kafka_admin::{Connection, Topic};
use kafka_io::{Compression, Outgoing, Producer, ProducerSettings};
use testbed::Found;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::subject::Subject;

/// Results before throughput is measured: the caches are warm, and the backlog is read ahead.
const WARM: usize = 500;
/// How long documents flow before latency is measured: the first ones wait for the producer's connections.
const CONNECTING: Duration = Duration::from_secs(2);
/// How long latency is measured, at each rate.
const LATENCY_TIME: Duration = Duration::from_secs(40);
/// How long a backlog may take.
const BACKLOG_PATIENCE: Duration = Duration::from_mins(10);
/// How long the next result may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// What was measured of a way.
pub(crate) struct Figures {
    pub(crate) rate: f64,
    pub(crate) cpu_per_1000: f64,
    pub(crate) memory_mb: f64,
    pub(crate) slow: Latency,
    pub(crate) half: Latency,
}

pub(crate) struct Throughput {
    /// Documents per second.
    pub(crate) rate: f64,
    /// CPU seconds of the process for 1,000 documents.
    pub(crate) cpu_per_1000: f64,
}

/// From produce to result.
pub(crate) struct Latency {
    /// Documents per second.
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// The documents, as messages.
pub(crate) struct Documents(Vec<Vec<u8>>);

impl Documents {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let content = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let lines = content
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty());
        Ok(Self(lines.map(<[u8]>::to_vec).collect()))
    }

    fn message(&self, topic: &Topic, key: &str, number: usize) -> Outgoing {
        Outgoing {
            topic: topic.clone(),
            key: Some(key.as_bytes().to_vec()),
            value: Some(self.0[number % self.0.len()].clone()),
            headers: Vec::new(),
        }
    }

    /// Produces so many of them.
    pub(crate) async fn produce(
        &self,
        connection: &Connection,
        topic: &Topic,
        count: usize,
    ) -> anyhow::Result<()> {
        let messages = (0..count).map(|number| self.message(topic, &format!("backlog-{number}"), number));
        testbed::produce(connection, Compression::Lz4, messages).await
    }
}

/// The ends of a way: where documents go in, and where results come out.
pub(crate) struct Ends<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) documents: &'a Documents,
    pub(crate) input: Topic,
    pub(crate) results: Found,
}

impl Ends<'_> {
    /// How fast a backlog is worked off.
    pub(crate) async fn throughput(
        &mut self,
        subject: &Subject,
        backlog: usize,
    ) -> anyhow::Result<Throughput> {
        let found = &mut self.results;
        found.take(PATIENCE, |results| results.len() == WARM).await?;
        let cpu = subject.cpu_seconds().context("the process has ended")?;
        let began = Instant::now();
        found
            .take(BACKLOG_PATIENCE, |results| results.len() == backlog - WARM)
            .await?;
        let took = began.elapsed().as_secs_f64();
        let cpu = subject.cpu_seconds().context("the process has ended")? - cpu;
        let count = (backlog - WARM) as f64;
        Ok(Throughput {
            rate: count / took,
            cpu_per_1000: cpu / count * 1e3,
        })
    }

    /// How long each document takes at a rate.
    pub(crate) async fn latency(&mut self, rate: f64) -> anyhow::Result<Latency> {
        let settings = ProducerSettings {
            linger: Duration::ZERO,
            compression: Compression::None,
            delivery_timeout: PATIENCE,
            in_flight: 100_000,
        };
        let (producer, mut deliveries) = Producer::new(self.connection, settings)?;
        let mut next = interval(Duration::from_secs_f64(1.0 / rate));
        next.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut sent, mut count, mut latencies) = (HashMap::new(), 0_usize, Vec::new());
        let began = Instant::now();
        loop {
            let sending = began.elapsed() < CONNECTING + LATENCY_TIME;
            if !sending && sent.is_empty() {
                break;
            }
            tokio::select! {
                _ = next.tick(), if sending => {
                    let key = format!("{rate}-{count}");
                    let message = self.documents.message(&self.input, &key, count);
                    sent.insert(key.into_bytes(), Instant::now());
                    producer.send(count, &message)?;
                    count += 1;
                }
                Some(_) = deliveries.recv() => {}
                result = self.results.next(Instant::now() + PATIENCE) => {
                    let result = result?.context("no result came")?;
                    let sent = sent.remove(&result.key.unwrap_or_default());
                    if let Some(sent) = sent.filter(|&sent| sent > began + CONNECTING) {
                        latencies.push(sent.elapsed());
                    }
                }
            }
        }
        latencies.sort_unstable();
        let at = |share: usize| latencies[latencies.len() * share / 100].as_secs_f64() * 1e3;
        Ok(Latency {
            rate,
            p50_ms: at(50),
            p99_ms: at(99),
        })
    }
}

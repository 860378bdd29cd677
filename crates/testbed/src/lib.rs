//! Real peers for tests, benchmarks and the demo: never linked into a program.
//!
//! [`Kafka`] is a broker of Apache Kafka, [`S3Server`] and [`Moto`] are S3 servers, [`Pushgateway`] and [`Prometheus`] are
//! Prometheus's, [`Spark`] is a driver of Apache Spark, [`Process`] is a program of the workspace as its users run it, [`ModelFiles`] what the reference model
//! needs. What has to be downloaded is, once, by the scripts that the Makefile uses too.
//! Whatever is started ends with the process that started it, also where that is killed.

mod groups;
mod guard;
mod kafka;
mod model;
mod moto;
mod process;
mod progress;
mod prometheus;
mod pushgateway;
mod s3;
mod script;
mod server;
mod spark;
mod topics;

pub use groups::{GroupRow, consumer_groups};
pub use kafka::{Kafka, KafkaSettings};
pub use model::ModelFiles;
pub use moto::Moto;
pub use process::{Process, cpu_seconds, resident_bytes};
pub use progress::committed;
pub use prometheus::{Prometheus, Sample};
pub use pushgateway::Pushgateway;
pub use s3::S3Server;
pub use spark::{Spark, SparkJob, SparkVersion};
pub use topics::{Found, connection, consume, produce};

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `condition` gives something, for at most `patience`.
pub async fn until<T>(patience: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = condition().await {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        sleep(LOOK).await;
    }
}

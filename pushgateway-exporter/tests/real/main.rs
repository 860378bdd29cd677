//! The exporter as a process, against a Pushgateway, Prometheus and Spark: what a person queries is right.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod groups;
mod life;
mod page;
mod receiving;
mod refusing;
mod security;
mod spark;
mod stage;

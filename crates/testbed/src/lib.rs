//! Real peers for tests, benchmarks and the demo: never linked into a program.
//!
//! [`Kafka`] is a broker of Apache Kafka, [`KafkaCluster`] has three of them, [`S3Server`] and [`Moto`] are S3 servers, [`Pushgateway`] and [`Prometheus`] are
//! Prometheus's, [`Spark`] is a driver of Apache Spark, [`Process`] is a program of the workspace as its users run it, [`ModelFiles`] what the reference model
//! needs, [`FaultProxy`] a network that fails between any two of them. What has to be downloaded is, once, by the scripts that the Makefile uses too.
//! Whatever is started ends with the process that started it, also where that is killed.

mod client;
mod cluster;
mod group_offsets;
mod groups;
mod guard;
mod kafka;
mod model;
mod moto;
mod process;
mod progress;
mod prometheus;
mod proxy;
mod pushgateway;
mod s3;
mod script;
mod server;
mod spark;
mod spawner;
mod tool;
mod topic_admin;
mod topics;
mod transactions;
mod wait;

pub use cluster::KafkaCluster;
pub use group_offsets::{commit_offsets, group_offset};
pub use groups::{GroupRow, consumer_groups};
pub use kafka::{Kafka, KafkaSettings, KafkaVersion};
pub use model::ModelFiles;
pub use moto::Moto;
pub use process::{Process, cpu_seconds, resident_bytes};
pub use progress::{committed, committed_on_s3};
pub use prometheus::{Prometheus, Sample};
pub use proxy::{Cut, Fault, FaultProxy, ProxyCounts};
pub use pushgateway::Pushgateway;
pub use s3::S3Server;
pub use spark::{Spark, SparkJob, SparkVersion};
pub use tool::get_offsets;
pub use topic_admin::TopicAdmin;
pub use topics::{Found, connection, consume, produce};
pub use transactions::{Ending, produce_in_transaction};
pub use wait::until;

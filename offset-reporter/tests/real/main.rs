//! The reporter as a process against Apache Kafka, Apache Spark, and S3 servers.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set itself up has failed"
)]

mod groups;
mod log_ends;
mod retention;
mod s3;
mod spark;
mod stage;

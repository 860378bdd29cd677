//! The worker as a process against Apache Kafka.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod calm;
mod kills;
mod outages;
mod reading;
mod s3;
mod security;
mod sharing;
mod soak;
mod stage;
mod transactions;

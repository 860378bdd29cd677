//! Requests to brokers that are slow, old, broken, or no brokers at all.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set itself up has failed"
)]

mod answers;
mod brokers;
mod cluster;
mod connections;
mod fake;
mod hanging;
mod issuer;
mod logins;
mod mistakes;
mod tokens;

use kafka_admin::{Admin, Connection, RawKafka};
use sidecar::Problems;

/// A client whose connections and requests take at most so many milliseconds.
pub(crate) fn admin(servers: &str, connect_ms: u32, request_ms: u32) -> Admin {
    let mut raw = RawKafka {
        bootstrap_servers: servers.to_owned(),
        ..RawKafka::default()
    };
    let connect = ("socket.connection.setup.timeout.ms", connect_ms);
    for (name, value) in [
        connect,
        ("socket.timeout.ms", request_ms),
        ("reconnect.backoff.ms", 1),
    ] {
        raw.properties.insert(name, value.to_string());
    }
    Admin::new(&Connection::check(raw, &mut Problems::new()).unwrap())
}

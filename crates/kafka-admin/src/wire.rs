//! Kafka's protocol on one connection: frames, versions, TLS and SASL, and the task that writes and reads.

mod answers;
mod broker_connection;
mod decode;
mod encode;
mod frame;
mod handshake;
mod pulse;
mod reason;
mod sasl;
mod transport;
mod versions;

pub use answers::{ANSWERS, decode_answer, decode_assignment};
pub(crate) use broker_connection::{BrokerConnection, State};
pub(crate) use decode::decode_versioned;
pub(crate) use reason::{Origin, Target};

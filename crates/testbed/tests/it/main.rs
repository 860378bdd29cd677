//! What this crate does without a foreign peer.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

mod process;
mod proxy;

//! Kafka to model to Kafka: the streaming worker.
//!
//! ```text
//! consume ─▶ record ─▶ batch ─▶ sessions ─▶ produce ─▶ ledger ─▶ progress
//!            parse     slices   model       acked      contiguous commit
//! ```
//!
//! A record is read ([`consume`]), understood ([`record`]), waits for a session ([`batch`]), is answered by a
//! [`model`] ([`sessions`]; the model is [`spacy`]'s), leaves ([`produce`]), and when its result and all before it are
//! acknowledged ([`ledger`]) the position is committed ([`progress`]). [`worker`] is the loop that joins them.
//! The law: an offset is committed only after every result up to it has been acknowledged.

pub mod batch;
pub mod config;
pub mod consume;
pub mod ledger;
pub mod metrics;
pub mod model;
mod predict;
pub mod produce;
mod program;
pub mod progress;
pub mod record;
pub mod sessions;
pub mod spacy;
pub mod worker;

pub use program::Inference;

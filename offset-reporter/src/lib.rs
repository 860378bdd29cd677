//! What Spark Structured Streaming has processed, as a Kafka consumer group.
//!
//! ```text
//! source ─▶ progress ─▶ selection ─▶ group
//! newest    may it be   which group  memberless commit,
//! commit    reported?   and topics   read back
//! ```
//!
//! [`source`] follows a checkpoint: the newest batch that is committed, and where it ended. [`progress`] judges whether
//! that may be reported, [`selection`] which group gets which positions, [`group`] commits them. [`stream`] is the loop
//! that joins them for one checkpoint; [`reporter`] runs one for each.
//! The law: never report what was planned but not processed; never regress without a reason that has a name.

mod backoff;
pub mod board;
pub mod config;
pub mod group;
mod inspect;
pub mod ledger;
pub mod log_ends;
pub mod metrics;
mod program;
pub mod progress;
pub mod reporter;
pub mod selection;
pub mod source;
pub mod stream;

pub use program::OffsetReporter;

//! What Spark Structured Streaming has processed, as a Kafka consumer group.
//!
//! ```text
//! source ─▶ selection ─▶ plan ─────▶ group
//! newest    which group  what is due  memberless commit,
//! commit    and topics   and allowed  read back
//! ```
//!
//! [`source`] follows a checkpoint: the newest batch that is committed, and where it ended. [`selection`] says which group
//! gets which positions, [`plan`] what is due and whether it may go back, [`group`] commits it. [`stream`] joins them for one
//! checkpoint; [`reporter`] runs one for each.
//! The law: never report what was planned but not processed; never regress without a reason that has a name.

mod backoff;
pub mod board;
pub mod config;
mod gathering;
pub mod group;
mod inspect;
pub mod metrics;
pub mod plan;
mod program;
pub mod reporter;
pub mod selection;
pub mod source;
pub mod stream;

pub use program::OffsetReporter;

//! The checkpoint log of Spark Structured Streaming, read and written as Spark does.
//!
//! A checkpoint is a folder: `metadata` names the query; `offsets/N` says, before batch N is processed, where it ends
//! in each partition; `commits/N` says that it was processed. So the processed position is `offsets/M` for the
//! greatest M in `commits`, and never any other `offsets` file.
//!
//! [`log`](OffsetLog) is the form of a file, [`Store`] where files are, [`CheckpointWriter`] the order of writing.

mod log;
mod offsets;
mod store;
mod writer;

pub use log::{BatchId, LogError, OffsetLog, batch_ids, parse_initial};
pub use offsets::TopicOffsets;
pub use store::{LocalFolder, Store, StoreError};
pub use writer::{CheckpointError, CheckpointWriter, RETAINED_BATCHES, Resume};

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

pub use log::{
    BatchId, COMMITS, LogError, METADATA, OFFSETS, OffsetLog, batch_ids, initial_key, parse_initial,
    parse_query_id,
};
pub use offsets::TopicOffsets;
pub use store::{
    Folder, LocalFolder, Location, Observer, RawS3, S3, S3Folder, S3Request, Store, StoreError,
    StoreErrorKind, StoredFile, UnknownLocation,
};
pub use writer::{CheckpointError, CheckpointWriter, RETAINED_BATCHES, Resume};

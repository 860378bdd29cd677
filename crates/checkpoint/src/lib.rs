//! The checkpoint log of Spark Structured Streaming, read and written as Spark does.
//!
//! A checkpoint is a folder: `metadata` names the query; `offsets/N` says where batch N ends in each partition;
//! `commits/N` says that it was processed. So the processed position is `offsets/M` for the greatest M in `commits`. Spark
//! writes `offsets/N` before it processes batch N; our own states with a mark in it that everything below is done.
//!
//! [`OffsetLog`] is the form of a file, [`Store`] where files are, [`Checkpoint`] how far a query is, and
//! [`CheckpointWriter`] the order of writing.

mod log;
mod offsets;

mod store;

mod checkpoint;
mod purge;
mod writer;

pub use checkpoint::{Checkpoint, CheckpointError, RETAINED_BATCHES};
pub use log::{
    BatchId, COMMITS, LogError, METADATA, OFFSETS, OffsetLog, batch_ids, initial_key, parse_initial,
    parse_query_id,
};
pub use offsets::TopicOffsets;
pub use store::{
    Folder, Listing, LocalFolder, Location, Observer, Put, RawS3, S3, S3Folder, S3Request, Store, StoreError,
    StoreErrorKind, StoredFile, UnknownLocation, WritableStore,
};
pub use writer::CheckpointWriter;

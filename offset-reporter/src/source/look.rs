//! Owns what a look at a checkpoint finds.

use std::time::SystemTime;

use checkpoint::{BatchId, OffsetLog};

/// What a look found.
#[derive(Debug, Clone, PartialEq)]
pub enum Look {
    /// Nothing that was not there at the last look.
    Unchanged,
    /// A query that has committed no batch yet.
    NoBatch {
        /// Its id.
        query: String,
    },
    /// The newest committed batch.
    Batch(Box<Seen>),
}

/// The newest committed batch, as a look saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The query's id.
    pub query: String,
    /// The newest batch that is committed.
    pub newest: BatchId,
    /// The newest one whose positions can be read.
    pub readable: BatchId,
    /// That one's positions.
    pub log: OffsetLog,
    /// When the newest was committed, by the store's clock.
    pub committed_at: Option<SystemTime>,
    /// Whether the folder was listed to see this.
    pub listed: bool,
}

/// What a query does, as far as its checkpoint shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// Whether a batch is planned and not committed: it is being processed, or fails.
    pub open_batch: bool,
    /// Whether somebody said, when last listed, that it has ended for good.
    pub ended: bool,
}

impl From<Seen> for Look {
    fn from(seen: Seen) -> Self {
        Self::Batch(Box::new(seen))
    }
}

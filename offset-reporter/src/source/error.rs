//! Owns why a checkpoint cannot be followed.

use checkpoint::{LogError, StoreError};

/// Why a checkpoint cannot be followed at the moment.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The store does not answer, or refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Neither the query's file nor a batch is there.
    #[error(
        "there is no checkpoint: neither `metadata` nor a batch in `commits`; is the place right, and did the query start?"
    )]
    Missing,
    /// It was there before.
    #[error(
        "the checkpoint vanished: `metadata` and the batches in `commits` were there before; was it deleted or moved?"
    )]
    Vanished,
    /// A file cannot be understood.
    #[error("{key} cannot be used")]
    Unusable {
        /// The file.
        key: String,
        /// Why.
        source: LogError,
    },
}

impl SourceError {
    /// The name as metrics have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Store(error) => error.kind.name(),
            Self::Missing => "missing",
            Self::Vanished => "vanished",
            Self::Unusable {
                source: LogError::Version(_),
                ..
            } => "version",
            Self::Unusable { .. } => "damaged",
        }
    }
}

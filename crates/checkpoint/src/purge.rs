//! Owns deleting the batches that are not kept any more: beside the commits, a few at a time. A failure harms nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::log::{BatchId, COMMITS, OFFSETS};
use crate::{StoreErrorKind, WritableStore};

/// The most batches that are deleted behind one commit.
const MAX_PURGED: usize = 16;
/// The most batches that wait to be deleted; older ones stay until the next start.
const MAX_WAITING: usize = 10_000;

/// What is to be deleted, and what is being deleted now.
#[derive(Debug, Default)]
pub(crate) struct Purge {
    waiting: VecDeque<BatchId>,
    /// One task at the most.
    running: JoinSet<Outcome>,
    /// Whether a failure was reported.
    has_failed: bool,
    /// Whether the store allows no deleting. Trying again would cost a request a batch.
    is_denied: bool,
}

/// The first failure.
type Outcome = Result<(), crate::StoreError>;

impl Purge {
    /// Lets a batch be deleted, if there is such a batch.
    pub(crate) fn add(&mut self, batch: BatchId) {
        if batch.0 >= 0 && !self.is_denied {
            if self.waiting.len() == MAX_WAITING {
                self.waiting.pop_front();
            }
            self.waiting.push_back(batch);
        }
    }

    /// Goes on with deleting, unless it is under way.
    pub(crate) fn advance<S: WritableStore + 'static>(&mut self, store: &Arc<S>) {
        while let Some(ended) = self.running.try_join_next() {
            if let Ok(Err(error)) = ended {
                self.report(&error);
            }
        }
        if self.running.is_empty() && !self.waiting.is_empty() && !self.is_denied {
            let batches: Vec<_> = self.waiting.drain(..self.waiting.len().min(MAX_PURGED)).collect();
            self.running.spawn(delete(store.clone(), batches));
        }
    }

    fn report(&mut self, error: &crate::StoreError) {
        let source: &dyn std::error::Error = error.source.as_ref();
        if !self.has_failed {
            tracing::warn!(%error, source, "old batches stay; if that goes on, the checkpoint grows: let the worker delete them");
        }
        self.has_failed = true;
        if error.kind == StoreErrorKind::Denied {
            self.is_denied = true;
            self.waiting.clear();
        }
    }
}

/// Deletes batches, up to the first failure: those that are left stay until the next start.
async fn delete(store: Arc<impl WritableStore>, batches: Vec<BatchId>) -> Outcome {
    for batch in batches {
        for folder in [OFFSETS, COMMITS] {
            store.delete(&batch.key(folder)).await?;
        }
    }
    Ok(())
}

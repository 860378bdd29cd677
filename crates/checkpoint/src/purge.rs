//! Owns deleting the batches that are not kept any more: beside the commits, a few at a time. A failure harms nothing.
//!
//! Invariant: the oldest go first, and none is left out. A search for the newest of more batches than can be listed relies on
//! their having no gaps.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::log::{BatchId, COMMITS, OFFSETS};
use crate::{StoreError, WritableStore};

/// The most batches that are deleted behind one commit.
const MAX_PURGED: usize = 16;
/// The most batches that wait to be deleted. Those that come then are deleted after the next start: a later one must not be
/// deleted before them.
const MAX_WAITING: usize = 10_000;
/// Behind how many commits it is tried again after a failure: of a store that allows no deleting, or not now.
const COMMITS_BETWEEN_TRIES: u32 = 1000;

/// What is to be deleted, and what is being deleted now.
#[derive(Debug, Default)]
pub(crate) struct Purge {
    waiting: VecDeque<BatchId>,
    /// One task at the most.
    running: JoinSet<Outcome>,
    /// How many commits are waited for before the next try.
    pause: u32,
    /// Whether a failure was reported.
    has_failed: bool,
    is_off: bool,
    /// Whether a batch was left out: those behind it are, too.
    is_full: bool,
}

/// The first failure, and the batches that are left.
type Outcome = Result<(), (StoreError, Vec<BatchId>)>;

impl Purge {
    /// Lets a batch be deleted, if there is such a batch.
    pub(crate) fn add(&mut self, batch: BatchId) {
        if self.waiting.len() >= MAX_WAITING && !self.is_full {
            self.is_full = true;
            tracing::warn!(
                "more than {MAX_WAITING} old batches are to be deleted; those that come now stay until the next start"
            );
        }
        if batch.0 >= 0 && !self.is_off && !self.is_full {
            self.waiting.push_back(batch);
        }
    }

    /// Deletes nothing from now on.
    pub(crate) fn turn_off(&mut self) {
        self.is_off = true;
        self.waiting = VecDeque::new();
    }

    /// Goes on with deleting, unless it is under way. Called behind each commit.
    pub(crate) fn advance<S: WritableStore + 'static>(&mut self, store: &Arc<S>) {
        self.pause = self.pause.saturating_sub(1);
        while let Some(ended) = self.running.try_join_next() {
            if let Ok(Err((error, left))) = ended {
                self.failed(&error, left);
            }
        }
        if self.running.is_empty() && !self.waiting.is_empty() && self.pause == 0 {
            let batches: Vec<_> = self.waiting.drain(..self.waiting.len().min(MAX_PURGED)).collect();
            self.running.spawn(delete(store.clone(), batches));
        }
    }

    fn failed(&mut self, error: &StoreError, left: Vec<BatchId>) {
        let source: &dyn std::error::Error = error.source.as_ref();
        if !self.has_failed {
            tracing::warn!(%error, source, "old batches stay; if that goes on, the checkpoint grows: let the worker delete them");
        }
        (self.has_failed, self.pause) = (true, COMMITS_BETWEEN_TRIES);
        if !self.is_off {
            left.into_iter()
                .rev()
                .for_each(|batch| self.waiting.push_front(batch));
        }
    }
}

/// Deletes batches, up to the first failure.
async fn delete(store: Arc<impl WritableStore>, batches: Vec<BatchId>) -> Outcome {
    for (deleted, batch) in batches.iter().enumerate() {
        for folder in [OFFSETS, COMMITS] {
            if let Err(error) = store.delete(&batch.key(folder)).await {
                return Err((error, batches[deleted..].to_vec()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_batches_keep_none_of_the_first_from_being_deleted() {
        let mut purge = Purge::default();
        let most = i64::try_from(MAX_WAITING).unwrap();
        (0..most + 5).for_each(|batch| purge.add(BatchId(batch)));
        assert_eq!(purge.waiting.len(), MAX_WAITING);
        purge.waiting.pop_front();
        purge.add(BatchId(most + 5));
        assert_eq!(
            purge.waiting.back(),
            Some(&BatchId(most - 1)),
            "no gap before what is deleted"
        );
    }
}

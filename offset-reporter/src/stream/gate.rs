//! Owns that what failed is not tried again at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// After a failure, not before some time.
#[derive(Debug)]
pub(super) struct Gate {
    backoff: Backoff,
    closed_until: Option<Instant>,
}

impl Gate {
    /// Closed for `first` after the first failure, twice as long after each further one.
    pub(super) fn new(first: Duration) -> Self {
        Self {
            backoff: Backoff::new(first),
            closed_until: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.closed_until.is_none_or(|until| Instant::now() >= until)
    }

    pub(super) fn pass(&mut self) {
        self.backoff.succeeded();
        self.closed_until = None;
    }

    /// After another failure, for `longest` at the most.
    pub(super) fn close(&mut self, longest: Duration) {
        self.closed_until = Some(Instant::now() + self.backoff.failed(longest));
    }
}

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
    pub(super) fn new(first: Duration, last: Duration) -> Self {
        Self {
            backoff: Backoff::new(first, last),
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

    pub(super) fn close(&mut self) {
        self.closed_until = Some(Instant::now() + self.backoff.failed());
    }
}

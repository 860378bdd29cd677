//! Owns how often the same sort of thing is said: an outage must not become a flood.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a window lasts.
const WINDOW: Duration = Duration::from_secs(10);
/// How many pass in a window.
const PER_WINDOW: usize = 10;

/// Lets a few pass in each window of time.
#[derive(Debug, Default)]
pub(crate) struct Limit(Mutex<Option<(Instant, usize)>>);

impl Limit {
    /// Whether one more may pass.
    pub(crate) fn allows(&self) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = match *window {
            Some((begun, passed)) if begun.elapsed() < WINDOW => passed,
            _ => {
                *window = Some((Instant::now(), 0));
                0
            }
        };
        if let Some((_, passed)) = window.as_mut() {
            *passed += 1;
        }
        passed < PER_WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_and_the_next_window_begins_again() {
        let limit = Limit::default();
        let passed = |()| (0..1000).filter(|_| limit.allows()).count();
        assert_eq!(passed(()), PER_WINDOW);
        tokio::time::advance(WINDOW).await;
        assert_eq!(passed(()), PER_WINDOW);
    }
}

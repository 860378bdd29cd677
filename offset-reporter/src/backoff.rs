//! Owns how long to wait: between looks, with jitter, and longer after each failure.

use std::time::Duration;

/// A wait differs from what it should be by at most this share, so that streams do not move in step.
const JITTER: f64 = 0.1;

/// Waits that grow with failures.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    next: Option<Duration>,
}

impl Backoff {
    /// After the first failure `first`, doubled with each further one.
    pub(crate) fn new(first: Duration) -> Self {
        Self { first, next: None }
    }

    /// It works again.
    pub(crate) fn succeeded(&mut self) {
        self.next = None;
    }

    /// How long to wait after another failure, `longest` at the most.
    pub(crate) fn failed(&mut self, longest: Duration) -> Duration {
        let wait = self.next.unwrap_or(self.first).min(longest);
        self.next = Some(wait.saturating_mul(2));
        wait
    }
}

/// About as long as `wait`.
pub(crate) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_begin_anew() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(60));
        let waits = [(); 4].map(|()| backoff.failed(seconds(200)));
        assert_eq!(waits, [60, 120, 200, 200].map(seconds));
        backoff.succeeded();
        assert_eq!(backoff.failed(seconds(200)), seconds(60));
    }

    #[test]
    fn jitter_is_bounded() {
        for _ in 0..1000 {
            let wait = jittered(Duration::from_secs(10)).as_secs_f64();
            assert!((9.0..=11.0).contains(&wait), "{wait}");
        }
    }
}

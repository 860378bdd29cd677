//! Owns the time of day. What measures durations uses Tokio's clock instead, which tests can pause.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time since 1970; none if the clock is before that.
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The same in whole seconds, as a gauge has them.
pub fn seconds() -> i64 {
    i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX)
}

/// The same in milliseconds, as remote write has them.
pub fn milliseconds() -> i64 {
    i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX)
}

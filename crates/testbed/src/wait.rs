//! Owns how tests wait: they look again and again, and neither a look nor all of them together goes on for ever.

use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long one look may take. It is given up then, and the next one begins: an answer that was lost never comes.
const LOOK_TIMEOUT: Duration = Duration::from_secs(15);

/// Waits until `condition` gives something, for at most `patience`. A look that takes longer than [`LOOK_TIMEOUT`], or beyond
/// the end of `patience`, is dropped where it waits.
///
/// If it is in vain, the reason is printed: where that was, how often was looked, and how many looks had no end.
#[track_caller]
pub fn until<T>(
    patience: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = Option<T>> {
    let caller = Location::caller();
    async move {
        let deadline = Instant::now() + patience;
        let (mut looks, mut unended) = (0_u64, 0_u64);
        loop {
            looks += 1;
            match timeout_at(deadline.min(Instant::now() + LOOK_TIMEOUT), condition()).await {
                Ok(Some(found)) => return Some(found),
                Ok(None) => {}
                Err(_) => unended += 1,
            }
            if Instant::now() >= deadline {
                report(caller, patience, looks, unended);
                return None;
            }
            sleep(LOOK).await;
        }
    }
}

#[expect(clippy::print_stderr, reason = "the test that fails shows it")]
fn report(caller: &Location<'_>, patience: Duration, looks: u64, unended: u64) {
    eprintln!(
        "{caller}: what was waited for did not come within {patience:?}: {looks} looks, {unended} of them without an end"
    );
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_given_up_and_the_next_one_counts() {
        let mut looks = 0;
        let found = until(LOOK_TIMEOUT * 3, async || {
            looks += 1;
            if looks < 3 {
                pending::<()>().await;
            }
            Some(looks)
        });
        assert_eq!(found.await, Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn looks_that_hang_do_not_outlast_the_patience() {
        let began = Instant::now();
        let patience = LOOK_TIMEOUT + LOOK_TIMEOUT / 2;
        assert_eq!(
            until(patience, async || pending::<Option<()>>().await).await,
            None
        );
        assert!(began.elapsed() <= patience + LOOK, "{:?}", began.elapsed());
    }
}

//! Owns the bound on calls that a file system does not answer: a network mount may hang for hours, and each call that waits
//! for it holds a thread.
//!
//! One call at a time is made to a folder. If it hangs, all others fail, at once when it is known to hang, until it returns.

use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a call to a file system may take before it is known to hang.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The most calls of all folders at the same time: half of the threads that Tokio has for calls that block.
const MAX_CALLS: usize = 256;

static CALLS: Semaphore = Semaphore::const_new(MAX_CALLS);

/// What a folder's calls go through.
#[derive(Debug)]
pub(super) struct Gate {
    turn: Arc<Semaphore>,
    running: Arc<Mutex<Option<Running>>>,
}

/// The call that is made now.
#[derive(Debug, Clone, Copy)]
struct Running {
    action: &'static str,
    since: Instant,
}

/// Ends a call however it ends.
struct Turn {
    _turn: OwnedSemaphorePermit,
    running: Arc<Mutex<Option<Running>>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
            running: Arc::default(),
        }
    }

    /// Does `work` on a thread that may wait for the disk.
    ///
    /// # Errors
    /// `work`'s own, and [`ErrorKind::TimedOut`] if it, or the call before it, does not return.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.turn().await?;
        let calls = CALLS.try_acquire().map_err(|_none_left| {
            Error::new(
                ErrorKind::TimedOut,
                format!("{MAX_CALLS} calls to file systems hang"),
            )
        })?;
        let running = Running {
            action,
            since: Instant::now(),
        };
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        let turn = Turn {
            _turn: turn,
            running: self.running.clone(),
        };
        let work = spawn_blocking(move || {
            let _held = (turn, calls);
            work()
        });
        match timeout(CALL_TIMEOUT, work).await {
            Ok(done) => done.unwrap_or_else(|error| Err(Error::other(error))),
            Err(_elapsed) => Err(hangs(running)),
        }
    }

    /// Waits for the call before this one, as long as that one may take.
    async fn turn(&self) -> Result<OwnedSemaphorePermit> {
        if let Ok(turn) = self.turn.clone().try_acquire_owned() {
            return Ok(turn);
        }
        let running = *self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let since = running.map_or_else(Instant::now, |running| running.since);
        match timeout_at(since + CALL_TIMEOUT, self.turn.clone().acquire_owned()).await {
            Ok(turn) => turn.map_err(Error::other),
            Err(_elapsed) => Err(running.map_or_else(|| ErrorKind::TimedOut.into(), hangs)),
        }
    }
}

fn hangs(running: Running) -> Error {
    let what = format!(
        "the file system does not answer: a call to {} hangs since {} s; is a network mount gone?",
        running.action,
        running.since.elapsed().as_secs()
    );
    Error::new(ErrorKind::TimedOut, what)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_holds_one_thread_and_fails_all_others_until_it_returns() {
        let gate = Gate::new();
        let (release, released) = sync_channel::<()>(1);
        let hangs = gate.call("read", move || Ok(released.recv().is_ok()));
        let hangs = timeout(CALL_TIMEOUT + Duration::from_secs(1), hangs);
        let (hung, ()) = tokio::join!(hangs, tokio::time::advance(CALL_TIMEOUT * 2));
        let error = hung.unwrap().unwrap_err();
        assert!(
            error.kind() == ErrorKind::TimedOut && error.to_string().contains("a call to read hangs"),
            "{error}"
        );
        for _ in 0..1000 {
            let before = Instant::now();
            let error = gate.call("write", || Ok(())).await.unwrap_err();
            assert!(error.to_string().contains("a call to read hangs"), "{error}");
            assert_eq!(before, Instant::now(), "it failed at once");
        }
        release.send(()).unwrap();
        let deadline = Duration::from_secs(30);
        let works = timeout(deadline, async {
            while gate.call("read", || Ok(())).await.is_err() {
                tokio::task::yield_now().await;
            }
        });
        works.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn calls_at_the_same_time_take_turns() {
        let gate = Gate::new();
        let busy = Arc::new(Semaphore::new(1));
        let call = || {
            let busy = busy.clone();
            gate.call("read", move || {
                let alone = busy.try_acquire().is_ok();
                std::thread::yield_now();
                Ok(alone)
            })
        };
        let (one, two, three) = tokio::join!(call(), call(), call());
        assert!(one.unwrap() && two.unwrap() && three.unwrap());
    }
}

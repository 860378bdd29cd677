//! Owns whether a broker shows signs of life on a connection: an answer, to whatever question.
//!
//! A broker that hangs would cost every question its whole time. So whoever comes when a question has had no answer for
//! long is refused at once; the question that waits is the probe. Its answer, or one on the next connection, ends that.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// A broker that has answered nothing for so long, though it was asked, gets no more questions.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// How long anybody waits for a broker that hung, or whose last connection failed: until it is connected again, and until
/// its first answer.
pub(super) const SUSPECT_WAIT: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy)]
struct Signs {
    /// Whether it has answered since it hung.
    is_proven: bool,
    /// Since when it has answered nothing, though it was asked.
    unanswered_since: Option<Instant>,
}

impl Signs {
    /// Until when a question may be sent, or is worth waiting for the answer to another.
    fn silent_at(self) -> Option<Instant> {
        let after = if self.is_proven {
            SILENT_AFTER
        } else {
            SUSPECT_WAIT
        };
        self.unanswered_since.map(|since| since + after)
    }
}

/// What the connection's task notes.
pub(super) struct Pulse(watch::Sender<Signs>);

/// What whoever asks looks at.
#[derive(Clone)]
pub(super) struct Monitor(watch::Receiver<Signs>);

/// The signs of life on a new connection; `is_proven` unless the last one ended since the broker hung.
pub(super) fn pulse(is_proven: bool) -> (Pulse, Monitor) {
    let (sender, receiver) = watch::channel(Signs {
        is_proven,
        unanswered_since: None,
    });
    (Pulse(sender), Monitor(receiver))
}

impl Pulse {
    /// A question was sent.
    pub(super) fn asked(&self) {
        self.0.send_if_modified(|signs| {
            let is_first = signs.unanswered_since.is_none();
            if is_first {
                signs.unanswered_since = Some(Instant::now());
            }
            is_first
        });
    }

    /// An answer came; others may be missing.
    pub(super) fn answered(&self, is_last: bool) {
        self.0.send_replace(Signs {
            is_proven: true,
            unanswered_since: (!is_last).then(Instant::now),
        });
    }

    /// The connection ends, since the broker hangs.
    pub(super) fn hung(&self) {
        self.0.send_modify(|signs| signs.is_proven = false);
    }
}

impl Monitor {
    /// Whether the broker is not known to hang.
    pub(super) fn is_proven(&self) -> bool {
        self.0.borrow().is_proven
    }

    /// Whether a question would be sent at once.
    pub(super) fn is_lively(&self) -> bool {
        let signs = *self.0.borrow();
        signs.is_proven && signs.silent_at().is_none_or(|at| at > Instant::now())
    }

    /// Waits until a question may be sent, and gives until when its own answer is worth waiting for, up to `deadline`.
    ///
    /// # Errors
    /// How long the broker has been silent.
    pub(super) async fn may_ask(&mut self, deadline: Instant) -> Result<Instant, Duration> {
        let signs = *self.0.borrow_and_update();
        match (signs.silent_at(), signs.unanswered_since) {
            (Some(at), Some(since)) if at <= Instant::now() => Err(since.elapsed()),
            // Somebody else's question is the probe.
            (Some(at), Some(since)) if !signs.is_proven => {
                let alive = self.0.wait_for(|signs| signs.is_proven);
                let alive = timeout_at(at.min(deadline), alive).await;
                alive.map_err(|_elapsed| since.elapsed()).map(|_ended| deadline)
            }
            (None, _) if !signs.is_proven => Ok(deadline.min(Instant::now() + SUSPECT_WAIT)),
            _ => Ok(deadline),
        }
    }
}

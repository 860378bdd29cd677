//! Owns noticing that nobody answers: a broker or a store that hangs looks like one that has nothing to say.

use std::time::Duration;

use tokio::time::Instant;

use super::Worker;
use crate::consume::Source;
use crate::produce::Sink;
use crate::sessions::Compute;

/// How long a commit may go unanswered, and results unacknowledged, before the worker says so.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Since when answers are waited for.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// When the commit under way began.
    commit: Option<Instant>,
    /// When a result was reported last, or the first of those under way was sent.
    results: Option<Instant>,
    /// Whether it was said that results hang.
    is_told: bool,
}

impl Silence {
    pub(super) fn commit_began(&mut self, now: Instant) {
        self.commit = Some(now);
    }

    pub(super) fn commit_ended(&mut self) {
        self.commit = None;
    }

    /// A result was acknowledged or refused.
    pub(super) fn result_ended(&mut self) {
        self.results = None;
    }
}

impl<C: Source, P: Sink, S: Compute> Worker<C, P, S> {
    /// Says so if nobody answers.
    pub(super) fn report_silence(&mut self, now: Instant) {
        let is_silent = |since: Option<Instant>| since.is_some_and(|since| now - since > ANSWER_TIMEOUT);
        if is_silent(self.silence.commit) && !self.uncommitted {
            let who = match self.settings.shard {
                Some(_) => "the checkpoint's store hangs",
                None => "the group waits for a member that is gone, or its coordinator hangs",
            };
            self.set_uncommitted(Some(format!(
                "a commit has not been answered for {ANSWER_TIMEOUT:?}: {who}"
            )));
        }
        let Silence { results, is_told, .. } = &mut self.silence;
        if self.parts.ledger.is_awaited() {
            results.get_or_insert(now);
        } else {
            *results = None;
        }
        let is_hanging = is_silent(*results);
        if is_hanging && !*is_told {
            let topic = &self.settings.topics.output;
            let why =
                format!("no result was acknowledged for {ANSWER_TIMEOUT:?}: the brokers of {topic} hang");
            self.telemetry.results.unmet(why);
        } else if *is_told && !is_hanging {
            self.telemetry.results.met();
        }
        *is_told = is_hanging;
    }

    pub(super) fn set_uncommitted(&mut self, why: Option<String>) {
        self.uncommitted = why.is_some();
        match why {
            None => self.telemetry.progress.met(),
            Some(why) => self.telemetry.progress.unmet(why),
        }
    }
}

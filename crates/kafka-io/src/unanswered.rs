//! Owns which groups a question is under way about: one at a time for each, and so many altogether.
//!
//! A request to a group's coordinator that times out inside of librdkafka 2.12 ends the process when the coordinator comes
//! back (confluentinc/librdkafka#4605). So such a request is never given up: whoever asks stops waiting, and a thread
//! keeps on, with the client, until the answer is there. Until then nobody asks about that group again: a commit that was
//! late would otherwise undo a newer one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Refusal;

/// The most groups that a question is under way about. Each costs a thread.
const GROUPS: usize = 32;

/// The groups that a question is under way about. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unanswered(Arc<Mutex<BTreeSet<String>>>);

impl Unanswered {
    /// Begins a question about a group. It is under way until what is given here is dropped.
    pub(crate) fn begin(&self, group: &str) -> Result<Question, Refusal> {
        let mut groups = self.lock();
        if groups.contains(group) {
            return Err(Refusal::passing(&format!(
                "an earlier question about the group {group} was not answered yet"
            )));
        }
        if groups.len() >= GROUPS {
            return Err(Refusal::passing(&format!(
                "questions about {GROUPS} other groups were not answered yet"
            )));
        }
        groups.insert(group.to_owned());
        Ok(Question {
            unanswered: self.clone(),
            group: group.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is under way.
pub(crate) struct Question {
    unanswered: Unanswered,
    group: String,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.unanswered.lock().remove(&self.group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_asked_about_once_at_a_time_and_not_too_many_are() {
        let unanswered = Unanswered::default();
        let first = unanswered.begin("a").map_err(drop).unwrap();
        assert!(unanswered.begin("a").is_err());
        let others: Vec<_> = (1..GROUPS)
            .map(|number| unanswered.begin(&number.to_string()).map_err(drop).unwrap())
            .collect();
        assert!(unanswered.begin("b").is_err());
        drop((first, others));
        assert!(unanswered.begin("a").is_ok());
    }
}

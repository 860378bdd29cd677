//! Owns what a program says of itself to an orchestrator: whether it is ready, and whether its loop advances.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A loop that has not advanced for so long is taken for dead.
const LONGEST_TURN: Duration = Duration::from_mins(1);

/// The conditions that must all be met before a program is ready. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<Arc<str>, Option<String>>>>);

impl Readiness {
    /// A condition of this name, not met until it says so.
    pub fn condition(&self, name: &str) -> Condition {
        let name: Arc<str> = name.into();
        let condition = Condition {
            name: name.clone(),
            readiness: self.clone(),
        };
        self.lock().insert(name, Some("starting".to_owned()));
        condition
    }

    /// Whether all conditions are met.
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(Option::is_none)
    }

    /// One line per condition: `[+]name` if it is met, `[-]name: reason` if not.
    pub fn describe(&self) -> String {
        let mut lines = String::new();
        for (name, unmet) in self.lock().iter() {
            // Writing to a string cannot fail.
            let _infallible = match unmet {
                None => writeln!(lines, "[+]{name}"),
                Some(why) => writeln!(lines, "[-]{name}: {why}"),
            };
        }
        lines
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Option<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the things that a program needs to be ready.
#[derive(Debug, Clone)]
pub struct Condition {
    name: Arc<str>,
    readiness: Readiness,
}

impl Condition {
    /// The condition is met.
    pub fn met(&self) {
        if self.change(None) {
            tracing::info!(condition = &*self.name, "condition met");
        }
    }

    /// The condition is not met, and why.
    pub fn unmet(&self, why: impl Into<String>) {
        let why = why.into();
        if self.change(Some(why.clone())) {
            tracing::warn!(condition = &*self.name, why, "condition not met");
        }
    }

    /// Whether this is a change.
    fn change(&self, unmet: Option<String>) -> bool {
        let mut conditions = self.readiness.lock();
        let before = conditions.insert(self.name.clone(), unmet.clone());
        before != Some(unmet)
    }
}

/// The pulse of a program's loop. Clones are the same pulse.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat(Arc<Mutex<Option<Instant>>>);

impl Heartbeat {
    /// The loop has advanced.
    pub fn beat(&self) {
        *self.lock() = Some(Instant::now());
    }

    /// Whether the loop advances; a loop that has not begun is given the benefit of the doubt.
    pub fn is_alive(&self) -> bool {
        self.lock().is_none_or(|last| last.elapsed() < LONGEST_TURN)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_ready_when_every_condition_is_met() {
        let readiness = Readiness::default();
        let (kafka, model) = (readiness.condition("kafka"), readiness.condition("model"));
        kafka.met();
        assert!(!readiness.is_ready());
        assert_eq!(readiness.describe(), "[+]kafka\n[-]model: starting\n");
        model.met();
        assert!(readiness.is_ready());
        kafka.unmet("no broker answers");
        assert_eq!(readiness.describe(), "[-]kafka: no broker answers\n[+]model\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stands_still_is_dead() {
        let heartbeat = Heartbeat::default();
        tokio::time::advance(2 * LONGEST_TURN).await;
        assert!(heartbeat.is_alive(), "it has not begun");
        heartbeat.beat();
        tokio::time::advance(LONGEST_TURN / 2).await;
        assert!(heartbeat.is_alive());
        tokio::time::advance(LONGEST_TURN).await;
        assert!(!heartbeat.is_alive());
    }
}

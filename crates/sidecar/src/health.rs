//! Owns what a program says of itself to an orchestrator: whether it is ready, and whether its loop advances.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A loop that has not advanced for so long is taken for dead.
const LONGEST_TURN: Duration = Duration::from_mins(1);
/// A loop that has not begun for so long after the start of the program is taken for dead.
const LONGEST_START: Duration = Duration::from_mins(5);
/// How often another reason of a condition that stays unmet is logged.
const REASON_LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The conditions that must all be met before a program is ready. A program without any is not ready yet, and one that
/// stops is not ready any more. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    conditions: BTreeMap<Arc<str>, Met>,
    stopping: bool,
}

/// Whether a condition is met.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Met {
    Yes,
    No {
        why: String,
        since: Instant,
        /// When which reason was logged; none is while the program starts.
        logged: Option<(Instant, String)>,
    },
}

impl Readiness {
    /// A condition of this name, not met until it says so.
    pub fn condition(&self, name: &str) -> Condition {
        let name: Arc<str> = name.into();
        let condition = Condition {
            name: name.clone(),
            readiness: self.clone(),
        };
        let starting = Met::No {
            why: "starting".to_owned(),
            since: Instant::now(),
            logged: None,
        };
        self.lock().conditions.insert(name, starting);
        condition
    }

    /// Whether all conditions are met, there are any, and the program does not stop.
    pub fn is_ready(&self) -> bool {
        let state = self.lock();
        let met = |met: &Met| *met == Met::Yes;
        !state.stopping && !state.conditions.is_empty() && state.conditions.values().all(met)
    }

    /// One line per condition: `[+]name` if it is met, `[-]name: reason` if not.
    pub fn describe(&self) -> String {
        let mut lines = String::new();
        let state = self.lock();
        for (name, met) in &state.conditions {
            // Writing to a string cannot fail.
            let _infallible = match met {
                Met::Yes => writeln!(lines, "[+]{name}"),
                Met::No { why, .. } => writeln!(lines, "[-]{name}: {why}"),
            };
        }
        if state.stopping {
            lines.push_str("[-]stopping\n");
        }
        lines
    }

    /// What is not well, for the end of a sentence: `; progress: the disk is full`.
    pub(crate) fn unmet(&self) -> String {
        let mut text = String::new();
        for (name, met) in &self.lock().conditions {
            if let Met::No { why, .. } = met {
                // Writing to a string cannot fail.
                let _infallible = write!(text, "; {name}: {why}");
            }
        }
        text
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// The program stops: it is not ready from now on.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the things that a program needs to be ready.
///
/// A change is logged at once. Another reason of what stays unmet is logged once a minute at the most, since reasons
/// hold numbers and times; [`Readiness::describe`] has the newest.
#[derive(Debug, Clone)]
pub struct Condition {
    name: Arc<str>,
    readiness: Readiness,
}

impl Condition {
    /// The condition is met.
    pub fn met(&self) {
        let before = self
            .readiness
            .lock()
            .conditions
            .insert(self.name.clone(), Met::Yes);
        if let Some(Met::No { since, .. }) = before {
            tracing::info!(condition = &*self.name, unmet_for = ?since.elapsed(), "condition met");
        }
    }

    /// The condition is not met, and why.
    pub fn unmet(&self, why: impl Into<String>) {
        let (why, now) = (why.into(), Instant::now());
        let mut state = self.readiness.lock();
        let (since, logged) = match state.conditions.get(&self.name) {
            Some(Met::No { since, logged, .. }) => (*since, logged.clone()),
            Some(Met::Yes) | None => (now, None),
        };
        let log = logged
            .as_ref()
            .is_none_or(|(at, reason)| *reason != why && now - *at >= REASON_LOG_INTERVAL);
        let met = Met::No {
            why: why.clone(),
            since,
            logged: if log { Some((now, why.clone())) } else { logged },
        };
        state.conditions.insert(self.name.clone(), met);
        drop(state);
        if log {
            tracing::warn!(condition = &*self.name, why, "condition not met");
        }
    }
}

/// The pulse of a program's loop. Clones are the same pulse. It must be beaten by the loop that does the work: a timer
/// beside the loop would go on beating while the work hangs.
#[derive(Debug, Clone)]
pub struct Heartbeat(Arc<Mutex<Pulse>>);

#[derive(Debug, Clone, Copy)]
struct Pulse {
    last: Instant,
    /// How long after it the loop is taken for dead.
    limit: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Pulse {
            last: Instant::now(),
            limit: LONGEST_START,
        })))
    }
}

impl Heartbeat {
    /// The loop has advanced.
    pub fn beat(&self) {
        *self.lock() = Pulse {
            last: Instant::now(),
            limit: LONGEST_TURN,
        };
    }

    /// Whether the loop advances. One that has not begun has five minutes for that.
    pub fn is_alive(&self) -> bool {
        let Pulse { last, limit } = *self.lock();
        last.elapsed() < limit
    }

    fn lock(&self) -> MutexGuard<'_, Pulse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_ready_when_every_condition_is_met() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready(), "what it needs is not known yet");
        let (kafka, model) = (readiness.condition("kafka"), readiness.condition("model"));
        kafka.met();
        assert!(!readiness.is_ready());
        assert_eq!(readiness.describe(), "[+]kafka\n[-]model: starting\n");
        model.met();
        assert!(readiness.is_ready());
        kafka.unmet("no broker answers");
        assert_eq!(readiness.describe(), "[-]kafka: no broker answers\n[+]model\n");
    }

    #[test]
    fn a_program_that_stops_is_not_ready() {
        let readiness = Readiness::default();
        readiness.condition("kafka").met();
        readiness.stop();
        assert!(!readiness.is_ready());
        assert_eq!(readiness.describe(), "[+]kafka\n[-]stopping\n");
    }

    #[tokio::test(start_paused = true)]
    async fn another_reason_of_the_same_outage_is_logged_once_a_minute() {
        let readiness = Readiness::default();
        let kafka = readiness.condition("kafka");
        let logged = || match readiness.lock().conditions.get("kafka") {
            Some(Met::No { logged, .. }) => logged.as_ref().map(|(at, _)| *at),
            _ => None,
        };
        let start = Instant::now();
        kafka.unmet("timed out after 1 s");
        assert_eq!(logged(), Some(start));
        for second in 1..60 {
            tokio::time::advance(Duration::from_secs(1)).await;
            kafka.unmet(format!("timed out after {second} s"));
            assert_eq!(logged(), Some(start));
        }
        assert!(readiness.describe().contains("after 59 s"));
        tokio::time::advance(Duration::from_secs(1)).await;
        kafka.unmet("timed out after 60 s");
        assert_eq!(logged(), Some(Instant::now()));
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

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_never_begins_is_dead_after_a_while() {
        let heartbeat = Heartbeat::default();
        tokio::time::advance(LONGEST_START).await;
        assert!(!heartbeat.is_alive());
    }
}

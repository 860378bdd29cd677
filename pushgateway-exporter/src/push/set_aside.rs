//! Owns which targets the sink has refused, and when each is tried again: not in every cycle, since a refusal costs
//! more pushes.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Refusals;

/// How long a refused target waits for its next trial; each time twice as long.
const FIRST_WAIT: Duration = Duration::from_mins(1);
/// The longest that it waits.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// The targets that wait.
#[derive(Debug, Default)]
pub(super) struct SetAside(BTreeMap<usize, Waiting>);

#[derive(Debug)]
struct Waiting {
    until: Instant,
    wait: Duration,
    why: String,
}

impl SetAside {
    /// Those that are not to be tried now.
    pub(super) fn waiting(&self) -> Refusals {
        let now = Instant::now();
        let waiting = self.0.iter().filter(|(_, waiting)| now < waiting.until);
        waiting
            .map(|(target, waiting)| (*target, waiting.why.clone()))
            .collect()
    }

    /// Puts those first that were refused before.
    pub(super) fn order(&self, suspects: &mut [usize]) {
        suspects.sort_by_key(|suspect| !self.0.contains_key(suspect));
    }

    /// After a push went through without `refused`.
    pub(super) fn decided(&mut self, refused: &Refusals) {
        let now = Instant::now();
        self.0.retain(|target, _| refused.contains_key(target));
        for (&target, why) in refused {
            let known = self.0.get(&target);
            if known.is_some_and(|known| now < known.until) {
                continue;
            }
            let wait = known.map_or(FIRST_WAIT, |known| (known.wait * 2).min(LONGEST_WAIT));
            let until = now + wait;
            let why = why.clone();
            self.0.insert(target, Waiting { until, wait, why });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refused_target_waits_longer_each_time() {
        let mut set_aside = SetAside::default();
        let refused = Refusals::from([(1, "why".to_owned())]);
        for minutes in [1, 2, 4, 8, 10, 10] {
            set_aside.decided(&refused);
            tokio::time::advance(Duration::from_secs(minutes * 60 - 1)).await;
            assert_eq!(set_aside.waiting(), refused);
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(set_aside.waiting(), Refusals::new());
        }
        set_aside.decided(&Refusals::new());
        set_aside.decided(&refused);
        tokio::time::advance(FIRST_WAIT).await;
        assert_eq!(
            set_aside.waiting(),
            Refusals::new(),
            "one that passed begins anew"
        );
    }
}

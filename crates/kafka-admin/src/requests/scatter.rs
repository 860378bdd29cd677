//! Owns requests about many things, each of which one broker answers: partitions have leaders, groups have coordinators.
//!
//! All brokers are asked at once, and no thing waits for another's broker, nor for one that is still to be found. If a broker
//! is the wrong one by now, the right one is found and asked, for a few seconds. Each thing is answered exactly once, as soon
//! as it can be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep};

use crate::connection::Address;
use crate::{BrokerId, Refusal, RefusalKind};

/// How long each further attempt waits: the first does not, since news of who moved have often arrived. Together they last as
/// long as most elections; what has no leader for longer does not hold up the rest of an answer.
pub(super) const PAUSES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
/// After so many attempts fresh metadata without a partition is believed. One broker may lag behind another.
const BELIEVED_AFTER: usize = 2;

/// What is said of each of several things.
pub(crate) type Answers<K, V> = Vec<(K, Result<V, Refusal>)>;

/// A request about many things.
pub(super) struct Scatter<Know, Find, Ask, Locate> {
    /// Parts them by whether their brokers are known, since the time given if there is one.
    pub(super) know: Know,
    /// Finds the broker of each.
    pub(super) find: Find,
    /// Asks a broker about some of them.
    pub(super) ask: Ask,
    /// Says where a broker is.
    pub(super) locate: Locate,
    /// The most things of one request.
    pub(super) per_request: usize,
    pub(super) deadline: Instant,
}

/// A broker that could not be reached where it was, and why.
type Unreachable = (BrokerId, Option<Address>, Refusal);

enum Step<K, V> {
    Search(usize, Vec<K>, Option<Instant>, Vec<Unreachable>),
    Found(usize, Answers<K, BrokerId>, Vec<Unreachable>),
    Answered(usize, Answers<K, V>, BrokerId, Option<Address>),
    /// An answer about a part of what was too much for one.
    Part(usize, Answers<K, V>, BrokerId, Option<Address>),
}

/// Things whose brokers are to be found again.
struct Again<K> {
    things: Vec<K>,
    unreachable: Vec<Unreachable>,
}

impl<K: Send> Again<K> {
    async fn search_after<V>(self, attempt: usize) -> Step<K, V> {
        let since = Some(Instant::now());
        sleep(PAUSES[attempt]).await;
        Step::Search(attempt + 1, self.things, since, self.unreachable)
    }
}

/// A step that is through; a panic goes on.
fn finished<T>(step: Result<T, JoinError>) -> Option<T> {
    step.map_err(|failed| {
        if let Ok(panicked) = failed.try_into_panic() {
            std::panic::resume_unwind(panicked);
        }
    })
    .ok()
}

/// Why a broker cannot be reached, if any answer says so.
fn unreachable<K, V>(answers: &Answers<K, V>) -> Option<Refusal> {
    let mut refusals = answers.iter().filter_map(|(_, answer)| answer.as_ref().err());
    refusals.find(|refusal| refusal.is_unreachable()).cloned()
}

impl<Know, Find, Ask, Locate> Scatter<Know, Find, Ask, Locate>
where
    Locate: Fn(BrokerId) -> Option<Address>,
{
    /// Asks about all `things`, and gives each one's answer to `on_answer` when it comes.
    pub(super) async fn run<K, V, Finding, Asking>(
        self,
        things: Vec<K>,
        mut on_answer: impl FnMut(K, Result<V, Refusal>),
    ) where
        K: Send + Ord + 'static,
        V: Send + 'static,
        Know: Fn(Vec<K>, Option<Instant>) -> (Answers<K, BrokerId>, Vec<K>),
        Find: Fn(Vec<K>) -> Finding,
        Finding: Future<Output = Answers<K, BrokerId>> + Send + 'static,
        Ask: Fn(BrokerId, Vec<K>) -> Asking,
        Asking: Future<Output = Answers<K, V>> + Send + 'static,
    {
        let things = BTreeSet::from_iter(things).into_iter().collect();
        let mut steps = JoinSet::new();
        // One after the other: each that is too large costs the connection.
        let (mut parts, mut is_parting) = (Vec::new(), false);
        steps.spawn(async move { Step::Search(0, things, None, Vec::new()) });
        while let Some(first) = steps.join_next().await {
            // Those that are ready at the same time search together.
            let mut again = BTreeMap::new();
            let mut next = Some(first);
            while let Some(step) = next.take().and_then(finished) {
                match step {
                    Step::Search(attempt, things, since, unreachable) => {
                        let (known, unknown) = (self.know)(things, since);
                        if !unknown.is_empty() {
                            let (finding, same) = ((self.find)(unknown), unreachable.clone());
                            steps.spawn(async move { Step::Found(attempt, finding.await, same) });
                        }
                        steps.spawn(async move { Step::Found(attempt, known, unreachable) });
                    }
                    Step::Found(attempt, found, unreachable) => {
                        let found = self.sort(attempt, found, &mut again);
                        for (broker, things) in self.by_broker(found, &unreachable, &mut on_answer) {
                            for some in chunks(things, self.per_request) {
                                let (asking, at) = ((self.ask)(broker, some), (self.locate)(broker));
                                steps.spawn(async move { Step::Answered(attempt, asking.await, broker, at) });
                            }
                        }
                    }
                    Step::Part(attempt, answers, broker, at) => {
                        is_parting = false;
                        next = Some(Ok(Step::Answered(attempt, answers, broker, at)));
                        continue;
                    }
                    Step::Answered(attempt, answers, broker, _) if is_too_large(&answers) => {
                        let things: Vec<_> = answers.into_iter().map(|(thing, _)| thing).collect();
                        let half = things.len().div_ceil(2);
                        let halves = chunks(things, half).into_iter();
                        parts.extend(halves.map(|some| (attempt, broker, some)));
                    }
                    Step::Answered(attempt, answers, broker, at) => {
                        let unreachable = unreachable(&answers);
                        for (thing, answer) in self.sort(attempt, answers, &mut again) {
                            on_answer(thing, answer);
                        }
                        if let (Some(refusal), Some(again)) = (unreachable, again.get_mut(&attempt)) {
                            again.unreachable.push((broker, at, refusal));
                        }
                    }
                }
                next = steps.try_join_next();
            }
            if !is_parting && let Some((attempt, broker, some)) = parts.pop() {
                is_parting = true;
                let (asking, at) = ((self.ask)(broker, some), (self.locate)(broker));
                steps.spawn(async move { Step::Part(attempt, asking.await, broker, at) });
            }
            for (attempt, again) in again {
                steps.spawn(again.search_after(attempt));
            }
        }
    }

    /// What each broker is to be asked. What is known not to be reached where it still is is answered at once.
    fn by_broker<K, V>(
        &self,
        found: Answers<K, BrokerId>,
        unreachable: &[Unreachable],
        on_answer: &mut impl FnMut(K, Result<V, Refusal>),
    ) -> BTreeMap<BrokerId, Vec<K>> {
        let mut by_broker = BTreeMap::<_, Vec<_>>::new();
        for (thing, broker) in found {
            let broker = broker.and_then(|broker| {
                let mut failed = unreachable.iter();
                let failed = failed.find(|(its, at, _)| *its == broker && *at == (self.locate)(broker));
                failed.map_or(Ok(broker), |(_, _, refusal)| Err(refusal.clone()))
            });
            match broker {
                Ok(broker) => by_broker.entry(broker).or_default().push(thing),
                Err(refusal) => on_answer(thing, Err(refusal)),
            }
        }
        by_broker
    }

    /// What is decided; the other things are put into `again`.
    fn sort<K, T>(
        &self,
        attempt: usize,
        answers: Answers<K, T>,
        again: &mut BTreeMap<usize, Again<K>>,
    ) -> Answers<K, T> {
        let mut decided = Vec::with_capacity(answers.len());
        for (thing, answer) in answers {
            match answer {
                Err(refusal) if self.may_retry(attempt, &refusal) => {
                    let again = again.entry(attempt).or_insert_with(|| Again {
                        things: Vec::new(),
                        unreachable: Vec::new(),
                    });
                    again.things.push(thing);
                }
                answer => decided.push((thing, answer)),
            }
        }
        decided
    }

    fn may_retry(&self, attempt: usize, refusal: &Refusal) -> bool {
        let is_believed = refusal.kind == RefusalKind::UnknownPartition && attempt >= BELIEVED_AFTER;
        let is_in_time = PAUSES
            .get(attempt)
            .is_some_and(|pause| Instant::now() + *pause < self.deadline);
        refusal.is_stale() && !is_believed && is_in_time
    }
}

/// Whether an answer about half of the things may do.
fn is_too_large<K, V>(answers: &Answers<K, V>) -> bool {
    let is_refused = |answer: &Result<V, Refusal>| answer.as_ref().is_err_and(Refusal::is_too_large);
    answers.len() > 1 && answers.iter().all(|(_, answer)| is_refused(answer))
}

fn chunks<K>(mut things: Vec<K>, size: usize) -> Vec<Vec<K>> {
    let mut chunks = Vec::new();
    while things.len() > size {
        let rest = things.split_off(size);
        chunks.push(std::mem::replace(&mut things, rest));
    }
    if !things.is_empty() {
        chunks.push(things);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_have_everything_once() {
        assert_eq!(chunks(vec![1, 2, 3, 4, 5], 2), [vec![1, 2], vec![3, 4], vec![5]]);
        assert_eq!(chunks(vec![1, 2], 2), [vec![1, 2]]);
    }
}

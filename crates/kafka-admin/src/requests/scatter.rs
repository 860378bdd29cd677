//! Owns questions about many things, each of which one broker answers: partitions have leaders, groups have coordinators.
//!
//! All brokers are asked at once, and nobody waits for another, nor for whom it is not known yet which broker it is. If a broker is the wrong one by now, the right one is found
//! and asked, a few times within the time of the question. Each thing is answered exactly once, as soon as it can be.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::{BrokerId, Refusal, RefusalKind};

/// How long each further attempt waits: the first one does not, since who moved has often arrived.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
];

/// What is said of each of several things.
pub(super) type Answers<K, V> = Vec<(K, Result<V, Refusal>)>;

/// A question about many things.
pub(super) struct Scatter<Know, Find, Ask> {
    /// Parts them by whether their brokers are known, since the time given if there is one.
    pub(super) know: Know,
    /// Finds the broker of each.
    pub(super) find: Find,
    /// Asks a broker about some of them.
    pub(super) ask: Ask,
    /// The most things of one request.
    pub(super) per_request: usize,
    pub(super) deadline: Instant,
}

/// A broker that cannot be reached, and why.
type Unreachable = Option<(BrokerId, Refusal)>;

enum Step<K, V> {
    Search(usize, Vec<K>, Option<Instant>, Unreachable),
    Found(usize, Answers<K, BrokerId>, Unreachable),
    Answered(usize, Answers<K, V>, BrokerId),
}

impl<Know, Find, Ask> Scatter<Know, Find, Ask> {
    /// Asks about all `things`, and gives each one's answer to `on_answer` when it comes.
    pub(super) async fn run<K, V, Finding, Asking>(
        self,
        things: Vec<K>,
        mut on_answer: impl FnMut(K, Result<V, Refusal>),
    ) where
        K: Send + 'static,
        V: Send + 'static,
        Know: Fn(Vec<K>, Option<Instant>) -> (Answers<K, BrokerId>, Vec<K>),
        Find: Fn(Vec<K>) -> Finding,
        Finding: Future<Output = Answers<K, BrokerId>> + Send + 'static,
        Ask: Fn(BrokerId, Vec<K>) -> Asking,
        Asking: Future<Output = Answers<K, V>> + Send + 'static,
    {
        let mut steps = JoinSet::new();
        steps.spawn(async move { Step::Search(0, things, None, None) });
        while let Some(step) = steps.join_next().await {
            let (attempt, again, unreachable) = match step {
                Err(failed) => std::panic::resume_unwind(failed.into_panic()),
                Ok(Step::Search(attempt, things, since, unreachable)) => {
                    let (known, unknown) = (self.know)(things, since);
                    let same = unreachable.clone();
                    steps.spawn(async move { Step::Found(attempt, known, same) });
                    if !unknown.is_empty() {
                        let finding = (self.find)(unknown);
                        steps.spawn(async move { Step::Found(attempt, finding.await, unreachable) });
                    }
                    continue;
                }
                Ok(Step::Found(attempt, found, unreachable)) => {
                    let (found, again) = self.sort(attempt, found);
                    let mut by_broker = BTreeMap::<_, Vec<_>>::new();
                    for (thing, broker) in found {
                        match (broker, &unreachable) {
                            (Ok(broker), Some((same, refusal))) if broker == *same => {
                                on_answer(thing, Err(refusal.clone()));
                            }
                            (Ok(broker), _) => by_broker.entry(broker).or_default().push(thing),
                            (Err(refusal), _) => on_answer(thing, Err(refusal)),
                        }
                    }
                    for (broker, things) in by_broker {
                        for some in chunks(things, self.per_request) {
                            let asking = (self.ask)(broker, some);
                            steps.spawn(async move { Step::Answered(attempt, asking.await, broker) });
                        }
                    }
                    (attempt, again, None)
                }
                Ok(Step::Answered(attempt, answers, broker)) => {
                    let mut refusals = answers.iter().filter_map(|(_, answer)| answer.as_ref().err());
                    let unreachable = refusals.find(|refusal| refusal.is_unreachable()).cloned();
                    let (answers, again) = self.sort(attempt, answers);
                    for (thing, answer) in answers {
                        on_answer(thing, answer);
                    }
                    (attempt, again, unreachable.map(|refusal| (broker, refusal)))
                }
            };
            if !again.is_empty() {
                let since = Some(Instant::now());
                steps.spawn(async move {
                    sleep(PAUSES[attempt]).await;
                    Step::Search(attempt + 1, again, since, unreachable)
                });
            }
        }
    }

    /// What is decided, and which things are to be looked for again.
    fn sort<K, T>(&self, attempt: usize, answers: Answers<K, T>) -> (Answers<K, T>, Vec<K>) {
        let mut again = Vec::new();
        let mut decided = Vec::with_capacity(answers.len());
        for (thing, answer) in answers {
            match answer {
                Err(refusal) if self.may_retry(attempt, &refusal) => again.push(thing),
                answer => decided.push((thing, answer)),
            }
        }
        (decided, again)
    }

    fn may_retry(&self, attempt: usize, refusal: &Refusal) -> bool {
        // Fresh metadata without a partition is believed.
        let is_believed = refusal.kind == RefusalKind::UnknownPartition && attempt > 0;
        let in_time = PAUSES
            .get(attempt)
            .is_some_and(|pause| Instant::now() + *pause < self.deadline);
        refusal.is_stale() && !is_believed && in_time
    }
}

fn chunks<K>(mut things: Vec<K>, size: usize) -> Vec<Vec<K>> {
    let mut chunks = Vec::new();
    while things.len() > size {
        let rest = things.split_off(size);
        chunks.push(std::mem::replace(&mut things, rest));
    }
    chunks.push(things);
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

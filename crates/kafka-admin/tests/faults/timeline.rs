//! Owns what happened when: who led which partition, which broker was away, when each number was asked for and came. It
//! judges at the end whether answers came in time.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// A partition's new leader is to answer within this time.
const AFTER_ELECTION: Duration = Duration::from_secs(2);
/// Whoever has led for so long, and is not away, ...
const SETTLED: Duration = Duration::from_secs(3);
/// ... answers in this time, whatever others do.
const HEALTHY: Duration = Duration::from_secs(2);

/// A number is kept by the leader of a partition: an index into the partitions that are watched.
pub(crate) type Home = usize;

#[derive(Debug, Clone, Copy)]
struct Election {
    home: Home,
    leader: i32,
    at: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Absence {
    broker: i32,
    from: Instant,
    to: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    number: usize,
    asked: Instant,
    at: Instant,
    is_value: bool,
}

#[derive(Default)]
pub(crate) struct Timeline {
    elections: Vec<Election>,
    absences: Vec<Absence>,
    answers: Vec<Answer>,
}

impl Timeline {
    /// Notes who leads a partition, if it is news.
    pub(crate) fn led(&mut self, home: Home, leader: i32, at: Instant) {
        let last = self.elections.iter().rev().find(|election| election.home == home);
        if last.is_none_or(|last| last.leader != leader) {
            self.elections.push(Election { home, leader, at });
        }
    }

    pub(crate) fn left(&mut self, broker: i32) {
        let from = Instant::now();
        println!("{:.1} s: broker {broker} is away", self.seconds(from));
        self.absences.push(Absence {
            broker,
            from,
            to: None,
        });
    }

    pub(crate) fn returned(&mut self) {
        if let Some(last) = self.absences.last_mut() {
            last.to = Some(Instant::now());
        }
        println!("{:.1} s: it is there again", self.seconds(Instant::now()));
    }

    pub(crate) fn answered(&mut self, number: usize, asked: Instant, is_value: bool) {
        let at = Instant::now();
        self.answers.push(Answer {
            number,
            asked,
            at,
            is_value,
        });
    }

    /// How many numbers were asked for since a time and refused.
    pub(crate) fn refused_since(&self, since: Instant) -> usize {
        let later = self.answers.iter().filter(|answer| answer.asked >= since);
        later.filter(|answer| !answer.is_value).count()
    }

    /// What was too late, as sentences; and for each election how long it took until all that the partition keeps was known.
    pub(crate) fn judge(&self, homes: &[Home]) -> (Vec<String>, Vec<Duration>) {
        let (mut late, mut delays) = (self.unhealthy(homes), Vec::new());
        for election in &self.elections {
            // The first ones are those that were there at the beginning.
            let is_first = self.leader(election.home, election.at, 1).is_none();
            if is_first || !self.is_settled(election, election.at + AFTER_ELECTION) {
                continue;
            }
            let numbers = homes
                .iter()
                .enumerate()
                .filter(|(_, home)| **home == election.home);
            let first = numbers.map(|(number, _)| self.first_value(number, election.at));
            let delay = first.max().unwrap_or_default();
            if delay > AFTER_ELECTION {
                let (at, leader) = (self.seconds(election.at), election.leader);
                late.push(format!(
                    "{at:.1} s: broker {leader} was elected, its first value came {delay:.1?} later"
                ));
            }
            delays.push(delay);
        }
        let mut counted = BTreeMap::<_, usize>::new();
        for sentence in late {
            *counted.entry(sentence).or_default() += 1;
        }
        let late = counted
            .into_iter()
            .map(|(sentence, times)| format!("{sentence} ({times} times)"));
        (late.collect(), delays)
    }

    fn first_value(&self, number: usize, since: Instant) -> Duration {
        let mut answers = self.answers.iter().filter(|answer| answer.number == number);
        let first = answers.find(|answer| answer.is_value && answer.at >= since);
        first.map_or(Duration::MAX, |first| first.at - since)
    }

    /// Answers that did not come in time though their leader was there all the time.
    fn unhealthy(&self, homes: &[Home]) -> Vec<String> {
        let of_healthy = self.answers.iter().filter(|answer| {
            let leader = self.leader(homes[answer.number], answer.asked, 0);
            leader.is_some_and(|leader| {
                leader.at + SETTLED < answer.asked && self.is_settled(&leader, answer.asked + HEALTHY)
            })
        });
        let late = of_healthy.filter(|answer| !answer.is_value || answer.at - answer.asked > HEALTHY);
        late.map(|answer| {
            let (at, after) = (self.seconds(answer.asked), answer.at - answer.asked);
            let what = if answer.is_value { "came" } else { "was refused" };
            let leader = self
                .leader(homes[answer.number], answer.asked, 0)
                .map(|election| election.leader);
            format!("{at:.1} s: asked of broker {leader:?}, which was healthy, {what} after {after:.1?}")
        })
        .collect()
    }

    pub(crate) fn seconds(&self, at: Instant) -> f64 {
        self.elections
            .first()
            .map_or(0.0, |first| (at - first.at).as_secs_f64())
    }

    /// The last election of a partition's leader up to a time, or one that was so many before.
    fn leader(&self, home: Home, at: Instant, before: usize) -> Option<Election> {
        let elections = self.elections.iter().rev();
        elections
            .filter(|election| election.home == home && election.at <= at)
            .nth(before)
            .copied()
    }

    /// Whether an elected leader still leads at a time, and was there since.
    fn is_settled(&self, election: &Election, until: Instant) -> bool {
        let is_last = self
            .leader(election.home, until, 0)
            .is_some_and(|last| last.at == election.at);
        let away = self.absences.iter().any(|absence| {
            absence.broker == election.leader
                && absence.from < until
                && absence.to.is_none_or(|to| to > election.at)
        });
        is_last && !away
    }
}

//! Owns which series a receiver believes to be alive.

use std::collections::{BTreeSet, HashSet};

use super::STALE;
use crate::exposition::{Labels, Sample};

/// The most series that have vanished and are remembered until their marks are acknowledged. Without a mark Prometheus
/// ends a series itself, five minutes after its last sample.
const MAX_VANISHED: usize = 50_000;

/// A series: its name and its labels.
type Series = (String, Labels);

/// The series that were sent and not marked as ended since.
#[derive(Debug, Default)]
pub struct Tracker {
    alive: BTreeSet<Series>,
}

impl Tracker {
    /// What is to be sent after the present samples: for each series that has vanished, the mark of its end. With no
    /// samples, the marks of all.
    pub fn vanished(&self, present: &[Sample]) -> Vec<Sample> {
        let present: HashSet<(&str, &Labels)> = present.iter().map(Sample::series).collect();
        self.alive
            .iter()
            .filter(|(name, labels)| !present.contains(&(name.as_str(), labels)))
            .map(|(name, labels)| Sample::new(name, labels.clone(), STALE))
            .collect()
    }

    /// Samples are about to be sent. Should the answer be lost, they may have arrived all the same. Returns the series
    /// that were not alive.
    pub fn sending(&mut self, present: &[Sample]) -> Vec<Series> {
        let mut new = Vec::new();
        for sample in present {
            let series = (sample.name.clone(), sample.labels.clone());
            if !self.alive.contains(&series) {
                self.alive.insert(series.clone());
                new.push(series);
            }
        }
        self.forget_surplus(present);
        new
    }

    /// They did not arrive: these series, which [`Self::sending`] gave, are not alive.
    pub fn not_sent(&mut self, new: &[Series]) {
        for series in new {
            self.alive.remove(series);
        }
    }

    /// There is nothing more to be said of these series.
    pub fn ended(&mut self, marks: &[Sample]) {
        let marks: HashSet<(&str, &Labels)> = marks.iter().map(Sample::series).collect();
        self.alive
            .retain(|(name, labels)| !marks.contains(&(name.as_str(), labels)));
    }

    /// A receiver that does not answer would have us remember whatever vanishes in the meantime.
    fn forget_surplus(&mut self, present: &[Sample]) {
        if self.alive.len() <= present.len() + MAX_VANISHED {
            return;
        }
        let mut vanished = self.vanished(present);
        self.ended(&vanished.split_off(MAX_VANISHED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(names: &[&str]) -> Vec<Sample> {
        names
            .iter()
            .map(|&name| Sample::new(name, Labels::new(), 1.0))
            .collect()
    }

    fn vanished(tracker: &Tracker, present: &[&str]) -> Vec<String> {
        let marks = tracker.vanished(&samples(present));
        assert!(marks.iter().all(|mark| mark.value.to_bits() == STALE.to_bits()));
        marks.into_iter().map(|mark| mark.name).collect()
    }

    /// All of it arrives.
    fn send(tracker: &mut Tracker, present: &[&str]) {
        let present = samples(present);
        tracker.sending(&present);
        let marks = tracker.vanished(&present);
        tracker.ended(&marks);
    }

    #[test]
    fn a_series_that_vanished_is_marked_once() {
        let mut tracker = Tracker::default();
        send(&mut tracker, &["a", "b"]);
        assert_eq!(vanished(&tracker, &["b", "c"]), ["a"]);
        send(&mut tracker, &["b", "c"]);
        assert_eq!(vanished(&tracker, &["b", "c"]), Vec::<String>::new());
    }

    #[test]
    fn a_series_is_marked_though_the_answer_to_it_or_to_its_mark_was_lost() {
        let mut tracker = Tracker::default();
        send(&mut tracker, &["a"]);
        tracker.sending(&samples(&["b"]));
        assert_eq!(vanished(&tracker, &["c"]), ["a", "b"]);
    }

    #[test]
    fn of_what_did_not_arrive_only_what_had_arrived_before_is_marked() {
        let mut tracker = Tracker::default();
        send(&mut tracker, &["a"]);
        let new = tracker.sending(&samples(&["a", "b"]));
        tracker.not_sent(&new);
        assert_eq!(vanished(&tracker, &[]), ["a"]);
    }

    #[test]
    fn not_more_is_remembered_than_may_be_though_no_answer_ever_comes() {
        let mut tracker = Tracker::default();
        for page in 0..3 {
            let names: Vec<String> = (0..MAX_VANISHED).map(|name| format!("n{page}_{name}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            tracker.sending(&samples(&names));
            assert!(tracker.alive.len() <= 2 * MAX_VANISHED);
            assert_eq!(
                vanished(&tracker, &names).len(),
                MAX_VANISHED * usize::from(page > 0)
            );
        }
    }

    #[test]
    fn at_the_end_every_series_is_marked() {
        let mut tracker = Tracker::default();
        send(&mut tracker, &["a", "b"]);
        assert_eq!(vanished(&tracker, &[]), ["a", "b"]);
    }
}

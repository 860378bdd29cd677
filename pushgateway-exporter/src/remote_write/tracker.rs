//! Owns which series a receiver believes to be alive.

use std::collections::{BTreeSet, HashSet};

use super::STALE;
use crate::exposition::{Labels, Sample};

/// The series that were sent and not marked as ended since.
#[derive(Debug, Default)]
pub struct Tracker {
    alive: BTreeSet<(String, Labels)>,
}

impl Tracker {
    /// What is to be sent along with the present samples: for each series that has vanished, the mark of its end. With
    /// no samples, the marks of all.
    pub fn vanished(&self, present: &[Sample]) -> Vec<Sample> {
        let present: HashSet<(&str, &Labels)> = present.iter().map(Sample::series).collect();
        self.alive
            .iter()
            .filter(|(name, labels)| !present.contains(&(name.as_str(), labels)))
            .map(|(name, labels)| Sample::new(name, labels.clone(), STALE))
            .collect()
    }

    /// Samples are about to be sent. Should the answer be lost, they may have arrived all the same.
    pub fn sending(&mut self, present: &[Sample]) {
        for sample in present {
            self.alive.insert((sample.name.clone(), sample.labels.clone()));
        }
    }

    /// They were acknowledged, and the marks with them.
    pub fn sent(&mut self, present: &[Sample]) {
        let present: HashSet<(&str, &Labels)> = present.iter().map(Sample::series).collect();
        self.alive
            .retain(|(name, labels)| present.contains(&(name.as_str(), labels)));
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

    fn send(tracker: &mut Tracker, present: &[&str]) {
        tracker.sending(&samples(present));
        tracker.sent(&samples(present));
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
    fn at_the_end_every_series_is_marked() {
        let mut tracker = Tracker::default();
        send(&mut tracker, &["a", "b"]);
        assert_eq!(vanished(&tracker, &[]), ["a", "b"]);
    }
}

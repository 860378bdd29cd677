//! Owns the books of a round: which record has how many results, how many it may have, and what is committed. Pure.
//!
//! A record below the committed position has a result. A record has one result, and one more for each time that a worker
//! went away, or lost its partitions, while the record was not committed.

use std::collections::{BTreeMap, HashMap};

use kafka_admin::Partition;
use kafka_io::Record;

/// The next record of each partition.
pub(crate) type Positions = BTreeMap<Partition, i64>;

/// The most records that a finding names.
const NAMED: usize = 5;

/// What there is at a moment. Whoever gathers it asks for `committed` first, then for `input`, then for `results`.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) committed: &'a Positions,
    pub(crate) input: &'a [Record],
    pub(crate) results: &'a [Record],
    /// Whether the worker has just ended well: then each result of its own is committed.
    pub(crate) is_settled: bool,
}

/// The books of a round.
#[derive(Default)]
pub(crate) struct Books {
    /// How often a record may have been done in vain, by its key.
    in_vain: HashMap<Vec<u8>, usize>,
    committed: Positions,
    pub(crate) lost: usize,
    pub(crate) findings: Vec<String>,
}

impl Books {
    /// What was not committed then may be done once more.
    pub(crate) fn forgive(&mut self, committed: &Positions, input: &[Record]) {
        for record in input.iter().filter(|record| !is_below(record, committed)) {
            *self.in_vain.entry(key(record)).or_default() += 1;
        }
    }

    /// Compares what there is with what may be.
    pub(crate) fn audit(&mut self, scene: Scene<'_>) {
        let results = counts(scene.results);
        let count = |record: &Record| results.get(&key(record)).copied().unwrap_or_default();
        let lost = scene.input.iter();
        let lost: Vec<_> = lost
            .filter(|record| is_below(record, scene.committed) && count(record) == 0)
            .collect();
        self.lost += lost.len();
        self.find("committed without a result", &lost);
        let many = scene.input.iter();
        let many: Vec<_> = many
            .filter(|record| {
                let is_owed = is_below(record, scene.committed) || !scene.is_settled;
                count(record) > usize::from(is_owed) + self.in_vain.get(&key(record)).unwrap_or(&0)
            })
            .collect();
        self.find("with more results than what was not committed explains", &many);
        let mut ends = Positions::new();
        for record in scene.input {
            ends.insert(record.partition, record.offset + 1);
        }
        for (partition, &position) in scene.committed {
            let before = self.committed.insert(*partition, position).unwrap_or_default();
            let end = ends.get(partition).copied().unwrap_or_default();
            if position < before || position > end {
                self.findings.push(format!(
                    "partition {} is committed up to {position}, was up to {before}, and ends at {end}",
                    partition.0
                ));
            }
        }
    }

    fn find(&mut self, what: &str, records: &[&Record]) {
        if records.is_empty() {
            return;
        }
        let named = records.iter().take(NAMED);
        let named: Vec<_> = named
            .map(|record| format!("{}@{}", record.partition.0, record.offset))
            .collect();
        self.findings.push(format!(
            "{} records {what}, such as {}",
            records.len(),
            named.join(" ")
        ));
    }
}

/// How many results there are beyond one a record.
pub(crate) fn duplicates(results: &[Record]) -> usize {
    results.len() - counts(results).len()
}

fn counts(results: &[Record]) -> HashMap<Vec<u8>, usize> {
    let mut counts = HashMap::new();
    for result in results {
        *counts.entry(key(result)).or_default() += 1;
    }
    counts
}

fn key(record: &Record) -> Vec<u8> {
    record.key.clone().unwrap_or_default()
}

fn is_below(record: &Record, positions: &Positions) -> bool {
    record.offset < positions.get(&record.partition).copied().unwrap_or_default()
}

/// What the books see, which otherwise would be found out when something is lost, or not.
mod tests {
    use super::*;

    fn records(keys: &[&str]) -> Vec<Record> {
        let records = keys.iter().zip(0..).map(|(key, offset)| Record {
            partition: Partition(0),
            offset,
            timestamp_ms: None,
            key: Some(key.as_bytes().to_vec()),
            value: None,
            headers: Vec::new(),
        });
        records.collect()
    }

    /// Three records and these results; what was found, and how many were lost.
    fn found(books: &mut Books, committed: i64, results: &[&str], is_settled: bool) -> (usize, usize) {
        books.audit(Scene {
            committed: &Positions::from([(Partition(0), committed)]),
            input: &records(&["a", "b", "c"]),
            results: &records(results),
            is_settled,
        });
        (books.findings.len(), books.lost)
    }

    #[test]
    fn what_is_committed_has_a_result() {
        assert_eq!(found(&mut Books::default(), 2, &["a", "b"], false), (0, 0));
        assert_eq!(found(&mut Books::default(), 3, &["a", "b"], false), (1, 1));
    }

    #[test]
    fn a_second_result_needs_a_reason() {
        assert_eq!(found(&mut Books::default(), 1, &["a", "b", "b"], false), (1, 0));
        let mut books = Books::default();
        books.forgive(&Positions::from([(Partition(0), 1)]), &records(&["a", "b", "c"]));
        assert_eq!(found(&mut books, 1, &["a", "b", "b"], false), (0, 0));
        assert_eq!(found(&mut books, 1, &["a", "a", "b"], false), (1, 0));
    }

    #[test]
    fn a_worker_that_ended_well_has_committed_its_results() {
        assert_eq!(found(&mut Books::default(), 2, &["a", "b"], true), (0, 0));
        assert_eq!(found(&mut Books::default(), 1, &["a", "b"], true), (1, 0));
    }

    #[test]
    fn positions_neither_fall_nor_pass_the_end() {
        let mut books = Books::default();
        assert_eq!(found(&mut books, 2, &["a", "b"], false), (0, 0));
        assert_eq!(found(&mut books, 1, &["a", "b"], false), (1, 0));
        assert_eq!(found(&mut Books::default(), 4, &["a", "b", "c"], false), (1, 0));
    }
}

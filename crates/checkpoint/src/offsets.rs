//! Owns the position of a stream: for each partition of each topic, the next record to process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Positions by topic and partition. As JSON it is Spark's: `{"topic":{"0":23,"1":45}}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicOffsets(BTreeMap<String, BTreeMap<i32, i64>>);

impl TopicOffsets {
    /// The position in a partition.
    pub fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        self.0.get(topic)?.get(&partition).copied()
    }

    /// Sets the position in a partition.
    pub fn set(&mut self, topic: &str, partition: i32, position: i64) {
        if let Some(partitions) = self.0.get_mut(topic) {
            partitions.insert(partition, position);
        } else {
            self.0
                .insert(topic.to_owned(), BTreeMap::from([(partition, position)]));
        }
    }

    /// All positions, in order of topic and partition.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i32, i64)> {
        self.0.iter().flat_map(|(topic, partitions)| {
            let of_topic = partitions.iter();
            of_topic.map(|(partition, position)| (topic.as_str(), *partition, *position))
        })
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(BTreeMap::is_empty)
    }

    /// Takes the positions of another source; where both have a partition, the lower one.
    pub fn merge(&mut self, other: &Self) {
        for (topic, partition, position) in other.iter() {
            let known = self.get(topic, partition);
            self.set(
                topic,
                partition,
                known.map_or(position, |known| known.min(position)),
            );
        }
    }

    /// Takes the positions of partitions that have none here.
    pub(crate) fn carry_over(&mut self, before: &Self) {
        for (topic, partition, position) in before.iter() {
            if self.get(topic, partition).is_none() {
                self.set(topic, partition, position);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_sources_of_a_partition_the_lower_position_counts() {
        let mut offsets = TopicOffsets::default();
        offsets.set("t", 0, 5);
        let mut other = TopicOffsets::default();
        other.set("t", 0, 3);
        other.set("t", 1, 9);
        offsets.merge(&other);
        assert_eq!(offsets.iter().collect::<Vec<_>>(), [("t", 0, 3), ("t", 1, 9)]);
    }

    #[test]
    fn only_partitions_without_a_position_are_carried_over() {
        let mut offsets = TopicOffsets::default();
        offsets.set("t", 0, 5);
        let mut before = TopicOffsets::default();
        before.set("t", 0, 3);
        before.set("t", 1, 9);
        offsets.carry_over(&before);
        assert_eq!(offsets.iter().collect::<Vec<_>>(), [("t", 0, 5), ("t", 1, 9)]);
    }
}

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
        let of_topic = |(topic, partitions): (_, &BTreeMap<i32, i64>)| {
            let topic: &String = topic;
            partitions
                .iter()
                .map(move |(partition, position)| (topic.as_str(), *partition, *position))
                .collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_topic)
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(BTreeMap::is_empty)
    }

    /// The positions in a source line of an offset log, if it is of Kafka's form: an object of topics, each an object
    /// of partitions. Other sources write other things, which are not ours to judge. A negative position is a wish,
    /// such as `-1` for the latest, and no position; Spark writes it into options only, so it is passed over.
    pub(crate) fn of_source_line(line: &str) -> Option<Self> {
        let mut offsets: Self = serde_json::from_str(line).ok()?;
        let proper = !offsets.0.is_empty() && offsets.iter().all(|(_, partition, _)| partition >= 0);
        for partitions in offsets.0.values_mut() {
            partitions.retain(|_, position| *position >= 0);
        }
        proper.then_some(offsets)
    }

    /// Takes the positions of another source; where both have a partition, the lower one.
    pub fn merge(&mut self, other: &Self) {
        for (topic, partition, position) in other.iter() {
            let lower = self
                .get(topic, partition)
                .map_or(position, |known| known.min(position));
            self.set(topic, partition, lower);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kafkas_form_is_taken_for_kafka() {
        let kafka = TopicOffsets::of_source_line(r#"{"a.b":{"0":23,"10":45},"c":{"1":0}}"#).unwrap();
        assert_eq!(
            kafka.iter().collect::<Vec<_>>(),
            [("a.b", 0, 23), ("a.b", 10, 45), ("c", 1, 0)]
        );
        for other in [
            "30",
            "-",
            "{}",
            r#"{"logOffset":0}"#,
            r#"{"t":{"x":1}}"#,
            r#"{"t":{"-1":1}}"#,
            "{",
            "",
        ] {
            assert_eq!(TopicOffsets::of_source_line(other), None, "{other}");
        }
    }

    #[test]
    fn a_negative_position_is_none() {
        let kafka = TopicOffsets::of_source_line(r#"{"t":{"0":-1,"1":5}}"#).unwrap();
        assert_eq!(kafka.iter().collect::<Vec<_>>(), [("t", 1, 5)]);
    }

    #[test]
    fn of_two_sources_of_a_partition_the_one_behind_counts() {
        let mut offsets = TopicOffsets::default();
        offsets.set("t", 0, 5);
        let mut other = TopicOffsets::default();
        other.set("t", 0, 3);
        other.set("t", 1, 9);
        offsets.merge(&other);
        assert_eq!(offsets.iter().collect::<Vec<_>>(), [("t", 0, 3), ("t", 1, 9)]);
    }
}

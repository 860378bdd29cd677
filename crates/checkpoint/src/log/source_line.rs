//! Owns what the line of a source in an offset log is: Kafka's, another source's, or neither.
//!
//! A line of Kafka's is read exactly or refused. Read loosely, one number out of range would turn all of its partitions
//! into "another source", and they would vanish without a word.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::TopicOffsets;

/// The longest name of a topic that Kafka allows.
const TOPIC_LENGTH: usize = 249;
/// How much of a name or a number is quoted in an error.
const QUOTED_LENGTH: usize = 60;

/// The line of a source.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SourceLine {
    /// Positions, as Kafka's source writes them, and the names that cannot be topics.
    Kafka(TopicOffsets, Vec<String>),
    /// What another source writes, which is not ours to judge.
    Other,
    /// It begins as an object, and is not JSON: cut short, or another source's.
    NotJson,
}

impl SourceLine {
    /// Reads a line. It is Kafka's if it is an object of objects with a number at the name of a partition.
    ///
    /// A negative position is a wish, such as `-1` for the latest, and not a position; Spark writes it into options
    /// only, so it is skipped. Azure Event Hubs' connector writes the same form, and cannot be told apart.
    ///
    /// # Errors
    /// If a number in a line of Kafka's form is not one that Kafka can have; the text says which.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        if !line.trim_start().starts_with('{') {
            return Ok(Self::Other);
        }
        let Ok(topics) = serde_json::from_str::<Entries<'_>>(line) else {
            return Ok(Self::NotJson);
        };
        let topics: Option<Vec<(String, Entries<'_>)>> = topics
            .0
            .into_iter()
            .map(|(topic, partitions)| Some((topic, serde_json::from_str(partitions.get()).ok()?)))
            .collect();
        match topics {
            Some(topics) if has_form_of_kafka(&topics) => positions(topics),
            _ => Ok(Self::Other),
        }
    }
}

/// The entries of an object, in their order, those of the same name too.
struct Entries<'line>(Vec<(String, &'line RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

fn has_form_of_kafka(topics: &[(String, Entries<'_>)]) -> bool {
    let mut partitions = topics.iter().flat_map(|(_, partitions)| &partitions.0).peekable();
    let is_without_partitions = !topics.is_empty() && partitions.peek().is_none();
    is_without_partitions
        || partitions.any(|(partition, position)| {
            is_like_a_number(partition) && is_like_a_number(position.get().trim_matches('"'))
        })
}

/// Whether it begins as a number does; `1.5e3` and a number of a hundred digits do.
fn is_like_a_number(text: &str) -> bool {
    text.trim_start_matches('-')
        .starts_with(|first: char| first.is_ascii_digit())
}

fn positions(topics: Vec<(String, Entries<'_>)>) -> Result<SourceLine, String> {
    let (mut offsets, mut illegal) = (TopicOffsets::default(), Vec::new());
    for (topic, partitions) in topics {
        let mut of_topic = TopicOffsets::default();
        for (name, position) in partitions.0 {
            let wrong = |what: String| format!("topic {}, {what}", quote(&topic));
            let partition = partition(&name).ok_or_else(|| {
                wrong(format!(
                    "partition {}: not a whole number of 31 bits",
                    quote(&name)
                ))
            })?;
            let position: i64 = position.get().parse().map_err(|_not_a_number| {
                let offset = quote(position.get());
                wrong(format!(
                    "partition {partition}: offset {offset} is not a whole number of 64 bits"
                ))
            })?;
            if position >= 0 {
                let mut this = TopicOffsets::default();
                this.set(&topic, partition, position);
                // Named twice, the lower position repeats records, the higher would lose them.
                of_topic.merge(&this);
            }
        }
        if is_legal(&topic) {
            offsets.merge(&of_topic);
        } else {
            illegal.push(quote(&topic));
        }
    }
    Ok(SourceLine::Kafka(offsets, illegal))
}

/// `0` is a partition; `00`, `+0` and `-1` are not.
fn partition(name: &str) -> Option<i32> {
    let partition: i32 = name.parse().ok()?;
    (partition >= 0 && partition.to_string() == name).then_some(partition)
}

/// Whether Kafka allows a topic of this name.
fn is_legal(topic: &str) -> bool {
    let is_allowed = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'.' | b'_' | b'-');
    !matches!(topic, "" | "." | "..") && topic.len() <= TOPIC_LENGTH && topic.bytes().all(is_allowed)
}

fn quote(text: &str) -> String {
    let short: String = text.chars().take(QUOTED_LENGTH).collect();
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kafka(line: &str) -> Vec<(String, i32, i64)> {
        match SourceLine::parse(line) {
            Ok(SourceLine::Kafka(offsets, illegal)) if illegal.is_empty() => offsets
                .iter()
                .map(|(topic, partition, position)| (topic.to_owned(), partition, position))
                .collect(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn kafkas_form_is_an_object_of_topics_with_partitions() {
        let of = |topic: &str, partition, position| (topic.to_owned(), partition, position);
        assert_eq!(
            kafka(r#"{"a.b":{"0":23,"10":45},"c":{"1":0}}"#),
            [of("a.b", 0, 23), of("a.b", 10, 45), of("c", 1, 0)]
        );
        assert_eq!(
            kafka(r#"{"t":{"0":-1,"1":5}}"#),
            [of("t", 1, 5)],
            "a negative position is a wish"
        );
        let twice = r#"{"t":{"0":7,"0":5},"u":{"0":1},"t":{"0":9,"1":2}}"#;
        assert_eq!(kafka(twice), [of("t", 0, 5), of("t", 1, 2), of("u", 0, 1)]);
        let greatest = format!(r#"{{"t":{{"{}":{}}}}}"#, i32::MAX, i64::MAX);
        assert_eq!(kafka(&greatest), [of("t", i32::MAX, i64::MAX)]);
    }

    #[test]
    fn what_other_sources_write_is_theirs() {
        for other in [
            "30",
            "",
            "{}",
            r#"{"logOffset":0}"#,
            r#"{"t":{"x":1}}"#,
            r#"{"t":{"x":"1"}}"#,
            r#"{"sourceVersion":1,"reservoirId":"u","index":-1}"#,
            r#"{"metadata":{"streamName":"s","batchId":"1"},"shardId-000000000000":{"iteratorType":"AFTER_SEQUENCE_NUMBER"}}"#,
            r#"{"0":{"value":5,"runTimeMs":7}}"#,
            r#"{"shards":{"0":"abc"}}"#,
        ] {
            assert_eq!(SourceLine::parse(other), Ok(SourceLine::Other), "{other}");
        }
        assert_eq!(SourceLine::parse("{date=2026-11-25}"), Ok(SourceLine::NotJson));
    }

    #[test]
    fn a_number_that_kafka_cannot_have_is_refused_with_its_index() {
        for (line, expected) in [
            (
                r#"{"t":{"0":1,"3":9223372036854775808}}"#,
                "\"t\", partition 3: offset \"9223372036854775808\"",
            ),
            (r#"{"t":{"0":1.0}}"#, "partition 0: offset \"1.0\""),
            (r#"{"t":{"0":1e3}}"#, "partition 0: offset \"1e3\""),
            (r#"{"t":{"0":"7"}}"#, "partition 0: offset \"\\\"7\\\"\""),
            (r#"{"t":{"0":1,"1":null}}"#, "partition 1: offset \"null\""),
            (r#"{"t":{"2147483648":1}}"#, "partition \"2147483648\""),
            (r#"{"t":{"-1":1}}"#, "partition \"-1\""),
            (r#"{"t":{"00":1}}"#, "partition \"00\""),
            (r#"{"t":{"0":1,"x":2}}"#, "partition \"x\""),
        ] {
            let error = SourceLine::parse(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn a_topic_whose_name_is_illegal_is_refused_alone_and_named() {
        for illegal in ["", ".", "..", "a b", "a/b", "ä", &"x".repeat(250)] {
            let line = format!(r#"{{"{illegal}":{{"0":1}},"good":{{"0":2}}}}"#);
            let Ok(SourceLine::Kafka(offsets, names)) = SourceLine::parse(&line) else {
                panic!("{line}")
            };
            assert_eq!(offsets.iter().collect::<Vec<_>>(), [("good", 0, 2)]);
            assert_eq!(names, [quote(illegal)]);
        }
        assert_eq!(kafka(&format!(r#"{{"{}":{{"0":1}}}}"#, "x".repeat(249))).len(), 1);
    }
}

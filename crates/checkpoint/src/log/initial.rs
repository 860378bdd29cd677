//! Owns the form of the file in which a source keeps the positions at which it began.

use super::source_line::SourceLine;
use super::{LogError, text, version};
use crate::TopicOffsets;

/// The key of the file in which a source, by name or place, keeps its first positions.
pub fn initial_key(source: &str) -> String {
    format!("sources/{source}/0")
}

/// `sources/N/0`: the positions at which a Kafka source began: a byte, `v1`, and the positions.
///
/// Spark 2.1.0 wrote no version, and the length of the JSON into the first byte; later ones write a zero there and skip
/// whatever it is.
///
/// # Errors
/// Where the version is unknown or the file is damaged.
pub fn parse_initial(content: &[u8]) -> Result<TopicOffsets, LogError> {
    let text = text(content.get(1..).unwrap_or_default())?;
    let offsets = match text.split_once('\n') {
        Some((first, offsets)) if first.starts_with('v') => match version(first)? {
            1 => offsets,
            _ => return Err(LogError::Version(first.to_owned())),
        },
        _ => text,
    };
    match SourceLine::parse(offsets.trim_end()).map_err(LogError::Damaged)? {
        SourceLine::Kafka(positions, illegal) if positions.is_empty() && !illegal.is_empty() => Err(
            LogError::Damaged(format!("no topic can have the name {}", illegal.join(", "))),
        ),
        SourceLine::Kafka(positions, illegal) => {
            if !illegal.is_empty() {
                tracing::warn!(
                    topics = illegal.join(", "),
                    "initial positions of topics with illegal names are skipped"
                );
            }
            Ok(positions)
        }
        SourceLine::Other | SourceLine::NotJson => Err(LogError::Damaged(
            "it has no positions of Kafka's form".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initial_positions_that_spark_wrote_are_read() {
        let spark = parse_initial(include_bytes!(
            "../../tests/fixtures/spark-3.5.7-kafka/sources/0/0"
        ))
        .unwrap();
        assert_eq!(spark.iter().count(), 4);
    }

    #[test]
    fn the_first_byte_whatever_it_is_is_not_part_of_the_positions() {
        for first in [0, 17, b'{', b'v', 0xb7] {
            let versioned = [&[first], &b"v1\n{\"t\":{\"0\":3}}"[..]].concat();
            assert_eq!(parse_initial(&versioned).unwrap().get("t", 0), Some(3), "{first}");
            let of_2_1_0 = [&[first], &b"{\"t\":{\"0\":3}}"[..]].concat();
            assert_eq!(parse_initial(&of_2_1_0).unwrap().get("t", 0), Some(3), "{first}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        assert_eq!(parse_initial(b"\0v2\n{}"), Err(LogError::Version("v2".into())));
        for damaged in [
            &b""[..],
            b"\0",
            b"\0v1",
            b"\0v1\n",
            b"\0v1\n30",
            b"\0v1\n{\"t\":{\"0\":1",
            b"\0v1\n{\"t\":{\"0\":1.0}}",
            b"\0vx\n{\"t\":{\"0\":1}}",
            b"\0v1\n{\"a b\":{\"0\":1}}",
        ] {
            assert!(
                matches!(parse_initial(damaged), Err(LogError::Damaged(_))),
                "{damaged:?}"
            );
        }
        let mixed = parse_initial(b"\0v1\n{\"a b\":{\"0\":1},\"t\":{\"0\":2}}").unwrap();
        assert_eq!(mixed.iter().collect::<Vec<_>>(), [("t", 0, 2)]);
    }
}

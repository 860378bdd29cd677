//! Owns the form of `offsets/N`, and our mark in it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::source_line::SourceLine;
use super::{LogError, text, version};
use crate::TopicOffsets;

/// What Spark writes for a source that has no offset yet.
const NO_OFFSET: &str = "-";
/// In the metadata's `conf`: which run of a program wrote the file. Spark ignores names that it does not know.
const WRITER: &str = "outrigger.writer";
/// In the metadata's `conf`: what the positions are. Spark's are planned: its batch is processed after they are written.
const POSITIONS: &str = "outrigger.positions";
/// Everything below them is done.
const ACKNOWLEDGED: &str = "acknowledged";

/// `offsets/N`: where batch N ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetLog {
    /// When the batch was made, in milliseconds since 1970, where the file says so.
    pub timestamp_ms: Option<i64>,
    /// The positions of its Kafka sources, by the source's name. A source that was given none has its place among all
    /// sources of the query, counted from 0.
    pub sources: BTreeMap<String, TopicOffsets>,
    /// How many sources it has that are not Kafka's.
    pub other_sources: usize,
    /// The quoted names in it that no topic can have. Their positions are left out.
    pub illegal_topics: Vec<String>,
    /// Which run of a program states with this file that everything below the positions is done. Without one they are
    /// planned, until the batch is committed.
    pub acknowledged_by: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'run> {
    batch_watermark_ms: i64,
    batch_timestamp_ms: i64,
    conf: BTreeMap<&'static str, &'run str>,
}

impl OffsetLog {
    /// The positions of all sources together; where two have a partition, the lower one.
    pub fn offsets(&self) -> TopicOffsets {
        let mut together = TopicOffsets::default();
        for offsets in self.sources.values() {
            together.merge(offsets);
        }
        together
    }

    /// Reads version 1 (a line per source, in order) and version 2 (`source:line`, in any order). Sources that are
    /// not Kafka's are counted and skipped.
    ///
    /// # Errors
    /// Where the version is unknown or the file is damaged.
    pub fn parse(content: &[u8]) -> Result<Self, LogError> {
        let text = text(content)?;
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let is_named = match version(first)? {
            1 => false,
            2 => true,
            _ => return Err(LogError::Version(first.to_owned())),
        };
        let metadata = lines.next();
        let mut log = Self::of_metadata(metadata.ok_or_else(|| damaged("it ends after its version"))?)?;
        let lines: Vec<&str> = lines.collect();
        if lines.is_empty() {
            return Err(damaged("it ends before its sources"));
        }
        for (index, line) in lines.iter().enumerate() {
            let is_cut = index + 1 == lines.len() && !text.ends_with('\n');
            let (source, line) = match line.split_once(':').filter(|_| is_named) {
                Some((name, line)) if is_name(name) => (name.to_owned(), line),
                _ if is_named => {
                    return Err(damaged(&format!("source line {index} is not SOURCE:OFFSET")));
                }
                _ => (index.to_string(), *line),
            };
            log.add(source, line, is_cut)?;
        }
        Ok(log)
    }

    /// Of the second line. Continuous processing leaves it empty.
    fn of_metadata(line: &str) -> Result<Self, LogError> {
        if line.is_empty() {
            return Ok(Self::default());
        }
        let metadata: BTreeMap<String, Value> =
            serde_json::from_str(line).map_err(|error| damaged(&format!("its metadata: {error}")))?;
        let conf = |name| metadata.get("conf")?.get(name)?.as_str();
        let is_ours = conf(POSITIONS) == Some(ACKNOWLEDGED);
        Ok(Self {
            timestamp_ms: metadata.get("batchTimestampMs").and_then(Value::as_i64),
            acknowledged_by: conf(WRITER).filter(|_| is_ours).map(str::to_owned),
            ..Self::default()
        })
    }

    fn add(&mut self, source: String, line: &str, is_cut: bool) -> Result<(), LogError> {
        if line == NO_OFFSET {
            return Ok(());
        }
        let parsed = SourceLine::parse(line);
        match parsed.map_err(|what| damaged(&format!("source {source}: {what}")))? {
            SourceLine::Kafka(offsets, illegal) => {
                self.sources.entry(source).or_default().merge(&offsets);
                self.illegal_topics.extend(illegal);
            }
            SourceLine::NotJson if is_cut => return Err(damaged("its last line is cut short")),
            SourceLine::Other | SourceLine::NotJson => self.other_sources += 1,
        }
        Ok(())
    }
}

/// The file, version 1, of a query with one source, with our mark: `writer` states that everything below `positions` is
/// done.
pub(crate) fn render(
    positions: &TopicOffsets,
    timestamp_ms: i64,
    writer: &str,
) -> Result<Vec<u8>, serde_json::Error> {
    let metadata = Metadata {
        batch_watermark_ms: 0,
        batch_timestamp_ms: timestamp_ms,
        conf: BTreeMap::from([(POSITIONS, ACKNOWLEDGED), (WRITER, writer)]),
    };
    let (metadata, positions) = (
        serde_json::to_string(&metadata)?,
        serde_json::to_string(positions)?,
    );
    Ok(format!("v1\n{metadata}\n{positions}").into_bytes())
}

/// Whether Spark allows a source of this name; without one it is a number.
fn is_name(name: &str) -> bool {
    let is_allowed = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
    !name.is_empty() && name.bytes().all(is_allowed)
}

fn damaged(what: &str) -> LogError {
    LogError::Damaged(what.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn version_2_has_its_sources_in_any_order() {
        let log =
            OffsetLog::parse(b"v2\n{\"batchTimestampMs\":7}\n1:{\"b\":{\"0\":2}}\n0:{\"a\":{\"0\":1}}\nc:-\n0:{\"a\":{\"0\":9}}")
                .unwrap();
        assert_eq!(log.timestamp_ms, Some(7));
        let sources: Vec<_> = log.sources.keys().collect();
        assert_eq!(sources, ["0", "1"]);
        assert_eq!(log.sources["1"].get("b", 0), Some(2));
        assert_eq!(
            log.offsets().iter().collect::<Vec<_>>(),
            [("a", 0, 1), ("b", 0, 2)]
        );
    }

    #[test]
    fn version_1_may_have_no_metadata_and_other_sources() {
        let log = OffsetLog::parse(b"v1\r\n\r\n30\r\n-\r\n{\"logOffset\":0}\r\n{\"a\":{\"0\":1}}").unwrap();
        assert_eq!((log.timestamp_ms, log.sources["3"].get("a", 0)), (None, Some(1)));
        assert_eq!((log.sources.len(), log.other_sources), (1, 2));
    }

    #[test]
    fn only_a_version_is_an_unknown_version() {
        assert_eq!(
            OffsetLog::parse(b"v3\n{}\n0"),
            Err(LogError::Version("v3".into()))
        );
        for damaged in [
            "",
            "v",
            "v1",
            "v1x\n{}\n0",
            "x1\n{}\n0",
            "v9999999999\n{}\n0",
            "{}",
            "\0\0\0",
        ] {
            let parsed = OffsetLog::parse(damaged.as_bytes());
            assert!(
                matches!(parsed, Err(LogError::Damaged(_))),
                "{damaged:?}: {parsed:?}"
            );
        }
    }

    #[test]
    fn a_file_that_is_cut_anywhere_before_its_sources_or_in_the_last_one_is_damaged() {
        let whole = br#"v1
{"batchWatermarkMs":0,"batchTimestampMs":7,"conf":{"a":"b"}}
{"a":{"0":1,"1":22}}"#;
        assert_eq!(OffsetLog::parse(whole).unwrap().offsets().iter().count(), 2);
        for length in 0..whole.len() {
            let parsed = OffsetLog::parse(&whole[..length]);
            assert!(
                matches!(parsed, Err(LogError::Damaged(_))),
                "{length}: {parsed:?}"
            );
        }
        let mut zeros = whole.to_vec();
        zeros[70..].fill(0);
        assert!(matches!(OffsetLog::parse(&zeros), Err(LogError::Damaged(_))));
    }

    #[test]
    fn only_the_last_line_can_be_cut_short() {
        let log = OffsetLog::parse(b"v1\n{}\n{not JSON\n{\"a\":{\"0\":1}}").unwrap();
        assert_eq!((log.sources.len(), log.other_sources), (1, 1));
        let log = OffsetLog::parse(b"v1\n{}\n{\"a\":{\"0\":1}}\n{not JSON\n").unwrap();
        assert_eq!((log.sources.len(), log.other_sources), (1, 1));
        assert_eq!(
            OffsetLog::parse(b"v1\n{}\n{\"a\":{\"0\":1}}\n{not JSON"),
            Err(damaged("its last line is cut short"))
        );
    }

    #[test]
    fn version_2_without_the_name_of_a_source_is_refused() {
        for line in [
            "{\"t\":{\"0\":1}}",
            "{\"logOffset\":0}",
            "30",
            ":30",
            "a b:30",
            "",
        ] {
            let content = format!("v2\n{{}}\n0:4\n{line}\n");
            assert_eq!(
                OffsetLog::parse(content.as_bytes()),
                Err(damaged("source line 1 is not SOURCE:OFFSET")),
                "{line}"
            );
        }
    }

    #[test]
    fn a_wrong_number_is_refused_and_not_another_source() {
        let error = OffsetLog::parse(b"v1\n{}\n30\n{\"t\":{\"0\":1.0}}").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"damaged: source 1: topic "t", partition 0: offset "1.0" is not a whole number of 64 bits"#
        );
    }

    #[test]
    fn illegal_topics_are_named_and_left_out() {
        let log = OffsetLog::parse(b"v1\n{}\n{\"t\":{\"0\":1},\"a/b\":{\"0\":1}}").unwrap();
        assert_eq!(log.offsets().iter().collect::<Vec<_>>(), [("t", 0, 1)]);
        assert_eq!(log.illegal_topics, [r#""a/b""#]);
    }

    #[test]
    fn files_that_spark_wrote_are_read() {
        let kafka = OffsetLog::parse(include_bytes!(
            "../../tests/fixtures/spark-3.5.7-kafka/offsets/46"
        ))
        .unwrap();
        assert!(kafka.offsets().iter().count() == 4, "{kafka:?}");
        assert_eq!(kafka.acknowledged_by, None);
        let named = OffsetLog::parse(include_bytes!(
            "../../tests/fixtures/spark-4.3.0-v2-named/offsets/5"
        ))
        .unwrap();
        assert!(
            named.sources.is_empty() && named.other_sources == 2 && named.timestamp_ms.is_some(),
            "{named:?}"
        );
    }

    #[test]
    fn a_mark_that_is_not_whole_is_no_mark() {
        let content = render(&TopicOffsets::default(), 0, "run").unwrap();
        let content = String::from_utf8(content).unwrap() + "\n{\"t\":{\"0\":1}}";
        let by = |content: &str| OffsetLog::parse(content.as_bytes()).unwrap().acknowledged_by;
        assert_eq!(by(&content), Some("run".to_owned()));
        assert_eq!(by(&content.replace("\"acknowledged\"", "\"planned\"")), None);
        assert_eq!(by(&content.replace("\"run\"", "7")), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            timestamp in 0..i64::MAX,
            positions in proptest::collection::vec(("[a-zA-Z0-9_-]{1,20}", 0..i32::MAX, 0..i64::MAX), 1..20),
        ) {
            let mut offsets = TopicOffsets::default();
            for (topic, partition, position) in &positions {
                offsets.set(topic, *partition, *position);
            }
            let log = OffsetLog::parse(&render(&offsets, timestamp, "run").unwrap()).unwrap();
            prop_assert_eq!(log, OffsetLog {
                timestamp_ms: Some(timestamp),
                sources: BTreeMap::from([("0".to_owned(), offsets)]),
                acknowledged_by: Some("run".to_owned()),
                ..OffsetLog::default()
            });
        }
    }
}

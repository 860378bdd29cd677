//! Owns the form of a checkpoint's files. Every parser is total: any bytes give an answer or an error.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::TopicOffsets;

/// The greatest offset log that is read; 50,000 partitions are about one MiB.
pub(crate) const MAX_BYTES: usize = 8 << 20;
/// The key of the file that names the query.
pub const METADATA: &str = "metadata";
/// The folder that says where batches end.
pub const OFFSETS: &str = "offsets";
/// The folder that says which batches were processed.
pub const COMMITS: &str = "commits";
/// What Spark writes for a source that has no offset yet.
const NO_OFFSET: &str = "-";

/// The number of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub i64);

impl BatchId {
    /// The batch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The key of its file in `offsets`, or in `commits`.
    #[must_use]
    pub fn key(self, folder: &str) -> String {
        format!("{folder}/{self}")
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The batches among the names of files, in order of number. A folder also holds checksums and unfinished files,
/// whose names are not those of a batch.
pub fn batch_ids<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<BatchId> {
    let mut ids: Vec<BatchId> = names.into_iter().filter_map(batch_id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The batch whose file has this name. `007` is nobody's: batch 7 is at `7`.
fn batch_id(name: &str) -> Option<BatchId> {
    let id = name.parse().ok().filter(|&id: &i64| id >= 0)?;
    (id.to_string() == name).then_some(BatchId(id))
}

/// Why a file of a checkpoint cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// It has a version that is not known, so what it means is not known either.
    #[error("unknown version {0:?}; versions v1 and v2 are read")]
    Version(String),
    /// It is empty, cut short, or no such file at all.
    #[error("damaged: {0}")]
    Damaged(String),
}

/// `offsets/N`: where batch N ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetLog {
    /// When the batch was made, in milliseconds since 1970, where the file says so.
    pub timestamp_ms: Option<i64>,
    /// The positions of its Kafka sources, by the source's name. A source that was given none has its place among all
    /// sources of the query, counted from 0.
    pub sources: BTreeMap<String, TopicOffsets>,
    /// How many sources it has that are not Kafka's.
    pub other_sources: usize,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    batch_watermark_ms: i64,
    batch_timestamp_ms: i64,
    #[serde(default)]
    conf: BTreeMap<String, serde_json::Value>,
}

impl OffsetLog {
    /// The log of a query with one source.
    pub fn of_one_source(timestamp_ms: Option<i64>, offsets: TopicOffsets) -> Self {
        Self {
            timestamp_ms,
            sources: BTreeMap::from([("0".to_owned(), offsets)]),
            other_sources: 0,
        }
    }

    /// The positions of all sources together; where two have a partition, the one behind.
    pub fn offsets(&self) -> TopicOffsets {
        let mut together = TopicOffsets::default();
        for offsets in self.sources.values() {
            together.merge(offsets);
        }
        together
    }

    /// Reads version 1 (a line per source, in order) and version 2 (`source:line`, in any order). Sources that are
    /// not Kafka's are passed over.
    ///
    /// # Errors
    /// Where the version is unknown or the file is damaged.
    pub fn parse(content: &[u8]) -> Result<Self, LogError> {
        let mut lines = text(content)?.lines();
        let named = match lines.next().unwrap_or_default() {
            "v1" => false,
            "v2" => true,
            "" => return Err(LogError::Damaged("it is empty".to_owned())),
            other => return Err(LogError::Version(other.chars().take(20).collect())),
        };
        let Some(metadata) = lines.next() else {
            return Err(LogError::Damaged("it ends after its version".to_owned()));
        };
        // Continuous processing leaves the metadata empty.
        let timestamp_ms = serde_json::from_str::<Metadata>(metadata)
            .ok()
            .map(|metadata| metadata.batch_timestamp_ms);
        let mut sources = BTreeMap::<String, TopicOffsets>::new();
        let mut other_sources = 0;
        for (place, line) in lines.enumerate() {
            let (source, line) = match line.split_once(':').filter(|_| named) {
                Some((name, line)) => (name.to_owned(), line),
                None => (place.to_string(), line),
            };
            if line == NO_OFFSET {
                continue;
            }
            match TopicOffsets::of_source_line(line) {
                Some(offsets) => sources.entry(source).or_default().merge(&offsets),
                None if line.starts_with('{') && serde_json::from_str::<IgnoredAny>(line).is_err() => {
                    return Err(LogError::Damaged("a line of it is cut short".to_owned()));
                }
                None => other_sources += 1,
            }
        }
        Ok(Self {
            timestamp_ms,
            sources,
            other_sources,
        })
    }

    /// The file, version 1, with one source.
    pub(crate) fn render(&self) -> Result<Vec<u8>, serde_json::Error> {
        let metadata = Metadata {
            batch_watermark_ms: 0,
            batch_timestamp_ms: self.timestamp_ms.unwrap_or_default(),
            conf: BTreeMap::new(),
        };
        let (metadata, offsets) = (
            serde_json::to_string(&metadata)?,
            serde_json::to_string(&self.offsets())?,
        );
        Ok(format!("v1\n{metadata}\n{offsets}").into_bytes())
    }
}

/// The key of the file in which a source, by name or place, keeps its first positions.
pub fn initial_key(source: &str) -> String {
    format!("sources/{source}/0")
}

/// `sources/N/0`: the positions at which a Kafka source began: a zero byte, `v1`, and the positions.
///
/// # Errors
/// Where the version is unknown or the file is damaged.
pub fn parse_initial(content: &[u8]) -> Result<TopicOffsets, LogError> {
    let text = text(content.strip_prefix(&[0]).unwrap_or(content))?;
    let offsets = match text.split_once('\n') {
        Some(("v1", offsets)) => offsets,
        Some((version, _)) => return Err(LogError::Version(version.chars().take(20).collect())),
        // Spark 2.1.0 wrote no version.
        None => text,
    };
    let parsed = TopicOffsets::of_source_line(offsets.trim_end());
    parsed.ok_or_else(|| LogError::Damaged("it has no positions of Kafka's form".to_owned()))
}

pub(crate) fn render_initial(positions: &TopicOffsets) -> Result<Vec<u8>, serde_json::Error> {
    Ok(format!("\0v1\n{}", serde_json::to_string(positions)?).into_bytes())
}

fn text(content: &[u8]) -> Result<&str, LogError> {
    if content.len() > MAX_BYTES {
        return Err(LogError::Damaged(format!("it has more than {MAX_BYTES} bytes")));
    }
    std::str::from_utf8(content).map_err(|error| LogError::Damaged(error.to_string()))
}

/// `metadata`: the id of the query, which stays over restarts and changes with a new checkpoint.
///
/// # Errors
/// Where the file is damaged.
pub fn parse_query_id(content: &[u8]) -> Result<String, LogError> {
    let metadata: QueryMetadata =
        serde_json::from_str(text(content)?).map_err(|error| LogError::Damaged(error.to_string()))?;
    Ok(metadata.id)
}

/// `commits/N`. That it exists is all that it says; this is what Spark puts into it.
pub(crate) const COMMIT: &[u8] = b"v1\n{\"nextBatchWatermarkMs\":0}";

/// `metadata`: the query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueryMetadata {
    pub(crate) id: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn batches_are_numbers_and_in_order_of_number() {
        let names = [
            "9",
            "10",
            ".9.crc",
            ".10.4f.tmp",
            "metadata",
            "-1",
            "007",
            "+7",
            "99999999999999999999",
            "100",
            "",
        ];
        assert_eq!(batch_ids(names), [BatchId(9), BatchId(10), BatchId(100)]);
    }

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
    fn what_cannot_be_understood_is_refused() {
        assert_eq!(OffsetLog::parse(b"v3\n{}\n"), Err(LogError::Version("v3".into())));
        for damaged in [
            &b""[..],
            b"v1",
            b"v1\n{}\n{\"a\":{\"0\":1",
            b"v1\n{}\n{\"a\":{\"0\":1}",
            b"\xff\xfe",
        ] {
            assert!(
                matches!(OffsetLog::parse(damaged), Err(LogError::Damaged(_))),
                "{damaged:?}"
            );
        }
    }

    #[test]
    fn files_that_spark_wrote_are_read() {
        let kafka =
            OffsetLog::parse(include_bytes!("../tests/fixtures/spark-3.5.7-kafka/offsets/46")).unwrap();
        assert!(kafka.offsets().iter().count() == 4, "{kafka:?}");
        let named =
            OffsetLog::parse(include_bytes!("../tests/fixtures/spark-4.3.0-v2-named/offsets/5")).unwrap();
        assert!(
            named.sources.is_empty() && named.timestamp_ms.is_some(),
            "{named:?}"
        );
    }

    #[test]
    fn initial_positions_that_spark_wrote_are_read() {
        let spark = parse_initial(include_bytes!("../tests/fixtures/spark-3.5.7-kafka/sources/0/0")).unwrap();
        assert_eq!(spark.iter().count(), 4);
        assert_eq!(parse_initial(&render_initial(&spark).unwrap()), Ok(spark));
        assert_eq!(parse_initial(b"\0v2\n{}"), Err(LogError::Version("v2".into())));
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(OffsetLog::parse(&bytes));
            drop(parse_initial(&bytes));
            drop(parse_query_id(&bytes));
        }

        #[test]
        fn what_is_written_is_read(
            timestamp in 0..i64::MAX,
            positions in proptest::collection::vec(("[a-zA-Z0-9._-]{1,20}", 0..i32::MAX, 0..i64::MAX), 1..20),
        ) {
            let mut offsets = TopicOffsets::default();
            for (topic, partition, position) in &positions {
                offsets.set(topic, *partition, *position);
            }
            let log = OffsetLog::of_one_source(Some(timestamp), offsets);
            prop_assert_eq!(OffsetLog::parse(&log.render().unwrap()), Ok(log));
        }
    }
}

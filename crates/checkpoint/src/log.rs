//! Owns the form of a checkpoint's files. Every parser is total: any bytes give an answer or an error.

mod initial;
mod offset_log;
mod source_line;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use initial::{initial_key, parse_initial};
pub use offset_log::OffsetLog;
pub(crate) use offset_log::render;

/// The greatest offset log that is read; 50,000 partitions are about one MiB.
pub(crate) const MAX_BYTES: usize = 8 << 20;
/// The key of the file that names the query.
pub const METADATA: &str = "metadata";
/// The folder that says where batches end.
pub const OFFSETS: &str = "offsets";
/// The folder that says which batches were processed.
pub const COMMITS: &str = "commits";
/// `commits/N`. That it exists is all that it says; this is what Spark puts into it.
pub(crate) const COMMIT: &[u8] = b"v1\n{\"nextBatchWatermarkMs\":0}";
/// The most digits of a version; more are damage.
const VERSION_DIGITS: usize = 9;

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

/// `metadata`: the query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueryMetadata {
    pub(crate) id: String,
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

/// The text of a file. After a crash, file systems show zeros where content was not on the disk yet.
fn text(content: &[u8]) -> Result<&str, LogError> {
    let damaged = |what: String| Err(LogError::Damaged(what));
    if content.is_empty() {
        return damaged("it is empty".to_owned());
    }
    if content.len() > MAX_BYTES {
        return damaged(format!("it has more than {MAX_BYTES} bytes"));
    }
    if let Some(offset) = content.iter().position(|&byte| byte == 0) {
        return damaged(format!("byte {offset} is zero"));
    }
    std::str::from_utf8(content).or_else(|error| damaged(error.to_string()))
}

/// The number in a first line such as `v1`.
fn version(line: &str) -> Result<u32, LogError> {
    let number = line
        .strip_prefix('v')
        .filter(|digits| digits.len() <= VERSION_DIGITS);
    number
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| LogError::Damaged("it does not begin with a version".to_owned()))
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
    fn a_file_of_zeros_is_damaged() {
        for length in [1, 8, 4096] {
            let zeros = vec![0; length];
            assert!(matches!(OffsetLog::parse(&zeros), Err(LogError::Damaged(_))));
            assert!(matches!(parse_query_id(&zeros), Err(LogError::Damaged(_))));
            assert!(matches!(parse_initial(&zeros), Err(LogError::Damaged(_))));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(OffsetLog::parse(&bytes));
            drop(parse_initial(&bytes));
            drop(parse_query_id(&bytes));
        }
    }
}

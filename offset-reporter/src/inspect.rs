//! Owns what a person, or a program, is shown of a checkpoint.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use checkpoint::{
    BatchId, COMMITS, Folder, Location, METADATA, OFFSETS, OffsetLog, Store, batch_ids, parse_query_id,
};
use serde::Serialize;

use crate::source::{Look, Source};

/// The end of the year 9999, after which a date has no common form. A file may say anything.
const LAST_DATE: Duration = Duration::from_secs(253_402_300_799);

/// A checkpoint, decoded.
#[derive(Debug, Serialize)]
pub(crate) struct Inspection {
    checkpoint: String,
    query_id: Option<String>,
    /// The newest batch that is committed.
    committed_batch: Option<i64>,
    /// The newest whose positions can be read: what is reported.
    reported_batch: Option<i64>,
    committed_at_unix_seconds: Option<u64>,
    batch_timestamp_ms: Option<i64>,
    /// Batches that were planned and not committed.
    open_batches: Vec<i64>,
    commits: Kept,
    offsets: Kept,
    other_sources: usize,
    /// Where the query stands; before its first batch, where it began.
    sources: BTreeMap<String, checkpoint::TopicOffsets>,
}

/// The batches that a folder keeps.
#[derive(Debug, Serialize)]
struct Kept {
    count: usize,
    first: Option<i64>,
    last: Option<i64>,
    has_gaps: bool,
}

impl Kept {
    fn of(batches: &[BatchId]) -> Self {
        Self {
            count: batches.len(),
            first: batches.first().map(|batch| batch.0),
            last: batches.last().map(|batch| batch.0),
            has_gaps: batches.windows(2).any(|pair| pair[1] != pair[0].next()),
        }
    }
}

/// Decodes the checkpoint in `folder`.
///
/// # Errors
/// Where it cannot be read.
pub(crate) async fn inspect(location: &Location, folder: Folder) -> anyhow::Result<Inspection> {
    let metadata = folder.read(METADATA).await?;
    let query_id = metadata
        .map(|file| parse_query_id(&file.content))
        .transpose()
        .context(METADATA)?;
    let commits = batches(&folder, COMMITS).await?;
    let offsets = batches(&folder, OFFSETS).await?;
    let last = commits.last().copied().unwrap_or(BatchId(-1));
    let mut source = Source::new(folder, Duration::ZERO);
    let look = source
        .look()
        .await
        .with_context(|| format!("the checkpoint {location}"))?;
    let mut inspection = Inspection {
        checkpoint: location.to_string(),
        query_id,
        committed_batch: None,
        reported_batch: None,
        committed_at_unix_seconds: None,
        batch_timestamp_ms: None,
        open_batches: offsets
            .iter()
            .filter(|batch| **batch > last)
            .map(|batch| batch.0)
            .collect(),
        commits: Kept::of(&commits),
        offsets: Kept::of(&offsets),
        other_sources: 0,
        sources: source.initial(None).await?,
    };
    if let Look::Batch(seen) = look {
        let OffsetLog {
            timestamp_ms,
            sources,
            other_sources,
            ..
        } = seen.log;
        let since = seen
            .committed_at
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        inspection.committed_batch = Some(seen.newest.0);
        inspection.reported_batch = Some(seen.readable.0);
        inspection.committed_at_unix_seconds = since.map(|since| since.as_secs());
        inspection.batch_timestamp_ms = timestamp_ms;
        inspection.other_sources = other_sources;
        inspection.sources = sources;
    }
    Ok(inspection)
}

async fn batches(folder: &Folder, part: &str) -> anyhow::Result<Vec<BatchId>> {
    Ok(batch_ids(folder.list(part).await?.iter().map(String::as_str)))
}

/// A time since 1970, for people.
fn date(since: Duration) -> String {
    let at = UNIX_EPOCH.checked_add(since.min(LAST_DATE)).unwrap_or(UNIX_EPOCH);
    humantime_serde::re::humantime::format_rfc3339_seconds(at).to_string()
}

impl Inspection {
    /// For people.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _infallible = writeln!(text, "{name:<18}{value}");
        };
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
        let batch = |batch: Option<i64>| or_none(batch.map(|batch| batch.to_string()));
        line("checkpoint", self.checkpoint.clone());
        line("query", or_none(self.query_id.clone()));
        line("committed batch", batch(self.committed_batch));
        if self.reported_batch != self.committed_batch {
            line("readable batch", batch(self.reported_batch));
        }
        line(
            "committed at",
            or_none(
                self.committed_at_unix_seconds
                    .map(|at| date(Duration::from_secs(at))),
            ),
        );
        line(
            "batch made at",
            or_none(
                self.batch_timestamp_ms
                    .map(|at| date(Duration::from_millis(at.unsigned_abs()))),
            ),
        );
        line(
            "open batches",
            or_none(
                (!self.open_batches.is_empty())
                    .then(|| format!("{:?}, planned and not committed", self.open_batches)),
            ),
        );
        for (name, kept) in [("commits", &self.commits), ("offsets", &self.offsets)] {
            let gaps = if kept.has_gaps { ", with gaps" } else { "" };
            line(
                name,
                format!(
                    "{} files, {} to {}{gaps}",
                    kept.count,
                    batch(kept.first),
                    batch(kept.last)
                ),
            );
        }
        line("other sources", self.other_sources.to_string());
        text.push_str(&self.table());
        text
    }

    /// Where the sources stand.
    fn table(&self) -> String {
        let mut text = String::new();
        let what = if self.committed_batch.is_some() {
            "next offset"
        } else {
            "began at"
        };
        let _infallible = writeln!(
            text,
            "\n{:<12}{:<40}{:>10}{:>16}",
            "source", "topic", "partition", what
        );
        for (source, offsets) in &self.sources {
            for (topic, partition, offset) in offsets.iter() {
                let _infallible = writeln!(text, "{source:<12}{topic:<40}{partition:>10}{offset:>16}");
            }
        }
        text
    }
}

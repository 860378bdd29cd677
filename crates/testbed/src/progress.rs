//! Owns a look at a checkpoint from outside.

use std::path::Path;

use anyhow::Context as _;
use checkpoint::{BatchId, COMMITS, OFFSETS, OffsetLog, TopicOffsets, batch_ids};

use crate::s3::S3Server;

/// The newest batch that the checkpoint in a folder has committed, and where it ends.
pub fn committed(checkpoint: &Path) -> Option<(BatchId, TopicOffsets)> {
    let entries = std::fs::read_dir(checkpoint.join(COMMITS)).ok()?;
    let names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let batch = newest(&names)?;
    let offsets = std::fs::read(checkpoint.join(batch.key(OFFSETS))).ok()?;
    Some((batch, OffsetLog::parse(&offsets).ok()?.offsets()))
}

/// As [`committed`], of a checkpoint at `s3://BUCKET/PREFIX`; `None` if it has committed nothing.
///
/// # Errors
/// If the server does not answer, or the newest committed batch cannot be read.
pub async fn committed_on_s3(
    server: &S3Server,
    bucket: &str,
    prefix: &str,
) -> anyhow::Result<Option<(BatchId, TopicOffsets)>> {
    let names = server.list(bucket, &format!("{prefix}/{COMMITS}")).await?;
    let Some(batch) = newest(&names) else {
        return Ok(None);
    };
    let key = format!("{prefix}/{}", batch.key(OFFSETS));
    let offsets = server.get(bucket, &key).await?;
    let offsets =
        offsets.with_context(|| format!("{bucket}/{key} is missing, though the batch is committed"))?;
    Ok(Some((batch, OffsetLog::parse(&offsets)?.offsets())))
}

fn newest(names: &[String]) -> Option<BatchId> {
    batch_ids(names.iter().map(String::as_str)).last().copied()
}

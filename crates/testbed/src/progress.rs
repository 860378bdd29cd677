//! Owns a look at a checkpoint from outside.

use std::path::Path;

use checkpoint::{BatchId, OffsetLog, TopicOffsets, batch_ids};

/// The newest batch that the checkpoint in a folder has committed, and where it ends.
pub fn committed(checkpoint: &Path) -> Option<(BatchId, TopicOffsets)> {
    let entries = std::fs::read_dir(checkpoint.join("commits")).ok()?;
    let names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let batch = batch_ids(names.iter().map(String::as_str)).last().copied()?;
    let plan = std::fs::read(checkpoint.join(format!("offsets/{}", batch.0))).ok()?;
    Some((batch, OffsetLog::parse(&plan).ok()?.offsets()))
}

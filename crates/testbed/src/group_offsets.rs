//! Owns what tests read and write of groups' offsets: plain numbers, and the first refusal as an error.

use anyhow::Context as _;
use kafka_admin::{Admin, GroupId, Offset, Refusal, TopicPartition};

/// What a group has committed in a partition; none only if the cluster says so.
///
/// # Errors
/// If the cluster refuses it, or does not answer.
pub async fn group_offset(
    admin: &Admin,
    group: &str,
    partition: &TopicPartition,
) -> Result<Option<i64>, Refusal> {
    let asked = std::slice::from_ref(partition);
    let committed = admin.committed_in(&GroupId::from(group), asked).await?;
    let committed = committed.into_iter().next().map(|(_, committed)| committed);
    Ok(committed.transpose()?.map(|committed| committed.offset.get()))
}

/// Commits offsets for a group that has no members, with `metadata` beside each.
///
/// # Errors
/// If the cluster refuses any of them, or does not answer.
pub async fn commit_offsets(
    admin: &Admin,
    group: &str,
    offsets: &[(TopicPartition, i64)],
    metadata: &str,
) -> anyhow::Result<()> {
    let mut checked = Vec::with_capacity(offsets.len());
    for (partition, offset) in offsets {
        let offset = Offset::new(*offset).context("an offset is not negative")?;
        checked.push((partition.clone(), offset));
    }
    for (partition, answer) in admin.commit(&GroupId::from(group), &checked, metadata).await? {
        answer.with_context(|| format!("{group} cannot commit in {partition}"))?;
    }
    Ok(())
}

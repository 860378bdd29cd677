//! Owns where positions are committed: a checkpoint of Spark's form, or a consumer group.

use std::pin::Pin;

use checkpoint::{CheckpointError, CheckpointWriter, Folder, TopicOffsets};
use kafka_admin::Topic;

use super::Commit;
use crate::consume::Source;
use crate::sessions::now;

/// Where positions are committed.
pub enum Backend {
    /// In a checkpoint.
    Checkpoint {
        /// Who writes it; absent while a commit is under way.
        writer: Option<Box<CheckpointWriter<Folder>>>,
        /// The topic that is read.
        topic: Topic,
    },
    /// In the consumer group whose member the source is.
    Group,
}

/// Why positions were not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitFailure {
    /// It can be tried again.
    #[error(transparent)]
    Transient(anyhow::Error),
    /// Somebody else commits there, or other positions are there: this worker must end.
    #[error(transparent)]
    Permanent(anyhow::Error),
}

/// A commit that is under way.
pub(crate) type Committing = Pin<Box<dyn Future<Output = Committed> + Send>>;

/// A commit that is through.
pub(crate) struct Committed {
    writer: Option<Box<CheckpointWriter<Folder>>>,
    /// Its outcome: in a checkpoint, the batch that it wrote.
    pub(crate) outcome: Result<Option<i64>, CommitFailure>,
}

impl Backend {
    /// In a checkpoint.
    pub fn checkpoint(writer: CheckpointWriter<Folder>, topic: Topic) -> Self {
        Self::Checkpoint {
            writer: Some(Box::new(writer)),
            topic,
        }
    }

    /// Begins a commit. The future must be awaited, and its result given to [`Self::finish`].
    pub(crate) fn begin(&mut self, commit: &Commit, source: &impl Source) -> Committing {
        match self {
            Self::Checkpoint { writer, topic } => {
                let (mut writer, topic, commit) = (writer.take(), topic.clone(), commit.clone());
                Box::pin(async move {
                    let outcome = match &mut writer {
                        Some(writer) => write(writer, &topic, &commit).await,
                        None => Err(CommitFailure::Transient(anyhow::anyhow!("a commit is under way"))),
                    };
                    Committed { writer, outcome }
                })
            }
            Self::Group => {
                let committing = source.commit(&commit.positions);
                Box::pin(async move {
                    let outcome = committing.await.map_err(|error| {
                        CommitFailure::Transient(error.context("the group's offsets cannot be committed"))
                    });
                    Committed {
                        writer: None,
                        outcome: outcome.map(|()| None),
                    }
                })
            }
        }
    }

    /// The commit is through.
    pub(crate) fn finish(&mut self, committed: Committed) -> Result<Option<i64>, CommitFailure> {
        if let Self::Checkpoint { writer, .. } = self {
            *writer = committed.writer;
        }
        committed.outcome
    }
}

/// Writes positions into a checkpoint; gives the batch.
pub(crate) async fn write(
    writer: &mut CheckpointWriter<Folder>,
    topic: &Topic,
    commit: &Commit,
) -> Result<Option<i64>, CommitFailure> {
    let mut positions = TopicOffsets::default();
    for (partition, position) in &commit.positions {
        positions.set(topic.as_str(), partition.0, *position);
    }
    let now = i64::try_from(now().as_millis()).unwrap_or(i64::MAX);
    if commit.may_fall {
        for (topic, partition, position) in positions.iter() {
            writer.reset(topic, partition, position);
        }
    }
    let written = writer.commit(&positions, now).await;
    match written {
        Ok(batch) => Ok(Some(batch.0)),
        Err(
            error @ (CheckpointError::Contested { .. }
            | CheckpointError::Fallen { .. }
            | CheckpointError::ForeignSources { .. }),
        ) => Err(CommitFailure::Permanent(error.into())),
        Err(error) => {
            let error = anyhow::Error::new(error).context("the checkpoint cannot be written");
            Err(CommitFailure::Transient(error))
        }
    }
}

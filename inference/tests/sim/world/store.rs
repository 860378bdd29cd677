//! Owns what is durable of progress: a consumer group's offsets, or a checkpoint's batches, reduced to positions.

use super::log::Logs;

/// A position, and the generation of the log that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) offset: i64,
    pub(crate) generation: usize,
    /// Records of a later generation were read before anybody noticed.
    pub(crate) mixed: bool,
    /// It was committed by a member that had lost the partition and had not heard of it. librdkafka commits with the
    /// generation that it has by then, so the broker takes it; records are done again, and none is lost.
    pub(crate) stale: bool,
}

/// A commit that is under way.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Whether positions were left out because their partitions are another member's.
    pub(crate) left_out: bool,
    /// The positions, each with whether it may be lower than before.
    pub(crate) positions: Vec<(usize, Position, bool)>,
    pub(crate) may_fall: bool,
    /// The member's generation of the group when it began; the next batch of the checkpoint's writer.
    pub(crate) of: u32,
    /// What the answer will be, once the store has it.
    pub(crate) answer: Option<Answer>,
}

/// What the store says to a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Failed,
    Contested,
}

/// What is durable.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) is_group: bool,
    pub(crate) committed: Vec<Option<Position>>,
    /// The group's generation.
    pub(crate) generation: u32,
    /// The members that have the partitions.
    pub(crate) owners: Vec<Option<u32>>,
    /// Who wrote the checkpoint's batches.
    pub(crate) authors: Vec<u32>,
}

impl Store {
    pub(crate) fn new(is_group: bool, partitions: usize) -> Self {
        Self {
            is_group,
            committed: vec![None; partitions],
            generation: 0,
            owners: vec![None; partitions],
            authors: Vec::new(),
        }
    }

    /// Whether the newest batch of a checkpoint is this worker's; a group asks nobody.
    pub(crate) fn is_newest_of(&self, author: u32) -> bool {
        self.is_group || self.authors.last() == Some(&author)
    }

    pub(crate) fn batches(&self) -> u32 {
        u32::try_from(self.authors.len()).unwrap()
    }

    /// A commit arrives. `fenced` is a member that the group has put out.
    pub(crate) fn land(&mut self, pending: &Pending, author: u32, fenced: bool) -> Result<Answer, String> {
        if self.is_group {
            if fenced || pending.of != self.generation {
                return Ok(Answer::Failed);
            }
        } else {
            // Batches of its own whose answer was lost are recognised.
            let since = &self.authors[pending.of as usize..];
            if since.iter().any(|its| *its != author) {
                return Ok(Answer::Contested);
            }
            self.authors.push(author);
        }
        for (partition, position, falls) in &pending.positions {
            let before = self.committed[*partition];
            let fell = before.filter(|before| before.offset > position.offset);
            if let Some(before) = fell {
                let stale = before.stale || position.stale;
                let allowed = *falls || stale || before.mixed || position.generation > before.generation;
                if !allowed || (!self.is_group && !pending.may_fall) {
                    return Err(format!(
                        "the position of partition {partition} fell from {} to {}",
                        before.offset, position.offset
                    ));
                }
            }
            self.committed[*partition] = Some(*position);
        }
        Ok(if pending.left_out {
            Answer::Failed
        } else {
            Answer::Done
        })
    }

    /// Where reading of a partition begins, and whether that is in the log. Records below it that were never read,
    /// because the log is another one that has grown over it, nobody can notice.
    pub(crate) fn begin(&self, partition: usize, logs: &mut Logs) -> Option<i64> {
        let position = self.committed[partition]?;
        let current = position.generation == logs.generation(partition) && !position.mixed;
        if !current && position.offset <= logs.now(partition).end() {
            logs.excuse_below(partition, position.offset);
        }
        Some(position.offset)
    }
}

//! Owns where the partitions of a cluster end: asked once for all streams, not once for each.
//!
//! Whoever asks first after `max_age` asks for everybody; the others wait for that answer. A partition that nobody asked
//! about for a while is forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_io::{Refusal, TopicPartition};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::group::{Edge, Groups};

/// After so many times `max_age` without a question a partition is forgotten.
const FORGET_AFTER: u32 = 20;

/// Where partitions end, or why that is not known.
pub type Ends = BTreeMap<TopicPartition, Result<i64, Refusal>>;

/// The ends of the partitions of one cluster.
#[derive(Debug)]
pub struct LogEnds<G> {
    groups: Arc<G>,
    max_age: Duration,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    ends: BTreeMap<TopicPartition, End>,
    /// The last question was not answered: nobody needs to wait for the next such answer.
    failed: Option<(Instant, Refusal)>,
}

#[derive(Debug)]
struct End {
    offset: Result<i64, Refusal>,
    told_at: Instant,
    wanted_at: Instant,
}

impl<G: Groups> LogEnds<G> {
    /// Of the cluster behind `groups`; an answer serves for `max_age`.
    pub fn new(groups: Arc<G>, max_age: Duration) -> Self {
        Self {
            groups,
            max_age,
            known: Mutex::default(),
        }
    }

    /// The ends of these partitions.
    ///
    /// # Errors
    /// Where the cluster does not answer.
    pub async fn of(&self, partitions: &[TopicPartition]) -> Result<Ends, Refusal> {
        let mut known = self.known.lock().await;
        let now = Instant::now();
        let is_fresh = |end: &End| now.duration_since(end.told_at) < self.max_age;
        if !partitions
            .iter()
            .all(|partition| known.ends.get(partition).is_some_and(is_fresh))
        {
            self.ask(&mut known, partitions).await?;
        }
        let mut ends = Ends::new();
        for partition in partitions {
            if let Some(end) = known.ends.get_mut(partition) {
                end.wanted_at = now;
                ends.insert(partition.clone(), end.offset.clone());
            }
        }
        Ok(ends)
    }

    /// Asks about these partitions, and about all that others want to know.
    async fn ask(&self, known: &mut Known, partitions: &[TopicPartition]) -> Result<(), Refusal> {
        let now = Instant::now();
        if let Some((at, refusal)) = &known.failed
            && now.duration_since(*at) < self.max_age
        {
            return Err(refusal.clone());
        }
        known
            .ends
            .retain(|_, end| now.duration_since(end.wanted_at) < self.max_age * FORGET_AFTER);
        let mut asked: Vec<_> = known.ends.keys().cloned().collect();
        asked.extend(
            partitions
                .iter()
                .filter(|partition| !known.ends.contains_key(partition))
                .cloned(),
        );
        let told = self.groups.log_offsets(&asked, Edge::End).await;
        known.failed = told
            .as_ref()
            .err()
            .map(|refusal| (Instant::now(), refusal.clone()));
        for (partition, offset) in told? {
            let wanted_at = known.ends.get(&partition).map_or(now, |end| end.wanted_at);
            known.ends.insert(
                partition,
                End {
                    offset,
                    told_at: Instant::now(),
                    wanted_at,
                },
            );
        }
        Ok(())
    }
}

//! Owns the seam in: where records come from. The real one is Kafka; the loop's tests have their own.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::ops::Range;

use anyhow::Context as _;
use kafka_admin::{
    Admin, ByPartition, Isolation, LogEnd, Offset, Partition, RefusalKind, Topic, TopicDescription,
};
use kafka_io::{Consumer, Start};

use crate::config::Topics;

/// How much is read of a partition that seems to be idle, to see whether a record waits there.
const TAIL_BYTES: u32 = 64 << 10;

/// Where records come from. They come as [`kafka_io::Event`]s on a channel.
pub trait Source: Send + 'static {
    /// Begins to read more partitions.
    ///
    /// # Errors
    /// If they cannot be read.
    fn add(&self, partitions: &[(Partition, Start)]) -> anyhow::Result<()>;
    /// Accepts an assignment, and gives where reading of its partitions begins, less those that were taken away since.
    fn accept(&self, partitions: &[Partition]) -> Vec<(Partition, i64)>;
    /// Reads a partition from another offset on. It is done when [`kafka_io::Event::Restarted`] comes; records of before
    /// may come until then.
    fn restart(&self, partition: Partition, offset: i64);
    /// Stops reading these partitions for a while, or reads them again.
    ///
    /// # Errors
    /// If that cannot be done.
    fn pause(&self, partitions: &[Partition], paused: bool) -> anyhow::Result<()>;
    /// Commits the next record to process of partitions for the consumer group.
    fn commit(
        &self,
        positions: &[(Partition, i64)],
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static;
    /// Asks for the state of the topics.
    fn inspect(&self, question: &Question)
    -> impl Future<Output = anyhow::Result<Snapshot>> + Send + 'static;
    /// Ends reading.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// What is asked of the topics, beside whether they exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// The partitions of the input topic whose first and next offsets are wanted.
    pub partitions: Vec<Partition>,
    /// Those of them that seem to be idle, and the offset from which on a record may wait.
    pub idle: Vec<(Partition, i64)>,
}

/// The topics as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The identity of the input topic: another topic of the same name has another. Old brokers do not say it.
    pub topic_id: Option<String>,
    /// All partitions of the input topic; none if it does not exist.
    pub partitions: Vec<Partition>,
    /// The first and the next offset of the partitions that were asked for.
    pub ranges: Vec<(Partition, Range<i64>)>,
    /// Offsets of idle partitions behind which there is no record that a reader gets: markers of transactions, and what was
    /// aborted or compacted away.
    pub empty: Vec<(Partition, Range<i64>)>,
    /// Topics that are written to and do not exist.
    pub missing: Vec<Topic>,
}

/// A topic of a Kafka cluster.
pub struct KafkaSource {
    consumer: Consumer,
    admin: Admin,
    topics: Topics,
    isolation: Isolation,
}

impl KafkaSource {
    /// Reads by `consumer`, asks by `admin`.
    pub fn new(consumer: Consumer, admin: Admin, topics: Topics, isolation: Isolation) -> Self {
        Self {
            consumer,
            admin,
            topics,
            isolation,
        }
    }
}

impl Source for KafkaSource {
    fn add(&self, partitions: &[(Partition, Start)]) -> anyhow::Result<()> {
        Ok(self.consumer.add(partitions)?)
    }

    fn accept(&self, partitions: &[Partition]) -> Vec<(Partition, i64)> {
        self.consumer.accept(partitions)
    }

    fn restart(&self, partition: Partition, offset: i64) {
        self.consumer.restart(&[(partition, Start::At(offset))]);
    }

    fn pause(&self, partitions: &[Partition], paused: bool) -> anyhow::Result<()> {
        if paused {
            self.consumer.pause(partitions)?;
        } else {
            self.consumer.resume(partitions)?;
        }
        Ok(())
    }

    fn commit(
        &self,
        positions: &[(Partition, i64)],
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        let commit = self.consumer.commit(positions);
        async { Ok(commit.await?) }
    }

    fn inspect(
        &self,
        question: &Question,
    ) -> impl Future<Output = anyhow::Result<Snapshot>> + Send + 'static {
        let (admin, topics) = (self.admin.clone(), self.topics.clone());
        let (question, isolation) = (question.clone(), self.isolation);
        async move {
            let mut snapshot = inspect(&admin, &topics, &question.partitions).await?;
            let idle: Vec<_> = question
                .idle
                .into_iter()
                .filter(|(partition, position)| has_beyond(&snapshot, *partition, *position))
                .collect();
            snapshot.empty = empty(&admin, &topics.input, &idle, isolation).await;
            Ok(snapshot)
        }
    }

    fn close(self) -> impl Future<Output = ()> + Send {
        self.consumer.close()
    }
}

/// Asks a cluster for the topics of a worker.
///
/// # Errors
/// If no broker answers in time, or a topic may not be described.
pub async fn inspect(admin: &Admin, topics: &Topics, partitions: &[Partition]) -> anyhow::Result<Snapshot> {
    let Topics {
        input,
        output,
        dead_letter,
    } = topics;
    let names: Vec<_> = [input, output].into_iter().chain(dead_letter).cloned().collect();
    let mut described = describe(admin, &names).await?;
    let missing = names[1..].iter().filter(|name| !described.contains_key(name));
    let missing = missing.cloned().collect();
    let Some(description) = described.remove(input) else {
        return Ok(Snapshot {
            missing,
            ..Snapshot::default()
        });
    };
    let all = description.partitions;
    let there: Vec<_> = partitions
        .iter()
        .copied()
        .filter(|partition| all.contains_key(partition))
        .collect();
    Ok(Snapshot {
        topic_id: description.id.map(|id| id.to_string()),
        ranges: ranges(admin, input, &there).await,
        partitions: all.into_keys().collect(),
        empty: Vec::new(),
        missing,
    })
}

/// Those of these topics that exist.
///
/// # Errors
/// If no broker answers in time, or a topic may not be described.
pub(crate) async fn describe(
    admin: &Admin,
    topics: &[Topic],
) -> anyhow::Result<BTreeMap<Topic, TopicDescription>> {
    let mut described = BTreeMap::new();
    for (topic, answer) in admin.describe_topics(topics).await? {
        match answer {
            Ok(description) => drop(described.insert(topic, description)),
            Err(refusal) if refusal.kind == RefusalKind::UnknownPartition => {}
            Err(refusal) => {
                return Err(refusal).with_context(|| format!("the topic {topic} cannot be described"));
            }
        }
    }
    Ok(described)
}

/// The first and the next offset of partitions, as far as their leaders answer: one without a leader holds up no other.
pub(crate) async fn ranges(
    admin: &Admin,
    topic: &Topic,
    partitions: &[Partition],
) -> Vec<(Partition, Range<i64>)> {
    let asked: Vec<_> = partitions
        .iter()
        .map(|partition| topic.partition(partition.0))
        .collect();
    let (beginnings, ends) = tokio::join!(
        admin.list_offsets(&asked, LogEnd::Earliest),
        admin.list_offsets(&asked, LogEnd::Latest)
    );
    let known = |answers: ByPartition<Offset>| -> HashMap<Partition, i64> {
        let known = answers.into_iter();
        known
            .filter_map(|(of, offset)| Some((of.partition, offset.ok()?.get())))
            .collect()
    };
    let (beginnings, ends) = (known(beginnings), known(ends));
    let range =
        |partition: &Partition| Some((*partition, *beginnings.get(partition)?..*ends.get(partition)?));
    partitions.iter().filter_map(range).collect()
}

/// Whether a partition has anything from this position on.
fn has_beyond(snapshot: &Snapshot, partition: Partition, position: i64) -> bool {
    let mut ranges = snapshot.ranges.iter();
    ranges.any(|(its, range)| *its == partition && range.contains(&position))
}

/// What follows on each position in which there is no record that a reader gets. One whose leader does not answer is left
/// out.
async fn empty(
    admin: &Admin,
    topic: &Topic,
    positions: &[(Partition, i64)],
    isolation: Isolation,
) -> Vec<(Partition, Range<i64>)> {
    let asked: Vec<_> = positions
        .iter()
        .filter_map(|(partition, position)| Some((topic.partition(partition.0), Offset::new(*position)?)))
        .collect();
    let sections = admin.log_sections(&asked, TAIL_BYTES).await;
    let empty = sections.into_iter().filter_map(|(of, section)| {
        let section = section.ok()?;
        let (from, until) = (section.from, section.empty_until(isolation));
        (until > from).then(|| (of.partition, from.get()..until.get()))
    });
    empty.collect()
}

//! Owns the reading of a topic up to its end: what stands behind the last record that a test waits for counts, too.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::{Context as _, bail};
use kafka_admin::{Admin, Connection, LogEnd, Partition, Topic, TopicPartition};
use kafka_io::{Compression, Outgoing, Record};
use testbed::{Found, consume, produce, until};
use tokio::time::Instant;

use crate::stage::Stage;

/// Everything that was read of a topic so far.
pub(crate) struct Reading {
    connection: Connection,
    found: Found,
    partitions: Vec<TopicPartition>,
    records: Vec<Record>,
    /// The record that each partition goes on with.
    next: BTreeMap<Partition, i64>,
}

impl Reading {
    /// Reads a topic from its beginning. It must be a plain one: neither compacted nor written in transactions.
    pub(crate) fn of(connection: &Connection, topic: &Topic, partitions: i32) -> anyhow::Result<Self> {
        let all = (0..partitions).map(|partition| TopicPartition::new(topic.as_str(), partition));
        Ok(Self {
            connection: connection.clone(),
            found: consume(connection, topic, partitions)?,
            partitions: all.collect(),
            records: Vec::new(),
            next: BTreeMap::new(),
        })
    }

    /// What was read so far.
    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// Reads on until each of these keys was seen.
    pub(crate) async fn until_all(
        &mut self,
        keys: impl IntoIterator<Item = String>,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let mut missing: HashSet<Vec<u8>> = keys.into_iter().map(String::into_bytes).collect();
        for record in &self.records {
            missing.remove(record.key.as_deref().unwrap_or_default());
        }
        let deadline = Instant::now() + patience;
        while !missing.is_empty() {
            if !self.read(deadline).await? {
                let some: Vec<_> = missing
                    .iter()
                    .take(5)
                    .map(|key| String::from_utf8_lossy(key))
                    .collect();
                bail!(
                    "{} keys have no record in {patience:?}, among them {some:?}",
                    missing.len()
                );
            }
            let key = self.records.last().and_then(|record| record.key.as_deref());
            missing.remove(key.unwrap_or_default());
        }
        Ok(())
    }

    /// Reads on to where the partitions end now, and gives that.
    pub(crate) async fn read_to_end(
        &mut self,
        patience: Duration,
    ) -> anyhow::Result<BTreeMap<Partition, i64>> {
        let deadline = Instant::now() + patience;
        let admin = Admin::new(&self.connection);
        let ends = until(patience, async || {
            let ends = admin.list_offsets(&self.partitions, LogEnd::Latest).await;
            let ends = ends
                .into_iter()
                .map(|(of, end)| Some((of.partition, end.ok()?.get())));
            ends.collect::<Option<BTreeMap<_, _>>>()
        });
        let ends = ends
            .await
            .context("the broker does not name the ends of a topic")?;
        while ends
            .iter()
            .any(|(of, &end)| self.next.get(of).copied().unwrap_or_default() < end)
        {
            if !self.read(deadline).await? {
                bail!(
                    "the topic was read up to {:?} in {patience:?}, but ends at {ends:?}",
                    self.next
                );
            }
        }
        Ok(ends)
    }

    /// Takes the next record; whether one came before the deadline.
    async fn read(&mut self, deadline: Instant) -> anyhow::Result<bool> {
        let Some(record) = self.found.next(deadline).await? else {
            return Ok(false);
        };
        self.next.insert(record.partition, record.offset + 1);
        self.records.push(record);
        Ok(true)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_result_behind_the_last_missing_key_is_among_the_results() {
    let stage = Stage::new("reading", 1).await;
    let results = ["0", "1", "0"].map(|key| Outgoing {
        topic: stage.output.clone(),
        key: Some(key.into()),
        value: None,
        headers: Vec::new(),
    });
    produce(&stage.connection, Compression::None, results)
        .await
        .unwrap();
    let keys = ["0", "1"].map(str::to_owned);
    assert_eq!(stage.results(keys).await.len(), 3);
}

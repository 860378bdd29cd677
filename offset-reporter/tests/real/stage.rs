//! Owns what a test stands on: a broker, a topic with records, a checkpoint, and the reporter's configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use checkpoint::{BatchId, COMMITS, Checkpoint, LocalFolder, OFFSETS, Put, TopicOffsets, WritableStore};
use kafka_admin::{Admin, Connection, Refusal, Topic, TopicPartition};
use kafka_io::{Compression, Outgoing};
use tempfile::TempDir;
use testbed::{Kafka, KafkaSettings, Process, TopicAdmin, connection, group_offset, produce, until};
use tokio::sync::OnceCell;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// The broker that tests share which do not stop it.
pub(crate) async fn shared_broker() -> &'static Kafka {
    static BROKER: OnceCell<Kafka> = OnceCell::const_new();
    BROKER
        .get_or_init(async || Kafka::start(&KafkaSettings::default()).await.unwrap())
        .await
}

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_offset-reporter"))
}

/// A cluster and a folder.
pub(crate) struct Stage {
    pub(crate) servers: String,
    pub(crate) connection: Connection,
    pub(crate) admin: Admin,
    pub(crate) topics: TopicAdmin,
    pub(crate) folder: TempDir,
}

impl Stage {
    /// On the broker that tests share.
    pub(crate) async fn new() -> Self {
        Self::on(shared_broker().await.bootstrap_servers())
    }

    /// On a broker.
    pub(crate) fn on(servers: &str) -> Self {
        let connection = connection(servers).unwrap();
        Self {
            servers: servers.to_owned(),
            admin: Admin::new(&connection),
            topics: TopicAdmin::new(&connection).unwrap(),
            connection,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A topic with so many records spread over its partitions.
    pub(crate) async fn topic(&self, name: &str, partitions: i32, records: usize) {
        let topic = Topic::from(name);
        self.topics.create(&topic, partitions).await.unwrap();
        self.produce(name, records).await;
    }

    pub(crate) async fn produce(&self, topic: &str, records: usize) {
        let record = |number: usize| Outgoing {
            topic: Topic::from(topic),
            key: Some(number.to_string().into_bytes()),
            value: Some(b"a record".to_vec()),
            headers: Vec::new(),
        };
        produce(&self.connection, Compression::None, (0..records).map(record))
            .await
            .unwrap();
    }

    /// The reporter with one stream, named as its group, and `more` of that stream.
    pub(crate) fn reporter(&self, group: &str, checkpoint: &str, more: &str) -> Process {
        let stream = format!("[[streams]]\nname = \"{group}\"\ncheckpoint = \"{checkpoint}\"\n{more}\n");
        self.reporter_of(&stream, &[])
    }

    /// The reporter with these tables of its configuration, and these variables.
    pub(crate) fn reporter_of(&self, tables: &str, variables: &[(&str, &str)]) -> Process {
        let config = format!(
            "kafka.bootstrap_servers = \"{}\"\nreport.poll_interval = \"200ms\"\nreport.list_interval = \"1s\"\n\
             report.keepalive_interval = \"2s\"\nreport.prune_after = \"1s\"\n{tables}",
            self.servers
        );
        Process::start(program(), self.folder.path(), &config, variables).unwrap()
    }

    /// What a group has in a partition; none only where the cluster says so.
    pub(crate) async fn has(&self, group: &str, topic: &str, partition: i32) -> Result<Option<i64>, Refusal> {
        group_offset(&self.admin, group, &TopicPartition::new(topic, partition)).await
    }

    /// Waits until a group has this.
    pub(crate) async fn comes_to_have(&self, process: &Process, group: &str, at: (&str, i32), offset: i64) {
        let has = until(PATIENCE, async || {
            (self.has(group, at.0, at.1).await == Ok(Some(offset))).then_some(())
        });
        if has.await.is_none() {
            let has = self.has(group, at.0, at.1).await;
            panic!(
                "{group} has {has:?} in {at:?} and not {offset}; {}",
                process.log()
            );
        }
    }

    /// Waits until a metric has this value.
    pub(crate) async fn comes_to_tell(&self, process: &Process, metric: &str, value: f64) {
        let tells = until(PATIENCE, async || {
            let told = process.metric(metric).await?;
            ((told - value).abs() < f64::EPSILON).then_some(())
        });
        if tells.await.is_none() {
            let page = process.get("/metrics").await;
            panic!("{metric} is not {value}: {page:?}; {}", process.log());
        }
    }
}

/// A checkpoint that a test writes as Spark does: a topic that a query leaves is not in its next batch.
pub(crate) struct Written {
    folder: PathBuf,
    next: i64,
}

impl Written {
    pub(crate) async fn at(folder: PathBuf) -> Self {
        let checkpoint = Checkpoint::read(LocalFolder::new(&folder)).await.unwrap();
        // It has a query id and no batch.
        drop(checkpoint.take_over().await.unwrap());
        Self { folder, next: 0 }
    }

    /// Commits a batch that ends at these positions.
    pub(crate) async fn commit(&mut self, positions: &[(&str, i32, i64)]) {
        let mut ends = TopicOffsets::default();
        for (topic, partition, position) in positions {
            ends.set(topic, *partition, *position);
        }
        let ends = serde_json::to_string(&ends).unwrap();
        let log = format!("v1\n{{\"batchTimestampMs\":1795337460366}}\n{ends}");
        let store = LocalFolder::new(&self.folder);
        for (part, content) in [(OFFSETS, log.as_str()), (COMMITS, "v1\n{}")] {
            let key = BatchId(self.next).key(part);
            let put = store.put_if(&key, None, content.as_bytes()).await.unwrap();
            assert_eq!(put, Put::Done, "{key}");
        }
        self.next += 1;
    }
}

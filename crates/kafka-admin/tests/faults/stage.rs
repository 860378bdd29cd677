//! Owns the cluster under test: its topics and groups, and what writes into them all the time.

use std::sync::Arc;

use kafka_admin::{Admin, Connection, GroupId, Offset, RawKafka, TopicPartition};
use kafka_io::{Compression, Outgoing};
use sidecar::Problems;
use testbed::{KafkaCluster, KafkaSettings};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep};

use crate::client::Client;
use crate::ledger::Ledger;

/// Each has one partition.
pub(crate) const TOPICS: usize = 12;
pub(crate) const GROUPS: usize = 500;
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
pub(crate) const OFFSETS_PARTITIONS: i32 = 6;
/// Who commits at first.
const COMMITTERS: usize = 8;
/// How long the cluster may take to have its coordinators.
const TIMEOUT: Duration = Duration::from_mins(1);
/// The pause between two writes.
const WRITE_EVERY: Duration = Duration::from_millis(100);

/// What all parts of the test share.
pub(crate) struct Stage {
    pub(crate) admin: Admin,
    pub(crate) topics: Vec<TopicPartition>,
    pub(crate) groups: Vec<GroupId>,
    /// The numbers of the topics' ends, then those of the groups.
    pub(crate) ledger: Ledger,
    connection: Connection,
    servers: String,
}

pub(crate) async fn cluster() -> KafkaCluster {
    let properties = [
        ("default.replication.factor", "3"),
        ("offsets.topic.num.partitions", &OFFSETS_PARTITIONS.to_string()),
        // A broker that hangs is found out sooner than by default, so that the test is shorter.
        ("broker.session.timeout.ms", "2000"),
        ("broker.heartbeat.interval.ms", "300"),
        // Leaders move by faults alone.
        ("auto.leader.rebalance.enable", "false"),
    ];
    let settings = KafkaSettings {
        heap_mib: Some(320),
        properties: properties
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec(),
        ..KafkaSettings::default()
    };
    KafkaCluster::start(&settings).await.unwrap()
}

impl Stage {
    pub(crate) async fn set(cluster: &mut KafkaCluster) -> Arc<Self> {
        let servers = cluster.bootstrap_servers();
        let raw = RawKafka {
            bootstrap_servers: servers.clone(),
            ..RawKafka::default()
        };
        let connection = Connection::check(raw, &mut Problems::new()).unwrap();
        let mut client = Client::new(cluster.brokers()[0].bootstrap_servers());
        let names = (0..TOPICS).map(|number| format!("topic-{number}"));
        let topics = names.map(|name| {
            client.create_topic(&name, 1, &[]);
            TopicPartition::new(&name, 0)
        });
        let groups = (0..GROUPS).map(|number| GroupId::from(&*format!("group-{number}")));
        let stage = Arc::new(Self {
            admin: Admin::new(&connection),
            connection,
            topics: topics.collect(),
            groups: groups.collect(),
            ledger: Ledger::new(TOPICS + GROUPS),
            servers,
        });
        stage.commit_all().await;
        stage
    }

    /// The first commit of each group, whose coordinator may still be loading. A broker answers one commit of a connection
    /// after the other, so there are several clients.
    async fn commit_all(self: &Arc<Self>) {
        let deadline = Instant::now() + TIMEOUT;
        let mut committing = JoinSet::new();
        for first in 0..COMMITTERS {
            let (stage, client) = (Arc::clone(self), Admin::new(&self.connection));
            committing.spawn(async move {
                for group in (first..GROUPS).step_by(COMMITTERS) {
                    while !stage.commit(&client, group).await {
                        assert!(Instant::now() < deadline, "group {group} cannot commit");
                    }
                }
            });
        }
        committing.join_all().await;
    }

    /// Commits one more in both partitions of a group.
    async fn commit(&self, client: &Admin, group: usize) -> bool {
        let number = TOPICS + group;
        let next = self.ledger.attempted(number) + 1;
        self.ledger.attempt(number, next);
        let offset = Offset::new(next).unwrap();
        let offsets = self
            .committed_partitions(group)
            .map(|partition| (partition, offset));
        let answers = client.commit(&self.groups[group], &offsets, "").await;
        let is_committed = answers.is_ok_and(|answers| answers.iter().all(|(_, answer)| answer.is_ok()));
        if is_committed {
            self.ledger.acknowledge(number, next);
        }
        is_committed
    }

    /// Where a group commits.
    pub(crate) fn committed_partitions(&self, group: usize) -> [TopicPartition; 2] {
        [group, group + 1].map(|topic| self.topics[topic % TOPICS].clone())
    }

    /// Commits for a group after the other, for ever.
    async fn commit_on(&self) {
        for group in (0..GROUPS).cycle() {
            self.commit(&self.admin, group).await;
            sleep(WRITE_EVERY).await;
        }
    }

    /// Writes a record to each topic, for ever.
    async fn write_on(&self) {
        let connection = testbed::connection(&self.servers).unwrap();
        for value in 1.. {
            (0..TOPICS).for_each(|topic| self.ledger.attempt(topic, value));
            let records = self.topics.iter().map(|partition| Outgoing {
                topic: partition.topic.as_str().into(),
                key: None,
                value: Some(b"value".to_vec()),
                headers: Vec::new(),
            });
            let records: Vec<_> = records.collect();
            testbed::produce(&connection, Compression::None, records)
                .await
                .unwrap();
            (0..TOPICS).for_each(|topic| self.ledger.acknowledge(topic, value));
            sleep(WRITE_EVERY).await;
        }
    }

    /// Writes and commits until the tasks are dropped.
    pub(crate) fn writers(self: &Arc<Self>) -> JoinSet<()> {
        let mut writers = JoinSet::new();
        let (writing, committing) = (Arc::clone(self), Arc::clone(self));
        writers.spawn(async move { writing.write_on().await });
        writers.spawn(async move { committing.commit_on().await });
        writers
    }
}

//! A checkpoint and a cluster in memory, with the faults of real ones, and a stream between them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use checkpoint::{COMMITS, METADATA, OFFSETS, Store, StoreError, StoreErrorKind, StoredFile};
use kafka_io::{ByPartition, Committed, Refusal, RefusalKind, TopicPartition};
use offset_reporter::config::{Config, Raw, StreamSettings};
use offset_reporter::group::{Edge, Groups};
use offset_reporter::log_ends::LogEnds;
use offset_reporter::metrics::Metrics;
use offset_reporter::stream::{Shared, Stream};
use prometheus::Registry;

/// What the store says to a request instead of the truth.
pub(crate) type Fault = fn(&str) -> Option<StoreErrorKind>;

#[derive(Default)]
struct Files {
    content: BTreeMap<String, Vec<u8>>,
    /// Files that are listed and cannot be read for so many reads.
    late: BTreeMap<String, usize>,
    /// What listings show instead of the truth, one after the other.
    old_listings: Vec<Vec<String>>,
    fault: Option<Fault>,
    requests: Vec<String>,
}

/// A store in memory. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct FakeStore(Arc<Mutex<Files>>);

impl FakeStore {
    /// A new query of this id.
    pub(crate) fn of_query(id: &str) -> Self {
        let store = Self::default();
        store.put(METADATA, &format!("{{\"id\":\"{id}\"}}"));
        store
    }

    /// What a folder on disk has.
    pub(crate) fn of_fixture(name: &str) -> Self {
        let store = Self::default();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name);
        for part in ["", "offsets", "commits", "sources/0"] {
            for entry in std::fs::read_dir(root.join(part)).into_iter().flatten() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    let name = entry.file_name().into_string().unwrap();
                    let key = format!("{part}/{name}");
                    let content = std::fs::read(entry.path()).unwrap();
                    store
                        .0
                        .lock()
                        .unwrap()
                        .content
                        .insert(key.trim_start_matches('/').to_owned(), content);
                }
            }
        }
        store
    }

    pub(crate) fn put(&self, key: &str, content: &str) {
        self.0
            .lock()
            .unwrap()
            .content
            .insert(key.to_owned(), content.as_bytes().to_vec());
    }

    pub(crate) fn remove(&self, key: &str) {
        self.0.lock().unwrap().content.remove(key);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().content.clear();
    }

    /// Plans a batch that ends at `line`, a source line.
    pub(crate) fn plan(&self, batch: i64, line: &str) {
        self.put(
            &format!("{OFFSETS}/{batch}"),
            &format!("v1\n{{\"batchTimestampMs\":{}}}\n{line}", 1000 + batch),
        );
    }

    /// Plans and commits a batch that ends at `offset` of partition 0 of `t`.
    pub(crate) fn commit(&self, batch: i64, offset: i64) {
        self.plan(batch, &format!("{{\"t\":{{\"0\":{offset}}}}}"));
        self.put(&format!("{COMMITS}/{batch}"), "v1\n{}");
    }

    /// The file is listed, but `times` reads do not find it.
    pub(crate) fn delay(&self, key: &str, times: usize) {
        self.0.lock().unwrap().late.insert(key.to_owned(), times);
    }

    /// The next listing shows these names.
    pub(crate) fn list_once(&self, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.0.lock().unwrap().old_listings.push(names);
    }

    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.0.lock().unwrap().fault = fault;
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().requests)
    }

    fn asked(&self, request: String) -> Result<(), StoreError> {
        let mut files = self.0.lock().unwrap();
        let fault = files.fault.and_then(|fault| fault(&request));
        files.requests.push(request.clone());
        match fault {
            None => Ok(()),
            Some(kind) => Err(StoreError {
                action: "read",
                place: request,
                kind,
                source: "the store is ill".into(),
            }),
        }
    }
}

impl Store for FakeStore {
    async fn read(&self, key: &str) -> Result<Option<StoredFile>, StoreError> {
        self.asked(format!("get {key}"))?;
        let mut files = self.0.lock().unwrap();
        if let Some(times) = files.late.get_mut(key).filter(|times| **times > 0) {
            *times -= 1;
            return Ok(None);
        }
        let content = files.content.get(key).cloned();
        Ok(content.map(|content| StoredFile {
            content,
            modified: Some(SystemTime::now()),
        }))
    }

    async fn write(&self, _key: &str, _content: &[u8]) -> Result<(), StoreError> {
        panic!("a reporter never writes to a checkpoint")
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.asked(format!("list {folder}"))?;
        let mut files = self.0.lock().unwrap();
        if !files.old_listings.is_empty() {
            return Ok(files.old_listings.remove(0));
        }
        let prefix = format!("{folder}/");
        Ok(files
            .content
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect())
    }

    async fn delete(&self, _key: &str) -> Result<(), StoreError> {
        panic!("a reporter never deletes from a checkpoint")
    }
}

#[derive(Default)]
struct Kafka {
    ends: BTreeMap<TopicPartition, i64>,
    groups: BTreeMap<(String, TopicPartition), Committed>,
    /// Groups with members.
    used: BTreeSet<String>,
    denied_topics: BTreeSet<String>,
    is_down: bool,
    /// Commits are acknowledged and not stored.
    is_forgetful: bool,
    commits: Vec<String>,
}

/// A cluster in memory. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct FakeKafka(Arc<Mutex<Kafka>>);

impl FakeKafka {
    /// A partition of `t` that ends at `end`.
    pub(crate) fn with(end: i64) -> Self {
        let kafka = Self::default();
        kafka.end("t", 0, end);
        kafka
    }

    pub(crate) fn end(&self, topic: &str, partition: i32, end: i64) {
        self.0
            .lock()
            .unwrap()
            .ends
            .insert(TopicPartition::new(topic, partition), end);
    }

    pub(crate) fn delete_topic(&self, topic: &str) {
        let mut kafka = self.0.lock().unwrap();
        kafka
            .ends
            .retain(|partition, _| partition.topic.as_str() != topic);
        kafka
            .groups
            .retain(|(_, partition), _| partition.topic.as_str() != topic);
    }

    pub(crate) fn has(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let key = (group.to_owned(), TopicPartition::new(topic, partition));
        self.0
            .lock()
            .unwrap()
            .groups
            .get(&key)
            .map(|committed| committed.offset)
    }

    pub(crate) fn give(&self, group: &str, topic: &str, offset: i64, metadata: &str) {
        let key = (group.to_owned(), TopicPartition::new(topic, 0));
        let committed = Committed {
            offset,
            metadata: metadata.to_owned(),
        };
        self.0.lock().unwrap().groups.insert(key, committed);
    }

    pub(crate) fn use_group(&self, group: &str, is_used: bool) {
        let mut kafka = self.0.lock().unwrap();
        if is_used {
            kafka.used.insert(group.to_owned());
        } else {
            kafka.used.remove(group);
        }
    }

    pub(crate) fn deny(&self, topic: &str) {
        self.0.lock().unwrap().denied_topics.insert(topic.to_owned());
    }

    pub(crate) fn take_down(&self, is_down: bool) {
        self.0.lock().unwrap().is_down = is_down;
    }

    pub(crate) fn lose_commits(&self, is_forgetful: bool) {
        self.0.lock().unwrap().is_forgetful = is_forgetful;
    }

    /// The commits since the last call: `g t-0=5 q=… b=… t=…`.
    pub(crate) fn commits(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().commits)
    }

    fn answers(&self) -> Result<std::sync::MutexGuard<'_, Kafka>, Refusal> {
        let kafka = self.0.lock().unwrap();
        if kafka.is_down {
            Err(refusal(RefusalKind::Passing, "BROKER_TRANSPORT_FAILURE"))
        } else {
            Ok(kafka)
        }
    }
}

fn refusal(kind: RefusalKind, code: &str) -> Refusal {
    Refusal {
        kind,
        code: code.to_owned(),
        reason: "as the test says".to_owned(),
    }
}

impl Groups for FakeKafka {
    async fn log_offsets(
        &self,
        partitions: &[TopicPartition],
        edge: Edge,
    ) -> Result<ByPartition<i64>, Refusal> {
        let kafka = self.answers()?;
        let offset = |partition: &TopicPartition| match kafka.ends.get(partition) {
            None => Err(refusal(
                RefusalKind::UnknownPartition,
                "UNKNOWN_TOPIC_OR_PARTITION",
            )),
            Some(end) => Ok(if edge == Edge::End { *end } else { 0 }),
        };
        Ok(partitions
            .iter()
            .map(|partition| (partition.clone(), offset(partition)))
            .collect())
    }

    async fn committed(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<ByPartition<Committed>, Refusal> {
        let kafka = self.answers()?;
        let is_asked = |partition: &TopicPartition| partitions.is_none_or(|asked| asked.contains(partition));
        let of_group = kafka
            .groups
            .iter()
            .filter(|((name, partition), _)| name == group && is_asked(partition));
        Ok(of_group
            .map(|((_, partition), committed)| (partition.clone(), Ok(committed.clone())))
            .collect())
    }

    async fn commit(
        &self,
        group: &str,
        offsets: &[(TopicPartition, i64)],
        metadata: &str,
    ) -> Result<ByPartition<()>, Refusal> {
        let mut kafka = self.answers()?;
        let mut told = Vec::new();
        for (partition, offset) in offsets {
            let result = if kafka.used.contains(group) {
                Err(refusal(RefusalKind::InUse, "UNKNOWN_MEMBER_ID"))
            } else if kafka.denied_topics.contains(partition.topic.as_str()) {
                Err(refusal(RefusalKind::Denied, "TOPIC_AUTHORIZATION_FAILED"))
            } else {
                kafka
                    .commits
                    .push(format!("{group} {partition}={offset} {metadata}"));
                let committed = Committed {
                    offset: *offset,
                    metadata: metadata.to_owned(),
                };
                if !kafka.is_forgetful {
                    kafka
                        .groups
                        .insert((group.to_owned(), partition.clone()), committed);
                }
                Ok(())
            };
            told.push((partition.clone(), result));
        }
        Ok(told)
    }

    async fn forget(&self, group: &str, partitions: &[TopicPartition]) -> Result<ByPartition<()>, Refusal> {
        let mut kafka = self.answers()?;
        kafka
            .groups
            .retain(|(name, partition), _| name != group || !partitions.contains(partition));
        Ok(partitions
            .iter()
            .map(|partition| (partition.clone(), Ok(())))
            .collect())
    }
}

/// A stream between fakes.
pub(crate) struct Stage {
    pub(crate) kafka: FakeKafka,
    pub(crate) stream: Stream<FakeStore, FakeKafka>,
    registry: Registry,
}

impl Stage {
    /// A stream with the defaults, and what `settings` says of it in TOML. Its group is `g`.
    pub(crate) fn new(store: &FakeStore, kafka: &FakeKafka, settings: &str) -> Self {
        Self::by(store, kafka, &configured(settings), false)
    }

    pub(crate) fn by(store: &FakeStore, kafka: &FakeKafka, config: &Config, dry_run: bool) -> Self {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let groups = Arc::new(kafka.clone());
        let report = config.raw.report.clone();
        let ends = Arc::new(LogEnds::new(groups.clone(), report.poll_interval));
        let settings: StreamSettings = config.streams[0].clone();
        let stream = Stream::new(
            settings,
            report,
            dry_run,
            store.clone(),
            Shared {
                groups,
                ends,
                metrics,
            },
        );
        Self {
            kafka: kafka.clone(),
            stream,
            registry,
        }
    }

    /// A cycle, which succeeds; then the poll interval passes.
    pub(crate) async fn cycle(&mut self) {
        self.stream.cycle().await.unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
    }

    /// A cycle, which fails; then the poll interval passes.
    pub(crate) async fn failing_cycle(&mut self) -> String {
        let error = anyhow::Error::from(self.stream.cycle().await.unwrap_err());
        tokio::time::advance(Duration::from_secs(10)).await;
        format!("{error:#}")
    }

    /// Cycles for so long.
    pub(crate) async fn run(&mut self, time: Duration) {
        let until = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < until {
            drop(self.stream.cycle().await);
            tokio::time::advance(Duration::from_secs(10)).await;
        }
    }

    /// The value of a metric with these labels in its name, such as `lag{…}`; all of it must match.
    pub(crate) fn metric(&self, line: &str) -> Option<f64> {
        let page = prometheus::TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap();
        let wanted = format!("offset_reporter_{line} ");
        page.lines()
            .find_map(|line| line.strip_prefix(&wanted)?.parse().ok())
    }
}

/// The configuration of a stream whose group is `g`.
pub(crate) fn configured(settings: &str) -> Config {
    let text = format!("[[streams]]\nname = \"s\"\ngroup = \"g\"\ncheckpoint = \"/checkpoint\"\n{settings}");
    let raw: Raw = toml::from_str(&text).unwrap();
    Config::try_from(raw).unwrap()
}

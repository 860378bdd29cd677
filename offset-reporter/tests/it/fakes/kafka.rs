//! A cluster in memory, with the refusals of real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use kafka_admin::{ByPartition, Committed, LogEnd, Offset, Refusal, RefusalKind, TopicPartition};
use offset_reporter::group::Groups;

#[derive(Default)]
struct Kafka {
    ends: BTreeMap<TopicPartition, i64>,
    beginnings: BTreeMap<TopicPartition, i64>,
    /// Partitions whose leader refuses to say where they begin and end, with this code.
    refused_ends: BTreeMap<TopicPartition, &'static str>,
    groups: BTreeMap<(String, TopicPartition), Committed>,
    /// Groups with members.
    used: BTreeSet<String>,
    /// Groups whose coordinator is away.
    unserved: BTreeSet<String>,
    denied_topics: BTreeSet<String>,
    /// Topics whose offsets may not be deleted.
    kept_topics: BTreeSet<String>,
    faults: BTreeSet<Fault>,
    commits: Vec<String>,
    /// How often it was asked what a group has in certain partitions.
    reads: usize,
}

/// What is wrong with the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// Nobody answers.
    Down,
    /// Questions about ends are not answered.
    EndsHang,
    /// Commits are not answered.
    CommitsHang,
    /// Commits are refused, with a code that passes.
    RefusesCommits,
    /// Commits are stored, and nobody says so.
    Mute,
    /// Commits are acknowledged and not stored.
    Forgetful,
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

    /// Retention removes what comes before.
    pub(crate) fn begin_at(&self, topic: &str, partition: i32, beginning: i64) {
        let partition = TopicPartition::new(topic, partition);
        self.0.lock().unwrap().beginnings.insert(partition, beginning);
    }

    /// The leader of a partition refuses to say where it ends, or no longer does.
    pub(crate) fn refuse_end(&self, topic: &str, partition: i32, code: Option<&'static str>) {
        let partition = TopicPartition::new(topic, partition);
        let mut kafka = self.0.lock().unwrap();
        match code {
            Some(code) => kafka.refused_ends.insert(partition, code),
            None => kafka.refused_ends.remove(&partition),
        };
    }

    /// Nobody answers a question about ends.
    pub(crate) fn hang_ends(&self, hang: bool) {
        self.set(Fault::EndsHang, hang);
    }

    /// Nobody answers a commit.
    pub(crate) fn hang_commits(&self, hang: bool) {
        self.set(Fault::CommitsHang, hang);
    }

    pub(crate) fn refuse_commits(&self, refuse: bool) {
        self.set(Fault::RefusesCommits, refuse);
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
            .map(|committed| committed.offset.get())
    }

    pub(crate) fn give(&self, group: &str, topic: &str, offset: i64, metadata: &str) {
        let key = (group.to_owned(), TopicPartition::new(topic, 0));
        let committed = committed(offset, metadata);
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

    /// The coordinator of a group goes away, or comes back.
    pub(crate) fn leave_group(&self, group: &str, is_away: bool) {
        let unserved = &mut self.0.lock().unwrap().unserved;
        if is_away {
            unserved.insert(group.to_owned());
        } else {
            unserved.remove(group);
        }
    }

    /// A topic may not be described or read, or again may.
    pub(crate) fn deny(&self, topic: &str, is_denied: bool) {
        let denied = &mut self.0.lock().unwrap().denied_topics;
        if is_denied {
            denied.insert(topic.to_owned());
        } else {
            denied.remove(topic);
        }
    }

    /// The committed offsets of a topic may not be deleted.
    pub(crate) fn keep(&self, topic: &str) {
        self.0.lock().unwrap().kept_topics.insert(topic.to_owned());
    }

    pub(crate) fn take_down(&self, is_down: bool) {
        self.set(Fault::Down, is_down);
    }

    pub(crate) fn lose_answers(&self, is_mute: bool) {
        self.set(Fault::Mute, is_mute);
    }

    pub(crate) fn lose_commits(&self, is_forgetful: bool) {
        self.set(Fault::Forgetful, is_forgetful);
    }

    /// The commits since the last call: `g t-0=5 q=… b=… t=…`.
    pub(crate) fn commits(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().commits)
    }

    /// How often it was asked, since the last call, what a group has in certain partitions.
    pub(crate) fn reads(&self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().reads)
    }

    fn set(&self, fault: Fault, is_so: bool) {
        let faults = &mut self.0.lock().unwrap().faults;
        if is_so {
            faults.insert(fault);
        } else {
            faults.remove(&fault);
        }
    }

    fn answers(&self) -> Result<std::sync::MutexGuard<'_, Kafka>, Refusal> {
        let kafka = self.0.lock().unwrap();
        if kafka.faults.contains(&Fault::Down) {
            Err(refusal(RefusalKind::Passing, "BROKER_NOT_AVAILABLE"))
        } else {
            Ok(kafka)
        }
    }

    fn coordinates(&self, group: &str) -> Result<std::sync::MutexGuard<'_, Kafka>, Refusal> {
        let kafka = self.answers()?;
        if kafka.unserved.contains(group) {
            return Err(refusal(RefusalKind::Passing, "NOT_COORDINATOR"));
        }
        Ok(kafka)
    }
}

fn offset(offset: i64) -> Offset {
    Offset::new(offset).unwrap()
}

fn committed(at: i64, metadata: &str) -> Committed {
    Committed {
        offset: offset(at),
        leader_epoch: None,
        metadata: metadata.to_owned(),
    }
}

fn refusal(kind: RefusalKind, code: &str) -> Refusal {
    Refusal {
        kind,
        code: code.to_owned(),
        reason: "as the test says".to_owned(),
    }
}

fn topic_denied() -> Refusal {
    refusal(RefusalKind::Denied, "TOPIC_AUTHORIZATION_FAILED")
}

impl Groups for FakeKafka {
    async fn log_offsets(&self, partitions: &[TopicPartition], end: LogEnd) -> ByPartition<Offset> {
        let hangs = self.0.lock().unwrap().faults.contains(&Fault::EndsHang);
        if hangs {
            std::future::pending::<()>().await;
        }
        let kafka = self.answers();
        let offset = |partition: &TopicPartition| {
            let kafka = kafka.as_ref().map_err(Clone::clone)?;
            offset_of(kafka, partition, end)
        };
        partitions
            .iter()
            .map(|partition| (partition.clone(), offset(partition)))
            .collect()
    }

    async fn committed(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<ByPartition<Committed>, Refusal> {
        let mut kafka = self.coordinates(group)?;
        kafka.reads += usize::from(partitions.is_some());
        let is_asked = |partition: &TopicPartition| partitions.is_none_or(|asked| asked.contains(partition));
        let is_denied = |partition: &TopicPartition| kafka.denied_topics.contains(partition.topic.as_str());
        let of_group = kafka
            .groups
            .iter()
            .filter(|((name, partition), _)| name == group && is_asked(partition) && !is_denied(partition));
        let denied = partitions
            .into_iter()
            .flatten()
            .filter(|partition| is_denied(partition));
        Ok(of_group
            .map(|((_, partition), committed)| (partition.clone(), Ok(committed.clone())))
            .chain(denied.map(|partition| (partition.clone(), Err(topic_denied()))))
            .collect())
    }

    async fn commit(
        &self,
        group: &str,
        offsets: &[(TopicPartition, i64)],
        metadata: &str,
    ) -> Result<ByPartition<()>, Refusal> {
        let hangs = self.0.lock().unwrap().faults.contains(&Fault::CommitsHang);
        if hangs {
            std::future::pending::<()>().await;
        }
        let mut kafka = self.coordinates(group)?;
        if kafka.faults.contains(&Fault::RefusesCommits) {
            return Err(refusal(RefusalKind::Passing, "NOT_COORDINATOR"));
        }
        if offsets
            .iter()
            .all(|(partition, _)| !kafka.ends.contains_key(partition))
        {
            return Err(refusal(
                RefusalKind::UnknownPartition,
                "UNKNOWN_TOPIC_OR_PARTITION",
            ));
        }
        let mut told = Vec::new();
        for (partition, offset) in offsets {
            let result = if kafka.used.contains(group) {
                Err(refusal(RefusalKind::InUse, "UNKNOWN_MEMBER_ID"))
            } else if kafka.denied_topics.contains(partition.topic.as_str()) {
                Err(topic_denied())
            } else if !kafka.ends.contains_key(partition) {
                Err(refusal(
                    RefusalKind::UnknownPartition,
                    "UNKNOWN_TOPIC_OR_PARTITION",
                ))
            } else {
                kafka
                    .commits
                    .push(format!("{group} {partition}={offset} {metadata}"));
                let committed = committed(*offset, metadata);
                if !kafka.faults.contains(&Fault::Forgetful) {
                    kafka
                        .groups
                        .insert((group.to_owned(), partition.clone()), committed);
                }
                Ok(())
            };
            told.push((partition.clone(), result));
        }
        if kafka.faults.contains(&Fault::Mute) {
            return Err(refusal(RefusalKind::Passing, "REQUEST_TIMED_OUT"));
        }
        Ok(told)
    }

    async fn forget(&self, group: &str, partitions: &[TopicPartition]) -> Result<ByPartition<()>, Refusal> {
        let mut told = Vec::new();
        let mut kafka = self.answers()?;
        for partition in partitions {
            let result = if kafka.kept_topics.contains(partition.topic.as_str()) {
                Err(topic_denied())
            } else {
                kafka.groups.remove(&(group.to_owned(), partition.clone()));
                Ok(())
            };
            told.push((partition.clone(), result));
        }
        Ok(told)
    }
}

/// Where a partition begins or ends, as its leader says.
fn offset_of(kafka: &Kafka, partition: &TopicPartition, edge: LogEnd) -> Result<Offset, Refusal> {
    if let Some(code) = kafka.refused_ends.get(partition) {
        return Err(refusal(RefusalKind::Passing, code));
    }
    let Some(end) = kafka.ends.get(partition) else {
        return Err(refusal(
            RefusalKind::UnknownPartition,
            "UNKNOWN_TOPIC_OR_PARTITION",
        ));
    };
    Ok(offset(match edge {
        LogEnd::Earliest => kafka.beginnings.get(partition).copied().unwrap_or_default(),
        LogEnd::Latest | LogEnd::LatestStable => *end,
    }))
}

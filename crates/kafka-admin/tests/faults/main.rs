//! Three brokers of Apache Kafka, each killed, frozen and stopped in turn, while the offsets of 500 groups and the ends of
//! twelve topics are asked for each second: in a program of its own, since what runs beside it would delay the answers.
//!
//! `OUTRIGGER_FAULT_ROUNDS` says how many rounds: one by default, of three faults; `make soak` runs more.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]
#![expect(
    clippy::print_stdout,
    reason = "whoever looks for a fault's cause needs to know when it was"
)]

#[path = "../real/client.rs"]
mod client;
mod ledger;
mod stage;
mod timeline;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kafka_admin::{LogEnd, Refusal};
use testbed::{KafkaCluster, resident_bytes};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, interval, sleep};

use crate::client::Client;
use crate::stage::{GROUPS, OFFSETS_PARTITIONS, OFFSETS_TOPIC, Stage, TOPICS, cluster};
use crate::timeline::{Home, Timeline};

/// How often everything is asked for.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked who leads.
const WATCH_EVERY: Duration = Duration::from_millis(100);
/// How long all is well before a fault.
const QUIET: Duration = Duration::from_secs(2);
/// How long a broker is away: long enough that others take over what it led.
const AWAY: Duration = Duration::from_secs(5);
/// How long it may take until all brokers know what one has acknowledged, or what happened while they were away.
const SPREAD: Duration = Duration::from_secs(1);
/// How much memory may grow, the librdkafka of the test's own writers included.
const MAX_GROWTH: u64 = 8 << 20;
/// How many sockets may be open: three of the client, and those of the writers and the watcher.
const MAX_SOCKETS: usize = 24;

struct Run {
    stage: Arc<Stage>,
    timeline: Mutex<Timeline>,
    /// The brokers' addresses, and which of them is away.
    brokers: Vec<String>,
    away: Mutex<Option<usize>>,
    wrong: Mutex<Vec<String>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn three_brokers_fail_in_turn_and_every_number_is_right_and_in_time() {
    let mut cluster = cluster().await;
    let stage = Stage::set(&mut cluster).await;
    let brokers = cluster
        .brokers()
        .iter()
        .map(|broker| broker.bootstrap_servers().to_owned());
    let run = Arc::new(Run {
        stage: Arc::clone(&stage),
        timeline: Mutex::default(),
        brokers: brokers.collect(),
        away: Mutex::default(),
        wrong: Mutex::default(),
    });
    let mut tasks = stage.writers();
    let (watching, asking) = (Arc::clone(&run), Arc::clone(&run));
    tasks.spawn(async move { watching.watch().await });
    tasks.spawn(async move { asking.ask_on().await });
    sleep(QUIET).await;
    let process = std::process::id();
    let before = resident_bytes(process).unwrap();
    let rounds = std::env::vars().find(|(name, _)| name == "OUTRIGGER_FAULT_ROUNDS");
    let rounds = rounds.map_or(1, |(_, rounds)| rounds.parse().unwrap());
    for round in 0..rounds {
        for fault in 0..3 {
            run.fail(&mut cluster, fault, (round + fault) % 3).await;
        }
    }
    run.move_leaders().await;
    let (after, sockets) = (resident_bytes(process).unwrap(), sockets());
    assert!(tasks.try_join_next().is_none(), "a task ended");
    tasks.shutdown().await;

    let wrong = run.wrong.lock().unwrap();
    assert!(
        wrong.is_empty(),
        "{} wrong: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(20)]
    );
    let (late, mut delays) = run.timeline.lock().unwrap().judge(&homes());
    delays.sort();
    println!(
        "{} elections, answered after {:.1?}, {:.1?} at most; {} KiB before, {} after; {sockets} sockets",
        delays.len(),
        delays[delays.len() / 2],
        delays[delays.len() - 1],
        before >> 10,
        after >> 10
    );
    assert!(
        late.is_empty(),
        "{} late: {:#?}",
        late.len(),
        &late[..late.len().min(20)]
    );
    assert!(after < before + MAX_GROWTH, "{before} {after}");
    assert!(sockets < MAX_SOCKETS, "{sockets}");
}

impl Run {
    /// A broker is away for a while: killed, frozen, or stopped.
    async fn fail(&self, cluster: &mut KafkaCluster, fault: usize, broker: usize) {
        let name = ["is killed", "is frozen", "is stopped"][fault];
        println!("broker {} {name}", broker + 1);
        // What is acknowledged now is known to all brokers when this one goes.
        self.stage.ledger.hold();
        sleep(SPREAD).await;
        *self.away.lock().unwrap() = Some(broker);
        let id = i32::try_from(broker).unwrap() + 1;
        self.timeline.lock().unwrap().left(id);
        let broker = &mut cluster.brokers()[broker];
        match fault {
            0 => broker.kill().await.unwrap(),
            1 => broker.signal("STOP").unwrap(),
            _ => broker.stop().await.unwrap(),
        }
        sleep(AWAY).await;
        if fault == 1 {
            broker.signal("CONT").unwrap();
        } else {
            broker.restart().await.unwrap();
        }
        self.timeline.lock().unwrap().returned();
        *self.away.lock().unwrap() = None;
        sleep(SPREAD).await;
        self.stage.ledger.release();
        sleep(QUIET).await;
    }

    /// All brokers are there, and those that took over give back what they led.
    async fn move_leaders(&self) {
        println!("the leaders that were there at first lead again");
        self.stage.ledger.hold();
        sleep(SPREAD).await;
        let address = self.brokers[0].clone();
        let moved = tokio::task::spawn_blocking(move || Client::new(&address).elect_preferred());
        moved.await.unwrap();
        let moved_at = Instant::now();
        sleep(QUIET).await;
        self.stage.ledger.release();
        let refused = self.timeline.lock().unwrap().refused_since(moved_at);
        assert_eq!(refused, 0, "leaders that moved are found again at once");
    }

    /// Asks each second, whether or not the last second's questions are answered.
    async fn ask_on(self: Arc<Self>) {
        let mut every = interval(ASK_EVERY);
        let mut asked = JoinSet::new();
        loop {
            every.tick().await;
            let (ends, committed) = (Arc::clone(&self), Arc::clone(&self));
            asked.spawn(async move { ends.ask_ends().await });
            asked.spawn(async move { committed.ask_committed().await });
            while let Some(ended) = asked.try_join_next() {
                ended.unwrap();
            }
        }
    }

    async fn ask_ends(&self) {
        let (asked, floors) = (Instant::now(), self.stage.ledger.floors());
        let mut left: Vec<_> = (0..TOPICS).collect();
        let on_answer = |partition, answer: Result<kafka_admin::Offset, Refusal>| {
            let topic = self.stage.topics.iter().position(|topic| *topic == partition);
            self.check(topic.unwrap(), asked, &floors, answer.map(|end| vec![end.get()]));
            left.retain(|left| *left != topic.unwrap());
        };
        self.stage
            .admin
            .list_offsets_each(&self.stage.topics, LogEnd::Latest, on_answer)
            .await;
        self.is_complete(&left);
    }

    async fn ask_committed(&self) {
        let (asked, floors) = (Instant::now(), self.stage.ledger.floors());
        let mut left: BTreeMap<_, _> = self.stage.groups.iter().zip(0..GROUPS).collect();
        let on_answer = |group, answer: Result<kafka_admin::ByPartition<kafka_admin::Committed>, Refusal>| {
            let Some(group) = left.remove(&group) else {
                return self
                    .wrong
                    .lock()
                    .unwrap()
                    .push(format!("{group} is answered twice"));
            };
            let values = answer.and_then(|answers| {
                let values: Result<BTreeMap<_, _>, Refusal> = answers
                    .into_iter()
                    .map(|(partition, answer)| Ok((partition, answer?.offset.get())))
                    .collect();
                let values = values?;
                if !values
                    .keys()
                    .eq(sorted(self.stage.committed_partitions(group)).iter())
                {
                    self.wrong
                        .lock()
                        .unwrap()
                        .push(format!("group {group} has committed {values:?}"));
                }
                Ok(values.into_values().collect())
            });
            self.check(TOPICS + group, asked, &floors, values);
        };
        self.stage
            .admin
            .committed_each(&self.stage.groups, on_answer)
            .await;
        self.is_complete(&left.into_values().collect::<Vec<_>>());
    }

    fn is_complete(&self, left: &[usize]) {
        if !left.is_empty() {
            self.wrong
                .lock()
                .unwrap()
                .push(format!("{left:?} were not answered"));
        }
    }

    fn check(&self, number: usize, asked: Instant, floors: &[i64], answer: Result<Vec<i64>, Refusal>) {
        let (floor, ceiling) = (floors[number], self.stage.ledger.attempted(number));
        self.timeline
            .lock()
            .unwrap()
            .answered(number, asked, answer.is_ok());
        for value in answer.into_iter().flatten() {
            if !(floor..=ceiling).contains(&value) {
                let wrong = format!(
                    "{:.1} s: number {number} is {value}, and was between {floor} and {ceiling}",
                    self.timeline.lock().unwrap().seconds(asked)
                );
                self.wrong.lock().unwrap().push(wrong);
            }
        }
    }

    /// Notes who leads as soon as all brokers that are not away agree.
    async fn watch(&self) {
        let mut every = interval(WATCH_EVERY);
        loop {
            every.tick().await;
            let away = *self.away.lock().unwrap();
            let there = self
                .brokers
                .iter()
                .enumerate()
                .filter(|(broker, _)| Some(*broker) != away);
            let there: Vec<_> = there.map(|(_, address)| address.clone()).collect();
            let seen = tokio::task::spawn_blocking(move || {
                let seen = there
                    .iter()
                    .map(|address| Client::connect(address).ok()?.leaders(&watched()).ok());
                seen.collect::<Option<Vec<_>>>()
            });
            let Some(seen) = seen.await.unwrap() else { continue };
            let now = Instant::now();
            let mut timeline = self.timeline.lock().unwrap();
            for (home, leader) in seen[0].iter().enumerate() {
                let is_away =
                    away.is_some_and(|away| usize::try_from(*leader).is_ok_and(|leader| leader == away + 1));
                if *leader > 0 && !is_away && seen.iter().all(|seen| seen[home] == *leader) {
                    timeline.led(home, *leader, now);
                }
            }
        }
    }
}

fn sorted<const N: usize>(
    mut partitions: [kafka_admin::TopicPartition; N],
) -> [kafka_admin::TopicPartition; N] {
    partitions.sort();
    partitions
}

/// The partitions that are watched: those of the topics, then the groups'.
fn watched() -> Vec<(String, i32)> {
    let topics = (0..TOPICS).map(|number| (format!("topic-{number}"), 0));
    let coordinators = (0..OFFSETS_PARTITIONS).map(|partition| (OFFSETS_TOPIC.to_owned(), partition));
    topics.chain(coordinators).collect()
}

/// Where each number is kept: a group in the partition that Java's hash of its id says.
fn homes() -> Vec<Home> {
    let group = |number: usize| {
        let hash = format!("group-{number}").bytes().fold(0_i32, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(i32::from(byte))
        });
        TOPICS + usize::try_from(hash.unsigned_abs() % OFFSETS_PARTITIONS.unsigned_abs()).unwrap()
    };
    (0..TOPICS).chain((0..GROUPS).map(group)).collect()
}

fn sockets() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

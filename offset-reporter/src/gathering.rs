//! Owns asking for many streams at once: what they ask for within a moment goes to each leader in one request. Nobody waits
//! for a leader that none of its own partitions has.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_admin::{Admin, ByPartition, LogEnd, Offset, TopicPartition};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long requests are gathered. It is short beside the interval in which streams are looked at.
const GATHER_FOR: Duration = Duration::from_millis(250);

/// Requests for log ends that wait to be sent together.
#[derive(Default)]
pub(crate) struct Gathering {
    waiting: Arc<Mutex<HashMap<LogEnd, Vec<Waiting>>>>,
    /// Those that send them.
    tasks: Mutex<JoinSet<()>>,
}

/// One stream's part of a request.
struct Waiting {
    partitions: HashSet<TopicPartition>,
    answers: ByPartition<Offset>,
    all: oneshot::Sender<ByPartition<Offset>>,
}

impl Gathering {
    /// An end of each partition, or why it is not known.
    pub(crate) async fn list_offsets(
        &self,
        admin: &Admin,
        partitions: &[TopicPartition],
        end: LogEnd,
    ) -> ByPartition<Offset> {
        if partitions.is_empty() {
            return Vec::new();
        }
        let (all, answered) = oneshot::channel();
        let is_first = {
            let mut waiting = lock(&self.waiting);
            let waiting = waiting.entry(end).or_default();
            waiting.push(Waiting {
                partitions: partitions.iter().cloned().collect(),
                answers: Vec::with_capacity(partitions.len()),
                all,
            });
            waiting.len() == 1
        };
        if is_first {
            self.send_soon(admin, end);
        }
        match answered.await {
            Ok(answers) => answers,
            // The task ended by a panic.
            Err(_closed) => admin.list_offsets(partitions, end).await,
        }
    }

    fn send_soon(&self, admin: &Admin, end: LogEnd) {
        let (admin, waiting) = (admin.clone(), Arc::clone(&self.waiting));
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            sleep(GATHER_FOR).await;
            let gathered = lock(&waiting).remove(&end);
            ask(&admin, gathered.unwrap_or_default(), end).await;
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks for all, and gives each its answers as soon as they are complete.
async fn ask(admin: &Admin, waiting: Vec<Waiting>, end: LogEnd) {
    let mut asked_by = HashMap::<_, Vec<usize>>::new();
    for (index, part) in waiting.iter().enumerate() {
        for partition in &part.partitions {
            asked_by.entry(partition.clone()).or_default().push(index);
        }
    }
    let partitions: Vec<_> = asked_by.keys().cloned().collect();
    let mut waiting: Vec<_> = waiting.into_iter().map(Some).collect();
    let on_answer = |partition: TopicPartition, answer: Result<Offset, _>| {
        for index in asked_by.remove(&partition).unwrap_or_default() {
            let Some(part) = waiting[index].as_mut() else {
                continue;
            };
            part.answers.push((partition.clone(), answer.clone()));
            if part.answers.len() == part.partitions.len()
                && let Some(Waiting { answers, all, .. }) = waiting[index].take()
            {
                // Whoever gave up does not want it.
                drop(all.send(answers));
            }
        }
    };
    admin.list_offsets_each(&partitions, end, on_answer).await;
}

#[cfg(test)]
mod tests {
    use kafka_admin::{Connection, RawKafka};
    use sidecar::Problems;

    use super::*;

    #[tokio::test]
    async fn each_gets_an_answer_for_each_of_its_own_partitions() {
        let raw = RawKafka {
            bootstrap_servers: "127.0.0.1:1".to_owned(),
            ..RawKafka::default()
        };
        let admin = Admin::new(&Connection::check(raw, &mut Problems::new()).unwrap());
        let gathering = Gathering::default();
        let of = |partitions: &[i32]| -> Vec<_> {
            let partitions = partitions.iter();
            partitions
                .map(|partition| TopicPartition::new("t", *partition))
                .collect()
        };
        let (first, second) = (of(&[0, 1]), of(&[1, 2, 3]));
        let (first, second) = tokio::join!(
            gathering.list_offsets(&admin, &first, LogEnd::Latest),
            gathering.list_offsets(&admin, &second, LogEnd::Latest)
        );
        assert_eq!((first.len(), second.len()), (2, 3));
        assert!(first.iter().chain(&second).all(|(_, answer)| answer.is_err()));
        assert!(lock(&gathering.waiting).is_empty());
    }
}

//! Owns the thread that polls librdkafka, and which event an error becomes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_admin::{Partition, Topic};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError as NativeError, RDKafkaErrorCode as Code};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::owned::{Owned, Restart};
use super::{Event, StartWithout, list_of};
use crate::Record;
use crate::context::{Trouble, describe};
use crate::ending::Life;
use crate::limit::Limit;
use crate::reason::{Rank, Reason};
use crate::tokens::Tokens;

/// How long one poll waits. It bounds how late the end of the thread, and a restart, is noticed.
pub(super) const POLL: Duration = Duration::from_millis(100);
/// How often, and how patiently, a cluster that does not answer is tried.
const PROBE: Duration = Duration::from_secs(1);
/// How long after a restart a revocation may have been in librdkafka's queue before it.
const DOUBT: Duration = Duration::from_mins(1);
/// What librdkafka says where it could not learn where a partition begins or ends. Nothing was out of range then.
const NOT_LEARNT: &str = "failed to query logical offset";

/// What is known of the connection to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Unknown,
    Up,
    /// A connection failed; another may do.
    Suspect,
    /// Nobody answers, and how much of the reason was said.
    Down(Option<Rank>),
}

/// Polls until the consumer ends or nobody listens.
pub(super) fn poll(client: &BaseConsumer<Events>) {
    let context = Arc::clone(client.context());
    let mut link = Link::Unknown;
    let mut probed: Option<Instant> = None;
    while !context.is_over() {
        match client.poll(POLL) {
            // librdkafka's queue was empty, or held a rebalance that is done.
            None => *lock(&context.state.restarted) = None,
            Some(Ok(message)) => context.send(Event::Record(Record::of(&message))),
            Some(Err(NativeError::PartitionEOF(partition))) => {
                context.send(Event::EndOfPartition(Partition(partition)));
            }
            Some(Err(error)) => {
                if is_of_a_connection(&error) && link == Link::Up {
                    link = Link::Suspect;
                }
                context.report(&error);
            }
        }
        context.restart(client);
        if link != Link::Up && probed.is_none_or(|last| last.elapsed() >= PROBE) {
            let answers = client.fetch_metadata(Some(context.topic.as_str()), PROBE).is_ok();
            probed = Some(Instant::now());
            link = context.on_probe(link, answers);
        }
    }
}

fn is_of_a_connection(error: &NativeError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::SSL
                | Code::Authentication
        )
    )
}

/// Where librdkafka's callbacks, on the polling thread, put events.
pub(super) struct Events {
    pub(super) sender: mpsc::Sender<Event>,
    pub(super) life: Life,
    pub(super) topic: Topic,
    pub(super) owned: Arc<Owned>,
    pub(super) start: StartWithout,
    pub(super) drain_timeout: Duration,
    pub(super) bootstrap_servers: String,
    pub(super) trouble: Trouble,
    pub(super) tokens: Tokens,
    pub(super) restarts: Arc<Mutex<Vec<Restart>>>,
    pub(super) state: State,
}

/// What the polling thread remembers between librdkafka's callbacks.
#[derive(Default)]
pub(super) struct State {
    /// What was said of the error that the poll under way gives.
    heard: Mutex<Option<String>>,
    /// When partitions were begun anew, if librdkafka's queue was not seen empty since.
    restarted: Mutex<Option<Instant>>,
    limit: Limit,
}

impl Events {
    pub(super) fn is_over(&self) -> bool {
        self.life.has_ended() || self.sender.is_closed()
    }

    pub(super) fn send(&self, event: Event) {
        self.life.send(&self.sender, event);
    }

    /// Whether a revocation may have been answered by [`Self::restart`].
    pub(super) fn restarted(&self) -> bool {
        lock(&self.state.restarted).is_some_and(|at| at.elapsed() < DOUBT)
    }

    /// Hears what is said of an error, which the poll under way gives without it.
    pub(super) fn hear(&self, error: &NativeError, reason: &str) {
        if error.rdkafka_error_code() == Some(Code::PartitionEOF) {
            return;
        }
        self.trouble.hear(error, reason);
        let heard = Reason::of(reason).text;
        *lock(&self.state.heard) = Some(heard);
    }

    fn report(&self, error: &NativeError) {
        let heard = lock(&self.state.heard).take();
        let code = error.rdkafka_error_code();
        let what = heard.unwrap_or_else(|| code.map_or_else(|| error.to_string(), describe));
        match code {
            _ if matches!(error, NativeError::MessageConsumptionFatal(_)) => self.send(Event::Failed(what)),
            Some(Code::AutoOffsetReset | Code::LogTruncation) if what.contains(NOT_LEARNT) => {
                self.send(Event::Failed(format!("cannot read {}: {what}", self.topic)));
            }
            Some(Code::AutoOffsetReset | Code::LogTruncation) => {
                tracing::debug!(topic = %self.topic, what, "a position is out of range");
                self.send(Event::OutOfRange);
            }
            // It follows errors that say more.
            Some(Code::AllBrokersDown) => {}
            _ if self.state.limit.allows() => self.send(Event::Trouble(what)),
            _ => tracing::debug!(what, "one more error of Kafka"),
        }
    }

    fn on_probe(&self, link: Link, answers: bool) -> Link {
        if answers {
            self.trouble.forget();
            if matches!(link, Link::Unknown | Link::Down(_)) {
                self.send(Event::Connected);
            }
            return Link::Up;
        }
        let reason = self.trouble.reason();
        let rank = reason.as_ref().map(|reason| reason.rank);
        // The reason may come later than the failure; it is said as soon as it is known.
        if !matches!(link, Link::Down(said) if said >= rank) {
            let why = reason.map_or_else(
                || format!("no broker of {} answers", self.bootstrap_servers),
                |reason| reason.text,
            );
            self.send(Event::Disconnected(why));
        }
        match link {
            Link::Down(said) => Link::Down(said.max(rank)),
            _ => Link::Down(rank),
        }
    }

    /// Begins anew with partitions that the program asked for. librdkafka refuses to seek in one that it stopped, so it
    /// is taken out of the assignment and put back.
    ///
    /// A revocation that is in librdkafka's queue just now takes this for its answer, and its partitions are another
    /// member's while work on them goes on. So the next revocation counts as a loss, unless the queue was seen empty before
    /// it: then it came later.
    fn restart(&self, client: &BaseConsumer<Self>) {
        let asked = std::mem::take(&mut *lock(&self.restarts));
        let starts = self.owned.ours(asked);
        if starts.is_empty() {
            return;
        }
        *lock(&self.state.restarted) = Some(Instant::now());
        let list: Result<TopicPartitionList, _> = list_of(&self.topic, &starts);
        let restarted = list.and_then(|list| {
            client.incremental_unassign(&list)?;
            client.incremental_assign(&list)
        });
        match restarted {
            Ok(()) => {
                for (partition, start) in starts {
                    self.send(Event::Restarted(partition, start));
                }
            }
            Err(error) => self.send(Event::Failed(format!("cannot read {starts:?} again: {error}"))),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

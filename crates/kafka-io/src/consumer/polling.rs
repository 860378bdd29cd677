//! Owns the thread that polls librdkafka, and what becomes of its callbacks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError as NativeError, RDKafkaErrorCode as Code};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Event, Revocation};
use crate::context::{Trouble, describe, log};
use crate::{Partition, Record};

/// How long one poll waits. It bounds how late the end of the thread is noticed.
const POLL: Duration = Duration::from_millis(100);
/// How often, and how patiently, a cluster that does not answer is tried.
const PROBE: Duration = Duration::from_secs(1);

/// What is known of the connection to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Unknown,
    Up,
    /// A connection failed; another may do.
    Suspect,
    Down,
}

/// Polls until the consumer ends or nobody listens.
pub(super) fn poll(client: &BaseConsumer<Events>) {
    let context = Arc::clone(client.context());
    let mut link = Link::Unknown;
    let mut probed: Option<Instant> = None;
    while context.goes_on() {
        match client.poll(POLL) {
            None => {}
            Some(Ok(message)) => context.send(Event::Record(Record::of(&message))),
            Some(Err(NativeError::PartitionEOF(partition))) => {
                context.send(Event::EndOfPartition(Partition(partition)));
            }
            Some(Err(error)) => match event_of(&error) {
                Some(event) => context.send(event),
                None if link == Link::Up => link = Link::Suspect,
                None => {}
            },
        }
        if link != Link::Up && probed.is_none_or(|last| last.elapsed() >= PROBE) {
            let answers = client.fetch_metadata(None, PROBE).is_ok();
            probed = Some(Instant::now());
            match (answers, link) {
                (true, Link::Unknown | Link::Down) => context.send(Event::Connected),
                (false, Link::Unknown | Link::Suspect) => context.send(Event::Disconnected(context.why())),
                (true, Link::Suspect) | (false, Link::Down) | (_, Link::Up) => {}
            }
            link = if answers { Link::Up } else { Link::Down };
        }
    }
}

/// What an error means; `None` if a connection failed, which matters only if no other does.
fn event_of(error: &NativeError) -> Option<Event> {
    match (error, error.rdkafka_error_code()) {
        (NativeError::MessageConsumptionFatal(code), _) => Some(Event::Failed(describe(*code))),
        (
            _,
            Some(
                Code::AllBrokersDown
                | Code::BrokerTransportFailure
                | Code::Resolve
                | Code::SSL
                | Code::Authentication,
            ),
        ) => None,
        (_, Some(code)) => Some(Event::Trouble(describe(code))),
        (_, None) => Some(Event::Trouble(error.to_string())),
    }
}

/// Where librdkafka's callbacks, on the polling thread, put events.
pub(super) struct Events {
    pub(super) sender: mpsc::Sender<Event>,
    pub(super) ended: Arc<AtomicBool>,
    pub(super) drain_timeout: Duration,
    pub(super) bootstrap_servers: String,
    pub(super) trouble: Trouble,
}

impl Events {
    fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::Relaxed) && !self.sender.is_closed()
    }

    /// Why there is no connection.
    fn why(&self) -> String {
        self.trouble
            .take()
            .unwrap_or_else(|| format!("no broker of {} answers", self.bootstrap_servers))
    }

    fn send(&self, event: Event) {
        // It fails where nobody listens any more, and then the thread is about to end.
        drop(self.sender.blocking_send(event));
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: NativeError, reason: &str) {
        self.trouble.hear(&error, reason);
    }
}

impl ConsumerContext for Events {
    fn pre_rebalance(&self, client: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else {
            return;
        };
        let partitions = partitions(list);
        if partitions.is_empty() || !self.goes_on() {
            return;
        }
        if client.assignment_lost() {
            self.send(Event::Lost(partitions));
            return;
        }
        let (revocation, finished) = Revocation::new();
        self.send(Event::Revoking(partitions, revocation));
        // It ends when the sender is dropped, or too late.
        let _released_or_late = finished.recv_timeout(self.drain_timeout);
    }

    fn post_rebalance(&self, _client: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => self.send(Event::Assigned(partitions(list))),
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => self.send(Event::Trouble(error.to_string())),
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements()
        .iter()
        .map(|element| Partition(element.partition()))
        .collect()
}

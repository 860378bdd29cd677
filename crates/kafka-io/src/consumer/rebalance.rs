//! Owns what happens as the group gives us partitions and takes them away.
//!
//! All of it runs on the polling thread, inside of librdkafka's callback: the group waits until it returns. A partition
//! begins at what the group has committed, and where it has committed nothing, as the program says. It never begins
//! anywhere else: if what is committed cannot be learnt in time, nothing is read and the consumer fails.

use std::error::Error;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError as NativeError;
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::RDKafkaRespErr;
use tokio::time::Instant;

use super::polling::{Events, POLL};
use super::{Event, Partition, Revocation, StartWithout};
use crate::reason::Reason;

/// How long one question about committed offsets may take, the pause before the next, and how long all of them may.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(5);
const COMMITTED_PAUSE: Duration = Duration::from_millis(200);
const COMMITTED_PATIENCE: Duration = Duration::from_secs(30);

type Client = BaseConsumer<Events>;

impl ClientContext for Events {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.trouble.log(level, facility, line);
    }

    fn error(&self, error: NativeError, reason: &str) {
        self.hear(&error, reason);
    }

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens
            .generate()
            .inspect_err(|error| self.trouble.record(Reason::of_login(&error.to_string())))
    }
}

impl ConsumerContext for Events {
    fn rebalance(&self, client: &Client, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(client, list),
            _ => self.revoke(client, list),
        }
    }
}

impl Events {
    fn assign(&self, client: &Client, list: &TopicPartitionList) {
        let (assigned, starts) = match self.with_starts(client, list) {
            Ok(found) => found,
            Err(reason) => {
                self.send(Event::Failed(format!(
                    "cannot learn what the group has committed for {:?}: {reason}",
                    partitions(list)
                )));
                // The group waits for an answer; it is given none of them.
                (TopicPartitionList::new(), Vec::new())
            }
        };
        let given: Vec<Partition> = starts.iter().map(|(partition, _)| *partition).collect();
        self.owned.announce(starts);
        if let Err(error) = client.incremental_assign(&assigned) {
            self.send(Event::Failed(format!("cannot read {given:?}: {error}")));
        } else {
            self.send(Event::Assigned(given));
        }
    }

    /// The partitions with the offsets to begin at.
    fn with_starts(
        &self,
        client: &Client,
        list: &TopicPartitionList,
    ) -> Result<(TopicPartitionList, Vec<(Partition, i64)>), String> {
        if list.count() == 0 {
            return Ok((TopicPartitionList::new(), Vec::new()));
        }
        let deadline = Instant::now() + COMMITTED_PATIENCE;
        loop {
            let reason = match self.ask_starts(client, list) {
                Ok(found) => return Ok(found),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline || self.life.has_ended() {
                return Err(reason);
            }
            tracing::debug!(reason, "asking again what the group has committed");
            self.life.wait(COMMITTED_PAUSE);
        }
    }

    /// Asks once. Where nothing is committed, the beginning or the end is asked for too, and never left to librdkafka (2.12):
    /// if its answer comes after the partition was begun elsewhere, librdkafka asks again and reads from there after all.
    fn ask_starts(
        &self,
        client: &Client,
        list: &TopicPartitionList,
    ) -> Result<(TopicPartitionList, Vec<(Partition, i64)>), NativeError> {
        let committed = client.committed_offsets(list.clone(), COMMITTED_TIMEOUT)?;
        if let Some(error) = first_error(&committed) {
            return Err(error);
        }
        let mut starts = Vec::with_capacity(committed.count());
        for (topic, number) in committed.to_topic_map().into_keys().collect::<Vec<_>>() {
            let Some(mut element) = committed.find_partition(&topic, number) else {
                continue;
            };
            // A committed offset keeps its leader epoch, by which librdkafka notices that the log was cut.
            let start = if let Offset::Offset(offset) = element.offset() {
                offset
            } else {
                let (first, next) = client.fetch_watermarks(&topic, number, COMMITTED_TIMEOUT)?;
                let start = match self.start {
                    StartWithout::Earliest => first,
                    StartWithout::Latest => next,
                };
                element.set_offset(Offset::Offset(start))?;
                start
            };
            starts.push((Partition(number), start));
        }
        starts.sort_unstable_by_key(|(partition, _)| *partition);
        Ok((committed, starts))
    }

    fn revoke(&self, client: &Client, list: &TopicPartitionList) {
        let partitions = partitions(list);
        // A partition that was begun anew may have answered this revocation in our stead; see `polling`.
        let is_lost = client.assignment_lost() || self.restarted();
        let drained = !is_lost && self.drain(&partitions);
        self.owned.give_away(&partitions);
        let unassigned = match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_unassign(list),
            _ => client.unassign(),
        };
        // Some of them were never assigned, because what was committed could not be learnt.
        if unassigned.is_err() {
            drop(client.unassign());
        }
        if !drained && !partitions.is_empty() {
            self.send(Event::Lost(partitions));
        }
    }

    /// Lets the work on partitions be finished. `false` if it was not, in the time that it is given.
    fn drain(&self, partitions: &[Partition]) -> bool {
        if partitions.is_empty() || self.is_over() {
            return true;
        }
        let (revocation, finished) = Revocation::new();
        self.send(Event::Revoking(partitions.to_vec(), revocation));
        let deadline = Instant::now() + self.drain_timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // It is disconnected when the revocation is dropped.
            if finished.recv_timeout(left.min(POLL)) == Err(RecvTimeoutError::Disconnected) {
                return true;
            }
            if left.is_zero() || self.life.has_ended() {
                return false;
            }
        }
    }
}

fn first_error(list: &TopicPartitionList) -> Option<NativeError> {
    list.elements().iter().find_map(|element| element.error().err())
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements()
        .iter()
        .map(|element| Partition(element.partition()))
        .collect()
}

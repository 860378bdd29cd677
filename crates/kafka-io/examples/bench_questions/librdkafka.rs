//! Owns librdkafka's way to ask: calls of its C interface that rdkafka does not wrap, many in flight on one queue.

#![expect(unsafe_code, reason = "rdkafka has no safe way to these calls")]

use std::ffi::CString;
use std::ptr;

use anyhow::ensure;
use kafka_admin::{Connection, TopicPartition};
use rdkafka::ClientConfig;
use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_admin_op_t as Operation;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

/// The most calls that are not answered yet.
const IN_FLIGHT: usize = 50;
/// The most partitions of one call: librdkafka's cost is quadratic in it.
const PARTITIONS_PER_CALL: usize = 250;
const TIMEOUT_MS: i32 = 30_000;
/// The end of a partition, as `ListOffsets` names it.
const LATEST: i64 = -1;

pub(crate) struct Client(BaseConsumer);

impl Client {
    pub(crate) fn new(connection: &Connection) -> anyhow::Result<Self> {
        let mut config: ClientConfig = kafka_io::librdkafka_settings(connection).into_iter().collect();
        // Nobody joins it.
        config.set("group.id", "bench-asks");
        Ok(Self(config.create()?))
    }

    /// How many offsets the groups have committed.
    pub(crate) fn committed(&self, groups: &[String]) -> anyhow::Result<usize> {
        let names: Result<Vec<_>, _> = groups.iter().map(|group| CString::new(group.as_str())).collect();
        let names = names?;
        let client = self.0.client().native_ptr();
        let send = |at: usize, options, queue| {
            // SAFETY: the name, the options and the queue live through the call, which copies the request.
            unsafe {
                let mut request =
                    native::rd_kafka_ListConsumerGroupOffsets_new(names[at].as_ptr(), ptr::null());
                native::rd_kafka_ListConsumerGroupOffsets(client, &raw mut request, 1, options, queue);
                native::rd_kafka_ListConsumerGroupOffsets_destroy(request);
            }
        };
        let read = |event| {
            // SAFETY: the event lives, and so do its groups and their lists.
            unsafe {
                let result = native::rd_kafka_event_ListConsumerGroupOffsets_result(event);
                let mut count = 0;
                let first = native::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
                let groups = std::slice::from_raw_parts(first, count).iter();
                let lists =
                    groups.filter_map(|group| native::rd_kafka_group_result_partitions(*group).as_ref());
                lists
                    .map(|list| usize::try_from(list.cnt).unwrap_or_default())
                    .sum()
            }
        };
        self.call(
            Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
            names.len(),
            send,
            read,
        )
    }

    /// Of how many partitions the end is known.
    pub(crate) fn ends(&self, partitions: &[TopicPartition]) -> anyhow::Result<usize> {
        let mut lists = Vec::new();
        for some in partitions.chunks(PARTITIONS_PER_CALL) {
            let mut list = TopicPartitionList::with_capacity(some.len());
            for TopicPartition { topic, partition } in some {
                list.add_partition_offset(topic.as_str(), partition.0, Offset::from_raw(LATEST))?;
            }
            lists.push(list);
        }
        let client = self.0.client().native_ptr();
        let send = |at: usize, options, queue| {
            // SAFETY: the list, the options and the queue live until the call is answered.
            unsafe { native::rd_kafka_ListOffsets(client, lists[at].ptr(), options, queue) }
        };
        let read = |event| {
            // SAFETY: the event lives, and so do its infos.
            unsafe {
                let result = native::rd_kafka_event_ListOffsets_result(event);
                let mut count = 0;
                let first = native::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
                let infos = std::slice::from_raw_parts(first, count).iter();
                infos
                    .filter(|info| {
                        (*native::rd_kafka_ListOffsetsResultInfo_topic_partition(**info)).offset >= 0
                    })
                    .count()
            }
        };
        self.call(Operation::RD_KAFKA_ADMIN_OP_LISTOFFSETS, lists.len(), send, read)
    }

    /// Makes so many calls, and adds up what their answers say.
    fn call(
        &self,
        operation: Operation,
        calls: usize,
        send: impl Fn(usize, *const native::rd_kafka_AdminOptions_t, *mut native::rd_kafka_queue_t),
        read: impl Fn(*mut native::rd_kafka_event_t) -> usize,
    ) -> anyhow::Result<usize> {
        let client = self.0.client().native_ptr();
        // SAFETY: what is made here is destroyed here, each event before its queue; an event that does not come is null.
        unsafe {
            let options = native::rd_kafka_AdminOptions_new(client, operation);
            let queue = native::rd_kafka_queue_new(client);
            let (mut begun, mut answered, mut sum, mut failed) = (0, 0, 0, 0);
            while answered < calls {
                while begun < calls && begun - answered < IN_FLIGHT {
                    send(begun, options, queue);
                    begun += 1;
                }
                let event = native::rd_kafka_queue_poll(queue, TIMEOUT_MS);
                answered += 1;
                if event.is_null() {
                    failed += 1;
                    continue;
                }
                if native::rd_kafka_event_error(event) == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    sum += read(event);
                } else {
                    failed += 1;
                }
                native::rd_kafka_event_destroy(event);
            }
            native::rd_kafka_queue_destroy(queue);
            native::rd_kafka_AdminOptions_destroy(options);
            ensure!(failed == 0, "{failed} of {calls} calls failed");
            Ok(sum)
        }
    }
}

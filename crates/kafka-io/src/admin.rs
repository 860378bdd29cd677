//! Owns the calls of librdkafka's admin API that rdkafka does not wrap. The only unsafe code of the workspace.
//!
//! Each call is the same: a queue, options, the request, one event on the queue, its result. Nothing of librdkafka
//! leaves here, and every call blocks for at most the time that it is given.

#![expect(unsafe_code, reason = "rdkafka has no safe way to these calls")]

use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::os::raw::c_char;
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_admin_op_t as Operation;
use rdkafka::client::{Client, ClientContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafka, RDKafkaRespErr};

use crate::refusal::Refusal;
use crate::{Partition, Topic, TopicPartition};

/// librdkafka gives up by itself after the time limit; a moment later so do we.
const MARGIN: Duration = Duration::from_secs(1);
/// The room for a message about a wrong option.
const MESSAGE_BYTES: usize = 256;

/// What the cluster says of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) partition: TopicPartition,
    pub(crate) offset: i64,
    pub(crate) metadata: String,
    pub(crate) refused: Option<Refusal>,
}

/// A client whose admin calls are made.
pub(crate) struct Admin<'c> {
    pub(crate) client: *mut RDKafka,
    patience: Duration,
    alive: PhantomData<&'c ()>,
}

impl<'c> Admin<'c> {
    /// Calls by `client`, each of which may take so long.
    pub(crate) fn of<C: ClientContext>(client: &'c Client<C>, patience: Duration) -> Self {
        Self {
            client: client.native_ptr(),
            patience,
            alive: PhantomData,
        }
    }

    /// `ListOffsets`: the offset that `spec` names (`-1` the end, `-2` the beginning) of each partition.
    pub(crate) fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: i64,
    ) -> Result<Vec<Told>, Refusal> {
        let list = list_of(partitions.iter().map(|partition| (partition, spec, "")))?;
        // SAFETY: the list, the options and the queue live until the call has answered; the result is read before the
        // event that owns it is destroyed.
        self.call(
            Operation::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
            |options, queue| unsafe {
                native::rd_kafka_ListOffsets(self.client, list.ptr(), options, queue);
            },
            |event| unsafe {
                let result = native::rd_kafka_event_ListOffsets_result(event);
                let infos = entries(|count| native::rd_kafka_ListOffsets_result_infos(result, count));
                infos
                    .iter()
                    .map(|info| told(&*native::rd_kafka_ListOffsetsResultInfo_topic_partition(*info)))
                    .collect()
            },
        )
    }

    /// `AlterConsumerGroupOffsets`: commits as nobody's member.
    pub(crate) fn commit(
        &self,
        group: &str,
        offsets: &[(TopicPartition, i64)],
        metadata: &str,
    ) -> Result<Vec<Told>, Refusal> {
        let list = list_of(
            offsets
                .iter()
                .map(|(partition, offset)| (partition, *offset, metadata)),
        )?;
        let group = name(group)?;
        // SAFETY: as above; librdkafka copies the request before the call returns.
        self.call(
            Operation::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS,
            |options, queue| unsafe {
                let mut request = native::rd_kafka_AlterConsumerGroupOffsets_new(group.as_ptr(), list.ptr());
                native::rd_kafka_AlterConsumerGroupOffsets(self.client, &raw mut request, 1, options, queue);
                native::rd_kafka_AlterConsumerGroupOffsets_destroy(request);
            },
            |event| unsafe {
                let result = native::rd_kafka_event_AlterConsumerGroupOffsets_result(event);
                of_group(&entries(|count| {
                    native::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, count)
                }))
            },
        )
    }

    /// `ListConsumerGroupOffsets`: what a group has committed, of these partitions or of all.
    pub(crate) fn committed(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Vec<Told>, Refusal> {
        let list =
            partitions.map(|partitions| list_of(partitions.iter().map(|partition| (partition, 0, ""))));
        let list = list.transpose()?;
        let asked = list.as_ref().map_or(ptr::null(), |list| list.ptr().cast_const());
        let group = name(group)?;
        // SAFETY: as above.
        self.call(
            Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
            |options, queue| unsafe {
                let mut request = native::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), asked);
                native::rd_kafka_ListConsumerGroupOffsets(self.client, &raw mut request, 1, options, queue);
                native::rd_kafka_ListConsumerGroupOffsets_destroy(request);
            },
            |event| unsafe {
                let result = native::rd_kafka_event_ListConsumerGroupOffsets_result(event);
                of_group(&entries(|count| {
                    native::rd_kafka_ListConsumerGroupOffsets_result_groups(result, count)
                }))
            },
        )
    }

    /// `DeleteConsumerGroupOffsets`: forgets what a group has committed in these partitions. A broker before 2.4, and
    /// the mock, lack the call, and librdkafka then ends the process.
    pub(crate) fn delete_committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Told>, Refusal> {
        let list = list_of(partitions.iter().map(|partition| (partition, 0, "")))?;
        let group = name(group)?;
        // SAFETY: as above.
        self.call(
            Operation::RD_KAFKA_ADMIN_OP_DELETECONSUMERGROUPOFFSETS,
            |options, queue| unsafe {
                let mut request = native::rd_kafka_DeleteConsumerGroupOffsets_new(group.as_ptr(), list.ptr());
                native::rd_kafka_DeleteConsumerGroupOffsets(self.client, &raw mut request, 1, options, queue);
                native::rd_kafka_DeleteConsumerGroupOffsets_destroy(request);
            },
            |event| unsafe {
                let result = native::rd_kafka_event_DeleteConsumerGroupOffsets_result(event);
                of_group(&entries(|count| {
                    native::rd_kafka_DeleteConsumerGroupOffsets_result_groups(result, count)
                }))
            },
        )
    }

    /// Makes a call, waits for its event, and reads what that says unless the call was refused as a whole.
    pub(crate) fn call<T>(
        &self,
        operation: Operation,
        send: impl FnOnce(*mut native::rd_kafka_AdminOptions_t, *mut native::rd_kafka_queue_t),
        read: impl FnOnce(*mut native::rd_kafka_event_t) -> T,
    ) -> Result<T, Refusal> {
        let milliseconds = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        let mut message: [c_char; MESSAGE_BYTES] = [0; MESSAGE_BYTES];
        // SAFETY: `client` lives as long as we do; what is made here is destroyed here, the event before its queue; an
        // event that does not come is a null pointer.
        unsafe {
            let options = native::rd_kafka_AdminOptions_new(self.client, operation);
            native::rd_kafka_AdminOptions_set_request_timeout(
                options,
                milliseconds(self.patience),
                message.as_mut_ptr(),
                MESSAGE_BYTES,
            );
            let queue = native::rd_kafka_queue_new(self.client);
            send(options, queue);
            let event = native::rd_kafka_queue_poll(queue, milliseconds(self.patience + MARGIN));
            let answer = if event.is_null() {
                Err(Refusal::without_answer(self.patience))
            } else {
                let code = native::rd_kafka_event_error(event);
                if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    Ok(read(event))
                } else {
                    let why = text(native::rd_kafka_event_error_string(event));
                    Err(Refusal::of(code.into(), Some(why)))
                }
            };
            if !event.is_null() {
                native::rd_kafka_event_destroy(event);
            }
            native::rd_kafka_queue_destroy(queue);
            native::rd_kafka_AdminOptions_destroy(options);
            answer
        }
    }
}

fn list_of<'p>(
    entries: impl ExactSizeIterator<Item = (&'p TopicPartition, i64, &'p str)>,
) -> Result<TopicPartitionList, Refusal> {
    let mut list = TopicPartitionList::with_capacity(entries.len());
    for (TopicPartition { topic, partition }, offset, metadata) in entries {
        // The beginning and the end have the same raw numbers here and in ListOffsets.
        let offset = Offset::from_raw(offset);
        let mut added = list.add_partition(name(topic.as_str())?.to_str().unwrap_or_default(), partition.0);
        added
            .set_offset(offset)
            .map_err(|error| Refusal::impossible(&error))?;
        if !metadata.is_empty() {
            added.set_metadata(metadata);
        }
    }
    Ok(list)
}

pub(crate) fn name(text: &str) -> Result<CString, Refusal> {
    CString::new(text).map_err(|error| Refusal::impossible(&error))
}

/// # Safety
/// `list` must give a pointer to as many pointers as it says.
pub(crate) unsafe fn entries<T>(list: impl FnOnce(*mut usize) -> *mut *const T) -> Vec<*const T> {
    let mut count = 0;
    let first = list(&raw mut count);
    if first.is_null() {
        return Vec::new();
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(first, count) }.to_vec()
}

/// # Safety
/// The groups must be librdkafka's, and alive.
unsafe fn of_group(groups: &[*const native::rd_kafka_group_result_t]) -> Vec<Told> {
    let mut all = Vec::new();
    for group in groups {
        // SAFETY: as the caller promises; a list has as many elements as it says.
        unsafe {
            let list = native::rd_kafka_group_result_partitions(*group);
            if let Some(list) = list.as_ref().filter(|list| list.cnt > 0) {
                let count = usize::try_from(list.cnt).unwrap_or_default();
                all.extend(
                    std::slice::from_raw_parts(list.elems, count)
                        .iter()
                        .map(|element| told(element)),
                );
            }
        }
    }
    all
}

/// # Safety
/// The element must be librdkafka's, and alive.
unsafe fn told(element: &native::rd_kafka_topic_partition_t) -> Told {
    // SAFETY: a topic is a C string; metadata is as long as it says.
    let (topic, metadata) = unsafe {
        let metadata = if element.metadata.is_null() {
            String::new()
        } else {
            let bytes = std::slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size);
            String::from_utf8_lossy(bytes).into_owned()
        };
        (text(element.topic), metadata)
    };
    let refused = element.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    Told {
        partition: TopicPartition {
            topic: Topic::from(topic.as_str()),
            partition: Partition(element.partition),
        },
        offset: element.offset,
        metadata,
        refused: refused.then(|| Refusal::of(element.err.into(), None)),
    }
}

/// # Safety
/// It must be null or a C string.
pub(crate) unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

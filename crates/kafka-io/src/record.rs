//! Owns what is read from a topic and what is written to one.

use kafka_admin::{Partition, Topic};
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, OwnedHeaders};

use crate::headers::headers_of;

/// A header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name; names may repeat.
    pub name: String,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The partition that it was read from.
    pub partition: Partition,
    /// Its place there.
    pub offset: i64,
    /// When it was made, or appended, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; a tombstone has none.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<Header>,
}

impl Record {
    pub(crate) fn of(message: &BorrowedMessage<'_>) -> Self {
        Self {
            partition: Partition(message.partition()),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers_of(message),
        }
    }

    /// The bytes that it keeps in memory, near enough for a bound.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + kept(self.key.as_ref(), self.value.as_ref(), &self.headers)
    }
}

fn kept(key: Option<&Vec<u8>>, value: Option<&Vec<u8>>, headers: &[Header]) -> usize {
    let length = |value: Option<&Vec<u8>>| value.map_or(0, Vec::len);
    let headers = headers
        .iter()
        .map(|header| header.name.len() + length(header.value.as_ref()));
    length(key) + length(value) + headers.sum::<usize>()
}

/// A record to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub topic: Topic,
    /// Its key, which decides on the partition.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<Header>,
}

impl Outgoing {
    /// The bytes that it keeps in memory, near enough for a bound.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + kept(self.key.as_ref(), self.value.as_ref(), &self.headers)
    }

    pub(crate) fn native_headers(&self) -> Option<OwnedHeaders> {
        if self.headers.is_empty() {
            return None;
        }
        let start = OwnedHeaders::new_with_capacity(self.headers.len());
        Some(self.headers.iter().fold(start, |headers, header| {
            headers.insert(rdkafka::message::Header {
                key: &header.name,
                value: header.value.as_deref(),
            })
        }))
    }
}

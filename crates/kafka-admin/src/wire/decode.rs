//! Owns decoding. Whatever the bytes are, the outcome is a message or an error: no panic, and no allocation that is much
//! larger than what was received.
//!
//! `kafka-protocol` reserves memory for as many elements as an array announces, before it reads the first, so that four
//! wrong bytes ask for hundreds of gigabytes and end the process. [`Guard`] stands between it and the bytes.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::buf::{ByteBuf, NotEnoughBytesError};
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request};

/// Counts up to this are let through whatever remains: an element takes a few hundred bytes at most, so this is some
/// megabytes of address space, which are never touched.
const HARMLESS_COUNT: usize = 1 << 16;
/// No element of an array that is counted by a 32-bit number is shorter: a string has its length.
const SHORTEST_ELEMENT: usize = 2;
/// In an array of more elements than are harmless that is counted by a variable-length number, none is shorter: the numbers of
/// partitions.
const SHORTEST_OF_MANY: usize = 4;
/// The most bytes of a variable-length number.
const VARINT_BYTES: usize = 5;

/// The body of a response, whose header is skipped.
pub(crate) fn decode_response<Req: Request>(frame: Bytes, version: i16) -> Result<Req::Response, String> {
    let header_version = <Req::Response as HeaderVersion>::header_version(version);
    let mut guard = Guard::new(frame);
    ResponseHeader::decode(&mut guard, header_version).map_err(|error| describe(&error))?;
    decode(guard.bytes, version)
}

/// A message whose version stands before it, as members put into their metadata.
pub(crate) fn decode_versioned<Message: Decodable>(mut bytes: Bytes) -> Result<Message, String> {
    let version = bytes.try_get_i16().map_err(|error| error.to_string())?;
    decode(bytes, version)
}

fn decode<Message: Decodable>(bytes: Bytes, version: i16) -> Result<Message, String> {
    let mut guard = Guard::new(bytes.clone());
    let message = Message::decode(&mut guard, version).map_err(|error| describe(&error))?;
    if guard.has_wrong_count {
        return Err(describe(&"it counts more elements than it has"));
    }
    if !guard.is_clamped {
        return Ok(message);
    }
    // Every count is harmless, or the message could not be decoded; now with the numbers that were too large for a count.
    Message::decode(&mut { bytes }, version).map_err(|error| describe(&error))
}

fn describe(error: &impl std::fmt::Display) -> String {
    format!(
        "the broker's answer cannot be decoded: {}",
        error.to_string().trim_end()
    )
}

/// Bytes that give no number that could be a count of more elements than there are bytes.
///
/// A count is a 32-bit number or a variable-length one. The reader cannot see which number is a count, which is a length, and
/// which neither. One that is too large for a count is made smaller, and noted: if as many bytes are taken next as the smaller
/// number says, it was a length, and as many are given as it truly says. Else a variable-length one was a count, which is an
/// error; a 32-bit one may be neither, so it is made as small as no count of what remains can be.
struct Guard {
    bytes: Bytes,
    is_clamped: bool,
    has_wrong_count: bool,
    /// The rest of a variable-length number that is made smaller.
    varint: Option<Varint>,
    /// The number that was made smaller just now.
    clamped: Option<Clamped>,
}

#[derive(Clone, Copy)]
struct Varint {
    given: usize,
    bytes_left: usize,
}

#[derive(Clone, Copy)]
struct Clamped {
    given: usize,
    number: usize,
    is_varint: bool,
}

impl Guard {
    fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            is_clamped: false,
            has_wrong_count: false,
            varint: None,
            clamped: None,
        }
    }

    fn clamp(&mut self, clamped: Clamped) {
        self.is_clamped = true;
        self.clamped = Some(clamped);
    }

    /// Something else is read than as many bytes as the number that was made smaller.
    fn is_no_length(&mut self) {
        self.varint = None;
        let clamped = self.clamped.take();
        self.has_wrong_count |= clamped.is_some_and(|clamped| clamped.is_varint);
    }

    /// Looks at the variable-length number that may begin here. Each ends within [`VARINT_BYTES`], or is an error, so a reader
    /// that takes its first byte for a flag ends where it ends.
    fn begin_varint(&mut self) -> Result<(), TryGetError> {
        let available = self.bytes.len();
        let bytes = &self.bytes[..available.min(VARINT_BYTES)];
        let size = bytes
            .iter()
            .position(|byte| byte & 0x80 == 0)
            .map(|last| last + 1);
        let size = size.ok_or(TryGetError {
            requested: VARINT_BYTES + 1,
            available,
        })?;
        let bits = |(place, byte): (usize, &u8)| usize::from(byte & 0x7f) << (7 * place);
        let number: usize = bytes[..size].iter().enumerate().map(bits).sum();
        let given = HARMLESS_COUNT.max((available - size) / SHORTEST_OF_MANY);
        if number > given {
            self.varint = Some(Varint {
                given,
                bytes_left: size,
            });
            // A length and a count in this encoding are one more than they are.
            self.clamp(Clamped {
                given: given - 1,
                number: number - 1,
                is_varint: true,
            });
        }
        Ok(())
    }
}

impl Buf for Guard {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.is_no_length();
        self.bytes.advance(count);
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        if self.varint.is_none() {
            self.is_no_length();
            if self.bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
                self.begin_varint()?;
            }
        }
        let byte = self.bytes.try_get_u8()?;
        let Some(Varint { given, bytes_left }) = self.varint else {
            return Ok(byte);
        };
        self.varint = (bytes_left > 1).then_some(Varint {
            given: given >> 7,
            bytes_left: bytes_left - 1,
        });
        Ok((byte & 0x80) | u8::try_from(given & 0x7f).unwrap_or_default())
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        self.is_no_length();
        let value = self.bytes.try_get_i32()?;
        let given = HARMLESS_COUNT.max(self.bytes.len() / SHORTEST_ELEMENT + 1);
        match usize::try_from(value) {
            Ok(number) if number > given => {
                self.clamp(Clamped {
                    given,
                    number,
                    is_varint: false,
                });
                Ok(i32::try_from(given).unwrap_or(i32::MAX))
            }
            _ => Ok(value),
        }
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.is_no_length();
        self.bytes.copy_to_bytes(count)
    }
}

impl ByteBuf for Guard {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.bytes.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.is_no_length();
        self.bytes.split_to(size)
    }

    fn try_get_bytes(&mut self, size: usize) -> Result<Bytes, NotEnoughBytesError> {
        let length = match self.clamped {
            Some(Clamped { given, number, .. }) if given == size => {
                self.clamped = None;
                number
            }
            _ => size,
        };
        if length > self.bytes.len() {
            return Err(NotEnoughBytesError);
        }
        Ok(self.get_bytes(length))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::consumer_group_describe_response::{DescribedGroup, Member};
    use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
    use kafka_protocol::messages::{
        ConsumerGroupDescribeResponse, FetchResponse, ListOffsetsResponse, MetadataRequest, MetadataResponse,
        OffsetFetchResponse,
    };
    use kafka_protocol::protocol::{Encodable, Message, StrBytes};
    use proptest::prelude::*;

    use super::*;

    fn metadata() -> MetadataResponse {
        let broker = MetadataResponseBroker::default()
            .with_node_id(i32::MAX.into())
            .with_host(StrBytes::from_static_str("localhost"))
            .with_port(65_535);
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_controller_id(1_000_000_000.into())
    }

    #[test]
    fn large_numbers_that_are_no_counts_stay_what_they_are() {
        for version in MetadataResponse::VERSIONS.min..=MetadataResponse::VERSIONS.max {
            let mut bytes = BytesMut::new();
            let mut expected = metadata();
            if version == 0 {
                expected.controller_id = (-1).into();
            }
            expected.encode(&mut bytes, version).unwrap();
            let decoded: MetadataResponse = decode(bytes.freeze(), version).unwrap();
            assert_eq!(decoded.brokers, expected.brokers);
            assert_eq!(decoded.controller_id, expected.controller_id);
        }
    }

    #[test]
    fn a_response_that_is_cut_anywhere_is_an_error() {
        for version in [1, 9, 13] {
            let mut bytes = BytesMut::new();
            metadata().encode(&mut bytes, version).unwrap();
            let bytes = bytes.freeze();
            for length in 0..bytes.len() {
                assert!(decode::<MetadataResponse>(bytes.slice(..length), version).is_err());
            }
        }
    }

    #[test]
    fn a_count_of_two_thousand_millions_is_an_error_and_no_allocation() {
        let mut plain = BytesMut::new();
        plain.extend_from_slice(&i32::MAX.to_be_bytes());
        let error = decode::<MetadataResponse>(plain.freeze(), 0).unwrap_err();
        assert!(error.contains("cannot be decoded"), "{error}");
        // v9: the time of throttling, then a count in five bytes.
        let compact = Bytes::from_static(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert!(decode::<MetadataResponse>(compact, 9).is_err());
    }

    #[test]
    fn the_header_is_skipped() {
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&[0, 0, 0, 7, 0]);
        metadata().encode(&mut bytes, 12).unwrap();
        let decoded = decode_response::<MetadataRequest>(bytes.freeze(), 12).unwrap();
        assert_eq!(decoded.brokers.len(), 1);
    }

    #[test]
    fn records_that_are_most_of_a_large_answer_are_read() {
        // Kafka sends the first batch of a partition however large it is. The lengths have low bits that are zero, or not.
        for size in [70_000, 1 << 17, (1 << 21) - 1, 3_000_000] {
            let partition = PartitionData::default().with_records(Some(Bytes::from(vec![7; size])));
            let topic = FetchableTopicResponse::default()
                .with_topic(StrBytes::from_static_str("topic").into())
                .with_partitions(vec![partition]);
            let expected = FetchResponse::default().with_responses(vec![topic]);
            for version in [4, 11, 12] {
                let mut bytes = BytesMut::new();
                expected.encode(&mut bytes, version).unwrap();
                let decoded: FetchResponse = decode(bytes.freeze(), version).unwrap();
                let records = decoded.responses[0].partitions[0].records.as_ref();
                assert_eq!(records.map(Bytes::len), Some(size), "{version}");
            }
        }
    }

    #[test]
    fn a_flag_that_looks_like_the_beginning_of_a_count_hides_none() {
        // v9: throttling, no brokers, no cluster, no controller, one topic: no error, no name, a flag of 0x80, and 4,000 millions
        // of partitions.
        let mut bytes = vec![0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 1, 0x80];
        bytes.extend_from_slice(&[0x80, 0x80, 0x80, 0x80, 0x0f]);
        assert!(decode::<MetadataResponse>(bytes.into(), 9).is_err());
    }

    #[test]
    fn a_count_is_not_believed_because_as_many_elements_as_are_harmless_are_there() {
        let member = Member::default()
            .with_subscribed_topic_names(vec![StrBytes::default().into(); HARMLESS_COUNT - 1]);
        let group = DescribedGroup::default().with_members(vec![member]);
        let mut bytes = BytesMut::new();
        let response = ConsumerGroupDescribeResponse::default().with_groups(vec![group]);
        response.encode(&mut bytes, 0).unwrap();
        assert_eq!(decode(bytes.clone().freeze(), 0), Ok(response));
        // In place of 65,536 as a variable-length number, 268 millions.
        let count = [0x80, 0x80, 0x04];
        let at = bytes.windows(3).position(|bytes| bytes == count).unwrap();
        let mut changed = bytes[..at].to_vec();
        changed.extend_from_slice(&[0x80, 0x80, 0x80, 0x80, 0x01]);
        changed.extend_from_slice(&bytes[at + count.len()..]);
        let error = decode::<ConsumerGroupDescribeResponse>(changed.into(), 0).unwrap_err();
        assert!(error.contains("counts more elements than it has"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 0_i16..14) {
            let bytes = Bytes::from(bytes);
            drop(decode::<MetadataResponse>(bytes.clone(), version));
            drop(decode::<OffsetFetchResponse>(bytes.clone(), version));
            drop(decode::<ListOffsetsResponse>(bytes.clone(), version));
            drop(decode::<FetchResponse>(bytes, version));
        }
    }
}

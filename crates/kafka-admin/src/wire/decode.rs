//! Owns decoding. Whatever the bytes are, the outcome is a message or an error: no panic, and no allocation that is much
//! larger than what was received.
//!
//! `kafka-protocol` reserves memory for as many elements as an array announces, before it reads the first, so that four
//! wrong bytes ask for hundreds of gigabytes and end the process. [`Guard`] stands between it and the bytes.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::messages::ResponseHeader;
use kafka_protocol::protocol::buf::ByteBuf;
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request};

/// Counts up to this are let through whatever remains: an element takes a few hundred bytes at most, so this is some
/// megabytes of address space, which are never touched.
const HARMLESS_COUNT: usize = 1 << 16;
/// A number that may be the length of one value, such as records, is let through up to what remains, but not beyond this:
/// as a count it asks for no more than some gigabytes of address space, which are never touched, since no element is as
/// short as a byte.
const MAX_LENGTH: usize = 8 << 20;
/// No element of an array that is counted by a 32-bit number is shorter: a string has its length.
const SHORTEST_ELEMENT: usize = 2;

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

/// Bytes that give no number that could be a count of more elements, or the length of a longer value, than there are bytes.
///
/// A count is a 32-bit number or a variable-length one. The reader cannot see which number is a count: a large 32-bit
/// number is made smaller, yet too large to be a count of what remains, and noted; a variable-length one is an error, since
/// such numbers are only counts and lengths.
struct Guard {
    bytes: Bytes,
    is_clamped: bool,
    /// The variable-length number that may be in the middle of being read: its value and its bits so far.
    partial: Option<(u64, u32)>,
}

impl Guard {
    fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            is_clamped: false,
            partial: None,
        }
    }

    fn largest_number(&self) -> usize {
        let remaining = self.bytes.len();
        // A variable-length number is one more than what it says.
        let length = MAX_LENGTH.min(remaining) + 1;
        HARMLESS_COUNT.max(remaining / SHORTEST_ELEMENT + 1).max(length)
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
        self.partial = None;
        self.bytes.advance(count);
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let byte = self.bytes.try_get_u8()?;
        let (value, bits) = self.partial.unwrap_or_default();
        let value = value | u64::from(byte & 0x7f) << bits;
        let largest = self.largest_number();
        if value > largest as u64 {
            return Err(TryGetError {
                requested: usize::try_from(value).unwrap_or(usize::MAX),
                available: self.bytes.len(),
            });
        }
        let goes_on = byte & 0x80 != 0 && bits < 28;
        self.partial = goes_on.then_some((value, bits + 7));
        Ok(byte)
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        self.partial = None;
        let value = self.bytes.try_get_i32()?;
        let largest = i32::try_from(self.largest_number()).unwrap_or(i32::MAX);
        if value > largest {
            self.is_clamped = true;
            return Ok(largest);
        }
        Ok(value)
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.partial = None;
        self.bytes.copy_to_bytes(count)
    }
}

impl ByteBuf for Guard {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.bytes.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.partial = None;
        self.bytes.split_to(size)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
    use kafka_protocol::messages::{
        FetchResponse, ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetFetchResponse,
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
    fn records_that_are_most_of_the_answer_are_decoded() {
        let records = Bytes::from(vec![7; 100_000]);
        let partition = PartitionData::default().with_records(Some(records.clone()));
        let topic = FetchableTopicResponse::default().with_partitions(vec![partition]);
        let response = FetchResponse::default().with_responses(vec![topic]);
        for version in 4..=12 {
            let mut bytes = BytesMut::new();
            response.encode(&mut bytes, version).unwrap();
            let decoded: FetchResponse = decode(bytes.freeze(), version).unwrap();
            let partition = &decoded.responses[0].partitions[0];
            assert_eq!(partition.records.as_ref(), Some(&records), "{version}");
        }
    }

    #[test]
    fn the_header_is_skipped() {
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&[0, 0, 0, 7, 0]);
        metadata().encode(&mut bytes, 12).unwrap();
        let decoded = decode_response::<MetadataRequest>(bytes.freeze(), 12).unwrap();
        assert_eq!(decoded.brokers.len(), 1);
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

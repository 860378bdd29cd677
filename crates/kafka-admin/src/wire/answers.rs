//! Owns the list of all answers that this crate reads, so that tests and the fuzzer try each of them.

use bytes::Bytes;
use kafka_protocol::messages::{
    ApiVersionsRequest, ConsumerGroupDescribeRequest, ConsumerProtocolAssignment, DescribeConfigsRequest,
    DescribeGroupsRequest, DescribeShareGroupOffsetsRequest, FetchRequest, FindCoordinatorRequest,
    ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, SaslAuthenticateRequest, SaslHandshakeRequest, ShareGroupDescribeRequest,
};
use kafka_protocol::protocol::Message as _;

use super::decode::{decode_response, decode_versioned};

/// The name and the versions of each answer.
#[doc(hidden)]
pub const ANSWERS: &[(&str, i16, i16)] = LIST;

macro_rules! answers {
    ($($name:literal: $request:ident,)*) => {
        const LIST: &[(&str, i16, i16)] =
            &[$(($name, $request::VERSIONS.min, $request::VERSIONS.max),)*];

        fn decode(name: &str, version: i16, frame: Bytes) -> Result<(), String> {
            match name {
                $($name => decode_response::<$request>(frame, version).map(drop),)*
                _ => Err(format!("{name} is not an answer that is read")),
            }
        }
    };
}

answers! {
    "ApiVersions": ApiVersionsRequest,
    "ConsumerGroupDescribe": ConsumerGroupDescribeRequest,
    "DescribeConfigs": DescribeConfigsRequest,
    "DescribeGroups": DescribeGroupsRequest,
    "DescribeShareGroupOffsets": DescribeShareGroupOffsetsRequest,
    "Fetch": FetchRequest,
    "FindCoordinator": FindCoordinatorRequest,
    "ListGroups": ListGroupsRequest,
    "ListOffsets": ListOffsetsRequest,
    "Metadata": MetadataRequest,
    "OffsetCommit": OffsetCommitRequest,
    "OffsetDelete": OffsetDeleteRequest,
    "OffsetFetch": OffsetFetchRequest,
    "SaslAuthenticate": SaslAuthenticateRequest,
    "SaslHandshake": SaslHandshakeRequest,
    "ShareGroupDescribe": ShareGroupDescribeRequest,
}

/// Decodes the answer to a request, its header included.
///
/// # Errors
/// If it cannot be decoded.
#[doc(hidden)]
pub fn decode_answer(name: &str, version: i16, frame: &[u8]) -> Result<(), String> {
    decode(name, version, Bytes::copy_from_slice(frame))
}

/// Decodes what a member of a classic group was assigned.
///
/// # Errors
/// If it cannot be decoded.
#[doc(hidden)]
pub fn decode_assignment(assignment: &[u8]) -> Result<(), String> {
    decode_versioned::<ConsumerProtocolAssignment>(Bytes::copy_from_slice(assignment)).map(drop)
}

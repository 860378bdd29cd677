//! Owns encoding of requests: the size, the header of the request's own version, the body.

use bytes::{BufMut as _, BytesMut};
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::{Encodable as _, Request, StrBytes};

/// Where the correlation id stands: after the size, the key and the version.
const CORRELATION_AT: usize = 8;
const SIZE_BYTES: usize = 4;

/// A request, whose correlation id is 0 until [`set_correlation`].
pub(crate) fn encode_request<Req: Request>(
    request: &Req,
    version: i16,
    client_id: &str,
) -> Result<BytesMut, String> {
    let failed = |error: &dyn std::fmt::Display| format!("the request cannot be encoded: {error}");
    let header = RequestHeader::default()
        .with_request_api_key(Req::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_string(client_id.to_owned())));
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    header
        .encode(&mut frame, Req::header_version(version))
        .map_err(|error| failed(&error))?;
    request
        .encode(&mut frame, version)
        .map_err(|error| failed(&error))?;
    let size = i32::try_from(frame.len() - SIZE_BYTES).map_err(|error| failed(&error))?;
    frame[..SIZE_BYTES].copy_from_slice(&size.to_be_bytes());
    Ok(frame)
}

/// Gives an encoded request its number.
pub(crate) fn set_correlation(frame: &mut BytesMut, correlation: i32) {
    frame[CORRELATION_AT..CORRELATION_AT + size_of::<i32>()].copy_from_slice(&correlation.to_be_bytes());
}

/// `ListOffsets` for `ListOffsetsRequest`.
pub(crate) fn request_name<Req: Request>() -> &'static str {
    let name = std::any::type_name::<Req>();
    let name = name.rsplit("::").next().unwrap_or(name);
    name.strip_suffix("Request").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{ApiVersionsRequest, ListOffsetsRequest};

    use super::*;

    #[test]
    fn a_frame_has_its_size_its_number_and_the_header_of_its_version() {
        for (version, header) in [(0, 10), (3, 11)] {
            let mut frame = encode_request(&ApiVersionsRequest::default(), version, "").unwrap();
            set_correlation(&mut frame, 7);
            let size = i32::from_be_bytes(frame[..4].try_into().unwrap());
            assert_eq!(usize::try_from(size).unwrap(), frame.len() - 4);
            assert_eq!(frame[4..8], [0, 18, 0, u8::try_from(version).unwrap()]);
            assert_eq!(frame[8..12], [0, 0, 0, 7]);
            assert!(frame.len() >= 4 + header);
        }
    }

    #[test]
    fn a_request_has_the_name_of_kafkas_protocol() {
        assert_eq!(request_name::<ListOffsetsRequest>(), "ListOffsets");
    }
}

//! Owns reading the headers of a message. Kafka does not say that their names are UTF-8; rdkafka panics on one that is not.

#![expect(
    unsafe_code,
    reason = "rdkafka has no safe way to a header whose name is not UTF-8"
)]

use std::ffi::CStr;
use std::ptr;

use rdkafka::bindings as native;
use rdkafka::message::BorrowedMessage;

use crate::Header;

/// The headers of a message, in order. What is not UTF-8 in a name is replaced.
pub(crate) fn headers_of(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let mut headers = ptr::null_mut();
    // SAFETY: the message lives as long as the reference to it; its headers belong to it.
    let found = unsafe { native::rd_kafka_message_headers(message.ptr(), &raw mut headers) };
    if found != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Vec::new();
    }
    let mut all = Vec::new();
    loop {
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers live as long as the message; the call writes the three places, or fails behind the last.
        let found = unsafe {
            native::rd_kafka_header_get_all(
                headers,
                all.len(),
                &raw mut name,
                &raw mut value,
                &raw mut length,
            )
        };
        if found != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return all;
        }
        // SAFETY: the name ends with a zero byte; the value, unless it is null, has this many bytes. Both are copied.
        let (name, value) = unsafe {
            let name = CStr::from_ptr(name).to_string_lossy().into_owned();
            let value =
                (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), length).to_vec());
            (name, value)
        };
        all.push(Header { name, value });
    }
}

//! Reads any bytes as `metadata`: no panic.
#![no_main]

use checkpoint::parse_query_id;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| drop(parse_query_id(content)));

//! Reads any bytes as the answer to any request in any version: no panic, and no allocation that `-malloc_limit_mb` ends.
#![no_main]

use kafka_admin::{ANSWERS, decode_answer, decode_assignment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [kind, version, frame @ ..] = input else { return };
    let (name, min, max) = ANSWERS[usize::from(*kind) % ANSWERS.len()];
    let version = min + i16::from(*version) % (max - min + 1);
    drop(decode_answer(name, version, frame));
    drop(decode_assignment(frame));
});

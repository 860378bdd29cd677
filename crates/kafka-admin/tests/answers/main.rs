//! Answers of a broker, whole, cut and changed: an error or a message, no panic, and no more memory than an answer is worth. A
//! binary of its own, since it looks at the memory of its process.
//!
//! `answers.txt` was recorded from Kafka 4.3.1 by `examples/record_answers.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set itself up has failed"
)]

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use kafka_admin::{ANSWERS, decode_answer, decode_assignment};
use kafka_protocol::messages::{ResponseHeader, SaslAuthenticateResponse};
use kafka_protocol::protocol::{Encodable as _, HeaderVersion as _, StrBytes};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

/// The address space that a thousand small answers may take beyond what the process has: an array that announces as many
/// elements as are harmless takes some 20 MB for a moment, and arrays are nested.
const MAX_KIB: u64 = 200 << 10;

struct Answer {
    name: &'static str,
    version: i16,
    frame: Vec<u8>,
}

impl Answer {
    fn decode(&self, frame: &[u8]) -> Result<(), String> {
        decode_answer(self.name, self.version, frame)
    }
}

fn answers() -> Vec<Answer> {
    let recorded = include_str!("answers.txt").lines().map(|line| {
        let [name, version, base64] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        Answer {
            name,
            version: version.parse().unwrap(),
            frame: BASE64.decode(base64).unwrap(),
        }
    });
    recorded.chain((0..=2).map(authenticated)).collect()
}

/// A broker without SASL answers no such request.
fn authenticated(version: i16) -> Answer {
    let mut frame = BytesMut::new();
    let header = SaslAuthenticateResponse::header_version(version);
    ResponseHeader::default().encode(&mut frame, header).unwrap();
    SaslAuthenticateResponse::default()
        .with_error_message(Some(StrBytes::from_static_str("wrong")))
        .with_auth_bytes(Bytes::from_static(b"v=x"))
        .with_session_lifetime_ms(if version > 0 { 1000 } else { 0 })
        .encode(&mut frame, version)
        .unwrap();
    Answer {
        name: "SaslAuthenticate",
        version,
        frame: frame.to_vec(),
    }
}

/// The most address space that the process had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmPeak:"))
        .unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn an_answer_that_is_cut_or_changed_anywhere_is_an_error_or_a_message_and_takes_no_memory() {
    let answers = answers();
    let before = peak_kib();

    let recorded: BTreeSet<_> = answers.iter().map(|answer| answer.name).collect();
    let read: BTreeSet<_> = ANSWERS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(recorded, read);
    for answer in &answers {
        let (name, version) = (answer.name, answer.version);
        assert_eq!(answer.decode(&answer.frame), Ok(()), "{name} {version}");
        for length in 0..answer.frame.len() {
            let cut = answer.decode(&answer.frame[..length]);
            assert!(cut.is_err(), "{name} {version}: {length}");
        }
        for at in 0..answer.frame.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff, answer.frame[at] ^ 0x10] {
                let mut changed = answer.frame.clone();
                changed[at] = byte;
                drop(answer.decode(&changed));
            }
        }
    }

    let change = (any::<Index>(), any::<u8>());
    let mutations = (any::<Index>(), prop::collection::vec(change, 1..8));
    let mut runner = TestRunner::new(ProptestConfig::with_cases(20_000));
    let outcome = runner.run(&mutations, |(answer, changes)| {
        let answer = answer.get(&answers);
        let mut frame = answer.frame.clone();
        for (at, byte) in changes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        drop(answer.decode(&frame));
        drop(decode_assignment(&frame));
        Ok(())
    });
    outcome.unwrap();

    let grown = peak_kib() - before;
    assert!(grown < MAX_KIB, "{grown} KiB");
}

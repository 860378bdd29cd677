//! Reads any bytes as `sources/N/0`: no panic, and no position that nobody could process.
#![no_main]

use checkpoint::parse_initial;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    if let Ok(offsets) = parse_initial(content) {
        assert!(offsets.iter().all(|(_, partition, position)| partition >= 0 && position >= 0));
    }
});

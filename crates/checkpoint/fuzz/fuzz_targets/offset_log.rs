//! Reads any bytes as `offsets/N`: no panic, and no position that nobody could process.
#![no_main]

use checkpoint::OffsetLog;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    let Ok(log) = OffsetLog::parse(content) else { return };
    assert!(log.sources.len() + log.other_sources <= content.len());
    let together = log.offsets();
    for (topic, partition, position) in together.iter() {
        assert!(partition >= 0 && position >= 0);
        let of_sources = log.sources.values().filter_map(|offsets| offsets.get(topic, partition));
        assert_eq!(of_sources.min(), Some(position));
    }
});

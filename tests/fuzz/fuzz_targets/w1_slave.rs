//! What the kernel may print for a thermometer, read after read: no panic, and no reading beyond what a chip can measure.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::sensor::scratchpad::{Scratchpad, print_w1_slave};
use weir::sensor::w1::Track;

fuzz_target!(|data: &[u8]| {
    let Some((&family, reads)) = data.split_first() else { return };
    let mut track = Track::new(family);
    // Nine bytes are a scratchpad with the right checksum, any other number is text.
    for read in reads.split(|byte| *byte == 0xfe) {
        let text = match <[u8; 9]>::try_from(read) {
            Ok(bytes) => print_w1_slave(Scratchpad(bytes), None),
            Err(_) => String::from_utf8_lossy(read).into_owned(),
        };
        if let Ok(measured) = track.judge(&text).measurement() {
            let range = if family == 0x3b { -270.0..=1_800.0 } else { -55.0..=125.0 };
            assert!(range.contains(&measured.value), "{text}");
            track.remember(&text);
        }
    }
});

//! Any bytes as OpenVEX or CSAF; what is taken must load.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(compiled) = stanch_feeds::vex::compile(data) {
        let records = compiled.meta.records;
        assert_eq!(stanch_feeds::Knowledge::of([compiled]).statements().count() as u64, records);
    }
});

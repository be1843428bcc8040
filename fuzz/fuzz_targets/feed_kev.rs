//! Any bytes as the catalogue of known exploited vulnerabilities.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = stanch_feeds::kev::compile(data);
});

//! Any bytes as a day of EPSS scores.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = stanch_feeds::epss::compile(data);
});

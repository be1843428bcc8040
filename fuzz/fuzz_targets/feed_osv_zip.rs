//! Any bytes as an OSV bulk archive.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = stanch_feeds::osv::compile("Debian:12", data, &stanch_feeds::archive::Limits::default());
});

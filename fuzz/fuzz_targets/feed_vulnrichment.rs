//! Any bytes as a CVE record with what CISA adds.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(compiled) = stanch_feeds::vulnrichment::compile(data) {
        let _ = stanch_feeds::Knowledge::of([compiled]).enrich("CVE-2026-0001");
    }
});

//! Any bytes as one OSV record; what is taken must load and match.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(compiled) = stanch_feeds::osv::compile_record("Debian:12", data) {
        let knowledge = stanch_feeds::Knowledge::of([compiled]);
        let (index, _) = knowledge.index("Debian:12").expect("what was compiled loads");
        let _ = index.matching("openssl", "3.0.1-1");
    }
});

//! Any bytes as one OSV record; what is taken must load and match.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for (ecosystem, version) in [("Debian:12", "3.0.1-1"), ("PyPI", "3.0.1"), ("npm", "3.0.1"), ("Maven", "3.0.1")] {
        if let Ok(compiled) = stanch_feeds::osv::compile_record(ecosystem, data) {
            let knowledge = stanch_feeds::Knowledge::of([compiled]);
            let (index, _) = knowledge.index(ecosystem).expect("what was compiled loads");
            let _ = index.matching("openssl", version);
        }
    }
});

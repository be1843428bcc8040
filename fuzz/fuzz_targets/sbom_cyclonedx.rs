//! An inventory of somebody else's: every entry is counted exactly once, whatever it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stanch_agent::sbom::parse;

fuzz_target!(|bytes: &[u8]| {
    let document = [br#"{"bomFormat":"CycloneDX","#.as_slice(), bytes].concat();
    if let Ok(inventory) = parse(&document, "fuzz", None) {
        let seen = &inventory.coverage;
        let unsupported: usize = seen.unsupported.values().sum();
        let used = seen.packages + seen.components + seen.repeated;
        let left = seen.without_purl + seen.unreadable + seen.other_release + unsupported;
        assert_eq!(used + left, seen.listed);
        assert_eq!(inventory.facts.packages.len(), seen.packages);
        assert_eq!(inventory.facts.components.len(), seen.components);
    }
});

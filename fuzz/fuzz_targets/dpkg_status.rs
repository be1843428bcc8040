//! A dpkg status file of anybody's making: it is read or refused, and every package read has a name and a version.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stanch_agent::facts::dpkg::parse_status;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(status) = parse_status(bytes) {
        for package in &status.packages {
            assert!(!package.name.is_empty() && !package.version.as_str().is_empty());
        }
        assert!(status.broken.iter().all(|name| status.packages.iter().any(|package| package.name == *name)));
    }
});

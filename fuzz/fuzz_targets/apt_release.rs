//! The head of an archive's Release file, and the names of files under apt's lists folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stanch_agent::facts::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::release(bytes));

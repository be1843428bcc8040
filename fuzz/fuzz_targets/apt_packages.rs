//! An archive's index, plain and as what it is compressed with.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stanch_agent::facts::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::packages(bytes));

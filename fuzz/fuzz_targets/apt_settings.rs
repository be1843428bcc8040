//! apt's settings and preferences: read or refused, in time that does not explode with the pattern.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stanch_agent::facts::fuzzing;

fuzz_target!(|bytes: &[u8]| fuzzing::settings(bytes));

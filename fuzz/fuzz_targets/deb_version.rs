//! Any two texts as versions: the order must be one.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((one, other)) = text.split_once(' ') else { return };
    if let (Ok(one), Ok(other)) = (one.parse::<stanch_model::version::DebVersion>(), other.parse()) {
        assert_eq!(one.cmp(&other), other.cmp(&one).reverse());
    }
});

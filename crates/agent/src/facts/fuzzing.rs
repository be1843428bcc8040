//! Doors for fuzzing to parsers that nothing outside has other use for.

use std::collections::HashSet;

use super::apt::{config::Config, index, pins::Pins, release};

/// A Release file, and names of files as an archive could have them.
pub fn release(bytes: &[u8]) {
    let _ = release::Release::parse(bytes);
    let names: Vec<String> = String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
    let _ = release::lists(&names);
}

/// An index, and the same bytes as if they were compressed.
pub fn packages(bytes: &[u8]) {
    let names: HashSet<&str> = ["a", "bash", "libc6"].into_iter().collect();
    for entry in index::scan(bytes, &names).unwrap_or_default() {
        let _ = entry.source();
    }
    let _ = index::scan(lz4_flex::frame::FrameDecoder::new(bytes), &names);
    let _ = index::scan(flate2::read::MultiGzDecoder::new(bytes), &names);
}

/// Settings and preferences.
pub fn settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = Config::default().add(&text);
    let mut pins = Pins::default();
    pins.add("fuzz", bytes);
    pins.probe(&text);
}

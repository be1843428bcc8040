//! Writes the built-in snapshot anew: `cargo run -p stanch-feeds --example snapshot -- FEEDS FILE`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [feeds, file] = arguments.as_slice() else {
        eprintln!("usage: snapshot FEEDS FILE");
        return ExitCode::FAILURE;
    };
    let bytes = match stanch_feeds::snapshot::build(Path::new(feeds)) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("{error}: {}\nhint: {}", error.problem, error.remedy());
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = std::fs::write(file, &bytes) {
        eprintln!("cannot write {file}: {error}");
        return ExitCode::FAILURE;
    }
    println!("{} bytes", bytes.len());
    ExitCode::SUCCESS
}

//! The conformance suite in real Debian roots, with a real executor that is really killed.
//!
//! Every world prints its rows as JSON lines, which `cargo xtask prove conformance` collects. The gate tries a sample
//! of the points; with `STANCH_ALL_POINTS=1` it is all of them.

mod environments;
mod environments_hostile;
mod environments_shapes;
mod packages;
mod reboot;
mod rpm;
mod scripts;
mod services;
mod settings;
mod stage;
mod toy;

use stanch_action::{ConformanceReport, ConformanceRow, Points, RowResult, World, conform};

/// All points, or about this many.
fn points(sample: usize) -> Points {
    if std::env::var_os("STANCH_ALL_POINTS").is_some_and(|value| value == "1") {
        Points::All
    } else {
        Points::Sampled(sample)
    }
}

/// Runs the suite; every row is printed, and a red one fails the test.
fn expect_green(world: &mut dyn World, sample: usize) {
    let report = conform(world, points(sample));
    tell(&report);
    assert!(report.is_green(), "{}", report.table());
    let missed = |row: &&ConformanceRow| row.check.contains("crash") && row.result != RowResult::Passed;
    assert_eq!(report.rows.iter().find(missed), None, "every point has to be reached");
}

fn tell(report: &ConformanceReport) {
    eprintln!("{}", report.table());
    print!("{}", report.json_lines());
}

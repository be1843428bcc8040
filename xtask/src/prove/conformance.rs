//! Every action killed at every point, and the matrix of it that everybody can read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;

use super::results::{Results, shown};
use crate::steps::{self, cargo};

const PAGE: &str = "docs/conformance.md";

/// One thing tried, as the suite prints it.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    action: String,
    system: String,
    case: String,
    check: String,
    point: String,
    result: String,
    #[serde(default)]
    why: String,
    millis: u64,
}

pub(crate) fn prove(results: &mut Results) -> Result<()> {
    let mut command = cargo();
    command.env("STANCH_ALL_POINTS", "1");
    // The whole workspace, as in the gate: of a part alone cargo builds everything once more.
    command.args([
        "test",
        "--locked",
        "--workspace",
        "--test",
        "conformance",
        "--",
        "--nocapture",
        "--include-ignored",
    ]);
    let line = format!("STANCH_ALL_POINTS=1 {}", shown(&command));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut rows: Vec<Row> = Vec::new();
    for text in BufReader::new(output).lines() {
        let text = text?;
        match serde_json::from_str::<Row>(&text) {
            Ok(row) => rows.push(row),
            Err(_) => eprintln!("{text}"),
        }
    }
    let status = child.wait()?;
    if rows.is_empty() {
        bail!("the suite printed no rows ({status})");
    }
    for ((action, system), rows) in grouped(&rows) {
        let count = |result: &str| rows.iter().filter(|row| row.result == result).count();
        let crashes = rows.iter().filter(|row| !row.point.is_empty() && row.result == "passed").count();
        let failed: Vec<String> = rows
            .iter()
            .filter(|row| row.result == "failed")
            .map(|row| format!("{} {}: {}", row.check, row.point, row.why))
            .collect();
        let figures = json!({
            "system": system,
            "passed": count("passed"),
            "failed": count("failed"),
            "untested": count("untested"),
            "points_killed_at": crashes,
            "first_failures": failed.iter().take(5).collect::<Vec<_>>(),
        });
        // What could not be tried there is told, and is no failure.
        results.line(&format!("{action}@{system}"), failed.is_empty(), &figures, &line)?;
    }
    results.line("suite", status.success(), &json!({"rows": rows.len()}), &line)?;
    let page = steps::root().join(PAGE);
    fs::write(&page, written(&rows)).with_context(|| format!("writing {}", page.display()))
}

fn grouped(rows: &[Row]) -> BTreeMap<(&str, &str), Vec<&Row>> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry((&row.action, &row.system)).or_default().push(row);
    }
    groups
}

/// The page.
fn written(rows: &[Row]) -> String {
    let mut text = String::from(
        "# Conformance of the actions\n\n\
         What every action was shown to do, on which system, killed at which points. Made by `cargo xtask prove \
         conformance`; do not edit.\n\n\
         A row is a check; *points* are the places at which the executor was killed (`kill -9`) or the whole machine \
         lost power, during that check, and the end was the same as without it: nothing ran twice, nothing stuck. An \
         action without a green row on a system does not run there by itself. What is not listed was not tried: other \
         distributions, architectures and phased updates.\n\n\
         | action | system | passed | failed | untested | points killed at |\n| --- | --- | ---: | ---: | ---: | ---: |\n",
    );
    for ((action, system), rows) in grouped(rows) {
        let count = |result: &str| rows.iter().filter(|row| row.result == result).count();
        let points = rows.iter().filter(|row| !row.point.is_empty()).count();
        let (passed, failed, untested) = (count("passed"), count("failed"), count("untested"));
        let _ = writeln!(text, "| `{action}` | {system} | {passed} | {failed} | {untested} | {points} |");
    }
    for ((action, system), rows) in grouped(rows) {
        let _ = write!(text, "\n## {action} on {system}\n");
        let mut cases: Vec<&str> = Vec::new();
        for row in &rows {
            if !cases.contains(&row.case.as_str()) {
                cases.push(&row.case);
            }
        }
        for case in cases {
            let _ = write!(
                text,
                "\n### {}\n\n| check | result | points | seconds |\n| --- | --- | ---: | ---: |\n",
                cell(case)
            );
            let of_case: Vec<&&Row> = rows.iter().filter(|row| row.case == case).collect();
            let mut checks: Vec<&str> = Vec::new();
            for row in &of_case {
                if !checks.contains(&row.check.as_str()) {
                    checks.push(&row.check);
                }
            }
            for check in checks {
                let of_check: Vec<&&&Row> = of_case.iter().filter(|row| row.check == check).collect();
                let any = |result: &str| of_check.iter().find(|row| row.result == result);
                let result = match (any("failed"), any("untested")) {
                    (Some(row), _) => format!("**failed** {}: {}", row.point, row.why),
                    (None, Some(row)) => format!("untested: {}", row.why),
                    (None, None) => "passed".to_owned(),
                };
                let points = of_check.iter().filter(|row| !row.point.is_empty()).count();
                let points = if points == 0 { String::new() } else { points.to_string() };
                let seconds = of_check.iter().map(|row| row.millis).sum::<u64>() as f64 / 1000.0;
                let _ = writeln!(text, "| {} | {} | {points} | {seconds:.1} |", cell(check), cell(&result));
            }
        }
    }
    text
}

/// Text inside a table's cell.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(check: &str, point: &str, result: &str) -> Row {
        let value = json!({"action": "package.upgrade", "system": "debian-12", "case": "two sources", "check": check,
            "point": point, "result": result, "why": "seen | twice", "millis": 1500});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_page_counts_points_and_names_what_failed() {
        let rows = [
            row("apply", "", "passed"),
            row("apply, crash", "kill -9 after append 1", "passed"),
            row("apply, crash", "kill -9 after append 2", "failed"),
            row("undo", "", "untested"),
        ];
        let page = written(&rows);
        assert!(page.contains("## package.upgrade on debian-12\n\n### two sources\n"), "{page}");
        assert!(page.contains("| apply | passed |  | 1.5 |"), "{page}");
        assert!(
            page.contains("| apply, crash | **failed** kill -9 after append 2: seen \\| twice | 2 | 3.0 |"),
            "{page}"
        );
        assert!(page.contains("| undo | untested: seen \\| twice |  | 1.5 |"), "{page}");
        assert!(page.contains("| `package.upgrade` | debian-12 | 2 | 1 | 1 | 2 |"), "{page}");
    }
}

//! The table people read: work items in order of what matters, with what stands beside every count.

use stanch_feeds::order::Order;
use stanch_model::assessment::Assessment;
use stanch_model::ecosystem;
use stanch_model::finding::{Detector, Finding, Verdict};
use stanch_model::item::{Subject, WorkItem};
use stanch_model::lasting::LIBRARIES;
use stanch_model::posture::{self, Check, Severity};

use super::report::Report;
use crate::output::{Output, Tone, plain};

/// Prints work items, or every finding, and then the summary.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn print(output: &Output, report: &Report, every_finding: bool) -> std::io::Result<()> {
    if every_finding {
        findings_table(
            output,
            report.findings.iter().map(|finding| {
                (
                    finding.detector.name(),
                    finding.id.as_str(),
                    finding.binary.as_str(),
                    finding.version.as_str(),
                    finding.fixed_version.as_deref(),
                    finding.verdict.name(),
                )
            }),
        )?;
    } else {
        let (settings, items): (Vec<_>, Vec<_>) = report.items.iter().partition(|(item, _)| is_setting(item));
        if !items.is_empty() {
            items_table(output, items.into_iter().map(|(item, assessment)| row(report, item, assessment)))?;
        }
        if !settings.is_empty() {
            output.say("");
            settings_table(output, report, settings.into_iter().map(|(item, _)| item))?;
        }
    }
    summary(output, report);
    Ok(())
}

/// One work item as people read it.
pub(crate) struct ItemRow {
    /// Outcome of the deployer table, `out_of_cycle`.
    pub(crate) deployer: String,
    /// Deadline, `days14`.
    pub(crate) bod: String,
    pub(crate) name: String,
    pub(crate) change: String,
    pub(crate) closes: String,
    pub(crate) reason: String,
}

fn row(report: &Report, item: &WorkItem, assessment: &Assessment) -> ItemRow {
    let findings: Vec<&Finding> =
        report.findings.iter().filter(|finding| item.findings.binary_search(&finding.fingerprint).is_ok()).collect();
    ItemRow {
        deployer: word(&assessment.deployer),
        bod: word(&assessment.bod),
        name: item.subject.name().to_owned(),
        change: change(item, &findings),
        closes: closes(&findings),
        reason: assessment.reason.clone(),
    }
}

/// Whether an item is about a setting, which stands apart: nothing is known to be broken by it.
fn is_setting(item: &WorkItem) -> bool {
    matches!(item.subject, Subject::Setting { .. })
}

/// Prints settings that are weaker than the posture pack wants them, the worst first.
fn settings_table<'a>(
    output: &Output,
    report: &Report,
    items: impl Iterator<Item = &'a WorkItem>,
) -> std::io::Result<()> {
    let mut rows: Vec<(&Check, &Finding)> = items
        .filter_map(|item| {
            let finding = report.findings.iter().find(|one| item.findings.first() == Some(&one.fingerprint))?;
            Some((posture::find(&finding.id)?, finding))
        })
        .collect();
    rows.sort_by_key(|(check, _)| std::cmp::Reverse(check.severity));
    let mut table = output.table(&["SEVERITY", "SETTING", "IS", "WANTED", "WHY"]);
    for (check, finding) in rows {
        let tone = match check.severity {
            Severity::High => Tone::Bad,
            Severity::Medium => Tone::Warn,
            Severity::Low => Tone::Dim,
        };
        let by_hand = if check.set.is_none() { " (a person decides)" } else { "" };
        table.add_row([
            output.paint(tone, check.severity.name()),
            check.short().to_owned(),
            plain(&finding.version),
            format!("{}{by_hand}", check.wanted),
            check.title.to_owned(),
        ]);
    }
    output.line(&table.to_string())
}

/// The name that a value has in JSON.
fn word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Prints work items, most urgent first.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn items_table(output: &Output, rows: impl Iterator<Item = ItemRow>) -> std::io::Result<()> {
    let mut table = output.table(&["PRIORITY", "ITEM", "CHANGE", "CLOSES", "WHY"]);
    for row in rows {
        table.add_row([
            priority(output, &row.deployer, &row.bod),
            plain(&row.name),
            plain(&row.change),
            plain(&row.closes),
            plain(&row.reason),
        ]);
    }
    output.line(&table.to_string())
}

/// Prints findings one by one: detector, id, binary package, version, fixed version, verdict.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn findings_table<'a>(
    output: &Output,
    rows: impl Iterator<Item = (&'a str, &'a str, &'a str, &'a str, Option<&'a str>, &'a str)>,
) -> std::io::Result<()> {
    let mut table = output.table(&["DETECTOR", "ID", "PACKAGE", "VERSION", "FIXED IN", "VERDICT"]);
    for (detector, id, binary, version, fixed, verdict) in rows {
        let tone = match verdict {
            "affected_fixable" | "fixed_not_running" => Tone::Bad,
            "not_affected" => Tone::Good,
            "unknown" => Tone::Dim,
            _ => Tone::Warn,
        };
        table.add_row([
            detector.to_owned(),
            plain(id),
            plain(binary),
            plain(version),
            fixed.map_or_else(|| "-".to_owned(), plain),
            output.paint(tone, verdict),
        ]);
    }
    output.line(&table.to_string())
}

/// The priority and its deadline.
fn priority(output: &Output, deployer: &str, bod: &str) -> String {
    let tone = match deployer {
        "immediate" => Tone::Bad,
        "out_of_cycle" => Tone::Warn,
        "defer" => Tone::Dim,
        _ => Tone::Strong,
    };
    let due = match bod {
        "days60" => " 60d",
        "days14" => " 14d",
        "days3" => " 3d",
        "days3_forensics" => " 3d+forensics",
        _ => "",
    };
    output.paint(tone, &format!("{}{due}", deployer.replace('_', "-")))
}

/// From what to what, in as few words as tell it.
fn change(item: &WorkItem, findings: &[&Finding]) -> String {
    match &item.subject {
        Subject::Service { .. } => "restart".to_owned(),
        Subject::Reboot { flavour } if flavour == LIBRARIES => "reboot".to_owned(),
        Subject::Reboot { .. } => {
            findings.first().map_or_else(|| "reboot".to_owned(), |finding| format!("reboot from {}", finding.version))
        }
        Subject::Support { .. } => "a person's work".to_owned(),
        Subject::Setting { .. } => {
            let of = |pick: fn(&Finding) -> Option<&str>| findings.first().and_then(|one| pick(one)).unwrap_or("?");
            format!("{} -> {}", of(|one| Some(&one.version)), of(|one| one.fixed_version.as_deref()))
        }
        Subject::Component { purl } if ecosystem::inside(purl).is_some() => "its file has to be replaced".to_owned(),
        _ => {
            let order = Order::of_binary(findings.first().map_or("", |finding| &finding.binary));
            let newest = order.newest(findings.iter().filter_map(|finding| finding.fixed_version.as_deref()));
            let from = findings.first().map_or("?", |finding| finding.version.as_str());
            match newest {
                Some(to) if findings.iter().any(|finding| finding.verdict == Verdict::Held) => {
                    format!("held at {from} ({to} is out)")
                }
                Some(to) => format!("{from} -> {to}"),
                None => format!("{from} has no fix yet"),
            }
        }
    }
}

fn closes(findings: &[&Finding]) -> String {
    let mut ids: Vec<&str> = findings.iter().map(|finding| finding.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    match (ids.as_slice(), findings) {
        // People know a lone advisory by its CVE.
        ([one], [finding, ..]) => finding.cves().into_iter().next().unwrap_or_else(|| (*one).to_owned()),
        (many, _) => format!("{} ids", many.len()),
    }
}

/// Says beside the data what was looked at, with what, and what could not be read.
pub(crate) fn summary(output: &Output, report: &Report) {
    let (settings, others): (Vec<&Finding>, Vec<&Finding>) =
        report.findings.iter().partition(|finding| finding.detector == Detector::Posture);
    let to_do = report.items.iter().filter(|(item, _)| !is_setting(item)).count();
    let mut ids: Vec<&str> = others.iter().map(|finding| finding.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    output.say("");
    output.say(&format!(
        "{}: {}{} ids ({} findings).",
        output.paint(Tone::Strong, &plain(&report.asset.name)),
        if to_do == 0 { String::new() } else { format!("{} to do, closing ", count(to_do, "thing")) },
        ids.len(),
        others.len()
    ));
    if !settings.is_empty() {
        let high = |finding: &&&Finding| posture::find(&finding.id).is_some_and(|one| one.severity == Severity::High);
        let high = settings.iter().filter(high).count();
        let are = if settings.len() == 1 { "is" } else { "are" };
        output.say(&format!("{} {are} weaker than wanted, {high} of high severity.", count(settings.len(), "setting")));
    }
    output.say(&plain(&report.verdict));
    let looked_at = match (report.packages.is_empty(), report.components.is_empty()) {
        (_, true) => "packages",
        (true, false) => "components",
        (false, false) => "packages and components",
    };
    output.say(&format!(
        "Coverage: {} of {} {looked_at} have vulnerability data{}.",
        report.coverage.with_data,
        report.coverage.packages,
        if report.coverage.without_feed > 0 {
            format!("; {} belong to ecosystems without a feed here", report.coverage.without_feed)
        } else {
            String::new()
        }
    ));
    let feeds: Vec<String> = report
        .feeds
        .iter()
        .map(|feed| {
            let date = feed.dated.map_or_else(|| "undated".to_owned(), |at| at.strftime("%Y-%m-%d").to_string());
            format!("{} {date}{}", feed.name, if feed.snapshot { " (built-in snapshot)" } else { "" })
        })
        .collect();
    output.say(&format!("Data: {}.", feeds.join(", ")));
    for unknown in &report.unknown {
        output.say(&format!("Unknown: {}", plain(unknown)));
    }
    for note in &report.notes {
        output.say(&format!("Note: {}", plain(note)));
    }
    // What an inventory lists is changed where it is built, not from here.
    let here = report.items.iter().find(|(item, _)| !matches!(item.subject, Subject::Component { .. }));
    if let Some((item, _)) = here {
        output.say(&format!(
            "Next: stanch plan {0}    shows what a fix would change; stanch fix {0} does it.",
            item.subject.name()
        ));
    }
}

/// `1 thing`, `2 things`.
fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

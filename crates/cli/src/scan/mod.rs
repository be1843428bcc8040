//! `scan`: facts in, findings out. Changes nothing, needs no server, no root and no network.

mod cyclonedx;
mod inventory;
mod ocsf;
mod report;
mod sarif;
pub(crate) mod table;

use std::mem::ManuallyDrop;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use stanch_engine::{AssessInput, Index, assess, by_urgency, group};
use stanch_feeds::{HostVerdict, Knowledge};
use stanch_model::assessment::{Assessment, DeployerPriority};
use stanch_model::finding::Finding;
use stanch_model::item::WorkItem;

use crate::args::{Format, Global, Priority, Scan};
use crate::data;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use inventory::Inventory;
use report::Report;

/// Bytes of lines that are printed at a time.
const CHUNK: usize = 64 << 10;

/// `stanch scan`.
pub(crate) fn run(output: &Output, global: &Global, wanted: &Scan) -> Result<Exit, Failure> {
    let mut clock = Stopwatch::new(global.verbose > 0);
    let inventory = inventory::read(wanted)?;
    clock.lap("facts");
    let knowledge = knowledge(global, wanted.feeds.as_deref())?;
    clock.lap("feeds");
    // Lines of findings carry no order, so nobody has to work it out.
    let ordered = format(output, wanted) != Format::Json || wanted.fail_on.is_some();
    // The program ends with its scan, and giving thousands of findings back one by one would take long.
    let report = ManuallyDrop::new(judge(inventory, &knowledge, Timestamp::now(), ordered));
    let _kept = ManuallyDrop::new(knowledge);
    clock.lap("judge");
    print(output, wanted, &report)?;
    clock.lap("print");
    Ok(exit(wanted.fail_on, &report.items))
}

/// The data to judge by: a folder of feeds, else what the server has fetched, else the snapshot in the program. What
/// one lacks, the snapshot fills in, and says so.
pub(crate) fn knowledge(global: &Global, feeds: Option<&Path>) -> Result<Knowledge, Failure> {
    let bad = |error: stanch_feeds::FeedError| Failure::new("the vulnerability data cannot be used").because(error);
    if let Some(folder) = feeds {
        if !folder.is_dir() {
            return Err(Failure::new(format!("{} is not a folder", folder.display())).hint(
                "--feeds wants a folder with osv/ECOSYSTEM/all.zip, and optionally kev/, epss/, vulnrichment/, vex/",
            ));
        }
        return Knowledge::from_dir(folder, data::cache("feeds").as_deref()).map_err(bad);
    }
    let snapshot = Knowledge::snapshot().map_err(bad)?;
    let store = data::folder(global.data_dir.as_deref())?.join("feeds");
    if store.is_dir()
        && let Ok(fetched) = Knowledge::from_store(&store)
    {
        return Ok(fetched.or(&snapshot));
    }
    Ok(snapshot)
}

/// Runs the detectors and, if asked, groups what they find and puts it in order.
fn judge(inventory: Inventory, knowledge: &Knowledge, now: Timestamp, ordered: bool) -> Report {
    let facts = inventory.facts;
    let detection = stanch_feeds::detect(&facts, knowledge, now);
    let verdict = match detection.verdict() {
        HostVerdict::Clean => "Clean: nothing known is open, on complete and fresh data.".to_owned(),
        HostVerdict::NotClean => "Not clean.".to_owned(),
        HostVerdict::CannotSay(_) => {
            "Nothing was found, but it cannot be called clean: see what is unknown.".to_owned()
        }
    };
    let feeds: Vec<_> = knowledge.feeds(now).into_iter().map(|feed| feed.meta.reference()).collect();
    let findings: &[Finding] = if ordered { &detection.findings } else { &[] };
    let grouping = group(&facts.asset.id, findings);
    let members = Index::new(findings);
    let enrich = |id: &str| Some(knowledge.enrich(id));
    let mut items: Vec<(WorkItem, Assessment)> = grouping
        .items
        .into_iter()
        .map(|item| {
            let assessment = assess(
                &AssessInput {
                    item: &item,
                    members: &members.members(&item),
                    asset: &facts.asset,
                    facts: Some(&facts),
                    dependents: 0,
                    first_seen: now,
                    feeds: &feeds,
                    enrich: &enrich,
                },
                now,
            );
            (item, assessment)
        })
        .collect();
    items.sort_by(|(_, a), (_, b)| by_urgency(a, b));
    let copies: Vec<_> = facts.copies().collect();
    Report {
        asset: facts.asset,
        os: facts.os,
        at: facts.collected_at,
        packages: facts.packages,
        components: facts.components.into_iter().chain(copies).collect(),
        findings: detection.findings,
        items,
        coverage: detection.coverage,
        feeds: detection.feeds,
        unknown: detection.blind_spots,
        notes: detection.notes,
        verdict,
    }
}

fn format(output: &Output, wanted: &Scan) -> Format {
    match (wanted.format, output.json) {
        (Some(format), _) => format,
        (None, true) => Format::Json,
        (None, false) => Format::Table,
    }
}

fn print(output: &Output, wanted: &Scan, report: &Report) -> Result<(), Failure> {
    match format(output, wanted) {
        Format::Table => table::print(output, report, wanted.all)?,
        Format::Json => {
            let mut lines = Vec::with_capacity(2 * CHUNK);
            for finding in &report.findings {
                serde_json::to_writer(&mut lines, &Line::new(report, finding)).map_err(std::io::Error::from)?;
                lines.push(b'\n');
                if lines.len() >= CHUNK {
                    output.bytes(&lines)?;
                    lines.clear();
                }
            }
            output.bytes(&lines)?;
            table::summary(output, report);
        }
        Format::Ocsf => {
            for finding in &report.findings {
                output.object(&ocsf::event(report, finding))?;
            }
        }
        Format::Sarif => output.object(&sarif::document(report))?,
        Format::Cyclonedx => output.object(&cyclonedx::document(report))?,
    }
    Ok(())
}

/// One finding as `--json` prints it.
#[derive(Serialize)]
struct Line<'a> {
    detector: &'static str,
    id: &'a str,
    aliases: &'a [String],
    package: &'a str,
    binary: &'a str,
    version: &'a str,
    source_version: Option<&'a str>,
    fixed_version: Option<&'a str>,
    verdict: &'static str,
    reason: &'a str,
    doubt: Option<&'a str>,
    purl: Option<String>,
    asset: &'a str,
    asset_id: &'a str,
    fingerprint: &'a str,
    feed: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn new(report: &'a Report, finding: &'a Finding) -> Self {
        Self {
            detector: finding.detector.name(),
            id: &finding.id,
            aliases: &finding.aliases,
            package: &finding.package,
            binary: &finding.binary,
            version: &finding.version,
            source_version: finding.source_version.as_deref(),
            fixed_version: finding.fixed_version.as_deref(),
            verdict: finding.verdict.name(),
            reason: &finding.reason,
            doubt: finding.doubt.as_deref(),
            purl: report.is_listed(finding).then(|| report.purl(finding)),
            asset: &report.asset.name,
            asset_id: finding.asset.as_str(),
            fingerprint: finding.fingerprint.as_str(),
            feed: finding.feed.as_ref().map(|feed| feed.name.as_str()),
        }
    }
}

fn exit(fail_on: Option<Priority>, items: &[(WorkItem, Assessment)]) -> Exit {
    let Some(limit) = fail_on else { return Exit::Done };
    let reached = items.iter().any(|(_, assessment)| {
        let priority = match assessment.deployer {
            DeployerPriority::Defer => Priority::Defer,
            DeployerPriority::Scheduled => Priority::Scheduled,
            DeployerPriority::OutOfCycle => Priority::OutOfCycle,
            DeployerPriority::Immediate => Priority::Immediate,
        };
        priority >= limit
    });
    if reached { Exit::Findings } else { Exit::Done }
}

/// Says with `-v` how long each part took.
struct Stopwatch {
    enabled: bool,
    last: Instant,
}

impl Stopwatch {
    fn new(enabled: bool) -> Self {
        Self { enabled, last: Instant::now() }
    }

    fn lap(&mut self, part: &str) {
        let took: Duration = self.last.elapsed();
        self.last = Instant::now();
        if self.enabled {
            eprintln!("timing: {part} {:.1} ms", took.as_secs_f64() * 1e3);
        }
    }
}

//! How urgent a work item is: a snapshot that says what was known, what was taken for granted, and why.
//!
//! Three published tables judge each member; the worst member decides for the item. Nothing is weighed into a score:
//! a person can follow every outcome back to its row.

use jiff::{SignedDuration, Timestamp};
use stanch_model::assessment::{Assessment, BodDeadline, Enrichment, Exploitation, Kev, MemberReason};
use stanch_model::asset::{Asset, ExposureLevel, ExposureSource};
use stanch_model::facts::HostFacts;
use stanch_model::finding::{Detector, FeedRef, Finding, Verdict};
use stanch_model::item::{Subject, WorkItem};
use stanch_model::posture::{self, Severity};

use crate::evidence::{enrichment, inputs};
use crate::exposure::exposure;
use crate::rank::{Standing, deadline, epss_text, exposure_name, outcome, rank};
use crate::reach::{Reach, Reached, is_kernel, reach};
use crate::tables::{bod_26_04, coordinator, deployer};

/// Everything an assessment rests on.
pub struct AssessInput<'a> {
    /// The item.
    pub item: &'a WorkItem,
    /// Its members, see [`crate::group::Index::members`].
    pub members: &'a [&'a Finding],
    /// The asset, with what people say of it.
    pub asset: &'a Asset,
    /// Its newest facts, where there are any.
    pub facts: Option<&'a HostFacts>,
    /// Assets that depend on this one.
    pub dependents: u32,
    /// When the item was first seen: deadlines count from here.
    pub first_seen: Timestamp,
    /// The feeds the enrichment comes from.
    pub feeds: &'a [FeedRef],
    /// What the feeds know of a CVE id.
    pub enrich: &'a dyn Fn(&str) -> Option<Enrichment>,
}

/// Assesses one item.
pub fn assess(input: &AssessInput<'_>, now: Timestamp) -> Assessment {
    let exposure = exposure(input.facts, &input.asset.labels);
    let reached = reach(&input.item.subject, input.members, input.facts);
    let mut members: Vec<MemberReason> = input
        .members
        .iter()
        .map(|finding| {
            let cves = finding.cves();
            let known = enrichment(finding, &cves, input.enrich);
            let taken = inputs(&known, exposure, input.asset.tier);
            let deployer = deployer(taken.exploitation, taken.exposure, taken.automatable, taken.impact);
            let coordinator = coordinator(taken.exploitation, taken.automatable, taken.technical, taken.mission);
            let exposed = taken.exposure == ExposureLevel::Open;
            let bod = bod_26_04(taken.in_kev, exposed, taken.automatable, taken.technical);
            let id = match cves.as_slice() {
                [one] => one.clone(),
                _ => finding.id.clone(),
            };
            let why = evidence_words(finding, &known, taken.exploitation, taken.in_kev);
            let reason = format!("{why}; {} (SSVC), {}", outcome(deployer), deadline(bod));
            MemberReason {
                finding: finding.fingerprint.clone(),
                id,
                enrichment: known,
                deployer,
                coordinator,
                bod,
                assumed: taken.assumed,
                reason,
            }
        })
        .collect();
    members.sort_by(|a, b| urgency(b).cmp(&urgency(a)).then_with(|| (&a.id, &a.finding).cmp(&(&b.id, &b.finding))));

    let worst = members.iter().map(|m| (m.deployer, m.coordinator, m.bod)).reduce(|a, b| {
        // Each outcome of its own worst member: the most urgent deadline may belong to another id than the table's.
        (a.0.max(b.0), a.1.max(b.1), a.2.max(b.2))
    });
    let (deployer, coordinator, bod) = worst.unwrap_or((
        stanch_model::assessment::DeployerPriority::Defer,
        stanch_model::assessment::CoordinatorPriority::Track,
        BodDeadline::NextUpgrade,
    ));
    let due =
        bod.days().and_then(|days| input.first_seen.checked_add(SignedDuration::from_hours(24 * i64::from(days))).ok());
    let doable = input.members.iter().any(|f| matches!(f.verdict, Verdict::AffectedFixable | Verdict::FixedNotRunning));
    let ids = distinct_ids(&members);
    // Where a setting stands among others: the lower end of the band that its severity is called by.
    let rated = match &input.item.subject {
        Subject::Setting { check } => posture::find(check).map(|check| match check.severity {
            Severity::High => 70,
            Severity::Medium => 40,
            Severity::Low => 1,
        }),
        _ => None,
    };
    let rank = rank(&Standing {
        due,
        deployer,
        exposure: exposure.map(|exposure| exposure.level),
        tier: input.asset.tier,
        dependents: input.dependents,
        doable,
        reach: reached.reach,
        ids,
        cvss_e1: members.iter().flat_map(|m| &m.enrichment.cvss).map(|score| score.score_e1).max().or(rated),
        epss_e5: members.iter().filter_map(|m| m.enrichment.epss.as_ref()).map(|epss| epss.score_e5).max(),
        newest_year: input.members.iter().flat_map(|finding| finding.cves()).filter_map(|id| year(&id)).max(),
    });
    let reason = sentence(input, &members, &reached, exposure.map(|e| (e.level, e.source)), bod, ids);
    Assessment {
        item: input.item.id.clone(),
        at: now,
        deployer,
        coordinator,
        bod,
        due,
        exposure,
        tier: input.asset.tier,
        dependents: input.dependents,
        reason,
        members,
        feeds: input.feeds.to_vec(),
        rank,
    }
}

fn urgency(member: &MemberReason) -> impl Ord + use<> {
    let known = &member.enrichment;
    (
        member.bod,
        member.deployer,
        member.coordinator,
        known.kev.is_some(),
        known.epss.as_ref().map(|epss| epss.score_e5),
        known.cvss.iter().map(|score| score.score_e1).max(),
    )
}

fn distinct_ids(members: &[MemberReason]) -> usize {
    members.iter().map(|member| member.id.as_str()).collect::<std::collections::BTreeSet<_>>().len()
}

fn year(cve: &str) -> Option<u16> {
    let year = cve.strip_prefix("CVE-")?.split('-').next()?.parse().ok()?;
    (1999..=2100).contains(&year).then_some(year)
}

fn kev_words(kev: &Kev) -> String {
    let ransomware = if kev.ransomware { ", used by ransomware" } else { "" };
    format!("listed in KEV since {}{ransomware}", kev.added)
}

/// What the pack says of a setting: nobody scores settings, so that neither CVSS nor EPSS can be known.
fn setting_words(finding: &Finding) -> String {
    let rated = posture::find(&finding.id).map_or("of no check that is known here", |check| check.severity.name());
    format!("a setting, {rated}; {} where {} is wanted", finding.version, wanted(finding))
}

fn wanted(finding: &Finding) -> &str {
    finding.fixed_version.as_deref().unwrap_or("another")
}

const NO_EVIDENCE: &str = "no feed at hand knows of exploitation, EPSS or CVSS";

fn evidence_words(finding: &Finding, known: &Enrichment, exploitation: Exploitation, in_kev: bool) -> String {
    let mut words = Vec::new();
    match &known.kev {
        Some(kev) => words.push(kev_words(kev)),
        None if exploitation == Exploitation::Active => words.push("exploited in the wild (SSVC)".to_owned()),
        None if exploitation == Exploitation::PublicPoc => words.push("a public proof of concept (SSVC)".to_owned()),
        None => {}
    }
    if let Some(epss) = &known.epss {
        words.push(format!("EPSS {} (model {}, {})", epss_text(epss.score_e5), epss.model, epss.date));
    }
    if let Some(score) = known.cvss.iter().max_by_key(|score| score.score_e1) {
        let group = if score.nomenclature == "base" { String::new() } else { format!("-{}", score.nomenclature) };
        let value = format!("{}.{}", score.score_e1 / 10, score.score_e1 % 10);
        words.push(format!("CVSS {}{group} {value} ({})", score.version, score.source));
    }
    if words.is_empty() && !in_kev {
        words.push(match finding.verdict {
            Verdict::FixedNotRunning => "the fix is on disk, the old code still runs".to_owned(),
            _ if finding.detector == Detector::Posture => setting_words(finding),
            Verdict::Unsupported => "past its security support".to_owned(),
            _ if finding.cves().is_empty() => "a security fix that names no CVE".to_owned(),
            _ => NO_EVIDENCE.to_owned(),
        });
    }
    words.join(", ")
}

fn sentence(
    input: &AssessInput<'_>,
    members: &[MemberReason],
    reached: &Reached,
    exposure: Option<(ExposureLevel, ExposureSource)>,
    bod: BodDeadline,
    ids: usize,
) -> String {
    let Some(worst) = members.first() else { return "no open finding".to_owned() };
    if let (Subject::Setting { check }, [finding, ..]) = (&input.item.subject, input.members) {
        let title = posture::find(check).map_or(check.as_str(), |check| check.title);
        return format!("{title}: {}", setting_words(finding));
    }
    let finding = input.members.iter().find(|finding| finding.fingerprint == worst.finding);
    let (known, unknown) = match (&worst.enrichment.kev, finding) {
        (Some(kev), _) => (Some(format!("{} is {}", worst.id, kev_words(kev))), None),
        (None, Some(finding)) => {
            let exploitation = worst.enrichment.ssvc.exploitation.unwrap_or(Exploitation::None);
            match evidence_words(finding, &worst.enrichment, exploitation, false) {
                words if words == NO_EVIDENCE => (None, Some("; exploitation, EPSS and CVSS unknown")),
                words => (Some(format!("{}: {words}", worst.id)), None),
            }
        }
        (None, None) => (None, None),
    };
    let mut parts = Vec::from_iter(known);
    if ids > 1 || parts.is_empty() {
        let act = match input.item.subject {
            Subject::SourcePackage { .. } | Subject::Component { .. } => "one upgrade",
            _ => "one act",
        };
        parts.push(if ids == 1 { format!("{act} for {}", worst.id) } else { format!("{act} for {ids} ids") });
    }
    match (&reached.listens, reached.reach, exposure) {
        (Some(at), ..) => parts.push(format!("its own program listens on {at}")),
        (None, Reach::Service, _) if is_kernel(&input.item.subject) => parts.push("the kernel".to_owned()),
        (None, Reach::Service, _) => parts.push("a network service".to_owned()),
        (None, Reach::Library, _) => parts.push("other programs load it".to_owned()),
        _ => {}
    }
    if let Some((level, source)) = exposure.filter(|(level, _)| *level == ExposureLevel::Open) {
        let by = match source {
            ExposureSource::Label => "by label",
            ExposureSource::Cloud => "in its cloud",
            ExposureSource::Sockets => "by its sockets",
        };
        parts.push(format!("the asset is {} {by}", exposure_name(level)));
    }
    let due = match bod {
        BodDeadline::NextUpgrade => "due with the next upgrade".to_owned(),
        BodDeadline::Days3Forensics => "due in 3 days, after looking for signs of compromise".to_owned(),
        bod => bod.days().map_or(String::new(), |days| format!("due in {days} days")),
    };
    format!("{}{}; {due} (BOD 26-04)", parts.join(", "), unknown.unwrap_or_default())
}

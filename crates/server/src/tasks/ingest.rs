//! Facts to findings: keeps what executors read, runs the detectors on it and says what is open.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use stanch_engine::hold::Brought;
use stanch_engine::{Index, group};
use stanch_feeds::detect::posture::on_request;
use stanch_feeds::{Detection, carried, detect};
use stanch_ledger::NewEntry;
use stanch_model::Digest;
use stanch_model::Timestamp;
use stanch_model::asset::Asset;
use stanch_model::delta::{DeltaError, FactsDelta, Lasting};
use stanch_model::ecosystem;
use stanch_model::facts::{Component, HostFacts, Known};
use stanch_model::finding::{Detector, Finding, Verdict};
use stanch_model::id::{AssetId, ExecutorId, FindingId};
use stanch_model::order::{Answer, Receipt};
use stanch_model::posture::{self, Reading};
use stanch_store::asset::{SeenAsset, SeenBy};
use stanch_store::detection::Detection as Said;
use stanch_store::edge::SeeTalks;
use stanch_store::facts::NewFacts;
use stanch_store::finding::{ClosedAs, FindingFilter, SyncFindings};
use stanch_store::item::{NewItem, SyncItems};
use stanch_store::receipt::HandleReceipt;
use stanch_store::setting::Setting;
use stanch_store::touched::{Untouch, Work};
use stanch_store::version::SeeVersions;
use stanch_store::{Transition, Write};

use super::PassError;
use super::decide::offer;
use super::edition::Edition;
use super::taken::Taken;
use super::together::together;
use crate::api::types::TrendPoint;
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::record::{TREND, TREND_POINTS};
use crate::view::listed;

/// Lines of one kind that are kept of what the detectors said of an asset.
const LINES: usize = 500;
/// Characters of a host's own that are kept of a line.
const LINE: usize = 500;
/// Findings of an asset read at once.
const FINDINGS: u32 = 10_000;
/// Receipts taken up in one pass.
const PAGE: u32 = 256;

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    // What one executor says is taken up in its order.
    let mut said: BTreeMap<ExecutorId, Vec<Receipt>> = BTreeMap::new();
    let receipts = app.store.unhandled_receipts(&Stage::Ingest.takes_up(), PAGE).await?;
    if receipts.len() == PAGE as usize {
        app.bus.nudge(Stage::Ingest);
    }
    for stored in receipts {
        let receipt = stored.receipt.body;
        said.entry(receipt.executor.clone()).or_default().push(receipt);
    }
    together(said.into_values(), |receipts| {
        let app = app.clone();
        async move {
            for receipt in receipts {
                take_up(&app, receipt).await?;
            }
            Ok(())
        }
    })
    .await?;
    let edition = super::edition::follow(app).await?;
    let taken = Taken::new(app, app.take_unjudged(), |app, left| app.judge_after_all(left));
    let mut judged = 0_usize;
    let done = match taken.get() {
        Some(unjudged) => judge_all(app, unjudged, &edition, &mut judged).await,
        None => Ok(()),
    };
    if done.is_ok() {
        taken.done();
    }
    if judged > 0 {
        // It counts everything: once for all of them.
        count(app).await?;
    }
    done
}

/// Keeps what a receipt says of its executor's own asset.
async fn take_up(app: &App, body: Receipt) -> Result<(), PassError> {
    let own = app.callers.lock().await.get(&body.executor).map(|caller| caller.asset.clone());
    let now = app.now();
    let handled = |forget| Write::HandleReceipt(HandleReceipt { order: body.order.clone(), forget, at: now });
    let mut ask_again = None;
    // An executor may write facts about its own asset only. They are as long as all else that is kept of it, and come
    // again and again: the receipt need not keep them too.
    let transition = match (&body.answer, own) {
        (Answer::Facts { facts }, Some(own)) if facts.asset.id == own.id => {
            let told = Lasting::of(facts)?.digest();
            keep(app, facts, Told { digest: told, whole: true }, &own, &body.executor).await?.write(handled(true))
        }
        (Answer::Delta { delta }, Some(own)) if delta.moment.asset.id == own.id => match built(app, delta, &own).await?
        {
            Ok(facts) => {
                let told = Told { digest: delta.result, whole: false };
                keep(app, &facts, told, &own, &body.executor).await?.write(handled(true))
            }
            Err(why) => {
                tracing::warn!(executor = %body.executor, %why, "a difference of facts is refused");
                let entry = NewEntry::new(now, body.executor.to_string(), "facts_refused")
                    .about(&own.id)
                    .with(serde_json::json!({ "why": why.to_string() }));
                // One that was asked for all of it, and told a difference, would do so again.
                ask_again = app.store.told(&own.id).await?.and_then(|told| told.digest).map(|_| own.id.clone());
                Transition::new(entry).write(Write::DoubtFacts(own.id)).write(handled(true))
            }
        },
        (Answer::Refused { message, hint }, Some(own)) => {
            let hint = hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            app.waits(&waiting_name(&own), format!("its executor refused to read facts: {message}{hint}"));
            Transition::silent(handled(false))
        }
        _ => Transition::silent(handled(false)),
    };
    app.store.commit(transition).await?;
    if let Some(asset) = ask_again {
        super::schedule::request(app, &asset, false).await?;
    }
    app.bus.nudge(Stage::Verify);
    Ok(())
}

/// How facts came.
struct Told {
    /// Digest of what lasts of them, as their executor told them.
    digest: Digest,
    /// All of them, and not only what is different.
    whole: bool,
}

/// The facts that a difference leads to, from those at hand.
async fn built(app: &App, delta: &FactsDelta, own: &Asset) -> Result<Result<HostFacts, DeltaError>, PassError> {
    let known = app.store.told(&own.id).await?.filter(|told| told.epoch == app.epoch).and_then(|told| told.digest);
    let (Some(known), Some(base)) = (known, app.store.facts(&own.id).await?) else {
        return Ok(Err(DeltaError::OtherBase));
    };
    let delta = delta.clone();
    Ok(tokio::task::spawn_blocking(move || delta.apply(&base.facts, known)).await?)
}

async fn judge_all(
    app: &App,
    unjudged: &BTreeSet<AssetId>,
    edition: &Edition,
    judged: &mut usize,
) -> Result<(), PassError> {
    let mut left = unjudged.iter().cloned().peekable();
    while left.peek().is_some() {
        let page: BTreeSet<AssetId> = left.by_ref().take(crate::view::PAGE as usize).collect();
        let ran = together(app.store.assets_named(&page).await?, |stored| {
            let (app, edition) = (app.clone(), edition.clone());
            async move { judge(&app, &stored.asset, &edition).await }
        });
        *judged += ran.await?.into_iter().filter(|ran| *ran).count();
    }
    Ok(())
}

fn waiting_name(asset: &Asset) -> String {
    format!("facts of {}", asset.name)
}

async fn keep(
    app: &App,
    facts: &HostFacts,
    told: Told,
    own: &Asset,
    executor: &ExecutorId,
) -> Result<Transition, PassError> {
    let now = app.now();
    app.goes_on(&waiting_name(own));
    app.judge(own.id.clone());
    // What people said of the asset is the server's, never the host's.
    let said = app.store.asset(&facts.asset.id).await?.map_or_else(|| own.clone(), |stored| stored.asset);
    let asset = Asset { name: facts.asset.name.clone(), ..said };
    let mut facts = HostFacts { asset: asset.clone(), ..facts.clone() };
    // Only who of the fleet calls whom is kept, and never who else talks with whom.
    let talks = facts.talks.take();
    let entry = NewEntry::new(now, executor.to_string(), "facts_taken")
        .about(&asset.id)
        .with(serde_json::json!({ "collected_at": facts.collected_at, "packages": facts.packages.len() }));
    let id = asset.id.clone();
    let kept = Transition::new(entry).write(Write::SeeAsset(SeenAsset { asset, by: SeenBy::Itself, at: now })).write(
        Write::PutFacts(NewFacts {
            carried: carried(&facts),
            facts,
            told: told.digest,
            whole: told.whole,
            epoch: app.epoch,
            at: now,
        }),
    );
    Ok(match talks {
        Some(talks) => kept.write(Write::SeeTalks(SeeTalks { asset: id, talks, at: now })),
        None => kept,
    })
}

/// Runs the detectors on an asset when its facts are others than last time, or a newer edition of the feeds touches it.
/// Answers whether they ran.
async fn judge(app: &App, asset: &Asset, edition: &Edition) -> Result<bool, PassError> {
    let Some(read_at) = app.store.facts_at(&asset.id).await? else { return Ok(false) };
    let held = &edition.held;
    let last = app.store.detection(&asset.id).await?;
    // The store keeps microseconds, facts may be finer.
    let same = |last: &Said| last.facts_at.as_microsecond() == read_at.as_microsecond();
    if last.as_ref().is_some_and(same) && !app.store.is_touched(Work::Judge, &asset.id).await? {
        return Ok(false);
    }
    let Some(facts) = app.store.facts(&asset.id).await? else { return Ok(false) };
    let now = app.now();
    let (read, feeds) = (Arc::new(facts.facts), Arc::clone(&held.feeds));
    let detection: Detection = {
        let read = Arc::clone(&read);
        tokio::task::spawn_blocking(move || detect(&read, &feeds, now)).await?
    };
    let before = open(app, &asset.id).await?;
    let ran = able(&read);
    let mut detection = detection;
    if app.policies.held().bundle.takes_over() {
        detection.findings.extend(on_request(&read));
    }
    detection.findings.retain(|finding| ran.contains(&finding.detector));
    // What could not be read this time stays as it was, although the rest could be.
    detection.findings.extend(before.iter().filter(|finding| is_unread(finding, &read)).cloned());
    // What a detector could not look at is as it was: neither gone nor fixed.
    let kept = before.iter().filter(|finding| !ran.contains(&finding.detector));
    let all: Vec<Finding> = detection.findings.iter().chain(kept).cloned().collect();
    let members = Index::new(&all);
    let items: Vec<NewItem> = group(&asset.id, &all)
        .items
        .into_iter()
        .map(|item| {
            let members = members.members(&item);
            listed(asset, item, &members)
        })
        .collect();
    let counts = counted(&all);
    let otherwise = ended(&before, &detection.findings, &read);
    let said = Said {
        at: now,
        facts: facts.digest,
        facts_at: read.collected_at,
        knowledge: held.stamp,
        coverage: detection.coverage,
        blind_spots: bounded(detection.blind_spots, |more| format!("and {more} more")),
        notes: bounded(detection.notes, |more| format!("and {more} more")),
        feeds: detection.feeds,
        unread: bounded(
            crate::view::unknown_of(&read).into_iter().map(|one| (short(&one.fact), short(&one.why))).collect(),
            |more| ("more".to_owned(), format!("{more} more could not be read")),
        ),
        system: read.os.system(),
        updaters: updaters(&read),
    };
    let seen = offered(&items, &read, now);
    let entry = NewEntry::new(now, "server", "findings_judged")
        .about(&asset.id)
        .with(serde_json::json!({ "open": counts, "items": items.len(), "facts_at": read.collected_at }))
        .resting_on("facts", facts.digest)
        .resting_on("feeds", held.stamp);
    let mut transition = Transition::new(entry)
        .write(Write::SyncFindings(SyncFindings {
            asset: asset.id.clone(),
            detectors: ran,
            findings: detection.findings,
            at: now,
            closed_as: ClosedAs::Fixed,
            otherwise,
        }))
        .write(Write::SyncItems(SyncItems { asset: asset.id.clone(), items, at: now }))
        .write(Write::PutDetection(asset.id.clone(), said))
        .write(Write::Untouch(Untouch { work: Work::Judge, edition: edition.number, asset: asset.id.clone() }));
    transition.writes.extend(seen.into_iter().map(Write::SeeVersions));
    app.store.commit(transition).await?;
    app.assess(asset.id.clone(), false);
    app.bus.nudge(Stage::Assess);
    app.bus.nudge(Stage::Rollout);
    app.bus.tell(Live::of("facts", &asset.id, "the detectors ran on new facts"));
    Ok(true)
}

/// The versions that close these items, and those that the host's archives offer for what is installed: apt goes to the
/// newest, whichever closes something.
fn offered(items: &[NewItem], facts: &HostFacts, at: Timestamp) -> Vec<SeeVersions> {
    let system = facts.os.system();
    let mut seen: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for new in items.iter().filter(|new| !new.fixed_version.is_empty()) {
        let Some(one) = Brought::closing(&new.item.subject, &new.fixed_version) else { continue };
        let (ecosystem, source, version) = offer(system.as_deref(), &one);
        seen.entry(ecosystem).or_default().insert((source, version));
    }
    let newer = seen.entry(system.unwrap_or_default()).or_default();
    for package in &facts.packages {
        let candidates = facts.candidates.known().and_then(|candidates| candidates.get(&package.name));
        let candidates = candidates.into_iter().flatten().filter(|one| one.version > package.version);
        newer.extend(candidates.map(|one| (package.source.clone(), one.source_version.to_string())));
    }
    let all = seen.into_iter().filter(|(_, versions)| !versions.is_empty());
    all.map(|(ecosystem, versions)| SeeVersions { ecosystem, versions: versions.into_iter().collect(), at }).collect()
}

/// Other programs that change packages there by themselves; nothing where that cannot be told of each.
fn updaters(facts: &HostFacts) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for updater in facts.updaters.iter().filter(|updater| updater.installs()) {
        match updater.enabled {
            Known::Known(true) => names.push(short(&updater.name)),
            Known::Known(false) => {}
            Known::Unknown(_) => return None,
        }
    }
    Some(names)
}

/// At most [`LINES`] of them, the last of which says how many there are more: a host may say what it likes.
fn bounded<T>(mut lines: Vec<T>, rest: impl Fn(usize) -> T) -> Vec<T> {
    if lines.len() > LINES {
        let more = lines.len() - LINES + 1;
        lines.truncate(LINES - 1);
        lines.push(rest(more));
    }
    lines
}

fn short(text: &str) -> String {
    text.chars().take(LINE).collect()
}

/// The detectors whose facts could be read.
fn able(facts: &HostFacts) -> Vec<Detector> {
    let can = |detector: &Detector| match detector {
        Detector::Running => facts.stale.known().is_some(),
        Detector::Kernel => facts.kernel.known().is_some(),
        Detector::SecurityOrigin => facts.candidates.known().is_some(),
        Detector::Advisory | Detector::Support => true,
        Detector::Posture => facts.posture.is_some(),
        // One that is not known here has not looked.
        _ => false,
    };
    Detector::ALL.into_iter().filter(can).collect()
}

/// What facts say of the setting that a finding is about.
fn setting(finding: &Finding, facts: &HostFacts) -> Option<Reading> {
    (finding.detector == Detector::Posture).then_some(())?;
    Some(posture::find(&finding.id)?.reading(facts.posture.as_ref()?))
}

/// Whether these facts say nothing of what a finding is about: a setting that could not be read, or a package in a place
/// that was not searched.
fn is_unread(finding: &Finding, facts: &HostFacts) -> bool {
    matches!(setting(finding, facts), Some(Reading::Unread(_)))
        || (finding.detector == Detector::Advisory && facts.is_unsearched(&finding.binary))
}

/// Every open finding of an asset.
pub(super) async fn open(app: &App, asset: &AssetId) -> Result<Vec<Finding>, PassError> {
    let filter = FindingFilter { asset: Some(asset.clone()), open: Some(true), ..FindingFilter::default() };
    let mut all: Vec<Finding> = Vec::new();
    loop {
        let after = all.last().map(|last| last.fingerprint.clone());
        let page = app.store.findings(&filter, after.as_ref(), FINDINGS).await?;
        let last = page.len() < FINDINGS as usize;
        all.extend(page.into_iter().map(|stored| stored.finding));
        if last {
            return Ok(all);
        }
    }
}

/// How findings ended that are no longer seen: fixed when their package changed, gone when it is not there any more,
/// and withdrawn when only the data did.
fn ended(before: &[Finding], after: &[Finding], facts: &HostFacts) -> BTreeMap<FindingId, ClosedAs> {
    let seen: BTreeSet<&FindingId> = after.iter().map(|finding| &finding.fingerprint).collect();
    let mut installed: HashMap<Cow<'_, str>, Vec<&str>> = HashMap::new();
    for package in &facts.packages {
        installed.entry(Cow::Borrowed(&package.name)).or_default().push(package.version.as_str());
    }
    let copies: Vec<Component> = facts.copies().collect();
    for component in facts.components.iter().chain(&copies) {
        installed.entry(unversioned(&component.purl)).or_default().push(&component.version);
    }
    let gone = before.iter().filter(|finding| !seen.contains(&finding.fingerprint));
    gone.map(|finding| {
        if finding.detector == Detector::Posture {
            let how = match setting(finding, facts) {
                Some(Reading::Absent) => ClosedAs::Gone,
                Some(Reading::Value(value)) if value != finding.version => ClosedAs::Fixed,
                // It is as it was: the pack says something else by now.
                _ => ClosedAs::Withdrawn,
            };
            return (finding.fingerprint.clone(), how);
        }
        let on_disk = matches!(finding.detector, Detector::Advisory | Detector::SecurityOrigin);
        let how = match installed.get(&unversioned(&finding.binary)) {
            _ if !on_disk => ClosedAs::Fixed,
            None => ClosedAs::Gone,
            Some(versions) if versions.contains(&finding.version.as_str()) => ClosedAs::Withdrawn,
            Some(_) => ClosedAs::Fixed,
        };
        (finding.fingerprint.clone(), how)
    })
    .collect()
}

/// What the versions of a binary package or component share.
fn unversioned(binary: &str) -> Cow<'_, str> {
    ecosystem::without_version(binary).unwrap_or(Cow::Borrowed(binary))
}

fn counted(findings: &[Finding]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for finding in findings {
        *counts.entry(finding.verdict.name()).or_insert(0) += 1;
    }
    counts
}

/// Adds a point to the trend when the counts are others than at the last one.
async fn count(app: &App) -> Result<(), PassError> {
    let counts = app.store.finding_counts(None).await?;
    let of = |wanted: &dyn Fn(Verdict) -> bool| {
        counts.iter().filter(|((_, verdict), _)| wanted(*verdict)).map(|(_, count)| count.open).sum::<u64>()
    };
    let point = TrendPoint {
        at: app.now(),
        fixable: of(&|verdict| verdict == Verdict::AffectedFixable),
        open: of(&|verdict| !matches!(verdict, Verdict::NotAffected | Verdict::Unknown)),
    };
    let mut points: Vec<TrendPoint> =
        app.store.setting(TREND).await?.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default();
    if points.last().is_some_and(|last| last.fixable == point.fixable && last.open == point.open) {
        // The same count again: the line is drawn on to here.
        if points.len() > 1
            && points.iter().rev().nth(1).is_some_and(|one| one.fixable == point.fixable && one.open == point.open)
        {
            points.pop();
        }
    }
    points.push(point);
    if points.len() > TREND_POINTS {
        points.drain(..points.len() - TREND_POINTS);
    }
    let value = serde_json::to_value(&points).unwrap_or_default();
    app.store.put(Write::PutSetting(Setting { key: TREND.to_owned(), value, at: app.now() })).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use stanch_model::finding::OcsfClass;

    use super::*;

    #[test]
    fn of_too_many_lines_the_last_says_how_many_more_there_are() {
        let lines = |number: usize| (0..number).map(|one| one.to_string()).collect::<Vec<_>>();
        let rest = |more| format!("{more} more");
        assert_eq!(bounded(lines(LINES), rest), lines(LINES));
        let some = bounded(lines(LINES + 10), rest);
        assert_eq!((some.len(), some.last().map(String::as_str)), (LINES, Some("11 more")));
    }

    #[test]
    fn what_was_found_in_a_place_that_was_not_searched_stays_as_it_was() {
        let asset = Asset::unlabelled(stanch_model::asset::AssetKind::Host, "web", "web");
        let binary = "pkg:pypi/leaf@1.0?environment=/opt/site/venv";
        let finding: Finding = serde_json::from_value(serde_json::json!({
            "fingerprint": stanch_model::finding::fingerprint(&asset.id, Detector::Advisory, "GHSA-1", binary),
            "asset": asset.id, "class": OcsfClass::Vulnerability, "detector": Detector::Advisory, "id": "GHSA-1", "aliases": [],
            "package": "leaf", "binary": binary, "version": "1.0", "fixed_version": "1.1",
            "verdict": Verdict::AffectedFixable, "reason": "", "cvss_vectors": [],
        }))
        .unwrap();
        let facts = |unsearched: &str, there: &[&str]| -> HostFacts {
            let component = |version: &&str| {
                serde_json::json!({
                    "ecosystem": "PyPI", "name": "leaf", "version": version,
                    "purl": format!("pkg:pypi/leaf@{version}?environment=/opt/site/venv"),
                })
            };
            serde_json::from_value(serde_json::json!({
                "asset": asset, "collected_at": "2026-01-01T00:00:00Z", "boot_id": {"known": "b"},
                "os": {"id": "debian", "version_id": "12", "codename": "bookworm", "pretty_name": "Debian"},
                "architecture": "amd64", "packages": [], "broken": [], "candidates": {"known": {}},
                "kernel": {"unknown": "x"}, "stale": {"known": []}, "sockets": {"known": []}, "updaters": [],
                "unsearched": [unsearched], "components": there.iter().map(component).collect::<Vec<_>>(),
            }))
            .unwrap()
        };
        assert!(is_unread(&finding, &facts("/opt", &[])), "an early end of the search says nothing");
        assert!(!is_unread(&finding, &facts("/srv", &[])), "it was looked for, and is gone");
        assert!(!is_unread(&finding, &facts("/opt", &["1.1"])), "another version is there");
    }

    #[test]
    fn a_copy_ends_with_its_file_and_not_because_its_file_was_not_read() {
        let asset = Asset::unlabelled(stanch_model::asset::AssetKind::Host, "web", "web");
        let binary = "pkg:generic/openssl@3.0.7?inside=/opt/x/tool";
        let finding: Finding = serde_json::from_value(serde_json::json!({
            "fingerprint": stanch_model::finding::fingerprint(&asset.id, Detector::Advisory, "CVE-2026-1", binary),
            "asset": asset.id, "class": OcsfClass::Vulnerability, "detector": Detector::Advisory, "id": "CVE-2026-1",
            "aliases": [], "package": "openssl", "binary": binary, "version": "3.0.7", "fixed_version": "3.0.8",
            "verdict": Verdict::AffectedUnfixed, "reason": "", "cvss_vectors": [],
        }))
        .unwrap();
        let facts = |unsearched: &[&str], there: &[&str]| -> HostFacts {
            let bundle = |version: &&str| {
                serde_json::json!({
                    "path": "/opt/x/tool", "evidence": "text", "copies": [{"name": "openssl", "version": version}],
                })
            };
            serde_json::from_value(serde_json::json!({
                "asset": asset, "collected_at": "2026-01-01T00:00:00Z", "boot_id": {"known": "b"},
                "os": {"id": "debian", "version_id": "12", "codename": "bookworm", "pretty_name": "Debian"},
                "architecture": "amd64", "packages": [], "broken": [], "candidates": {"known": {}},
                "kernel": {"unknown": "x"}, "stale": {"known": []}, "sockets": {"known": []}, "updaters": [],
                "unsearched": unsearched, "bundles": there.iter().map(bundle).collect::<Vec<_>>(),
            }))
            .unwrap()
        };
        assert!(is_unread(&finding, &facts(&["/opt/x/tool"], &[])), "the file was not read");
        assert!(!is_unread(&finding, &facts(&["/opt/x/tool"], &["3.0.8"])), "it was, and holds another one");
        assert!(!is_unread(&finding, &facts(&["/opt/x/tools"], &[])), "another file was not read");
        let how = |facts: &HostFacts| ended(std::slice::from_ref(&finding), &[], facts).into_values().next().unwrap();
        assert_eq!(how(&facts(&[], &[])), ClosedAs::Gone);
        assert_eq!(how(&facts(&[], &["3.0.8"])), ClosedAs::Fixed);
        assert_eq!(how(&facts(&[], &["3.0.7"])), ClosedAs::Withdrawn);
    }
}

//! Findings.

use stanch_model::finding::{Detector, Verdict};
use stanch_model::id::FindingId;
use stanch_store::finding::{FindingFilter as Rows, StoredFinding};

use super::{PAGE, coverage, name};
use crate::api::types::{Closed, Coverage, Finding, FindingPage};
use crate::api::{FindingFilter, Problem};
use crate::app::App;
use crate::auth::Sight;

/// Findings on a page when nobody says.
const DEFAULT: u32 = 200;

/// A page of findings.
pub(crate) async fn findings(app: &App, sight: &Sight, filter: &FindingFilter) -> Result<FindingPage, Problem> {
    let rows = Rows {
        asset: filter.asset.as_deref().map(|id| parse(id, "asset")).transpose()?,
        item: filter.item.as_deref().map(|id| parse(id, "item")).transpose()?,
        detector: filter.detector.as_deref().map(detector).transpose()?,
        verdict: filter.verdict.as_deref().map(verdict).transpose()?,
        package: filter.package.clone(),
        id: filter.id.clone(),
        open: if filter.closed { None } else { Some(true) },
        among: sight.among(),
        items: None,
        ids: None,
    };
    let after: Option<FindingId> = filter.after.as_deref().map(|id| parse(id, "finding")).transpose()?;
    let limit = filter.limit.unwrap_or(DEFAULT).clamp(1, PAGE);
    let mut found = app.store.findings(&rows, after.as_ref(), limit + 1).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|last| last.finding.fingerprint.to_string());
    Ok(FindingPage { findings: found.iter().map(wire).collect(), next, coverage: all_coverage(app, sight).await? })
}

/// How much of all inventories the data covers.
pub(super) async fn all_coverage(app: &App, sight: &Sight) -> Result<Coverage, Problem> {
    Ok(coverage(&app.store.coverage(sight.among().as_ref()).await?))
}

fn parse<T: std::str::FromStr<Err = stanch_model::id::NotAnId>>(text: &str, what: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: stanch_model::id::NotAnId| Problem::bad_request(format!("`{what}`: {error}")))
}

fn detector(text: &str) -> Result<Detector, Problem> {
    Detector::ALL.into_iter().find(|known| known.name() == text).ok_or_else(|| {
        let known: Vec<&str> = Detector::ALL.into_iter().map(Detector::name).collect();
        Problem::bad_request(format!("`{text}` is no detector: {}", known.join(", ")))
    })
}

pub(super) fn verdict(text: &str) -> Result<Verdict, Problem> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|_| Problem::bad_request(format!("`{text}` is no verdict")))
}

/// One finding.
pub(crate) async fn finding(app: &App, id: &str) -> Result<Finding, Problem> {
    let missing = || Problem::not_found("finding", id);
    let fingerprint: FindingId = id.parse().map_err(|_| missing())?;
    let stored = app.store.finding(&fingerprint).await?.ok_or_else(missing)?;
    Ok(wire(&stored))
}

pub(super) fn wire(stored: &StoredFinding) -> Finding {
    let finding = &stored.finding;
    Finding {
        id: finding.fingerprint.to_string(),
        asset: finding.asset.to_string(),
        detector: finding.detector.name().to_owned(),
        advisory: finding.id.clone(),
        aliases: finding.aliases.clone(),
        package: finding.package.clone(),
        binary: finding.binary.clone(),
        version: finding.version.clone(),
        source_version: finding.source_version.clone(),
        fixed_version: finding.fixed_version.clone(),
        verdict: finding.verdict.name().to_owned(),
        reason: finding.reason.clone(),
        cvss_vectors: finding.cvss_vectors.clone(),
        doubt: finding.doubt.clone(),
        feed: finding.feed.as_ref().map(|feed| {
            let dated =
                feed.dated.map_or_else(|| ", undated".to_owned(), |at| format!(", {}", at.strftime("%Y-%m-%d")));
            format!("{}{dated}{}", feed.name, if feed.snapshot { " (built-in snapshot)" } else { "" })
        }),
        item: stored.item.as_ref().map(ToString::to_string),
        first_seen_at: stored.first_seen,
        last_seen_at: stored.last_seen,
        closed: stored.closed.map(|(at, how)| Closed { at, how: name(&how) }),
    }
}

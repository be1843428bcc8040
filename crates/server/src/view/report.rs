//! Exposure time, counted from what happened: findings tell when they were there, facts when they were shown, and
//! remediations what they waited for.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use stanch_engine::exposure_time::{self, Case, Figures, Gate, Life, Moment};
use stanch_model::asset::Tier;
use stanch_model::finding::Verdict;
use stanch_model::id::{AssetId, FindingId, ItemId};
use stanch_store::finding::{FindingFilter, StoredFinding};
use stanch_store::item::{ItemFilter, StoredItem};
use stanch_store::remediation::RemediationFilter;

use super::{PAGE, all_rows, name};
use crate::api::types::{Report, ReportFigures, ReportGroup};
use crate::api::{Problem, ReportFilter};
use crate::app::App;
use crate::auth::Sight;
use crate::record::Record;

/// Days that are looked at when nobody says.
const DAYS: u16 = 30;
/// Findings that one report counts.
const MOST: usize = 200_000;
/// Facts of an asset whose times are known.
const HISTORY: u32 = 1_000;

/// How long problems were open.
pub(crate) async fn report(app: &App, sight: &Sight, filter: &ReportFilter) -> Result<Report, Problem> {
    let days = filter.days.unwrap_or(DAYS);
    if !(1..=366).contains(&days) {
        return Err(Problem::bad_request("`days` is between 1 and 366"));
    }
    let now = app.now();
    let from = now.checked_sub(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MIN);
    let done = done(app).await?;
    let mut shown = Shown::default();
    let mut tiers: HashMap<AssetId, Option<Tier>> = HashMap::new();
    let (mut cases, mut after, mut cut) = (Vec::new(), None::<FindingId>, false);
    let findings = FindingFilter { among: sight.among(), ..FindingFilter::default() };
    loop {
        let page = app.store.findings(&findings, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.finding.fingerprint.clone());
        let counted: Vec<StoredFinding> = page.into_iter().filter(|row| counts(row, from)).collect();
        let ids: std::collections::BTreeSet<ItemId> = counted.iter().filter_map(|row| row.item.clone()).collect();
        let wanted = ItemFilter { ids: Some(ids.into_iter().collect()), ..ItemFilter::default() };
        let items = all_rows(app, wanted).await?.into_iter();
        let items: HashMap<ItemId, StoredItem> = items.map(|row| (row.item.id.clone(), row)).collect();
        for row in counted {
            let asset = &row.finding.asset;
            if !tiers.contains_key(asset) {
                let known = app.store.asset(asset).await?;
                tiers.insert(asset.clone(), known.and_then(|known| known.asset.tier));
            }
            let item = row.item.as_ref().and_then(|id| items.get(id));
            let assessment = item.and_then(|item| item.assessment.as_ref());
            let closed = row.closed.as_ref().map(|(at, _)| *at);
            let about = row.item.as_ref().and_then(|id| done.get(id)).map(Vec::as_slice).unwrap_or_default();
            let mine = about.iter().filter(|one| {
                one.ended.is_none_or(|ended| ended >= row.first_seen) && closed.is_none_or(|closed| one.began <= closed)
            });
            let mut moments: Vec<Moment> = mine.clone().flat_map(|one| one.moments.iter().copied()).collect();
            moments.sort_by_key(|moment| moment.at);
            cases.push(Case {
                severity: assessment.map_or_else(|| "unknown".to_owned(), |known| name(&known.deployer)),
                tier: tiers.get(asset).copied().flatten(),
                life: Life {
                    published: row.finding.since.published,
                    installed: row.finding.since.installed,
                    shown: shown.before(app, asset, row.first_seen).await?,
                    found: row.first_seen,
                    moments,
                    closed,
                },
                due: assessment.and_then(|known| known.due),
                touches: mine.map(|one| one.touches).sum(),
            });
        }
        if cases.len() >= MOST {
            cut = true;
            break;
        }
    }
    let groups = exposure_time::report(&cases, now).into_iter().map(|((urgency, tier), figures)| ReportGroup {
        urgency,
        tier: tier.number(),
        figures: wire(&figures),
    });
    let mut groups: Vec<ReportGroup> = groups.collect();
    groups.sort_by_key(|group| (order(&group.urgency), group.tier));
    Ok(Report { from, until: now, total: wire(&exposure_time::summary(&cases, now)), groups, cut })
}

/// Whether a finding is one that could be closed and was open in this time.
fn counts(row: &StoredFinding, from: Timestamp) -> bool {
    let fixable = matches!(row.finding.verdict, Verdict::AffectedFixable | Verdict::FixedNotRunning | Verdict::Held);
    fixable && row.closed.as_ref().is_none_or(|(at, _)| *at >= from)
}

fn order(urgency: &str) -> usize {
    ["immediate", "out_of_cycle", "scheduled", "defer"].iter().position(|known| *known == urgency).unwrap_or(4)
}

/// What was done about an item.
struct Acted {
    began: Timestamp,
    ended: Option<Timestamp>,
    moments: Vec<Moment>,
    touches: u32,
}

/// All remediations by their items. One pass over all of them.
async fn done(app: &App) -> Result<HashMap<ItemId, Vec<Acted>>, Problem> {
    let mut done: HashMap<ItemId, Vec<Acted>> = HashMap::new();
    let mut pages = app.store.remediation_pages(RemediationFilter::default());
    while let Some(page) = pages.next().await? {
        for row in page {
            let record = Record::read(&row.body);
            let asked = u32::from(row.requested_by != crate::tasks::ACTOR);
            let ended = row.state.is_over().then_some(row.updated_at);
            let mut moments = record.moments;
            if let Some(at) = ended {
                // What it left open is to be decided anew.
                moments.push(Moment { at, gate: Gate::Decide });
            }
            for item in row.items {
                done.entry(item).or_default().push(Acted {
                    began: row.created_at,
                    ended,
                    moments: moments.clone(),
                    touches: record.touches.saturating_add(asked),
                });
            }
        }
    }
    Ok(done)
}

/// When facts of assets were read.
#[derive(Default)]
struct Shown(HashMap<AssetId, Vec<Timestamp>>);

impl Shown {
    /// When the facts were read on which the detectors said something at this time.
    async fn before(&mut self, app: &App, asset: &AssetId, at: Timestamp) -> Result<Timestamp, Problem> {
        if !self.0.contains_key(asset) {
            let history = app.store.facts_history(asset, HISTORY).await?;
            self.0.insert(asset.clone(), history.into_iter().map(|(at, _)| at).collect());
        }
        let known = self.0.get(asset).map(Vec::as_slice).unwrap_or_default();
        Ok(known.iter().copied().filter(|read| *read <= at).max().unwrap_or(at))
    }
}

fn wire(figures: &Figures) -> ReportFigures {
    let seconds = |time: Option<SignedDuration>| time.map(|time| time.as_secs());
    let gates = figures.gates.iter().map(|(gate, time)| (name(gate), time.as_secs()));
    ReportFigures {
        closed: figures.closed,
        open: figures.open,
        mean_seconds: seconds(figures.mean),
        median_seconds: seconds(figures.median),
        ninetieth_seconds: seconds(figures.ninetieth),
        oldest_seconds: seconds(figures.oldest),
        in_time: figures.in_time,
        late: figures.late,
        untouched_percent: figures.untouched_percent(),
        touches_per_fix_e2: figures.touches_per_fix(),
        gates: gates.collect::<BTreeMap<_, _>>(),
    }
}

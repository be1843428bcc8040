//! One problem over all hosts: what it is, where it was found, what is done about it, when that can be over, and how much
//! of the fleet could not be looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use stanch_model::asset::AssetKind;
use stanch_model::finding::Verdict;
use stanch_model::id::{AssetId, FindingId, ItemId, RemediationId};
use stanch_model::remediation::RemediationState;
use stanch_store::finding::{ClosedAs, FindingFilter, StoredFinding};
use stanch_store::fleet::FleetFilter;
use stanch_store::problem::Hit;
use stanch_store::remediation::StoredRemediation;

use super::{PAGE, asset, calendar, name, remediation_row};
use crate::api::types::{BlindHosts, Cve, CveHosts, CvePlace, CveWork};
use crate::api::{CveFilter, Problem};
use crate::app::App;
use crate::auth::Sight;
use crate::record::Record;

/// Findings that are looked at; where there are more, the answer says that it is cut.
const MOST: u32 = 200_000;
/// Places on a page when nobody says.
const DEFAULT: u32 = 200;
/// Names of one problem that are told.
const NAMES: u32 = 50;
/// The longest name of a problem.
const LONGEST: usize = 80;

/// Whether a text can be the name of a problem: a CVE, or what a publisher calls it, such as `GHSA-...` or `DSA-...`.
pub(crate) fn is_problem_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let numbered = text.split_once('-').is_some_and(|(who, number)| !who.is_empty() && !number.is_empty());
    text.len() <= LONGEST && numbered && text.bytes().all(plain) && text.bytes().any(|byte| byte.is_ascii_digit())
}

/// What became of a problem at one place, the most pressing first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stands {
    /// A fix is at hand, and nothing is under way.
    Open,
    /// Its owner holds the package.
    Held,
    /// Nobody offers a fix.
    NoFix,
    /// A remediation is about it.
    InWork,
    /// The risk was accepted, or the fix was taken back.
    Excepted,
    /// The data do not say whether it is affected.
    Unknown,
    /// Newer facts show it gone.
    Fixed,
    /// What had it is not there any more.
    Gone,
    /// It is not affected, or the data that said so were withdrawn.
    NotAffected,
}

impl Stands {
    const ALL: [Self; 9] = [
        Self::Open,
        Self::Held,
        Self::NoFix,
        Self::InWork,
        Self::Excepted,
        Self::Unknown,
        Self::Fixed,
        Self::Gone,
        Self::NotAffected,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Held => "held",
            Self::NoFix => "no_fix",
            Self::InWork => "in_work",
            Self::Excepted => "excepted",
            Self::Unknown => "unknown",
            Self::Fixed => "fixed",
            Self::Gone => "gone",
            Self::NotAffected => "not_affected",
        }
    }

    const fn is_exposed(self) -> bool {
        matches!(self, Self::Open | Self::Held | Self::NoFix | Self::InWork | Self::Excepted)
    }
}

/// A package of an asset that has or had the problem.
struct Place<'a> {
    hits: Vec<&'a Hit>,
    stands: Stands,
    work: Option<&'a RemediationId>,
}

impl Place<'_> {
    /// What stands for it: the hit that tells most.
    fn first(&self) -> Option<&Hit> {
        self.hits.iter().min_by_key(|hit| (hit.closed.is_some(), &hit.finding)).copied()
    }
}

/// One problem by any of its names.
pub(crate) async fn cve(app: &App, sight: &Sight, id: &str, filter: &CveFilter) -> Result<Cve, Problem> {
    if !is_problem_name(id) {
        return Err(Problem::not_found("problem", &id.chars().take(LONGEST).collect::<String>()));
    }
    let id = if id.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("cve-")) {
        id.to_ascii_uppercase()
    } else {
        id.to_owned()
    };
    let state = filter.state.as_deref().map(state).transpose()?;
    let among = sight.among();
    let hits = app.store.hits(&id, among.as_ref(), MOST).await?;
    let open: Vec<ItemId> = hits
        .iter()
        .filter(|hit| hit.closed.is_none())
        .filter_map(|hit| hit.item.clone())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let busy = app.store.busy_items(&open).await?;
    let aside = aside(app, &hits).await?;
    let mut places = places(&hits, &busy, &aside);
    let hosts = hosts(app, sight, &places).await?;
    let (work, finish) = work(app, &places, &hits).await?;

    // Whoever sees none of it is not told by its names that others have it.
    let names = if hits.is_empty() { Vec::new() } else { app.store.names_of(&id, NAMES).await? };
    let numbered = |name: &String| name.starts_with("CVE-");
    let numbers: Vec<String> = std::iter::once(&id)
        .chain(&names)
        .filter(|name| numbered(name))
        .cloned()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let known = knowledge(app, &numbers);

    places.retain(|place| state.is_none_or(|state| place.stands == state));
    let limit = filter.limit.unwrap_or(DEFAULT).clamp(1, PAGE) as usize;
    let after = filter.after.as_deref().map(after).transpose()?;
    let rest: Vec<&Place<'_>> = places
        .iter()
        .filter(|place| {
            let Some(first) = place.first() else { return false };
            after.as_ref().is_none_or(|(stands, last)| (place.stands, &first.finding) > (*stands, last))
        })
        .collect();
    let shown: Vec<&Place<'_>> = rest.iter().take(limit).copied().collect();
    let next = shown
        .last()
        .filter(|_| rest.len() > limit)
        .and_then(|last| Some(format!("{}.{}", last.stands.name(), last.first()?.finding)));
    Ok(Cve {
        places: wire(app, &shown).await?,
        next,
        known: !hits.is_empty() || known.is_known(),
        other_names: names.into_iter().filter(|name| !name.eq_ignore_ascii_case(&id)).collect(),
        severity: known.severity().to_owned(),
        cvss: known.cvss,
        cvss_e1: known.cvss_e1,
        epss_e5: known.epss_e5,
        epss_percentile_e5: known.epss_percentile_e5,
        kev_added: known.kev_added,
        kev_due: known.kev_due,
        ransomware: known.ransomware,
        exploitation: known.exploitation,
        automatable: known.automatable,
        technical_impact: known.technical_impact,
        hosts,
        work,
        finished_at: finish.at,
        finish: finish.words,
        cut: hits.len() >= MOST as usize,
        id,
    })
}

fn state(text: &str) -> Result<Stands, Problem> {
    Stands::ALL.into_iter().find(|known| known.name() == text).ok_or_else(|| {
        let names: Vec<&str> = Stands::ALL.into_iter().map(Stands::name).collect();
        Problem::bad_request(format!("`{}` is no state", text.chars().take(40).collect::<String>()))
            .hint(format!("one of: {}", names.join(", ")))
    })
}

fn after(text: &str) -> Result<(Stands, FindingId), Problem> {
    let refused = || Problem::bad_request("`after` is not the `next` of a page").hint("pass it on as it came");
    let (stands, finding) = text.split_once('.').ok_or_else(refused)?;
    Ok((state(stands).map_err(|_| refused())?, finding.parse().map_err(|_| refused())?))
}

/// The items that were taken back or whose risk was accepted.
async fn aside(app: &App, hits: &[Hit]) -> Result<HashSet<ItemId>, Problem> {
    let suppressed = app.store.suppressions(app.now()).await?;
    let mut versions: HashMap<(&ItemId, &AssetId), Vec<&str>> = HashMap::new();
    for one in &suppressed {
        versions.entry((&one.item, &one.asset)).or_default().push(&one.version);
    }
    let is_aside = |hit: &&Hit| {
        let of = hit.item.as_ref().and_then(|item| versions.get(&(item, &hit.asset)));
        hit.accepted
            || of.is_some_and(|versions| versions.iter().any(|one| one.is_empty() || *one == hit.item_fixed_version))
    };
    Ok(hits.iter().filter(is_aside).filter_map(|hit| hit.item.clone()).collect())
}

/// The places, the most pressing first.
fn places<'a>(hits: &'a [Hit], busy: &'a HashMap<ItemId, RemediationId>, aside: &HashSet<ItemId>) -> Vec<Place<'a>> {
    let mut by_place: BTreeMap<(&AssetId, &str), Vec<&Hit>> = BTreeMap::new();
    for hit in hits {
        by_place.entry((&hit.asset, &hit.package)).or_default().push(hit);
    }
    let place = |hits: Vec<&'a Hit>| {
        let work = hits.iter().filter(|hit| hit.closed.is_none()).find_map(|hit| busy.get(hit.item.as_ref()?));
        let stands = hits.iter().map(|hit| stands(hit, work.is_some(), aside)).min().unwrap_or(Stands::Unknown);
        Place { hits, stands, work: work.filter(|_| stands == Stands::InWork) }
    };
    let mut places: Vec<Place<'a>> = by_place.into_values().map(place).collect();
    places.sort_by(|a, b| {
        let of = |place: &Place<'_>| (place.stands, place.first().map(|hit| hit.finding.clone()));
        of(a).cmp(&of(b))
    });
    places
}

fn stands(hit: &Hit, in_work: bool, aside: &HashSet<ItemId>) -> Stands {
    match (hit.closed.map(|(_, how)| how), hit.verdict) {
        (Some(ClosedAs::Fixed), _) => Stands::Fixed,
        (Some(ClosedAs::Gone), _) => Stands::Gone,
        (Some(ClosedAs::Withdrawn), _) | (None, Verdict::NotAffected) => Stands::NotAffected,
        (None, Verdict::Unknown) => Stands::Unknown,
        (None, _) if in_work => Stands::InWork,
        (None, _) if hit.item.as_ref().is_some_and(|item| aside.contains(item)) => Stands::Excepted,
        (None, Verdict::AffectedUnfixed | Verdict::Unsupported) => Stands::NoFix,
        (None, Verdict::Held) => Stands::Held,
        (None, Verdict::AffectedFixable | Verdict::FixedNotRunning) => Stands::Open,
    }
}

/// How many hosts there are of each; a host counts with the most pressing of its places.
async fn hosts(app: &App, sight: &Sight, places: &[Place<'_>]) -> Result<CveHosts, Problem> {
    let mut worst: HashMap<&AssetId, Stands> = HashMap::new();
    for place in places {
        let Some(hit) = place.first() else { continue };
        let known = worst.entry(&hit.asset).or_insert(place.stands);
        *known = (*known).min(place.stands);
    }
    let mut by_state: BTreeMap<String, u64> = BTreeMap::new();
    for stands in worst.values() {
        *by_state.entry(stands.name().to_owned()).or_default() += 1;
    }
    let (all, blind) = asset::blind_hosts(app, sight).await?;
    // What forbids to say of a host that it does not have it.
    let unseen = ["unmatched", "stale"];
    let unseen: Vec<BlindHosts> = blind.into_iter().filter(|one| unseen.contains(&one.name.as_str())).collect();
    let seen =
        FleetFilter { kind: Some(AssetKind::Host), among: sight.among(), presence: None, ..FleetFilter::default() };
    let looked_at = app.store.count_judged(&seen, asset::fresh(app)).await?;
    Ok(CveHosts {
        all,
        looked_at,
        not_looked_at: all.saturating_sub(looked_at),
        unseen,
        exposed: worst.values().filter(|stands| stands.is_exposed()).count() as u64,
        by_state,
    })
}

/// When all of it can be over, in words.
struct Finish {
    at: Option<Timestamp>,
    words: String,
}

/// What is under way, and when it can be over.
async fn work(app: &App, places: &[Place<'_>], hits: &[Hit]) -> Result<(Vec<CveWork>, Finish), Problem> {
    let mut targets: BTreeMap<&RemediationId, BTreeSet<&AssetId>> = BTreeMap::new();
    for place in places {
        if let (Some(id), Some(hit)) = (place.work, place.first()) {
            targets.entry(id).or_default().insert(&hit.asset);
        }
    }
    let now = app.now();
    let (mut work, mut ends, mut endless) = (Vec::new(), Vec::new(), 0_usize);
    for (id, assets) in targets {
        let Some(row) = app.store.remediation(id).await? else { continue };
        let forecast = Record::read(&row.body).rollout.and_then(|rollout| calendar::foreseen(app, &row, &rollout, now));
        let end = forecast.as_ref().and_then(|told| told.slow.ending.at());
        match end {
            Some(at) => ends.push(at),
            None => endless += 1,
        }
        let wire = remediation_row(&row);
        work.push(CveWork {
            id: wire.id,
            state: wire.state,
            hosts: assets.len() as u64,
            waits_for: waits_for(&row),
            waiting_on: wire.waiting_on,
            forecast: forecast.map(|told| told.to_string()),
            ends_at: end,
        });
    }
    let of = |stands: Stands| places.iter().filter(|place| place.stands == stands).count();
    let exposed = places.iter().filter(|place| place.stands.is_exposed()).count();
    let unruled = hits.iter().filter(|hit| hit.closed.is_none() && !hit.ruled).filter_map(|hit| hit.item.as_ref());
    let unruled = unruled.collect::<BTreeSet<_>>().len();
    let mut missing = Vec::new();
    let plural = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    let mut say = |stands: Stands, why: String| {
        if of(stands) > 0 {
            missing.push(format!("{} {why}", plural(of(stands), "place")));
        }
    };
    say(
        Stands::Open,
        if unruled > 0 {
            format!("can be fixed and nobody has asked for it (on {} no policy has a word)", plural(unruled, "item"))
        } else {
            "can be fixed and nobody has asked for it".to_owned()
        },
    );
    say(Stands::Held, "held by the owner of the package".to_owned());
    say(Stands::NoFix, "without a fix that anybody offers".to_owned());
    say(Stands::Excepted, "taken back or accepted as a risk".to_owned());
    say(Stands::Unknown, "of which the data say nothing".to_owned());
    if endless > 0 {
        missing.push(format!("{} without a time", plural(endless, "remediation")));
    }
    let at = if missing.is_empty() { ends.iter().copied().max() } else { None };
    let words = match (at, missing.is_empty(), exposed) {
        (Some(_), ..) => "all of it is under way".to_owned(),
        (None, true, 0) if places.is_empty() => "it was not found".to_owned(),
        (None, true, _) => "it is over wherever it was found".to_owned(),
        (None, false, _) => format!("no time can be told: {}", missing.join("; ")),
    };
    Ok((work, Finish { at, words }))
}

/// Who has to do something before it goes on.
fn waits_for(row: &StoredRemediation) -> String {
    use RemediationState as S;
    match row.state {
        S::AwaitingApproval => "whoever may approve it",
        S::Suggested => "whoever may ask for it",
        S::NeedsOperator | S::Halted | S::RollbackFailed => "an operator",
        S::AwaitingConfirmation => "its owner",
        S::Paused => "a look at what paused it",
        S::Approved | S::Scheduled => "its window, wave or turn",
        S::Rolling(_) | S::Verifying(_) | S::Baking(_) => "its executors",
        _ => "the server",
    }
    .to_owned()
}

/// What the feeds know of a problem. Of several numbers the worst counts.
#[derive(Default)]
struct Known {
    cvss: Vec<String>,
    cvss_e1: Option<u8>,
    epss_e5: Option<u32>,
    epss_percentile_e5: Option<u32>,
    kev_added: Option<String>,
    kev_due: Option<String>,
    ransomware: bool,
    exploitation: Option<String>,
    automatable: Option<String>,
    technical_impact: Option<String>,
}

impl Known {
    const fn is_known(&self) -> bool {
        self.cvss_e1.is_some() || self.epss_e5.is_some() || self.kev_added.is_some() || self.exploitation.is_some()
    }

    /// The word of the CVSS specification for the highest score.
    const fn severity(&self) -> &'static str {
        match self.cvss_e1 {
            None => "unknown",
            Some(0) => "none",
            Some(1..=39) => "low",
            Some(40..=69) => "medium",
            Some(70..=89) => "high",
            Some(_) => "critical",
        }
    }
}

fn knowledge(app: &App, numbers: &[String]) -> Known {
    let held = app.knowledge.held();
    let mut known = Known::default();
    for number in numbers {
        let one = held.feeds.enrich(number);
        known.cvss.extend(one.cvss.iter().map(|score| {
            format!("{} {}.{} ({})", score.version, score.score_e1 / 10, score.score_e1 % 10, score.source)
        }));
        known.cvss_e1 = known.cvss_e1.max(one.cvss.iter().map(|score| score.score_e1).max());
        if let Some(epss) = one.epss.filter(|epss| known.epss_e5.is_none_or(|least| epss.score_e5 > least)) {
            known.epss_e5 = Some(epss.score_e5);
            known.epss_percentile_e5 = Some(epss.percentile_e5);
        }
        if let Some(kev) = one.kev {
            known.kev_added.get_or_insert_with(|| kev.added.to_string());
            known.kev_due = known.kev_due.take().or_else(|| kev.due.map(|due| due.to_string()));
            known.ransomware |= kev.ransomware;
        }
        known.exploitation = known.exploitation.take().or_else(|| one.ssvc.exploitation.as_ref().map(name));
        known.automatable = known.automatable.take().or_else(|| one.ssvc.automatable.as_ref().map(name));
        known.technical_impact = known.technical_impact.take().or_else(|| one.ssvc.technical_impact.as_ref().map(name));
    }
    known
}

/// Places on the wire, with what their findings say.
async fn wire(app: &App, places: &[&Place<'_>]) -> Result<Vec<CvePlace>, Problem> {
    let ids: Vec<FindingId> = places.iter().filter_map(|place| Some(place.first()?.finding.clone())).collect();
    let filter = FindingFilter { ids: Some(ids), ..FindingFilter::default() };
    let rows = app.store.findings(&filter, None, PAGE).await?.into_iter();
    let rows: HashMap<FindingId, StoredFinding> = rows.map(|row| (row.finding.fingerprint.clone(), row)).collect();
    let assets: BTreeSet<AssetId> = places.iter().filter_map(|place| Some(place.first()?.asset.clone())).collect();
    let assets = app.store.assets_named(&assets).await?.into_iter();
    let assets: HashMap<AssetId, stanch_model::asset::Asset> =
        assets.map(|row| (row.asset.id.clone(), row.asset)).collect();
    let one = |place: &&Place<'_>| {
        let hit = place.first()?;
        let row = rows.get(&hit.finding)?;
        let asset = assets.get(&hit.asset)?;
        let finding = &row.finding;
        Some(CvePlace {
            asset: hit.asset.to_string(),
            asset_name: asset.name.clone(),
            environment: asset.environment.clone(),
            owner: asset.owner.clone(),
            package: hit.package.clone(),
            version: finding.version.clone(),
            fixed_version: finding.fixed_version.clone(),
            verdict: finding.verdict.name().to_owned(),
            state: place.stands.name().to_owned(),
            reason: finding.reason.clone(),
            finding: hit.finding.to_string(),
            item: hit.item.as_ref().map(ToString::to_string),
            remediation: place.work.map(ToString::to_string),
            first_seen_at: hit.first_seen,
            closed_at: hit.closed.map(|(at, _)| at),
        })
    };
    Ok(places.iter().filter_map(one).collect())
}

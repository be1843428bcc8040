//! Work items, most urgent first, with everything that explains them.

use std::collections::{BTreeSet, HashMap};

use stanch_engine::{Proposal, propose};
use stanch_feeds::order::Order;
use stanch_model::assessment::DeployerPriority;
use stanch_model::asset::Asset;
use stanch_model::decision::Mode;
use stanch_model::ecosystem;
use stanch_model::finding::{Finding as ModelFinding, Verdict};
use stanch_model::id::{AssetId, CaseId, FindingId, ItemId, RemediationId};
use stanch_model::item::WorkItem;
use stanch_store::asset::StoredAsset;
use stanch_store::finding::{FindingFilter as Findings, StoredFinding};
use stanch_store::item::{ItemCursor, ItemFilter as Rows, NewItem, StoredItem};
use stanch_store::remediation::RemediationFilter;
use stanch_store::suppression::Suppression;

use super::finding::{all_coverage, verdict, wire as finding_wire};
use super::{PAGE, name};
use crate::api::types::{FeedRef, Item, ItemDetail, ItemList, Member, Suppressed};
use crate::api::{ItemFilter, Problem};
use crate::app::App;
use crate::auth::Sight;

/// Items on a page when nobody says.
const DEFAULT: u32 = 200;

/// A page of the open items, most urgent first.
pub(crate) async fn items(app: &App, sight: &Sight, filter: &ItemFilter) -> Result<ItemList, Problem> {
    let rows = Rows {
        asset: filter.asset.as_deref().map(asset_id).transpose()?,
        part: filter.name.clone(),
        open: Some(true),
        kind: filter.kind.clone(),
        verdict: filter.verdict.as_deref().map(verdict).transpose()?,
        deployer: filter.deployer.as_deref().map(deployer).transpose()?,
        actionable: filter.actionable,
        among: sight.among(),
        ..Rows::default()
    };
    let after = filter.after.as_deref().map(cursor).transpose()?;
    let limit = filter.limit.unwrap_or(DEFAULT).clamp(1, PAGE);
    let mut found = app.store.items(&rows, after.as_ref(), limit + 1).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let context = Context::of(app, &found).await?;
    Ok(ItemList {
        items: found.iter().map(|row| context.wire(row)).collect(),
        next: found.last().filter(|_| more).map(|last| format!("{}.{}", last.cursor.rank, last.cursor.id)),
        coverage: all_coverage(app, sight).await?,
    })
}

fn asset_id(text: &str) -> Result<AssetId, Problem> {
    text.parse().map_err(|error| Problem::bad_request(format!("`asset`: {error}")))
}

fn deployer(text: &str) -> Result<DeployerPriority, Problem> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|_| Problem::bad_request(format!("`{text}` is no outcome of the deployer table")))
}

/// A place in the order of a listing, as the page before told it.
fn cursor(text: &str) -> Result<ItemCursor, Problem> {
    let refused = || Problem::bad_request("`after` is not the `next` of a page").hint("pass it on as it came");
    let (rank, id) = text.rsplit_once('.').ok_or_else(refused)?;
    Ok(ItemCursor { rank: rank.to_owned(), id: id.parse().map_err(|_| refused())? })
}

/// Pages through rows in the order of the listing, so that no number of them is too many.
pub(crate) struct Pages {
    filter: Rows,
    after: Option<ItemCursor>,
    done: bool,
}

impl Pages {
    /// From the first one on.
    pub(crate) fn of(filter: Rows) -> Self {
        Self::after(filter, None)
    }

    /// From behind this place on.
    pub(crate) const fn after(filter: Rows, place: Option<ItemCursor>) -> Self {
        Self { filter, after: place, done: false }
    }

    /// The place of the last row that was read.
    pub(crate) const fn last(&self) -> Option<&ItemCursor> {
        self.after.as_ref()
    }

    /// The next rows; none when there are no more.
    pub(crate) async fn next(&mut self, app: &App) -> Result<Vec<StoredItem>, stanch_store::ReadError> {
        if self.done {
            return Ok(Vec::new());
        }
        let page = app.store.items(&self.filter, self.after.as_ref(), PAGE).await?;
        self.done = page.len() < PAGE as usize;
        self.after = page.last().map(|last| last.cursor.clone());
        Ok(page)
    }
}

/// All rows at once: for what is bounded by an asset or by a remediation.
pub(crate) async fn all_rows(app: &App, filter: Rows) -> Result<Vec<StoredItem>, stanch_store::ReadError> {
    let mut pages = Pages::of(filter);
    let mut rows: Vec<StoredItem> = Vec::new();
    loop {
        let page = pages.next(app).await?;
        if page.is_empty() {
            return Ok(rows);
        }
        rows.extend(page);
    }
}

/// The row of an item by its id, or by its short name where only one open item has it.
pub(crate) async fn find_item(app: &App, text: &str) -> Result<StoredItem, Problem> {
    if let Ok(id) = text.parse::<ItemId>() {
        return app.store.item(&id).await?.ok_or_else(|| Problem::not_found("item", text));
    }
    let filter = Rows { name: Some(text.to_owned()), open: Some(true), ..Rows::default() };
    let mut found = app.store.items(&filter, None, 3).await?.into_iter();
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            Err(Problem::conflict("ambiguous_name", format!("more than one open item is called `{text}`"))
                .hint("name it by its id"))
        }
        (None, _) => Err(Problem::not_found("open item", text)),
    }
}

/// One item with its reasons.
pub(crate) async fn item(app: &App, id: &str) -> Result<ItemDetail, Problem> {
    let row = find_item(app, id).await?;
    let context = Context::of(app, std::slice::from_ref(&row)).await?;
    let filter = Findings { item: Some(row.item.id.clone()), open: Some(true), ..Findings::default() };
    let findings = app.store.findings(&filter, None, 10 * PAGE).await?;
    let about = RemediationFilter { item: Some(row.item.id.clone()), ..RemediationFilter::default() };
    let remediations = app.store.remediations(&about, None, 50).await?;
    let assessment = row.assessment.as_ref();
    Ok(ItemDetail {
        item: context.wire(&row),
        members: assessment.map(|a| a.members.iter().map(member).collect()).unwrap_or_default(),
        findings: findings.iter().map(finding_wire).collect(),
        exposure: assessment
            .and_then(|a| a.exposure)
            .map(|exposure| format!("{} (by {})", name(&exposure.level), name(&exposure.source))),
        tier: assessment.and_then(|a| a.tier).map(|tier| tier.number()),
        assessed_at: assessment.map(|a| a.at),
        feeds: assessment
            .map(|a| {
                let feed = |feed: &stanch_model::finding::FeedRef| FeedRef {
                    name: feed.name.clone(),
                    dated: feed.dated,
                    snapshot: feed.snapshot,
                };
                a.feeds.iter().map(feed).collect()
            })
            .unwrap_or_default(),
        decided: row.decision.as_ref().map(super::policy::decision),
        remediations: remediations.iter().map(|one| one.id.to_string()).collect(),
    })
}

fn member(from: &stanch_model::assessment::MemberReason) -> Member {
    let known = &from.enrichment;
    Member {
        finding: from.finding.to_string(),
        id: from.id.clone(),
        deployer: name(&from.deployer),
        coordinator: name(&from.coordinator),
        bod: name(&from.bod),
        kev_added: known.kev.as_ref().map(|kev| kev.added.to_string()),
        ransomware: known.kev.as_ref().is_some_and(|kev| kev.ransomware),
        epss_e5: known.epss.as_ref().map(|epss| epss.score_e5),
        epss_model: known.epss.as_ref().map(|epss| format!("{}, {}", epss.model, epss.date)),
        cvss: known
            .cvss
            .iter()
            .map(|score| {
                format!("{} {}.{} ({})", score.version, score.score_e1 / 10, score.score_e1 % 10, score.source)
            })
            .collect(),
        exploitation: known.ssvc.exploitation.as_ref().map(name),
        automatable: known.ssvc.automatable.as_ref().map(name),
        technical_impact: known.ssvc.technical_impact.as_ref().map(name),
        assumed: from.assumed.clone(),
        reason: from.reason.clone(),
    }
}

/// What is needed to tell of some items: read once for all of them.
pub(crate) struct Context {
    assets: HashMap<AssetId, StoredAsset>,
    findings: HashMap<FindingId, ModelFinding>,
    suppressed: HashMap<ItemId, Vec<Suppression>>,
    busy: HashMap<ItemId, RemediationId>,
    cases: HashMap<ItemId, CaseId>,
}

impl Context {
    /// What surrounds these items. It costs as much as they and their findings are, whatever else there is.
    pub(crate) async fn of(app: &App, rows: &[StoredItem]) -> Result<Self, stanch_store::ReadError> {
        Self::read(app, rows, Some(true)).await
    }

    /// The same with findings that are over, as they were last seen: what a step of a case is decided on is the problem
    /// that the case was opened for, also once an earlier step has ended it.
    pub(crate) async fn with_closed(app: &App, rows: &[StoredItem]) -> Result<Self, stanch_store::ReadError> {
        Self::read(app, rows, None).await
    }

    async fn read(app: &App, rows: &[StoredItem], open: Option<bool>) -> Result<Self, stanch_store::ReadError> {
        let items: Vec<ItemId> = rows.iter().map(|row| row.item.id.clone()).collect();
        let assets: BTreeSet<AssetId> = rows.iter().map(|row| row.item.asset.clone()).collect();
        let mut findings = HashMap::new();
        for some in items.chunks(100) {
            let filter = Findings { open, items: Some(some.to_vec()), ..Findings::default() };
            let mut last: Option<FindingId> = None;
            loop {
                let page: Vec<StoredFinding> = app.store.findings(&filter, last.as_ref(), 10 * PAGE).await?;
                let Some(end) = page.last() else { break };
                last = Some(end.finding.fingerprint.clone());
                let whole = page.len() == 10 * PAGE as usize;
                findings.extend(page.into_iter().map(|row| (row.finding.fingerprint.clone(), row.finding)));
                if !whole {
                    break;
                }
            }
        }
        let mut suppressed: HashMap<ItemId, Vec<Suppression>> = HashMap::new();
        for one in app.store.suppressions(app.now()).await? {
            suppressed.entry(one.item.clone()).or_default().push(one);
        }
        let assets = app.store.assets_named(&assets).await?;
        Ok(Self {
            assets: assets.into_iter().map(|stored| (stored.asset.id.clone(), stored)).collect(),
            findings,
            suppressed,
            busy: app.store.busy_items(&items).await?,
            cases: app.store.cases_of(&items.into_iter().collect()).await?,
        })
    }

    /// An asset.
    pub(crate) fn asset(&self, id: &AssetId) -> Option<&Asset> {
        self.assets.get(id).map(|stored| &stored.asset)
    }

    /// What the catalogue offers for an item.
    pub(crate) fn propose(&self, row: &StoredItem) -> Option<Proposal> {
        let asset = self.assets.get(&row.item.asset)?;
        Some(propose(&asset.asset, &row.item, &self.members(row)))
    }

    /// The suppression that keeps an item out of "all", unless a newer version has appeared since.
    pub(crate) fn suppression(&self, row: &StoredItem) -> Option<&Suppression> {
        let mine = self.suppressed.get(&row.item.id)?;
        mine.iter()
            .find(|one| one.asset == row.item.asset && (one.version.is_empty() || one.version == row.fixed_version))
    }

    /// The remediation that is about an item now.
    pub(crate) fn busy(&self, item: &ItemId) -> Option<&RemediationId> {
        self.busy.get(item)
    }

    /// The case that works on an item now.
    pub(crate) fn case(&self, item: &ItemId) -> Option<&CaseId> {
        self.cases.get(item)
    }

    /// The findings of an item.
    pub(crate) fn members(&self, row: &StoredItem) -> Vec<&ModelFinding> {
        row.item.findings.iter().filter_map(|id| self.findings.get(id)).collect()
    }

    fn wire(&self, row: &StoredItem) -> Item {
        let members = self.members(row);
        let proposal = self.propose(row);
        let assessment = row.assessment.as_ref();
        let reasons = assessment.map(|a| a.members.as_slice()).unwrap_or_default();
        let decision = match &proposal {
            Some(Proposal::Nothing { why }) => {
                let hint = why.hint().map(|hint| format!(": {hint}")).unwrap_or_default();
                format!("nothing can be done by itself: {why}{hint}")
            }
            _ => row.decision.as_ref().map_or_else(
                || "not decided yet".to_owned(),
                |decision| format!("{}, because {}", done_about(decision.mode), decision.reason),
            ),
        };
        let suppressed = self.suppression(row);
        Item {
            id: row.item.id.to_string(),
            asset: row.item.asset.to_string(),
            asset_name: self.assets.get(&row.item.asset).map(|asset| asset.asset.name.clone()).unwrap_or_default(),
            kind: row.item.subject.kind().to_owned(),
            name: row.item.subject.name().to_owned(),
            findings: row.item.findings.len() as u64,
            deployer: assessment.map_or_else(|| "unknown".to_owned(), |a| name(&a.deployer)),
            coordinator: assessment.map_or_else(|| "unknown".to_owned(), |a| name(&a.coordinator)),
            bod: assessment.map_or_else(|| "unknown".to_owned(), |a| name(&a.bod)),
            due: assessment.and_then(|a| a.due),
            known_exploited: reasons.iter().any(|member| member.enrichment.kev.is_some()),
            cvss_e1: reasons.iter().flat_map(|member| &member.enrichment.cvss).map(|score| score.score_e1).max(),
            epss_e5: reasons.iter().filter_map(|member| member.enrichment.epss.as_ref()).map(|e| e.score_e5).max(),
            reason: assessment.map_or_else(|| "not assessed yet".to_owned(), |a| a.reason.clone()),
            version: members.first().map(|finding| finding.version.clone()).filter(|version| !version.is_empty()),
            fixed_version: Some(row.fixed_version.clone()).filter(|version| !version.is_empty()),
            verdict: row.verdict.name().to_owned(),
            action: row.action.clone(),
            mode: row.decision.as_ref().map_or("alert", |decision| decision.mode.name()).to_owned(),
            decision,
            suppressed: suppressed.map(|one| Suppressed {
                version: one.version.clone(),
                reason: one.reason.clone(),
                since: one.at,
            }),
            remediation: self.busy(&row.item.id).map(ToString::to_string),
            first_seen_at: row.first_seen,
        }
    }
}

/// What becomes of an item in a mode, in a word.
const fn done_about(mode: Mode) -> &'static str {
    match mode {
        Mode::Alert => "observed",
        Mode::Suggest => "prepared for a person",
        Mode::Approve => "asked for approval",
        Mode::Auto => "done by itself",
    }
}

/// The highest of the versions that fix a member, in the order of its own world.
pub(crate) fn target_version(members: &[&ModelFinding]) -> String {
    // Copies inside one file are of many libraries: no one version is the target.
    if members.iter().any(|finding| ecosystem::inside(&finding.binary).is_some()) {
        return String::new();
    }
    let order = Order::of_binary(members.first().map_or("", |finding| &finding.binary));
    let versions = members.iter().filter_map(|finding| finding.fixed_version.as_deref());
    order.newest(versions).unwrap_or_default().to_owned()
}

/// What listings say of an item: worked out once, where its findings are judged.
pub(crate) fn listed(asset: &Asset, item: WorkItem, members: &[&ModelFinding]) -> NewItem {
    let proposal = propose(asset, &item, members);
    let ask = proposal.candidate().and_then(|candidate| candidate.asks.first());
    NewItem {
        verdict: worst(members),
        fixed_version: target_version(members),
        action: ask.map(|ask| ask.action().to_owned()),
        item,
    }
}

/// The verdict that tells most of what can be done.
fn worst(members: &[&ModelFinding]) -> Verdict {
    [
        Verdict::AffectedFixable,
        Verdict::FixedNotRunning,
        Verdict::Held,
        Verdict::AffectedUnfixed,
        Verdict::Unsupported,
        Verdict::Unknown,
    ]
    .into_iter()
    .find(|verdict| members.iter().any(|finding| finding.verdict == *verdict))
    .unwrap_or(Verdict::NotAffected)
}

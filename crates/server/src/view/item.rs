//! Work items, most urgent first, with everything that explains them.

use std::collections::{BTreeMap, HashMap};

use stanch_engine::{Proposal, propose};
use stanch_feeds::order::Order;
use stanch_model::decision::Mode;
use stanch_model::finding::{Finding as ModelFinding, Verdict};
use stanch_model::id::{AssetId, FindingId, ItemId};
use stanch_model::item::Subject;
use stanch_store::asset::StoredAsset;
use stanch_store::finding::{FindingFilter as Findings, StoredFinding};
use stanch_store::item::{ItemFilter as Rows, StoredItem};
use stanch_store::remediation::RemediationFilter;
use stanch_store::suppression::Suppression;

use super::finding::{all_coverage, verdict, wire as finding_wire};
use super::{PAGE, name};
use crate::api::types::{FeedRef, Item, ItemDetail, ItemList, Member, Suppressed};
use crate::api::{ItemFilter, Problem};
use crate::app::App;
use crate::auth::Sight;

/// Items read at most.
const MOST: usize = 20_000;

/// The open items, most urgent first.
pub(crate) async fn items(app: &App, sight: &Sight, filter: &ItemFilter) -> Result<ItemList, Problem> {
    if let Some(text) = &filter.verdict {
        verdict(text)?;
    }
    let context = Context::load(app).await?;
    let mut list = Vec::new();
    for row in open_items(app).await?.into_iter().filter(|row| sight.covers(&row.item.asset)) {
        let item = context.wire(&row);
        let is = |field: &str, wanted: &Option<String>| wanted.as_deref().is_none_or(|wanted| wanted == field);
        let named = filter.name.as_deref().is_none_or(|part| item.name.contains(part));
        if is(&item.asset, &filter.asset)
            && is(&item.kind, &filter.kind)
            && is(&item.verdict, &filter.verdict)
            && is(&item.deployer, &filter.deployer)
            && (!filter.actionable || item.action.is_some())
            && named
        {
            list.push(item);
        }
    }
    Ok(ItemList { items: list, coverage: all_coverage(app, sight).await? })
}

/// The rows of all open items, most urgent first.
pub(crate) async fn open_items(app: &App) -> Result<Vec<StoredItem>, Problem> {
    Ok(open_rows(app, None).await?)
}

/// The same for reconcilers.
pub(crate) async fn open_rows(app: &App, asset: Option<&AssetId>) -> Result<Vec<StoredItem>, stanch_store::ReadError> {
    let filter = Rows { open: Some(true), asset: asset.cloned(), ..Rows::default() };
    let mut rows: Vec<StoredItem> = Vec::new();
    loop {
        let page = app.store.items(&filter, rows.last().map(|last| &last.cursor), PAGE).await?;
        let full = page.len() == PAGE as usize;
        rows.extend(page);
        if !full || rows.len() >= MOST {
            return Ok(rows);
        }
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
    let context = Context::load(app).await?;
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

/// What is needed to tell of any item: read once for a whole list.
pub(crate) struct Context {
    assets: HashMap<AssetId, StoredAsset>,
    findings: BTreeMap<FindingId, ModelFinding>,
    suppressed: Vec<Suppression>,
    busy: HashMap<ItemId, String>,
}

impl Context {
    pub(crate) async fn load(app: &App) -> Result<Self, Problem> {
        Ok(Self::read(app).await?)
    }

    /// The same for reconcilers.
    pub(crate) async fn read(app: &App) -> Result<Self, stanch_store::ReadError> {
        let mut assets: Vec<StoredAsset> = Vec::new();
        loop {
            let page = app.store.assets(assets.last().map(|last| &last.asset.id), PAGE).await?;
            let whole = page.len() == PAGE as usize;
            assets.extend(page);
            if !whole {
                break;
            }
        }
        let open = Findings { open: Some(true), ..Findings::default() };
        let mut findings: BTreeMap<FindingId, ModelFinding> = BTreeMap::new();
        let mut last: Option<FindingId> = None;
        loop {
            let page: Vec<StoredFinding> = app.store.findings(&open, last.as_ref(), 10 * PAGE).await?;
            let Some(end) = page.last() else { break };
            last = Some(end.finding.fingerprint.clone());
            findings.extend(page.into_iter().map(|row| (row.finding.fingerprint.clone(), row.finding)));
        }
        let running = RemediationFilter { over: Some(false), ..RemediationFilter::default() };
        let mut busy = HashMap::new();
        for one in app.store.remediations(&running, None, PAGE).await? {
            if one.state != stanch_model::remediation::RemediationState::PartiallyRemediated {
                busy.extend(one.items.into_iter().map(|item| (item, one.id.to_string())));
            }
        }
        Ok(Self {
            assets: assets.into_iter().map(|stored| (stored.asset.id.clone(), stored)).collect(),
            findings,
            suppressed: app.store.suppressions(app.now()).await?,
            busy,
        })
    }

    /// An asset.
    pub(crate) fn asset(&self, id: &AssetId) -> Option<&stanch_model::asset::Asset> {
        self.assets.get(id).map(|stored| &stored.asset)
    }

    /// What the catalogue offers for an item.
    pub(crate) fn propose(&self, row: &StoredItem) -> Option<Proposal> {
        let asset = self.assets.get(&row.item.asset)?;
        Some(propose(&asset.asset, &row.item, &self.members(row)))
    }

    /// The suppression that keeps an item out of "all", unless a newer version has appeared since.
    pub(crate) fn suppression(&self, row: &StoredItem) -> Option<&Suppression> {
        let version = self.version(row);
        self.suppressed.iter().find(|one| {
            one.item == row.item.id && one.asset == row.item.asset && (one.version.is_empty() || one.version == version)
        })
    }

    /// The version that would close an item; empty where it has none.
    pub(crate) fn version(&self, row: &StoredItem) -> String {
        target_version(&self.members(row))
    }

    /// The remediation that is about an item now.
    pub(crate) fn busy(&self, item: &ItemId) -> Option<&String> {
        self.busy.get(item)
    }

    /// The open findings of an item.
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
            kind: kind(&row.item.subject).to_owned(),
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
            fixed_version: Some(target_version(&members)).filter(|version| !version.is_empty()),
            verdict: worst(&members).to_owned(),
            action: proposal
                .as_ref()
                .and_then(Proposal::candidate)
                .and_then(|candidate| candidate.asks.first().map(|ask| ask.action().to_owned())),
            mode: row.decision.as_ref().map_or("alert", |decision| decision.mode.name()).to_owned(),
            decision,
            suppressed: suppressed.map(|one| Suppressed {
                version: one.version.clone(),
                reason: one.reason.clone(),
                since: one.at,
            }),
            remediation: self.busy(&row.item.id).cloned(),
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
    let order = Order::of_binary(members.first().map_or("", |finding| &finding.binary));
    let versions = members.iter().filter_map(|finding| finding.fixed_version.as_deref());
    order.newest(versions).unwrap_or_default().to_owned()
}

const fn kind(subject: &Subject) -> &'static str {
    match subject {
        Subject::SourcePackage { .. } => "source_package",
        Subject::Service { .. } => "service",
        Subject::Reboot { .. } => "reboot",
        Subject::Support { .. } => "support",
        Subject::Component { .. } => "component",
        _ => "other",
    }
}

/// The verdict that tells most of what can be done.
fn worst(members: &[&ModelFinding]) -> &'static str {
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
    .name()
}

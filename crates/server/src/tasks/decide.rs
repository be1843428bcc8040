//! Items to decisions: what the policies in force say of each, and what it binds a remediation to.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use stanch_action::Idempotency;
use stanch_action::catalogue::{self, Declared};
use stanch_engine::Proposal;
use stanch_engine::hold::{Brought, brought};
use stanch_engine::propose::{Ask, propose};
use stanch_engine::trust::{Record, Tally};
use stanch_model::asset::Asset;
use stanch_model::decision::Decision;
use stanch_model::ecosystem::of_type;
use stanch_model::finding::{Detector, Finding};
use stanch_model::hold::HoldScope;
use stanch_model::id::{AssetId, ItemId};
use stanch_model::item::Subject;
use stanch_model::patch::{DEB, Patch, order_of};
use stanch_model::plan::{Disruption, PlannedStep, Reversibility};
use stanch_policy::{ActionFacts, Facts, Known, Place};
use stanch_store::detection::Detection;
use stanch_store::hold::Hold;
use stanch_store::item::{ItemFilter as Rows, StoredItem};
use stanch_store::outcome::{BAD_UNDO, Track};
use stanch_store::version::Offered;
use stanch_store::{ReadError, Write};

use super::PassError;
use super::taken::Taken;
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::policies::InForce;
use crate::undecided::Walk;
use crate::view::{Context, PAGE, Pages};

/// Facts of a host older than this are stale.
const FACTS_AGE: SignedDuration = SignedDuration::from_hours(24);
/// What waits while deciding breaks on some items.
const BROKEN: &str = "items that cannot be decided";
/// Decisions committed together.
const CHUNK: usize = 200;
/// Assets whose items are decided together.
const TOGETHER: usize = 500;
/// So long a pass decides what is new, and so long it goes on with the walk over all items, before it looks up again.
const TURN: Duration = Duration::from_secs(20);

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let began = Instant::now();
    let (mut looked, mut anything) = (false, false);
    while began.elapsed() < TURN {
        let assets = app.take_undecided(TOGETHER);
        if assets.is_empty() {
            break;
        }
        looked = true;
        let taken = Taken::new(app, assets, |app, left| app.want(left));
        let mut decider = Arc::new(Decider::load(app).await?);
        let undecided = match taken.get() {
            Some(assets) => app.store.open_items_on(assets).await?,
            None => Vec::new(),
        };
        for among in by_the_page(undecided) {
            let mut pages = Pages::of(Rows { open: Some(true), among: Some(among), ..Rows::default() });
            while let Some(new) = page(app, &mut decider, &mut pages).await? {
                anything |= new;
            }
        }
        taken.done();
    }
    if began.elapsed() >= TURN {
        app.bus.nudge(Stage::Decide);
    }
    if let Some(walk) = app.take_walk() {
        looked = true;
        anything |= go_on(app, walk).await?;
    }
    if looked {
        app.bus.nudge(Stage::Propose);
    }
    if anything {
        app.bus.tell(Live::of("items", "", "items were decided"));
    }
    Ok(())
}

/// Puts assets together whose open items fill a page: a listing that is narrowed to assets puts all their items in order
/// for every page of it.
fn by_the_page(assets: Vec<(AssetId, u64)>) -> Vec<BTreeSet<AssetId>> {
    let mut groups: Vec<BTreeSet<AssetId>> = Vec::new();
    let mut room = 0;
    for (asset, items) in assets {
        match groups.last_mut() {
            Some(group) if items <= room => drop(group.insert(asset)),
            _ => {
                groups.push(BTreeSet::from([asset]));
                room = u64::from(PAGE);
            }
        }
        room = room.saturating_sub(items);
    }
    groups
}

/// Goes on with the walk over all items. Answers whether any decision is another one.
async fn go_on(app: &App, walk: Walk) -> Result<bool, PassError> {
    let began = Instant::now();
    let before = walk.took;
    if walk.after.is_none() {
        // It comes by all items, and tells anew.
        app.goes_on(BROKEN);
    }
    let mut pages = Pages::after(Rows { open: Some(true), ..Rows::default() }, walk.after.clone());
    let mut taken = Taken::new(app, walk, |app, left| app.keep_walk(left));
    let mut decider = Arc::new(Decider::load(app).await?);
    let mut anything = false;
    while began.elapsed() < TURN {
        let Some(new) = page(app, &mut decider, &mut pages).await? else {
            if let Some(walk) = taken.get() {
                app.end_walk(walk);
            }
            taken.done();
            return Ok(anything);
        };
        anything |= new;
        if let Some(walk) = taken.get_mut() {
            walk.after = pages.last().cloned();
            walk.took = before.saturating_add(began.elapsed());
        }
    }
    app.bus.nudge(Stage::Decide);
    Ok(anything)
}

/// Decides the next page of items: it stands before others are read. Answers whether any decision is another one; nothing
/// when there are no more items. An item on which deciding breaks keeps no other from being decided.
async fn page(app: &App, decider: &mut Arc<Decider>, pages: &mut Pages) -> Result<Option<bool>, PassError> {
    let rows = pages.next(app).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let context = Arc::new(Context::of(app, &rows).await?);
    // Between pages nobody else has it.
    Arc::make_mut(decider).learn(app, rows.iter().map(|row| &row.item.asset)).await?;
    let (mut decided, mut broken, mut running) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts(rows) {
        let (decider, context) = (Arc::clone(decider), Arc::clone(&context));
        running.push(tokio::task::spawn_blocking(move || each(&part, |row| decider.decide(&context, row, None))));
    }
    for part in running {
        let (new, failed) = part.await?;
        decided.extend(new);
        broken.extend(failed);
    }
    if let Some(item) = broken.first() {
        tracing::error!(%item, items = broken.len(), "deciding broke");
        let others = broken.len() - 1;
        app.waits(
            BROKEN,
            format!("deciding {item} and {others} others broke, a defect of Stanch; what was decided stands"),
        );
    }
    for chunk in decided.chunks(CHUNK) {
        app.store.put(Write::PutDecisions(chunk.to_vec())).await?;
    }
    Ok(Some(!decided.is_empty()))
}

/// Rows for each core, in their order.
fn parts(mut rows: Vec<StoredItem>) -> Vec<Vec<StoredItem>> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let size = rows.len().div_ceil(cores).max(1);
    let mut parts = Vec::with_capacity(cores);
    while rows.len() > size {
        let rest = rows.split_off(size);
        parts.push(std::mem::replace(&mut rows, rest));
    }
    parts.push(rows);
    parts
}

/// What is decided of these that was not decided before, and those on which deciding broke.
fn each(rows: &[StoredItem], decide: impl Fn(&StoredItem) -> Decision) -> (Vec<Decision>, Vec<ItemId>) {
    let (mut decided, mut broken) = (Vec::new(), Vec::new());
    for row in rows {
        match catch_unwind(AssertUnwindSafe(|| decide(row))) {
            Ok(new) if row.decision.as_ref().is_some_and(|last| last.says_the_same(&new)) => {}
            Ok(new) => decided.push(new),
            Err(_) => broken.push(row.item.id.clone()),
        }
    }
    (decided, broken)
}

/// Everything that decisions rest on beside the item itself, read once for many.
#[derive(Clone)]
pub(crate) struct Decider {
    pub(crate) in_force: Arc<InForce>,
    records: BTreeMap<Track, Record>,
    detected: HashMap<AssetId, Detection>,
    /// Feeds whose silence is not believed any more.
    stale: BTreeSet<String>,
    own: BTreeSet<AssetId>,
    /// Hosts that were let in and that nobody has confirmed.
    unconfirmed: BTreeSet<AssetId>,
    /// Hosts whose executors begin nothing that nobody signed for.
    demanding: BTreeSet<AssetId>,
    /// When versions were first offered.
    offered: Arc<Offered>,
    /// Bad patches, and why each is one.
    blocks: Arc<Vec<(Patch, String)>>,
    now: Timestamp,
}

impl Decider {
    /// What is the same for all assets.
    pub(crate) async fn load(app: &App) -> Result<Self, ReadError> {
        let now = app.now();
        let (unconfirmed, demanding) = {
            let callers = app.callers.lock().await;
            (callers.unconfirmed(), callers.demanding())
        };
        let feeds = app.knowledge.held().feeds.feeds(now);
        let stale = feeds.into_iter().filter(|feed| !feed.freshness.is_believed()).map(|feed| feed.meta.name);
        Ok(Self {
            in_force: app.policies.held(),
            records: records(app).await?,
            detected: HashMap::new(),
            stale: stale.collect(),
            own: app.own(),
            unconfirmed,
            demanding,
            offered: Arc::new(app.store.offered().await?),
            blocks: Arc::new(blocks(&app.store.holds().await?)),
            now,
        })
    }

    /// What the detectors last said of these assets. Until then nothing is known of them.
    pub(crate) async fn learn(&mut self, app: &App, assets: impl Iterator<Item = &AssetId>) -> Result<(), ReadError> {
        let new: BTreeSet<&AssetId> = assets.filter(|asset| !self.detected.contains_key(*asset)).collect();
        self.detected.extend(app.store.detections(new).await?);
        Ok(())
    }

    /// What the policies say of an item; with the steps of its leaf once there is a plan, which tell better what the
    /// act would do than its declaration.
    pub(crate) fn decide(&self, context: &Context, row: &StoredItem, planned: Option<&Planned<'_>>) -> Decision {
        let Some(asset) = context.asset(&row.item.asset) else {
            return Decision::by_default(row.item.id.clone(), self.now);
        };
        let facts = self.facts(asset, row, &context.members(row), planned);
        self.in_force.bundle.decide(&row.item.id, &facts, self.now)
    }

    /// What the policies say of a step of a case on one asset, for an item that may be about another one. What is
    /// granted is granted for the problem; what holds for where it would be done can only allow less.
    pub(crate) fn decide_step(
        &self,
        context: &Context,
        row: &StoredItem,
        planned: &Planned<'_>,
        target: &Asset,
    ) -> Decision {
        let Some(asset) = context.asset(&row.item.asset) else {
            return Decision::by_default(row.item.id.clone(), self.now);
        };
        let steps = planned.steps.iter();
        let declared: Vec<Declared> = steps.filter_map(|step| catalogue::find(&step.action)).collect();
        // How well an action is known is a matter of where it is done.
        let action = self.declared(&declared, target, Some(planned.steps));
        let bundle = &self.in_force.bundle;
        let members = context.members(row);
        let own = self.known(asset, row, &members, action.as_ref(), Some(planned));
        let own = bundle.decide(&row.item.id, &own, self.now);
        if target.id == asset.id {
            return own;
        }
        bundle.beside(own, &self.known(target, row, &members, action.as_ref(), Some(planned)), self.now)
    }

    /// What policies can ask for of an item, with these of its findings.
    pub(crate) fn facts(
        &self,
        asset: &Asset,
        row: &StoredItem,
        findings: &[&Finding],
        planned: Option<&Planned<'_>>,
    ) -> Facts {
        let action = match propose(asset, &row.item, findings) {
            Proposal::Candidate(candidate) => self.action(&candidate.asks, asset, planned.map(|planned| planned.steps)),
            Proposal::Nothing { .. } => None,
        };
        self.known(asset, row, findings, action.as_ref(), planned)
    }

    fn known(
        &self,
        asset: &Asset,
        row: &StoredItem,
        findings: &[&Finding],
        action: Option<&ActionFacts>,
        planned: Option<&Planned<'_>>,
    ) -> Facts {
        let detected = self.detected.get(&asset.id);
        let brought = brought_for(&row.item.subject, &row.fixed_version, planned);
        let system = detected.and_then(|detected| detected.system.as_deref());
        let block = self.block(&brought, system, planned.is_some());
        let known = Known {
            offered_at: youngest(&self.offered, system, &brought),
            block: block.as_deref(),
            updaters: detected.and_then(|detected| detected.updaters.as_deref()),
            asset,
            item: &row.item,
            findings,
            assessment: row.assessment.as_ref(),
            action,
            first_seen: Some(row.first_seen),
            stale: self.is_stale(&row.item.asset, findings.iter().map(|finding| finding.detector)),
            place: self.place(&asset.id),
            groups: Some(&self.groups(asset)),
        };
        Facts::gather(&known, self.now)
    }

    /// What is known of every action of the catalogue on an asset, while nothing is said of any item.
    pub(crate) fn places(&self, asset: &Asset) -> Vec<Facts> {
        let ask = |declared: Declared| self.declared(&[declared], asset, None);
        let actions = catalogue::ALL.into_iter().filter_map(ask);
        let groups = self.groups(asset);
        actions.map(|action| Facts::of_place(asset, self.place(&asset.id), Some(&groups), &action)).collect()
    }

    fn place(&self, asset: &AssetId) -> Place {
        Place {
            own: Some(self.own.contains(asset)),
            confirmed: Some(!self.unconfirmed.contains(asset)),
            asks_signatures: Some(self.demanding.contains(asset)),
        }
    }

    /// Why what is brought for an item is blocked as a bad patch. While nothing is planned a newer version that is offered
    /// and not blocked may be what it gets.
    fn block(&self, brought: &BTreeSet<Brought>, system: Option<&str>, planned: bool) -> Option<String> {
        let bad = |one: &Brought| self.blocks.iter().find(|(patch, _)| one.is(patch));
        let free = |one: &Brought| !planned && self.newer(one, system).any(|newer| bad(&newer).is_none());
        let (patch, why) = brought.iter().filter(|one| !free(one)).find_map(bad)?;
        Some(format!("{} is blocked as a bad patch: {why}", named(patch)))
    }

    /// Newer versions than this one that are offered on systems like this.
    fn newer<'a>(&'a self, one: &'a Brought, system: Option<&str>) -> impl Iterator<Item = Brought> + 'a {
        let from = offer(system, one);
        let same = from.clone();
        let all = self.offered.range((from.0, from.1, String::new())..);
        let all = all.map(|(key, _)| key).take_while(move |key| (&key.0, &key.1) == (&same.0, &same.1));
        let newer =
            |version: &str| order_of(&one.ecosystem).compare(version, one.of_source()) == Some(Ordering::Greater);
        all.filter(move |key| newer(&key.2)).map(|key| Brought {
            version: key.2.clone(),
            source_version: Some(key.2.clone()),
            ..one.clone()
        })
    }

    /// The redundancy groups that an asset is a member of.
    fn groups(&self, asset: &Asset) -> Vec<String> {
        let mine = self.in_force.bundle.groups().iter().filter(|group| group.has(asset));
        mine.map(|group| group.name.clone()).collect()
    }

    /// Whether what the findings rest on is older than it may be: the host's facts, and the feeds where they were asked.
    fn is_stale(&self, asset: &AssetId, detectors: impl Iterator<Item = Detector>) -> Option<bool> {
        let detected = self.detected.get(asset)?;
        let old_facts = self.now.duration_since(detected.facts_at) > FACTS_AGE;
        let mut asked = detectors.filter(|detector| matches!(detector, Detector::Advisory | Detector::Support));
        let old_feeds = asked.next().is_some() && detected.feeds.iter().any(|feed| self.stale.contains(&feed.name));
        Some(old_facts || old_feeds)
    }

    /// What is known of the actions that would answer an item: of several the first names it, and of each property the
    /// one that asks for most care counts.
    fn action(&self, asks: &[Ask], asset: &Asset, planned: Option<&[PlannedStep]>) -> Option<ActionFacts> {
        let declared: Vec<Declared> = match planned {
            Some(steps) => steps.iter().filter_map(|step| catalogue::find(&step.action)).collect(),
            None => asks.iter().filter_map(|ask| catalogue::find(ask.action())).collect(),
        };
        self.declared(&declared, asset, planned)
    }

    fn declared(&self, declared: &[Declared], asset: &Asset, planned: Option<&[PlannedStep]>) -> Option<ActionFacts> {
        let first = *declared.first()?;
        let system = self.detected.get(&asset.id).and_then(|detected| detected.system.clone());
        let disruption = match planned {
            Some(steps) => steps.iter().map(|step| step.disruption).max(),
            None => declared.iter().map(|one| one.disruption).max(),
        };
        let one_way = |steps: &[PlannedStep]| steps.iter().any(|step| step.reversibility == Reversibility::OneWay);
        let reversibility = match planned {
            Some(steps) if one_way(steps) => Reversibility::OneWay,
            Some(steps) => steps.first().map_or(first.reversibility, |step| step.reversibility),
            None => first.reversibility,
        };
        let mut names: Vec<&str> = declared.iter().map(|one| one.name).collect();
        names.dedup();
        let records: Option<Vec<Record>> =
            system.as_ref().map(|system| names.iter().map(|name| self.record(&track(name, system, asset))).collect());
        let least = |pick: &dyn Fn(&Record) -> u64| records.as_ref().and_then(|all| all.iter().map(pick).min());
        let most = |pick: &dyn Fn(&Record) -> u64| records.as_ref().and_then(|all| all.iter().map(pick).max());
        let rate = |record: &Record| record.standing.success_at_least();
        let rates: Option<Vec<u32>> = records.as_ref().and_then(|all| all.iter().map(rate).collect());
        Some(ActionFacts {
            kind: first.name.to_owned(),
            disruption: disruption.or(Some(Disruption::Outage)),
            reversibility: Some(reversibility),
            idempotent: Some(declared.iter().all(|one| one.idempotency != Idempotency::No)),
            closes_exposure: Some(first.closes_exposure),
            contains: Some(first.contains),
            proven: system.as_ref().map(|system| declared.iter().all(|one| one.is_proven_on(system))),
            verified_runs: least(&|record| record.standing.verified.into()),
            // Parts of a million to parts of a hundred thousand, rounded down.
            success_e5: rates.and_then(|rates| rates.into_iter().min()).map(|rate| rate / 10),
            undos: most(&|record| u64::from(record.standing.undone) + u64::from(record.lost.is_some())),
            misfires: most(&|record| record.standing.misfires.into()),
        })
    }

    fn record(&self, track: &Track) -> Record {
        self.records.get(track).copied().unwrap_or_default()
    }
}

/// What is planned on one host, seen from one of the items it is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned<'a> {
    /// All steps of the leaf.
    pub(crate) steps: &'a [PlannedStep],
    /// What the leaf's items are about: what another one of them brings for itself is not brought for this one.
    pub(crate) subjects: &'a [&'a Subject],
}

/// What is brought for an item: by its plan, and before there is one the version that closes it.
fn brought_for(subject: &Subject, fixed: &str, planned: Option<&Planned<'_>>) -> BTreeSet<Brought> {
    let others = |one: &Brought| {
        planned.is_some_and(|planned| planned.subjects.iter().any(|other| *other != subject && one.is_for(other)))
    };
    let all = planned.map(|planned| brought(planned.steps)).unwrap_or_default();
    let mine: BTreeSet<Brought> = all.into_iter().filter(|one| one.is_for(subject) || !others(one)).collect();
    match Brought::closing(subject, fixed) {
        Some(closing) if mine.is_empty() && !fixed.is_empty() => BTreeSet::from([closing]),
        _ => mine,
    }
}

/// When the youngest of these versions was first offered on systems like this; nothing while that is not known of each.
pub(crate) fn youngest(offered: &Offered, system: Option<&str>, brought: &BTreeSet<Brought>) -> Option<Timestamp> {
    let at = |one: &Brought| offered.get(&offer(system, one)).copied();
    let all: Option<Vec<Timestamp>> = brought.iter().map(at).collect();
    all?.into_iter().max()
}

/// Under what it is noted when a version was first offered: what is no distribution's is the same on all systems.
pub(crate) fn offer(system: Option<&str>, one: &Brought) -> (String, String, String) {
    let ecosystem = match of_type(&one.ecosystem) {
        Some(ecosystem) => ecosystem,
        None => system.unwrap_or_default(),
    };
    (ecosystem.to_owned(), one.source.clone(), one.of_source().to_owned())
}

/// A bad patch as people read it. What is no distribution's says where it is from.
pub(crate) fn named(patch: &Patch) -> String {
    let of = if patch.ecosystem() == DEB { String::new() } else { format!(" ({})", patch.ecosystem()) };
    format!("{} {}{of}", patch.package(), patch.versions())
}

/// The bad patches among the holds.
fn blocks(holds: &[Hold]) -> Vec<(Patch, String)> {
    let one = |hold: &Hold| match crate::view::hold_scope(hold) {
        HoldScope::Version(patch) => Some((patch, hold.reason.clone())),
        _ => None,
    };
    holds.iter().filter_map(one).collect()
}

/// What is counted together with an action on an asset.
pub(crate) fn track(action: &str, system: &str, asset: &Asset) -> Track {
    let kind = serde_json::to_value(asset.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
    Track {
        action: action.to_owned(),
        system: system.to_owned(),
        kind: kind.unwrap_or_default(),
        classification: asset.classification.clone().unwrap_or_default(),
    }
}

/// What every action has shown, by system and class of assets.
pub(crate) async fn records(app: &App) -> Result<BTreeMap<Track, Record>, ReadError> {
    let mut records: BTreeMap<Track, Record> = BTreeMap::new();
    for count in app.store.outcomes().await? {
        let record = records.entry(count.track).or_default();
        if count.outcome == BAD_UNDO {
            let because = stanch_engine::trust::Outcome::BadUndo;
            record.lost = Some(stanch_engine::trust::Loss { at: count.last_at, because });
        }
        put(&mut record.total, &count.outcome, count.total);
        put(&mut record.standing, &count.outcome, count.since);
    }
    Ok(records)
}

fn put(tally: &mut Tally, outcome: &str, count: u64) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let place = match outcome {
        "verified" => &mut tally.verified,
        "undone" => &mut tally.undone,
        "misfire" => &mut tally.misfires,
        "confirmed" => &mut tally.confirmed,
        _ => &mut tally.failed,
    };
    *place = place.saturating_add(count);
}

#[cfg(test)]
mod tests {
    use stanch_model::finding::Verdict;
    use stanch_model::item::{WorkItem, item_id};
    use stanch_store::item::ItemCursor;

    use super::*;

    #[test]
    fn an_item_on_which_deciding_breaks_keeps_no_other_from_being_decided() {
        let rows: Vec<StoredItem> = ["bind9", "curl", "openssl"].map(row).into();
        let decide = |row: &StoredItem| {
            assert_ne!(row.item.id, rows[1].item.id, "planted");
            Decision::by_default(row.item.id.clone(), Timestamp::UNIX_EPOCH)
        };
        let (decided, broken) = each(&rows, decide);
        let ids = |rows: &[&StoredItem]| rows.iter().map(|row| row.item.id.clone()).collect::<Vec<_>>();
        assert_eq!(decided.into_iter().map(|one| one.item).collect::<Vec<_>>(), ids(&[&rows[0], &rows[2]]));
        assert_eq!(broken, ids(&[&rows[1]]));
    }

    fn row(source: &str) -> StoredItem {
        let asset = AssetId::from_entropy([1; 10]);
        let subject = Subject::SourcePackage { source: source.to_owned() };
        let item = WorkItem { id: item_id(&asset, &subject), asset, subject, findings: Vec::new() };
        StoredItem {
            verdict: Verdict::AffectedFixable,
            fixed_version: String::new(),
            action: None,
            assessment: None,
            decision: None,
            first_seen: Timestamp::UNIX_EPOCH,
            last_seen: Timestamp::UNIX_EPOCH,
            closed_at: None,
            cursor: ItemCursor { rank: String::new(), id: item.id.clone() },
            item,
        }
    }

    #[test]
    fn assets_share_a_page_as_long_as_it_holds_their_items() {
        let asset = |number: u8| AssetId::from_entropy([number; 10]);
        let page = u64::from(PAGE);
        let assets = [(1, page - 10), (2, 10), (3, 1), (4, 3 * page), (5, 2), (6, 3)];
        let groups = by_the_page(assets.map(|(number, items)| (asset(number), items)).into());
        let expected = [&[1, 2][..], &[3], &[4], &[5, 6]];
        assert_eq!(groups, expected.map(|group| group.iter().map(|number| asset(*number)).collect::<BTreeSet<_>>()));
    }
}

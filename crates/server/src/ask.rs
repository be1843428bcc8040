//! What people ask for: each writes rows and nudges, and goes through the same moves as everything else.

mod approve;
mod campaign;
mod case;
mod change;
pub(crate) mod connection;
mod draft;
pub(crate) mod enrolment;
mod import;
pub(crate) mod people;
mod rehearse;
mod retention;
pub(crate) mod token;

pub(crate) use approve::{answer, approvals, approve};
pub(crate) use campaign::undo_campaign;
pub(crate) use case::{close_case, decline_task, do_task, open_case, undo_case};
pub(crate) use change::{change_word, heard};
pub(crate) use draft::draft;
pub(crate) use import::import;
pub(crate) use rehearse::rehearse;
pub(crate) use retention::{hold_records, lift_records};

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::json;
use stanch_engine::Proposal;
use stanch_engine::hold::may_release;
use stanch_engine::rollout::{Event, Illegal};
use stanch_ledger::NewEntry;
use stanch_model::Digest;
use stanch_model::asset::{Asset, Tier};
use stanch_model::canonical::digest;
use stanch_model::edge::{Edge, EdgeKind};
use stanch_model::hold::{Hold as ModelHold, HoldScope, NotAScope};
use stanch_model::id::{AssetId, ExecutorId, ItemId, OrderId, RemediationId};
use stanch_model::item::Subject;
use stanch_model::order::Verb;
use stanch_model::person::{Access, Power};
use stanch_model::remediation::RemediationState;
use stanch_store::asset::{SeenAsset, SeenBy};
use stanch_store::edge::{DismissEdge, SetEdge};
use stanch_store::hold::{Hold as HoldRow, HoldLevel, ReleaseHold};
use stanch_store::item::{ItemFilter as Rows, StoredItem};
use stanch_store::remediation::{EditRemediation, MoveRemediation, NewRemediation, OnFailure, StoredRemediation};
use stanch_store::setting::Setting;
use stanch_store::suppression::LiftSuppression;
use stanch_store::{CommitError, Transition, Write};

use crate::api::types::{
    Accepted, Because, CreateRemediation, CreatedRemediation, Feed, Hold, JudgeEdge, JudgeFeed, LabelAsset, LeftOut,
    LinkAsset, Remediation, Scan, SeenEdge, SetHold, Undo,
};
use crate::api::{EdgeFilter, Problem};
use crate::app::App;
use crate::auth::Visitor;
use crate::bus::{Live, Stage};
use crate::clock::ten;
use crate::record::{self, ChangeAsked, Record};
use crate::tasks::orders;
use crate::tasks::rollout::{TakeError, actor, superseding, take};
use crate::{tasks, view};

/// Longest reason that is kept.
const REASON: usize = 500;
/// Labels of one asset at most.
const LABELS: usize = 32;
/// Longest name a caller may give a request.
const KEY: usize = 128;

fn reason(text: Option<&str>, otherwise: &str) -> String {
    let text: String = text.unwrap_or_default().trim().chars().filter(|c| !c.is_control()).take(REASON).collect();
    if text.is_empty() { otherwise.to_owned() } else { text }
}

impl From<TakeError> for Problem {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Missing(id) => Self::not_found("remediation", id.as_str()),
            TakeError::NoPlan(_) => Self::conflict("no_plan", error.to_string()).hint("wait until it is planned"),
            TakeError::Busy { .. } => Self::conflict("busy", error.to_string()).hint("ask again when that is over"),
            TakeError::Illegal(Illegal::OtherPlan { .. }) => Self::conflict("wrong_plan", error.to_string())
                .hint("read the plan as it is now, and approve that hash"),
            TakeError::Illegal(_) => Self::conflict("wrong_state", error.to_string()),
            TakeError::Pass(tasks::PassError::Commit(error)) => error.into(),
            TakeError::Pass(error) => Self::internal("moving a remediation", &error),
        }
    }
}

/// Attempts at making a remediation while others keep moving what it would supersede.
const ATTEMPTS: u32 = 4;

/// Makes a remediation for items. Answers whether it is a new one.
pub(crate) async fn create(
    app: &App,
    who: &str,
    access: &Access,
    wanted: CreateRemediation,
    key: Option<&str>,
    change: Option<ChangeAsked>,
) -> Result<(bool, CreatedRemediation), Problem> {
    if wanted.items.is_empty() && !wanted.all {
        return Err(Problem::bad_request("no item is named: nothing is fixed").hint("name items, or say `all`"));
    }
    let key = key.map(|key| key.chars().take(KEY).collect::<String>());
    let _making = app.making.lock().await;
    let request = Request::of(who, key.as_deref(), &wanted);
    if let Some(row) = made_before(app, request.as_ref()).await? {
        let remediation = Some(view::remediation_row(&row));
        return Ok((false, CreatedRemediation { remediation, left_out: Vec::new() }));
    }
    let mut attempt = 0;
    let (id, left_out) = loop {
        attempt += 1;
        let choice = choose(app, who, access, &wanted).await?;
        if choice.taken.is_empty() {
            return Ok((false, CreatedRemediation { remediation: None, left_out: choice.left_out }));
        }
        let left_out = choice.left_out.clone();
        match begin(app, who, &wanted, request.as_ref(), choice, change.clone()).await? {
            Ok(id) => break (id, left_out),
            // Somebody approved or dismissed meanwhile what was to give way: choose anew.
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => {}
            Err(error) => return Err(error.into()),
        }
    };
    let row = app.store.remediation(&id).await?.ok_or_else(|| Problem::not_found("remediation", id.as_str()))?;
    let remediation = Some(view::remediation_row(&row));
    Ok((true, CreatedRemediation { remediation, left_out }))
}

/// What a new remediation would be about, and all that becomes true together with it.
#[derive(Default)]
struct Choice {
    taken: Vec<StoredItem>,
    left_out: Vec<LeftOut>,
    /// Suppressions that end because an item is asked for again.
    lifted: Vec<Write>,
    /// The remediations that make room, each with how it ends.
    ending: BTreeMap<RemediationId, Transition>,
}

/// Looks at everything asked for, and writes nothing.
async fn choose(app: &App, who: &str, access: &Access, wanted: &CreateRemediation) -> Result<Choice, Problem> {
    let actionable = Rows { open: Some(true), actionable: true, ..Rows::default() };
    let rows = if wanted.all { view::all_rows(app, actionable).await? } else { named(app, &wanted.items).await? };
    let context = view::Context::of(app, &rows).await?;
    let include = wanted.include_suppressed || !wanted.all;
    let now = app.now();
    let mut choice = Choice::default();
    for row in rows {
        let name = row.item.subject.name().to_owned();
        let asset = context.asset(&row.item.asset);
        if !asset.is_some_and(|asset| access.may(Power::Read, asset)) {
            // What they may not see is not there.
            if wanted.all {
                continue;
            }
            return Err(Problem::not_found("item", &name));
        }
        let out = |reason: String, hint: Option<String>| LeftOut {
            item: row.item.id.to_string(),
            name: name.clone(),
            reason,
            hint,
        };
        if !asset.is_some_and(|asset| access.may(Power::Operate, asset)) {
            choice.left_out.push(out("you may not operate its asset".to_owned(), Some("ask its owner".to_owned())));
            continue;
        }
        if wanted.all && matches!(row.item.subject, Subject::Setting { .. }) {
            // Who asks for everything to be fixed means what is broken; a setting is asked for by name.
            continue;
        }
        match context.propose(&row) {
            Some(Proposal::Candidate(_)) => {}
            Some(Proposal::Nothing { why }) => {
                // Of all items only those that can be done are meant; one asked for by name is answered.
                if !wanted.all {
                    choice.left_out.push(out(why.to_string(), why.hint()));
                }
                continue;
            }
            None => {
                choice.left_out.push(out("its asset is not known any more".to_owned(), None));
                continue;
            }
        }
        // Before anything gives way: nothing does for an item that is left alone.
        let suppression = context.suppression(&row);
        if let Some(suppression) = suppression.filter(|_| !include) {
            let reason = format!("left alone since it was undone: {}", suppression.reason);
            choice.left_out.push(out(reason, Some("name it, or include what was taken back".to_owned())));
            continue;
        }
        if let Some(case) = context.case(&row.item.id) {
            let hint = Some(format!("look at {case}; closing it sets the item free"));
            choice.left_out.push(out(format!("{case} works on it"), hint));
            continue;
        }
        if let Some(busy) = context.busy(&row.item.id)
            && !choice.ending.contains_key(busy)
        {
            let Some(ending) = ending(app, who, access, busy).await? else {
                choice.left_out.push(out(format!("{busy} is about it already"), Some(format!("look at {busy}"))));
                continue;
            };
            choice.ending.insert(busy.clone(), ending);
        }
        choice.lifted.extend(suppression.map(|suppression| {
            Write::LiftSuppression(LiftSuppression {
                item: suppression.item.clone(),
                asset: suppression.asset.clone(),
                version: suppression.version.clone(),
                actor: who.to_owned(),
                at: now,
            })
        }));
        choice.taken.push(row);
    }
    Ok(choice)
}

/// A request that its caller has named, so that asking twice makes one.
struct Request {
    /// Where it is remembered: under the caller and the name they gave it.
    setting: String,
    /// What was asked for.
    asked: Digest,
}

impl Request {
    fn of(who: &str, key: Option<&str>, wanted: &CreateRemediation) -> Option<Self> {
        // Texts and lists of them always have a canonical form.
        let name = digest("stanch/request-name/v1", &(who, key?)).ok()?;
        Some(Self { setting: format!("request/{name}"), asked: digest("stanch/request/v1", wanted).ok()? })
    }
}

/// What this caller asked for under this name before.
async fn made_before(app: &App, request: Option<&Request>) -> Result<Option<StoredRemediation>, Problem> {
    let Some(request) = request else { return Ok(None) };
    let Some(known) = app.store.setting(&request.setting).await? else { return Ok(None) };
    if known.get("asked") != Some(&json!(request.asked)) {
        return Err(Problem::conflict("other_request", "something else was asked for under this idempotency key")
            .hint("give each request a key of its own"));
    }
    match known.get("remediation").and_then(serde_json::Value::as_str).and_then(|id| id.parse().ok()) {
        Some(id) => Ok(app.store.remediation(&id).await?),
        None => Ok(None),
    }
}

async fn named(app: &App, names: &[String]) -> Result<Vec<StoredItem>, Problem> {
    let mut rows: Vec<StoredItem> = Vec::new();
    for name in names {
        let row = view::find_item(app, name).await?;
        if !rows.iter().any(|known| known.item.id == row.item.id) {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// How a remediation that nobody has approved yet ends to make room for a newer one; `None` when it may not.
async fn ending(app: &App, who: &str, access: &Access, busy: &RemediationId) -> Result<Option<Transition>, Problem> {
    let Some(row) = app.store.remediation(busy).await? else { return Ok(Some(Transition::default())) };
    // It may be about assets of others too, whose plan is not theirs to end.
    let assets: BTreeSet<AssetId> = row.assets.iter().cloned().collect();
    let known = app.store.assets_named(&assets).await?;
    if known.len() < assets.len() || !known.iter().all(|one| access.may(Power::Operate, &one.asset)) {
        return Ok(None);
    }
    Ok(match row.state {
        RemediationState::Superseded => Some(Transition::default()),
        RemediationState::AwaitingApproval | RemediationState::Planned => match superseding(app, &row, who).await {
            Ok(transition) => Some(transition),
            Err(TakeError::Illegal(_)) => None,
            Err(error) => return Err(error.into()),
        },
        RemediationState::NeedsOperator if row.plan.is_none() => {
            Some(directly(app, who, &row, RemediationState::Dismissed, "asked for anew"))
        }
        _ => None,
    })
}

/// Commits a remediation together with the end of those it takes the place of: a server that stops here has either
/// both or neither. An error of the store is the caller's to judge.
async fn begin(
    app: &App,
    who: &str,
    wanted: &CreateRemediation,
    request: Option<&Request>,
    choice: Choice,
    change: Option<ChangeAsked>,
) -> Result<Result<RemediationId, CommitError>, Problem> {
    let now = app.now();
    let Choice { taken, lifted, ending, .. } = choice;
    let id = RemediationId::from_entropy(ten(app.config.entropy.as_ref())?);
    let mut assets: Vec<_> = taken.iter().map(|row| row.item.asset.clone()).collect();
    assets.sort();
    assets.dedup();
    let record = Record {
        reason: reason(wanted.reason.as_deref(), &format!("asked for by {who}")),
        names: taken.iter().map(|row| row.item.subject.name().to_owned()).collect(),
        change,
        ..Record::default()
    };
    let instead_of: Vec<RemediationId> = ending.keys().cloned().collect();
    let entry = NewEntry::new(now, who, "remediation_asked").about(&id).with(json!({
        "items": taken.iter().take(500).map(|row| row.item.id.as_str()).collect::<Vec<_>>(),
        "names": record.names.iter().take(500).collect::<Vec<_>>(),
        "reason": record.reason,
        "instead_of": instead_of.iter().take(500).collect::<Vec<_>>(),
    }));
    let new = NewRemediation {
        id: id.clone(),
        state: RemediationState::Decided,
        requested_by: who.to_owned(),
        on_failure: OnFailure::Undo,
        assets,
        items: taken.into_iter().map(|row| row.item.id).collect(),
        body: record.write(),
        at: now,
    };
    let mut transition = Transition::default();
    for end in ending.into_values() {
        transition.writes.extend(end.writes);
        transition.entries.extend(end.entries);
        transition.nudges.extend(end.nudges);
    }
    transition = transition.entry(entry).write(Write::NewRemediation(new));
    transition.writes.extend(lifted);
    if let Some(request) = request {
        transition.writes.push(Write::PutSetting(Setting {
            key: request.setting.clone(),
            value: json!({ "remediation": id, "asked": request.asked }),
            at: now,
        }));
    }
    if let Err(error) = app.store.commit(transition).await {
        return Ok(Err(error));
    }
    for gone in instead_of {
        app.goes_on(gone.as_str());
        app.bus.tell(Live::of("remediation", &gone, format!("{id} takes its place")));
    }
    app.bus.nudge(Stage::Plan);
    app.bus.tell(Live::of("remediation", &id, "asked for"));
    Ok(Ok(id))
}

async fn row(app: &App, id: &str) -> Result<StoredRemediation, Problem> {
    let missing = || Problem::not_found("remediation", id);
    let id: RemediationId = id.parse().map_err(|_| missing())?;
    app.store.remediation(&id).await?.ok_or_else(missing)
}

async fn shown(app: &App, id: &str) -> Result<Remediation, Problem> {
    Ok(view::remediation_row(&row(app, id).await?))
}

/// Takes back what was done, all of it or some items.
pub(crate) async fn undo(app: &App, who: &str, id: &str, wanted: Undo) -> Result<Remediation, Problem> {
    let row = row(app, id).await?;
    let record = Record::read(&row.body);
    let rollout = record.rollout.as_ref().ok_or(TakeError::NoPlan(row.state))?;
    let mut items: Vec<ItemId> = Vec::new();
    if wanted.all {
        let open = rollout.tasks.iter().filter(|task| can_undo(task.state));
        items.extend(open.flat_map(|task| task.items.iter().filter(|item| !task.undone.contains(item)).cloned()));
        if items.is_empty() {
            return Err(Problem::conflict("nothing_done", "nothing was done that could be taken back"));
        }
    } else {
        for text in &wanted.items {
            let by_name = record.before.iter().find(|item| item.subject.name() == text).map(|item| item.id.clone());
            let id =
                text.parse().ok().or(by_name).ok_or_else(|| Problem::not_found("item of this remediation", text))?;
            items.push(id);
        }
    }
    if items.is_empty() {
        return Err(Problem::bad_request("no item is named: nothing is taken back").hint("name items, or say `all`"));
    }
    let why = reason(wanted.reason.as_deref(), "no reason given");
    take_back(app, who, &row.id, items, &why, false).await?;
    shown(app, id).await
}

/// Asks a rollout to take items back, and keeps why. What is `lifted` only stood in for something that is done now.
pub(crate) async fn take_back(
    app: &App,
    who: &str,
    id: &RemediationId,
    items: Vec<ItemId>,
    why: &str,
    lifted: bool,
) -> Result<(), TakeError> {
    let now = app.now();
    let row = app.store.remediation(id).await?.ok_or_else(|| TakeError::Missing(id.clone()))?;
    let mut record = Record::read(&row.body);
    let (by, reason) = (who.to_owned(), why.to_owned());
    record.undo = Some(record::Undo { items: items.clone(), by, reason, at: now, lifted });
    // The reason is kept first: were the server to stop here, it would be a word without a deed.
    let edit = EditRemediation {
        id: row.id.clone(),
        generation: row.generation,
        waiting: row.waiting.clone(),
        body: Some(record.write()),
        at: now,
    };
    app.store.put(Write::EditRemediation(edit)).await?;
    take(app, &row.id, who, Event::UndoAsked { items, by: actor(who) }, Vec::new()).await.map(drop)
}

/// Whether anything of a task in this state can be taken back.
pub(crate) const fn can_undo(state: stanch_model::remediation::TaskState) -> bool {
    use stanch_model::remediation::TaskState as T;
    matches!(state, T::Succeeded | T::Verified | T::VerifyFailed | T::Failed | T::Interrupted | T::UndoFailed)
}

/// Stops what has not begun.
pub(crate) async fn cancel(app: &App, who: &str, id: &str, _because: Because) -> Result<Remediation, Problem> {
    let row = row(app, id).await?;
    take(app, &row.id, who, Event::Cancelled { by: actor(who) }, Vec::new()).await?;
    shown(app, id).await
}

/// Says no to a plan, or puts one that needs an operator aside.
pub(crate) async fn dismiss(app: &App, who: &str, id: &str, because: Because) -> Result<Remediation, Problem> {
    let row = row(app, id).await?;
    match row.state {
        RemediationState::NeedsOperator if row.plan.is_none() => {
            let why = reason(because.reason.as_deref(), "dismissed");
            app.store.commit(directly(app, who, &row, RemediationState::Dismissed, &why)).await?;
            app.bus.tell(Live::of("remediation", &row.id, why));
        }
        RemediationState::AwaitingApproval => {
            take(app, &row.id, who, Event::Rejected { by: actor(who) }, Vec::new()).await?;
        }
        _ => {
            take(app, &row.id, who, Event::Dismissed { by: actor(who) }, Vec::new()).await?;
        }
    }
    shown(app, id).await
}

/// The move of a remediation that has no plan, and so no rollout that could.
fn directly(app: &App, who: &str, row: &StoredRemediation, to: RemediationState, why: &str) -> Transition {
    let now = app.now();
    let entry = NewEntry::new(now, who, format!("remediation_{}", to.name()))
        .about(&row.id)
        .with(json!({ "from": row.state.name(), "to": to.name(), "why": why }));
    let step = MoveRemediation {
        id: row.id.clone(),
        from: row.state,
        generation: row.generation,
        to,
        plan: None,
        waiting: None,
        body: None,
        at: now,
    };
    Transition::new(entry).write(Write::MoveRemediation(step))
}

/// Stops everything new, or what is new in a part of the estate.
pub(crate) async fn hold(app: &App, visitor: &Visitor, wanted: SetHold) -> Result<Hold, Problem> {
    if wanted.reason.trim().is_empty() {
        return Err(Problem::bad_request("a hold needs a reason: others will ask"));
    }
    let scope: HoldScope = match &wanted.scope {
        None => HoldScope::All,
        Some(text) => text.parse().map_err(|error: NotAScope| Problem::bad_request(error.to_string()))?,
    };
    let now = app.now();
    let why = reason(Some(&wanted.reason), "");
    let level = if wanted.stop_all { HoldLevel::StopAll } else { HoldLevel::StopNew };
    let actor = approve::counted_as(app, visitor).await?;
    let row = HoldRow { scope: scope.to_string(), level, epoch: app.epoch, reason: why.clone(), actor, at: now };
    // Loosening is a release, and who sets one anew must not become the one who has set it.
    let in_force = app.store.holds().await?.into_iter().find(|known| known.scope == row.scope);
    if let Some(known) = in_force.filter(|known| known.level >= level) {
        if known.level == level {
            return Ok(view::hold(&known));
        }
        return Err(Problem::conflict("held", format!("a hold that stops more is in force: {}", known.reason))
            .hint("release it first: `stanch hold release`"));
    }
    let name = if scope.is_patch() { "patch_blocked" } else { "hold_set" };
    let entry = NewEntry::new(now, &visitor.name, name)
        .about("hold")
        .with(json!({ "scope": scope, "reason": why, "stop_all": wanted.stop_all }));
    let transition = Transition::new(entry).write(Write::Hold(row.clone()));
    // The hold is in force when this returns; telling executors comes after it and may fail without harm.
    app.store.commit(transition).await?;
    to_executors(app, &scope, &Verb::Hold { stop_all: wanted.stop_all, reason: why.clone() }).await?;
    app.bus.nudge(Stage::Rollout);
    app.bus.tell(Live::of("hold", "", why));
    if scope.is_patch() {
        app.decide_again();
    }
    Ok(view::hold(&row))
}

/// Ends a hold. Whoever set it does not end it alone where somebody else could. Answers those still in force.
pub(crate) async fn release(app: &App, visitor: &Visitor, id: &str) -> Result<Vec<Hold>, Problem> {
    let held = app.store.holds().await?;
    let id = id.parse().map_or_else(|_| id.to_owned(), |scope: HoldScope| scope.to_string());
    let Some(row) = held.iter().find(|hold| hold.scope == id) else { return Err(Problem::not_found("hold", &id)) };
    let scope = view::hold_scope(row);
    let by = approve::counted_as(app, visitor).await?;
    let able: BTreeSet<String> = approve::able_to_release(app).await?.into_keys().collect();
    // The operator of the machine is one of its people: they count as a second one only where there are two others.
    let lone = visitor.person.is_none() && able.len() < 2;
    let hold = ModelHold {
        scope: scope.clone(),
        level: row.level,
        reason: row.reason.clone(),
        by: row.actor.clone(),
        at: row.at,
    };
    if !lone {
        may_release(&hold, &by, &able).map_err(|second| {
            Problem::forbidden(second.to_string()).hint("a second person looks whether its reason is gone")
        })?;
    }
    let name = if scope.is_patch() { "patch_unblocked" } else { "hold_released" };
    let entry = NewEntry::new(app.now(), &visitor.name, name)
        .about("hold")
        .with(json!({ "scope": scope, "set_by": row.actor }));
    let write = Write::ReleaseHold(ReleaseHold { scope: id });
    app.store.commit(Transition::new(entry).write(write)).await?;
    // Executors compare what holds them with every poll; this only makes it faster.
    to_executors(app, &scope, &Verb::Release).await?;
    app.bus.nudge(Stage::Rollout);
    app.bus.tell(Live::of("hold", "", "released"));
    if scope.is_patch() {
        app.decide_again();
    }
    view::holds(app).await
}

/// Executors that are told of a hold in one transaction.
const TOLD_TOGETHER: usize = 200;

/// Tells the executors that a hold covers whole; what it covers in part the server keeps from them order by order.
async fn to_executors(app: &App, scope: &HoldScope, verb: &Verb) -> Result<(), Problem> {
    let now = app.now();
    let holds = app.store.holds().await?;
    let callers: Vec<(ExecutorId, AssetId)> =
        app.callers.lock().await.iter().map(|(id, caller)| (id.clone(), caller.asset.id.clone())).collect();
    for some in callers.chunks(view::PAGE as usize) {
        // Where an asset stands people say, and not its host.
        let known = app.store.assets_named(&some.iter().map(|(_, asset)| asset.clone()).collect()).await?.into_iter();
        let environments: HashMap<AssetId, Option<String>> =
            known.map(|row| (row.asset.id, row.asset.environment)).collect();
        let mut told = Vec::new();
        for (executor, asset) in some {
            let environment = environments.get(asset).and_then(Option::as_deref);
            // Another hold may stand when one ends.
            let still = *verb == Verb::Release && view::strongest_whole(&holds, asset, environment).is_some();
            if !view::covers_whole(scope, asset, environment) || still {
                continue;
            }
            let made: Result<(OrderId, Write), _> = orders::order(app, executor, verb.clone(), now);
            let (_, write) = made.map_err(|error| Problem::internal("making an order", &error))?;
            told.push(write);
        }
        for some in told.chunks(TOLD_TOGETHER) {
            let all = Transition { writes: some.to_vec(), ..Transition::default() };
            if app.store.commit(all).await.is_ok() {
                continue;
            }
            // One that cannot be told keeps no other from it: it compares what holds it with every poll.
            for write in some {
                if let Err(error) = app.store.put(write.clone()).await {
                    tracing::error!(error = crate::error::chain(&error), "an executor was not told of a hold");
                }
            }
        }
    }
    app.bus.wake_all();
    Ok(())
}

/// Has the facts of every asset read again.
pub(crate) async fn scan(app: &App, who: &str, wanted: Scan) -> Result<Accepted, Problem> {
    let assets: Vec<_> = app.callers.lock().await.iter().map(|(_, caller)| caller.asset.id.clone()).collect();
    let mut asked = 0;
    for asset in &assets {
        let made = tasks::request_facts(app, asset, wanted.refresh).await;
        asked += usize::from(made.map_err(|error| Problem::internal("asking for facts", &error))?);
    }
    let callers = app.callers.lock().await;
    let frozen = callers.iter().find_map(|(id, caller)| Some((id, &caller.asset.name, caller.frozen.as_ref()?)));
    if let (0, Some((id, name, why))) = (asked, frozen) {
        return Err(Problem::conflict("executor_frozen", format!("the executor of {name} is frozen: {why}"))
            .hint(format!("look into it, then let it back in with: stanch executors trust {id}")));
    }
    drop(callers);
    if asked == 0 {
        return Err(Problem::conflict("no_executor", "no executor has called: nobody can read facts")
            .hint("start the server with `stanch up`, which brings its own"));
    }
    let entry = NewEntry::new(app.now(), who, "facts_asked").with(json!({ "refresh": wanted.refresh }));
    app.store.commit(Transition::new(entry)).await?;
    Ok(Accepted { message: format!("facts of {asked} asset{} are being read", if asked == 1 { "" } else { "s" }) })
}

/// Has the targets that a plan touches first measured again: what it would cut off there is told as it is just before.
pub(crate) async fn measure(app: &App, id: &str) -> Result<Accepted, Problem> {
    let row = row(app, id).await?;
    let Some(hash) = row.plan.filter(|_| view::blast_is_asked(&row.state)) else {
        let why = format!("only a plan that waits is measured, and this is {}", row.state.name());
        return Err(Problem::conflict("wrong_state", why.replace('_', " ")));
    };
    let plan = app.store.plan(&hash).await?.ok_or_else(|| Problem::not_found("plan", &hash.to_string()))?;
    let (now, patience) = (app.now(), app.config.intervals.start_within);
    let mut asked = 0;
    for leaf in view::first_leaves(&plan) {
        let caller = tasks::orders::executor_of(app, &leaf.asset).await;
        if !caller.is_some_and(|(_, caller)| caller.is_connected(now, patience)) {
            continue;
        }
        let made = tasks::request_facts(app, &leaf.asset, false).await;
        asked += usize::from(made.map_err(|error| Problem::internal("asking for facts", &error))?);
    }
    if asked == 0 {
        return Err(Problem::conflict("away", "no executor of its targets is connected and may read facts"));
    }
    Ok(Accepted { message: format!("{asked} target{} measured", if asked == 1 { " is" } else { "s are" }) })
}

/// Has feeds fetched now.
pub(crate) async fn refresh_feeds(app: &App, who: &str) -> Result<Accepted, Problem> {
    if app.config.feeds.is_empty() {
        return Err(Problem::conflict(
            "no_source",
            "no source of feeds is configured; the built-in snapshot is in use",
        )
        .hint("start the server with: stanch up --online, or: stanch up --feeds DIR"));
    }
    let entry = NewEntry::new(app.now(), who, "feeds_refresh_asked");
    app.store.commit(Transition::new(entry)).await?;
    app.want_feeds();
    app.bus.nudge(Stage::Feeds);
    Ok(Accepted { message: "feeds are being fetched".to_owned() })
}

/// Takes or throws away a feed that waits.
pub(crate) async fn judge_feed(app: &App, who: &str, word: JudgeFeed) -> Result<Vec<Feed>, Problem> {
    tasks::judge_feed(app, who, &word).await?;
    view::feeds(app).await
}

/// Vouches for an executor that was frozen.
pub(crate) async fn trust(app: &App, who: &str, id: &str) -> Result<(), Problem> {
    let missing = || Problem::not_found("executor", id);
    let executor = id.parse().map_err(|_| missing())?;
    let known = crate::gateway::trust(app, who, &executor).await;
    let known = known.map_err(|error| Problem::internal("trusting an executor", &error))?;
    known.then_some(()).ok_or_else(missing)
}

/// Puts an executor out at once: no certificate of it is in force any more.
pub(crate) async fn revoke_executor(app: &App, who: &str, id: &str, because: &Because) -> Result<(), Problem> {
    let missing = || Problem::not_found("executor", id);
    let executor = id.parse().map_err(|_| missing())?;
    let why = reason(because.reason.as_deref(), "no reason given");
    let known = crate::fleet::revoke(app, who, &executor, &why).await;
    let known = known.map_err(|error| Problem::internal("putting an executor out", &error))?;
    known.then_some(()).ok_or_else(missing)
}

/// Says that an executor that was let in is one of ours.
pub(crate) async fn confirm_executor(app: &App, who: &str, id: &str) -> Result<(), Problem> {
    let missing = || Problem::not_found("executor", id);
    let executor = id.parse().map_err(|_| missing())?;
    let known = crate::gateway::confirm(app, who, &executor).await;
    let known = known.map_err(|error| Problem::internal("confirming an executor", &error))?;
    known.then_some(()).ok_or_else(missing)
}

/// An asset with what somebody says of it.
fn labelled(mut asset: Asset, wanted: &LabelAsset) -> Result<Asset, Problem> {
    if let Some(name) = &wanted.environment {
        asset.environment = word("environment", name)?;
    }
    if let Some(name) = &wanted.owner {
        asset.owner = word("owner", name)?;
    }
    if let Some(name) = &wanted.classification {
        asset.classification = word("classification", name)?;
    }
    if let Some(tier) = wanted.tier {
        let known = |tier: u8| Tier::try_from(tier).map_err(|error| Problem::bad_request(error.to_string()));
        asset.tier = if tier == 0 { None } else { Some(known(tier)?) };
    }
    for (name, value) in &wanted.labels {
        let name = word("label", name)?.ok_or_else(|| Problem::bad_request("a label has a name"))?;
        match word("label", value)? {
            Some(value) => drop(asset.labels.insert(name, value)),
            None => drop(asset.labels.remove(&name)),
        }
    }
    if asset.labels.len() > LABELS {
        return Err(Problem::bad_request(format!("an asset has at most {LABELS} labels")));
    }
    Ok(asset)
}

/// Says what an asset's environment, owner, tier and classification are.
pub(crate) async fn label(app: &App, who: &str, id: &str, wanted: &LabelAsset) -> Result<(), Problem> {
    let missing = || Problem::not_found("asset", id);
    // Two who label at once must not undo each other.
    let _making = app.making.lock().await;
    let stored = app.store.asset(&id.parse().map_err(|_| missing())?).await?.ok_or_else(missing)?;
    let asset = labelled(stored.asset, wanted)?;
    let entry = NewEntry::new(app.now(), who, "asset_labelled").about(&asset.id).with(json!({
        "environment": asset.environment, "owner": asset.owner, "classification": asset.classification,
        "tier": asset.tier.map(Tier::number), "labels": asset.labels,
    }));
    let id = asset.id.clone();
    let write = Write::SeeAsset(SeenAsset { asset, by: SeenBy::People, at: stored.last_seen });
    app.store.commit(Transition::new(entry).write(write)).await?;
    app.assess(id.clone(), true);
    app.want([id.clone()]);
    app.bus.nudge(Stage::Assess);
    app.bus.nudge(Stage::Decide);
    app.bus.tell(Live::of("facts", &id, "labelled"));
    Ok(())
}

/// Says how one asset hangs on another.
pub(crate) async fn link(app: &App, who: &str, id: &str, wanted: &LinkAsset) -> Result<(), Problem> {
    let find = async |text: &str| -> Result<AssetId, Problem> {
        let missing = || Problem::not_found("asset", text);
        let id: AssetId = text.parse().map_err(|_| missing())?;
        app.store.asset(&id).await?.map(|stored| stored.asset.id).ok_or_else(missing)
    };
    let (from, to) = (find(id).await?, find(&wanted.to).await?);
    if from == to {
        return Err(Problem::bad_request("an asset does not hang on itself"));
    }
    let known = EdgeKind::ALL.into_iter().find(|kind| kind.name() == wanted.kind);
    let kind = known.ok_or_else(|| {
        let names: Vec<&str> = EdgeKind::ALL.iter().map(|kind| kind.name()).collect();
        Problem::bad_request(format!("`{}` is no way to hang together", word_of(&wanted.kind)))
            .hint(format!("one of: {}", names.join(", ")))
    })?;
    let edge = Edge { from: from.clone(), to: to.clone(), kind };
    let event = if wanted.remove { "asset_unlinked" } else { "asset_linked" };
    let entry = NewEntry::new(app.now(), who, event).about(&from).about(&to).with(json!({ "kind": kind }));
    let write = Write::SetEdge(SetEdge { edge, there: !wanted.remove });
    app.store.commit(Transition::new(entry).write(write)).await?;
    for asset in [from, to] {
        app.assess(asset.clone(), true);
        app.want([asset]);
    }
    app.bus.nudge(Stage::Assess);
    app.bus.nudge(Stage::Decide);
    Ok(())
}

/// Says whether an asset depends on another that it was seen to call.
pub(crate) async fn judge_edge(app: &App, who: &str, wanted: &JudgeEdge) -> Result<SeenEdge, Problem> {
    let missing = || Problem::not_found("call that was seen", &format!("{} to {}", wanted.from, wanted.to));
    let find = async || -> Result<SeenEdge, Problem> {
        let from: AssetId = wanted.from.parse().map_err(|_| missing())?;
        let all = EdgeFilter { limit: Some(view::EDGES), ..EdgeFilter::default() };
        let seen = view::seen_edges(app, Some(&from), &all).await?.into_iter();
        let mut mine = seen.filter(|one| one.from == wanted.from && one.to == wanted.to && one.port == wanted.port);
        mine.next().ok_or_else(missing)
    };
    let found = find().await?;
    if wanted.depends {
        let wish = LinkAsset { to: found.to, kind: EdgeKind::DependsOn.name().to_owned(), remove: false };
        link(app, who, &found.from, &wish).await?;
        return find().await;
    }
    let (from, to): (AssetId, AssetId) =
        (found.from.parse().map_err(|_| missing())?, found.to.parse().map_err(|_| missing())?);
    let entry = NewEntry::new(app.now(), who, "edge_dismissed")
        .about(&from)
        .about(&to)
        .with(json!({ "port": found.port, "program": found.program }));
    let write = Write::DismissEdge(DismissEdge { from, to, port: found.port });
    app.store.commit(Transition::new(entry).write(write)).await?;
    find().await
}

/// What somebody typed, short enough to say it back.
fn word_of(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// A label: one word, or nothing.
fn word(what: &str, text: &str) -> Result<Option<String>, Problem> {
    let text = text.trim();
    if text.len() > 64 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Problem::bad_request(format!("`{what}` is one word of at most 64 bytes")));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

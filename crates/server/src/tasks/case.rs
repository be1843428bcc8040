//! Cases to their steps: begins what is next as a remediation of its own or as a task for a person, notes how each
//! ended, lifts what only stood in for something, and takes everything back when a person asks.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stanch_engine::case::{self, Checked, Effect, Errand, Fate, Member, Seen, State};
use stanch_engine::propose::{self, Ask, CONFIG_SET, Candidate, PACKAGE_UPGRADE};
use stanch_engine::rollout::{Event, Rollout};
use stanch_engine::verify::ItemVerdict;
use stanch_engine::{Blocked, Proposal, requests};
use stanch_ledger::NewEntry;
use stanch_model::asset::Asset;
use stanch_model::canonical::Digest;
use stanch_model::edge::Edge;
use stanch_model::id::{AssetId, CaseId, ItemId};
use stanch_model::order::StepRequest;
use stanch_model::plan::Limits;
use stanch_model::playbook::{Act, Doing, On, Param, Rung};
use stanch_model::remediation::{RemediationState as S, TaskState as T};
use stanch_policy::Facts;
use stanch_policy::facts::{DECIMAL, Value as Fact};
use stanch_store::case::{PutCase, StoredCase};
use stanch_store::item::{ItemFilter, StoredItem};
use stanch_store::order::VoidOrder;
use stanch_store::remediation::{MoveRemediation, NewRemediation, OnFailure, StoredRemediation};
use stanch_store::{Transition, Write};

use super::propose::{ACTOR, Wanted};
use super::rollout::{TakeError, actor, take};
use super::{Decider, PassError, orders};
use crate::app::App;
use crate::ask;
use crate::bus::{Live, Stage};
use crate::clock::ten;
use crate::record::{Case, CaseStep, Decided, Record};
use crate::view::{Context, all_rows};

/// Earlier cases of an item that are looked at.
const HISTORY: u32 = 20;
/// Targets of one run at most.
const MAX_TARGETS: usize = 2_000;

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    for stored in app.store.live_cases().await? {
        go_on(app, &stored).await?;
    }
    Ok(())
}

/// Opens a case for what a policy with steps wants done.
pub(super) async fn open(app: &App, key: Digest, policy: &str, members: &[Wanted]) -> Result<(), PassError> {
    let Some(Wanted { decision, .. }) = members.first() else { return Ok(()) };
    let held = app.policies.held();
    // The bundle may be another one by now: then it is decided anew.
    let Some((known, steps)) =
        held.bundle.policy(policy).and_then(|policy| Some((policy, held.bundle.steps(policy)?.to_vec())))
    else {
        return Ok(());
    };
    let playbook = match &known.doing {
        stanch_policy::playbook::Doing::Playbook(name) => name.clone(),
        _ => policy.to_owned(),
    };
    let rules: Vec<String> = decision.fired.iter().map(|word| word.rule.clone()).collect();
    let decided = Decided {
        key,
        mode: decision.mode,
        bundle: decision.bundle,
        rules,
        versions: members.iter().map(|one| (one.item.clone(), one.version.clone())).collect(),
    };
    let about = members
        .iter()
        .map(|one| (Member { item: one.item.clone(), asset: one.asset.clone() }, one.name.clone()))
        .collect::<Vec<_>>();
    let case = begin(about, steps, ACTOR, &decision.reason, &playbook, Some(decided));
    commit_new(app, case).await.map(drop)
}

/// A case at its beginning.
pub(crate) fn begin(
    about: Vec<(Member, String)>,
    steps: Vec<stanch_model::playbook::Step>,
    by: &str,
    reason: &str,
    playbook: &str,
    decided: Option<Decided>,
) -> Case {
    let (members, names): (Vec<Member>, Vec<String>) = about.into_iter().unzip();
    let assets: BTreeSet<&AssetId> = members.iter().map(|member| &member.asset).collect();
    let different: BTreeSet<&String> = names.iter().collect();
    let first = names.first().cloned().unwrap_or_default();
    let more = match different.len() {
        0 | 1 => String::new(),
        all => format!(" and {} more", all - 1),
    };
    let places = if assets.len() > 1 { format!(" on {} assets", assets.len()) } else { String::new() };
    Case {
        title: format!("{first}{more}{places}"),
        case: case::Case::new(steps, members),
        names,
        by: by.to_owned(),
        reason: reason.to_owned(),
        playbook: playbook.to_owned(),
        decided,
        happened: Vec::new(),
    }
}

/// Commits a new case.
pub(crate) async fn commit_new(app: &App, mut case: Case) -> Result<CaseId, PassError> {
    let now = app.now();
    let id = CaseId::from_entropy(ten(app.config.entropy.as_ref())?);
    case.note(now, &case.by.clone(), None, "opened", format!("opened: {}", case.reason));
    let mut entry = NewEntry::new(now, &*case.by, "case_opened").about(&id).with(json!({
        "items": case.case.members.iter().take(500).map(|member| member.item.as_str()).collect::<Vec<_>>(),
        "names": case.names.iter().take(500).collect::<Vec<_>>(),
        "playbook": case.playbook,
        "steps": case.case.steps,
        "reason": case.reason,
        "rules": case.decided.as_ref().map(|decided| &decided.rules),
    }));
    if let Some(bundle) = case.decided.as_ref().and_then(|decided| decided.bundle) {
        entry = entry.resting_on("bundle", bundle);
    }
    app.store.commit(Transition::new(entry).write(Write::PutCase(put(&id, 0, &case, now)))).await?;
    app.bus.nudge(Stage::Case);
    app.bus.tell(Live::of("case", &id, "opened"));
    Ok(id)
}

/// The next state of a case.
pub(crate) fn put(id: &CaseId, generation: u64, case: &Case, at: Timestamp) -> PutCase {
    let busy = case.case.busy();
    PutCase {
        id: id.clone(),
        generation,
        over: case.case.state.is_over(),
        items: case.case.members.iter().map(|member| (member.item.clone(), busy.contains(&member.item))).collect(),
        body: case.write(),
        at,
    }
}

/// Why policies open no case for an item now.
pub(super) async fn bar(app: &App, item: &ItemId, version: &str, limits: &Limits) -> Result<Option<String>, PassError> {
    let now = app.now();
    let rows = app.store.cases_about(item, HISTORY).await?;
    let same = rows.into_iter().filter_map(|row| Some((Case::read(&row.body)?, row))).filter(|(case, _)| {
        case.decided.as_ref().and_then(|decided| decided.versions.get(item)).is_some_and(|known| known == version)
    });
    let same: Vec<(Case, StoredCase)> = same.collect();
    let Some((last, row)) = same.first() else { return Ok(None) };
    if matches!(last.case.state, State::Closed { .. }) {
        return Ok(Some("a person ended its case".to_owned()));
    }
    if same.len() >= limits.max_attempts as usize {
        return Ok(Some(format!("all {} attempts are used up", limits.max_attempts)));
    }
    let cool = SignedDuration::from_secs(i64::from(limits.cooldown_seconds));
    let until = row.updated_at.checked_add(cool).ok().filter(|until| now < *until);
    Ok(until.map(|until| format!("cools down until {until}")))
}

/// One case, as far as it can go now.
async fn go_on(app: &App, stored: &StoredCase) -> Result<(), PassError> {
    let Some(mut record) = Case::read(&stored.body) else {
        app.waits(stored.id.as_str(), "what was stored of the case does not read");
        return Ok(());
    };
    let now = app.now();
    let seen = look(app, &record.case).await?;
    let before = record.case.clone();
    let (next, effects) = before.advance(&stored.id, &seen, now);
    if next == before && effects.is_empty() {
        return Ok(());
    }
    record.case = next;
    let mut transition = Transition::default();
    ends(&mut record, &before, now);
    for effect in &effects {
        let entry = |name: &str, run: &usize, record: &Case| {
            NewEntry::new(now, "server", name).about(&stored.id).with(json!({
                "run": run,
                "step": record.case.runs.get(*run).and_then(|run| record.case.rung(run)).map(|rung| &rung.id),
            }))
        };
        match effect {
            Effect::Begin { run } => {
                let writes = begin_run(app, &stored.id, &mut record, *run, now).await?;
                let name = match record.case.runs.get(*run).map(|run| &run.what) {
                    Some(Errand::Human(_)) => "case_task_asked",
                    _ => "case_step_begun",
                };
                transition.entries.push(entry(name, run, &record));
                for (write, said) in writes {
                    transition.writes.push(write);
                    transition.entries.extend(said);
                }
            }
            Effect::Late { run } => {
                record.note(now, "server", Some(*run), "late", "it takes longer than it may");
                transition.entries.push(entry("case_step_late", run, &record));
            }
            Effect::StillSeen { run } => {
                record.note(
                    now,
                    "server",
                    Some(*run),
                    "still_seen",
                    "the check still sees the problem: it is not done",
                );
                transition.entries.push(entry("case_task_not_done", run, &record));
            }
            Effect::Entered { state } => {
                let why = match state {
                    State::Closed { why } => format!("ended: {why}"),
                    State::Done => "everything is done".to_owned(),
                    State::Partly => "nothing more can be done".to_owned(),
                    _ => "it is taken back, as far as it could be".to_owned(),
                };
                record.note(now, "server", None, state.name(), why.clone());
                let out: BTreeMap<&ItemId, &String> = record.case.out.iter().take(500).collect();
                transition.entries.push(
                    NewEntry::new(now, "server", format!("case_{}", state.name()))
                        .about(&stored.id)
                        .with(json!({ "why": why, "not_done": out })),
                );
            }
            Effect::TakeBack { .. } | Effect::CallOff { .. } => {}
        }
    }
    if record.case != before {
        transition = transition.write(Write::PutCase(put(&stored.id, stored.generation, &record, now)));
        app.store.commit(transition).await?;
        app.bus.nudge(Stage::Plan);
        app.bus.nudge(Stage::Case);
        app.bus.tell(Live::of("case", &stored.id, record.case.state.name()));
    }
    // What is asked of rollouts is their own to commit; were the server to stop here, it would be asked again.
    for effect in effects {
        match effect {
            Effect::TakeBack { run, items, lifted } => take_back(app, stored, &record, run, items, lifted).await?,
            Effect::CallOff { run } => call_off(app, &record, run).await?,
            _ => {}
        }
    }
    Ok(())
}

/// Notes what ended since.
fn ends(record: &mut Case, before: &case::Case, now: Timestamp) {
    let mut news: Vec<(usize, &'static str, String)> = Vec::new();
    for (at, run) in record.case.runs.iter().enumerate() {
        let mut by_fate: BTreeMap<(&'static str, Option<&str>), Vec<&ItemId>> = BTreeMap::new();
        for (item, fate) in &run.fates {
            let known = before.runs.get(at).and_then(|run| run.fates.get(item));
            if known != Some(fate) && *fate != Fate::Running {
                by_fate.entry((fate.name(), fate.why())).or_default().push(item);
            }
        }
        for ((name, why), items) in by_fate {
            let of = if items.len() < run.fates.len() {
                format!("{} of {} ", items.len(), run.fates.len())
            } else {
                String::new()
            };
            let said =
                why.map_or_else(|| format!("{of}{}", name.replace('_', " ")), |why| format!("{of}{name}: {why}"));
            news.push((at, name, said));
        }
    }
    for (run, name, said) in news {
        record.note(now, "server", Some(run), name, said);
    }
}

/// What is to be seen of a case from outside.
async fn look(app: &App, case: &case::Case) -> Result<Seen, PassError> {
    let mut seen = Seen::default();
    for run in &case.runs {
        let Errand::Remediation(id) = &run.what else { continue };
        let settled = run.fates.values().all(|fate| matches!(fate, Fate::Blocked(_) | Fate::Refused(_) | Fate::Undone));
        if settled {
            continue;
        }
        if let Some(row) = app.store.remediation(id).await? {
            let record = Record::read(&row.body);
            let fates = run.fates.keys().map(|item| (item.clone(), fate(&row, &record, item)));
            seen.fates.insert(id.clone(), fates.collect());
        }
    }
    let asks = |rung: &Rung| matches!(rung.doing, Doing::Human(_)) || rung.lift_when.is_some();
    if stanch_model::playbook::rungs(&case.steps).any(asks) {
        let items: Vec<ItemId> = case.members.iter().map(|member| member.item.clone()).collect();
        let rows = all_rows(app, ItemFilter { ids: Some(items), ..ItemFilter::default() }).await?;
        let assets: BTreeSet<&AssetId> = rows.iter().map(|row| &row.item.asset).collect();
        let read = app.store.detections(assets).await?;
        for row in rows {
            let checked = Checked {
                open: row.closed_at.is_none(),
                facts_at: read.get(&row.item.asset).map(|said| said.facts_at),
            };
            seen.checks.insert(row.item.id, checked);
        }
    }
    Ok(seen)
}

/// What became of an item in a remediation.
fn fate(row: &StoredRemediation, record: &Record, item: &ItemId) -> Fate {
    let waiting = || row.waiting.clone().unwrap_or_else(|| format!("it is {}", row.state));
    let left = record.left_out.iter().find(|left| left.items.contains(item)).map(|left| &left.why);
    let tasks =
        || record.rollout.iter().flat_map(|rollout: &Rollout| &rollout.tasks).filter(|task| task.items.contains(item));
    match row.state {
        S::Dismissed | S::Rejected => return Fate::Refused("a person said no".to_owned()),
        S::Excepted => return Fate::Refused("the risk was accepted".to_owned()),
        S::Superseded => return Fate::Refused("policies say something else by now".to_owned()),
        S::Expired => return Fate::Blocked("nobody answered in time, or it was too late to start".to_owned()),
        S::Observed => {
            let why = left.filter(|why| !matches!(why, Blocked::Compliant)).map_or_else(waiting, ToString::to_string);
            return Fate::Blocked(why);
        }
        S::ResolvedElsewhere => return Fate::Done,
        _ => {}
    }
    if tasks().next().is_none() {
        return match (left, row.state) {
            (Some(Blocked::Compliant), state) if state != S::Decided => Fate::Done,
            (Some(why), state) if state != S::Decided => Fate::Blocked(why.to_string()),
            (_, S::NeedsOperator) => Fate::Blocked(waiting()),
            (_, S::Cancelled) => Fate::Refused("it was called off".to_owned()),
            _ => Fate::Running,
        };
    }
    let message = || tasks().find_map(|task| task.message.clone()).unwrap_or_else(waiting);
    if tasks().all(|task| task.undone.contains(item)) {
        return match &record.undo {
            Some(_) => Fate::Undone,
            None => Fate::Failed(format!("it went wrong and was taken back: {}", message())),
        };
    }
    if tasks().any(|task| task.state == T::Undoing || (task.state != T::UndoFailed && task.to_undo.contains(item))) {
        // What goes back by itself, because something failed, is still on its way to an end.
        return if record.undo.is_some() { Fate::GoingBack } else { Fate::Running };
    }
    if tasks().any(|task| task.state == T::UndoFailed) {
        return Fate::Kept(message());
    }
    let verdict = |task: &stanch_engine::rollout::Task| {
        let judged = task.judgement.iter().flat_map(|judgement| &judgement.items);
        judged.into_iter().find(|(known, _)| known == item).map(|(_, verdict)| verdict.clone())
    };
    match row.state {
        S::AwaitingConfirmation | S::Closed | S::PartiallyRemediated => {
            let left_over = tasks().filter(|task| task.state == T::Verified).find_map(|task| match verdict(task) {
                Some(ItemVerdict::StillThere { findings } | ItemVerdict::Partly { findings }) => Some(findings.len()),
                _ => None,
            });
            match left_over {
                Some(count) => Fate::Failed(format!("{count} of its findings are left")),
                None if tasks().all(|task| matches!(task.state, T::Verified | T::Skipped)) => Fate::Done,
                None => Fate::Blocked(message()),
            }
        }
        S::Cancelled => match tasks().all(|task| task.state == T::Verified) {
            true => Fate::Done,
            false => Fate::Refused("it was called off".to_owned()),
        },
        S::RolledBack | S::ClosedNotRemediated | S::RollbackFailed | S::NeedsOperator => Fate::Failed(message()),
        _ => Fate::Running,
    }
}

type Begun = Vec<(Write, Option<NewEntry>)>;

/// What begins a run: its remediation, or nothing but a word to a person. Items for which it cannot be asked for are
/// blocked at once.
async fn begin_run(app: &App, id: &CaseId, record: &mut Case, at: usize, now: Timestamp) -> Result<Begun, PassError> {
    let Some((run, rung)) =
        record.case.runs.get(at).and_then(|run| Some((run.clone(), record.case.rung(run)?.clone())))
    else {
        return Ok(Vec::new());
    };
    let items: Vec<ItemId> = run.fates.keys().cloned().collect();
    let (act, remediation) = match (&rung.doing, &run.what) {
        (Doing::Act(act), Errand::Remediation(id)) => (act, id.clone()),
        (Doing::Human(task), _) => {
            record.note(now, "server", Some(at), "asked", format!("asked {}: {}", task.owner, task.title));
            return Ok(Vec::new());
        }
        _ => return Ok(Vec::new()),
    };
    let rows = all_rows(app, ItemFilter { ids: Some(items.clone()), ..ItemFilter::default() }).await?;
    let mut asking = Asking::load(app, &rows, rung.on).await?;
    for row in &rows {
        asking.ask(app, act, row).await;
    }
    let Asking { asks, settled, .. } = asking;
    let mut left: Vec<&ItemId> = Vec::new();
    for item in &items {
        let fate = match settled.get(item) {
            Some(Blocked::Compliant) => Some(Fate::Done),
            Some(why) => Some(Fate::Blocked(why.to_string())),
            None if rows.iter().any(|row| row.item.id == *item) => None,
            None => Some(Fate::Blocked("it is not known any more".to_owned())),
        };
        match (fate, record.case.runs.get_mut(at)) {
            (Some(fate), Some(run)) => {
                let said =
                    fate.why().map_or_else(|| "is as wanted already".to_owned(), |why| format!("blocked: {why}"));
                let kind = fate.name();
                run.fates.insert(item.clone(), fate);
                record.note(now, "server", Some(at), kind, said);
            }
            _ => left.push(item),
        }
    }
    if left.is_empty() {
        return Ok(Vec::new());
    }
    let asks = asks.into_iter().filter_map(|(asset, wanted)| {
        let wanted: Vec<StepRequest> = wanted
            .into_iter()
            .map(|mut request| {
                request.items.retain(|item| left.contains(&item));
                request
            })
            .filter(|request| !request.items.is_empty())
            .collect();
        (!wanted.is_empty()).then_some((asset, wanted))
    });
    let asks: BTreeMap<AssetId, Vec<StepRequest>> = asks.take(MAX_TARGETS).collect();
    let names = |item: &ItemId| {
        let place = record.case.members.iter().position(|member| member.item == *item);
        place.and_then(|place| record.names.get(place)).cloned().unwrap_or_default()
    };
    let body = Record {
        reason: format!("{} of {}: {}", rung.id, record.playbook, record.reason),
        names: left.iter().map(|item| names(item)).collect(),
        decided: record.decided.clone(),
        step: Some(CaseStep { case: id.clone(), run: at, rung: rung.id.clone(), asks }),
        ..Record::default()
    };
    let assets: Vec<AssetId> = body.step.iter().flat_map(|step| step.asks.keys().cloned()).collect();
    let entry = NewEntry::new(now, &*record.by, "remediation_asked").about(&remediation).about(id).with(json!({
        "items": left.iter().take(500).collect::<Vec<_>>(),
        "names": body.names.iter().take(500).collect::<Vec<_>>(),
        "assets": assets.len(),
        "step": rung.id,
        "action": act.action,
        "reason": body.reason,
    }));
    let new = NewRemediation {
        id: remediation,
        state: S::Decided,
        requested_by: record.by.clone(),
        on_failure: OnFailure::Undo,
        assets,
        items: left.into_iter().cloned().collect(),
        body: body.write(),
        at: now,
    };
    record.note(now, "server", Some(at), "begun", format!("begun: {}", act.action));
    Ok(vec![(Write::NewRemediation(new), Some(entry))])
}

/// What is asked of which executor for one run.
struct Asking {
    context: Context,
    decider: Decider,
    on: On,
    edges: Vec<Edge>,
    linked: BTreeMap<AssetId, Asset>,
    asks: BTreeMap<AssetId, Vec<StepRequest>>,
    /// Items that nothing is asked about, and why.
    settled: BTreeMap<ItemId, Blocked>,
}

impl Asking {
    async fn load(app: &App, rows: &[StoredItem], on: On) -> Result<Self, PassError> {
        let context = Context::with_closed(app, rows).await?;
        let own: BTreeSet<AssetId> = rows.iter().map(|row| row.item.asset.clone()).collect();
        let mut decider = Decider::load(app).await?;
        decider.learn(app, own.iter()).await?;
        let edges = match on {
            On::Asset => Vec::new(),
            On::Linked(_) => app.store.edges_at(&own).await?,
        };
        let ends: BTreeSet<AssetId> = edges.iter().flat_map(|edge| [edge.from.clone(), edge.to.clone()]).collect();
        let linked = app.store.assets_named(&ends).await?;
        let linked = linked.into_iter().map(|stored| (stored.asset.id.clone(), stored.asset)).collect();
        Ok(Self { context, decider, on, edges, linked, asks: BTreeMap::new(), settled: BTreeMap::new() })
    }

    /// The assets on which something is done for an item.
    fn targets(&self, row: &StoredItem) -> Result<BTreeSet<AssetId>, Blocked> {
        let own = &row.item.asset;
        let On::Linked(kind) = self.on else { return Ok(BTreeSet::from([own.clone()])) };
        let others = self.edges.iter().filter_map(|edge| match (edge.from == *own, edge.to == *own) {
            (true, false) => Some(&edge.to),
            (false, true) => Some(&edge.from),
            _ => None,
        });
        let found: BTreeSet<AssetId> =
            others.filter(|id| self.linked.get(*id).is_some_and(|asset| asset.kind == kind)).cloned().collect();
        // Nothing linked means nothing done, never everything.
        if found.is_empty() { Err(Blocked::NoLink { kind }) } else { Ok(found) }
    }

    async fn ask(&mut self, app: &App, act: &Act, row: &StoredItem) {
        if let Err(why) = self.try_ask(app, act, row).await {
            self.settled.insert(row.item.id.clone(), why);
        }
    }

    async fn try_ask(&mut self, app: &App, act: &Act, row: &StoredItem) -> Result<(), Blocked> {
        let targets = self.targets(row)?;
        let wanted = self.wanted(act, row)?;
        for target in &targets {
            let Some((_, caller)) = orders::executor_of(app, target).await else {
                return Err(Blocked::NoExecutor { asset: target.clone() });
            };
            if !caller.actions.contains(&act.action) {
                return Err(Blocked::NotCarriedOut { action: act.action.clone(), asset: target.clone() });
            }
        }
        for target in targets {
            let known = self.asks.entry(target).or_default();
            // Several sources are one transaction of the package manager.
            let one = |request: &&mut StepRequest| {
                request.action == wanted.action && (act.action == PACKAGE_UPGRADE || request.want == wanted.want)
            };
            match known.iter_mut().find(one) {
                Some(request) if act.action == PACKAGE_UPGRADE => merge(request, &wanted),
                Some(request) => request.items.extend(wanted.items.clone()),
                None => known.push(wanted.clone()),
            }
        }
        Ok(())
    }

    /// What an executor is asked for, with everything filled in from the problem.
    fn wanted(&self, act: &Act, row: &StoredItem) -> Result<StepRequest, Blocked> {
        let item = row.item.id.clone();
        if act.action == PACKAGE_UPGRADE {
            let candidate = match self.context.propose(row).filter(|_| row.closed_at.is_none()) {
                Some(Proposal::Candidate(candidate)) => candidate,
                Some(Proposal::Nothing { why }) => return Err(why),
                None => return Err(Blocked::Compliant),
            };
            let asks: Vec<Ask> =
                candidate.asks.iter().filter(|ask| matches!(ask, Ask::Upgrade { .. })).cloned().collect();
            let request = requests(&[Candidate { asks, ..candidate }]).pop();
            return request.ok_or(Blocked::Compliant);
        }
        if act.action == CONFIG_SET {
            // What is set is the problem's own setting, never one that a playbook names.
            return match self.context.propose(row).filter(|_| row.closed_at.is_none()) {
                Some(Proposal::Candidate(candidate)) => {
                    requests(&[candidate]).into_iter().find(|one| one.action == CONFIG_SET).ok_or(Blocked::Compliant)
                }
                Some(Proposal::Nothing { why }) => Err(why),
                None => Err(Blocked::Compliant),
            };
        }
        let asset = self.context.asset(&row.item.asset);
        let facts = asset.map(|asset| self.decider.facts(asset, row, &self.context.members(row), None));
        let facts = facts.unwrap_or_default();
        let mut want = serde_json::Map::new();
        for (name, param) in &act.params {
            want.insert(name.clone(), filled(param, &facts)?);
        }
        let want = propose::want(&act.action, want);
        let request = StepRequest { action: act.action.clone(), want, items: vec![item] };
        match propose::named_script(&request) {
            Some(name) if self.decider.in_force.bundle.script(name).is_none() => {
                Err(Blocked::NoScript { script: name.to_owned() })
            }
            _ => Ok(request),
        }
    }
}

/// One transaction for the sources of both.
fn merge(request: &mut StepRequest, more: &StepRequest) {
    if let (Some(sources), Some(others)) = (
        request.want.get_mut("sources").and_then(Value::as_array_mut),
        more.want.get("sources").and_then(Value::as_array),
    ) {
        sources.extend(others.iter().cloned());
    }
    if let (Some(fixed), Some(others)) = (
        request.want.get_mut("fixed").and_then(Value::as_object_mut),
        more.want.get("fixed").and_then(Value::as_object),
    ) {
        fixed.extend(others.iter().map(|(source, version)| (source.clone(), version.clone())));
    }
    request.items.extend(more.items.iter().cloned());
}

fn filled(param: &Param, facts: &Facts) -> Result<Value, Blocked> {
    Ok(match param {
        Param::Bool(value) => json!(value),
        Param::Int(value) => json!(value),
        Param::Text(text) => json!(text),
        Param::List(list) => Value::Array(list.iter().map(|one| filled(one, facts)).collect::<Result<_, _>>()?),
        Param::From(path) => match facts.get(path) {
            None => return Err(Blocked::NotKnown { fact: path.clone() }),
            Some(Fact::Bool(value)) => json!(value),
            Some(Fact::Int(value)) => json!(value),
            // Orders hold no fractions: in parts of what the facts are kept in.
            Some(Fact::Decimal(value)) => json!(format!("{}/{DECIMAL}", value)),
            Some(Fact::Text(text)) => json!(text),
            Some(Fact::Texts(texts)) => json!(texts),
            Some(Fact::Labels(labels)) => json!(labels),
        },
    })
}

/// Has what a run did taken back, unless a server that stopped since has asked already.
async fn take_back(
    app: &App,
    stored: &StoredCase,
    record: &Case,
    run: usize,
    items: Vec<ItemId>,
    lifted: bool,
) -> Result<(), PassError> {
    let Some(Errand::Remediation(id)) = record.case.runs.get(run).map(|run| &run.what) else { return Ok(()) };
    let (by, why) = match &record.case.state {
        State::Undoing { by, why } => (by.clone(), format!("the case {} is taken back: {why}", stored.id)),
        _ => ("server".to_owned(), "what it stood in for is done".to_owned()),
    };
    match ask::take_back(app, &by, id, items, &why, lifted).await {
        Ok(()) | Err(TakeError::Busy { .. }) => Ok(()),
        Err(TakeError::Pass(error)) => Err(error),
        Err(error) => keep(app, &stored.id, run, &error.to_string()).await,
    }
}

/// Notes that something stays.
async fn keep(app: &App, id: &CaseId, run: usize, why: &str) -> Result<(), PassError> {
    let Some(stored) = app.store.case(id).await? else { return Ok(()) };
    let Some(mut record) = Case::read(&stored.body) else { return Ok(()) };
    let now = app.now();
    record.case.keep(run, why);
    record.note(now, "server", Some(run), "kept", format!("it stays: {why}"));
    let entry = NewEntry::new(now, "server", "case_step_kept").about(id).with(json!({ "run": run, "why": why }));
    let put = put(id, stored.generation, &record, now);
    app.store.commit(Transition::new(entry).write(Write::PutCase(put))).await?;
    app.bus.nudge(Stage::Case);
    Ok(())
}

/// Has a run begin nothing more.
async fn call_off(app: &App, record: &Case, run: usize) -> Result<(), PassError> {
    let Some(Errand::Remediation(id)) = record.case.runs.get(run).map(|run| &run.what) else { return Ok(()) };
    let Some(row) = app.store.remediation(id).await? else { return Ok(()) };
    if row.state == S::Decided {
        // There is no plan yet, and so no rollout that could be ended.
        return never_mind(app, &row).await;
    }
    let by = actor("server");
    let event = match row.state {
        S::Planned | S::AwaitingApproval => Event::Dismissed { by },
        _ => Event::Cancelled { by },
    };
    match take(app, id, "server", event, Vec::new()).await {
        // One that cannot be called off any more is seen through.
        Ok(_) | Err(TakeError::Busy { .. } | TakeError::NoPlan(_) | TakeError::Illegal(_) | TakeError::Missing(_)) => {
            Ok(())
        }
        Err(TakeError::Pass(error)) => Err(error),
    }
}

/// Ends a remediation that is still being planned.
async fn never_mind(app: &App, row: &StoredRemediation) -> Result<(), PassError> {
    let now = app.now();
    let why = "it was called off before it was planned";
    let entry = NewEntry::new(now, "server", "remediation_observed")
        .about(&row.id)
        .with(json!({ "from": row.state.name(), "to": S::Observed.name(), "why": why }));
    let step = MoveRemediation {
        id: row.id.clone(),
        from: row.state,
        generation: row.generation,
        to: S::Observed,
        plan: None,
        waiting: Some(why.to_owned()),
        body: None,
        at: now,
    };
    let mut transition = Transition::new(entry).write(Write::MoveRemediation(step));
    let orders = Record::read(&row.body).plan_orders;
    transition.writes.extend(orders.into_iter().map(|id| Write::VoidOrder(VoidOrder { id, unless_delivered: false })));
    app.store.commit(transition).await?;
    app.bus.nudge(Stage::Case);
    Ok(())
}

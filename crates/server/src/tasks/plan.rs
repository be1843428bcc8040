//! Remediations to plans: asks executors what they would do, and makes one immutable plan of their answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::SignedDuration;
use serde_json::json;
use stanch_engine::hold::brought;
use stanch_engine::plan::{PlanError, PlanInput, PlanReport, Target, assemble};
use stanch_engine::propose::{named_script, with_script};
use stanch_engine::rollout::{Event, InARow, Rollout};
use stanch_engine::{Blocked, Candidate, LeftOut, Proposal, requests};
use stanch_ledger::NewEntry;
use stanch_model::Digest;
use stanch_model::asset::Asset;
use stanch_model::decision::{Decision, Mode};
use stanch_model::id::{AssetId, ItemId};
use stanch_model::item::{Subject, WorkItem};
use stanch_model::order::{Answer, PlanRefusal, Receipt, StepRequest, Verb};
use stanch_model::plan::{Plan, PlannedStep, RuleRef};
use stanch_model::remediation::RemediationState;
use stanch_model::terms::{HaltIf, Quorum, RingSize, RingTerm, Terms};
use stanch_store::item::{ItemFilter, StoredItem};
use stanch_store::order::{OrderState, VoidOrder};
use stanch_store::receipt::HandleReceipt;
use stanch_store::remediation::{EditRemediation, MoveRemediation, RemediationFilter, StoredRemediation};
use stanch_store::task::{Lane, NewTask};
use stanch_store::version::SeeVersions;
use stanch_store::{Transition, Write};

use super::decide::{Planned, offer};
use super::rollout::{TakeError, take};
use super::{Decider, PassError, orders};
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::record::Record;
use crate::view::{Context, all_rows};

/// A question that nobody answered for so long is asked again.
const ASK_AGAIN: SignedDuration = SignedDuration::from_mins(10);
/// How long a plan may be started.
const VALID: SignedDuration = SignedDuration::from_hours(24);
/// And so much longer when it waits for a window, a freeze or another environment.
const CALENDARS: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Reasons that are told one by one why nothing can be done.
const REASONS: usize = 5;

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    for stored in app.store.unhandled_receipts(&Stage::Plan.takes_up(), 256).await? {
        let handled = HandleReceipt { order: stored.receipt.body.order, forget: false, at: app.now() };
        app.store.put(Write::HandleReceipt(handled)).await?;
    }
    let filter = RemediationFilter { states: vec!["decided", "planned"], ..RemediationFilter::default() };
    for row in app.store.all_remediations(&filter).await? {
        let record = Record::read(&row.body);
        match (row.state, record.plan_orders.is_empty()) {
            (RemediationState::Decided, true) => ask(app, &row, record).await?,
            (RemediationState::Decided, false) => make(app, &row, record).await?,
            // The server stopped between making the plan and showing it.
            _ => submit(app, &row).await?,
        }
    }
    Ok(())
}

/// Asks the executor of every asset what it would do.
async fn ask(app: &App, row: &StoredRemediation, mut record: Record) -> Result<(), PassError> {
    let now = app.now();
    let mut transition = Transition::default();
    let about = About::load(app, row, &record).await?;
    let mut items = Vec::new();
    if record.step.is_some() {
        items.extend(row.items.iter().filter_map(|item| about.row(item)).map(|row| row.item.clone()));
    }
    for asset in &row.assets {
        let wanted = match &record.step {
            Some(step) => step.asks.get(asset).cloned().unwrap_or_default(),
            None => {
                let (candidates, left_out) = about.candidates(asset, &record, &mut items);
                record.left_out.extend(left_out);
                requests(&candidates)
            }
        };
        let wanted = scripted(app, asset, wanted, &mut record);
        if wanted.is_empty() {
            continue;
        }
        let Some((executor, caller)) = orders::executor_of(app, asset).await else {
            return wait(app, row, &Blocked::Away { asset: asset.clone() }.to_string()).await;
        };
        if let Some(why) = caller.frozen {
            return wait(app, row, &format!("the executor of {} is frozen: {why}", caller.asset.name)).await;
        }
        let verb = Verb::Plan { asset: asset.clone(), requests: wanted };
        let (id, write) = orders::order(app, &executor, verb, now)?;
        record.plan_orders.push(id);
        transition.writes.push(write);
    }
    if record.plan_orders.is_empty() {
        let report = PlanReport { left_out: std::mem::take(&mut record.left_out), ..PlanReport::default() };
        return nothing(app, row, record, report).await;
    }
    record.before = items;
    record.planned_at = Some(now);
    transition.writes.push(Write::EditRemediation(EditRemediation {
        id: row.id.clone(),
        generation: row.generation,
        waiting: Some("asks the executor what exactly it would do".to_owned()),
        body: Some(record.write()),
        at: now,
    }));
    let receivers = orders::receivers(&transition);
    app.store.commit(transition).await?;
    app.goes_on(row.id.as_str());
    app.bus.wake(&receivers);
    Ok(())
}

/// The requests with the scripts that they name, as the policies in force have them now; what names none that is there
/// is left out.
fn scripted(app: &App, asset: &AssetId, wanted: Vec<StepRequest>, record: &mut Record) -> Vec<StepRequest> {
    let held = app.policies.held();
    let mut whole = Vec::with_capacity(wanted.len());
    for request in wanted {
        match named_script(&request).map(|name| (name.to_owned(), held.bundle.script(name))) {
            None => whole.push(request),
            Some((_, Some(known))) => whole.push(with_script(request, &known.script)),
            Some((script, None)) => {
                let why = Blocked::NoScript { script };
                record.left_out.push(LeftOut { asset: asset.clone(), items: request.items, why });
            }
        }
    }
    whole
}

/// What a remediation is about.
struct About {
    rows: HashMap<AssetId, Vec<StoredItem>>,
    context: Context,
}

impl About {
    async fn load(app: &App, row: &StoredRemediation, record: &Record) -> Result<Self, PassError> {
        let found = all_rows(app, ItemFilter { ids: Some(row.items.clone()), ..ItemFilter::default() }).await?;
        let context = match record.step {
            Some(_) => Context::with_closed(app, &found).await?,
            None => Context::of(app, &found).await?,
        };
        let mut known: HashMap<ItemId, StoredItem> =
            found.into_iter().map(|found| (found.item.id.clone(), found)).collect();
        let mut rows: HashMap<AssetId, Vec<StoredItem>> = HashMap::new();
        // In the order they were asked for.
        for found in row.items.iter().filter_map(|id| known.remove(id)) {
            rows.entry(found.item.asset.clone()).or_default().push(found);
        }
        Ok(Self { rows, context })
    }

    /// Its items on an asset.
    fn on(&self, asset: &AssetId) -> &[StoredItem] {
        self.rows.get(asset).map(Vec::as_slice).unwrap_or_default()
    }

    fn row(&self, item: &ItemId) -> Option<&StoredItem> {
        self.rows.values().flatten().find(|row| row.item.id == *item)
    }

    fn candidates(
        &self,
        asset: &AssetId,
        record: &Record,
        items: &mut Vec<WorkItem>,
    ) -> (Vec<Candidate>, Vec<LeftOut>) {
        let (mut candidates, mut left_out) = (Vec::new(), Vec::new());
        for row in self.on(asset) {
            let out = |why| LeftOut { asset: asset.clone(), items: vec![row.item.id.clone()], why };
            items.push(row.item.clone());
            if let Some(reason) = record.not_granted.get(&row.item.id) {
                left_out.push(out(Blocked::NotGranted { reason: reason.clone() }));
                continue;
            }
            match self.context.propose(row) {
                Some(Proposal::Candidate(candidate)) => candidates.push(candidate),
                Some(Proposal::Nothing { why }) => left_out.push(out(why)),
                None => left_out.push(out(Blocked::Compliant)),
            }
        }
        (candidates, left_out)
    }
}

impl About {
    /// What decisions about these items rest on.
    async fn decider(&self, app: &App, row: &StoredRemediation) -> Result<Decider, PassError> {
        let mut decider = Decider::load(app).await?;
        decider.learn(app, row.assets.iter().chain(self.rows.keys())).await?;
        Ok(decider)
    }

    /// The items that an executor was asked about.
    fn asked(&self, asset: &AssetId, record: &Record) -> Vec<ItemId> {
        match &record.step {
            Some(step) => step.items_on(asset),
            None => {
                let (candidates, _) = self.candidates(asset, record, &mut Vec::new());
                candidates.into_iter().map(|candidate| candidate.item).collect()
            }
        }
    }

    /// What is decided of these items, now that it is known what would be done; of a step of a case also by what holds on
    /// its target.
    fn decide(
        &self,
        decider: &Decider,
        asked: &[ItemId],
        steps: &[PlannedStep],
        target: Option<&Asset>,
    ) -> Vec<Decision> {
        let rows: Vec<&StoredItem> = asked.iter().filter_map(|item| self.row(item)).collect();
        let subjects: Vec<&Subject> = rows.iter().map(|row| &row.item.subject).collect();
        let planned = Planned { steps, subjects: &subjects };
        let each = |row: &&StoredItem| match target {
            Some(target) => decider.decide_step(&self.context, row, &planned, target),
            None => decider.decide(&self.context, row, Some(&planned)),
        };
        rows.iter().map(each).collect()
    }
}

/// Whether what the policies say now still allows the plan of a case's step, and binds it to the same.
pub(super) async fn still_bound(app: &App, row: &StoredRemediation, record: &Record) -> Result<bool, PassError> {
    let (Some(hash), Some(decided), true) = (&row.plan, &record.decided, record.step.is_some()) else {
        return Ok(true);
    };
    let Some(plan) = app.store.plan(hash).await? else { return Ok(true) };
    let about = About::load(app, row, record).await?;
    let decider = about.decider(app, row).await?;
    let mut bound = Bound::default();
    for leaf in &plan.leaves {
        let target = app.store.asset(&leaf.asset).await?.map(|stored| stored.asset);
        let asked = about.asked(&leaf.asset, record);
        about.decide(&decider, &asked, &leaf.steps, target.as_ref()).iter().for_each(|decision| bound.by(decision));
    }
    let mut terms = bound.terms(true, app.config.bake);
    state_outages(app, &mut terms, plan.leaves.iter().map(|leaf| &leaf.asset)).await?;
    Ok(bound.mode >= decided.mode && terms == plan.terms)
}

/// States which groups have a member taken away that they can never spare: whoever lets that happen agrees to it.
async fn state_outages(app: &App, terms: &mut Terms, assets: impl Iterator<Item = &AssetId>) -> Result<(), PassError> {
    let estate = super::Estate::read(app).await?;
    terms.outages = assets.flat_map(|asset| estate.never_spares(asset)).collect();
    if !terms.outages.is_empty() && terms.approvals.is_empty() {
        terms.approvals.insert(Quorum::default());
    }
    Ok(())
}

/// Makes the plan once every executor has answered.
async fn make(app: &App, row: &StoredRemediation, mut record: Record) -> Result<(), PassError> {
    let now = app.now();
    let mut answers: BTreeMap<AssetId, Receipt> = BTreeMap::new();
    for id in &record.plan_orders {
        let Some(order) = app.store.order(id).await? else { continue };
        let Verb::Plan { asset, .. } = &order.verb else { continue };
        if let Some(receipt) = app.store.receipt(id).await? {
            answers.insert(asset.clone(), receipt.receipt.body);
            continue;
        }
        let late = now.duration_since(order.created_at) > ASK_AGAIN;
        if late || order.state == OrderState::Void {
            return ask_again(app, row, record, "the executor did not answer; asking again").await;
        }
        return Ok(());
    }
    let about = About::load(app, row, &record).await?;
    see(app, &answers).await?;
    let decider = about.decider(app, row).await?;
    let mut bound = Bound::default();
    let mut targets = Vec::new();
    let (mut granted, mut not_granted) = (0_usize, BTreeMap::new());
    for (asset, receipt) in answers {
        let known = app.store.asset(&asset).await?.map(|stored| stored.asset);
        let asked = about.asked(&asset, &record);
        let (steps, compliant, refused) = planned(receipt.answer, &asked);
        for decision in about.decide(&decider, &asked, &steps, known.as_ref().filter(|_| record.step.is_some())) {
            if decision.mode == Mode::Alert {
                not_granted.insert(decision.item.clone(), decision.reason.clone());
            } else {
                granted += 1;
            }
            bound.by(&decision);
        }
        let tier = known.as_ref().and_then(|known| known.tier);
        let ring = known.and_then(|mut known| known.labels.remove("ring"));
        let own = app.own().contains(&asset);
        targets.push(Target {
            asset,
            tier,
            own,
            ring,
            items: asked,
            steps,
            compliant,
            refused,
            suppressed: Vec::new(),
        });
    }
    // One of which more is known now than the policies grant keeps no other waiting.
    if record.decided.is_some() && record.step.is_none() && granted > 0 && !not_granted.is_empty() {
        record.not_granted.extend(not_granted);
        return ask_again(app, row, record, "asks again without what is not granted").await;
    }
    if let Some(decided) = &mut record.decided {
        // What a step of a case may do is decided here for the first time: before, only the problem was known.
        if record.step.is_none() {
            bound.mode = bound.mode.min(decided.mode);
        }
        decided.mode = bound.mode;
        decided.bundle = Some(decider.in_force.bundle.digest());
        if decided.mode == Mode::Alert {
            let all: BTreeSet<&String> = not_granted.values().collect();
            let said: Vec<&str> = all.into_iter().take(REASONS).map(String::as_str).collect();
            let why = format!("what it would really do is only shown, the policies say: {}", said.join("; "));
            return close(app, row, record, RemediationState::Observed, &why).await;
        }
    }
    let by_policy = record.decided.is_some();
    let mut terms = bound.terms(by_policy, app.config.bake);
    state_outages(app, &mut terms, targets.iter().map(|target| &target.asset)).await?;
    if let Some(decided) = record.decided.as_mut().filter(|_| !terms.outages.is_empty()) {
        decided.mode = decided.mode.min(Mode::Approve);
    }
    if let Some(asked) = &record.change {
        terms.need(asked.term.clone());
    }
    let valid_for = valid_for(&terms);
    let rules = if by_policy { bound.rules(decider.in_force.bundle.digest()) } else { BTreeSet::new() };
    let input = PlanInput { targets, terms, rules, now, valid_for };
    match assemble(input) {
        Ok((plan, report)) => {
            record.left_out.extend(report.left_out);
            keep(app, row, record, plan).await?;
            submit(app, row).await
        }
        Err(PlanError::Nothing { report }) => nothing(app, row, record, *report).await,
        Err(error) => {
            let why = crate::error::chain(&error);
            needs_operator(app, row, record, &why).await
        }
    }
}

/// Notes the versions that executors would bring, so that what nobody has seen before is offered from now on.
async fn see(app: &App, answers: &BTreeMap<AssetId, Receipt>) -> Result<(), PassError> {
    let mut seen: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    let detected = app.store.detections(answers.keys()).await?;
    for (asset, receipt) in answers {
        let Answer::Planned { steps, .. } = &receipt.answer else { continue };
        let system = detected.get(asset).and_then(|detected| detected.system.as_deref());
        for one in brought(steps) {
            let (ecosystem, source, version) = offer(system, &one);
            seen.entry(ecosystem).or_default().insert((source, version));
        }
    }
    for (ecosystem, versions) in seen {
        let seen = SeeVersions { ecosystem, versions: versions.into_iter().collect(), at: app.now() };
        app.store.put(Write::SeeVersions(seen)).await?;
    }
    Ok(())
}

/// What the decisions about all items of a plan bind it to.
struct Bound {
    mode: Mode,
    terms: Option<Terms>,
    fired: BTreeSet<String>,
}

impl Default for Bound {
    fn default() -> Self {
        Self { mode: Mode::Auto, terms: None, fired: BTreeSet::new() }
    }
}

impl Bound {
    fn by(&mut self, decision: &Decision) {
        self.mode = self.mode.min(decision.mode);
        if decision.fired.is_empty() {
            return;
        }
        self.fired.extend(decision.fired.iter().map(|word| word.rule.clone()));
        let terms = decision.terms.clone();
        self.terms = Some(match self.terms.take() {
            Some(bound) => bound.and(terms),
            None => terms,
        });
    }

    /// What the plan is bound to. What a person asks for goes to the targets they name at once, but never past what
    /// the owner's policies say of who must agree, when it may run and how much at a time.
    fn terms(&self, by_policy: bool, bake: std::time::Duration) -> Terms {
        let bake_seconds = u32::try_from(bake.as_secs()).unwrap_or(u32::MAX);
        let all = || vec![RingTerm { size: RingSize::Percent(100), min: 1, bake_seconds }];
        let mut terms = self.terms.clone().unwrap_or_default();
        if !by_policy {
            terms.rings = all();
            terms.halt_if = HaltIf::default();
            // A person who asks for it does not wait for others to have tried it.
            terms.min_age_seconds = 0;
            terms.confirm.clear();
        }
        if terms.rings.is_empty() {
            terms.rings = all();
        }
        if by_policy && self.mode != Mode::Approve {
            // What is only suggested is started by whoever may operate; what runs by itself waits for nobody.
            terms.approvals.clear();
        }
        if by_policy && self.mode == Mode::Approve && terms.approvals.is_empty() {
            terms.approvals.insert(Quorum::default());
        }
        terms
    }

    fn rules(&self, bundle: Digest) -> BTreeSet<RuleRef> {
        // Caps that are built in belong to no policy that could be charged for them.
        let stated = self.fired.iter().filter(|rule| !rule.starts_with("built-in/") && !rule.starts_with("exception/"));
        stated.map(|rule| RuleRef { rule: rule.clone(), digest: bundle }).collect()
    }
}

/// How long a plan may be started: long enough for all its rings, and for its calendars to come round.
fn valid_for(terms: &Terms) -> SignedDuration {
    let bakes: i64 = terms.rings.iter().map(|ring| i64::from(ring.bake_seconds)).sum();
    let elsewhere = !terms.promote_from.is_empty() || !terms.changes.is_empty();
    let waits = elsewhere || !terms.windows.is_empty() || !terms.freezes.is_empty();
    let calendars = if waits { CALENDARS } else { SignedDuration::ZERO };
    VALID.saturating_add(SignedDuration::from_secs(bakes.saturating_mul(2))).saturating_add(calendars)
}

type Said = (Vec<PlannedStep>, Vec<ItemId>, Vec<PlanRefusal>);

fn planned(answer: Answer, asked: &[ItemId]) -> Said {
    let all = |reason: String, hint| vec![PlanRefusal { items: asked.to_vec(), reason, hint }];
    match answer {
        Answer::Planned { steps, compliant, mut refused } => {
            // Silence is no word that something is as wanted.
            if steps.is_empty() {
                let said =
                    |item: &ItemId| compliant.contains(item) || refused.iter().any(|one| one.items.contains(item));
                let silent: Vec<ItemId> = asked.iter().filter(|item| !said(item)).cloned().collect();
                if !silent.is_empty() {
                    let reason = "its executor plans nothing for it and does not say why".to_owned();
                    refused.push(PlanRefusal { items: silent, reason, hint: None });
                }
            }
            (steps, compliant, refused)
        }
        Answer::Refused { message, hint } => (Vec::new(), Vec::new(), all(message, hint)),
        _ => (Vec::new(), Vec::new(), all("the executor answered something else".to_owned(), None)),
    }
}

/// Commits the plan with its tasks, which begin pending.
async fn keep(app: &App, row: &StoredRemediation, mut record: Record, plan: Plan) -> Result<(), PassError> {
    let now = app.now();
    let hash = plan.hash()?;
    let mut places = BTreeMap::new();
    for leaf in &plan.leaves {
        let known = app.store.asset(&leaf.asset).await?;
        places.extend(known.and_then(|known| Some((leaf.asset.clone(), known.asset.environment?))));
    }
    let attempts = super::propose::attempts(app, &record).await?;
    let targets = plan.leaves.iter().map(|leaf| leaf.asset.clone()).collect();
    let missed = app.store.missed_in_a_row(&targets).await?.into_iter();
    let missed = missed.map(|(asset, row)| (asset, InARow { windows: row.windows, away_since: row.away_since }));
    let rollout = Rollout::new(&row.id, &plan, attempts)?.standing_in(&places).having_missed(&missed.collect());
    let mut entry = NewEntry::new(now, "server", "remediation_planned")
        .about(&row.id)
        .with(json!({ "targets": plan.leaves.len(), "valid_until": plan.valid_until }))
        .resting_on("plan", hash);
    let mut tasks = Vec::new();
    for task in &rollout.tasks {
        let Some(leaf) = plan.leaves.iter().find(|leaf| leaf.asset == task.asset) else { continue };
        entry = entry.about(&task.id);
        tasks.push(Write::NewTask(NewTask {
            id: task.id.clone(),
            remediation: row.id.clone(),
            asset: task.asset.clone(),
            lane: Lane::Change,
            wave: task.wave,
            plan: hash,
            leaf: leaf.hash()?,
            attempt: task.attempt,
            items: task.items.clone(),
            body: serde_json::Value::Null,
            at: now,
        }));
    }
    record.rollout = Some(rollout);
    let mut transition =
        Transition::new(entry).write(Write::PutPlan(plan, now)).write(Write::MoveRemediation(MoveRemediation {
            id: row.id.clone(),
            from: row.state,
            generation: row.generation,
            to: RemediationState::Planned,
            plan: Some(hash),
            waiting: None,
            body: Some(record.write()),
            at: now,
        }));
    transition.writes.extend(tasks);
    app.store.commit(transition).await?;
    Ok(())
}

/// Shows a plan to whoever must agree, or has it start where policies say that nobody must.
async fn submit(app: &App, row: &StoredRemediation) -> Result<(), PassError> {
    let Some(row) = app.store.remediation(&row.id).await? else { return Ok(()) };
    let record = Record::read(&row.body);
    let by_itself = record.decided.as_ref().is_some_and(|decided| decided.mode == Mode::Auto);
    let nobody = record.rollout.as_ref().is_some_and(|rollout| rollout.terms.approvals.is_empty());
    // An executor may have begun to ask for signatures since it was decided.
    let asked = {
        let demanding = app.callers.lock().await.demanding();
        row.assets.iter().any(|asset| demanding.contains(asset))
    };
    let (who, event) = match row.plan {
        Some(plan) if by_itself && nobody && !asked => (super::propose::ACTOR, Event::Granted { plan }),
        _ => ("server", Event::Submitted),
    };
    match take(app, &row.id, who, event, Vec::new()).await {
        Err(TakeError::Pass(error)) => Err(error),
        _ => Ok(()),
    }
}

async fn ask_again(app: &App, row: &StoredRemediation, mut record: Record, why: &str) -> Result<(), PassError> {
    let mut transition = Transition::default();
    for id in std::mem::take(&mut record.plan_orders) {
        transition.writes.push(Write::VoidOrder(VoidOrder { id, unless_delivered: false }));
    }
    record.left_out.clear();
    transition.writes.push(Write::EditRemediation(EditRemediation {
        id: row.id.clone(),
        generation: row.generation,
        waiting: Some(why.to_owned()),
        body: Some(record.write()),
        at: app.now(),
    }));
    app.store.commit(transition).await?;
    app.bus.nudge(Stage::Plan);
    Ok(())
}

/// Nothing is left to do: done elsewhere if all is as wanted, else a person has to look.
async fn nothing(app: &App, row: &StoredRemediation, mut record: Record, report: PlanReport) -> Result<(), PassError> {
    record.left_out.extend(report.left_out);
    if record.left_out.iter().all(|left| matches!(left.why, Blocked::Compliant)) {
        return close(app, row, record, RemediationState::ResolvedElsewhere, "everything is as wanted already").await;
    }
    // On many hosts it is the same few reasons; each item's own stands with the remediation.
    let all: BTreeSet<String> = record.left_out.iter().map(|left| left.why.to_string()).collect();
    let mut why: Vec<String> = all.iter().take(REASONS).cloned().collect();
    if all.len() > REASONS {
        why.push(format!("and {} other reasons", all.len().saturating_sub(REASONS)));
    }
    needs_operator(app, row, record, &format!("nothing of it can be done: {}", why.join("; "))).await
}

/// Only a person leads on; of a step of a case the case does, which takes its next rung or says why there is none.
async fn needs_operator(app: &App, row: &StoredRemediation, record: Record, why: &str) -> Result<(), PassError> {
    let to = if record.step.is_some() { RemediationState::Observed } else { RemediationState::NeedsOperator };
    close(app, row, record, to, why).await?;
    app.bus.nudge(Stage::Case);
    Ok(())
}

async fn close(
    app: &App,
    row: &StoredRemediation,
    record: Record,
    to: RemediationState,
    why: &str,
) -> Result<(), PassError> {
    let now = app.now();
    let entry = NewEntry::new(now, "server", format!("remediation_{}", to.name()))
        .about(&row.id)
        .with(json!({ "from": row.state.name(), "to": to.name(), "why": why }));
    let step = MoveRemediation {
        id: row.id.clone(),
        from: row.state,
        generation: row.generation,
        to,
        plan: None,
        waiting: Some(why.to_owned()),
        body: Some(record.write()),
        at: now,
    };
    app.store.commit(Transition::new(entry).write(Write::MoveRemediation(step))).await?;
    let id = row.id.to_string();
    app.bus.tell(Live { kind: "remediation", subject: id.clone(), remediation: Some(id), text: why.to_owned() });
    Ok(())
}

async fn wait(app: &App, row: &StoredRemediation, why: &str) -> Result<(), PassError> {
    if row.waiting.as_deref() == Some(why) {
        return Ok(());
    }
    let edit = EditRemediation {
        id: row.id.clone(),
        generation: row.generation,
        waiting: Some(why.to_owned()),
        body: None,
        at: app.now(),
    };
    app.store.put(Write::EditRemediation(edit)).await?;
    Ok(())
}

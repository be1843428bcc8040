//! A person's word on a plan, and on what was done by itself: who counts, for what, and when enough have spoken.

use std::collections::{BTreeMap, BTreeSet};

use stanch_engine::rollout::{ConfirmAnswer, Event};
use stanch_ledger::NewEntry;
use stanch_model::Digest;
use stanch_model::asset::Asset;
use stanch_model::decision::Mode;
use stanch_model::person::{Access, Power};
use stanch_model::remediation::RemediationState;
use stanch_model::sign::{Signature, Signed, VerifyingKey};
use stanch_model::terms::{Quorum, Role};
use stanch_model::trust::{Demand, PlanApproval};
use stanch_store::approval::{Approval, ApprovalVerdict};
use stanch_store::person::PersonState;
use stanch_store::remediation::StoredRemediation;
use stanch_store::{Transition, Write};

use super::{reason, row, shown};
use crate::api::Problem;
use crate::api::types::{
    AnswerConfirmation, Approve, Quorum as QuorumWire, Remediation, Signatures as SignaturesWire, SignedApproval,
    Spoken,
};
use crate::app::App;
use crate::auth::Visitor;
use crate::bus::Live;
use crate::record::Record;
use crate::tasks::rollout::{actor, take};

/// Under which name the operator of the machine is counted, whoever asked through them.
const OPERATOR: &str = "operator";

/// Who speaks: two tokens of a person are that person, and the operator of the machine is one.
async fn principal(app: &App, visitor: &Visitor) -> Result<String, Problem> {
    Ok(match &visitor.person {
        None => OPERATOR.to_owned(),
        Some(id) => {
            let person = app.store.person(id).await?;
            person.map(|person| person.name.to_string()).ok_or_else(Problem::unauthenticated)?
        }
    })
}

/// What somebody may do now, whatever they might when they spoke. Nothing for who may not sign in any more.
async fn access_of(app: &App, name: &str) -> Result<Access, Problem> {
    if name == OPERATOR {
        return Ok(Access::full());
    }
    let Ok(name) = name.parse() else { return Ok(Access::default()) };
    match app.store.person_named(&name).await? {
        Some(person) if person.state == PersonState::Enabled => Ok(app.store.access(&person.id).await?),
        _ => Ok(Access::default()),
    }
}

async fn assets_of(app: &App, row: &StoredRemediation) -> Result<Vec<Asset>, Problem> {
    let mut assets = Vec::with_capacity(row.assets.len());
    for id in &row.assets {
        let stored = app.store.asset(id).await?;
        assets.push(stored.ok_or_else(|| Problem::not_found("asset", id.as_str()))?.asset);
    }
    Ok(assets)
}

/// The roles in which somebody may say yes to all of it.
fn roles(access: &Access, assets: &[Asset]) -> BTreeSet<Role> {
    let mut each = assets.iter().map(|asset| access.approving_roles(asset));
    let first = each.next().unwrap_or_default();
    each.fold(first, |all, one| all.intersection(&one).copied().collect())
}

/// Who wrote what it rests on: whoever asked, and the authors of its policies.
fn authors(app: &App, row: &StoredRemediation, record: &Record) -> BTreeSet<String> {
    let held = app.policies.held();
    let policies = record.rollout.iter().flat_map(|rollout| &rollout.policies);
    let wrote = policies.filter_map(|name| held.bundle.policy(name)?.author.clone());
    let asked = if row.requested_by.starts_with(OPERATOR) { OPERATOR.to_owned() } else { row.requested_by.clone() };
    wrote.chain([asked]).collect()
}

/// What a plan needs, and what it has.
pub(crate) struct Approvals {
    /// Each has to be met.
    pub(crate) needs: Vec<(Quorum, BTreeSet<String>)>,
    /// What executors of its targets ask for by their own rules.
    pub(crate) signatures: Vec<Signatures>,
    /// Everybody who spoke.
    pub(crate) spoken: Vec<Approval>,
}

/// The same demand of some targets' executors.
pub(crate) struct Signatures {
    demand: Demand,
    targets: Vec<String>,
    /// How many of the keys that count have signed.
    have: usize,
}

impl Signatures {
    fn are_enough(&self) -> bool {
        self.have >= usize::from(self.demand.need)
    }

    fn words(&self) -> String {
        let first = self.targets.first().map_or("", String::as_str);
        let more = match self.targets.len() {
            0 | 1 => String::new(),
            all => format!(" and {} more", all - 1),
        };
        format!("{} of {} signatures that {first}{more} asks for", self.have, self.demand.need)
    }
}

impl Approvals {
    /// Whether enough have agreed.
    pub(crate) fn are_enough(&self) -> bool {
        self.needs.iter().all(|(quorum, by)| by.len() >= usize::from(quorum.count.max(1)))
            && self.signatures.iter().all(Signatures::are_enough)
    }

    /// What is missing, in words.
    pub(crate) fn missing(&self) -> Option<String> {
        let open = self.needs.iter().filter(|(quorum, by)| by.len() < usize::from(quorum.count.max(1)));
        let signatures = self.signatures.iter().filter(|asked| !asked.are_enough()).map(Signatures::words);
        let words: Vec<String> = open
            .map(|(quorum, by)| {
                let roles: Vec<&str> = quorum.roles.iter().map(|role| role.name()).collect();
                let but = if quorum.exclude_author { ", not the author" } else { "" };
                format!("{} of {} ({}{but})", by.len(), quorum.count, roles.join(" or "))
            })
            .chain(signatures)
            .collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// What executors ask for, on the wire.
    pub(crate) fn asked_of_keys(&self) -> Vec<SignaturesWire> {
        let wire = |asked: &Signatures| SignaturesWire {
            targets: asked.targets.clone(),
            need: asked.demand.need,
            have: u16::try_from(asked.have).unwrap_or(u16::MAX),
            keys: asked.demand.keys.iter().map(ToString::to_string).collect(),
        };
        self.signatures.iter().map(wire).collect()
    }

    /// The same on the wire.
    pub(crate) fn wire(&self) -> (Vec<QuorumWire>, Vec<Spoken>) {
        let quorum = |(quorum, by): &(Quorum, BTreeSet<String>)| QuorumWire {
            count: quorum.count,
            roles: quorum.roles.iter().map(|role| role.name().to_owned()).collect(),
            exclude_author: quorum.exclude_author,
            by: by.iter().cloned().collect(),
        };
        let spoken = |one: &Approval| Spoken {
            who: one.actor.clone(),
            approved: one.verdict == ApprovalVerdict::Approved,
            at: one.at,
            until: one.expires_at,
            signed_by: one.signed.as_ref().map(|signed| signed.key.to_string()),
        };
        (self.needs.iter().map(quorum).collect(), self.spoken.iter().map(spoken).collect())
    }
}

/// What a remediation's plan needs and has. One that a person asked for, or that is only suggested, needs nobody beside
/// whoever starts it unless its policies say so.
pub(crate) async fn approvals(app: &App, row: &StoredRemediation, record: &Record) -> Result<Approvals, Problem> {
    let Some(plan) = &row.plan else {
        return Ok(Approvals { needs: Vec::new(), signatures: Vec::new(), spoken: Vec::new() });
    };
    let spoken = app.store.approvals(plan).await?;
    let signatures = signatures(app, row, &spoken).await?;
    let wanted = record.rollout.iter().flat_map(|rollout| rollout.terms.approvals.iter().cloned());
    let mut needs: Vec<(Quorum, BTreeSet<String>)> = wanted.map(|quorum| (quorum, BTreeSet::new())).collect();
    if needs.is_empty() {
        return Ok(Approvals { needs, signatures, spoken });
    }
    let (now, authors, assets) = (app.now(), authors(app, row, record), assets_of(app, row).await?);
    for one in spoken.iter().filter(|one| one.counts(now)) {
        let roles = roles(&access_of(app, &one.actor).await?, &assets);
        for (quorum, by) in &mut needs {
            let counts = !(quorum.exclude_author && authors.contains(&one.actor));
            if counts && roles.iter().any(|role| quorum.roles.contains(role)) {
                by.insert(one.actor.clone());
            }
        }
    }
    Ok(Approvals { needs, signatures, spoken })
}

/// What executors of its targets ask for, and how much of it is there.
async fn signatures(app: &App, row: &StoredRemediation, spoken: &[Approval]) -> Result<Vec<Signatures>, Problem> {
    let mut asked: BTreeMap<(u16, BTreeSet<VerifyingKey>), Vec<String>> = BTreeMap::new();
    {
        let callers = app.callers.lock().await;
        for (_, caller) in row.assets.iter().filter_map(|asset| callers.of(asset)) {
            if let Some(demand) = caller.demands() {
                asked.entry((demand.need, demand.keys.clone())).or_default().push(caller.asset.name.clone());
            }
        }
    }
    let now = app.now();
    let yes = spoken.iter().filter(|one| one.verdict == ApprovalVerdict::Approved);
    let signed: BTreeSet<VerifyingKey> =
        yes.filter_map(|one| one.signed.as_ref()).filter(|word| now < word.body.until).map(|word| word.key).collect();
    let each = asked.into_iter().map(|((need, keys), targets)| {
        let demand = Demand { need, keys };
        Signatures { have: demand.met_by(&signed), demand, targets }
    });
    Ok(each.collect())
}

/// A word that was signed elsewhere, if it is about exactly this plan.
async fn signed(app: &App, plan: &Digest, word: &SignedApproval) -> Result<Signed<PlanApproval>, Problem> {
    let bad = |what: &str| Problem::bad_request(format!("the signed approval does not hold: {what}"));
    let key = VerifyingKey::try_from(word.key.clone()).map_err(|error| bad(&error.to_string()))?;
    let signature = Signature::try_from(word.signature.clone()).map_err(|_| bad("no signature"))?;
    let leaves = word.leaves.parse().map_err(|_| bad("`leaves` is no hash"))?;
    let known = app.store.plan(plan).await?.ok_or_else(|| Problem::not_found("plan", &plan.to_string()))?;
    let root = known.leaves_root().map_err(|error| Problem::internal("hashing a plan", &error))?;
    if root != leaves {
        return Err(bad("it is about other leaves than the plan's"));
    }
    let signed = Signed { body: PlanApproval { plan: *plan, leaves, until: word.until }, key, signature };
    signed.open(&key).map_err(|error| bad(&error.to_string()))?;
    if word.until <= app.now() {
        return Err(bad("its time is over"));
    }
    Ok(signed)
}

/// Says yes to a plan by its hash. It starts once everybody who must has said so.
pub(crate) async fn approve(app: &App, visitor: &Visitor, id: &str, wanted: &Approve) -> Result<Remediation, Problem> {
    let row = row(app, id).await?;
    let plan: Digest = wanted
        .plan_hash
        .parse()
        .map_err(|_| Problem::bad_request("`plan_hash` is not a hash: expected 64 hexadecimal digits"))?;
    let record = Record::read(&row.body);
    let now = app.now();
    let who = principal(app, visitor).await?;
    let assets = assets_of(app, &row).await?;
    let suggested = record.decided.as_ref().is_some_and(|decided| decided.mode == Mode::Suggest);
    let power = if suggested { Power::Operate } else { Power::Approve };
    if !assets.iter().all(|asset| visitor.access.may(power, asset) || visitor.access.may(Power::Approve, asset)) {
        return Err(Problem::forbidden("this needs a role that may say yes, for everything it touches")
            .hint("ask an administrator for the role"));
    }
    let signed = match &wanted.signed {
        Some(word) => Some(signed(app, &plan, word).await?),
        None => None,
    };
    let until = record.rollout.as_ref().and_then(|rollout| rollout.terms.approved_until(now));
    let until = until.into_iter().chain(signed.as_ref().map(|word| word.body.until)).min();
    let before = app.store.approvals(&plan).await?.into_iter().find(|one| one.actor == who);
    // Whoever says yes once more does not take back what they signed.
    let signed = signed.or_else(|| before.and_then(|one| one.signed).filter(|word| now < word.body.until));
    let word = Approval {
        plan,
        actor: who.clone(),
        verdict: ApprovalVerdict::Approved,
        reason: String::new(),
        at: now,
        expires_at: until,
        signed,
    };
    if row.plan != Some(plan) || row.state != RemediationState::AwaitingApproval {
        // The machine knows best why not.
        take(app, &row.id, &visitor.name, Event::Approved { plan, by: actor(&who), until }, Vec::new()).await?;
        return shown(app, id).await;
    }
    let mut approvals = approvals(app, &row, &record).await?;
    let (authors, roles) = (authors(app, &row, &record), roles(&visitor.access, &assets));
    let mut counted = approvals.needs.is_empty();
    // Whoever signs anew takes the place of what they signed before.
    let others = approvals.spoken.iter().filter(|one| one.actor != who);
    let spoken: Vec<Approval> = others.chain([&word]).cloned().collect();
    approvals.signatures = signatures(app, &row, &spoken).await?;
    for (quorum, by) in &mut approvals.needs {
        let author = quorum.exclude_author && authors.contains(&who);
        if !author && roles.iter().any(|role| quorum.roles.contains(role)) {
            by.insert(who.clone());
            counted = true;
        }
    }
    if !counted {
        let why = if authors.contains(&who) {
            "whoever asked for a change, or wrote its policy, does not approve it"
        } else {
            "your roles are none of those that have to agree"
        };
        return Err(Problem::forbidden(why).hint(approvals.missing().unwrap_or_default()));
    }
    if approvals.are_enough() {
        // The first approval to run out bounds the start.
        let yes = approvals.spoken.iter().filter(|one| one.counts(now) && one.actor != who);
        let until = yes.filter_map(|one| one.expires_at).chain(until).min();
        let event = Event::Approved { plan, by: actor(&who), until };
        take(app, &row.id, &visitor.name, event, vec![Write::PutApproval(word)]).await?;
    } else {
        let entry = NewEntry::new(now, &visitor.name, "approval_given")
            .about(&row.id)
            .with(serde_json::json!({ "missing": approvals.missing() }))
            .resting_on("plan", plan);
        app.store.commit(Transition::new(entry).write(Write::PutApproval(word))).await?;
        let id = row.id.to_string();
        let text = format!("{who} approved; {} still", approvals.missing().unwrap_or_default());
        app.bus.tell(Live { kind: "remediation", subject: id.clone(), remediation: Some(id), text });
        // Two may have spoken at once, neither seeing the other.
        let all = self::approvals(app, &row, &record).await?;
        if all.are_enough() {
            let until = all.spoken.iter().filter(|one| one.counts(now)).filter_map(|one| one.expires_at).min();
            let event = Event::Approved { plan, by: actor(&who), until };
            take(app, &row.id, &visitor.name, event, Vec::new()).await?;
        }
    }
    shown(app, id).await
}

/// Answers whether what was done by itself may stay.
pub(crate) async fn answer(
    app: &App,
    visitor: &Visitor,
    id: &str,
    wanted: AnswerConfirmation,
) -> Result<Remediation, Problem> {
    let row = row(app, id).await?;
    let mut record = Record::read(&row.body);
    let rollout = record.rollout.clone();
    let asked: BTreeSet<Role> =
        rollout.iter().flat_map(|rollout| rollout.questions.iter().map(|question| question.asked)).collect();
    if asked.is_empty() {
        return Err(Problem::conflict("wrong_state", "nobody is asked about it"));
    }
    let assets = assets_of(app, &row).await?;
    let may = |role: &Role| held(&visitor.access, *role, &assets);
    let Some(role) = asked.iter().copied().find(|role| may(role)) else {
        let names: Vec<&str> = asked.iter().map(|role| role.name()).collect();
        return Err(Problem::forbidden(format!("asked is {}, for everything it touched", names.join(" or "))));
    };
    let answer = match wanted.answer.as_str() {
        "confirm" => ConfirmAnswer::Confirm,
        "undo" => ConfirmAnswer::Undo,
        "except" => ConfirmAnswer::Except,
        other => {
            let shown: String = other.chars().take(32).collect();
            return Err(Problem::bad_request(format!("`{shown}` is no answer: confirm, undo or except")));
        }
    };
    let who = principal(app, visitor).await?;
    if answer != ConfirmAnswer::Confirm {
        let now = app.now();
        let items = rollout.iter().flat_map(|rollout| rollout.tasks.iter().flat_map(|task| task.items.clone()));
        record.undo = Some(crate::record::Undo {
            items: items.collect(),
            by: visitor.name.clone(),
            reason: reason(wanted.reason.as_deref(), "should not have been done"),
            at: now,
            lifted: false,
        });
        let edit = stanch_store::remediation::EditRemediation {
            id: row.id.clone(),
            generation: row.generation,
            waiting: row.waiting.clone(),
            body: Some(record.write()),
            at: now,
        };
        app.store.put(Write::EditRemediation(edit)).await?;
    }
    let event = Event::Answered { answer, role, by: actor(&who) };
    take(app, &row.id, &visitor.name, event, Vec::new()).await?;
    shown(app, id).await
}

/// Whether somebody holds a role, or one that stands for it, over all of these.
fn held(access: &Access, role: Role, assets: &[Asset]) -> bool {
    let stands_for = |mine: Role| mine == role || mine == Role::Admin;
    let power = if role.allows(Power::Approve) { Power::Approve } else { Power::Operate };
    !assets.is_empty()
        && assets.iter().all(|asset| {
            access.may(power, asset) && access.held().any(|held| stands_for(held.role) && held.scope.covers(asset))
        })
}

/// Everybody who may end a hold: what tells whether a second person exists.
pub(super) async fn able_to_release(app: &App) -> Result<BTreeMap<String, Access>, Problem> {
    let mut able = BTreeMap::new();
    for person in app.store.people().await? {
        if person.state != PersonState::Enabled {
            continue;
        }
        let access = app.store.access(&person.id).await?;
        if access.may_everywhere(Power::Operate) {
            able.insert(person.name.to_string(), access);
        }
    }
    Ok(able)
}

/// Under which name somebody is counted when different people are asked for.
pub(super) async fn counted_as(app: &App, visitor: &Visitor) -> Result<String, Problem> {
    principal(app, visitor).await
}

//! A checked policy: what its file says, with every name resolved and every condition behind the fence.

use std::collections::BTreeSet;
use std::sync::Arc;

use stanch_model::decision::Mode;
use stanch_model::plan::Limits;
use stanch_model::terms::{
    CatchUp, ChangeTerm, Confirm, FreezeTerm, HaltIf, PromoteFrom, Quorum, RingSize, RingTerm, Terms, WindowTerm,
};

use crate::document::{
    ApprovalsDoc, CatchUpDoc, FreezeDoc, LimitsDoc, OtherUpdaters, PolicyDoc, RolloutDoc, RuleDoc, Then, WaveDoc,
};
use crate::expr::{Condition, names};
use crate::facts;
use crate::playbook::{Doing, named};
use crate::problem::{At, Grade};
use crate::read::{Located, Reader, Seconds};
use crate::selector::Selector;
use crate::trial::Trial;

/// Rules of one policy.
const MAX_RULES: usize = 200;
/// Rings of one rollout.
const MAX_WAVES: usize = 20;

/// What a rule does when it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Grants this mode, and nothing above it.
    Mode(Mode),
    /// Grants nothing and lets nothing rise above this.
    AtMost(Mode),
}

impl Grant {
    /// The mode it speaks of.
    pub const fn mode(self) -> Mode {
        match self {
            Self::Mode(mode) | Self::AtMost(mode) => mode,
        }
    }
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name in the bundle, `policy/rule`.
    pub path: String,
    /// What it is for.
    pub description: Option<String>,
    /// Facts without which it cannot be decided, by their place in the table.
    pub(crate) requires: Vec<usize>,
    /// The condition; none holds always.
    pub when: Option<Condition>,
    /// What it does.
    pub grant: Grant,
    /// Who must agree, when its mode is approve.
    pub approvals: Option<Quorum>,
    /// It grants nothing before the version that closes the item has been offered for so long.
    pub wait: Option<Wait>,
    pub(crate) at: At,
    pub(crate) when_at: At,
}

/// How long a rule waits for a patch to be old enough.
#[derive(Debug, Clone)]
pub struct Wait {
    /// So many seconds.
    pub seconds: u32,
    /// When it does not.
    pub unless: Option<Condition>,
}

impl Rule {
    /// Paths of the facts it asks for or requires.
    pub fn asks_for(&self) -> BTreeSet<&'static str> {
        let asked = self.when.as_ref().map(Condition::paths).unwrap_or_default();
        let unless = self.wait.as_ref().and_then(|wait| wait.unless.as_ref()).map(Condition::paths).unwrap_or_default();
        names(asked).chain(names(unless)).chain(names(&self.requires)).collect()
    }
}

/// A window, as stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The calendar's name in the bundle.
    pub calendar: String,
    /// The time zone of its local times.
    pub tz: Option<String>,
    /// A step must also end inside.
    pub must_finish_inside: bool,
    pub(crate) at: At,
}

/// A freeze, as stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// What holds.
    pub term: FreezeTerm,
    /// The time zone of its local times.
    pub tz: Option<String>,
    pub(crate) at: At,
}

/// A checked policy.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Who wrote it.
    pub author: Option<String>,
    /// It decides nothing: what would be decided with it is kept beside what is decided.
    pub shadow: bool,
    /// What it is about.
    pub select: Selector,
    /// Its rules, in the order of the file.
    pub rules: Vec<Rule>,
    /// What it does.
    pub doing: Doing,
    /// What a rule that cannot be decided falls back to.
    pub on_error: Mode,
    /// Its windows.
    pub windows: Vec<Window>,
    /// Its freezes.
    pub freezes: Vec<Freeze>,
    /// The rollout must be able to end within so many seconds.
    pub deadline_seconds: Option<u32>,
    /// What it does where another program changes packages too.
    pub other_updaters: Option<OtherUpdaters>,
    /// What it binds what it grants to; what it does not state has the built-in limit.
    pub(crate) granting: Terms,
    /// What it binds what others grant to; what it does not state is not limited.
    pub(crate) capping: Terms,
    pub(crate) trials: Vec<Trial>,
    pub(crate) file: Arc<str>,
    pub(crate) at: At,
    pub(crate) select_at: At,
    pub(crate) limits_at: Option<At>,
    pub(crate) rollout_at: Option<At>,
}

impl Policy {
    /// What it binds what it grants to.
    pub const fn terms(&self) -> &Terms {
        &self.granting
    }

    /// Whether it has other programs switched off that change packages where it does.
    pub fn takes_over(&self) -> bool {
        self.other_updaters == Some(OtherUpdaters::TakeOver)
    }

    /// How many tests of its own it has.
    pub fn tests(&self) -> usize {
        self.trials.len()
    }

    pub(crate) fn from_doc(doc: PolicyDoc, reader: &mut Reader<'_>) -> Option<Self> {
        let name = doc.name.value.0.clone();
        let rules = rules(&name, &doc.rules, reader);
        let windows: Vec<Window> = doc
            .windows
            .iter()
            .map(|window| Window {
                calendar: window.value.calendar.value.clone(),
                tz: window.value.tz.clone(),
                must_finish_inside: window.value.must_finish_inside,
                at: window.at,
            })
            .collect();
        let freezes: Option<Vec<Freeze>> = doc.freezes.iter().map(|freeze| freeze_of(freeze, reader)).collect();
        let rings = doc.rollout.as_ref().map_or(Some(Vec::new()), |rollout| rings(&rollout.value, reader));
        let doing = match (doc.actions, doc.playbook) {
            (Some(steps), Some(_)) => {
                let remedy = "keep one of `actions` and `playbook`";
                reader.error(
                    steps.at,
                    "playbook-twice",
                    "the policy has a playbook in place and names another",
                    remedy,
                );
                return None;
            }
            (Some(steps), None) => Doing::Steps(crate::playbook::steps(steps.value, steps.at, reader)?),
            (None, Some(playbook)) => named(playbook.value),
            (None, None) => Doing::Catalogue,
        };
        let trials: Option<Vec<Trial>> = doc.tests.iter().map(|test| Trial::from_doc(test, reader)).collect();
        let catch_up = catch_up(doc.catch_up.as_ref(), !windows.is_empty(), reader);
        let (rules, freezes, rings, trials, catch_up) = (rules?, freezes?, rings?, trials?, catch_up?);
        let stated = Terms {
            approvals: BTreeSet::new(),
            windows: windows
                .iter()
                .map(|one| WindowTerm { calendar: one.calendar.clone(), must_finish_inside: one.must_finish_inside })
                .collect(),
            catch_up,
            // The same calendar twice lets through only what both let through.
            freezes: freezes.iter().fold(BTreeSet::new(), |all, freeze| {
                let one = Terms { freezes: BTreeSet::from([freeze.term.clone()]), ..Terms::default() };
                Terms { freezes: all, ..Terms::default() }.and(one).freezes
            }),
            limits: limits(doc.limits.as_ref(), Limits::default()),
            rings,
            halt_if: halt_if(doc.rollout.as_ref(), HaltIf::default()),
            promote_from: doc
                .promote_from
                .iter()
                .map(|from| PromoteFrom {
                    environment: from.environment.clone(),
                    verified_seconds: from.verified_for.0,
                })
                .collect(),
            changes: doc
                .change
                .iter()
                .map(|change| ChangeTerm { connection: change.connection.0.clone(), class: change.class })
                .collect(),
            confirm: doc
                .confirm
                .iter()
                .map(|confirm| Confirm {
                    by: confirm.by,
                    within_seconds: confirm.within.0,
                    unanswered: confirm.unanswered,
                })
                .collect(),
            // A rule that waits says it.
            min_age_seconds: 0,
            // A plan states them, once it is known what it takes away.
            outages: BTreeSet::new(),
        };
        let capping = Terms {
            limits: limits(doc.limits.as_ref(), UNLIMITED),
            halt_if: halt_if(doc.rollout.as_ref(), NEVER_HALTS),
            ..stated.clone()
        };
        let metadata = doc.metadata;
        let told = |pick: fn(&crate::document::MetadataDoc) -> Option<String>| metadata.as_ref().and_then(pick);
        Some(Self {
            name,
            description: told(|metadata| metadata.description.clone()),
            owner: told(|metadata| metadata.owner.clone()),
            author: told(|metadata| metadata.author.clone()),
            shadow: doc.shadow,
            select: Selector::from(&doc.select.value),
            rules,
            doing,
            on_error: doc.on_error.0,
            windows,
            freezes,
            deadline_seconds: doc.rollout.as_ref().and_then(|one| one.value.deadline.as_ref()).map(|one| one.value.0),
            other_updaters: doc.other_updaters,
            granting: stated,
            capping,
            trials,
            file: Arc::clone(reader.file()),
            at: doc.name.at,
            select_at: doc.select.at,
            limits_at: doc.limits.as_ref().map(|limits| limits.at),
            rollout_at: doc.rollout.as_ref().map(|rollout| rollout.at),
        })
    }
}

/// People are told after so many missed windows where the policy does not say.
const TELL_AFTER: u32 = 3;

/// What a policy that only limits says of limits it does not state: nothing.
pub(crate) const UNLIMITED: Limits = Limits {
    concurrent: u32::MAX,
    per_hour: u32::MAX,
    disrupted_percent: 100,
    max_attempts: u32::MAX,
    cooldown_seconds: 0,
};

const NEVER_HALTS: HaltIf =
    HaltIf { failed: u32::MAX, failed_percent: 100, failed_in_first_wave: u32::MAX, inconclusive_seconds: u32::MAX };

fn limits(doc: Option<&Located<LimitsDoc>>, otherwise: Limits) -> Limits {
    let Some(doc) = doc.map(|doc| &doc.value) else { return otherwise };
    Limits {
        concurrent: doc.concurrent.map_or(otherwise.concurrent, |one| one.0),
        per_hour: doc.per_hour.map_or(otherwise.per_hour, |one| one.0),
        disrupted_percent: doc.disrupted_percent.map_or(otherwise.disrupted_percent, |one| percent(one.0)),
        max_attempts: doc.max_attempts.map_or(otherwise.max_attempts, |one| one.0),
        cooldown_seconds: doc.cooldown.map_or(otherwise.cooldown_seconds, |one| one.0),
    }
}

fn halt_if(doc: Option<&Located<RolloutDoc>>, otherwise: HaltIf) -> HaltIf {
    let Some(doc) = doc.and_then(|doc| doc.value.halt_if.as_ref()) else { return otherwise };
    HaltIf {
        failed: doc.failed.map_or(otherwise.failed, |one| one.0),
        failed_percent: doc.failed_percent.map_or(otherwise.failed_percent, |one| percent(one.0)),
        failed_in_first_wave: doc.failed_in_first_wave.map_or(otherwise.failed_in_first_wave, |one| one.0),
        inconclusive_seconds: doc.inconclusive_for.map_or(otherwise.inconclusive_seconds, |one| one.0),
    }
}

/// The file's bounds keep it at 100 and below.
fn percent(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(100)
}

/// What becomes of a target that missed its window: `None` when what is written cannot be meant. Whoever states windows
/// and nothing else has a word too: it waits.
fn catch_up(doc: Option<&Located<CatchUpDoc>>, windows: bool, reader: &mut Reader<'_>) -> Option<Option<CatchUp>> {
    let Some(Located { value, at }) = doc else { return Some(windows.then(CatchUp::default)) };
    let mut wrong = |message: &str, remedy: &str| {
        reader.error(*at, "catch-up", message, remedy);
        None
    };
    if !windows {
        return wrong("there is no window that could be missed", "state `windows:`, or leave `catch_up` out");
    }
    match (value.then, value.within) {
        (Then::RunWhenBack, None | Some(Seconds(0))) => {
            return wrong("it is not said how long after its return it may start", "add `within: 4h`");
        }
        (Then::Wait | Then::Escalate, Some(_)) => {
            return wrong("`within` is for what runs outside of its window", "write `then: run_when_back`");
        }
        _ => {}
    }
    let told = value.tell_after.map(|one| one.0);
    Some(Some(CatchUp {
        run_within_seconds: value.within.map_or(0, |within| within.0),
        tell_after: told.unwrap_or(if value.then == Then::Escalate { TELL_AFTER } else { 0 }),
    }))
}

fn freeze_of(freeze: &Located<FreezeDoc>, reader: &mut Reader<'_>) -> Option<Freeze> {
    let calendar = match (&freeze.value.calendar, &freeze.value.ics) {
        (Some(one), None) => one.value.clone(),
        (None, Some(file)) => file.value.strip_suffix(".ics").unwrap_or(&file.value).to_owned(),
        _ => {
            let remedy = "write `calendar: NAME` or `ics: FILE.ics`";
            reader.error(freeze.at, "freeze", "a freeze names exactly one calendar", remedy);
            return None;
        }
    };
    let term = FreezeTerm { calendar, allow: freeze.value.allow.iter().copied().collect() };
    Some(Freeze { term, tz: freeze.value.tz.clone(), at: freeze.at })
}

fn rings(rollout: &RolloutDoc, reader: &mut Reader<'_>) -> Option<Vec<RingTerm>> {
    let waves = &rollout.waves;
    if waves.value.is_empty() || waves.value.len() > MAX_WAVES {
        let message = format!("a rollout has 1 to {MAX_WAVES} waves");
        reader.error(waves.at, "waves", message, "write the smallest ring first and {percent: 100} last");
        return None;
    }
    let rings: Option<Vec<RingTerm>> = waves.value.iter().map(|wave| ring(wave, reader)).collect();
    let rings = rings?;
    let mut last = 0;
    for (ring, wave) in rings.iter().zip(&waves.value) {
        if let RingSize::Percent(percent) = ring.size {
            if percent <= last {
                let message = format!("this wave ends at {percent} percent, and the one before at {last}");
                reader.error(wave.at, "waves", message, "percentages count from the start and grow");
                return None;
            }
            last = percent;
        }
    }
    let ends = rings.last().is_some_and(|ring| ring.size == RingSize::Percent(100));
    if !ends {
        let remedy = "end with {percent: 100}";
        reader.error(waves.at, "waves", "the last wave does not reach every target", remedy);
        return None;
    }
    Some(rings)
}

fn ring(wave: &Located<WaveDoc>, reader: &mut Reader<'_>) -> Option<RingTerm> {
    let doc = &wave.value;
    let size = match (doc.percent, doc.count, &doc.label) {
        (Some(one), None, None) => RingSize::Percent(percent(one.0)),
        (None, Some(count), None) => RingSize::Count(count.0),
        (None, None, Some(label)) => RingSize::Label(label.clone()),
        _ => {
            let remedy = "write exactly one of percent, count and label";
            reader.error(wave.at, "waves", "the wave has no size, or more than one", remedy);
            return None;
        }
    };
    Some(RingTerm { size, min: doc.min.0, bake_seconds: doc.bake.unwrap_or(Seconds(0)).0 })
}

fn rules(policy: &str, docs: &Located<Vec<Located<RuleDoc>>>, reader: &mut Reader<'_>) -> Option<Vec<Rule>> {
    if docs.value.is_empty() || docs.value.len() > MAX_RULES {
        let message = format!("a policy has 1 to {MAX_RULES} rules");
        reader.error(docs.at, "rules", message, "write at least one rule with an id and a mode");
        return None;
    }
    let rules: Vec<Option<Rule>> = docs.value.iter().map(|doc| rule(policy, doc, reader)).collect();
    let mut seen = BTreeSet::new();
    let mut once = true;
    for doc in &docs.value {
        let id = &doc.value.id;
        if !seen.insert(&id.value) {
            once = false;
            reader.error(id.at, "rule-twice", format!("there are two rules `{}`", id.value.0), "give each its own id");
        }
    }
    rules.into_iter().collect::<Option<Vec<Rule>>>().filter(|_| once)
}

fn rule(policy: &str, located: &Located<RuleDoc>, reader: &mut Reader<'_>) -> Option<Rule> {
    let doc = &located.value;
    let grant = match (&doc.mode, &doc.at_most) {
        (Some(mode), None) => Some(Grant::Mode(mode.value)),
        (None, Some(most)) => Some(Grant::AtMost(most.value)),
        _ => {
            let remedy = "write `mode:` to grant, or `at_most:` to limit what other rules grant";
            reader.error(doc.id.at, "rule-mode", "a rule has exactly one of `mode` and `at_most`", remedy);
            None
        }
    };
    let mut requires = Vec::new();
    let mut whole = true;
    for path in &doc.requires {
        match facts::find(&path.value) {
            Some((index, _)) => requires.push(index),
            None => {
                whole = false;
                let error = facts::BadFact::UnknownPath { path: path.value.chars().take(64).collect() };
                reader.error(path.at, "unknown-path", error.to_string(), error.remedy());
            }
        }
    }
    requires.sort_unstable();
    requires.dedup();
    let when_at = doc.when.as_ref().map_or(doc.id.at, |when| when.at);
    let when = match &doc.when {
        None => None,
        Some(source) => match Condition::compile(&source.value, &requires) {
            Ok(condition) => {
                whole &= sound(&condition, grant, source.at, reader);
                Some(condition)
            }
            Err(flaws) => {
                for flaw in flaws {
                    let at = reader.locate(source.at, &flaw.piece);
                    reader.error(at, flaw.code, flaw.message, flaw.remedy);
                }
                whole = false;
                None
            }
        },
    };
    let approve = grant == Some(Grant::Mode(Mode::Approve));
    let approvals = match &doc.approvals {
        Some(approvals) if !approve => {
            let remedy = "leave `approvals` out, or write mode: approve";
            reader.error(approvals.at, "approvals", "only a rule with mode approve asks for approvals", remedy);
            return None;
        }
        Some(approvals) => Some(quorum(approvals, reader)?),
        None => approve.then(Quorum::default),
    };
    let wait = match (&doc.wait_for_age, &doc.no_wait_when) {
        (Some(age), _) if !matches!(grant, Some(Grant::Mode(mode)) if mode > Mode::Alert) => {
            let remedy = "leave `wait_for_age` out, or write a mode that has something prepared";
            reader.error(age.at, "wait", "only a rule that grants something can wait with it", remedy);
            return None;
        }
        (None, Some(unless)) => {
            reader.error(unless.at, "wait", "nothing waits here", "add `wait_for_age: 3d`");
            return None;
        }
        (None, None) => None,
        (Some(age), None) => Some(Wait { seconds: age.value.0, unless: None }),
        (Some(age), Some(source)) => match Condition::compile(&source.value, &requires) {
            Ok(unless) => {
                whole &= sound(&unless, grant, source.at, reader);
                Some(Wait { seconds: age.value.0, unless: Some(unless) })
            }
            Err(flaws) => {
                for flaw in flaws {
                    let at = reader.locate(source.at, &flaw.piece);
                    reader.error(at, flaw.code, flaw.message, flaw.remedy);
                }
                return None;
            }
        },
    };
    let grant = grant.filter(|_| whole)?;
    let path = format!("{policy}/{}", doc.id.value.0);
    let (description, at) = (doc.description.clone(), doc.id.at);
    Some(Rule { path, description, requires, when, grant, approvals, wait, at, when_at })
}

/// Refuses what would make a missing fact look like a yes or hide it.
fn sound(condition: &Condition, grant: Option<Grant>, at: At, reader: &mut Reader<'_>) -> bool {
    for (index, operator) in condition.hidden() {
        let path = names(&[*index]).next().unwrap_or_default();
        let place = reader.locate(at, path);
        let message = format!("`{path}` may be unknown, and `{operator}` can hide that");
        let remedy = format!("add {path} to `requires`, or write has({path}) && ... around it");
        reader.tell(Grade::Error, place, "nullable-hidden", message, remedy);
    }
    let acts = matches!(grant, Some(Grant::Mode(mode)) if mode > Mode::Suggest);
    if let Some(index) = condition.asks_absence()
        && acts
    {
        let path = names(&[index]).next().unwrap_or_default();
        let place = reader.locate(at, path);
        let message = format!("the rule would act because `{path}` is not known");
        let remedy = "let what is unknown be suggested: give this part to a rule with mode suggest or alert";
        reader.error(place, "acts-on-unknown", message, remedy);
        return false;
    }
    condition.hidden().is_empty()
}

fn quorum(approvals: &Located<ApprovalsDoc>, reader: &mut Reader<'_>) -> Option<Quorum> {
    let doc = &approvals.value;
    let otherwise = Quorum::default();
    let roles = match &doc.roles {
        Some(roles) if roles.value.is_empty() => {
            reader.error(roles.at, "approvals", "nobody may approve this", "name at least one role");
            return None;
        }
        Some(roles) => roles.value.iter().copied().collect(),
        None => otherwise.roles,
    };
    Some(Quorum {
        count: u8::try_from(doc.quorum.0).unwrap_or(u8::MAX),
        roles,
        exclude_author: doc.exclude_author,
        expires_seconds: doc.expires.map_or(otherwise.expires_seconds, |one| one.0),
    })
}

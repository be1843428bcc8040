//! From facts to a decision. The lowest mode among the rules that fired wins; a rule that holds others back never
//! vanishes because something is unknown; what nobody granted is not done.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use stanch_model::When;
use stanch_model::decision::{Abstained, Accepted, Decision, Effect, InShadow, Mode, RuleWord};
use stanch_model::id::ItemId;
use stanch_model::posture::OTHER_UPDATERS as OTHER_UPDATERS_CHECK;
use stanch_model::terms::{Quorum, Terms};

use crate::bundle::Bundle;
use crate::document::OtherUpdaters;
use crate::exception::{Acceptance, acceptance};
use crate::expr::{Answer, Inputs, names};
use crate::facts::{Facts, Value};
use crate::policy::{Grant, Policy, Rule};
use crate::selector::Selected;

/// What one rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Grants {
        mode: Mode,
        beside: Option<String>,
        /// So many seconds what is brought must have been offered for.
        age: u32,
    },
    Caps(Mode),
    Undecided {
        mode: Mode,
        missing: Option<&'static str>,
        why: String,
    },
    /// It would grant, and waits for the patch to be older.
    Waits(String),
    /// It grants less than it would, because another program changes packages there too.
    StandsBack {
        mode: Mode,
        missing: Option<&'static str>,
        why: String,
    },
    Silent(String),
}

/// Everything that was found out about an item; a decision keeps a bounded part of it.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) words: Vec<RuleWord>,
    pub(crate) abstained: Vec<Abstained>,
    pub(crate) missing: BTreeSet<&'static str>,
    granted: Option<Mode>,
    cap: Option<Mode>,
    terms: Option<Terms>,
    /// Keep the reasons of all silent rules.
    all: bool,
}

impl Bundle {
    /// Decides for one item and its candidate action.
    pub fn decide(&self, item: &ItemId, facts: &Facts, now: Timestamp) -> Decision {
        self.decide_among(item, facts, now, &self.index.candidates(facts))
    }

    /// The same decision, made by asking every policy: for measuring the index, and for holding it to its word.
    pub fn decide_without_index(&self, item: &ItemId, facts: &Facts, now: Timestamp) -> Decision {
        let all: Vec<usize> = (0..self.policies().len()).collect();
        self.decide_among(item, facts, now, &all)
    }

    fn decide_among(&self, item: &ItemId, facts: &Facts, now: Timestamp, candidates: &[usize]) -> Decision {
        let of_shadow = |at: &usize| self.policies().get(*at).is_some_and(|policy| policy.shadow);
        let (shadow, in_force): (Vec<usize>, Vec<usize>) = candidates.iter().partition(|at| of_shadow(at));
        let decision = self.conclude(item, facts, now, self.weigh(facts, now, &in_force, false));
        if shadow.is_empty() {
            return decision;
        }
        let with = self.conclude(item, facts, now, self.weigh(facts, now, candidates, false));
        let shadow: Vec<&str> = shadow.iter().filter_map(|at| Some(self.policies().get(*at)?.name.as_str())).collect();
        let theirs = |word: &RuleWord| word.rule.split_once('/').is_some_and(|(policy, _)| shadow.contains(&policy));
        let words: Vec<RuleWord> = with.fired.into_iter().filter(theirs).collect();
        if words.is_empty() {
            return decision;
        }
        Decision { shadow: Some(InShadow { mode: with.mode, reason: with.reason, words }), ..decision }
    }

    /// The policy whose steps are taken: of those that grant what is decided, the first in the bundle that has any.
    fn playbook_of(&self, words: &[RuleWord]) -> Option<String> {
        let granted = || words.iter().filter(|word| word.effect == Effect::Grants);
        let least = granted().map(|word| word.mode).min()?;
        let policies = granted().filter(|word| word.mode == least).filter_map(|word| {
            let name = word.rule.split_once('/').map(|(policy, _)| policy)?;
            self.policy(name)
        });
        policies.into_iter().find(|policy| self.steps(policy).is_some()).map(|policy| policy.name.clone())
    }

    /// A decision about a problem on one asset, bound by what holds for another asset that an act on it would be done
    /// on. Nothing is granted there; what any rule that has a word there allows less, is less.
    #[must_use]
    pub fn beside(&self, own: Decision, facts: &Facts, now: Timestamp) -> Decision {
        let there = self.decide(&own.item, facts, now);
        let bound = self.bound(facts, own.mode);
        let least = there.fired.iter().map(|word| word.mode).min().unwrap_or(own.mode).min(bound);
        let mode = own.mode.min(least);
        if there.fired.is_empty() && mode == own.mode {
            return own;
        }
        let mut fired = own.fired;
        for word in there.fired {
            if !fired.iter().any(|known| known.rule == word.rule) {
                fired.push(word);
            }
        }
        let reason = if mode < own.mode {
            format!("{}; where it would be done no more than {} is allowed", own.reason, mode.name())
        } else {
            own.reason
        };
        Decision { mode, fired, terms: approvals_of(own.terms.and(there.terms), mode), reason, ..own }
    }

    /// What every rule of these policies says. With `all`, also what policies say that are about something else.
    pub(crate) fn weigh(&self, facts: &Facts, now: Timestamp, candidates: &[usize], all: bool) -> Findings {
        let inputs = Inputs::new(facts);
        let mut findings = Findings { all, ..Findings::default() };
        let others = is_of_other_updaters(facts);
        for policy in candidates.iter().filter_map(|at| self.policies().get(*at)) {
            if others && policy.takes_over() && policy.select.selects_place(facts) == Selected::Yes {
                findings.take_over(policy);
            }
            let selected = policy.select.selects(facts);
            if let Selected::No(why) = selected {
                if all {
                    let told = policy.rules.iter().map(|rule| Abstained {
                        rule: rule.path.clone(),
                        reason: format!("the policy is about something else: {why}"),
                    });
                    findings.abstained.extend(told);
                }
                continue;
            }
            for rule in &policy.rules {
                let word = match rule.grant {
                    Grant::Mode(_) if others => Word::Silent("only a policy that takes over grants this".to_owned()),
                    _ => word(policy, rule, &selected, &inputs, now),
                };
                findings.hear(policy, rule, word);
            }
        }
        findings
    }

    /// The most that the caps that are built in leave of a mode, when the data of the item are as fresh as they need to
    /// be.
    pub(crate) fn bound(&self, facts: &Facts, mode: Mode) -> Mode {
        let mut fresh = facts.clone();
        fresh.put("item.stale", Some(Value::Bool(false)));
        let mut findings = Findings { granted: Some(mode), ..Findings::default() };
        findings.built_in(&fresh, self.signed);
        let cap = findings.cap.map_or(mode, |cap| cap.min(mode));
        let one_way = facts.text("action.reversibility").is_none_or(|class| class == "one_way");
        let named = |policy: &Policy| {
            facts.text("action.kind").is_some_and(|kind| policy.select.actions.iter().flatten().any(|one| one == kind))
        };
        if one_way && !self.in_force().any(named) { cap.min(Mode::Approve) } else { cap }
    }

    pub(crate) fn conclude(&self, item: &ItemId, facts: &Facts, now: Timestamp, mut findings: Findings) -> Decision {
        findings.built_in(facts, self.signed);
        let accepted = match acceptance(self.exceptions(), facts, now) {
            Acceptance::None => None,
            Acceptance::Accepted(accepted) => Some(accepted),
            Acceptance::Unknown { exception, missing } => {
                // Where somebody may have accepted the risk, nothing is done without them.
                findings.missing.insert(missing);
                findings.cap = Some(Mode::Alert);
                findings.words.push(RuleWord {
                    rule: format!("exception/{exception}"),
                    effect: Effect::Undecided,
                    mode: Mode::Alert,
                    reason: format!("the risk may be accepted, but `{missing}` is not known"),
                });
                None
            }
        };
        let default = Decision::by_default(item.clone(), now);
        let base = findings.granted.unwrap_or(default.mode);
        let mode = if accepted.is_some() { Mode::Alert } else { findings.cap.map_or(base, |cap| cap.min(base)) };
        let reason = reason(&findings, mode, accepted.as_ref(), &default.reason);
        let terms = match (findings.granted, findings.terms) {
            (Some(_), Some(terms)) => terms,
            _ => Terms::default(),
        };
        let by_steps = accepted.is_none() && mode > Mode::Alert && !is_of_other_updaters(facts);
        let playbook = if by_steps { self.playbook_of(&findings.words) } else { None };
        Decision {
            mode,
            playbook,
            action: facts.text("action.kind").map(str::to_owned),
            bundle: Some(self.digest()),
            fired: findings.words,
            abstained: findings.abstained,
            missing: findings.missing.into_iter().map(str::to_owned).collect(),
            accepted,
            terms: approvals_of(terms, mode),
            reason,
            ..default
        }
    }
}

/// What starts by itself waits for nobody; what waits for approval waits for somebody, also where only a cap made it
/// wait and no rule said for whom.
fn approvals_of(mut terms: Terms, mode: Mode) -> Terms {
    if mode == Mode::Auto {
        terms.approvals.clear();
    }
    if mode == Mode::Approve && terms.approvals.is_empty() {
        terms.approvals.insert(Quorum::default());
    }
    terms
}

/// What a rule says, given whether its policy is about the item at all.
fn word(policy: &Policy, rule: &Rule, selected: &Selected, inputs: &Inputs<'_>, now: Timestamp) -> Word {
    let grant = match rule.grant {
        Grant::Mode(mode) => mode.min(reach(policy, inputs.facts())),
        Grant::AtMost(mode) => mode,
    };
    let lowered = grant.min(policy.on_error);
    // Only what nothing stands above can vanish without raising another, and only where it would not have held back:
    // a rule of a policy that may be about this does, whatever it grants.
    let careful = grant < Mode::Auto || matches!(selected, Selected::Unknown(_));
    let answer = match rule.requires.iter().find(|index| inputs.facts().at(**index).is_none()) {
        Some(index) => {
            let missing = names(&[*index]).next();
            Answer::Unknown { missing, why: format!("`{}` is not known", missing.unwrap_or("a fact")) }
        }
        None => rule.when.as_ref().map_or(Answer::Yes, |when| when.answer(inputs, careful)),
    };
    match (selected, answer) {
        (_, Answer::No) => Word::Silent("its condition does not hold".to_owned()),
        (Selected::No(why), _) => Word::Silent((*why).to_owned()),
        (Selected::Unknown(path), _) => Word::Undecided {
            mode: lowered,
            missing: Some(path),
            why: format!("whether the policy is about this cannot be told: `{path}` is not known"),
        },
        (Selected::Yes, Answer::Unknown { missing, why }) => Word::Undecided { mode: lowered, missing, why },
        (Selected::Yes, Answer::Yes) => match rule.grant {
            Grant::Mode(_) => match waits(rule, inputs, now) {
                Ok(age) => beside_others(policy, grant, age, inputs.facts()),
                Err(word) => word,
            },
            Grant::AtMost(_) => Word::Caps(grant),
        },
    }
}

/// What a rule says while the patch is not as old as it wants it; else what age it asks for. Only packages and components
/// have versions that can be old.
fn waits(rule: &Rule, inputs: &Inputs<'_>, now: Timestamp) -> Result<u32, Word> {
    let Some(wait) = &rule.wait else { return Ok(0) };
    let facts = inputs.facts();
    if facts.text("item.kind").is_some_and(|kind| !matches!(kind, "source_package" | "component")) {
        return Ok(0);
    }
    if wait.unless.as_ref().is_some_and(|unless| matches!(unless.answer(inputs, true), Answer::Yes)) {
        return Ok(0);
    }
    let by_age = || match facts.get(FIX_AGE) {
        Some(Value::Int(hours)) => now.checked_sub(SignedDuration::from_hours(*hours)).ok(),
        _ => None,
    };
    let Some(since) = facts.offered_at.or_else(by_age) else {
        let why = "since when the version that closes it is offered is not known".to_owned();
        return Err(Word::Undecided { mode: Mode::Alert, missing: Some(FIX_AGE), why });
    };
    let until = since.checked_add(SignedDuration::from_secs(i64::from(wait.seconds))).unwrap_or(Timestamp::MAX);
    if until <= now {
        return Ok(wait.seconds);
    }
    let (until, since) = (When(until), When(since));
    Err(Word::Waits(format!("it waits until {until}: what closes it was first offered {since}")))
}

/// Whether an item is about other programs that change packages. What becomes of them only `other_updaters` says, and no
/// rule that is about settings in general.
fn is_of_other_updaters(facts: &Facts) -> bool {
    facts.text("item.kind") == Some("setting") && facts.text("item.name") == Some(OTHER_UPDATERS_CHECK.short())
}

const FIX_AGE: &str = "item.fix_age_hours";
const OTHER_UPDATERS: &str = "asset.other_updaters";

/// What a rule grants, where another program may change packages on the asset too.
fn beside_others(policy: &Policy, mode: Mode, age: u32, facts: &Facts) -> Word {
    let plain = Word::Grants { mode, beside: None, age };
    let Some(told) = policy.other_updaters else { return plain };
    if facts.text("action.kind") != Some("package.upgrade") {
        return plain;
    }
    let lowered = mode.min(Mode::Suggest);
    let others = match facts.get(OTHER_UPDATERS) {
        Some(Value::Texts(others)) if others.is_empty() => return plain,
        Some(Value::Texts(others)) => others.join(", "),
        _ if told != OtherUpdaters::Warn => {
            let why = "whether another program changes packages there is not known".to_owned();
            return Word::StandsBack { mode: lowered, missing: Some(OTHER_UPDATERS), why };
        }
        _ => return plain,
    };
    let verb = if others.contains(", ") { "change" } else { "changes" };
    match told {
        OtherUpdaters::StandBack => {
            let why = format!("{others} {verb} packages there too, and the policy stands back");
            Word::StandsBack { mode: lowered, missing: None, why }
        }
        OtherUpdaters::TakeOver => {
            let why =
                format!("{others} {verb} packages there too, and the policy takes over: that is switched off first");
            Word::StandsBack { mode: lowered, missing: None, why }
        }
        OtherUpdaters::Warn => Word::Grants { mode, beside: Some(format!("{others} {verb} packages there too")), age },
    }
}

/// How far a policy can grant at all: what cannot be taken back runs by itself only where a policy names the action.
fn reach(policy: &Policy, facts: &Facts) -> Mode {
    let one_way = facts.text("action.reversibility").is_none_or(|class| class == "one_way");
    let named =
        facts.text("action.kind").is_some_and(|kind| policy.select.actions.iter().flatten().any(|one| one == kind));
    if one_way && !named { Mode::Approve } else { Mode::Auto }
}

impl Findings {
    fn hear(&mut self, policy: &Policy, rule: &Rule, word: Word) {
        let told = |effect, mode, reason: String| RuleWord { rule: rule.path.clone(), effect, mode, reason };
        let holds = match (&rule.description, &rule.when) {
            (Some(description), _) => description.clone(),
            (None, Some(_)) => "its condition holds".to_owned(),
            (None, None) => "it holds for all that the policy is about".to_owned(),
        };
        match word {
            Word::Silent(reason) => {
                if self.all || self.abstained.len() < Decision::MAX_ABSTAINED {
                    self.abstained.push(Abstained { rule: rule.path.clone(), reason });
                }
            }
            Word::Waits(why) => {
                self.granted = Some(Mode::Alert);
                self.words.push(told(Effect::Grants, Mode::Alert, why));
                self.bind(policy.granting.clone());
            }
            Word::StandsBack { mode, missing, why } => {
                self.granted = Some(self.granted.map_or(mode, |granted| granted.min(mode)));
                let effect = if missing.is_some() { Effect::Undecided } else { Effect::Grants };
                self.missing.extend(missing);
                self.words.push(told(effect, mode, why));
                let mut terms = policy.granting.clone();
                terms.approvals.extend(rule.approvals.clone());
                self.bind(terms);
            }
            Word::Grants { mode, beside, age } => {
                self.granted = Some(self.granted.map_or(mode, |granted| granted.min(mode)));
                let lowered = if mode < rule.grant.mode() {
                    "; what cannot be taken back is granted no more by a policy that does not name it"
                } else {
                    ""
                };
                let beside = beside.map(|beside| format!("; {beside}")).unwrap_or_default();
                self.words.push(told(Effect::Grants, mode, format!("{holds}{lowered}{beside}")));
                let mut terms = policy.granting.clone();
                terms.approvals.extend(rule.approvals.clone());
                terms.min_age_seconds = age;
                self.bind(terms);
            }
            Word::Caps(mode) => {
                self.lower(mode);
                self.words.push(told(Effect::Caps, mode, holds));
                self.bind(policy.capping.clone());
            }
            Word::Undecided { mode, missing, why } => {
                self.lower(mode);
                self.missing.extend(missing);
                self.words.push(told(Effect::Undecided, mode, why));
                let mut terms = policy.capping.clone();
                // Whoever might have to agree does have to agree.
                terms.approvals.extend(rule.approvals.clone());
                self.bind(terms);
            }
        }
    }

    /// A policy has other programs switched off where it changes packages: never without somebody who agrees to the plan.
    fn take_over(&mut self, policy: &Policy) {
        let mode = Mode::Approve;
        self.granted = Some(self.granted.map_or(mode, |granted| granted.min(mode)));
        self.words.push(RuleWord {
            rule: format!("{}/take-over", policy.name),
            effect: Effect::Grants,
            mode,
            reason: "the policy takes over from other programs that change packages".to_owned(),
        });
        self.bind(policy.granting.clone());
    }

    fn lower(&mut self, mode: Mode) {
        self.cap = Some(self.cap.map_or(mode, |cap| cap.min(mode)));
    }

    fn bind(&mut self, terms: Terms) {
        self.terms = Some(match self.terms.take() {
            Some(bound) => bound.and(terms),
            None => terms,
        });
    }

    /// Caps that hold in every bundle and that no rule can lift. They are told only where they lower something.
    fn built_in(&mut self, facts: &Facts, signed: bool) {
        let granted = |this: &Self| this.granted.map(|granted| this.cap.map_or(granted, |cap| cap.min(granted)));
        if !signed && granted(self) == Some(Mode::Auto) {
            self.lower(Mode::Approve);
            self.words.push(RuleWord {
                rule: "built-in/unsigned".to_owned(),
                effect: Effect::Caps,
                mode: Mode::Approve,
                reason: "nobody signed the bundle".to_owned(),
            });
        }
        if facts.flag("item.blocked") == Some(true) && granted(self).is_some_and(|effective| effective > Mode::Alert) {
            self.lower(Mode::Alert);
            let why = facts.block.as_deref().unwrap_or("the version that closes it is blocked as a bad patch");
            self.words.push(RuleWord {
                rule: "built-in/bad-patch".to_owned(),
                effect: Effect::Caps,
                mode: Mode::Alert,
                reason: why.to_owned(),
            });
        }
        let known = |path, yes: &'static str, unknown: &'static str, bad: bool| match facts.flag(path) {
            Some(value) if value == bad => Some(yes),
            Some(_) => None,
            None => Some(unknown),
        };
        let caps: [(&str, &'static str, Mode, Option<&str>); 7] = [
            (
                "built-in/new-host",
                "asset.confirmed",
                Mode::Alert,
                known(
                    "asset.confirmed",
                    "nobody has confirmed yet that it is one of ours",
                    "whether it is one of ours is not known",
                    false,
                ),
            ),
            (
                "built-in/stale-data",
                "item.stale",
                Mode::Suggest,
                known("item.stale", "the data it rests on are too old", "how old the data are is not known", true),
            ),
            (
                "built-in/own-parts",
                "asset.own",
                Mode::Approve,
                known("asset.own", "Stanch itself runs here", "whether Stanch itself runs here is not known", true),
            ),
            (
                "built-in/own-packages",
                "item.own",
                Mode::Approve,
                (facts.flag("item.own") == Some(true)).then_some("it changes Stanch itself"),
            ),
            (
                "built-in/asks-signatures",
                "asset.asks_signatures",
                Mode::Approve,
                known(
                    "asset.asks_signatures",
                    "its executor begins nothing that nobody signed for",
                    "whether its executor asks for signed approvals is not known",
                    true,
                ),
            ),
            (
                "built-in/relied-on",
                "item.caution",
                Mode::Approve,
                // Of what is no setting nothing is said.
                (facts.flag("item.caution") == Some(true)).then_some("something may rely on the setting as it is"),
            ),
            (
                "built-in/unproven",
                "action.proven",
                Mode::Approve,
                known(
                    "action.proven",
                    "the action is not proven on this system",
                    "whether the action is proven on this system is not known",
                    false,
                ),
            ),
        ];
        for (rule, path, mode, reason) in caps {
            let Some(reason) = reason else { continue };
            if granted(self).is_none_or(|effective| effective <= mode) {
                continue;
            }
            self.lower(mode);
            let undecided = facts.get(path).is_none();
            if undecided {
                self.missing.insert(path);
            }
            let effect = if undecided { Effect::Undecided } else { Effect::Caps };
            self.words.push(RuleWord { rule: rule.to_owned(), effect, mode, reason: reason.to_owned() });
        }
    }
}

/// Why, in a sentence: the word that decided.
fn reason(findings: &Findings, mode: Mode, accepted: Option<&Accepted>, default: &str) -> String {
    if let Some(accepted) = accepted {
        return format!("{} accepted the risk until {}: {}", accepted.owner, When(accepted.until), accepted.reason);
    }
    let undecided = findings.words.iter().filter(|word| word.effect == Effect::Undecided).count();
    if findings.granted.is_none() {
        return match findings.words.iter().find(|word| word.effect == Effect::Undecided) {
            Some(first) if undecided == 1 => format!("{default}; {} cannot be decided: {}", first.rule, first.reason),
            Some(first) => {
                format!("{default}; {undecided} rules cannot be decided, the first is {}: {}", first.rule, first.reason)
            }
            None => default.to_owned(),
        };
    }
    let mut decisive = findings.words.iter().filter(|word| word.mode == mode);
    let Some(word) = decisive.clone().find(|word| word.effect != Effect::Grants).or_else(|| decisive.next()) else {
        return default.to_owned();
    };
    let others = findings.words.iter().filter(|other| other.mode == mode).count().saturating_sub(1);
    let also = match others {
        0 => String::new(),
        1 => " (and one more)".to_owned(),
        more => format!(" (and {more} more)"),
    };
    match word.effect {
        Effect::Grants => format!("{} grants {}: {}{also}", word.rule, mode.name(), word.reason),
        Effect::Caps => format!("{} allows no more than {}: {}{also}", word.rule, mode.name(), word.reason),
        Effect::Undecided => {
            format!("{} cannot be decided and allows no more than {}: {}{also}", word.rule, mode.name(), word.reason)
        }
    }
}

/// The value of a fact in words, for explanations.
pub(crate) fn shown(facts: &Facts, path: &str) -> String {
    facts.get(path).map_or_else(|| "unknown".to_owned(), Value::to_string)
}

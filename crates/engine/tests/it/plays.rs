//! Scripted plays: what happens line by line, with the states and effects that follow.
//!
//! A line is one event. Hosts are `web-1`, `web-2` ...; each has the items `openssl` and `bind9`. A host speaks for the
//! newest order of the kind that its word answers.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use stanch_engine::blocked::Blocked;
use stanch_engine::breaker::{self, Admission};
use stanch_engine::hold::Brought;
use stanch_engine::plan::{PlanInput, Target, assemble};
use stanch_engine::rollout::{
    Effect, Environment, Event, Group, Hold, HoldLevel, Openings, Rollout, Surroundings, Word, step,
};
use stanch_engine::verify::{Failure, ItemVerdict, Judgement};
use stanch_model::asset::{AssetKind, asset_id};
use stanch_model::calendar::Interval;
use stanch_model::canonical::Digest;
use stanch_model::id::{ActorId, ItemId, RemediationId};
use stanch_model::item::{Subject, item_id};
use stanch_model::order::CheckOutcome;
use stanch_model::plan::{Reversibility, RuleRef};
use stanch_model::terms::{RingSize, RingTerm, Role, Terms};

use crate::planning::step as planned_step;
use crate::world::now;

pub(crate) struct Play {
    rollout: Rollout,
    now: Timestamp,
    names: Vec<(String, String)>,
    told: String,
}

fn item(host: &str, source: &str) -> ItemId {
    item_id(&asset_id(AssetKind::Host, host), &Subject::SourcePackage { source: source.to_owned() })
}

impl Play {
    fn new(hosts: usize, rings: Vec<RingTerm>) -> Self {
        Self::under(hosts, Terms { rings, ..Terms::default() })
    }

    pub(crate) fn under(hosts: usize, mut terms: Terms) -> Self {
        let actor = ActorId::from_entropy([7; 10]);
        let mut names = vec![(actor.to_string(), "alice".to_owned())];
        let mut targets = Vec::new();
        for number in 1..=hosts {
            let host = format!("web-{number}");
            let asset = asset_id(AssetKind::Host, &host);
            names.push((asset.to_string(), host.clone()));
            let items: Vec<ItemId> = ["bind9", "openssl"].map(|source| item(&host, source)).to_vec();
            for (item, source) in items.iter().zip(["bind9", "openssl"]) {
                names.push((item.to_string(), format!("{host}:{source}")));
            }
            targets.push(Target {
                asset,
                tier: None,
                own: false,
                ring: None,
                items,
                steps: vec![planned_step(Reversibility::Restorable, "installs the earlier version")],
                compliant: Vec::new(),
                refused: Vec::new(),
                suppressed: Vec::new(),
            });
        }
        terms.limits.concurrent = 2;
        let valid_for = SignedDuration::from_hours(24);
        let rules = BTreeSet::from([RuleRef { rule: "night/auto".to_owned(), digest: Digest::from_bytes([5; 32]) }]);
        let (plan, _) = assemble(PlanInput { targets, terms, rules, now: now(), valid_for }).unwrap();
        let mut rollout = Rollout::new(&RemediationId::from_entropy([1; 10]), &plan, Default::default()).unwrap();
        let everywhere = Environment { assets: 100, ..Environment::default() };
        rollout.surroundings.environments.insert(String::new(), everywhere);
        if rollout.terms.min_age_seconds > 0 {
            for task in &mut rollout.tasks {
                let openssl = Subject::SourcePackage { source: "openssl".to_owned() };
                task.brings.extend(Brought::closing(&openssl, "3.0.17-1"));
            }
        }
        for task in &rollout.tasks {
            names.push((task.id.to_string(), "task".to_owned() + &names_of(&names, &task.asset.to_string())));
        }
        Self { rollout, now: now(), names, told: String::new() }
    }

    pub(crate) fn run(mut self, script: &str) -> String {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            writeln!(self.told, "> {line}").unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["wait", seconds] => {
                    self.now = self.now.checked_add(SignedDuration::from_secs(seconds.parse().unwrap())).unwrap();
                    self.feed(Event::Tick);
                }
                ["start"] => (0..3).for_each(|_| self.feed(Event::Tick)),
                _ => {
                    let event = self.event(&words);
                    self.feed(event);
                }
            }
        }
        let mut told = std::mem::take(&mut self.told);
        for (id, name) in &self.names {
            told = told.replace(id, name);
        }
        told
    }

    fn feed(&mut self, event: Event) {
        match step(&self.rollout, event, self.now) {
            Err(illegal) => writeln!(self.told, "  refused: {illegal}").unwrap(),
            Ok((next, effects)) => {
                for told in effects.iter().filter_map(tell) {
                    writeln!(self.told, "    ! {told}").unwrap();
                }
                for (_, blocked) in next.blocked(self.now) {
                    writeln!(self.told, "    ~ {blocked}").unwrap();
                }
                self.rollout = next;
            }
        }
    }

    fn event(&self, words: &[&str]) -> Event {
        let by = ActorId::from_entropy([7; 10]);
        match words {
            ["tick"] => Event::Tick,
            ["submit"] => Event::Submitted,
            ["approve"] => Event::Approved { plan: self.rollout.plan, by, until: None },
            ["approve", "another"] => Event::Approved { plan: Digest::from_bytes([9; 32]), by, until: None },
            ["approve", "for", seconds] => {
                let until = self.now.checked_add(SignedDuration::from_secs(seconds.parse().unwrap())).ok();
                Event::Approved { plan: self.rollout.plan, by, until }
            }
            ["grant"] => Event::Granted { plan: self.rollout.plan },
            ["owner", "says", answer] => {
                let answer = serde_json::from_value(serde_json::json!(answer)).unwrap();
                Event::Answered { answer, role: Role::Owner, by }
            }
            ["staging", "holds"] => self.around(|around| {
                around.held_elsewhere.insert("staging".to_owned(), self.now);
            }),
            ["window", "opens", "for", seconds] => self.around(|around| {
                let until = self.now.checked_add(SignedDuration::from_secs(seconds.parse().unwrap())).unwrap();
                let known_until = self.now.checked_add(SignedDuration::from_hours(48)).unwrap();
                let spans = vec![Interval::new(self.now, until)];
                around.openings = Some(Openings { spans, known_until, why: None });
            }),
            ["windows", "of", seconds, "every", pause] => self.around(|around| {
                let later = |seconds: i64| self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
                let (length, pause): (i64, i64) = (seconds.parse().unwrap(), pause.parse().unwrap());
                let spans = (1..4).map(|n| Interval::new(later(n * pause), later(n * pause + length)));
                around.openings = Some(Openings { spans: spans.collect(), known_until: later(9 * pause), why: None });
            }),
            ["freezes", "end", "for", seconds] => self.around(|around| {
                let until = self.now.checked_add(SignedDuration::from_secs(seconds.parse().unwrap())).unwrap();
                let spans = vec![Interval::new(self.now, until)];
                around.unfrozen = Some(Openings { spans, known_until: until, why: None });
            }),
            ["breaker", "rests", seconds] => self.around(|around| {
                let until = self.now.checked_add(SignedDuration::from_secs(seconds.parse().unwrap())).unwrap();
                around.breakers.insert(breaker::scope("night", "package.upgrade"), Admission::Shut { until });
            }),
            ["breaker", "tries", limit] => self.around(|around| {
                let admission = Admission::Trial { span: "trip/1/stage/1".to_owned(), limit: limit.parse().unwrap() };
                around.breakers.insert(breaker::scope("night", "package.upgrade"), admission);
            }),
            ["undo", "is", "harmless"] => self.around(|around| {
                around.harmless.insert("package.upgrade".to_owned());
            }),
            ["ill", others] => self.around(|around| {
                let failing = (0..others.parse().unwrap()).map(|n| asset_id(AssetKind::Host, &format!("ill-{n}")));
                around.environments.get_mut("").unwrap().failing = failing.collect();
            }),
            ["pair", spare, "with", broken @ ..] => self.around(|around| {
                let broken = broken.iter().map(|host| asset_id(AssetKind::Host, host)).collect();
                let members = self.rollout.tasks.iter().map(|task| task.asset.clone()).collect();
                let min_healthy = spare.parse().unwrap();
                around.groups.insert("pair".to_owned(), Group { members, broken, min_healthy });
            }),
            ["hold", "stop-new"] => Event::HoldChanged { hold: hold(HoldLevel::StopNew) },
            ["hold", "stop-all"] => Event::HoldChanged { hold: hold(HoldLevel::StopAll) },
            ["release"] => Event::HoldChanged { hold: None },
            ["cancel"] => Event::Cancelled { by },
            ["undo", items @ ..] => {
                let items = items.iter().map(|name| name.split_once(':').unwrap()).map(|(h, s)| item(h, s)).collect();
                Event::UndoAsked { items, by }
            }
            [host, rest @ ..] => self.of_host(host, rest),
            [] => panic!("an empty line"),
        }
    }

    fn around(&self, change: impl FnOnce(&mut Surroundings)) -> Event {
        let mut surroundings = Box::new(self.rollout.surroundings.clone());
        change(&mut surroundings);
        Event::SurroundingsChanged { surroundings }
    }

    fn of_host(&self, host: &str, words: &[&str]) -> Event {
        let asset = asset_id(AssetKind::Host, host);
        let task = self.rollout.tasks.iter().find(|task| task.asset == asset).unwrap();
        let (id, now) = (task.id.clone(), self.now);
        let receipt = |order, word| Event::Receipt { task: id.clone(), order, word };
        let message = || "exit 100".to_owned();
        let judged = |outcome, failure, verdict: ItemVerdict| Event::Judged {
            task: id.clone(),
            round: task.round,
            judgement: Box::new(Judgement {
                outcome,
                failure,
                checks: Vec::new(),
                items: task.items.iter().map(|item| (item.clone(), verdict.clone())).collect(),
                facts_at: now,
                may_call_clean: true,
            }),
        };
        match words {
            ["accepts"] => receipt(task.apply_order, Word::Accepted),
            ["succeeds"] => receipt(task.apply_order, Word::Succeeded { changed: true, ended_at: now }),
            ["does", "half"] => receipt(task.apply_order, Word::Partly { ended_at: now }),
            ["begins", "nothing"] => receipt(task.apply_order, Word::NotStarted),
            ["fails"] => receipt(task.apply_order, Word::Failed { changed: true, message: message(), ended_at: now }),
            ["refuses"] => {
                receipt(task.apply_order, Word::Refused { message: "apt-mark hold".to_owned(), moved: false })
            }
            ["moved"] => {
                receipt(task.apply_order, Word::Refused { message: "openssl is 3.0.18-1".to_owned(), moved: true })
            }
            ["has", "no", "room"] => {
                let scope = "policy/night/concurrent".to_owned();
                Event::NoRoom { task: id, blocked: Blocked::Budget { scope, limit: 2 } }
            }
            ["journal", "knows", "nothing"] => receipt(task.reconcile_order, Word::NotStarted),
            ["journal", "is", "gone"] => receipt(task.reconcile_order, Word::Lost),
            ["undone"] => receipt(task.undo_order, Word::Undone { ended_at: now }),
            ["cannot", "undo"] => receipt(task.undo_order, Word::UndoFailed { message: message() }),
            ["is", "silent"] => Event::LeaseExpired { task: id },
            ["is", "away"] => Event::Reach { asset, reachable: false },
            ["is", "back"] => Event::Reach { asset, reachable: true },
            ["is", "offered"] => self.around(|around| {
                around.offered.insert(asset, now);
            }),
            ["sends", "facts"] => Event::Facts { asset, collected_at: now },
            ["is", "good"] => judged(CheckOutcome::Successful, None, ItemVerdict::Fixed),
            ["is", "unclear"] => judged(CheckOutcome::Inconclusive, None, ItemVerdict::Unknown { why: String::new() }),
            ["is", "ill"] => judged(CheckOutcome::Failed, Some(Failure::Health), ItemVerdict::Fixed),
            ["still", "has", "it"] => judged(
                CheckOutcome::Failed,
                Some(Failure::StillThere),
                ItemVerdict::StillThere { findings: Vec::new() },
            ),
            other => panic!("{other:?}"),
        }
    }
}

fn names_of(names: &[(String, String)], id: &str) -> String {
    names.iter().find(|(known, _)| known == id).map(|(_, name)| format!(" of {name}")).unwrap_or_default()
}

fn hold(level: HoldLevel) -> Option<Hold> {
    Some(Hold { level, reason: "a customer demo".to_owned() })
}

fn tell(effect: &Effect) -> Option<String> {
    let all = |items: &[ItemId]| items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Some(match effect {
        Effect::Release { .. } => return None,
        Effect::Missed { task, missed, in_a_row, tell } => {
            format!("{task} {missed}; {in_a_row} in a row{}", if *tell { ", and people are told" } else { "" })
        }
        Effect::Entered { state } => format!("is {state}"),
        Effect::TaskEntered { task, state } => format!("{task} is {}", state.name()),
        Effect::Reserve { task, undo, .. } => format!("reserve {task}{}", if *undo { " for undo" } else { "" }),
        Effect::NeedsReplan { task, why } => format!("plan {task} again: {why}"),
        Effect::Breaker { scope, word } => format!("tell {scope}: {}", serde_json::to_value(word).unwrap()),
        Effect::AskConfirmation { role, due, reminder } => {
            format!("{} {} until {due}", if *reminder { "remind" } else { "ask" }, role.name())
        }
        Effect::Except { items, .. } => format!("except {}", all(items)),
        Effect::RecordIntent { task, .. } => format!("record intent of {task}"),
        Effect::DispatchApply { task, order, .. } => format!("order {order}: apply {task}"),
        Effect::DispatchUndo { task, order, items, .. } => format!("order {order}: undo {} in {task}", all(items)),
        Effect::Reconcile { task, order } => format!("order {order}: ask the journal about {task}"),
        Effect::RequestFacts { asset } => format!("ask {asset} for facts"),
        Effect::Verify { task, round } => format!("verify {task}, round {round}"),
        Effect::Suppress { items, by, .. } => {
            format!("suppress {} ({})", all(items), by.as_ref().map_or("after a failure", |_| "on request"))
        }
        Effect::Close { items } => format!("close {}", all(items)),
        Effect::Notify { blocked } => format!("tell people: {blocked}"),
    })
}

pub(crate) fn rings() -> Vec<RingTerm> {
    vec![
        RingTerm { size: RingSize::Percent(1), min: 1, bake_seconds: 600 },
        RingTerm { size: RingSize::Percent(100), min: 0, bake_seconds: 0 },
    ]
}

#[test]
fn one_host_from_approval_to_closed_and_one_item_back() {
    insta::assert_snapshot!(Play::new(1, Vec::new()).run(
        "submit
         approve another
         approve
         tick
         start
         web-1 accepts
         web-1 succeeds
         web-1 succeeds
         wait 5
         web-1 is good
         undo
         undo web-1:openssl
         tick
         web-1 undone
         wait 5
         web-1 sends facts"
    ));
}

#[test]
fn a_failed_host_is_taken_back() {
    insta::assert_snapshot!(Play::new(1, Vec::new()).run(
        "approve
         tick
         start
         web-1 fails
         tick
         hold stop-all
         web-1 is silent
         release
         wait 40
         web-1 undone
         wait 5
         web-1 sends facts"
    ));
}

#[test]
fn what_the_detector_still_sees_needs_a_person() {
    insta::assert_snapshot!(Play::new(1, Vec::new()).run(
        "approve
         tick
         start
         web-1 succeeds
         wait 5
         web-1 still has it
         undo web-1:openssl
         undo web-1:openssl web-1:bind9
         tick
         web-1 cannot undo"
    ));
}

#[test]
fn a_silent_executor_is_asked_and_only_what_never_began_is_sent_again() {
    insta::assert_snapshot!(Play::new(1, Vec::new()).run(
        "approve
         tick
         start
         web-1 is silent
         tick
         wait 70
         web-1 journal knows nothing
         tick
         wait 40
         start
         web-1 is silent
         tick
         web-1 journal is gone"
    ));
}

#[test]
fn the_second_wave_waits_until_the_first_has_baked() {
    insta::assert_snapshot!(Play::new(3, rings()).run(
        "approve
         tick
         start
         web-1 succeeds
         wait 5
         web-1 is unclear
         wait 70
         web-1 is good
         wait 300
         wait 400
         web-1 is good
         start
         hold stop-new
         web-3 succeeds
         web-2 fails
         tick
         web-3 undone
         web-2 undone
         wait 5
         web-3 sends facts
         web-2 sends facts"
    ));
}

#[test]
fn a_host_that_is_away_or_refuses_does_not_keep_the_others() {
    insta::assert_snapshot!(Play::new(3, Vec::new()).run(
        "approve
         web-2 is away
         tick
         start
         web-1 refuses
         web-3 succeeds
         web-2 is back
         wait 5
         web-3 is good"
    ));
}

#[test]
fn a_hold_between_two_steps_pauses_and_the_rest_follows_after_it() {
    insta::assert_snapshot!(Play::new(1, Vec::new()).run(
        "approve
         tick
         start
         hold stop-new
         web-1 does half
         wait 40
         release
         tick
         web-1 begins nothing
         wait 70
         web-1 succeeds
         wait 5
         web-1 is good"
    ));
}

#[test]
fn a_rest_that_came_too_late_is_left_to_a_person_and_never_taken_back_unasked() {
    insta::assert_snapshot!(Play::new(1, Vec::new()).run(
        "approve
         tick
         start
         web-1 does half
         wait 90000
         undo web-1:openssl web-1:bind9
         tick
         web-1 undone
         wait 5
         web-1 sends facts"
    ));
}

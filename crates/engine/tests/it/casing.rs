//! Cases: the steps of a playbook, in order, over several problems at once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::prelude::*;
use stanch_engine::case::{Case, Checked, Effect, Errand, Fate, Illegal, Member, Seen, State, misses};
use stanch_model::id::{AssetId, CaseId, ItemId};
use stanch_model::playbook::{Act, Doing, HumanTask, On, PlaybookTest, Rung, Step, VerifiedBy};

fn rung(id: &str) -> Rung {
    let act = Act { action: format!("{id}.it"), params: BTreeMap::new() };
    Rung { id: id.to_owned(), doing: Doing::Act(act), on: On::Asset, within_seconds: None, lift_when: None }
}

fn human(id: &str, verified_by: VerifiedBy) -> Rung {
    let task = HumanTask {
        title: id.to_owned(),
        owner: "owner".to_owned(),
        instructions: "look after it".to_owned(),
        due_seconds: 3_600,
        verified_by,
    };
    Rung { doing: Doing::Human(task), ..rung(id) }
}

fn step(rungs: Vec<Rung>) -> Step {
    Step { rungs }
}

fn item(number: u8) -> ItemId {
    ItemId::from_entropy([number; 10])
}

fn id() -> CaseId {
    CaseId::from_entropy([1; 10])
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// A case and what is seen of it, moved by hand.
struct Play {
    case: Case,
    seen: Seen,
    now: i64,
}

impl Play {
    fn of(steps: Vec<Step>, items: u8) -> Self {
        let members = (0..items).map(|n| Member { item: item(n), asset: AssetId::from_entropy([n; 10]) }).collect();
        Self { case: Case::new(steps, members), seen: Seen::default(), now: 0 }
    }

    fn go(&mut self) -> Vec<String> {
        let (next, effects) = self.case.advance(&id(), &self.seen, at(self.now));
        self.case = next;
        effects.iter().map(|effect| self.told(effect)).collect()
    }

    fn name(&self, run: usize) -> String {
        self.case.rung(&self.case.runs[run]).unwrap().id.clone()
    }

    fn told(&self, effect: &Effect) -> String {
        match effect {
            Effect::Begin { run } => format!("begin {}", self.name(*run)),
            Effect::Late { run } => format!("late {}", self.name(*run)),
            Effect::StillSeen { run } => format!("still seen {}", self.name(*run)),
            Effect::TakeBack { run, lifted: true, .. } => format!("lift {}", self.name(*run)),
            Effect::TakeBack { run, .. } => format!("take back {}", self.name(*run)),
            Effect::CallOff { run } => format!("call off {}", self.name(*run)),
            Effect::Entered { state } => state.name().to_owned(),
        }
    }

    fn run(&self, rung: &str) -> usize {
        let is = |run: &stanch_engine::case::Run| self.case.rung(run).is_some_and(|known| known.id == rung);
        self.case.runs.iter().rposition(is).unwrap()
    }

    fn end(&mut self, rung: &str, number: u8, fate: Fate) -> Vec<String> {
        let run = self.run(rung);
        let Errand::Remediation(id) = &self.case.runs[run].what else { panic!("{rung} is a person's") };
        self.seen.fates.entry(id.clone()).or_default().insert(item(number), fate);
        self.go()
    }
}

fn blocked() -> Fate {
    Fate::Blocked("nobody offers a fix yet".to_owned())
}

#[test]
fn steps_are_done_in_order_and_the_next_waits_for_all_items() {
    let mut play = Play::of(vec![step(vec![rung("one")]), step(vec![rung("two")])], 2);
    assert_eq!(play.go(), ["begin one"]);
    assert!(play.go().is_empty());
    assert!(play.end("one", 0, Fate::Done).is_empty());
    assert_eq!(play.end("one", 1, Fate::Done), ["begin two"]);
    play.end("two", 0, Fate::Done);
    assert_eq!(play.end("two", 1, Fate::Done), ["done"]);
}

#[test]
fn of_a_ladder_the_next_rung_is_taken_only_for_what_the_one_before_cannot_do() {
    let ladder = vec![step(vec![rung("patch"), rung("shield"), rung("isolate")])];
    let mut play = Play::of(ladder, 2);
    play.go();
    assert_eq!(play.end("patch", 0, blocked()), ["begin shield"]);
    assert_eq!(play.case.runs[1].fates.keys().collect::<Vec<_>>(), [&item(0)]);
    play.end("patch", 1, Fate::Done);
    assert_eq!(play.end("shield", 0, Fate::Failed("it broke".to_owned())), ["begin isolate"]);
    assert_eq!(play.end("isolate", 0, blocked()), ["partly"]);
    assert_eq!(play.case.out[&item(0)], "isolate: nobody offers a fix yet");
    assert!(!play.case.out.contains_key(&item(1)));
}

#[test]
fn a_persons_no_ends_the_ladder() {
    let mut play = Play::of(vec![step(vec![rung("patch"), rung("isolate")])], 1);
    play.go();
    assert_eq!(play.end("patch", 0, Fate::Refused("not now".to_owned())), ["partly"]);
}

#[test]
fn what_is_late_goes_on_beside_the_next_rung_which_is_lifted_once_it_is_done() {
    let patch = Rung { within_seconds: Some(600), ..rung("patch") };
    let shield = Rung { lift_when: Some("patch".to_owned()), ..rung("shield") };
    let mut play = Play::of(vec![step(vec![patch, shield])], 1);
    play.go();
    play.now = 599;
    assert!(play.go().is_empty());
    play.now = 600;
    assert_eq!(play.go(), ["late patch", "begin shield"]);
    assert!(play.end("shield", 0, Fate::Done).is_empty(), "the patch is still to come");
    assert_eq!(play.end("patch", 0, Fate::Done), ["lift shield"]);
    assert_eq!(play.go(), ["lift shield"], "until it is seen");
    play.end("shield", 0, Fate::GoingBack);
    assert_eq!(play.end("shield", 0, Fate::Undone), ["done"]);
}

#[test]
fn what_cannot_be_done_yet_is_tried_again_while_something_stands_in_for_it() {
    let shield = Rung { lift_when: Some("patch".to_owned()), ..rung("shield") };
    let mut play = Play::of(vec![step(vec![rung("patch"), shield])], 1);
    play.go();
    play.end("patch", 0, blocked());
    play.end("shield", 0, Fate::Done);
    play.now = 6 * 3_600 - 1;
    assert!(play.go().is_empty());
    play.now = 6 * 3_600;
    assert_eq!(play.go(), ["begin patch"]);
    play.end("patch", 0, blocked());
    play.now = 12 * 3_600;
    assert_eq!(play.go(), ["begin patch"]);
    assert_eq!(play.end("patch", 0, Fate::Done), ["lift shield"]);
}

#[test]
fn what_stands_in_is_lifted_too_when_the_problem_is_gone_by_its_own_check() {
    let shield = Rung { lift_when: Some("patch".to_owned()), ..rung("shield") };
    let mut play = Play::of(vec![step(vec![rung("patch"), shield])], 1);
    play.go();
    play.end("patch", 0, blocked());
    play.end("shield", 0, Fate::Done);
    play.seen.checks.insert(item(0), Checked { open: false, facts_at: Some(at(0)) });
    assert!(play.go().is_empty(), "facts that are not newer say nothing");
    play.seen.checks.insert(item(0), Checked { open: false, facts_at: Some(at(10)) });
    assert_eq!(play.go(), ["lift shield"]);
}

#[test]
fn a_persons_task_is_done_when_the_check_agrees_on_facts_newer_than_the_word() {
    let mut play = Play::of(vec![step(vec![human("call", VerifiedBy::Check)])], 1);
    assert_eq!(play.go(), ["begin call"]);
    play.now = 10;
    play.case = play.case.said(0, "alice", "", at(10)).unwrap();
    play.seen.checks.insert(item(0), Checked { open: true, facts_at: Some(at(9)) });
    assert!(play.go().is_empty(), "what was looked at before the word says nothing of it");
    play.seen.checks.insert(item(0), Checked { open: true, facts_at: Some(at(11)) });
    assert_eq!(play.go(), ["still seen call"]);
    assert_eq!(play.case.runs[0].what, Errand::Human(None));
    play.case = play.case.said(0, "alice", "really", at(20)).unwrap();
    play.seen.checks.insert(item(0), Checked { open: false, facts_at: Some(at(21)) });
    assert_eq!(play.go(), ["done"]);
    assert_eq!(play.case.said(0, "alice", "", at(30)), Err(Illegal::TaskOver));
}

#[test]
fn a_word_is_enough_where_no_check_can_see_it_and_a_late_one_is_told_once() {
    let mut play = Play::of(vec![step(vec![human("call", VerifiedBy::Word)])], 1);
    play.go();
    play.now = 3_600;
    assert_eq!(play.go(), ["late call"]);
    assert!(play.go().is_empty());
    play.case = play.case.said(0, "alice", "", at(3_601)).unwrap();
    assert_eq!(play.go(), ["done"]);
}

#[test]
fn undo_goes_the_last_first_and_one_at_a_time() {
    let steps = vec![step(vec![rung("one")]), step(vec![human("call", VerifiedBy::Word)]), step(vec![rung("three")])];
    let mut play = Play::of(steps, 1);
    play.go();
    play.end("one", 0, Fate::Done);
    play.case = play.case.said(1, "alice", "", at(1)).unwrap();
    play.go();
    assert_eq!(play.end("three", 0, Fate::Done), ["done"]);
    play.case = play.case.undo("bob", "it was a drill").unwrap();
    assert_eq!(play.go(), ["take back three"]);
    assert!(play.end("three", 0, Fate::GoingBack).is_empty());
    assert_eq!(play.end("three", 0, Fate::Undone), ["take back one"]);
    play.case.keep(0, "somebody changed it since");
    assert_eq!(play.go(), ["undone"]);
    assert_eq!(play.case.runs[0].fates[&item(0)], Fate::Kept("somebody changed it since".to_owned()));
    assert_eq!(play.case.undo("bob", "again"), Err(Illegal::State("undone")));
}

#[test]
fn undo_in_the_middle_calls_off_what_has_not_begun_first() {
    let mut play = Play::of(vec![step(vec![rung("one")]), step(vec![rung("two")])], 1);
    play.go();
    play.end("one", 0, Fate::Done);
    play.case = play.case.undo("bob", "stop").unwrap();
    assert_eq!(play.go(), ["call off two"]);
    assert_eq!(play.end("two", 0, Fate::Refused("cancelled".to_owned())), ["take back one"]);
    assert_eq!(play.end("one", 0, Fate::Undone), ["undone"]);
}

#[test]
fn a_closed_case_begins_nothing_more_and_keeps_what_was_done() {
    let mut play = Play::of(vec![step(vec![rung("one")]), step(vec![rung("two")])], 1);
    play.go();
    play.case = play.case.close("not needed").unwrap();
    assert_eq!(play.go(), ["call off one"]);
    assert_eq!(play.end("one", 0, Fate::Done), ["closed"]);
    assert!(play.case.state.is_over() && play.case.busy().is_empty());
}

#[test]
fn tests_of_playbooks_walk_the_same_steps() {
    let patch = Rung { within_seconds: Some(600), ..rung("patch") };
    let shield = Rung { lift_when: Some("patch".to_owned()), ..rung("shield") };
    let steps = vec![step(vec![patch, shield, rung("isolate")]), step(vec![human("tell", VerifiedBy::Word)])];
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let well = PlaybookTest { begins: list(&["patch", "tell"]), done: Some(true), ..PlaybookTest::default() };
    assert_eq!(misses(&steps, &well), Vec::<String>::new());
    let late = PlaybookTest {
        late: set(&["patch"]),
        begins: list(&["patch", "shield", "tell"]),
        lifts: Some(list(&["shield"])),
        done: Some(true),
        ..PlaybookTest::default()
    };
    assert_eq!(misses(&steps, &late), Vec::<String>::new());
    let last = PlaybookTest {
        blocked: set(&["patch"]),
        failed: set(&["shield"]),
        begins: list(&["patch", "shield", "isolate", "tell"]),
        ..PlaybookTest::default()
    };
    assert_eq!(misses(&steps, &last), Vec::<String>::new());
    let wrong = PlaybookTest { begins: list(&["patch"]), ..well };
    assert_eq!(misses(&steps, &wrong), ["expected patch to begin, and patch, tell did"]);
    let typo = PlaybookTest { blocked: set(&["pach"]), ..PlaybookTest::default() };
    assert_eq!(misses(&steps, &typo), ["no step is called `pach`; there are: patch, shield, isolate, tell"]);
}

/// What may happen to a case from outside.
#[derive(Debug, Clone)]
enum Outside {
    Ends(usize, u8, u8),
    Later(u16),
    Check(u8, bool),
    Said(usize),
    Undo,
    Close,
}

fn outside() -> impl Strategy<Value = Outside> {
    prop_oneof![
        8 => (0..8_usize, 0..3_u8, 0..7_u8).prop_map(|(run, item, fate)| Outside::Ends(run, item, fate)),
        2 => (0..40_000_u16).prop_map(Outside::Later),
        2 => (0..3_u8, any::<bool>()).prop_map(|(item, open)| Outside::Check(item, open)),
        2 => (0..8_usize).prop_map(Outside::Said),
        1 => Just(Outside::Undo),
        1 => Just(Outside::Close),
    ]
}

fn book() -> impl Strategy<Value = Vec<Step>> {
    let rung = |name: String| {
        (0..4_u8, prop::option::of(1..30_000_u32), any::<bool>()).prop_map(move |(kind, within, word)| match kind {
            0 => human(&name, if word { VerifiedBy::Word } else { VerifiedBy::Check }),
            1 => Rung {
                within_seconds: within,
                lift_when: Some("a0".to_owned()).filter(|_| name != "a0"),
                ..rung(&name)
            },
            _ => Rung { within_seconds: within, ..rung(&name) },
        })
    };
    let ladder = move |step: &'static str| {
        (1..4_usize).prop_flat_map(move |count| {
            (0..count).map(|n| rung(format!("{step}{n}"))).collect::<Vec<_>>().prop_map(|rungs| Step { rungs })
        })
    };
    (ladder("a"), ladder("b"), ladder("c")).prop_map(|(a, b, c)| vec![a, b, c])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    /// Whatever happens: steps in order, no rung before its turn, nothing begun after a no or an end, undo the last
    /// first, and asking twice changes nothing.
    #[test]
    fn a_case_keeps_its_order_whatever_happens(steps in book(), events in prop::collection::vec(outside(), 1..60)) {
        let mut play = Play::of(steps, 3);
        for event in events {
            match event {
                Outside::Ends(run, number, fate) => {
                    let Some(known) = play.case.runs.get(run) else { continue };
                    let Some(before) = known.fates.get(&item(number)) else { continue };
                    let why = || "so".to_owned();
                    let fate = match (before, fate) {
                        (Fate::Running, 0..=2) => Fate::Done,
                        (Fate::Running, 3) => Fate::Blocked(why()),
                        (Fate::Running, 4) => Fate::Failed(why()),
                        (Fate::Running, 5) => Fate::Refused(why()),
                        (Fate::Done, 6) if known.back.contains(&item(number)) => Fate::GoingBack,
                        (Fate::GoingBack, 0..=4) => Fate::Undone,
                        (Fate::GoingBack, _) => Fate::Kept(why()),
                        _ => continue,
                    };
                    let Errand::Remediation(id) = &known.what else { continue };
                    play.seen.fates.entry(id.clone()).or_default().insert(item(number), fate);
                }
                Outside::Later(seconds) => play.now += i64::from(seconds),
                Outside::Check(number, open) => {
                    play.seen.checks.insert(item(number), Checked { open, facts_at: Some(at(play.now)) });
                }
                Outside::Said(run) => {
                    if let Ok(said) = play.case.said(run, "alice", "", at(play.now)) {
                        play.case = said;
                    }
                }
                Outside::Undo => {
                    if let Ok(undone) = play.case.undo("bob", "so") {
                        play.case = undone;
                    }
                }
                Outside::Close => {
                    if let Ok(closed) = play.case.close("so") {
                        play.case = closed;
                    }
                }
            }
            let before = play.case.clone();
            let (after, effects) = before.advance(&id(), &play.seen, at(play.now));
            check(&before, &after, &effects)?;
            let (again, said) = after.advance(&id(), &play.seen, at(play.now));
            prop_assert_eq!(&again, &after, "asked twice");
            prop_assert!(
                said.iter().all(|effect| matches!(effect, Effect::TakeBack { .. } | Effect::CallOff { .. })),
                "{:?}", said
            );
            play.case = after;
        }
    }
}

fn check(before: &Case, after: &Case, effects: &[Effect]) -> Result<(), TestCaseError> {
    let begun = &after.runs[before.runs.len()..];
    prop_assert!(begun.is_empty() || before.state == State::Open, "begun in {:?}", before.state);
    for run in begun {
        for item in run.fates.keys() {
            let earlier = |other: &&stanch_engine::case::Run| other.fates.contains_key(item);
            for step in 0..run.step {
                let mut mine = after.runs.iter().filter(earlier).filter(|other| other.step == step);
                prop_assert!(
                    mine.any(|other| matches!(other.fates[item], Fate::Done) || other.back.contains(item)),
                    "step {} begins before step {step} is done",
                    run.step
                );
            }
            for rung in 0..run.rung {
                let last =
                    after.runs.iter().filter(earlier).rfind(|other| other.step == run.step && other.rung == rung);
                let last = last.expect("the rung before was tried");
                let gives_way = matches!(last.fates[item], Fate::Blocked(_) | Fate::Failed(_))
                    || (last.late && last.fates[item] == Fate::Running);
                prop_assert!(gives_way, "rung {} follows {:?}", run.rung, last.fates[item]);
            }
        }
    }
    let back: Vec<(usize, bool)> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::TakeBack { run, lifted, .. } => Some((*run, *lifted)),
            _ => None,
        })
        .collect();
    for (run, lifted) in back {
        let stands_in = after.rung(&after.runs[run]).unwrap().lift_when.is_some();
        prop_assert!(!lifted || stands_in, "only what stands in for something is lifted");
        if !lifted {
            let undoing = matches!(after.state, State::Undoing { .. });
            prop_assert!(undoing, "taken back unasked");
            let later = after.runs[run + 1..].iter().filter(|run| matches!(run.what, Errand::Remediation(_)));
            prop_assert!(
                later.flat_map(|run| run.fates.values()).all(|fate| !matches!(fate, Fate::Done | Fate::GoingBack)),
                "undo skips something later"
            );
        }
    }
    if after.state.is_over() {
        let waits = after.runs.iter().flat_map(|run| run.fates.values()).any(|fate| *fate == Fate::Running);
        prop_assert!(!waits, "over, and something still runs");
    }
    Ok(())
}

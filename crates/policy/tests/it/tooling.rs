//! check, test and explain: what they find, and that they find nothing where nothing is wrong.

use stanch_model::decision::Mode;
use stanch_model::id::{AssetId, ItemId};
use stanch_model::playbook::{PlaybookTest, Step};
use stanch_policy::facts::Value;
use stanch_policy::{Bundle, Grade, Past, check, explain, replay, test, worst_case};

use crate::world::{KNOWN, bundle, decide, facts, item, now, policy, rule, source};

fn checked(text: &str) -> Vec<(String, Grade, u32)> {
    let found = check(&bundle(text), &KNOWN, now());
    found.into_iter().map(|problem| (problem.code.to_owned(), problem.grade, problem.at.line)).collect()
}

fn codes(text: &str) -> Vec<String> {
    checked(text).into_iter().map(|(code, ..)| code).collect()
}

const LIMITS: &str = "limits: {concurrent: 5, per_hour: 50}\n";

/// No playbook is tested.
fn no_walk(_: &[Step], _: &PlaybookTest) -> Vec<String> {
    Vec::new()
}

#[test]
fn a_rule_that_can_never_fire_is_named() {
    let never = |when: &str, select: &str| {
        let rule = format!("  - {{id: r, when: {when:?}, mode: suggest}}");
        codes(&policy("p", &rule).replace("{all: true}", select)).contains(&"never-fires".to_owned())
    };
    for (when, select) in [
        ("1 == 2", "{all: true}"),
        ("item.epss > 0.9 && item.epss < 0.5", "{all: true}"),
        ("asset.tier == 1 && asset.tier == 2", "{all: true}"),
        ("asset.environment == 'lab'", "{environments: [prod, staging]}"),
        ("item.severity == 'low'", "{min_severity: high}"),
        ("action.kind == 'host.reboot'", "{actions: [package.upgrade]}"),
        ("has(asset.labels.ring) && asset.labels.ring == 'b'", "{labels: {ring: a}}"),
        ("item.kev && !item.kev", "{all: true}"),
    ] {
        assert!(never(when, select), "{when} with {select}");
    }
    for (when, select) in [
        ("item.epss > 0.5 && item.epss < 0.50002", "{all: true}"),
        ("asset.environment == 'prod' && asset.tier in [1, 2]", "{environments: [prod, staging]}"),
        ("has(asset.labels.ring) && asset.labels.ring == 'b'", "{labels: {site: a}}"),
        ("item.ids.exists(x, x.startsWith('CVE-')) && size(item.ids) > 1", "{all: true}"),
        ("item.due_days < 3 && item.age_days >= 2", "{all: true}"),
    ] {
        assert!(!never(when, select), "{when} with {select}");
    }
}

#[test]
fn a_limit_that_is_none_is_named_with_its_line() {
    let text = |limits: &str| format!("{}limits: {limits}\n", policy("p", "  - {id: r, mode: auto}"));
    for limits in
        ["{concurrent: 5000}", "{per_hour: 100000}", "{disrupted_percent: 100}", "{cooldown: 0s}", "{max_attempts: 20}"]
    {
        assert_eq!(checked(&text(limits)), [("limit-off".to_owned(), Grade::Error, 8)], "{limits}");
    }
    assert!(checked(&text("{concurrent: 5}")).is_empty());
    let none = policy("p", "  - {id: r, mode: auto}");
    assert_eq!(checked(&none), [("limits-built-in".to_owned(), Grade::Warning, 4)]);
}

#[test]
fn a_freeze_that_would_stop_containment_is_named_with_its_line() {
    let text = |steps: &str, allow: &str| {
        let text = policy("p", "  - {id: r, mode: auto}");
        let freeze = format!("freezes:\n  - {{ics: corp.ics, allow: [{allow}]}}\n");
        format!("{text}{LIMITS}{freeze}actions:\n  - {steps}\n")
    };
    let load = |text: &str| {
        let calendar = source("corp.ics", "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n");
        let bundle = Bundle::load(&[source("p.yaml", text), calendar]).bundle.unwrap();
        let found = check(&bundle, &KNOWN, now());
        found.into_iter().map(|problem| (problem.code, problem.at.line)).collect::<Vec<_>>()
    };
    let ladder = "first_of: [{package.upgrade: {to: fixed}}, {host.isolate: {lease: 4h}}]";
    let stops = load(&text(ladder, "close-exposure"));
    assert_eq!(stops, [("freeze-stops-containment", 10)]);
    assert!(load(&text(ladder, "contain")).is_empty());
    assert!(load(&text("package.upgrade: {to: fixed}", "")).is_empty());
}

#[test]
fn a_rollout_that_cannot_meet_its_deadline_is_named_with_its_line() {
    let text = |when: &str, bake: &str, more: &str| {
        let rule = format!("  - {{id: r, when: {when:?}, mode: auto}}");
        let waves = format!("rollout: {{waves: [{{percent: 5, bake: {bake}}}, {{percent: 100, bake: 1d}}]{more}}}\n");
        format!("{}{LIMITS}{waves}", policy("p", &rule))
    };
    let urgent = "item.bod in ['days3', 'days14']";
    assert_eq!(checked(&text(urgent, "4d", "")), [("deadline-missed".to_owned(), Grade::Error, 9)]);
    assert!(checked(&text(urgent, "1d", "")).is_empty());
    assert!(checked(&text("item.kev", "4d", "")).is_empty());
    assert_eq!(codes(&text("item.kev", "4d", ", deadline: 4d")), ["deadline-missed"]);
}

#[test]
fn a_policy_that_selects_nothing_and_a_rule_that_never_decides_are_named() {
    let nothing = policy("p", "  - {id: r, mode: alert}").replace("{all: true}", "{environments: []}");
    assert_eq!(checked(&nothing), [("selects-nothing".to_owned(), Grade::Error, 5)]);
    let two = format!("{}{LIMITS}", policy("p", "  - {id: a, when: item.kev, mode: auto}\n  - {id: b, mode: suggest}"));
    assert_eq!(codes(&two), ["never-decides"]);
}

#[test]
fn an_action_that_no_executor_knows_is_named() {
    let with = |step: &str| {
        let text = format!("{}actions:\n  - {step}\n", policy("p", "  - {id: r, mode: suggest}"));
        let found = check(&bundle(&text), &KNOWN, now());
        found.into_iter().map(|one| format!("{} {}; {}", one.at.line, one.message, one.remedy)).collect::<Vec<_>>()
    };
    assert_eq!(
        with("package.upgrad: {to: fixed}"),
        ["9 no action is called `package.upgrad`; did you mean `package.upgrade`?"]
    );
    assert_eq!(with("package.upgrade: {too: fixed}"), ["9 `package.upgrade` takes no `too`; did you mean `to`?"]);
    assert_eq!(
        with("package.upgrade: {to: newest}"),
        ["9 `to` of `package.upgrade` is something else; write one of: fixed"]
    );
    assert_eq!(with("host.isolate: {lease: 4h}"), Vec::<String>::new());
}

#[test]
fn a_playbook_is_tested_step_by_step() {
    let text = r#"apiVersion: stanch/v1
kind: Playbook
name: close
steps:
  - first_of:
      - package.upgrade: {to: fixed}
        id: patch
      - host.isolate: {lease: 4h}
        id: isolate
tests:
  - {expect: {begins: [patch]}}
  - {name: no fix, blocked: [patch], expect: {begins: [patch, isolate]}}
"#;
    let walk = |_: &[Step], test: &PlaybookTest| test.blocked.iter().map(|id| format!("{id} is blocked")).collect();
    let report = test(&bundle(text), now(), walk);
    let told: Vec<_> = report.results.iter().map(|one| (one.name.as_str(), one.at.line, one.misses.len())).collect();
    assert_eq!(told, [("test 1", 11, 0), ("no fix", 12, 1)]);
    assert!(report.unproven.is_empty());
    let report = test(
        &bundle(&text.replace("  - {name: no fix, blocked: [patch], expect: {begins: [patch, isolate]}}\n", "")),
        now(),
        walk,
    );
    assert!(report.unproven[0].to_string().contains("`isolate`"), "{:?}", report.unproven);
}

#[test]
fn an_exception_that_has_ended_is_named() {
    let text = "apiVersion: stanch/v1\nkind: Exception\nname: e\nowner: kim\nreason: r\nexpires: 2026-01-01\nmatch: {ids: [CVE-2026-1]}\n";
    assert_eq!(checked(text), [("exception-ended".to_owned(), Grade::Warning, 6)]);
}

const TESTED: &str = r#"apiVersion: stanch/v1
kind: Policy
name: p
match: {environments: [prod]}
rules:
  - {id: hot, requires: [item.epss], when: item.epss >= 0.5, mode: suggest}
tests:
  - {given: base, set: {item.epss: 0.55}, expect: {mode: suggest, rule: hot, reason: rule}}
  - {given: base, set: {item.epss: 0.45}, expect: {mode: alert, silent: [hot], reason: default}}
  - {given: base, unset: [item.epss], expect: {mode: alert, reason: missing-field}}
---
apiVersion: stanch/v1
kind: Facts
name: base
facts: {asset.environment: prod, item.classes: [vulnerability]}
"#;

#[test]
fn tests_that_look_on_both_sides_of_a_limit_pass() {
    let report = test(&bundle(TESTED), now(), no_walk);
    assert!(report.passed() && report.unnoticed.is_empty(), "{report:#?}");
    assert_eq!(report.results.len(), 3);
}

#[test]
fn a_wrong_expectation_fails_and_says_what_was_decided() {
    let report = test(
        &bundle(&TESTED.replace("expect: {mode: suggest, rule: hot", "expect: {mode: auto, rule: hot")),
        now(),
        no_walk,
    );
    assert_eq!((report.failed(), report.passed()), (1, false));
    insta::assert_snapshot!(report.results[0].misses.join("\n"), @"expected auto, got suggest: p/hot grants suggest: its condition holds");
}

#[test]
fn a_rule_that_no_test_sees_firing_or_silent_fails_the_run() {
    let without = |line: &str| TESTED.lines().filter(|one| !one.contains(line)).collect::<Vec<_>>().join("\n");
    let never = test(&bundle(&without("0.55")), now(), no_walk);
    assert_eq!(never.unproven[0].message, "no test shows that p/hot fires");
    let always = test(&bundle(&without("0.45")), now(), no_walk);
    assert_eq!(always.unproven[0].message, "no test shows that p/hot can also stay silent");
    assert!(!never.passed() && !always.passed());
}

#[test]
fn a_limit_that_no_test_notices_is_reported() {
    let far = TESTED.replace("0.55", "0.95").replace("0.45", "0.05");
    let report = test(&bundle(&far), now(), no_walk);
    let told: Vec<&str> = report.unnoticed.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        told,
        ["p/hot: 0.5 became 0.4, and every test still passes", "p/hot: 0.5 became 0.6, and every test still passes",]
    );
    assert!(report.passed(), "it is a report, not a failure");
}

#[test]
fn an_explanation_names_every_rule_with_the_facts_it_asked_for() {
    let text = format!(
        "{TESTED}{}{}",
        policy(
            "other",
            "  - {id: capped, description: nothing restarts by day, when: action.disruption == \"restart\", at_most: alert}"
        ),
        policy("lab", "  - {id: r, mode: auto}").replace("{all: true}", "{environments: [lab]}")
    );
    let explained = explain(&bundle(&text), &item(), &facts(), now());
    let mut value = serde_json::to_value(&explained).unwrap();
    value["decision"]["bundle"] = "[digest]".into();
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn the_worst_case_names_what_forged_findings_could_drive_and_the_rules_against_lock_out_it_breaks() {
    let text = rule("item.kev && asset.environment == \"prod\"", "auto")
        + "limits: {disrupted_percent: 50}\n"
        + &policy("caps", "  - id: jewels\n    when: asset.tier == 1\n    at_most: approve");
    let bundle = bundle(&text);
    let place = |name: &str, environment: &str, tier: i64| {
        let mut facts = facts();
        // An item nobody exploits: an attacker would say otherwise.
        facts.set("item.kev", Value::Bool(false)).unwrap();
        facts.set("asset.name", Value::Text(name.to_owned())).unwrap();
        facts.set("asset.environment", Value::Text(environment.to_owned())).unwrap();
        facts.set("asset.tier", Value::Int(tier)).unwrap();
        facts
    };
    let places = [place("web", "prod", 3), place("bank", "prod", 1), place("lab", "test", 3)];
    assert!(places.iter().all(|place| decide(&bundle, place).mode == Mode::Alert));
    let worst = worst_case(&bundle, &places);
    let seen: Vec<_> = worst.reach.iter().map(|one| (one.mode, one.named.join(" "))).collect();
    assert_eq!(seen, [(Mode::Auto, "web".to_owned()), (Mode::Approve, "bank".to_owned())]);
    let broken: Vec<_> = worst.lock_outs.iter().map(|one| one.rule).collect();
    assert_eq!(broken, ["too-much-at-once"]);
}

#[test]
fn a_replay_says_what_a_draft_would_have_done_and_what_of_it_went_wrong() {
    let bundle = bundle(&rule("item.kev", "auto"));
    let past = |number: u8, kev: bool, was: Mode, done: bool, harm: Option<&'static str>| {
        let mut facts = facts();
        facts.set("item.kev", Value::Bool(kev)).unwrap();
        Past {
            item: ItemId::from_entropy([number; 10]),
            name: format!("pkg-{number}"),
            asset: AssetId::from_entropy([number; 10]),
            facts,
            at: now(),
            was,
            done,
            harm,
        }
    };
    let all = [
        past(1, true, Mode::Alert, true, None),
        past(2, true, Mode::Auto, true, None),
        past(3, true, Mode::Approve, false, Some("taken back")),
        past(4, true, Mode::Alert, false, None),
        past(5, false, Mode::Suggest, true, None),
    ];
    let told = replay(&bundle, &all, now());
    let changes: Vec<_> = told.changes.iter().map(|(change, count)| format!("{change}: {count}")).collect();
    assert_eq!(changes, ["alert to auto: 2", "approve to auto: 1", "suggest to alert: 1"]);
    assert_eq!((told.by_itself, told.known, told.harmed.len()), (4, 3, 1));
    assert_eq!((told.harmed[0].name.as_str(), told.harmed[0].how), ("pkg-3", "taken back"));
    assert_eq!(told.harm_rate_e6(), Some(333_333));
    assert_eq!(told.busiest_day.map(|(_, count)| count), Some(4));
}

#[test]
fn a_policy_in_shadow_is_tested_as_if_it_were_in_force_and_moves_nothing_else() {
    let shadowed =
        |tests: &str| format!("{}shadow: true\n{tests}", policy("p", "  - {id: hot, when: item.kev, mode: auto}"));
    let own = "tests:\n  - {given: base, set: {item.kev: true}, expect: {mode: auto, rule: hot}}\n\
               \x20 - {given: base, set: {item.kev: false}, expect: {mode: alert, silent: [hot]}}\n";
    let base = source(
        "facts.yaml",
        "apiVersion: stanch/v1\nkind: Facts\nname: base\nfacts: {item.stale: false, asset.own: false, action.proven: true, action.kind: package.upgrade, action.reversibility: restorable}\n",
    );
    let load = |text: String| Bundle::load(&[base.clone(), source("p.yaml", &text)]).bundle.unwrap();
    let report = test(&load(shadowed(own)), now(), no_walk);
    assert!(report.passed(), "{report:#?}");
    let untested = test(&load(shadowed("")), now(), no_walk);
    assert_eq!(untested.unproven.len(), 1, "a rule in shadow needs its tests like any other");
    let facts = facts();
    let bundle = load(shadowed(own));
    let decision = decide(&bundle, &facts);
    assert_eq!(decision.mode, Mode::Alert);
    assert!(worst_case(&bundle, &[facts]).reach.is_empty(), "what is in shadow reaches nothing");
}

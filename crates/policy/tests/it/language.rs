//! What a person sees who makes a mistake in a policy file, and what the editor's schema says.

use serde_json::Value as Json;
use stanch_policy::playbook::Doing;
use stanch_policy::{Bundle, MAX_FILE};

use crate::world::{bundle, policy, problems, source};

#[test]
fn every_mistake_is_told_at_once_with_its_place_and_the_remedy() {
    let text = r#"apiVersion: stanch/v1
kind: Policy
name: Prod Packages
match: {classes: [vulnerabilities], enviroments: [prod]}
rules:
  - id: auto-hot
    when: item.epsss > 0.5
    mode: automatic
  - id: auto-hot
    mode: auto
    at_most: approve
  - id: capped
    mode: suggest
    approvals: {quorum: 0}
limits: {concurrent: lots, cooldown: 6 hours}
rollout: {waves: [{percent: 10, count: 3}]}
"#;
    insta::assert_snapshot!(problems(text));
}

#[test]
fn what_is_only_wrong_when_everything_is_read_is_told_too() {
    let text = r#"apiVersion: stanch/v1
kind: Policy
name: prod
match: {all: true}
playbook: patchh
rules:
  - id: r
    requires: [item.eps]
    when: >-
      item.cvss >= 9.0 &&
      asset.tier == 7
    mode: auto
  - id: r
    mode: approve
    approvals: {roles: []}
windows: [{calendar: nights}]
rollout: {waves: [{percent: 10}, {percent: 5}]}
tests:
  - {given: nobody, expect: {mode: auto}}
  - {given: base, expect: {rule: other}}
---
apiVersion: stanch/v1
kind: Playbook
name: patch
steps:
  - package.upgrade: {to: fixed}
---
apiVersion: stanch/v1
kind: Facts
name: base
facts: {item.epss: 2, asset.tier: one, item.kev: true}
---
apiVersion: stanch/v1
kind: Exception
name: wide
owner: kim
reason: because
expires: soon
match: {environments: [prod]}
---
kind: Polizy
"#;
    insta::assert_snapshot!(problems(text));
}

#[test]
fn a_file_that_is_no_yaml_says_where() {
    insta::assert_snapshot!(problems("kind: Policy\nname: [a\n"));
}

#[test]
fn keys_stand_once_and_merge_keys_are_refused() {
    assert!(problems("kind: Policy\nkind: Policy\n").contains("error[yaml]"));
    assert!(problems("a: &a {b: 1}\nc:\n  <<: *a\n").contains("error[yaml]"));
}

#[test]
fn a_file_that_is_too_large_too_deep_or_an_alias_bomb_is_refused() {
    let large = format!("# {}\n", "x".repeat(MAX_FILE));
    assert!(problems(&large).contains("at most"));
    let deep = format!("a: {}{}\n", "[".repeat(200), "]".repeat(200));
    assert!(problems(&deep).contains("error[yaml]"));
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    assert!(problems(&bomb).contains("error[yaml]"));
    let many = format!("kind: [{}]\n", "x,".repeat(30_000));
    assert!(problems(&many).contains("error"));
}

#[test]
fn a_playbook_is_a_tree_of_typed_steps() {
    let text = format!(
        "{}{}",
        policy("p", "  - {id: r, mode: suggest}"),
        r#"actions:
  - first_of:
      - package.upgrade: {to: fixed, packages: ["${item.package}", other]}
        id: patch
      - shield.apply: {until: patched}
        lift_when: patch
      - host.isolate: {lease: 4h}
        within: 30m
  - human: {title: Tell the owner, owner: web, instructions: Call them., due: 2d}
  - service.restart:
    on: {linked: service}
"#
    );
    let bundle = bundle(&text);
    let steps = bundle.steps(&bundle.policies()[0]).unwrap();
    assert!(matches!(bundle.policies()[0].doing, Doing::Steps(_)));
    let names: Vec<Vec<&str>> =
        steps.iter().map(|step| step.rungs.iter().map(|rung| rung.id.as_str()).collect()).collect();
    assert_eq!(names, [vec!["patch", "shield-apply", "host-isolate"], vec!["human"], vec!["service-restart"]]);
    insta::assert_json_snapshot!(steps);
}

#[test]
fn steps_hang_together_by_names_that_are_there() {
    let with = |steps: &str| problems(&format!("{}actions:\n{steps}", policy("p", "  - {id: r, mode: suggest}")));
    for (steps, told) in [
        ("  - {package.upgrade: , id: a}\n  - {service.restart: , id: a}\n", "two steps are called `a`"),
        ("  - {package.upgrade: , id: patch}\n  - {shield.apply: , lift_when: pach}\n", "did you mean `patch`?"),
        ("  - {shield.apply: , id: a, lift_when: a}\n", "no other step is called `a`"),
        ("  - {first_of: [{package.upgrade: }], id: a}\n", "neither a name nor a place"),
        ("  - first_of:\n      - first_of: [{package.upgrade: }]\n", "a ladder stands in a ladder"),
        ("  - {package.upgrade: , on: everywhere}\n", "says not where"),
        ("  - {package.upgrade: , on: {linked: acount}}\n", "account"),
        ("  - {human: {title: x, instructions: y, due: 1h}, within: 2h}\n", "neither `within` nor `lift_when`"),
        ("  - {package.upgrade: , withing: 2h}\n", "exactly one thing"),
    ] {
        let found = with(steps);
        assert!(found.contains(told), "{steps}:\n{found}");
    }
}

#[test]
fn a_step_that_cannot_be_is_named() {
    let with = |step: &str| problems(&format!("{}actions:\n  - {step}\n", policy("p", "  - {id: r, mode: suggest}")));
    for (step, told) in [
        ("{package.upgrade: {to: fixed}, service.restart: {}}", "exactly one thing"),
        ("upgrade: {to: fixed}", "neither a ladder nor an action"),
        ("first_of: []", "leads nowhere"),
        ("package.upgrade: {to: 1.5}", "cannot be a number"),
        ("package.upgrade: {to: {a: b}}", "cannot be a map"),
        ("package.upgrade: {to: \"v${item.name}\"}", "cannot be part of a text"),
        ("package.upgrade: {to: \"${item.nam}\"}", "did you mean `item.name`?"),
        ("human: {title: x}", "lacks `instructions`"),
    ] {
        let found = with(step);
        assert!(found.contains(told), "{step}:\n{found}");
    }
}

#[test]
fn the_schema_knows_every_field_and_describes_it() {
    let schema = stanch_policy::schema();
    insta::assert_snapshot!(serde_json::to_string_pretty(&schema).unwrap());
    let defs = schema["$defs"].as_object().unwrap();
    for (name, def) in defs {
        for (field, of) in def["properties"].as_object().into_iter().flatten() {
            let told = of["description"].as_str().is_some_and(|told| !told.is_empty()) || field == "kind";
            assert!(told || name == "Step" || name == "Calendar", "{name}.{field} has no description");
        }
    }
}

#[test]
fn the_table_of_facts_is_the_one_in_the_guide() {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.md")).unwrap();
    assert!(
        guide.contains(&stanch_policy::facts_table()),
        "run `stanch policy schema --facts` and put it into docs/policy.md"
    );
}

#[test]
fn any_text_is_read_or_refused() {
    use proptest::prelude::*;
    proptest!(ProptestConfig::with_cases(64), |(text in "(\\PC|\n|[-:{}\\[\\]&*# ]){0,200}")| {
        let loaded = Bundle::load(&[source("a.yaml", &text)]);
        prop_assert!(loaded.bundle.is_some() || !loaded.problems.is_empty());
    });
}

#[test]
fn what_the_reader_takes_the_schema_takes() {
    // The example of the guide holds every part of the language.
    let guide = include_str!("../../../../docs/policy.md");
    let example = guide.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let loaded = Bundle::load(&[
        source("guide.yaml", example),
        source("paris-nights.ics", "BEGIN:VCALENDAR\nVERSION:2.0\nEND:VCALENDAR\n"),
        source("corp-freeze.ics", "BEGIN:VCALENDAR\nVERSION:2.0\nEND:VCALENDAR\n"),
    ]);
    let told: Vec<String> = loaded.problems.iter().map(|problem| problem.render(example)).collect();
    assert!(told.is_empty(), "{}", told.concat());
    let fields = |kind: &str| -> Vec<String> {
        let schema: Json = stanch_policy::schema();
        schema["$defs"][kind]["properties"].as_object().unwrap().keys().cloned().collect()
    };
    for field in fields("Policy") {
        assert!(example.contains(&format!("{field}:")) || field == "playbook", "the example lacks `{field}`");
    }
}

//! The fence around conditions: what comes through is small, typed, and asks only what is in the table.

use stanch_model::decision::Mode;
use stanch_policy::facts::Value;
use stanch_policy::{Bundle, MAX_SOURCE};

use crate::world::{bundle, decide, facts, policy, source};

fn with(when: &str) -> String {
    let quoted = serde_json::to_string(when).unwrap();
    policy("p", &format!("  - id: r\n    when: {quoted}\n    mode: suggest"))
}

/// The codes of what is wrong with a condition.
fn codes(when: &str) -> Vec<&'static str> {
    let loaded = Bundle::load(&[source("p.yaml", &with(when))]);
    assert!(loaded.bundle.is_none() == loaded.problems.iter().any(|one| one.grade == stanch_policy::Grade::Error));
    loaded.problems.into_iter().map(|problem| problem.code).collect()
}

fn nested(depth: usize) -> String {
    let list = format!("[{}]", vec!["1"; 30].join(","));
    let mut condition = "x0 == 1".to_owned();
    for level in (0..depth).rev() {
        condition = format!("{list}.all(x{level}, {condition})");
    }
    condition
}

#[test]
fn hostile_conditions_are_refused() {
    let deep = format!("{}true{}", "(".repeat(900), ")".repeat(900));
    let bomb = "!!(".repeat(42);
    let long = format!("item.kev {}", " || item.kev".repeat(200));
    let list = format!("1 in [{}]", vec!["1"; 999].join(","));
    let chain = format!("asset{}", ".a".repeat(600));
    let lists = format!("item.name in {}", "[".repeat(600));
    for (when, code) in [
        (deep.as_str(), "condition-"),
        (bomb.as_str(), "condition-syntax"),
        (long.as_str(), "condition-size"),
        (chain.as_str(), "unknown-path"),
        (lists.as_str(), "condition-syntax"),
        (nested(3).as_str(), "condition-nesting"),
        ("", "text-length"),
        ("true &&", "condition-syntax"),
        ("item.kev; item.kev", "condition-syntax"),
        ("@result", "condition-syntax"),
        ("`item`.kev", "condition-syntax"),
        ("item", "unknown-path"),
        ("now > 1", "unknown-path"),
        ("env.HOME == \"x\"", "unknown-path"),
        ("item.epsss > 0.5", "unknown-path"),
        ("item.epss.value > 0.5", "unknown-path"),
        ("asset.labels.a.b == \"x\"", "unknown-path"),
        ("asset.labels.ring == \"a\"", "label-unguarded"),
        ("asset[\"tier\"] == 1", "condition-function"),
        ("asset.?tier == 1", "condition-"),
        ("item.epss > 1.5", "out-of-range"),
        ("asset.tier == 0", "out-of-range"),
        ("item.epss > \"0.5\"", "condition-type"),
        ("item.kev > 1", "condition-type"),
        ("item.severity >= \"high\"", "condition-type"),
        ("item.severity == \"Critical\"", "unknown-word"),
        ("item.severity in [\"high\", \"severe\"]", "unknown-word"),
        ("\"vulnerabilty\" in item.classes", "unknown-word"),
        ("item.epss == null", "condition-type"),
        ("item.epss + 0.1 > 0.5", "condition-function"),
        ("item.epss / 0.0 > 0.5", "condition-function"),
        ("item.kev ? true : false", "condition-function"),
        ("{\"a\": 1} == {\"a\": 1}", "condition-syntax"),
        ("[] == []", "condition-list"),
        ("item.name in [\"a\", 1]", "condition-list"),
        ("timestamp(\"2026-01-01T00:00:00Z\") > timestamp(\"2025-01-01T00:00:00Z\")", "condition-function"),
        ("item.name.matches(\"(a+)+$\")", "condition-function"),
        ("item.ids.map(x, x).size() > 0", "condition-function"),
        ("item.ids.filter(x, true).size() > 0", "condition-function"),
        ("item.ids.exists(item, item.kev)", "condition-syntax"),
        ("item.ids.exists(x, y == x)", "unknown-path"),
        ("size(item.kev) > 0", "condition-type"),
        ("b\"x\" == b\"x\"", "condition-type"),
        ("1u == 1u", "condition-type"),
        ("item.name", "condition-type"),
        ("1", "condition-type"),
        ("dyn(item.kev)", "condition-function"),
        ("item.kev || item.epss > 0.5", "nullable-hidden"),
        ("!(item.epss > 0.5)", "nullable-hidden"),
        ("item.kev || (has(item.epss) && item.cvss > 5.0)", "nullable-hidden"),
    ] {
        let found = codes(when);
        assert!(found.iter().any(|one| one.starts_with(code)), "{when}: {found:?}");
    }
    assert!(list.len() < MAX_SOURCE && codes(&list).is_empty(), "{:?}", codes(&list));
    assert!(codes(&nested(2)).is_empty());
}

#[test]
fn conditions_that_people_write_come_through_and_mean_what_they_say() {
    for (when, holds) in [
        ("item.kev || (has(item.epss) && item.epss >= 0.5)", true),
        ("item.kev == false && item.cvss >= 9", true),
        ("item.cvss >= 9.8 && item.cvss <= 9.8", true),
        ("item.epss >= 1", false),
        ("item.severity in [\"high\", \"critical\"]", true),
        ("item.severity != \"critical\"", false),
        ("!item.kev && item.confidence > 94", true),
        ("item.due_days < -3", false),
        ("item.name.startsWith(\"open\") && !(item.name.endsWith(\"x\"))", true),
        ("item.ids.exists(id, id.startsWith(\"CVE-2026-\"))", true),
        ("item.ids.all(id, id == \"CVE-2026-1\")", true),
        ("item.ids.exists_one(id, id == \"CVE-2026-1\")", true),
        ("has(asset.groups) && item.ids.exists(id, asset.groups.exists(group, group == id))", false),
        ("\"advisory\" in item.detectors", true),
        ("\"ring\" in asset.labels", true),
        ("has(asset.labels.ring) && asset.labels.ring == \"a\"", true),
        ("!has(asset.labels.ring) || asset.labels.ring == \"b\"", false),
        ("size(asset.groups) == 1 && item.name.size() == 7", true),
        ("asset.tier in [1, 2, 3]", true),
        ("asset.name in [\"web-1\", \"web-2\"]", true),
        ("item.name.contains(asset.environment)", false),
    ] {
        let bundle = bundle(&with(when));
        assert_eq!(decide(&bundle, &facts()).mode == Mode::Suggest, holds, "{when}");
    }
}

#[test]
fn a_missing_fact_is_never_a_yes() {
    for when in
        ["item.epss > 0.5", "item.epss < 0.5", "item.cvss != 5.0 && item.epss > 0.0", "item.kev || item.confidence > 1"]
    {
        let text =
            policy("p", &format!("  - {{id: r, requires: [item.epss, item.confidence], when: {when:?}, mode: auto}}"));
        let bundle = bundle(&text);
        let mut known = facts();
        for path in ["item.epss", "item.confidence"] {
            known.unset(path);
        }
        let decision = decide(&bundle, &known);
        assert_eq!((decision.mode, decision.missing.is_empty()), (Mode::Alert, false), "{when}");
    }
}

#[test]
fn a_rule_may_suggest_but_not_act_because_something_is_unknown() {
    let text =
        |mode: &str| policy("p", &format!("  - {{id: r, when: '!has(item.epss) || item.epss > 0.5', mode: {mode}}}"));
    for mode in ["approve", "auto"] {
        let loaded = Bundle::load(&[source("p.yaml", &text(mode))]);
        assert_eq!(loaded.problems[0].code, "acts-on-unknown", "{mode}");
    }
    let bundle = bundle(&text("suggest"));
    let mut known = facts();
    known.unset("item.epss");
    assert_eq!(decide(&bundle, &known).mode, Mode::Suggest);
    known.set("item.epss", Value::Decimal(1)).unwrap();
    assert_eq!(decide(&bundle, &known).mode, Mode::Alert);
}

#[test]
fn any_text_is_a_condition_or_is_refused() {
    use proptest::prelude::*;
    let words = "(item\\.kev|item\\.epss|asset\\.tier|has|exists|all|&&|\\|\\||!|\\(|\\)|==|<|0\\.5|1|\"x\"|,|\\.|x| |\\[|\\]|in|\\?|:){0,24}";
    proptest!(ProptestConfig::with_cases(200), |(text in prop_oneof![words, "\\PC{0,40}"])| {
        let loaded = Bundle::load(&[source("p.yaml", &with(&text))]);
        if let Some(bundle) = loaded.bundle {
            decide(&bundle, &facts());
        }
    });
}

//! Decisions: who wins, what unknown inputs do, what never happens by itself.

use stanch_model::decision::{Decision, Effect, Mode};
use stanch_policy::facts::Value;

use crate::world::{bundle, decide, facts, now, policy, rule};

const DESIGN: &str = r#"
apiVersion: stanch/v1
kind: Policy
name: prod-critical-packages
match: {classes: [vulnerability], environments: [prod], min_severity: critical}
rules:
  - id: auto-hot
    requires: [item.confidence, item.epss, action.verified_runs]
    when: >-
      item.confidence >= 80 && (item.kev || item.epss >= 0.5)
      && action.kind == "package.upgrade" && action.verified_runs >= 50 && action.success_rate >= 0.98
    mode: auto
  - id: crown-jewels
    when: asset.classification == "restricted" && asset.tier == 1
    mode: approve
    approvals: {quorum: 2, roles: [owner, approver], exclude_author: true, expires: 24h}
actions:
  - first_of:
      - package.upgrade: {to: fixed}
      - shield.apply: {until: patched}
      - host.isolate: {lease: 4h}
  - service.restart: {scope: affected}
on_error: suggest
limits: {concurrent: 20, per_hour: 200, disrupted_percent: 5, cooldown: 6h, max_attempts: 2}
rollout: {waves: [{percent: 1, min: 2, bake: 1h}, {percent: 10, bake: 4h}, {percent: 100}], halt_if: {failed: 3, failed_percent: 2, failed_in_first_wave: 1, inconclusive_for: 30m}}
promote_from: {environment: staging, verified_for: 24h}
confirm: {by: owner, within: 8h, unanswered: escalate}
"#;

#[test]
fn the_policy_of_the_design_page_decides_as_it_says() {
    let bundle = bundle(DESIGN);
    let mut known = facts();
    let auto = decide(&bundle, &known);
    assert_eq!((auto.mode, auto.fired[0].rule.as_str()), (Mode::Auto, "prod-critical-packages/auto-hot"));
    assert!(auto.terms.approvals.is_empty());
    assert_eq!((auto.terms.limits.concurrent, auto.terms.rings.len()), (20, 3));
    assert_eq!(auto.bundle, Some(bundle.digest()));
    insta::assert_snapshot!(auto.reason, @"prod-critical-packages/auto-hot grants auto: its condition holds");

    known.set("asset.classification", Value::Text("restricted".into())).unwrap();
    known.set("asset.tier", Value::Int(1)).unwrap();
    let approve = decide(&bundle, &known);
    assert_eq!(approve.mode, Mode::Approve);
    let quorum = approve.terms.approvals.first().unwrap();
    assert_eq!((quorum.count, quorum.exclude_author, quorum.expires_seconds), (2, true, 86_400));

    known.unset("item.epss");
    let suggest = decide(&bundle, &known);
    assert_eq!((suggest.mode, suggest.missing.as_slice()), (Mode::Suggest, ["item.epss".to_owned()].as_slice()));
    insta::assert_snapshot!(suggest.reason, @"prod-critical-packages/auto-hot cannot be decided and allows no more than suggest: `item.epss` is not known");
}

#[test]
fn a_policy_whose_rules_do_not_fire_abstains() {
    let two = bundle(&format!(
        "{}{}",
        policy("a", "  - {id: r, mode: auto}"),
        policy("b", "  - {id: r, when: asset.tier == 1, mode: alert}")
    ));
    let decision = decide(&two, &facts());
    assert_eq!(decision.mode, Mode::Auto);
    assert_eq!(decision.abstained[0].rule, "b/r");
}

#[test]
fn the_lowest_of_the_rules_that_fired_wins() {
    let two = bundle(&format!(
        "{}{}",
        policy("a", "  - {id: r, mode: auto}"),
        policy("b", "  - {id: r, when: asset.tier == 3, mode: suggest}")
    ));
    assert_eq!(decide(&two, &facts()).mode, Mode::Suggest);
}

#[test]
fn a_cap_limits_what_others_grant_and_grants_nothing() {
    let cap = policy("cap", "  - {id: r, when: action.disruption == \"restart\", at_most: approve}");
    let alone = decide(&bundle(&cap), &facts());
    assert_eq!((alone.mode, alone.fired[0].effect), (Mode::Alert, Effect::Caps));
    let both = decide(&bundle(&format!("{}{cap}", policy("a", "  - {id: r, mode: auto}"))), &facts());
    assert_eq!(both.mode, Mode::Approve);
    assert_eq!(both.terms.approvals.len(), 1, "what a cap made wait waits for somebody");
}

#[test]
fn labels_that_nobody_knows_are_not_labels_that_are_not_there() {
    let both = bundle(&format!(
        "{}{}",
        policy("a", "  - {id: r, mode: auto}"),
        policy("b", "  - {id: r, when: has(asset.labels.ring) && asset.labels.ring == \"z\", mode: approve}")
    ));
    let mut known = facts();
    assert_eq!(decide(&both, &known).mode, Mode::Auto);
    known.unset("asset.labels");
    assert_eq!(decide(&both, &known).mode, Mode::Suggest);
}

#[test]
fn without_a_rule_that_fired_the_default_holds_and_says_what_was_not_known() {
    let mut unknown = facts();
    unknown.unset("item.epss");
    let decision = decide(&bundle(&rule("item.epss > 0.1", "auto")), &unknown);
    assert_eq!(decision.mode, Mode::Alert);
    insta::assert_snapshot!(decision.reason, @"no policy grants more; nothing is changed until a person asks; p/r cannot be decided: `item.epss` is not known");
}

#[test]
fn a_match_whose_input_is_missing_still_restricts() {
    let restricting = "---\napiVersion: stanch/v1\nkind: Policy\nname: lab\nmatch: {environments: [lab]}\nrules: [{id: r, mode: approve}]\n";
    let both = bundle(&format!("{}{restricting}", policy("a", "  - {id: r, mode: auto}")));
    let mut unknown = facts();
    assert_eq!(decide(&both, &unknown).mode, Mode::Auto);
    unknown.unset("asset.environment");
    let decision = decide(&both, &unknown);
    assert_eq!(
        (decision.mode, decision.missing.as_slice()),
        (Mode::Suggest, ["asset.environment".to_owned()].as_slice())
    );
}

#[test]
fn a_match_whose_input_is_missing_grants_nothing() {
    let granting =
        "apiVersion: stanch/v1\nkind: Policy\nname: lab\nmatch: {environments: [lab]}\nrules: [{id: r, mode: auto}]\n";
    let mut unknown = facts();
    unknown.unset("asset.environment");
    assert_eq!(decide(&bundle(granting), &unknown).mode, Mode::Alert);
}

#[test]
fn a_guard_does_not_hide_that_a_restricting_rule_may_apply() {
    let both = bundle(&format!(
        "{}{}",
        policy("a", "  - {id: r, mode: auto}"),
        policy("b", "  - {id: r, when: has(item.epss) && item.epss > 0.5, mode: approve}")
    ));
    let mut known = facts();
    assert_eq!(decide(&both, &known).mode, Mode::Approve);
    known.set("item.epss", Value::Decimal(1)).unwrap();
    assert_eq!(decide(&both, &known).mode, Mode::Auto);
    known.unset("item.epss");
    assert_eq!(decide(&both, &known).mode, Mode::Suggest);
}

#[test]
fn a_guard_does_not_hide_that_a_policy_may_be_about_this() {
    let granting = policy("all", "  - {id: r, mode: approve}");
    let guarded = "---\napiVersion: stanch/v1\nkind: Policy\nname: vulnerable\nmatch: {classes: [vulnerability]}\n\
        rules:\n  - id: hot\n    when: has(item.epss) && item.epss >= 0.5\n    mode: auto\n";
    let bundle = bundle(&format!("{granting}{guarded}"));
    let mut known = facts();
    known.unset("item.classes");
    assert_eq!(decide(&bundle, &known).mode, Mode::Suggest);
    known.unset("item.epss");
    assert_eq!(decide(&bundle, &known).mode, Mode::Suggest);
}

#[test]
fn what_cannot_be_taken_back_runs_by_itself_only_where_a_policy_names_it() {
    let mut known = facts();
    known.set("action.reversibility", Value::Text("one_way".into())).unwrap();
    let any = policy("any", "  - {id: r, mode: auto}");
    assert_eq!(decide(&bundle(&any), &known).mode, Mode::Approve);
    let named = any.replace("{all: true}", "{actions: [package.upgrade]}");
    assert_eq!(decide(&bundle(&named), &known).mode, Mode::Auto);
    let second = named.replace("name: any", "name: named");
    assert_eq!(decide(&bundle(&format!("{any}{second}")), &known).mode, Mode::Approve);
}

#[test]
fn caps_that_are_built_in_hold_in_every_bundle() {
    let auto = bundle(&policy("a", "  - {id: r, mode: auto}"));
    let with = |path: &str, value: Option<bool>| {
        let mut known = facts();
        known.unset(path);
        if let Some(value) = value {
            known.set(path, Value::Bool(value)).unwrap();
        }
        decide(&auto, &known).mode
    };
    for (path, bad, cap) in [
        ("asset.confirmed", false, Mode::Alert),
        ("item.stale", true, Mode::Suggest),
        ("asset.own", true, Mode::Approve),
        ("asset.asks_signatures", true, Mode::Approve),
        ("action.proven", false, Mode::Approve),
    ] {
        assert_eq!(with(path, Some(bad)), cap, "{path}");
        assert_eq!(with(path, None), cap, "{path} unknown");
        assert_eq!(with(path, Some(!bad)), Mode::Auto, "{path}");
    }
}

#[test]
fn an_accepted_risk_wins_until_its_day() {
    let text = format!(
        "{}---\napiVersion: stanch/v1\nkind: Exception\nname: legacy-ssl\nowner: kim\nreason: replaced in May\nexpires: 2026-12-31\nmatch: {{ids: [CVE-2026-1]}}\n",
        policy("a", "  - {id: r, mode: auto}")
    );
    let bundle = bundle(&text);
    let mut known = facts();
    let excepted = decide(&bundle, &known);
    assert_eq!((excepted.mode, excepted.accepted.as_ref().unwrap().owner.as_str()), (Mode::Alert, "kim"));
    insta::assert_snapshot!(excepted.reason, @"kim accepted the risk until 2026-12-31 00:00 UTC: replaced in May");
    let later = bundle.decide(&excepted.item, &known, "2026-12-31T00:00:00Z".parse().unwrap());
    assert_eq!((later.mode, later.accepted), (Mode::Auto, None));

    known.set("item.ids", Value::Texts(vec!["CVE-2026-1".into(), "CVE-2026-2".into()])).unwrap();
    assert_eq!(decide(&bundle, &known).mode, Mode::Auto, "one of two ids is not the item");
    known.unset("item.ids");
    let unknown = decide(&bundle, &known);
    assert_eq!((unknown.mode, unknown.accepted), (Mode::Alert, None), "where a risk may be accepted, nobody acts");
}

#[test]
fn terms_of_all_rules_that_count_hold_together() {
    let strict = policy("strict", "  - {id: r, at_most: auto}")
        .replace("match:", "limits: {concurrent: 3}\npromote_from: {environment: staging, verified_for: 2h}\nmatch:");
    let wide = policy("wide", "  - {id: r, mode: auto}")
        .replace("match:", "limits: {concurrent: 50, per_hour: 500, cooldown: 1h}\nconfirm: {within: 8h}\nmatch:");
    let terms = decide(&bundle(&format!("{strict}{wide}")), &facts()).terms;
    assert_eq!((terms.limits.concurrent, terms.limits.per_hour, terms.limits.cooldown_seconds), (3, 500, 3_600));
    assert_eq!((terms.promote_from.len(), terms.confirm.len()), (1, 1));
    let silent = decide(&bundle(&policy("a", "  - {id: r, mode: auto}")), &facts()).terms;
    assert_eq!(silent.limits, stanch_model::plan::Limits::default(), "a policy without limits gets the built-in ones");
}

#[test]
fn empty_means_nothing() {
    for selector in [
        "{}",
        "{environments: []}",
        "{classes: [], environments: [prod]}",
        "{labels: {}}",
        "{labels: {ring: []}}",
        "{all: false}",
    ] {
        let text = policy("a", "  - {id: r, mode: auto}").replace("{all: true}", selector);
        let bundle = bundle(&text);
        let mut known = facts();
        assert!(decide(&bundle, &known).fired.is_empty(), "{selector}");
        known.unset("asset.environment");
        known.unset("asset.labels");
        assert!(decide(&bundle, &known).fired.is_empty(), "{selector} with unknowns");
    }
}

#[test]
fn the_steps_are_those_of_the_policy_that_decides() {
    let steps = |name: &str, mode: &str| {
        format!(
            "{}actions:\n  - package.upgrade: {{to: fixed}}\n",
            policy(name, &format!("  - {{id: r, mode: {mode}}}"))
        )
    };
    let playbook = |text: &str| decide(&bundle(text), &facts()).playbook;
    let plain = policy("plain", "  - {id: r, mode: suggest}");
    assert_eq!(playbook(&format!("{}{plain}", steps("b", "suggest"))).as_deref(), Some("b"));
    assert_eq!(playbook(&format!("{}{plain}", steps("b", "approve"))), None, "the lower one decides");
    assert_eq!(playbook(&steps("b", "alert")), None, "what is only shown is not begun");
    assert_eq!(playbook(&format!("{}{}", steps("c", "suggest"), steps("b", "suggest"))).as_deref(), Some("b"));
}

#[test]
fn beside_another_asset_less_is_allowed_and_never_more() {
    let text = format!(
        "{}{}",
        policy("p", "  - {id: r, mode: approve}"),
        "---\napiVersion: stanch/v1\nkind: Policy\nname: careful\nmatch: {labels: {kind: admin}}\nrules:\n  - {id: r, at_most: suggest}\n"
    );
    let bundle = bundle(&text);
    let there = |value: &str| {
        let mut facts = facts();
        facts.set("asset.labels", Value::Labels([("kind".to_owned(), value.to_owned())].into())).unwrap();
        facts
    };
    let own = decide(&bundle, &there("web"));
    assert_eq!(own.mode, Mode::Approve);
    assert_eq!(bundle.beside(own.clone(), &there("web"), now()).mode, Mode::Approve);
    let bound = bundle.beside(own.clone(), &there("admin"), now());
    assert_eq!(bound.mode, Mode::Suggest);
    assert!(bound.fired.iter().any(|word| word.rule == "careful/r"));
    let suggested = Decision { mode: Mode::Suggest, ..own };
    assert_eq!(bundle.beside(suggested, &there("web"), now()).mode, Mode::Suggest);
}

#[test]
fn a_new_version_of_stanch_is_never_brought_unasked_whatever_a_policy_says() {
    let bundle = bundle(&rule("item.fixable", "auto"));
    let mut known = facts();
    known.set("item.own", Value::Bool(false)).unwrap();
    assert_eq!(decide(&bundle, &known).mode, Mode::Auto);
    known.set("item.own", Value::Bool(true)).unwrap();
    let decision = decide(&bundle, &known);
    assert_eq!(decision.mode, Mode::Approve);
    assert!(decision.fired.iter().any(|word| word.rule == "built-in/own-packages"), "{:?}", decision.fired);
}

#[test]
fn what_may_be_relied_on_is_never_set_unasked_whatever_a_policy_says() {
    let bundle = bundle(&rule("item.fixable", "auto"));
    let mut known = facts();
    known.set("item.caution", Value::Bool(false)).unwrap();
    assert_eq!(decide(&bundle, &known).mode, Mode::Auto);
    known.set("item.caution", Value::Bool(true)).unwrap();
    let decision = decide(&bundle, &known);
    assert_eq!(decision.mode, Mode::Approve);
    assert!(decision.fired.iter().any(|word| word.rule == "built-in/relied-on"), "{:?}", decision.fired);
}

fn waiting(more: &str) -> stanch_policy::Bundle {
    bundle(&policy("p", &format!("  - {{id: r, mode: auto, wait_for_age: 3d{more}}}")))
}

#[test]
fn a_rule_waits_until_the_patch_is_old_enough_and_says_until_when() {
    let mut young = facts();
    young.set("item.fix_age_hours", Value::Int(71)).unwrap();
    let waits = decide(&waiting(""), &young);
    assert_eq!(waits.mode, Mode::Alert);
    insta::assert_snapshot!(waits.reason);
    young.set("item.fix_age_hours", Value::Int(72)).unwrap();
    let granted = decide(&waiting(""), &young);
    assert_eq!(granted.mode, Mode::Auto);
    assert_eq!(granted.terms.min_age_seconds, 3 * 24 * 3_600, "what is brought in the end has to be as old");
    let unless = waiting(", no_wait_when: \"true\"");
    assert_eq!(decide(&unless, &young).terms.min_age_seconds, 0);
}

#[test]
fn what_is_exploited_need_not_wait_and_what_is_unknown_waits() {
    let mut young = facts();
    young.set("item.fix_age_hours", Value::Int(1)).unwrap();
    let unless = waiting(", requires: [item.epss], no_wait_when: \"item.kev || item.epss >= 0.9\"");
    assert_eq!(decide(&unless, &young).mode, Mode::Alert, "it is neither exploited nor likely to be");
    young.set("item.kev", Value::Bool(true)).unwrap();
    assert_eq!(decide(&unless, &young).mode, Mode::Auto);
    young.unset("item.kev");
    assert_eq!(decide(&unless, &young).mode, Mode::Alert, "nobody knows whether it is exploited");
    let mut unknown = facts();
    unknown.unset("item.fix_age_hours");
    let decision = decide(&waiting(""), &unknown);
    assert_eq!((decision.mode, decision.missing), (Mode::Alert, vec!["item.fix_age_hours".to_owned()]));
    unknown.set("item.kind", Value::Text("component".to_owned())).unwrap();
    assert_eq!(decide(&waiting(""), &unknown).mode, Mode::Alert, "a component has versions too");
    unknown.set("item.kind", Value::Text("reboot".to_owned())).unwrap();
    assert_eq!(decide(&waiting(""), &unknown).mode, Mode::Auto, "a reboot has no version that could be old");
}

#[test]
fn adding_a_rule_that_waits_raises_nothing() {
    let mut young = facts();
    young.set("item.fix_age_hours", Value::Int(1)).unwrap();
    let two = bundle(&policy("p", "  - {id: a, mode: auto, wait_for_age: 3d}\n  - {id: b, mode: auto}"));
    assert_eq!(decide(&two, &young).mode, Mode::Alert);
}

#[test]
fn a_bad_patch_is_only_shown_whatever_is_granted() {
    let granted = bundle(&policy("p", "  - {id: r, mode: auto}"));
    let mut bad = facts();
    bad.set("item.blocked", Value::Bool(true)).unwrap();
    let decision = decide(&granted, &bad);
    assert_eq!((decision.mode, decision.fired.last().unwrap().rule.as_str()), (Mode::Alert, "built-in/bad-patch"));
}

#[test]
fn other_updaters_are_switched_off_only_where_a_policy_says_so_and_never_unasked() {
    let told = |more: &str| {
        let rules = "  - {id: r, when: item.kev, mode: auto}";
        bundle(&(policy("p", rules).replace("{all: true}", "{classes: [vulnerability], environments: [prod]}") + more))
    };
    let mut shared = facts();
    shared.set("asset.environment", Value::Text("prod".to_owned())).unwrap();
    shared.set("item.kind", Value::Text("setting".to_owned())).unwrap();
    shared.set("item.name", Value::Text("other-updaters".to_owned())).unwrap();
    shared.set("item.classes", Value::Texts(vec!["compliance".to_owned()])).unwrap();
    shared.set("action.kind", Value::Text("config.set".to_owned())).unwrap();
    let take_over = told("other_updaters: take_over\n");
    assert!(take_over.takes_over() && !told("other_updaters: warn\n").takes_over());
    let decision = decide(&take_over, &shared);
    assert_eq!((decision.mode, decision.fired[0].rule.as_str()), (Mode::Approve, "p/take-over"));
    assert!(!decision.terms.approvals.is_empty(), "somebody agrees to the plan first");
    shared.set("asset.environment", Value::Text("lab".to_owned())).unwrap();
    assert_eq!(decide(&take_over, &shared).mode, Mode::Alert, "the policy is about another place");
    let all = bundle(&policy("p", "  - {id: r, mode: auto}"));
    assert_eq!(decide(&all, &shared).mode, Mode::Alert, "a rule about everything is no word on it");

    let mut upgrade = facts();
    upgrade.set("asset.environment", Value::Text("prod".to_owned())).unwrap();
    upgrade.set("item.kev", Value::Bool(true)).unwrap();
    upgrade.set("asset.other_updaters", Value::Texts(vec!["unattended-upgrades".to_owned()])).unwrap();
    let decision = decide(&take_over, &upgrade);
    assert_eq!(decision.mode, Mode::Suggest);
    assert!(decision.reason.contains("that is switched off first"), "{}", decision.reason);
    upgrade.set("asset.other_updaters", Value::Texts(Vec::new())).unwrap();
    assert_eq!(decide(&take_over, &upgrade).mode, Mode::Auto, "it is off");
}

#[test]
fn where_another_program_changes_packages_a_policy_stands_back_or_says_so() {
    let told = |word: &str| {
        let text = policy("p", "  - {id: r, mode: auto}") + &format!("other_updaters: {word}\n");
        bundle(&text)
    };
    let mut shared = facts();
    assert_eq!(decide(&told("stand_back"), &shared).mode, Mode::Auto, "nothing else is at work there");
    shared.set("asset.other_updaters", Value::Texts(vec!["unattended-upgrades".to_owned()])).unwrap();
    let back = decide(&told("stand_back"), &shared);
    assert_eq!(back.mode, Mode::Suggest);
    insta::assert_snapshot!(back.reason);
    let warned = decide(&told("warn"), &shared);
    assert_eq!(warned.mode, Mode::Auto);
    insta::assert_snapshot!(warned.reason);
    shared.unset("asset.other_updaters");
    assert_eq!(decide(&told("stand_back"), &shared).mode, Mode::Suggest, "nobody could tell");
    shared.set("action.kind", Value::Text("service.restart".to_owned())).unwrap();
    assert_eq!(decide(&told("stand_back"), &shared).mode, Mode::Auto, "a restart moves no package");
}

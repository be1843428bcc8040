//! Short ways to write bundles and facts.

use jiff::Timestamp;
use stanch_model::decision::Decision;
use stanch_model::id::ItemId;
use stanch_model::playbook::{KnownAction, ParamKind, ParamRule};
use stanch_policy::facts::Value;
use stanch_policy::{Bundle, Facts, Source};

/// A catalogue of a few actions.
pub(crate) const KNOWN: [KnownAction; 6] = [
    KnownAction { name: "package.upgrade", params: &[may("to", ParamKind::Word(&["fixed"]))] },
    KnownAction { name: "service.restart", params: &[may("scope", ParamKind::Word(&["affected"]))] },
    KnownAction { name: "host.reboot", params: &[] },
    KnownAction { name: "host.isolate", params: &[may("lease", ParamKind::Span)] },
    KnownAction { name: "account.disable", params: &[] },
    KnownAction { name: "script.run", params: &[ParamRule { name: "script", required: true, kind: ParamKind::Text }] },
];

const fn may(name: &'static str, kind: ParamKind) -> ParamRule {
    ParamRule { name, required: false, kind }
}

pub(crate) const NOW: i64 = 1_795_651_200;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

pub(crate) fn item() -> ItemId {
    ItemId::from_entropy([1; 10])
}

pub(crate) fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

/// The bundle in this text; fails with its problems.
pub(crate) fn bundle(text: &str) -> Bundle {
    let loaded = Bundle::load(&[source("policy.yaml", text)]);
    let problems: Vec<String> = loaded.problems.iter().map(|problem| problem.render(text)).collect();
    loaded.bundle.unwrap_or_else(|| panic!("{}", problems.concat()))
}

/// What is wrong with this text, rendered.
pub(crate) fn problems(text: &str) -> String {
    let loaded = Bundle::load(&[source("policy.yaml", text)]);
    assert!(loaded.bundle.is_none(), "nothing is wrong with:\n{text}");
    loaded.problems.iter().map(|problem| problem.render(text)).collect()
}

/// A policy over everything with these rules.
pub(crate) fn policy(name: &str, rules: &str) -> String {
    format!("---\napiVersion: stanch/v1\nkind: Policy\nname: {name}\nmatch: {{all: true}}\nrules:\n{rules}\n")
}

/// A policy over everything with one rule.
pub(crate) fn rule(when: &str, mode: &str) -> String {
    policy("p", &format!("  - id: r\n    when: '{when}'\n    mode: {mode}"))
}

/// An item about which everything is known and nothing stands in the way.
pub(crate) fn facts() -> Facts {
    let text = |text: &str| Value::Text(text.to_owned());
    let texts = |one: &str| Value::Texts(vec![one.to_owned()]);
    let mut facts = Facts::default();
    for (path, value) in [
        ("item.kind", text("source_package")),
        ("item.name", text("openssl")),
        ("item.package", text("openssl")),
        ("item.classes", texts("vulnerability")),
        ("item.ids", texts("CVE-2026-1")),
        ("item.detectors", texts("advisory")),
        ("item.verdicts", texts("affected_fixable")),
        ("item.fixable", Value::Bool(true)),
        ("item.kev", Value::Bool(false)),
        ("item.ransomware", Value::Bool(false)),
        ("item.epss", Value::Decimal(60_000)),
        ("item.epss_percentile", Value::Decimal(97_000)),
        ("item.cvss", Value::Decimal(980_000)),
        ("item.severity", text("critical")),
        ("item.exploitation", text("public_poc")),
        ("item.automatable", Value::Bool(true)),
        ("item.total_impact", Value::Bool(true)),
        ("item.ssvc", text("out_of_cycle")),
        ("item.coordinator", text("attend")),
        ("item.bod", text("days14")),
        ("item.due_days", Value::Int(10)),
        ("item.age_days", Value::Int(4)),
        ("item.fix_age_hours", Value::Int(72)),
        ("item.blocked", Value::Bool(false)),
        ("item.confidence", Value::Int(95)),
        ("item.stale", Value::Bool(false)),
        ("asset.kind", text("host")),
        ("asset.name", text("web-1")),
        ("asset.environment", text("prod")),
        ("asset.tier", Value::Int(3)),
        ("asset.classification", text("internal")),
        ("asset.owner", text("web")),
        ("asset.labels", Value::Labels([("ring".to_owned(), "a".to_owned())].into())),
        ("asset.exposure", text("open")),
        ("asset.dependents", Value::Int(2)),
        ("asset.groups", texts("web")),
        ("asset.own", Value::Bool(false)),
        ("asset.other_updaters", Value::Texts(Vec::new())),
        ("asset.confirmed", Value::Bool(true)),
        ("asset.asks_signatures", Value::Bool(false)),
        ("action.kind", text("package.upgrade")),
        ("action.disruption", text("restart")),
        ("action.reversibility", text("restorable")),
        ("action.idempotent", Value::Bool(true)),
        ("action.closes_exposure", Value::Bool(true)),
        ("action.lane", text("change")),
        ("action.proven", Value::Bool(true)),
        ("action.verified_runs", Value::Int(80)),
        ("action.success_rate", Value::Decimal(99_000)),
        ("action.undos", Value::Int(0)),
        ("action.misfires", Value::Int(0)),
    ] {
        facts.set(path, value).unwrap();
    }
    facts
}

pub(crate) fn decide(bundle: &Bundle, facts: &Facts) -> Decision {
    let decision = bundle.decide(&item(), facts, now());
    assert_eq!(decision, bundle.decide_without_index(&item(), facts, now()), "the index changes the decision");
    decision
}

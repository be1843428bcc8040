//! What holds for every bundle and every item: more rules mean less power, less knowledge means less power.

use proptest::prelude::*;
use stanch_model::decision::{Decision, Effect, Mode};
use stanch_policy::facts::{DECIMAL, Value};
use stanch_policy::{Bundle, Facts, Source, worst_case};

use crate::world::{decide, facts, item, now};

/// Comparisons, the fact they ask for, and whether it may be unknown.
const ATOMS: &[(&str, &str, bool)] = &[
    ("item.kev", "item.kev", false),
    ("item.fixable", "item.fixable", false),
    ("item.epss >= 0.5", "item.epss", true),
    ("item.cvss > 7", "item.cvss", true),
    ("item.severity in [\"high\", \"critical\"]", "item.severity", true),
    ("asset.tier == 1", "asset.tier", true),
    ("asset.environment == \"prod\"", "asset.environment", true),
    ("asset.classification != \"restricted\"", "asset.classification", true),
    ("action.disruption == \"restart\"", "action.disruption", true),
    ("action.verified_runs >= 50", "action.verified_runs", true),
    ("has(asset.labels.ring) && asset.labels.ring == \"a\"", "asset.labels", false),
];

#[derive(Debug, Clone)]
enum Condition {
    Atom(usize),
    Guarded(usize),
    Not(usize),
    Both(Box<Condition>, Box<Condition>),
    Either(Box<Condition>, Box<Condition>),
}

impl Condition {
    fn text(&self) -> String {
        match self {
            Self::Atom(at) => format!("({})", ATOMS[*at].0),
            Self::Guarded(at) if ATOMS[*at].2 => format!("(has({}) && {})", ATOMS[*at].1, ATOMS[*at].0),
            Self::Guarded(at) => format!("({})", ATOMS[*at].0),
            Self::Not(at) => format!("!({})", ATOMS[*at].0),
            Self::Both(a, b) => format!("({} && {})", a.text(), b.text()),
            Self::Either(a, b) => format!("({} || {})", a.text(), b.text()),
        }
    }

    /// Facts used without a guard.
    fn open(&self, under: bool, into: &mut Vec<&'static str>) {
        match self {
            Self::Atom(at) if under && ATOMS[*at].2 => into.push(ATOMS[*at].1),
            Self::Not(at) if ATOMS[*at].2 => into.push(ATOMS[*at].1),
            Self::Atom(_) | Self::Guarded(_) | Self::Not(_) => {}
            Self::Both(a, b) => {
                a.open(under, into);
                b.open(under, into);
            }
            Self::Either(a, b) => {
                a.open(true, into);
                b.open(true, into);
            }
        }
    }
}

fn condition() -> impl Strategy<Value = Condition> {
    let atom = 0..ATOMS.len();
    let leaf = prop_oneof![
        3 => atom.clone().prop_map(Condition::Atom),
        2 => atom.clone().prop_map(Condition::Guarded),
        1 => atom.prop_map(Condition::Not),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let pair = (inner.clone(), inner);
        prop_oneof![
            pair.clone().prop_map(|(a, b)| Condition::Both(Box::new(a), Box::new(b))),
            pair.prop_map(|(a, b)| Condition::Either(Box::new(a), Box::new(b))),
        ]
    })
}

const MODES: [&str; 4] = ["alert", "suggest", "approve", "auto"];
const MATCHES: [&str; 7] = [
    "{all: true}",
    "{environments: [prod]}",
    "{classes: [vulnerability], environments: [prod, staging]}",
    "{min_severity: high}",
    "{labels: {ring: a}}",
    "{actions: [package.upgrade]}",
    "{owners: [web], kinds: [host]}",
];

#[derive(Debug, Clone)]
struct Drawn {
    select: usize,
    when: Option<Condition>,
    mode: usize,
    caps: bool,
    on_error: bool,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let when = prop_oneof![1 => Just(None), 4 => condition().prop_map(Some)];
    // Rules that grant are the ones that matter.
    let mode = prop_oneof![1 => 0_usize..4, 1 => Just(3_usize)];
    (0..MATCHES.len(), when, mode, prop::bool::weighted(0.2), any::<bool>())
        .prop_map(|(select, when, mode, caps, on_error)| Drawn { select, when, mode, caps, on_error })
}

impl Drawn {
    fn source(&self, name: &str) -> Source {
        let grant = if self.caps { "at_most" } else { "mode" };
        let mut rule = format!("  - id: r\n    {grant}: {}\n", MODES[self.mode]);
        if let Some(when) = &self.when {
            let mut open = Vec::new();
            when.open(false, &mut open);
            rule.push_str(&format!(
                "    requires: [{}]\n    when: {}\n",
                open.join(", "),
                serde_json::to_string(&when.text()).unwrap()
            ));
        }
        let on_error = if self.on_error { "suggest" } else { "alert" };
        let text = format!(
            "apiVersion: stanch/v1\nkind: Policy\nname: {name}\nmatch: {}\non_error: {on_error}\nrules:\n{rule}",
            MATCHES[self.select]
        );
        Source { name: format!("{name}.yaml"), text }
    }
}

fn load(policies: &[Drawn]) -> Bundle {
    let sources: Vec<Source> = policies.iter().enumerate().map(|(at, one)| one.source(&format!("p{at}"))).collect();
    let loaded = Bundle::load(&sources);
    let told: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    loaded.bundle.unwrap_or_else(|| panic!("{told:?}\n{sources:?}"))
}

/// Facts that differ from the usual ones, and what is not known of them.
fn some_facts() -> impl Strategy<Value = Facts> {
    let text =
        |words: &'static [&'static str]| prop::sample::select(words).prop_map(|word| Value::Text(word.to_owned()));
    let changed = (
        any::<bool>().prop_map(Value::Bool),
        (0..=DECIMAL).prop_map(Value::Decimal),
        (0..=10 * DECIMAL).prop_map(Value::Decimal),
        text(&["low", "high", "critical"]),
        (1_i64..=5).prop_map(Value::Int),
        text(&["prod", "staging", "lab"]),
        text(&["restricted", "internal"]),
        text(&["none", "restart", "outage"]),
        (0_i64..100).prop_map(Value::Int),
        text(&["restorable", "one_way"]),
    );
    let gone = prop::collection::vec(0_usize..18, 0..4);
    (changed, gone).prop_map(
        |((kev, epss, cvss, severity, tier, environment, class, disruption, runs, reversible), gone)| {
            let mut facts = facts();
            let paths = [
                ("item.kev", Some(kev)),
                ("item.epss", Some(epss)),
                ("item.cvss", Some(cvss)),
                ("item.severity", Some(severity)),
                ("asset.tier", Some(tier)),
                ("asset.environment", Some(environment)),
                ("asset.classification", Some(class)),
                ("action.disruption", Some(disruption)),
                ("action.verified_runs", Some(runs)),
                ("action.reversibility", Some(reversible)),
                ("asset.owner", None),
                ("asset.labels", None),
                ("asset.kind", None),
                ("item.classes", None),
                ("action.kind", None),
                ("item.stale", None),
                ("action.proven", None),
                ("item.fixable", None),
            ];
            for (path, value) in &paths {
                if let Some(value) = value {
                    facts.set(path, value.clone()).unwrap();
                }
            }
            for at in gone {
                facts.unset(paths[at].0);
            }
            facts
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Invariant 8.
    /// Whoever plants findings chooses what is known of an item, and nothing else.
    #[test]
    fn no_findings_make_a_bundle_go_further_than_its_worst_case(
        policies in prop::collection::vec(drawn(), 1..6), items in prop::collection::vec(some_facts(), 1..8),
    ) {
        let bundle = load(&policies);
        prop_assume!(items[0].get("action.kind").is_some());
        let worst = worst_case(&bundle, &items[..1]);
        let bound = worst.reach.first().map_or(Mode::Alert, |one| one.mode);
        for other in &items {
            let mut forged = items[0].clone();
            for fact in stanch_policy::facts::SCHEMA.iter().filter(|fact| fact.path.starts_with("item.")) {
                forged.unset(fact.path);
                if let Some(value) = other.get(fact.path) {
                    forged.set(fact.path, value.clone()).unwrap();
                }
            }
            let mode = decide(&bundle, &forged).mode;
            prop_assert!(mode <= bound, "{mode:?} above {bound:?} in {worst:#?}");
        }
    }

    #[test]
    fn forgetting_a_fact_never_raises_the_mode(policies in prop::collection::vec(drawn(), 1..5), facts in some_facts()) {
        let bundle = load(&policies);
        let before = decide(&bundle, &facts);
        let known: Vec<&str> = facts.known().map(|(fact, _)| fact.path).collect();
        for path in known {
            let mut less = facts.clone();
            less.unset(path);
            let after = decide(&bundle, &less);
            prop_assert!(after.mode <= before.mode, "without {path}: {} then {}: {:#?}", before.mode.name(), after.mode.name(), after.fired);
        }
    }

    /// Invariant 9.
    #[test]
    fn adding_a_rule_never_raises_the_mode_of_what_a_rule_fired_on(
        policies in prop::collection::vec(drawn(), 1..5), more in drawn(), facts in some_facts(),
    ) {
        let before = decide(&load(&policies), &facts);
        let fired = before.fired.iter().any(|word| word.effect == Effect::Grants);
        let all: Vec<Drawn> = policies.iter().cloned().chain([more]).collect();
        let after = decide(&load(&all), &facts);
        prop_assert!(!fired || after.mode <= before.mode, "{} then {}", before.mode.name(), after.mode.name());
        prop_assert!(after.mode == Mode::Alert || after.fired.iter().any(|word| word.effect == Effect::Grants));
    }

    #[test]
    fn a_policy_in_shadow_changes_nothing_and_says_what_it_would_change(
        policies in prop::collection::vec(drawn(), 0..5), more in drawn(), facts in some_facts(),
    ) {
        let mut all: Vec<Source> =
            policies.iter().chain([&more]).enumerate().map(|(at, one)| one.source(&format!("p{at}"))).collect();
        let in_force = decide(&Bundle::load(&all).bundle.unwrap(), &facts);
        let last = all.last_mut().unwrap();
        last.text.push_str("shadow: true\n");
        let with = decide(&Bundle::load(&all).bundle.unwrap(), &facts);
        let without = decide(&load(&policies), &facts);
        let shadow = with.shadow.clone();
        prop_assert_eq!(Decision { shadow: None, bundle: without.bundle, ..with }, without.clone());
        match shadow {
            Some(shadow) => prop_assert_eq!((shadow.mode, shadow.reason), (in_force.mode, in_force.reason)),
            None => prop_assert_eq!(in_force.mode, without.mode),
        }
    }

    #[test]
    fn the_same_files_in_any_order_decide_the_same(policies in prop::collection::vec(drawn(), 1..5), facts in some_facts()) {
        let sources: Vec<Source> = policies.iter().enumerate().map(|(at, one)| one.source(&format!("p{at}"))).collect();
        let turned: Vec<Source> = sources.iter().rev().cloned().collect();
        let (a, b) = (Bundle::load(&sources).bundle.unwrap(), Bundle::load(&turned).bundle.unwrap());
        prop_assert_eq!(a.digest(), b.digest());
        prop_assert_eq!(a.decide(&item(), &facts, now()), b.decide(&item(), &facts, now()));
        prop_assert_eq!(a.decide(&item(), &facts, now()), a.decide_without_index(&item(), &facts, now()));
    }
}

//! Decisions a second and the slowest percent, at a number of rules, with and without the index, in the same run; one
//! JSON line.
//!
//! `cargo run --release -p stanch-policy --example decisions [RULES] [DECISIONS]`

use std::error::Error;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use stanch_model::decision::Decision;
use stanch_model::id::ItemId;
use stanch_policy::facts::Value;
use stanch_policy::{Bundle, Facts, Source};

const ENVIRONMENTS: [&str; 8] = ["prod", "staging", "test", "dev", "lab", "edge", "office", "dmz"];
const CLASSES: [&str; 4] = ["vulnerability", "compliance", "detection", "data_security"];
const CONDITIONS: [&str; 4] = [
    "item.confidence >= 80 && (item.kev || item.epss >= 0.5) && action.kind == \\\"package.upgrade\\\"",
    "asset.tier == 1 && asset.classification == \\\"restricted\\\"",
    "action.disruption in [\\\"session_loss\\\", \\\"outage\\\"] && asset.dependents > 10",
    "item.ids.exists(id, id.startsWith(\\\"CVE-2026-\\\")) && item.age_days > 30",
];

/// Policies of five rules each; every eighth is about everything, the others about a class in an environment.
fn bundle(rules: usize) -> Result<Bundle, Box<dyn Error>> {
    let mut text = String::new();
    for policy in 0..rules.div_ceil(5) {
        let environment = ENVIRONMENTS.iter().cycle().nth(policy).copied().unwrap_or("prod");
        let class = CLASSES.iter().cycle().nth(policy / ENVIRONMENTS.len()).copied().unwrap_or("vulnerability");
        let select = match policy % 8 {
            0 => "{all: true}".to_owned(),
            _ => format!("{{classes: [{class}], environments: [{environment}]}}"),
        };
        text.push_str(&format!(
            "---\napiVersion: stanch/v1\nkind: Policy\nname: p{policy}\nmatch: {select}\nlimits: {{concurrent: 5}}\nrules:\n"
        ));
        for rule in 0..5.min(rules - policy * 5) {
            let when = CONDITIONS.iter().cycle().nth(rule).copied().unwrap_or("true");
            text.push_str(&format!(
                "  - {{id: r{rule}, requires: [item.epss, item.confidence], when: \"{when}\", mode: suggest}}\n"
            ));
        }
    }
    let loaded = Bundle::load(&[Source { name: "bench.yaml".to_owned(), text }]);
    let first = loaded.problems.first().map(ToString::to_string);
    loaded.bundle.ok_or_else(|| first.unwrap_or_default().into())
}

fn facts(number: usize) -> Result<Facts, Box<dyn Error>> {
    let mut facts = Facts::default();
    let pick = |words: &[&str]| words.iter().cycle().nth(number).copied().unwrap_or_default().to_owned();
    let whole = |modulus: usize| i64::try_from(number % modulus);
    for (path, value) in [
        ("item.classes", Value::Texts(vec![pick(&CLASSES)])),
        ("item.ids", Value::Texts((0..10).map(|id| format!("CVE-2026-{}", number + id)).collect())),
        ("item.name", Value::Text(format!("package-{number}"))),
        ("item.kev", Value::Bool(number.is_multiple_of(50))),
        ("item.epss", Value::Decimal(whole(100)? * 1_000)),
        ("item.confidence", Value::Int(95)),
        ("item.age_days", Value::Int(whole(90)?)),
        ("item.stale", Value::Bool(false)),
        ("asset.environment", Value::Text(pick(&ENVIRONMENTS))),
        ("asset.name", Value::Text(format!("host-{number}"))),
        ("asset.kind", Value::Text("host".to_owned())),
        ("asset.tier", Value::Int(1 + whole(5)?)),
        ("asset.classification", Value::Text(pick(&["restricted", "internal", "public"]))),
        ("asset.dependents", Value::Int(whole(40)?)),
        ("asset.labels", Value::Labels([("ring".to_owned(), "a".to_owned())].into())),
        ("action.kind", Value::Text("package.upgrade".to_owned())),
        ("action.disruption", Value::Text(pick(&["none", "restart", "session_loss", "outage"]))),
        ("action.reversibility", Value::Text("restorable".to_owned())),
        ("action.proven", Value::Bool(true)),
        ("asset.own", Value::Bool(false)),
        ("asset.confirmed", Value::Bool(true)),
        ("asset.asks_signatures", Value::Bool(false)),
    ] {
        facts.set(path, value)?;
    }
    Ok(facts)
}

struct Measured {
    each: Vec<Duration>,
    all: Duration,
}

impl Measured {
    fn take(items: &[Facts], mut decide: impl FnMut(&Facts) -> Decision) -> Self {
        let start = Instant::now();
        let mut each: Vec<Duration> = items
            .iter()
            .map(|facts| {
                let start = Instant::now();
                std::hint::black_box(decide(facts));
                start.elapsed()
            })
            .collect();
        let all = start.elapsed();
        each.sort_unstable();
        Self { each, all }
    }

    fn micros(&self, per_mille: usize) -> f64 {
        let at = (self.each.len() * per_mille / 1_000).min(self.each.len().saturating_sub(1));
        self.each.get(at).map_or(0.0, |one| one.as_secs_f64() * 1e6)
    }

    fn figures(&self) -> Json {
        #[allow(clippy::cast_precision_loss)]
        let rate = self.each.len() as f64 / self.all.as_secs_f64();
        json!({
            "per_second": rate.round(), "p50_us": self.micros(500), "p99_us": self.micros(990),
            "slowest_us": self.micros(1_000),
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let rules = arguments.next().transpose()?.unwrap_or(200);
    let count = arguments.next().transpose()?.unwrap_or(20_000);
    let start = Instant::now();
    let bundle = bundle(rules)?;
    let read = start.elapsed();
    let items: Vec<Facts> = (0..count).map(facts).collect::<Result<_, _>>()?;
    let (item, now) = (ItemId::from_entropy([1; 10]), Timestamp::UNIX_EPOCH);
    for facts in items.iter().take(count / 10) {
        std::hint::black_box(bundle.decide(&item, facts, now));
    }
    let with = Measured::take(&items, |facts| bundle.decide(&item, facts, now));
    let without = Measured::take(&items, |facts| bundle.decide_without_index(&item, facts, now));
    let ratio = without.all.as_secs_f64() / with.all.as_secs_f64();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{}",
        json!({"name": format!("{rules}-rules"), "holds": with.micros(990) < 1_000.0, "figures": {
            "policies": bundle.policies().len(), "read_ms": read.as_secs_f64() * 1_000.0, "decisions": count,
            "indexed": with.figures(), "without_index": without.figures(), "ratio": (ratio * 100.0).round() / 100.0,
            "load": load.split(' ').next(),
        }})
    );
    Ok(())
}

//! Settings: one check, one item, one act; and only newer facts say that it is done.

use std::collections::BTreeMap;

use stanch_engine::propose::{Ask, Candidate, propose, requests};
use stanch_engine::verify::{ItemVerdict, JudgeInput, judge};
use stanch_engine::{AssessInput, Blocked, Index, Proposal, assess, by_urgency, group};
use stanch_model::facts::{HostFacts, Known, Posture};
use stanch_model::finding::{Detector, Finding, OcsfClass, Verdict};
use stanch_model::item::Subject;

use crate::world::{at, facts, finding, host, now};

/// What the detector says of a setting with this value.
fn weak(check: &str, value: &str, verdict: Verdict) -> Finding {
    let id = format!("stanch/posture/{check}");
    Finding {
        class: OcsfClass::Compliance,
        version: value.to_owned(),
        fixed_version: Some("another".to_owned()),
        ..finding(&host(), Detector::Posture, &id, "sysctl", "a.b", verdict)
    }
}

fn with(pairs: &[(&str, Known<String>)]) -> HostFacts {
    let sysctls = pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<BTreeMap<_, _>>();
    HostFacts { posture: Some(Posture { sysctls, ..Posture::default() }), ..facts(&host()) }
}

const KPTR: &str = "kernel.kptr_restrict";

#[test]
fn each_check_is_an_item_of_its_own_and_asks_for_its_own_setting() {
    let found = [
        weak("sysctl-kptr", "0", Verdict::AffectedFixable),
        weak("sysctl-source-route", "1", Verdict::AffectedFixable),
        weak("sysctl-forward", "1", Verdict::AffectedUnfixed),
    ];
    let grouping = group(&host().id, &found);
    let index = Index::new(&found);
    let mut candidates: Vec<Candidate> = Vec::new();
    for item in &grouping.items {
        assert!(matches!(&item.subject, Subject::Setting { .. }));
        match propose(&host(), item, &index.members(item)) {
            Proposal::Candidate(candidate) => candidates.push(candidate),
            Proposal::Nothing { why } => {
                assert_eq!(item.subject.name(), "sysctl-forward");
                assert!(matches!(&why, Blocked::ByHand { caution, .. } if caution.contains("routers")), "{why}");
                assert!(why.hint().is_some());
            }
        }
    }
    assert!(candidates.iter().all(|one| matches!(one.asks.as_slice(), [Ask::Set { .. }])));
    let asked = requests(&candidates);
    assert_eq!(asked.len(), 2, "a refusal of one names its own item");
    assert!(asked.iter().all(|one| one.action == "config.set" && one.items.len() == 1));
}

#[test]
fn a_check_that_is_not_in_the_pack_any_more_asks_for_nothing() {
    let found = [weak("no-more", "0", Verdict::AffectedFixable)];
    let item = group(&host().id, &found).items.remove(0);
    assert!(matches!(propose(&host(), &item, &[&found[0]]), Proposal::Nothing { .. }));
}

#[test]
fn settings_are_put_in_order_by_the_severity_of_the_pack_and_say_so() {
    let found = [
        weak("sysctl-dmesg", "1", Verdict::AffectedFixable),
        weak("sysctl-aslr", "0", Verdict::AffectedFixable),
        weak("sysctl-kptr", "0", Verdict::AffectedFixable),
    ];
    let items = group(&host().id, &found).items;
    let index = Index::new(&found);
    let asset = host();
    let mut all: Vec<_> = items
        .iter()
        .map(|item| {
            let input = AssessInput {
                item,
                members: &index.members(item),
                asset: &asset,
                facts: None,
                dependents: 0,
                first_seen: now(),
                feeds: &[],
                enrich: &|_| None,
            };
            (item.subject.name().to_owned(), assess(&input, now()))
        })
        .collect();
    all.sort_by(|(_, a), (_, b)| by_urgency(a, b));
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sysctl-aslr", "sysctl-kptr", "sysctl-dmesg"]);
    assert_eq!(all[0].1.reason, "Addresses of programs are predictable: a setting, high; 0 where another is wanted");
}

#[test]
fn a_setting_is_fixed_when_newer_facts_say_another_value_and_unknown_when_they_say_none() {
    let before = [weak("sysctl-kptr", "0", Verdict::AffectedFixable)];
    let items = group(&host().id, &before).items;
    let said = |facts: &HostFacts, after: &[Finding]| {
        let input = JudgeInput {
            items: &items,
            before: &before,
            after,
            facts,
            checks: &[],
            acted_at: Some(at("2026-11-23T11:00:00Z")),
            feeds_fresh: true,
        };
        judge(&input).items.remove(0).1
    };
    let known = |value: &str| Known::Known(value.to_owned());
    assert_eq!(said(&with(&[(KPTR, known("1"))]), &[]), ItemVerdict::Fixed);
    assert_eq!(said(&with(&[]), &[]), ItemVerdict::Fixed, "what is gone is not weak");
    assert_eq!(said(&with(&[(KPTR, known("0"))]), &[]), ItemVerdict::Withdrawn, "the pack changed, not the host");
    let still = said(&with(&[(KPTR, known("0"))]), &before);
    assert!(matches!(still, ItemVerdict::StillThere { .. }), "{still:?}");
    let unread = said(&with(&[(KPTR, Known::Unknown("needs root".to_owned()))]), &[]);
    assert!(matches!(&unread, ItemVerdict::Unknown { why } if why.contains("needs root")), "{unread:?}");
    let unlooked = said(&facts(&host()), &[]);
    assert!(matches!(unlooked, ItemVerdict::Unknown { .. }), "{unlooked:?}");
}

//! A plan made again: what no longer fits is set aside, and an approval covers less, never more.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use proptest::prelude::*;
use stanch_engine::plan::{Beyond, Note, PlanInput, Replan, assemble, check, needs_replan, still_approved, without};
use stanch_model::canonical::Digest;
use stanch_model::id::AssetId;
use stanch_model::plan::{Plan, RuleRef};
use stanch_model::terms::{Confirm, Quorum, RingSize, RingTerm, Role, Terms, Unanswered, WindowTerm};

use crate::planning::{input, percent, target};

fn plan(hosts: usize) -> Plan {
    let mut input = input((0..hosts).map(|n| target(n, 2)).collect());
    input.terms.rings = vec![percent(10, 1, 60), percent(50, 0, 60), percent(100, 0, 0)];
    assemble(input).unwrap().0
}

/// Every way a plan can be more, or other, than one that was approved.
type Change = (&'static str, fn(&mut Plan));

const CHANGES: [Change; 10] = [
    ("another version in a step", |plan| plan.leaves[0].steps[0].params = serde_json::json!({"to": "9"})),
    ("another state before", |plan| plan.leaves[0].steps[0].before = Digest::from_bytes([8; 32])),
    ("an item more", |plan| {
        let more = plan.leaves[1].items[0].clone();
        plan.leaves[0].items.push(more);
    }),
    ("another rule", |plan| {
        plan.rules.insert(RuleRef { rule: "other/rule".to_owned(), digest: Digest::from_bytes([1; 32]) });
    }),
    ("a limit", |plan| plan.terms.limits.concurrent += 1),
    ("a window less", |plan| {
        plan.terms.windows.insert(WindowTerm { calendar: "any".to_owned(), must_finish_inside: false });
    }),
    ("a bake", |plan| plan.waves[0].bake_seconds = 0),
    ("a target in another wave", |plan| {
        let moved = plan.waves[1].assets.remove(0);
        plan.waves[0].assets.push(moved);
    }),
    ("a longer validity", |plan| {
        plan.valid_until = plan.valid_until.checked_add(SignedDuration::from_secs(1)).unwrap();
    }),
    ("nobody is asked afterwards", |plan| {
        let confirm = Confirm { by: Role::Owner, within_seconds: 1, unanswered: Unanswered::Keep };
        plan.terms.confirm.insert(confirm);
    }),
];

#[test]
fn whatever_is_added_or_changed_needs_a_new_approval_and_has_another_hash() {
    let old = plan(8);
    assert_eq!(still_approved(&old, &old), Ok(()));
    for (what, change) in CHANGES {
        let mut new = old.clone();
        change(&mut new);
        assert!(still_approved(&old, &new).is_err(), "{what}");
        assert_ne!(old.hash().unwrap(), new.hash().unwrap(), "{what}");
    }
    let more = plan(9);
    let beyond = still_approved(&old, &more).unwrap_err();
    assert!(beyond.iter().any(|beyond| matches!(beyond, Beyond::Added { .. })), "{beyond:?}");
}

#[test]
fn what_drifted_or_is_gone_is_set_aside_and_the_rest_stays_approved() {
    let old = plan(8);
    let mut drifted = old.leaves[2].clone();
    drifted.steps[0].before = Digest::from_bytes([9; 32]);
    let fresh = BTreeMap::from([
        (old.leaves[1].asset.clone(), None),
        (drifted.asset.clone(), Some(drifted.clone())),
        (old.leaves[3].asset.clone(), Some(old.leaves[3].clone())),
    ]);
    let aside = needs_replan(&old, &fresh).unwrap();
    assert_eq!(aside.len(), 2);
    assert_eq!(aside[&old.leaves[1].asset], Replan::Lost);
    assert_eq!(
        aside[&drifted.asset].to_string(),
        "the target is not as planned any more: step 1 finds another state than before"
    );
    let rest = without(&old, &aside.into_keys().collect()).unwrap();
    assert_eq!(still_approved(&old, &rest), Ok(()));
    assert_eq!(check(&rest), []);
    // Planned again, the drifted leaf is a new one.
    let mut again = rest.clone();
    again.leaves.push(drifted);
    again.leaves.sort_by(|a, b| a.asset.cmp(&b.asset));
    assert!(still_approved(&rest, &again).is_err());
}

#[test]
fn limits_that_let_nothing_run_and_approvals_that_nobody_can_give_are_no_plan() {
    let good = plan(2);
    let errors = |change: fn(&mut Terms)| {
        let mut plan = good.clone();
        change(&mut plan.terms);
        check(&plan).into_iter().filter(Note::is_error).map(|note| note.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(errors(|terms| terms.limits.per_hour = 0), ["the limit `per_hour` is zero"]);
    assert_eq!(errors(|terms| terms.halt_if.failed = 0), ["the limit `halt_if.failed` is zero"]);
    assert_eq!(errors(|terms| terms.limits.disrupted_percent = 101), ["`disrupted_percent` is more than 100 percent"]);
    assert_eq!(
        errors(|terms| {
            terms.approvals.insert(Quorum { roles: BTreeSet::new(), ..Quorum::default() });
        }),
        ["it asks for approvals that nobody can give"]
    );
}

#[test]
fn waves_that_come_too_late_are_told() {
    let mut slow = input((0..4).map(|n| target(n, 1)).collect());
    slow.terms.rings = vec![percent(25, 1, 100_000), percent(100, 0, 0)];
    let (_, report) = assemble(slow).unwrap();
    assert_eq!(report.notes, [Note::TooSlow { wave: 2 }]);
}

#[test]
fn a_label_names_its_ring_and_no_other_ring_takes_its_targets() {
    let mut targets: Vec<_> = (0..10).map(|n| target(n, 1)).collect();
    targets[2].ring = Some("canary".to_owned());
    targets[9].ring = Some("late".to_owned());
    let (canary, late) = (targets[2].asset.clone(), targets[9].asset.clone());
    let label = |name: &str| RingTerm { size: RingSize::Label(name.to_owned()), min: 0, bake_seconds: 60 };
    let count = RingTerm { size: RingSize::Count(3), min: 0, bake_seconds: 60 };
    let mut input = input(targets);
    input.terms.rings = vec![label("canary"), count, percent(100, 0, 0), label("late")];
    let (plan, _) = assemble(input).unwrap();
    let sizes: Vec<usize> = plan.waves.iter().map(|wave| wave.assets.len()).collect();
    assert_eq!(sizes, [1, 3, 5, 1]);
    assert_eq!((&plan.waves[0].assets, &plan.waves[3].assets), (&vec![canary], &vec![late]));
}

fn ring() -> impl Strategy<Value = RingTerm> {
    let size = prop_oneof![
        (0..=100_u8).prop_map(RingSize::Percent),
        (0..6_u32).prop_map(RingSize::Count),
        prop::sample::select(vec!["a", "b", "c"]).prop_map(|label| RingSize::Label(label.to_owned())),
    ];
    (size, 0..4_u32, 0..600_u32).prop_map(|(size, min, bake_seconds)| RingTerm { size, min, bake_seconds })
}

proptest! {
    #[test]
    fn every_target_stands_in_one_wave_our_own_last_and_alone_the_unknown_tier_after_the_known(
        hosts in prop::collection::vec((0..6_u8, any::<bool>(), 0..4_usize), 1..14),
        rings in prop::collection::vec(ring(), 0..5),
        turn in 0..14_usize,
    ) {
        let labels = [None, Some("a"), Some("b"), Some("zzz")];
        let mut targets: Vec<_> = hosts.iter().enumerate().map(|(n, (tier, own, label))| {
            let mut target = target(n, 1);
            target.tier = (*tier).try_into().ok();
            target.own = *own;
            target.ring = labels[*label].map(str::to_owned);
            target
        }).collect();
        let own: BTreeSet<AssetId> = targets.iter().filter(|t| t.own).map(|t| t.asset.clone()).collect();
        let tier: BTreeMap<AssetId, u8> =
            targets.iter().map(|t| (t.asset.clone(), t.tier.map_or(1, |tier| tier.number()))).collect();
        let label: BTreeMap<AssetId, Option<String>> = targets.iter().map(|t| (t.asset.clone(), t.ring.clone())).collect();
        let terms = Terms { rings, ..Terms::default() };
        let (plan, _) = assemble(PlanInput { terms: terms.clone(), ..input(targets.clone()) }).unwrap();
        prop_assert!(check(&plan).iter().all(|note| !note.is_error()), "{:?}", check(&plan));
        targets.rotate_left(turn % hosts.len());
        let (again, _) = assemble(PlanInput { terms: terms.clone(), ..input(targets) }).unwrap();
        prop_assert_eq!(plan.hash().unwrap(), again.hash().unwrap());
        let first_own = plan.waves.iter().position(|wave| wave.assets.iter().any(|asset| own.contains(asset)));
        if let Some(first) = first_own {
            prop_assert!(plan.waves[first..].iter().all(|wave| wave.assets.len() == 1 && own.contains(&wave.assets[0])));
        }
        // Among those that no label moves, nobody more critical goes before somebody less critical.
        let named = |asset: &AssetId| label[asset].as_ref().is_some_and(|mine| {
            terms.rings.iter().any(|ring| ring.size == RingSize::Label(mine.clone()))
        });
        let order: Vec<(usize, u8)> = (0..).zip(&plan.waves).flat_map(|(at, wave)| wave.assets.iter().map(move |a| (at, a)))
            .filter(|(_, asset)| !own.contains(*asset) && !named(asset)).map(|(at, asset)| (at, tier[asset])).collect();
        for (wave, mine) in &order {
            prop_assert!(order.iter().all(|(other, theirs)| other <= wave || theirs <= mine));
        }
    }

    #[test]
    fn any_part_of_an_approved_plan_is_approved(hosts in 1..12_usize, aside in any::<u16>()) {
        let old = plan(hosts);
        let aside: BTreeSet<AssetId> =
            (0..).zip(&old.leaves).filter(|(at, _)| aside >> at & 1 == 1).map(|(_, leaf)| leaf.asset.clone()).collect();
        match without(&old, &aside) {
            None => prop_assert_eq!(aside.len(), hosts),
            Some(new) => {
                prop_assert_eq!(still_approved(&old, &new), Ok(()));
                prop_assert!(check(&new).is_empty());
                prop_assert_eq!(still_approved(&new, &old).is_ok(), aside.is_empty());
                prop_assert_eq!(new.hash().unwrap() == old.hash().unwrap(), aside.is_empty());
            }
        }
    }
}

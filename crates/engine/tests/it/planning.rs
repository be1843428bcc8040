//! Plans are made the same way whatever order their inputs come in, and nothing asked for gets lost.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;
use stanch_engine::blocked::Blocked;
use stanch_engine::plan::{Note, PlanError, PlanInput, Target, assemble, check};
use stanch_model::asset::{AssetKind, Tier, asset_id};
use stanch_model::canonical::Digest;
use stanch_model::id::ItemId;
use stanch_model::item::{Subject, item_id};
use stanch_model::order::PlanRefusal;
use stanch_model::plan::{Change, Disruption, PlannedStep, Reversibility};
use stanch_model::terms::{RingSize, RingTerm, Terms};

use crate::world::now;

pub(crate) fn step(reversibility: Reversibility, undo: &str) -> PlannedStep {
    PlannedStep {
        action: "package.upgrade".to_owned(),
        params: json!({"packages": ["openssl=3.0.17-1"]}),
        before: Digest::from_bytes([3; 32]),
        changes: vec![Change {
            subject: "openssl:amd64".to_owned(),
            before: Some("3.0.16-1".to_owned()),
            after: Some("3.0.17-1".to_owned()),
            note: None,
        }],
        reversibility,
        undo: undo.to_owned(),
        disruption: Disruption::Restart,
    }
}

pub(crate) fn target(machine: usize, items: usize) -> Target {
    let asset = asset_id(AssetKind::Host, &format!("machine-{machine}"));
    let items: Vec<ItemId> =
        (0..items).map(|n| item_id(&asset, &Subject::SourcePackage { source: format!("source-{n}") })).collect();
    Target {
        asset,
        tier: None,
        own: false,
        ring: None,
        items,
        steps: vec![step(Reversibility::Restorable, "installs the earlier version")],
        compliant: Vec::new(),
        refused: Vec::new(),
        suppressed: Vec::new(),
    }
}

pub(crate) fn input(targets: Vec<Target>) -> PlanInput {
    PlanInput {
        targets,
        terms: Terms::default(),
        rules: BTreeSet::new(),
        now: now(),
        valid_for: SignedDuration::from_hours(24),
    }
}

pub(crate) const fn percent(percent: u8, min: u32, bake_seconds: u32) -> RingTerm {
    RingTerm { size: RingSize::Percent(percent), min, bake_seconds }
}

#[test]
fn one_host_is_one_leaf_and_one_wave() {
    let (plan, report) = assemble(input(vec![target(1, 3)])).unwrap();
    assert_eq!((plan.leaves.len(), plan.waves.len(), plan.leaves[0].items.len()), (1, 1, 3));
    assert!(report.left_out.is_empty() && report.notes.is_empty());
}

#[test]
fn every_item_is_planned_or_left_out_with_its_reason() {
    let mut one = target(1, 4);
    let item = |n: usize| one.items[n].clone();
    let gone = item_id(&one.asset, &Subject::SourcePackage { source: "undone".to_owned() });
    let why = Blocked::Suppressed { reason: "taken back by alice".to_owned(), until: None };
    one.suppressed = vec![(gone, why)];
    one.compliant = vec![item(1)];
    one.refused = vec![PlanRefusal { items: vec![item(2)], reason: "conflicts with b".to_owned(), hint: None }];
    let (plan, report) = assemble(input(vec![one.clone()])).unwrap();
    let mut planned = vec![item(0), item(3)];
    planned.sort();
    assert_eq!(plan.leaves[0].items, planned);
    let mut told: Vec<String> = report.left_out.iter().map(|left| left.why.to_string()).collect();
    told.sort();
    assert_eq!(told, ["is as wanted already", "refused: conflicts with b", "suppressed: taken back by alice"]);
}

#[test]
fn one_target_with_nothing_to_do_does_not_keep_the_others() {
    let mut idle = target(1, 2);
    idle.steps = Vec::new();
    let (plan, report) = assemble(input(vec![idle.clone(), target(2, 1)])).unwrap();
    assert_eq!(plan.leaves.len(), 1);
    assert_eq!(report.left_out[0].asset, idle.asset);
    assert!(matches!(assemble(input(vec![idle])), Err(PlanError::Nothing { report }) if report.left_out.len() == 1));
}

#[test]
fn a_suppressed_item_cannot_slip_in() {
    let mut one = target(1, 1);
    one.suppressed = vec![(one.items[0].clone(), Blocked::Suppressed { reason: "taken back".to_owned(), until: None })];
    assert!(matches!(assemble(input(vec![one])), Err(PlanError::Suppressed { .. })));
}

#[test]
fn rings_grow_and_our_own_machines_come_last_and_alone() {
    let mut targets: Vec<Target> = (0..10).map(|n| target(n, 1)).collect();
    targets[3].own = true;
    targets[7].own = true;
    targets[5].tier = Tier::try_from(4).ok();
    let least_critical = targets[5].asset.clone();
    let own = [targets[3].asset.clone(), targets[7].asset.clone()];
    let mut input = input(targets);
    input.terms.rings = vec![percent(1, 1, 3_600), percent(50, 0, 600), percent(100, 0, 0)];
    let (plan, _) = assemble(input).unwrap();
    let sizes: Vec<usize> = plan.waves.iter().map(|wave| wave.assets.len()).collect();
    assert_eq!(sizes, [1, 3, 4, 1, 1]);
    assert_eq!(plan.waves[0].assets, [least_critical]);
    assert!(plan.waves[3..].iter().all(|wave| own.contains(&wave.assets[0])));
}

/// A target whose agent gets a new version.
fn renewed(machine: usize) -> Target {
    let mut renewed = target(machine, 2);
    let mut agent = step(Reversibility::Restorable, "installs the earlier version");
    agent.changes[0].subject = "stanch-agent:amd64".to_owned();
    renewed.steps.insert(0, agent);
    renewed
}

#[test]
fn new_versions_of_stanch_come_last_one_by_one_and_its_own_hosts_behind_them() {
    let mut targets: Vec<Target> = (0..6).map(|n| target(n, 1)).collect();
    targets[0].own = true;
    targets.extend([renewed(7), renewed(8)]);
    let (server, agents) = (targets[0].asset.clone(), [targets[6].asset.clone(), targets[7].asset.clone()]);
    let (plan, _) = assemble(input(targets)).unwrap();
    let sizes: Vec<usize> = plan.waves.iter().map(|wave| wave.assets.len()).collect();
    assert_eq!(sizes, [5, 1, 1, 1]);
    assert!(plan.waves[1..3].iter().all(|wave| agents.contains(&wave.assets[0])));
    assert_eq!(plan.waves[3].assets, [server]);
    let leaf = plan.leaves.iter().find(|leaf| leaf.asset == agents[0]).unwrap();
    assert_eq!(leaf.steps[1].changes[0].subject, "stanch-agent:amd64", "after everything else on its host");
}

proptest! {
    #[test]
    fn whatever_the_rings_nothing_comes_after_a_new_version_of_stanch_but_such_and_its_own_hosts(
        kinds in prop::collection::vec(0..3_u8, 1..20),
        rings in prop::collection::vec((1..=100_u8, 0..4_u32), 0..4),
    ) {
        let mut targets = Vec::new();
        for (machine, kind) in kinds.iter().enumerate() {
            let mut target = if *kind == 1 { renewed(machine) } else { target(machine, 1) };
            target.own = *kind == 2;
            targets.push(target);
        }
        let kind_of = |asset: &stanch_model::id::AssetId| {
            kinds[targets.iter().position(|target| target.asset == *asset).unwrap()]
        };
        let mut input = input(targets.clone());
        input.terms.rings = rings.iter().map(|(share, min)| percent(*share, *min, 0)).collect();
        let (plan, _) = assemble(input).unwrap();
        let order: Vec<u8> = plan.waves.iter().flat_map(|wave| wave.assets.iter().map(kind_of)).collect();
        prop_assert!(order.is_sorted(), "{order:?}");
        for wave in &plan.waves {
            prop_assert!(wave.assets.len() == 1 || wave.assets.iter().all(|asset| kind_of(asset) == 0));
        }
    }
}

#[test]
fn a_plan_that_renews_stanch_beside_others_is_unsound_whoever_made_it() {
    let (mut plan, _) = assemble(input(vec![target(1, 1), renewed(2)])).unwrap();
    let last = plan.waves.pop().unwrap();
    plan.waves[0].assets.extend(last.assets);
    plan.waves[0].assets.sort();
    assert!(check(&plan).iter().any(|note| matches!(note, Note::NotLast { .. }) && note.is_error()));
}

#[test]
fn the_checker_finds_what_is_wrong_with_a_plan() {
    let (good, _) = assemble(input(vec![target(1, 1), target(2, 1)])).unwrap();
    assert_eq!(check(&good), []);
    let broken = |change: fn(&mut stanch_model::plan::Plan)| {
        let mut plan = good.clone();
        change(&mut plan);
        check(&plan).into_iter().filter(Note::is_error).map(|note| note.to_string()).collect::<Vec<_>>()
    };
    let shown = [
        broken(|plan| plan.waves.push(plan.waves[0].clone())),
        broken(|plan| plan.waves.clear()),
        broken(|plan| plan.leaves.reverse()),
        broken(|plan| plan.leaves.truncate(1)),
        broken(|plan| plan.leaves[0].steps.clear()),
        broken(|plan| plan.leaves[0].items.clear()),
        broken(|plan| plan.terms.limits.concurrent = 0),
        broken(|plan| plan.leaves[0].steps[0].params = json!({"ratio": 0.5})),
        broken(|plan| {
            plan.leaves[0].steps[0].reversibility = Reversibility::OneWay;
            plan.leaves[0].steps[0].undo = " ".to_owned();
        }),
    ];
    insta::assert_debug_snapshot!("checker", shown);
    let spoken = {
        let mut plan = good.clone();
        plan.leaves[0].steps[0] = step(Reversibility::OneWay, "the database writes a new format");
        check(&plan)
    };
    assert!(matches!(spoken.as_slice(), [Note::OneWay { .. }]) && !spoken[0].is_error());
}

proptest! {
    #[test]
    fn the_same_inputs_give_the_same_hash_in_any_order(
        order in Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle(),
        turn in 0..7_usize,
    ) {
        let all: Vec<Target> = (0..8)
            .map(|n| {
                // Three of its items stay planned, so that their order matters.
                let mut target = target(n, 7);
                target.compliant = target.items[..2].to_vec();
                target.refused = (2..4)
                    .map(|at| PlanRefusal {
                        items: vec![target.items[at].clone()],
                        reason: format!("reason {at}"),
                        hint: None,
                    })
                    .collect();
                target
            })
            .collect();
        let shuffled: Vec<Target> = order
            .iter()
            .map(|&at| {
                let mut target = all[at].clone();
                target.items.rotate_left(turn);
                target.compliant.reverse();
                target.refused.reverse();
                target
            })
            .collect();
        let rings = vec![percent(10, 1, 60), percent(100, 0, 0)];
        let terms = Terms { rings, ..Terms::default() };
        let (plan, report) = assemble(PlanInput { terms: terms.clone(), ..input(all) }).unwrap();
        let (other, other_report) = assemble(PlanInput { terms, ..input(shuffled) }).unwrap();
        prop_assert_eq!(plan.hash().unwrap(), other.hash().unwrap());
        prop_assert_eq!(report, other_report);
    }
}

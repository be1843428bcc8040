//! Changes that get in each other's way.

use std::collections::BTreeSet;

use proptest::prelude::*;
use stanch_engine::conflict::{Change, Conflicts, MAX_CONFLICTS, Relation, conflicts};
use stanch_model::calendar::Interval;
use stanch_model::edge::{Edge, EdgeKind, Graph, RedundancyGroup};
use stanch_model::id::{AssetId, RemediationId};

use crate::scheduling::{NOW, at, hours};

fn asset(number: u8) -> AssetId {
    AssetId::from_entropy([number; 10])
}

fn id(number: u8) -> RemediationId {
    RemediationId::from_entropy([number; 10])
}

/// A change of these assets, from so many hours from now for two.
fn change(number: u8, assets: &[u8], from: i64) -> Change {
    let start = at(NOW) + hours(from);
    let during = Interval::new(start, start + hours(2));
    Change { id: id(number), assets: assets.iter().map(|number| asset(*number)).collect(), during }
}

/// A shop (1) that depends on a database (2) that runs on a host (3); three web servers (11 to 13), one of which may go.
fn graph() -> Graph {
    let edge = |from, to, kind| Edge { from: asset(from), to: asset(to), kind };
    let web = RedundancyGroup { name: "web".into(), min_healthy: 2, members: (11..=13).map(asset).collect() };
    Graph::new([edge(1, 2, EdgeKind::DependsOn), edge(2, 3, EdgeKind::RunsOn)], [web])
}

fn found(conflicts: &Conflicts) -> Vec<(AssetId, AssetId, Relation)> {
    conflicts.found.iter().map(|c| (c.asset.clone(), c.other.clone(), c.relation.clone())).collect()
}

#[test]
fn the_same_asset_at_the_same_time_is_a_conflict() {
    let both = conflicts(&change(1, &[1, 9], 0), &[change(2, &[1], 1)], &Graph::default());
    assert_eq!(found(&both), [(asset(1), asset(1), Relation::Same)]);
    let overlap = Interval::new(at(NOW) + hours(1), at(NOW) + hours(2));
    assert_eq!(both.found[0].during, overlap);
}

#[test]
fn one_after_the_other_is_none() {
    let others = [change(2, &[1], 2), change(3, &[1], -2)];
    assert_eq!(conflicts(&change(1, &[1], 0), &others, &graph()), Conflicts::default());
}

#[test]
fn a_change_does_not_get_in_its_own_way() {
    let mine = change(1, &[1], 0);
    assert!(conflicts(&mine, std::slice::from_ref(&mine), &graph()).found.is_empty());
}

#[test]
fn what_it_hangs_on_and_what_hangs_on_it_are_seen_from_both_sides() {
    let shop = conflicts(&change(1, &[1], 0), &[change(2, &[3], 0)], &graph());
    assert_eq!(found(&shop), [(asset(1), asset(3), Relation::Parent { steps: 2 })]);
    let host = conflicts(&change(2, &[3], 0), &[change(1, &[1], 0)], &graph());
    assert_eq!(found(&host), [(asset(3), asset(1), Relation::Dependent { steps: 2 })]);
    assert_eq!(host.found[0].relation.to_string(), "what depends on it, 2 steps away");
}

#[test]
fn those_that_stand_in_for_it_are_seen() {
    let web = conflicts(&change(1, &[11], 0), &[change(2, &[13], 0)], &graph());
    assert_eq!(found(&web), [(asset(11), asset(13), Relation::Group { name: "web".into(), spare: 1 })]);
    assert_eq!(web.found[0].relation.to_string(), "another of the group `web`, which can spare 1");
}

#[test]
fn a_flood_of_conflicts_is_counted_and_not_listed() {
    let others: Vec<Change> = (0..=255).flat_map(|n| [change(n, &[1], 0), change(n, &[2], 1)]).collect();
    let mine = Change { id: RemediationId::from_entropy([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), ..change(0, &[1], 0) };
    let flood = conflicts(&mine, &others, &graph());
    assert_eq!((flood.found.len(), flood.more), (MAX_CONFLICTS, 512 - MAX_CONFLICTS));
}

proptest! {
    #[test]
    fn conflicts_are_seen_from_both_sides(
        edges in prop::collection::vec((0..8_u8, 0..8_u8), 0..10),
        group in prop::collection::btree_set(0..8_u8, 0..4),
        mine in prop::collection::vec(0..8_u8, 1..3),
        theirs in prop::collection::vec(0..8_u8, 1..3),
        later in -3..4_i64,
    ) {
        let members: BTreeSet<AssetId> = group.into_iter().map(asset).collect();
        let group = RedundancyGroup { name: "g".into(), min_healthy: 1, members };
        let edge = |(from, to)| Edge { from: asset(from), to: asset(to), kind: EdgeKind::DependsOn };
        let graph = Graph::new(edges.into_iter().map(edge), [group]);
        let (a, b) = (change(1, &mine, 0), change(2, &theirs, later));
        let ab: BTreeSet<_> = conflicts(&a, std::slice::from_ref(&b), &graph).found.into_iter().map(|c| (c.asset, c.other)).collect();
        let ba: BTreeSet<_> = conflicts(&b, std::slice::from_ref(&a), &graph).found.into_iter().map(|c| (c.other, c.asset)).collect();
        prop_assert_eq!(&ab, &ba);
        if later.abs() >= 2 {
            prop_assert!(ab.is_empty());
        } else {
            let same = a.assets.intersection(&b.assets).all(|asset| ab.contains(&(asset.clone(), asset.clone())));
            prop_assert!(same);
        }
    }
}

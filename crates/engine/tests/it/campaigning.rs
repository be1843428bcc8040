//! Campaign undo: the last first, what rests on something before it, and nothing that others changed.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stanch_engine::campaign::{Done, Kept, campaign};
use stanch_model::asset::{AssetKind, asset_id};
use stanch_model::id::{ItemId, RemediationId};
use stanch_model::item::{Subject, item_id};

use crate::world::now;

fn minute(of: i64) -> Timestamp {
    now().checked_add(SignedDuration::from_mins(of)).unwrap()
}

fn item(name: u8) -> ItemId {
    item_id(&asset_id(AssetKind::Host, "web"), &Subject::SourcePackage { source: format!("source-{name}") })
}

fn done(name: u8, at: i64, rests_on: &[u8]) -> Done {
    Done {
        remediation: RemediationId::from_entropy([name; 10]),
        policies: BTreeSet::from(["night".to_owned()]),
        asset: asset_id(AssetKind::Host, "web"),
        items: BTreeSet::from([item(name)]),
        at: minute(at),
        rests_on: rests_on.iter().map(|name| item(*name)).collect(),
        changed_since: Vec::new(),
        taken_back: false,
        one_way: false,
    }
}

fn order(done: &[Done]) -> Vec<ItemId> {
    let campaign = campaign(done, "night", minute(0), minute(60));
    campaign.back.into_iter().flat_map(|back| back.items).collect()
}

#[test]
fn what_the_policy_did_in_the_time_goes_back_the_last_first() {
    let other = Done { policies: BTreeSet::from(["day".to_owned()]), ..done(9, 20, &[]) };
    let back = Done { taken_back: true, ..done(8, 20, &[]) };
    let all = [done(1, 10, &[]), done(2, 30, &[]), done(3, 60, &[]), done(4, -1, &[]), other, back, done(5, 20, &[])];
    assert_eq!(order(&all), [item(2), item(5), item(1)]);
}

#[test]
fn what_rests_on_something_goes_before_it_even_if_the_clock_says_otherwise() {
    assert_eq!(order(&[done(1, 30, &[]), done(2, 10, &[1]), done(3, 20, &[2])]), [item(3), item(2), item(1)]);
    assert_eq!(order(&[done(1, 10, &[2]), done(2, 20, &[1])]).len(), 2, "a circle ends");
}

#[test]
fn what_others_changed_stays_with_all_it_rests_on_and_is_listed() {
    let changed = Done { changed_since: vec!["openssl is 3.0.19-1".to_owned()], ..done(3, 30, &[2]) };
    let one_way = Done { one_way: true, ..done(5, 5, &[]) };
    let outside = Done { policies: BTreeSet::new(), ..done(7, 30, &[6]) };
    let all = [done(1, 10, &[]), done(2, 20, &[1]), changed, done(4, 40, &[]), one_way, done(6, 6, &[]), outside];
    let found = campaign(&all, "night", minute(0), minute(60));
    assert_eq!(found.back.iter().map(|back| back.items[0].clone()).collect::<Vec<_>>(), [item(4)]);
    let told: Vec<(ItemId, String)> =
        found.kept.iter().map(|(back, why)| (back.items[0].clone(), why.to_string())).collect();
    assert_eq!(
        told,
        [
            (item(3), "somebody else changed it since: openssl is 3.0.19-1".to_owned()),
            (item(2), "1 items that stay rest on it".to_owned()),
            (item(1), "1 items that stay rest on it".to_owned()),
            (item(6), "1 items that stay rest on it".to_owned()),
            (item(5), "it cannot be taken back".to_owned()),
        ]
    );
}

proptest! {
    #[test]
    fn everything_is_taken_back_or_listed_and_nothing_goes_before_what_rests_on_it(
        all in prop::collection::vec((0..80_i64, prop::collection::vec(0..12_u8, 0..3), 0..10_u8), 1..12),
    ) {
        let all: Vec<Done> = (0..).zip(&all).map(|(name, (at, rests, fate))| {
            // Only on what has a smaller number, so that there are no circles.
            let rests: Vec<u8> = rests.iter().copied().filter(|on| *on < name).collect();
            let mut done = done(name, *at, &rests);
            match fate {
                0 => done.changed_since.push("moved".to_owned()),
                1 => done.one_way = true,
                2 => done.taken_back = true,
                3 => done.policies = BTreeSet::new(),
                _ => {}
            }
            done
        }).collect();
        let found = campaign(&all, "night", minute(0), minute(60));
        let back: Vec<ItemId> = found.back.iter().flat_map(|back| back.items.clone()).collect();
        let kept: BTreeSet<ItemId> = found.kept.iter().flat_map(|(back, _)| back.items.clone()).collect();
        for one in &all {
            let mine = one.policies.contains("night") && !one.taken_back && one.at >= minute(0) && one.at < minute(60);
            let item = one.items.first().unwrap();
            let place = back.iter().position(|other| other == item);
            prop_assert_eq!(mine, place.is_some() != kept.contains(item), "{:?}", one);
            let Some(place) = place else { continue };
            prop_assert!(one.changed_since.is_empty() && !one.one_way);
            for other in all.iter().filter(|other| other.rests_on.contains(item) && !other.taken_back) {
                let before = back[..place].contains(other.items.first().unwrap());
                prop_assert!(before, "{:?} rests on {:?}", other, one);
            }
        }
        let unfounded = found.kept.iter().any(|(_, why)| matches!(why, Kept::RestedOn { by } if by.is_empty()));
        prop_assert!(!unfounded);
    }
}

//! Holds: which of them stops what, and who may end one.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stanch_engine::hold::{About, Brought, may_release, strongest};
use stanch_model::asset::{AssetKind, asset_id};
use stanch_model::hold::{Hold, HoldLevel, HoldScope};

use crate::world::now;

fn hold(scope: &str, level: HoldLevel, at: Timestamp) -> Hold {
    Hold { scope: scope.parse().unwrap(), level, reason: "a demo".to_owned(), by: "alice".to_owned(), at }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_hold_stops_what_it_covers_and_nothing_else() {
    let (web, db) = (asset_id(AssetKind::Host, "web"), asset_id(AssetKind::Host, "db"));
    let (policies, actions) = (names(&["night"]), names(&["package.upgrade"]));
    let versions = BTreeSet::new();
    let about =
        |asset, environment| About { asset, environment, policies: &policies, actions: &actions, versions: &versions };
    let covers = |scope: &str, about: About<'_>| about.is_covered_by(&scope.parse().unwrap());
    assert!(covers("all", about(&web, Some("prod"))));
    assert!(covers("environment/prod", about(&web, Some("prod"))));
    assert!(!covers("environment/staging", about(&web, Some("prod"))));
    assert!(covers("environment/staging", about(&web, None)), "an unknown environment may be any");
    assert!(covers("policy/night", about(&web, None)) && !covers("policy/day", about(&web, None)));
    assert!(covers("action/package.upgrade", about(&web, None)) && covers("action/package", about(&web, None)));
    assert!(!covers("action/pack", about(&web, None)) && !covers("action/service", about(&web, None)));
    assert!(covers(&format!("asset/{web}"), about(&web, None)) && !covers(&format!("asset/{db}"), about(&web, None)));
}

#[test]
fn a_bad_patch_is_told_by_its_source_or_its_own_name_and_a_newer_one_is_none() {
    let (web, nothing) = (asset_id(AssetKind::Host, "web"), BTreeSet::new());
    let covers = |scope: &str, version: &str| {
        let one = Brought { name: "libssl3".into(), source: "openssl".into(), version: version.into() };
        let versions = BTreeSet::from([one]);
        let about = About {
            asset: &web,
            environment: Some("prod"),
            policies: &nothing,
            actions: &nothing,
            versions: &versions,
        };
        about.is_covered_by(&scope.parse().unwrap())
    };
    assert!(covers("version/openssl/3.0.15-1~deb12u2", "3.0.15-1~deb12u2"));
    assert!(covers("version/libssl3/3.0.15-1~deb12u2", "3.0.15-1~deb12u2"));
    assert!(covers("version/openssl/3.0.15-1", "3.0.15-1+b2"), "it was only built anew");
    assert!(!covers("version/openssl/3.0.15-1~deb12u2", "3.0.15-1~deb12u3"), "a newer version is free");
    assert!(!covers("version/openssl/3.0.15-1", "3.0.15-1+bpo1") && !covers("version/curl/3.0.15-1", "3.0.15-1"));
}

#[test]
fn a_second_person_ends_a_hold_where_there_is_one() {
    let held = hold("all", HoldLevel::StopAll, now());
    assert!(may_release(&held, "alice", &names(&["alice"])).is_ok(), "there is nobody else");
    assert!(may_release(&held, "bob", &names(&["alice", "bob"])).is_ok());
    let refused = may_release(&held, "alice", &names(&["alice", "bob"])).unwrap_err();
    assert_eq!(refused.to_string(), "whoever set a hold does not end it alone; one of bob can");
    assert!(may_release(&held, "alice", &names(&["bob"])).is_err());
}

proptest! {
    #[test]
    fn of_several_holds_the_one_that_goes_furthest_counts_in_any_order(
        all in prop::collection::vec((0..6_usize, any::<bool>(), 0..9_i64), 0..8).prop_shuffle(),
    ) {
        let asset = asset_id(AssetKind::Host, "web");
        let scopes = ["all", "environment/prod", "policy/night", "action/package", "policy/day", "environment/lab"];
        let holds: Vec<Hold> = all.iter().map(|(scope, stop_all, seconds)| {
            let level = if *stop_all { HoldLevel::StopAll } else { HoldLevel::StopNew };
            hold(scopes[*scope], level, now().checked_add(SignedDuration::from_secs(*seconds)).unwrap())
        }).collect();
        let (policies, actions) = (names(&["night"]), names(&["package.upgrade"]));
        let versions = BTreeSet::new();
        let about = About {
            asset: &asset,
            environment: Some("prod"),
            policies: &policies,
            actions: &actions,
            versions: &versions,
        };
        let covering: Vec<&Hold> = holds.iter().filter(|hold| about.is_covered_by(&hold.scope)).collect();
        let found = strongest(&holds, &about);
        prop_assert_eq!(found.map(|hold| hold.level), covering.iter().map(|hold| hold.level).max());
        let mut turned = holds.clone();
        turned.reverse();
        let again = strongest(&turned, &about).map(|hold| (hold.level, hold.at, hold.scope.clone()));
        prop_assert_eq!(found.map(|hold| (hold.level, hold.at, hold.scope.clone())), again);
        prop_assert!(found.is_none_or(|hold| !matches!(&hold.scope, HoldScope::Policy(name) if name == "day")));
    }
}

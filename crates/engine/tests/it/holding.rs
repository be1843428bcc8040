//! Holds: which of them stops what, and who may end one.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;
use stanch_engine::hold::{About, Brought, may_release, strongest};
use stanch_model::asset::{AssetKind, asset_id};
use stanch_model::canonical::Digest;
use stanch_model::hold::{Hold, HoldLevel, HoldScope};
use stanch_model::item::Subject;
use stanch_model::plan::{Disruption, PlannedStep, Reversibility};

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

fn brought(ecosystem: &str, binary: (&str, &str), source: (&str, Option<&str>)) -> Brought {
    Brought {
        ecosystem: ecosystem.into(),
        name: binary.0.into(),
        source: source.0.into(),
        version: binary.1.into(),
        source_version: source.1.map(Into::into),
    }
}

#[test]
fn a_bad_patch_meets_what_its_ecosystem_brings_under_the_version_that_belongs_to_the_name() {
    let patch = |text: &str| text.parse().unwrap();
    // Binary packages of gcc-defaults have versions of their own.
    let gcc = brought("deb", ("gcc", "4:12.2.0-3"), ("gcc-defaults", Some("1.203")));
    assert!(gcc.is(&patch("pkg:deb/gcc@4:12.2.0-3")) && gcc.is(&patch("pkg:deb/gcc-defaults@1.203")));
    assert!(!gcc.is(&patch("pkg:deb/gcc-defaults@4:12.2.0-3")) && !gcc.is(&patch("pkg:deb/gcc@1.203")));
    assert!(gcc.is(&patch("pkg:deb/gcc-defaults?vers=%3E%3D1.200")));
    let jinja = brought("pypi", ("jinja2", "3.1.3"), ("jinja2", None));
    assert!(jinja.is(&patch("pkg:pypi/Jinja2@3.1.3")) && !jinja.is(&patch("pkg:deb/jinja2@3.1.3")));
    let component = Subject::Component { purl: "pkg:pypi/jinja2?environment=/opt/x".into() };
    assert!(jinja.is_for(&component), "whichever environment it is in");
    assert!(Brought::closing(&component, "3.1.3").unwrap().is(&patch("pkg:pypi/jinja2@3.1.3")));
    let source = Subject::SourcePackage { source: "gcc-defaults".into() };
    assert!(!Brought::closing(&source, "1.203").unwrap().is(&patch("pkg:deb/gcc@1.203")));
}

#[test]
fn what_a_step_brings_is_told_with_its_ecosystem() {
    let step = |params| PlannedStep {
        action: "package.upgrade".to_owned(),
        params,
        before: Digest::from_bytes([0; 32]),
        changes: Vec::new(),
        reversibility: Reversibility::Restorable,
        undo: String::new(),
        disruption: Disruption::Restart,
    };
    let steps = [
        step(json!({"packages": [{"name": "gcc", "to": "4:12", "source": "gcc-defaults", "source_version": "1.203"}]})),
        step(json!({"manager": "pip", "environment": "/opt/x", "packages": [{"name": "jinja2", "to": "3.1.3"}]})),
        step(json!({"manager": "dnf", "packages": [{"name": "openssl-libs", "to": "1:3-2", "source": "openssl"}]})),
    ];
    let gcc = brought("deb", ("gcc", "4:12"), ("gcc-defaults", Some("1.203")));
    let jinja = brought("pypi", ("jinja2", "3.1.3"), ("jinja2", None));
    let openssl = brought("rpm", ("openssl-libs", "1:3-2"), ("openssl", None));
    assert!(openssl.is(&"pkg:rpm/openssl-libs@1:3-2".parse().unwrap()));
    assert!(openssl.is_for(&Subject::SourcePackage { source: "openssl".into() }));
    assert_eq!(stanch_engine::hold::brought(&steps), BTreeSet::from([gcc, jinja, openssl]));
}

#[test]
fn a_bad_patch_is_told_by_its_source_or_its_own_name_and_a_newer_one_is_none() {
    let (web, nothing) = (asset_id(AssetKind::Host, "web"), BTreeSet::new());
    let covers = |scope: &str, version: &str| {
        let one = brought("deb", ("libssl3", version), ("openssl", None));
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

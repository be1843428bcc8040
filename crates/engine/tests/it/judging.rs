//! A task is done when the detector says so, on facts newer than the act.

use stanch_engine::group;
use stanch_engine::verify::{Failure, ItemVerdict, JudgeInput, Judgement, judge};
use stanch_model::asset::Asset;
use stanch_model::facts::{HostFacts, Known, ServiceRef, StaleFile, StaleProcess};
use stanch_model::finding::{Detector, Finding, Verdict};
use stanch_model::order::{Check, CheckOutcome};

use crate::world::{advisory, at, facts, finding, host, now, package};

/// A host on which openssl was upgraded an hour ago.
struct Scene {
    before: Vec<Finding>,
    after: Vec<Finding>,
    facts: HostFacts,
    checks: Vec<Check>,
    fresh: bool,
}

impl Scene {
    fn upgraded(asset: &Asset) -> Self {
        let mut facts = facts(asset);
        facts.packages = vec![stanch_model::facts::Package {
            version: "1.0-1+deb12u1".parse().unwrap(),
            ..package("libssl3", "openssl")
        }];
        let before = vec![advisory(asset, "CVE-2026-1", "openssl", "libssl3")];
        Self { before, after: Vec::new(), facts, checks: Vec::new(), fresh: true }
    }

    fn judge(&self) -> Judgement {
        let items = group(&self.before[0].asset, &self.before).items;
        judge(&JudgeInput {
            items: &items,
            before: &self.before,
            after: &self.after,
            facts: &self.facts,
            checks: &self.checks,
            acted_at: Some(at("2026-11-23T11:00:00Z")),
            feeds_fresh: self.fresh,
        })
    }
}

/// The archive offers this version of libssl3.
fn offers(version: &str) -> Known<std::collections::BTreeMap<String, Vec<stanch_model::facts::Candidate>>> {
    let candidate = serde_json::from_value(serde_json::json!({
        "version": version,
        "source_version": version,
        "origin": {"origin": "Debian", "label": "Debian", "suite": "stable", "codename": "bookworm", "component": "main"},
        "pinned_away": false,
    }))
    .unwrap();
    Known::Known(std::collections::BTreeMap::from([("libssl3".to_owned(), vec![candidate])]))
}

fn check(name: &str, outcome: CheckOutcome) -> Check {
    Check { name: name.to_owned(), outcome, detail: String::new() }
}

#[test]
fn a_finding_that_is_gone_from_a_changed_target_is_fixed() {
    let judgement = Scene::upgraded(&host()).judge();
    assert_eq!((judgement.outcome, judgement.failure), (CheckOutcome::Successful, None));
    assert_eq!(judgement.items[0].1, ItemVerdict::Fixed);
    assert_eq!(judgement.closed().count(), 1);
    assert!(judgement.may_call_clean);
}

#[test]
fn facts_as_old_as_the_act_prove_nothing() {
    let mut scene = Scene::upgraded(&host());
    scene.facts.collected_at = at("2026-11-23T11:00:00Z");
    let judgement = scene.judge();
    assert_eq!(judgement.outcome, CheckOutcome::Inconclusive);
    assert_eq!(judgement.closed().count(), 0);
    scene.facts.collected_at = now();
    assert_eq!(scene.judge().outcome, CheckOutcome::Successful);
}

#[test]
fn a_finding_that_vanished_from_an_unchanged_target_is_withdrawn_and_not_fixed() {
    let asset = host();
    let mut scene = Scene::upgraded(&asset);
    scene.facts.packages = vec![package("libssl3", "openssl")];
    assert_eq!(scene.judge().items[0].1, ItemVerdict::Withdrawn);
    scene.facts.packages.clear();
    assert_eq!(scene.judge().items[0].1, ItemVerdict::Fixed, "removed is gone too");
}

#[test]
fn stale_feeds_let_a_finding_close_but_no_host_be_called_clean() {
    let scene = Scene { fresh: false, ..Scene::upgraded(&host()) };
    let judgement = scene.judge();
    assert_eq!(judgement.closed().count(), 1);
    assert!(!judgement.may_call_clean);
}

#[test]
fn what_is_still_seen_fails_whatever_the_actor_says() {
    let mut scene = Scene::upgraded(&host());
    scene.after = scene.before.clone();
    scene.facts.candidates = offers("1.0-1+deb12u2");
    scene.checks = vec![check("dpkg-version", CheckOutcome::Successful)];
    let judgement = scene.judge();
    assert_eq!((judgement.outcome, judgement.failure), (CheckOutcome::Failed, Some(Failure::StillThere)));
    assert_eq!(judgement.checks.last().unwrap().detail, "0 of 1 items are gone, 1 still seen");
}

#[test]
fn a_failed_health_probe_is_told_from_a_failed_check() {
    let mut scene = Scene::upgraded(&host());
    scene.checks = vec![check("dpkg-audit", CheckOutcome::Failed)];
    assert_eq!(scene.judge().failure, Some(Failure::Check));
    scene.checks.push(check("health-probe", CheckOutcome::Failed));
    assert_eq!(scene.judge().failure, Some(Failure::Health));
    scene.checks = vec![check("health-probe", CheckOutcome::Inconclusive)];
    assert_eq!(scene.judge().outcome, CheckOutcome::Inconclusive, "no telemetry never promotes");
}

#[test]
fn fixed_on_disk_but_still_running_is_open_work() {
    let mut scene = Scene::upgraded(&host());
    let process = |container: Option<&str>| StaleProcess {
        pid: 7,
        started: 1,
        exe: "/usr/sbin/sshd".to_owned(),
        service: Some(ServiceRef::Systemd("ssh.service".to_owned())),
        container: container.map(str::to_owned),
        files: vec![StaleFile { path: "/lib/libssl.so.3".to_owned(), package: Some("libssl3".to_owned()) }],
    };
    scene.facts.stale = Known::Known(vec![process(None)]);
    let judgement = scene.judge();
    assert_eq!(judgement.items[0].1, ItemVerdict::FixedNotRunning { running: vec!["ssh.service".to_owned()] });
    assert_eq!(judgement.closed().count(), 0);
    scene.facts.stale = Known::Known(vec![process(Some("c0ffee"))]);
    assert_eq!(scene.judge().items[0].1, ItemVerdict::Fixed, "a container is not the host");
}

#[test]
fn a_detector_that_could_not_look_has_not_said_that_it_is_gone() {
    let asset = host();
    let mut scene = Scene::upgraded(&asset);
    scene.before =
        vec![finding(&asset, Detector::Running, "ssh.service", "openssl", "libssl3", Verdict::FixedNotRunning)];
    assert_eq!(scene.judge().items[0].1, ItemVerdict::Fixed);
    scene.facts.stale = Known::Unknown("needs root".to_owned());
    assert_eq!(scene.judge().outcome, CheckOutcome::Inconclusive);
}

#[test]
fn a_member_nobody_could_fix_does_not_fail_the_rest() {
    let asset = host();
    let mut scene = Scene::upgraded(&asset);
    let unfixed = finding(&asset, Detector::Advisory, "CVE-2026-2", "openssl", "libssl3", Verdict::AffectedUnfixed);
    scene.before.push(unfixed.clone());
    scene.after = vec![unfixed];
    assert_eq!(scene.judge().outcome, CheckOutcome::Successful);
    scene.after[0].verdict = Verdict::Unknown;
    assert_eq!(scene.judge().outcome, CheckOutcome::Inconclusive);
}

#[test]
fn a_new_kernel_that_is_not_booted_yet_is_open_work_and_no_failure() {
    let asset = host();
    let mut scene = Scene::upgraded(&asset);
    scene.before = vec![advisory(&asset, "CVE-2026-3", "linux", "linux-image-amd64")];
    scene.after = vec![Finding { verdict: Verdict::FixedNotRunning, ..scene.before[0].clone() }];
    let judgement = scene.judge();
    assert_eq!(judgement.outcome, CheckOutcome::Successful);
    assert_eq!(judgement.items[0].1, ItemVerdict::FixedNotRunning { running: vec!["kernel".to_owned()] });
}

#[test]
fn an_id_whose_fix_no_archive_offers_stays_open_without_failing_the_act() {
    let asset = host();
    let mut scene = Scene::upgraded(&asset);
    let later = Finding {
        fixed_version: Some("1.0-1+deb12u9".to_owned()),
        ..advisory(&asset, "CVE-2026-9", "openssl", "libssl3")
    };
    scene.before.push(later.clone());
    scene.after = vec![later.clone()];
    let judgement = scene.judge();
    assert_eq!(judgement.outcome, CheckOutcome::Successful);
    assert_eq!(judgement.items[0].1, ItemVerdict::Partly { findings: vec![later.fingerprint] });
    assert_eq!(judgement.closed().count(), 0);
    scene.facts.packages = vec![package("libssl3", "openssl")];
    assert_eq!(scene.judge().failure, Some(Failure::StillThere), "nothing was changed");
    scene.facts.candidates = offers("1.0-1+deb12u9");
    assert_eq!(scene.judge().failure, Some(Failure::StillThere), "it was there to be had");
}

#[test]
fn what_holds_a_problem_off_is_judged_by_its_own_newer_checks_and_closes_nothing() {
    let check = |outcome| Check { name: "cut-off".to_owned(), outcome, detail: String::new() };
    let item = stanch_model::id::ItemId::from_entropy([1; 10]);
    let at = |second| stanch_model::Timestamp::from_second(second).unwrap();
    let judged = |checks: &[Check], checked_at| {
        stanch_engine::judge_held_off(std::slice::from_ref(&item), checks, at(checked_at), Some(at(10)))
    };
    let well = judged(&[check(CheckOutcome::Successful)], 11);
    assert_eq!((well.outcome, well.closed().count(), well.may_call_clean), (CheckOutcome::Successful, 0, false));
    assert_eq!(judged(&[check(CheckOutcome::Successful)], 10).outcome, CheckOutcome::Inconclusive, "not newer");
    assert_eq!(judged(&[], 11).outcome, CheckOutcome::Inconclusive, "no check says nothing");
    let failed = judged(&[check(CheckOutcome::Successful), check(CheckOutcome::Failed)], 11);
    assert_eq!(failed.outcome, CheckOutcome::Failed);
    assert!(failed.failure.is_some());
}

/// A host on which pip upgraded leaf in an environment an hour ago.
fn upgraded_by_pip() -> Scene {
    let asset = host();
    let purl = |version: &str| format!("pkg:pypi/leaf@{version}?environment=/opt/site");
    let mut facts = facts(&asset);
    facts.components = serde_json::from_value(serde_json::json!([
        { "ecosystem": "PyPI", "name": "leaf", "version": "1.1", "purl": purl("1.1"), "keeper": { "manager": "pip" } },
    ]))
    .unwrap();
    let found = advisory(&asset, "GHSA-1", "leaf", &purl("1.0"));
    let before = vec![Finding { version: "1.0".to_owned(), ..found }];
    Scene { before, after: Vec::new(), facts, checks: Vec::new(), fresh: true }
}

fn python(package: &str, service: &str) -> StaleProcess {
    StaleProcess {
        pid: 7,
        started: 1,
        exe: "/opt/site/bin/python".to_owned(),
        service: Some(ServiceRef::Systemd(service.to_owned())),
        container: None,
        files: vec![StaleFile { path: "/opt/site/lib/leaf".to_owned(), package: Some(package.to_owned()) }],
    }
}

#[test]
fn a_package_of_an_environment_is_not_fixed_while_a_process_runs_the_old_one() {
    let mut scene = upgraded_by_pip();
    assert_eq!(scene.judge().items[0].1, ItemVerdict::Fixed);
    let other = python("pkg:pypi/leaf?environment=/opt/other", "other.service");
    scene.facts.stale = Known::Known(vec![other.clone()]);
    assert_eq!(scene.judge().items[0].1, ItemVerdict::Fixed, "the same package elsewhere is another thing");
    scene.facts.stale = Known::Known(vec![other, python("pkg:pypi/leaf?environment=/opt/site", "site.service")]);
    let judgement = scene.judge();
    let running = vec!["site.service".to_owned()];
    assert_eq!(judgement.items[0].1, ItemVerdict::FixedNotRunning { running });
    assert_eq!(judgement.closed().count(), 0);
    scene.facts.stale = Known::Unknown("needs root".to_owned());
    assert!(
        matches!(scene.judge().items[0].1, ItemVerdict::Unknown { .. }),
        "who cannot see the processes cannot tell"
    );
}

#[test]
fn a_package_of_rpm_is_not_fixed_while_a_process_maps_the_old_library() {
    let mut scene = upgraded_by_pip();
    let asset = scene.facts.asset.clone();
    let purl = |version: &str| format!("pkg:rpm/rocky/openssl-libs@{version}?arch=x86_64");
    scene.facts.components = serde_json::from_value(serde_json::json!([{
        "ecosystem": "Rocky Linux:9", "name": "openssl-libs", "version": "3.0.7-28.el9", "purl": purl("3.0.7-28.el9"),
        "source": "openssl", "keeper": { "manager": "dnf" },
    }]))
    .unwrap();
    let found = advisory(&asset, "RLSA-1", "openssl", &purl("3.0.7-27.el9"));
    scene.before = vec![Finding { version: "3.0.7-27.el9".to_owned(), ..found }];
    assert_eq!(scene.judge().items[0].1, ItemVerdict::Fixed);
    scene.facts.stale = Known::Known(vec![python("openssl-libs", "httpd.service")]);
    let running = vec!["httpd.service".to_owned()];
    assert_eq!(scene.judge().items[0].1, ItemVerdict::FixedNotRunning { running });
}

#[test]
fn a_package_in_a_place_that_was_not_searched_is_neither_fixed_nor_gone() {
    let mut scene = upgraded_by_pip();
    scene.facts.unsearched = vec!["/opt".to_owned()];
    assert_eq!(scene.judge().items[0].1, ItemVerdict::Fixed, "its newer version is told of all the same");
    scene.facts.components.clear();
    for (unsearched, known) in [("/opt", false), ("/opt/site", false), ("/opt/sit", true), ("/srv", true)] {
        scene.facts.unsearched = vec![unsearched.to_owned()];
        let verdict = scene.judge().items[0].1.clone();
        assert_eq!(!matches!(verdict, ItemVerdict::Unknown { .. }), known, "{unsearched}: {verdict:?}");
    }
}

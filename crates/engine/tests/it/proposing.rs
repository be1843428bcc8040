//! The catalogue offers what can be done, and says why where nothing can.

use stanch_engine::{Index, Proposal, group, propose, requests};
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::finding::{Detector, Finding, Verdict};

use crate::world::{advisory, finding, host};

fn proposals(asset: &Asset, findings: &[Finding]) -> Vec<Proposal> {
    let index = Index::new(findings);
    group(&asset.id, findings).items.iter().map(|item| propose(asset, item, &index.members(item))).collect()
}

fn only(asset: &Asset, findings: &[Finding]) -> Proposal {
    proposals(asset, findings).remove(0)
}

#[test]
fn nothing_by_itself_always_comes_with_what_a_person_can_do() {
    let asset = host();
    let of = |detector, verdict| match only(
        &asset,
        &[finding(&asset, detector, "CVE-2026-1", "php8.2", "php8.2-cli", verdict)],
    ) {
        Proposal::Nothing { why } => format!("{why}. {}", why.hint().unwrap_or_default()),
        Proposal::Candidate(candidate) => panic!("{candidate:?}"),
    };
    assert_eq!(
        of(Detector::Advisory, Verdict::Held),
        "held by its owner: php8.2-cli. release the hold: apt-mark unhold php8.2-cli"
    );
    assert!(of(Detector::Advisory, Verdict::AffectedUnfixed).starts_with("nobody offers a fix yet. reduce what"));
    assert!(of(Detector::Support, Verdict::Unsupported).starts_with("php8.2 is past its security support. move to"));
    let list = Asset::unlabelled(AssetKind::Inventory, "status", "status");
    let Proposal::Nothing { why } = only(&list, &[advisory(&list, "CVE-2026-1", "a", "a")]) else { panic!() };
    assert_eq!(why.to_string(), "only a package list is at hand, not its machine");
    for asset in [&asset, &list] {
        let Proposal::Nothing { why } = only(asset, &[advisory(asset, "GHSA-1", "a", "pkg:npm/a@1.0.0")]) else {
            panic!()
        };
        assert_eq!(why.to_string(), "no executor changes SBOM inventories");
        assert!(why.hint().unwrap().starts_with("take a fixed version of pkg:npm/a where it is built in"));
    }
}

#[test]
fn what_an_upgrade_leaves_open_is_told() {
    let asset = host();
    let findings = [
        advisory(&asset, "CVE-2026-1", "bind9", "bind9"),
        finding(&asset, Detector::Advisory, "CVE-2026-2", "bind9", "bind9", Verdict::AffectedUnfixed),
        finding(&asset, Detector::Advisory, "CVE-2026-1", "bind9", "bind9-libs", Verdict::Held),
    ];
    let Proposal::Candidate(candidate) = only(&asset, &findings) else { panic!() };
    assert_eq!(candidate.summary, "upgrade bind9 and restart what still runs the old files (1 finding)");
    assert_eq!(candidate.leaves_open.len(), 2);
}

#[test]
fn all_items_of_a_host_become_one_order_in_the_order_of_the_acts() {
    let asset = host();
    let mut findings = vec![
        finding(&asset, Detector::Kernel, "kernel", "linux", "linux-image-6.1.0-50-amd64", Verdict::FixedNotRunning),
        finding(&asset, Detector::Running, "ssh.service", "openssl", "libssl3", Verdict::FixedNotRunning),
        advisory(&asset, "CVE-2026-1", "openssl", "libssl3"),
        advisory(&asset, "CVE-2026-2", "bind9", "bind9"),
    ];
    let asked = |findings: &[Finding]| {
        let candidates: Vec<_> =
            proposals(&asset, findings).into_iter().filter_map(|proposal| proposal.candidate().cloned()).collect();
        requests(&candidates).into_iter().map(|r| (r.action, r.want.to_string(), r.items.len())).collect::<Vec<_>>()
    };
    let expected = [
        ("package.upgrade".to_owned(), r#"{"fixed":{"bind9":"1.0-1+deb12u1","openssl":"1.0-1+deb12u1"},"sources":["bind9","openssl"],"to":"fixed"}"#.to_owned(), 2),
        ("service.restart".to_owned(), r#"{"scope":"affected"}"#.to_owned(), 3),
        ("host.reboot".to_owned(), r#"{"when":"kernel_due"}"#.to_owned(), 1),
    ];
    assert_eq!(asked(&findings), expected);
    findings.reverse();
    assert_eq!(asked(&findings), expected);
    assert_eq!(asked(&findings[2..3])[0].1, r#"{"services":["ssh.service"]}"#, "one service alone is not all");
    let upgrade = |findings: &[Finding]| {
        let all = proposals(&asset, findings);
        requests(&all.iter().filter_map(Proposal::candidate).cloned().collect::<Vec<_>>()).remove(0)
    };
    let sources = ["bind9", "openssl"].map(|source| {
        let subject = stanch_model::item::Subject::SourcePackage { source: source.to_owned() };
        stanch_model::item::item_id(&asset.id, &subject)
    });
    assert_eq!(upgrade(&findings).items, sources, "items stand in the order of their sources");
    assert_eq!(requests(&[]), [], "nothing chosen is nothing asked");
    let dbus = finding(&asset, Detector::Running, "dbus.service", "openssl", "libssl3", Verdict::FixedNotRunning);
    let reboot = ("host.reboot".to_owned(), r#"{"when":"due"}"#.to_owned(), 1);
    assert_eq!(
        asked(std::slice::from_ref(&dbus)),
        [reboot],
        "what no restart ends asks for a reboot, and for nothing else"
    );
    let Proposal::Candidate(candidate) = only(&asset, &[dbus]) else { panic!() };
    assert_eq!(candidate.summary, "reboot to end what runs files that were replaced: dbus.service");
}

/// What is in an environment goes no further than it is asked to, so it is asked for the highest of its fixes.
#[test]
fn what_is_in_an_environment_of_a_host_is_asked_for_by_its_package_url_and_highest_fix() {
    let asset = host();
    let at = |environment: &str, id: &str, fixed: &str| Finding {
        fixed_version: Some(fixed.to_owned()),
        ..advisory(&asset, id, "jinja2", &format!("pkg:pypi/jinja2@3.1.2?environment={environment}"))
    };
    let findings = [
        at("/opt/x", "PYSEC-1", "3.1.9"),
        at("/opt/x", "PYSEC-2", "3.1.10"),
        at("/opt/y", "PYSEC-1", "3.1.9"),
        advisory(&asset, "CVE-2026-2", "bind9", "bind9"),
    ];
    let candidates: Vec<_> =
        proposals(&asset, &findings).into_iter().filter_map(|proposal| proposal.candidate().cloned()).collect();
    let request = requests(&candidates).remove(0);
    let (x, y) = ("pkg:pypi/jinja2?environment=/opt/x", "pkg:pypi/jinja2?environment=/opt/y");
    assert_eq!(request.want["sources"], serde_json::json!(["bind9", x, y]));
    assert_eq!(request.want["fixed"][x], "3.1.10", "as PyPI orders them");
    assert_eq!(request.want["fixed"][y], "3.1.9");
    assert_eq!(request.items.len(), 3);
}

/// One id whose fix no archive offers yet must not keep the others open, and data in doubt promise nothing.
#[test]
fn an_upgrade_has_to_reach_the_lowest_version_that_surely_closes_something() {
    let asset = host();
    let fixed = |id: &str, version: &str| Finding {
        fixed_version: Some(version.to_owned()),
        ..advisory(&asset, id, "openssl", "libssl3")
    };
    let asked = |findings: &[Finding]| {
        let Proposal::Candidate(candidate) = only(&asset, findings) else { panic!() };
        requests(&[candidate])[0].want["fixed"].to_string()
    };
    let (low, high) = (fixed("CVE-2026-1", "1.0-1+deb12u9"), fixed("CVE-2026-2", "1.0-1+deb12u10"));
    assert_eq!(asked(&[high.clone(), low.clone()]), r#"{"openssl":"1.0-1+deb12u9"}"#, "as Debian orders them");
    let doubtful = Finding { doubt: Some("the version looks wrong".to_owned()), ..low };
    assert_eq!(asked(&[doubtful.clone(), high]), r#"{"openssl":"1.0-1+deb12u10"}"#);
    assert_eq!(asked(&[doubtful]), "{}", "nothing is promised");
}

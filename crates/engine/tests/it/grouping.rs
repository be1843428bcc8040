//! One act, one item.

use proptest::prelude::*;
use stanch_engine::{group, propose};
use stanch_model::finding::{Detector, Finding, Verdict};
use stanch_model::item::Subject;
use stanch_model::lasting::LIBRARIES;

use crate::world::{advisory, finding, host, server_findings};

#[test]
fn the_server_has_696_findings_and_28_things_to_do() {
    let asset = host();
    let findings = server_findings(&asset);
    let grouping = group(&asset.id, &findings);
    assert_eq!((findings.len(), grouping.items.len()), (696, 28));
    assert_eq!(grouping.items.iter().map(|item| item.findings.len()).sum::<usize>(), 696);
}

#[test]
fn an_advisory_and_a_security_upload_of_one_source_are_one_item() {
    let asset = host();
    let findings = [
        advisory(&asset, "DEBIAN-CVE-2026-1", "openssl", "libssl3"),
        finding(&asset, Detector::SecurityOrigin, "security-update", "openssl", "openssl", Verdict::AffectedFixable),
    ];
    let grouping = group(&asset.id, &findings);
    assert_eq!(grouping.items.len(), 1);
    assert_eq!(grouping.items[0].subject, Subject::SourcePackage { source: "openssl".to_owned() });
    assert_eq!(grouping.items[0].findings.len(), 2);
}

#[test]
fn all_copies_inside_one_file_are_one_item_whatever_their_world() {
    let asset = host();
    let copy = |id: &str, name: &str, purl: &str| {
        finding(&asset, Detector::Advisory, id, name, purl, Verdict::AffectedUnfixed)
    };
    let findings = [
        copy("RUSTSEC-1", "time", "pkg:cargo/time@0.1.42?inside=/opt/x/tool"),
        copy("CVE-2026-1", "openssl", "pkg:generic/openssl@3.0.7?inside=/opt/x/tool"),
        copy("CVE-2026-1", "openssl", "pkg:generic/openssl@3.0.7?inside=/opt/y/tool"),
    ];
    let grouping = group(&asset.id, &findings);
    let items: Vec<(&str, usize)> =
        grouping.items.iter().map(|item| (item.subject.name(), item.findings.len())).collect();
    assert_eq!(items.len(), 2);
    for expected in [("pkg:generic/tool?inside=/opt/x/tool", 2), ("pkg:generic/tool?inside=/opt/y/tool", 1)] {
        assert!(items.contains(&expected), "{items:?}");
    }
    for item in &grouping.items {
        let members: Vec<&Finding> = findings.iter().filter(|one| item.findings.contains(&one.fingerprint)).collect();
        assert!(propose(&asset, item, &members).candidate().is_none(), "nobody can ask for another such file");
    }
}

#[test]
fn all_versions_of_one_component_are_one_item_and_two_ecosystems_are_two() {
    let asset = host();
    let findings = [
        advisory(&asset, "GHSA-1", "a", "pkg:npm/%40x/a@1.0.0"),
        advisory(&asset, "GHSA-1", "a", "pkg:npm/%40x/a@1.1.0?vcs_url=y"),
        advisory(&asset, "PYSEC-1", "a", "pkg:pypi/a@1.0"),
        advisory(&asset, "DEBIAN-CVE-2026-1", "a", "a"),
    ];
    let mut grouped: Vec<(String, usize)> =
        group(&asset.id, &findings).items.iter().map(|i| (i.subject.name().to_owned(), i.findings.len())).collect();
    grouped.sort();
    let named = |name: &str, count| (name.to_owned(), count);
    assert_eq!(grouped, [named("a", 1), named("pkg:npm/%40x/a", 2), named("pkg:pypi/a", 1)]);
}

#[test]
fn each_check_leads_to_its_own_kind_of_act() {
    let asset = host();
    let of = |detector, id: &str, source: &str, binary: &str, verdict| {
        group(&asset.id, &[finding(&asset, detector, id, source, binary, verdict)]).items.remove(0).subject
    };
    assert_eq!(
        of(Detector::Running, "ssh.service", "openssl", "libssl3", Verdict::FixedNotRunning),
        Subject::Service { name: "ssh.service".to_owned() }
    );
    assert_eq!(
        of(Detector::Running, "dbus.service", "openssl", "libssl3", Verdict::FixedNotRunning),
        Subject::Reboot { flavour: LIBRARIES.to_owned() },
        "no restart ends it"
    );
    for (image, flavour) in [
        ("linux-image-6.1.0-50-amd64", "amd64"),
        ("linux-image-6.1.0-50-cloud-amd64", "cloud-amd64"),
        ("linux-image-6.12.63+deb13-rt-amd64", "rt-amd64"),
        ("linux-image-5.15.0-91-generic", "generic"),
        ("linux-image-6.1.0-50-amd64-unsigned", "amd64"),
    ] {
        let subject = of(Detector::Kernel, "kernel-not-booted", "linux", image, Verdict::FixedNotRunning);
        assert_eq!(subject, Subject::Reboot { flavour: flavour.to_owned() });
        let by_advisory = of(Detector::Advisory, "DEBIAN-CVE-2026-2", "linux", image, Verdict::FixedNotRunning);
        assert_eq!(by_advisory, subject, "the running kernel alone is left: booting closes it");
    }
    assert_eq!(
        of(Detector::Support, "release-support", "", "", Verdict::Unsupported),
        Subject::Support { name: "release".to_owned() }
    );
}

#[test]
fn what_nobody_can_judge_is_counted_and_never_an_item() {
    let asset = host();
    let elsewhere = crate::world::host_named("machine-2");
    let findings = [
        finding(&asset, Detector::Advisory, "DEBIAN-CVE-2026-3", "a", "a", Verdict::Unknown),
        finding(&asset, Detector::Advisory, "DEBIAN-CVE-2026-4", "a", "a", Verdict::NotAffected),
        advisory(&elsewhere, "DEBIAN-CVE-2026-5", "a", "a"),
    ];
    let grouping = group(&asset.id, &findings);
    assert_eq!((grouping.items.len(), grouping.unknown, grouping.not_affected, grouping.elsewhere), (0, 1, 1, 1));
}

proptest! {
    #[test]
    fn order_and_repetition_do_not_matter(order in Just((0..40_usize).collect::<Vec<_>>()).prop_shuffle(), again in 0..40_usize) {
        let asset = host();
        let all: Vec<_> = (0..40)
            .map(|n| advisory(&asset, &format!("DEBIAN-CVE-2026-{n}"), &format!("source{}", n % 7), &format!("binary{n}")))
            .collect();
        let mut shuffled: Vec<_> = order.iter().map(|&at| all[at].clone()).collect();
        shuffled.push(all[again].clone());
        prop_assert_eq!(group(&asset.id, &all), group(&asset.id, &shuffled));
    }
}

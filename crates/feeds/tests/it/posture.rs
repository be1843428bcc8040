//! Settings that are weaker than wanted: found one by one, and never guessed at.

use std::collections::BTreeMap;

use stanch_feeds::{Detection, HostVerdict, Knowledge, detect::detect_with};
use stanch_model::facts::{FileMode, HostFacts, Known, Posture, UnitState};
use stanch_model::finding::{Detector, OcsfClass, Verdict};
use stanch_model::posture::CHECKS;

use crate::world::bookworm;

fn run(posture: Option<Posture>) -> Detection {
    let facts = HostFacts { posture, ..bookworm(Vec::new()) };
    detect_with(&[Detector::Posture], &facts, &Knowledge::default(), facts.collected_at)
}

fn sysctls(pairs: &[(&str, &str)]) -> BTreeMap<String, Known<String>> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), Known::Known((*value).to_owned()))).collect()
}

#[test]
fn each_weak_setting_is_a_compliance_finding_with_what_it_is_and_should_be() {
    let sshd = BTreeMap::from([("permitrootlogin".to_owned(), "yes".to_owned())]);
    let on = UnitState { file: "enabled".to_owned(), active: true };
    let detection = run(Some(Posture {
        sysctls: sysctls(&[
            ("kernel.kptr_restrict", "0"),
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv4.tcp_syncookies", "1"),
        ]),
        sshd: Known::Known(Some(sshd)),
        files: BTreeMap::from([("/etc/shadow".to_owned(), Known::Known(FileMode { mode: 0o644, uid: 0, gid: 42 }))]),
        services: BTreeMap::from([("rpcbind.socket".to_owned(), Known::Known(on))]),
    }));
    let told: Vec<String> = detection
        .findings
        .iter()
        .map(|one| {
            assert_eq!(one.class, OcsfClass::Compliance);
            let wanted = one.fixed_version.as_deref().unwrap();
            format!("{} {} {}: {} -> {wanted}", one.verdict.name(), one.package, one.id, one.version)
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    affected_fixable file stanch/posture/file-shadow: 0644 root:shadow -> at most 0640, root:root or shadow
    affected_fixable service stanch/posture/service-rpcbind: rpcbind.socket enabled, running -> off
    affected_fixable sshd stanch/posture/ssh-root-login: yes -> prohibit-password or without-password or forced-commands-only or no
    affected_fixable sysctl stanch/posture/sysctl-kptr: 0 -> at least 1
    affected_unfixed sysctl stanch/posture/sysctl-forward: 1 -> 0
    ");
    assert!(detection.blind_spots.is_empty(), "{:?}", detection.blind_spots);
    let forward = detection.findings.iter().find(|one| one.verdict == Verdict::AffectedUnfixed).unwrap();
    assert!(forward.reason.ends_with("But routers, VPN gateways and hosts of containers or virtual machines need it."));
}

#[test]
fn what_could_not_be_read_is_neither_good_nor_bad() {
    let mut posture = Posture { sysctls: sysctls(&[("kernel.kptr_restrict", "sideways")]), ..Posture::default() };
    posture.sysctls.insert("kernel.dmesg_restrict".to_owned(), Known::Unknown("needs root".to_owned()));
    posture.sshd = Known::Unknown("needs root".to_owned());
    let detection = run(Some(posture));
    assert!(detection.findings.is_empty(), "{:?}", detection.findings);
    let sshd = CHECKS.iter().filter(|check| check.setting().starts_with("sshd.")).count();
    assert_eq!(
        detection.blind_spots,
        [
            "posture, 1 setting of sysctl: `sideways` says nothing to sysctl-kptr".to_owned(),
            "posture, 1 setting of sysctl: needs root".to_owned(),
            format!("posture, {sshd} settings of sshd: needs root"),
        ]
    );
    assert!(matches!(detection.verdict(), HostVerdict::CannotSay(_)));
}

#[test]
fn where_nobody_looked_nothing_is_said_and_what_is_not_there_is_not_wrong() {
    assert_eq!(run(None), Detection::default());
    assert_eq!(run(Some(Posture::default())), Detection::default());
}

#[test]
fn facts_from_before_the_pack_are_read_and_the_same_setting_is_the_same_finding() {
    let mut old = serde_json::to_value(bookworm(Vec::new())).unwrap();
    assert!(old.as_object_mut().unwrap().remove("posture").is_none(), "facts without it do not mention it");
    assert_eq!(serde_json::from_value::<HostFacts>(old).unwrap().posture, None);
    let of = |value| run(Some(Posture { sysctls: sysctls(&[("kernel.kptr_restrict", value)]), ..Posture::default() }));
    assert_eq!(of("0").findings[0].fingerprint, of("-1").findings[0].fingerprint);
}

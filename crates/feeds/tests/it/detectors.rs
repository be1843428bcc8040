//! What each check says, and what it leaves unsaid.

use std::collections::BTreeMap;

use stanch_feeds::archive::Limits;
use stanch_feeds::{Detection, FreshFor, HostVerdict, Knowledge, detect, osv, support};
use stanch_model::facts::{
    Candidate, HostFacts, KernelFacts, KernelImage, Known, Origin, Package, ServiceRef, StaleFile, StaleProcess,
};
use stanch_model::finding::{Detector, Finding, Verdict};

use crate::archive::{of, record, record_with};
use crate::world::{bookworm, package};

fn knowledge(records: &[String]) -> Knowledge {
    Knowledge::of([osv::compile("Debian:12", &of(records), &Limits::default()).unwrap()])
}

fn openssl() -> Knowledge {
    knowledge(&[record("DEBIAN-CVE-2026-0001", "openssl", "3.0.2-1")])
}

fn run(facts: &HostFacts, knowledge: &Knowledge) -> Detection {
    detect(facts, knowledge, facts.collected_at)
}

fn verdicts(facts: &HostFacts, knowledge: &Knowledge, detector: Detector) -> Vec<Verdict> {
    run(facts, knowledge).of(detector).map(|finding| finding.verdict).collect()
}

fn advisory(facts: &HostFacts, knowledge: &Knowledge) -> Vec<Verdict> {
    verdicts(facts, knowledge, Detector::Advisory)
}

fn origin(origin: &str, codename: &str) -> Origin {
    Origin {
        origin: origin.to_owned(),
        label: if codename.ends_with("-security") { "Debian-Security" } else { origin }.to_owned(),
        suite: codename.to_owned(),
        codename: codename.to_owned(),
        component: "main".to_owned(),
    }
}

fn candidate(version: &str, codename: &str) -> Candidate {
    Candidate {
        version: version.parse().unwrap(),
        source_version: version.parse().unwrap(),
        origin: origin("Debian", codename),
        pinned_away: false,
    }
}

fn offering(mut facts: HostFacts, name: &str, candidates: Vec<Candidate>) -> HostFacts {
    facts.candidates = Known::Known(BTreeMap::from([(name.to_owned(), candidates)]));
    facts
}

fn from(mut package: Package, origins: &[Origin]) -> Package {
    package.origins = origins.to_vec();
    package
}

#[test]
fn the_source_version_counts_not_the_binary_version() {
    let mut binary = package("libssl3", "9:99+b1");
    binary.source = "openssl".to_owned();
    binary.source_version = "3.0.1-1".parse().unwrap();
    let detection = run(&bookworm(vec![binary]), &openssl());
    let found = &detection.findings[0];
    assert_eq!((found.package.as_str(), found.binary.as_str()), ("openssl", "libssl3"));
    assert_eq!((found.version.as_str(), found.source_version.as_deref()), ("9:99+b1", Some("3.0.1-1")));
    assert_eq!(found.fixed_version.as_deref(), Some("3.0.2-1"));
}

#[test]
fn a_binary_named_like_an_affected_source_is_not_affected_by_it() {
    let mut binary = package("openssl", "1.0");
    binary.source = "something-else".to_owned();
    assert_eq!(advisory(&bookworm(vec![binary]), &openssl()), vec![]);
}

#[test]
fn a_package_on_two_architectures_is_one_finding() {
    let mut foreign = package("openssl", "3.0.1-1");
    foreign.architecture = "i386".to_owned();
    assert_eq!(advisory(&bookworm(vec![package("openssl", "3.0.1-1"), foreign]), &openssl()).len(), 1);
}

#[test]
fn the_worse_of_two_architectures_counts() {
    let held = Package { hold: true, ..package("openssl", "3.0.1-1") };
    let free = Package { architecture: "i386".to_owned(), ..package("openssl", "3.0.1-1") };
    assert_eq!(advisory(&bookworm(vec![held, free]), &openssl()), vec![Verdict::AffectedFixable]);
}

#[test]
fn what_a_signed_package_embeds_is_judged_and_what_others_embed_is_not() {
    let mut signed = package("linux-image-6.1.0-50-amd64", "6.1.176-1");
    signed.source = "linux-signed-amd64".to_owned();
    signed.source_version = "6.1.176+1".parse().unwrap();
    signed.built_using = vec![("linux".to_owned(), "6.1.176-1".parse().unwrap())];
    let feed = knowledge(&[record("DEBIAN-CVE-2026-0002", "linux", "6.1.192-1")]);
    let detection = run(&bookworm(vec![signed.clone()]), &feed);
    assert_eq!(
        (&*detection.findings[0].package, detection.findings[0].source_version.as_deref()),
        ("linux", Some("6.1.176-1"))
    );
    signed.source = "some-static-program".to_owned();
    assert_eq!(advisory(&bookworm(vec![signed]), &feed), vec![], "a rebuild, not an upgrade of linux, would change it");
}

#[test]
fn a_backport_is_unknown_and_never_compared() {
    for package in [
        package("openssl", "3.0.1-1~bpo12+1"),
        from(package("openssl", "3.0.1-1"), &[origin("Debian", "bookworm-backports")]),
        from(package("openssl", "1.0"), &[origin("Debian", "trixie")]),
        from(package("openssl", "1.0"), &[origin("nginx", "bookworm")]),
    ] {
        let facts = bookworm(vec![package]);
        assert_eq!(advisory(&facts, &openssl()), vec![Verdict::Unknown]);
        assert_eq!(run(&facts, &openssl()).coverage.with_data, 0);
    }
}

#[test]
fn a_package_of_another_release_is_compared_with_that_release_when_its_feed_is_at_hand() {
    let trixie = record("DEBIAN-CVE-2026-0001", "openssl", "3.5.4-1").replace("Debian:12", "Debian:13");
    let both = openssl().with([osv::compile("Debian:13", &of(&[trixie]), &Limits::default()).unwrap()]);
    let facts = bookworm(vec![from(package("openssl", "3.5.3-1"), &[origin("Debian", "trixie")])]);
    let detection = run(&facts, &both);
    assert_eq!(detection.findings[0].fixed_version.as_deref(), Some("3.5.4-1"));
    assert_eq!(detection.findings[0].feed.as_ref().unwrap().name, "osv/Debian-13");
}

#[test]
fn what_no_index_carries_any_more_still_belongs_to_the_release() {
    let facts = bookworm(vec![from(package("openssl", "3.0.1-1"), &[])]);
    assert_eq!(advisory(&facts, &openssl()), vec![Verdict::AffectedFixable]);
    let unlabelled = bookworm(vec![from(package("openssl", "3.0.1-1"), &[origin("", "")])]);
    assert_eq!(advisory(&unlabelled, &openssl()), vec![Verdict::AffectedFixable]);
}

#[test]
fn a_hold_or_a_pin_of_the_owner_is_respected() {
    let held = bookworm(vec![Package { hold: true, ..package("openssl", "3.0.1-1") }]);
    assert_eq!(advisory(&held, &openssl()), vec![Verdict::Held]);

    let away = Candidate { pinned_away: true, ..candidate("3.0.2-1", "bookworm-security") };
    let facts = bookworm(vec![package("openssl", "3.0.1-1")]);
    let pinned = offering(facts.clone(), "openssl", vec![away.clone()]);
    assert_eq!(advisory(&pinned, &openssl()), vec![Verdict::Held]);
    assert_eq!(verdicts(&pinned, &openssl(), Detector::SecurityOrigin), vec![Verdict::Held]);
    let also_free = offering(facts, "openssl", vec![away, candidate("3.0.2-1", "bookworm-security")]);
    assert_eq!(advisory(&also_free, &openssl()), vec![Verdict::AffectedFixable]);
}

#[test]
fn an_archive_that_does_not_offer_the_fix_is_told() {
    let facts = offering(bookworm(vec![package("openssl", "3.0.1-1")]), "openssl", vec![]);
    let detection = run(&facts, &openssl());
    assert_eq!(detection.findings[0].verdict, Verdict::AffectedFixable);
    assert!(detection.findings[0].reason.contains("no archive"), "{}", detection.findings[0].reason);
}

#[test]
fn a_fix_from_before_the_release_is_doubted() {
    let early = record("DEBIAN-CVE-2026-0001", "rsync", "3.4.1-1")
        .replace("\"ranges\"", "\"database_specific\":{\"upload_target\":\"pre-release\"},\"ranges\"");
    let detection = run(&bookworm(vec![package("rsync", "3.2.7-1")]), &knowledge(&[early]));
    assert!(detection.findings[0].doubt.is_some());
    assert_eq!(detection.findings[0].verdict, Verdict::AffectedFixable, "doubted is not dismissed");
}

#[test]
fn an_advisory_without_a_fix_or_a_range_is_unfixed_or_unknown() {
    let feed = knowledge(&[
        record_with("DEBIAN-CVE-2026-0001", "open", r#"[{"introduced":"0"}]"#),
        record("DEBIAN-CVE-2026-0002", "silent", "1").replace(",\"ranges\"", ",\"was\""),
    ]);
    assert_eq!(advisory(&bookworm(vec![package("open", "1.0")]), &feed), vec![Verdict::AffectedUnfixed]);
    assert_eq!(advisory(&bookworm(vec![package("silent", "1.0")]), &feed), vec![Verdict::Unknown]);
}

#[test]
fn a_source_the_distribution_gave_up_is_unsupported() {
    let ended = record("DEBIAN-CVE-2026-0001", "openssl", "4.0")
        .replace("\"ranges\"", "\"ecosystem_specific\":{\"urgency\":\"end-of-life\"},\"ranges\"");
    assert_eq!(advisory(&bookworm(vec![package("openssl", "1.0")]), &knowledge(&[ended])), vec![Verdict::Unsupported]);
}

#[test]
fn coverage_tells_what_the_feeds_know_of() {
    let facts = bookworm(vec![package("openssl", "3.0.1-1"), package("unheard-of", "1.0")]);
    let coverage = run(&facts, &openssl()).coverage;
    assert_eq!((coverage.with_data, coverage.without_feed, coverage.packages), (1, 0, 2));
    let coverage = run(&facts, &Knowledge::default()).coverage;
    assert_eq!((coverage.with_data, coverage.without_feed, coverage.packages), (0, 2, 2));
}

fn security(version: &str) -> HostFacts {
    offering(bookworm(vec![package("unzip", "6.0-28")]), "unzip", vec![candidate(version, "bookworm-security")])
}

#[test]
fn a_newer_version_in_a_security_archive_is_found_without_any_id() {
    let detection = run(&security("6.0-28+deb12u1"), &Knowledge::default());
    let found: Vec<&Finding> = detection.of(Detector::SecurityOrigin).collect();
    assert_eq!((found[0].id.as_str(), found[0].fixed_version.as_deref()), ("security-update", Some("6.0-28+deb12u1")));
}

#[test]
fn an_older_or_an_ordinary_version_is_no_security_update() {
    assert_eq!(verdicts(&security("6.0-27"), &Knowledge::default(), Detector::SecurityOrigin), vec![]);
    let ordinary =
        offering(bookworm(vec![package("unzip", "6.0-28")]), "unzip", vec![candidate("6.1", "bookworm-updates")]);
    assert_eq!(verdicts(&ordinary, &Knowledge::default(), Detector::SecurityOrigin), vec![]);
}

fn process(pid: u32, exe: &str, service: Option<ServiceRef>, container: Option<&str>) -> StaleProcess {
    let file = StaleFile { path: "/usr/lib/libssl.so.3".to_owned(), package: Some("libssl3".to_owned()) };
    StaleProcess {
        pid,
        started: 1,
        exe: exe.to_owned(),
        service,
        container: container.map(str::to_owned),
        files: vec![file],
    }
}

#[test]
fn a_service_is_one_finding_however_many_processes_it_has() {
    let ssh = || Some(ServiceRef::Systemd("ssh.service".to_owned()));
    let mut facts = bookworm(vec![package("libssl3", "3.0.2-1")]);
    facts.stale = Known::Known(vec![
        process(1, "/usr/sbin/sshd", ssh(), None),
        process(2, "/usr/sbin/sshd", ssh(), None),
        process(3, "/opt/daemon", None, None),
        process(4, "/usr/sbin/nginx", None, Some("a-container")),
        StaleProcess {
            files: vec![StaleFile { path: "/tmp/x".to_owned(), package: None }],
            ..process(5, "/bin/cat", None, None)
        },
    ]);
    let detection = run(&facts, &Knowledge::default());
    let found: Vec<&str> = detection.of(Detector::Running).map(|finding| finding.id.as_str()).collect();
    assert_eq!(found, ["/opt/daemon", "ssh.service"]);
    assert!(detection.of(Detector::Running).all(|finding| finding.verdict == Verdict::FixedNotRunning));
    assert!(detection.notes.iter().any(|note| note.contains("containers")));
}

#[test]
fn which_of_its_files_are_old_does_not_make_a_service_another_problem() {
    let mut facts = bookworm(vec![]);
    let mut stale = process(1, "/usr/sbin/sshd", None, None);
    facts.stale = Known::Known(vec![stale.clone()]);
    let before = run(&facts, &Knowledge::default()).findings[0].fingerprint.clone();
    stale.files.push(StaleFile { path: "/usr/lib/libc.so.6".to_owned(), package: Some("libc6".to_owned()) });
    facts.stale = Known::Known(vec![stale]);
    assert_eq!(run(&facts, &Knowledge::default()).findings[0].fingerprint, before);
}

fn image(abi: &str, flavour: &str, version: &str) -> KernelImage {
    let release = format!("{abi}-{flavour}");
    KernelImage {
        package: format!("linux-image-{release}"),
        release,
        flavour: flavour.to_owned(),
        version: version.parse().unwrap(),
    }
}

fn kernels(running: &str, named: Option<&str>, installed: Vec<KernelImage>) -> HostFacts {
    let packages = installed.iter().map(|image| {
        let mut package = package(&image.package, image.version.as_str());
        package.source = "linux-signed-amd64".to_owned();
        package.built_using = vec![("linux".to_owned(), image.version.clone())];
        package
    });
    let mut facts = bookworm(packages.collect());
    facts.kernel = Known::Known(KernelFacts {
        running_release: running.to_owned(),
        running_version: named.map(|version| version.parse().unwrap()),
        installed,
    });
    facts
}

fn kernel(facts: &HostFacts) -> Vec<String> {
    run(facts, &Knowledge::default())
        .of(Detector::Kernel)
        .map(|finding| finding.fixed_version.clone().unwrap())
        .collect()
}

#[test]
fn a_kernel_is_judged_against_the_newest_of_its_own_flavour_in_dpkg_order() {
    let both = vec![image("6.1.0-96", "amd64", "6.1.96-1"), image("6.1.0-100", "amd64", "6.1.100-1")];
    assert_eq!(kernel(&kernels("6.1.0-96-amd64", None, both.clone())), ["6.1.100-1"]);
    assert_eq!(kernel(&kernels("6.1.0-100-amd64", None, both)), [""; 0]);
    let flavours = vec![image("6.1.0-50", "amd64", "6.1.176-1"), image("6.1.0-51", "cloud-amd64", "6.1.192-1")];
    assert_eq!(kernel(&kernels("6.1.0-50-amd64", None, flavours)), [""; 0]);
}

#[test]
fn a_kernel_replaced_under_its_own_name_is_seen_by_what_the_kernel_itself_says() {
    let installed = vec![image("6.1.0-50", "amd64", "6.1.176-2")];
    assert_eq!(kernel(&kernels("6.1.0-50-amd64", Some("6.1.176-1"), installed.clone())), ["6.1.176-2"]);
    assert_eq!(kernel(&kernels("6.1.0-50-amd64", Some("6.1.176-2"), installed)), [""; 0]);
}

#[test]
fn a_running_kernel_whose_package_is_gone_is_still_judged() {
    let installed = vec![image("6.1.0-51", "amd64", "6.1.192-1"), image("6.1.0-52", "cloud-amd64", "6.1.200-1")];
    assert_eq!(kernel(&kernels("6.1.0-50-amd64", Some("6.1.176-1"), installed)), ["6.1.192-1"]);
}

#[test]
fn a_kernel_of_a_flavour_that_is_not_installed_is_said_to_be_unjudged() {
    let facts = kernels("6.12.90-custom", None, vec![image("6.1.0-51", "amd64", "6.1.192-1")]);
    assert_eq!(kernel(&facts), [""; 0]);
    assert!(run(&facts, &Knowledge::default()).notes.iter().any(|note| note.contains("6.12.90-custom")));
}

#[test]
fn an_old_kernel_is_residue_when_it_is_not_booted_and_a_reboot_away_from_fixed_when_it_is() {
    let feed = knowledge(&[record("DEBIAN-CVE-2026-0002", "linux", "6.1.192-1")]);
    let installed = vec![image("6.1.0-50", "amd64", "6.1.176-1"), image("6.1.0-51", "amd64", "6.1.192-1")];
    let rebooted = kernels("6.1.0-51-amd64", None, installed.clone());
    assert_eq!(advisory(&rebooted, &feed), vec![]);
    assert!(run(&rebooted, &feed).notes.iter().any(|note| note.contains("residue")));
    assert_eq!(advisory(&kernels("6.1.0-50-amd64", None, installed), &feed), vec![Verdict::FixedNotRunning]);
    let only = vec![image("6.1.0-50", "amd64", "6.1.176-1")];
    assert_eq!(advisory(&kernels("6.1.0-50-amd64", None, only), &feed), vec![Verdict::AffectedFixable]);
}

fn ended() -> Knowledge {
    let list = r#"{"release":"bookworm","ended":[{"source":"pdns","last_supported":"4.7.3-2","ended":"2025-10-01"},
        {"source":"php-horde.*","last_supported":"0","ended":"2025-03-22"},{"source":"later","last_supported":"1","ended":"2027-01-01"}],
        "limited_support":["binutils"]}"#;
    Knowledge::of([support::compile(list.as_bytes()).unwrap()])
}

#[test]
fn a_source_past_its_support_is_found_by_name_or_beginning_from_its_day_on() {
    let sources = ["pdns", "php-horde-core", "later", "binutils", "pdns-recursor"];
    let facts = bookworm(sources.iter().map(|name| package(name, "5.0")).collect());
    let detection = run(&facts, &ended());
    let found: Vec<&str> = detection.of(Detector::Support).map(|finding| finding.package.as_str()).collect();
    assert_eq!(found, ["pdns", "php-horde-core"]);
    assert!(detection.notes.iter().any(|note| note.contains("limited for binutils")));
}

#[test]
fn a_release_past_its_support_is_found_and_one_under_long_term_support_is_noted() {
    let mut facts = bookworm(vec![]);
    assert_eq!(verdicts(&facts, &ended(), Detector::Support), vec![]);
    assert!(run(&facts, &ended()).notes.iter().any(|note| note.contains("long-term support until 2028-06-30")));
    facts.architecture = "s390x".to_owned();
    assert_eq!(verdicts(&facts, &ended(), Detector::Support), vec![Verdict::Unsupported]);
    facts.architecture = "amd64".to_owned();
    facts.os.version_id = Some("11".to_owned());
    let detection = run(&facts, &ended());
    let found: Vec<&str> = detection.of(Detector::Support).map(|finding| finding.package.as_str()).collect();
    assert_eq!(found, ["release"]);
}

/// A host about which everything could be read, with nothing wrong.
fn sound() -> HostFacts {
    let mut facts = bookworm(vec![package("openssl", "3.0.2-1")]);
    facts.candidates = Known::Known(BTreeMap::new());
    facts.stale = Known::Known(vec![]);
    facts.kernel =
        Known::Known(KernelFacts { running_release: "6.1.0".to_owned(), running_version: None, installed: vec![] });
    facts
}

fn fresh() -> Knowledge {
    openssl().believed_for(FreshFor { osv: 24 * 7, ..FreshFor::default() })
}

#[test]
fn only_a_known_and_fresh_feed_calls_a_host_clean() {
    assert_eq!(run(&sound(), &fresh()).verdict(), HostVerdict::Clean);
    let stale = run(&sound(), &openssl()).verdict();
    assert!(matches!(&stale, HostVerdict::CannotSay(why) if why[0].contains("stale")), "{stale:?}");
    assert!(matches!(run(&sound(), &Knowledge::default()).verdict(), HostVerdict::CannotSay(_)));
    let newest = HostFacts { packages: vec![package("openssl", "9:9")], ..sound() };
    assert!(matches!(run(&newest, &Knowledge::snapshot().unwrap()).verdict(), HostVerdict::CannotSay(_)));
}

#[test]
fn what_could_not_be_read_forbids_calling_a_host_clean() {
    let no_root = || Known::Unknown("needs root".to_owned());
    for blind in [
        HostFacts { stale: no_root(), ..sound() },
        HostFacts { candidates: Known::Unknown("needs root".to_owned()), ..sound() },
        HostFacts { kernel: Known::Unknown("needs root".to_owned()), ..sound() },
        HostFacts { gaps: vec!["2 packages with odd versions".to_owned()], ..sound() },
    ] {
        assert!(matches!(run(&blind, &fresh()).verdict(), HostVerdict::CannotSay(_)));
    }
    let backport = HostFacts { packages: vec![package("openssl", "3.0.2-1~bpo12+1")], ..sound() };
    assert!(matches!(run(&backport, &fresh()).verdict(), HostVerdict::CannotSay(_)));
}

#[test]
fn a_problem_makes_a_host_not_clean_even_where_much_is_unknown() {
    let facts = bookworm(vec![package("openssl", "3.0.1-1")]);
    assert_eq!(run(&facts, &openssl()).verdict(), HostVerdict::NotClean);
}

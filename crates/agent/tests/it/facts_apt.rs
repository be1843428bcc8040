//! What apt knows: origins, candidates, pins, holds; and that a remembered answer is the same answer.

use std::fs;
use std::io::Write;
use std::process::Command;

use stanch_agent::facts::{Options, host};
use stanch_model::facts::{HostFacts, Known};

use crate::facts::{Tree, stanza};

const MAIN: &str = "deb.example_debian_dists_bookworm";
const SECURITY: &str = "deb.example_debian-security_dists_bookworm-security";
const BACKPORTS: &str = "deb.example_debian_dists_bookworm-backports";
const VENDOR: &str = "apt.vendor.example_repo_dists_stable";

fn release(origin: &str, label: &str, suite: &str, codename: &str, more: &str) -> String {
    let hash = "0".repeat(64);
    format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: {origin}\nLabel: {label}\nSuite: {suite}\nCodename: {codename}\nVersion: 12.15\n{more}Date: Sat, 21 Nov 2026 00:00:00 UTC\nArchitectures: amd64\nComponents: main\nSHA256:\n {hash} 1 main/binary-amd64/Packages\n-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n"
    )
}

fn offer(name: &str, version: &str, more: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\n{more}Filename: pool/{name}.deb\nSize: 1\nSHA256: 00\n\n"
    )
}

/// A host with `web`, `tool` and `odd` installed, of which newer versions can be had here and there.
fn world() -> Tree {
    let status = [
        stanza("odd", "1.0-1", "Source: odd-source (1.0-1)\n"),
        stanza("tool", "2.0-1", ""),
        stanza("web", "1.22.1-9", "Source: webserver\n"),
    ];
    let tree = Tree::debian(&status.concat());
    let lists = |name: &str| format!("var/lib/apt/lists/{name}");
    tree.write(&lists(&format!("{MAIN}_InRelease")), release("Debian", "Debian", "oldstable", "bookworm", ""));
    let main = [
        offer("absent", "9", ""),
        offer("odd", "1.0-1", "Source: odd-source\n"),
        offer("tool", "2.0-1", ""),
        offer("web", "1.22.1-9", "Source: webserver\n"),
    ];
    tree.write(&lists(&format!("{MAIN}_main_binary-amd64_Packages")), main.concat());
    let security = release("Debian", "Debian-Security", "oldstable-security", "bookworm-security", "");
    tree.write(&lists(&format!("{SECURITY}_InRelease")), security);
    let fixed = [
        offer("web", "1.22.1-9+deb12u2", "Source: webserver (1.22.1-9+deb12u2)\n"),
        offer("odd", "1.0-1+b2", "Source: odd-source (1.0-2)\n"),
    ];
    tree.write(&lists(&format!("{SECURITY}_main_binary-amd64_Packages")), fixed.concat());
    let late = "NotAutomatic: yes\nButAutomaticUpgrades: yes\n";
    let backports = release("Debian Backports", "Debian Backports", "oldstable-backports", "bookworm-backports", late);
    tree.write(&lists(&format!("{BACKPORTS}_InRelease")), backports);
    tree.write(&lists(&format!("{BACKPORTS}_main_binary-amd64_Packages")), offer("tool", "3.0-1~bpo12+1", ""));
    tree.write(&lists(&format!("{VENDOR}_InRelease")), release("Vendor", "Vendor", "stable", "stable", ""));
    tree.write(&lists(&format!("{VENDOR}_main_binary-amd64_Packages")), offer("web", "1.27.0-1", ""));
    fs::create_dir_all(tree.at("var/lib/apt/lists/partial")).unwrap();
    tree
}

fn versions(facts: &HostFacts, name: &str) -> Vec<(String, String, bool)> {
    let candidates = facts.candidates.known().unwrap();
    let rows = candidates.get(name).into_iter().flatten();
    rows.map(|row| (row.version.to_string(), row.origin.codename.clone(), row.pinned_away)).collect()
}

fn row(version: &str, codename: &str, pinned_away: bool) -> (String, String, bool) {
    (version.to_owned(), codename.to_owned(), pinned_away)
}

#[test]
fn installed_versions_have_origins_and_newer_ones_are_candidates() {
    let facts = world().facts();
    let origins: Vec<_> = facts
        .packages
        .iter()
        .map(|p| (p.name.as_str(), p.origins.iter().map(|o| o.codename.as_str()).collect()))
        .collect();
    let bookworm = || vec!["bookworm"];
    assert_eq!(origins, [("odd", bookworm()), ("tool", bookworm()), ("web", bookworm())]);
    assert_eq!(
        versions(&facts, "web"),
        [row("1.27.0-1", "stable", false), row("1.22.1-9+deb12u2", "bookworm-security", false)]
    );
    let odd = &facts.candidates.known().unwrap()["odd"][0];
    assert_eq!((odd.version.as_str(), odd.source_version.as_str()), ("1.0-1+b2", "1.0-2"));
    assert!(odd.origin.is_security());
    assert_eq!(odd.origin.component, "main");
    assert!(facts.indexes_at.is_some());
}

#[test]
fn backports_are_no_candidates_until_one_is_installed() {
    let tree = world();
    assert!(versions(&tree.facts(), "tool").is_empty());
    tree.write("var/lib/dpkg/status", stanza("tool", "3.0-1~bpo12+0", ""));
    assert_eq!(versions(&tree.facts(), "tool"), [row("3.0-1~bpo12+1", "bookworm-backports", false)]);
}

#[test]
fn a_pin_that_keeps_a_version_away_is_told() {
    let tree = world();
    tree.write(
        "etc/apt/preferences.d/no-vendor",
        "Package: web\nPin: origin \"apt.vendor.example\"\nPin-Priority: -1\n",
    );
    assert_eq!(
        versions(&tree.facts(), "web"),
        [row("1.27.0-1", "stable", true), row("1.22.1-9+deb12u2", "bookworm-security", false)]
    );
}

#[test]
fn holds_and_automatic_marks_are_told() {
    let tree = world();
    let status = fs::read_to_string(tree.at("var/lib/dpkg/status")).unwrap();
    tree.write("var/lib/dpkg/status", status.replacen("install ok", "hold ok", 1));
    assert!(tree.facts().packages.iter().all(|package| package.automatic.is_none()));
    tree.write("var/lib/apt/extended_states", "Package: tool\nArchitecture: amd64\nAuto-Installed: 1\n\n");
    let facts = tree.facts();
    let marks: Vec<_> = facts.packages.iter().map(|p| (p.name.as_str(), p.hold, p.automatic)).collect();
    assert_eq!(marks, [("odd", true, Some(false)), ("tool", false, Some(true)), ("web", false, Some(false))]);
}

#[test]
fn a_pin_that_is_not_understood_is_said() {
    let tree = world();
    tree.write(
        "etc/apt/preferences",
        "Package: /^web/\nPin: release a=x\nPin-Priority: -1\n\nPackage: a\nPin: release z=q\nPin-Priority: 1\n",
    );
    let gaps = tree.facts().gaps;
    assert!(gaps[0].starts_with("2 settings of apt's preferences were not understood"), "{gaps:?}");
    assert!(gaps[0].contains("/^web/"), "{gaps:?}");
}

#[test]
fn without_indexes_candidates_are_unknown_and_not_none() {
    let tree = Tree::debian(&stanza("a", "1", ""));
    let facts = tree.facts();
    assert!(matches!(&facts.candidates, Known::Unknown(why) if why.contains("apt-get update")));
    assert_eq!(facts.indexes_at, None);
}

#[test]
fn an_index_that_cannot_be_read_makes_candidates_unknown() {
    let tree = world();
    let name = format!("var/lib/apt/lists/{SECURITY}_main_binary-amd64_Packages");
    fs::rename(tree.at(&name), tree.at(&format!("{name}.xz"))).unwrap();
    let facts = tree.facts();
    assert!(
        matches!(&facts.candidates, Known::Unknown(why) if why.starts_with("1 of 4 archive indexes") && why.contains("apt's own helper")),
        "{:?}",
        facts.candidates
    );
    tree.write(&format!("{name}.gz"), b"\x1f\x8b\x08 cut");
    fs::remove_file(tree.at(&format!("{name}.xz"))).unwrap();
    assert!(tree.facts().candidates.known().is_none());
}

#[test]
fn compressed_indexes_say_the_same() {
    let tree = world();
    let plain = tree.facts();
    for name in [MAIN, SECURITY] {
        let path = tree.at(&format!("var/lib/apt/lists/{name}_main_binary-amd64_Packages"));
        let text = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        if name == MAIN {
            let mut packed = lz4_flex::frame::FrameEncoder::new(fs::File::create(path.with_extension("lz4")).unwrap());
            packed.write_all(&text).unwrap();
            packed.finish().unwrap();
            fs::rename(path.with_extension("lz4"), format!("{}.lz4", path.display())).unwrap();
        } else {
            let file = fs::File::create(format!("{}.gz", path.display())).unwrap();
            let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            packed.write_all(&text).unwrap();
            packed.finish().unwrap();
        }
    }
    let packed = tree.facts();
    assert_eq!((packed.candidates, packed.packages), (plain.candidates, plain.packages));
}

#[test]
fn what_is_remembered_is_the_same_until_an_index_changes() {
    let tree = world();
    let options = Options::at(tree.path()).cached(tree.at("cache.json"));
    let read = || host(&options).unwrap();
    let (first, kept) = (read(), fs::read(tree.at("cache.json")).unwrap());
    assert_eq!(first.candidates, tree.facts().candidates);
    let second = read();
    assert_eq!((second.candidates.clone(), second.packages), (first.candidates, first.packages));
    assert_eq!(fs::read(tree.at("cache.json")).unwrap(), kept, "a warm read writes nothing");

    let index = tree.at(&format!("var/lib/apt/lists/{SECURITY}_main_binary-amd64_Packages"));
    let newer = fs::read_to_string(&index).unwrap().replace("+deb12u2", "+deb12u3");
    fs::write(tree.at("new"), newer).unwrap();
    fs::rename(tree.at("new"), &index).unwrap();
    assert_eq!(versions(&read(), "web")[1].0, "1.22.1-9+deb12u3");

    tree.write("var/lib/dpkg/status", stanza("absent", "8", ""));
    assert_eq!(versions(&read(), "absent"), [row("9", "bookworm", false)], "another set of names is searched anew");

    for bad in ["", "{}", "{\"format\":1}", "\u{0}"] {
        fs::write(tree.at("cache.json"), bad).unwrap();
        assert_eq!(versions(&read(), "absent"), [row("9", "bookworm", false)]);
    }
}

#[test]
fn a_cache_that_others_can_write_is_not_believed() {
    use std::os::unix::fs::PermissionsExt;
    let tree = world();
    let options = Options::at(tree.path()).cached(tree.at("cache.json"));
    host(&options).unwrap();
    let lies = fs::read_to_string(tree.at("cache.json")).unwrap().replace("+deb12u2", "+deb12u9");
    fs::write(tree.at("cache.json"), lies).unwrap();
    assert_eq!(versions(&host(&options).unwrap(), "web")[1].0, "1.22.1-9+deb12u9", "our own file is believed");
    fs::set_permissions(tree.at("cache.json"), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(versions(&host(&options).unwrap(), "web")[1].0, "1.22.1-9+deb12u2");
}

/// The version that apt itself would install, asked of apt over the same root.
fn apt_candidate(tree: &Tree, name: &str, settings: &[&str]) -> Option<String> {
    let root = tree.path().display();
    let mut command = Command::new("apt-cache");
    command.env("LC_ALL", "C").env("APT_CONFIG", tree.at("apt.conf"));
    tree.write("apt.conf", format!("Dir \"{root}/\";\nDir::State::status \"{root}/var/lib/dpkg/status\";\nAPT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n"));
    for setting in settings {
        command.args(["-o", setting]);
    }
    let output = command.args(["policy", name]).output().ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    let Some(line) = line else { panic!("apt said {text:?} and {:?}", String::from_utf8_lossy(&output.stderr)) };
    Some(line.to_owned())
}

/// The same worked out from the facts: the newest candidate that is not kept away.
fn our_candidate(facts: &HostFacts, name: &str) -> String {
    let newest = versions(facts, name).into_iter().find(|(_, _, pinned_away)| !pinned_away);
    let installed = || facts.packages.iter().find(|package| package.name == name).unwrap().version.to_string();
    newest.map_or_else(installed, |(version, _, _)| version)
}

#[test]
fn pins_weigh_as_they_do_for_apt() {
    if Command::new("apt-cache").arg("--version").output().is_err() {
        eprintln!("skipped: no apt here");
        return;
    }
    let tree = world();
    tree.write(
        "etc/apt/sources.list",
        "deb http://deb.example/debian bookworm main\ndeb http://deb.example/debian-security bookworm-security main\ndeb http://deb.example/debian bookworm-backports main\ndeb http://apt.vendor.example/repo stable main\n",
    );
    let pin = |package: &str, pin: &str, priority: i32| {
        format!("Package: {package}\nPin: {pin}\nPin-Priority: {priority}\n\n")
    };
    let cases = [
        String::new(),
        pin("web", "origin apt.vendor.example", -1),
        pin("web", "origin \"apt.vendor.example\"", 50),
        pin("*", "origin apt.vendor.example", -10),
        pin("*", "release o=Vendor", 100),
        pin("*", "release o=Vendor", 499) + &pin("web", "release l=Debian-Security", 400),
        pin("w?b", "release n=bookworm-security", -1),
        pin("[v-x]eb", "version 1.27*", -1),
        pin("web", "version 1.22.1-9", 1001),
        pin("web", "version 1.22.1-9", 990),
        pin("web", "release a=oldstable-security", 990),
        pin("web", "release oldstable-security", 990),
        pin("WEB", "release a=oldstable-security", 990),
        pin("[V-X]EB", "release a=oldstable-security", 990),
        pin("web", "release a=OLDSTABLE-security", 990),
        pin("web", "release l=debian-SEC*", 990),
        pin("web", "version 1.22.1-9+DEB*", 990),
        pin("web", "origin APT.vendor.example", -1),
        pin("web", "release l=Debian*", 600),
        pin("tool web", "release n=bookworm-backports", 501),
        pin("*", "release n=bookworm-backports", 500),
        pin("tool", "release a=oldstable-backports", 500) + &pin("tool", "release c=main", -1),
        pin("src:webserver", "release o=Vendor", -1),
        pin("src:webserver", "release l=Debian-Security", -1),
        pin("web:amd64", "release o=Vendor", -1),
        pin("web:any", "release o=Vendor", -1),
        pin("web:i386", "release o=Vendor", -1),
        pin("*", "release o=Vendor, n=other", -1),
        pin("*", "release o=Vendor,c=main", -1),
        "# a comment\nExplanation: why\n".to_owned() + &pin("web", "release o=Vendor", -1),
        pin("*", "release c=main", 0),
        pin("web", "release v=12.15", -1),
    ];
    for text in &cases {
        tree.write("etc/apt/preferences", text);
        let facts = tree.facts();
        assert!(facts.gaps.is_empty(), "{text}{:?}", facts.gaps);
        for name in ["web", "tool", "odd"] {
            let Some(apt) = apt_candidate(&tree, name, &[]) else { panic!("apt gave no candidate for {name}\n{text}") };
            let apt = if apt == "(none)" {
                facts.packages.iter().find(|p| p.name == name).unwrap().version.to_string()
            } else {
                apt
            };
            assert_eq!(our_candidate(&facts, name), apt, "{name} under\n{text}");
        }
    }
    tree.write("etc/apt/preferences", "");
    for default in ["bookworm", "oldstable", "bookworm-security", "stable"] {
        tree.write("etc/apt/apt.conf.d/99default", format!("APT::Default-Release \"{default}\";\n"));
        let facts = tree.facts();
        let setting = format!("APT::Default-Release={default}");
        for name in ["web", "tool", "odd"] {
            let apt = apt_candidate(&tree, name, &[&setting]).unwrap();
            assert_eq!(our_candidate(&facts, name), apt, "{name} under {default}");
        }
    }
}

#[test]
fn the_file_of_pins_comes_before_the_folder() {
    let tree = world();
    tree.write("etc/apt/sources.list", "deb http://apt.vendor.example/repo stable main\n");
    tree.write("etc/apt/preferences", "Package: web\nPin: release o=Vendor\nPin-Priority: -1\n");
    tree.write("etc/apt/preferences.d/a", "Package: web\nPin: release o=Vendor\nPin-Priority: 900\n");
    assert!(versions(&tree.facts(), "web")[0].2);
    if let Some(apt) = apt_candidate(&tree, "web", &[]) {
        assert_eq!(apt, "1.22.1-9");
    }
}

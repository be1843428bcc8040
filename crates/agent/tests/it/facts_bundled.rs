//! Copies of libraries inside real programs and libraries.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use stanch_model::facts::{Evidence, HostFacts};

use crate::facts::{Tree, stanza};

fn shown(facts: &HostFacts) -> Vec<String> {
    let of = |path: &str, evidence, name: &str, version: &str| format!("{path} {evidence:?} {name} {version}");
    let one = |bundle: &stanch_model::facts::Bundle| {
        let (path, evidence) = (bundle.path.clone(), bundle.evidence);
        bundle.copies.iter().map(move |copy| of(&path, evidence, &copy.name, &copy.version)).collect::<Vec<_>>()
    };
    facts.bundles.iter().flat_map(one).collect()
}

fn run(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Puts a copy of a file of this machine into a tree.
fn copy(tree: &Tree, from: &Path, to: &str) {
    fs::create_dir_all(tree.at(to).parent().unwrap()).unwrap();
    fs::copy(from, tree.at(to)).unwrap();
}

/// The version by its maker in a version of Debian: `1:1.2.13.dfsg-1` is `1.2.13`.
fn upstream(debian: &str) -> &str {
    let plain = debian.split_once(':').map_or(debian, |(_, rest)| rest);
    let plain = plain.rsplit_once('-').map_or(plain, |(version, _)| version);
    plain.split(['+', '~']).next().unwrap().trim_end_matches(".dfsg")
}

#[test]
fn real_libraries_of_this_system_are_known_by_their_own_texts() {
    let libraries = [
        ("curl", "libcurl4", "libcurl.so.4"),
        ("expat", "libexpat1", "libexpat.so.1"),
        ("libarchive", "libarchive13", "libarchive.so.13"),
        ("libgcrypt", "libgcrypt20", "libgcrypt.so.20"),
        ("libjpeg-turbo", "libjpeg62-turbo", "libjpeg.so.62"),
        ("libpng", "libpng16-16", "libpng16.so.16"),
        ("libssh2", "libssh2-1", "libssh2.so.1"),
        ("libtiff", "libtiff6", "libtiff.so.6"),
        ("openssl", "libssl3", "libcrypto.so.3"),
        ("zlib", "zlib1g", "libz.so.1"),
    ];
    let tree = Tree::debian(&stanza("base", "1", ""));
    let mut expected = Vec::new();
    for (name, package, file) in libraries {
        let from = Path::new("/usr/lib/x86_64-linux-gnu").join(file);
        let Some(version) = run("dpkg-query", &["--show", "--showformat=${Version}", package]) else { continue };
        if !from.exists() {
            continue;
        }
        copy(&tree, &from, &format!("opt/all/{file}"));
        expected.push(format!("/opt/all/{file} Text {name} {}", upstream(&version)));
    }
    expected.sort();
    let mut found = shown(&tree.facts());
    found.sort();
    assert_eq!(found, expected, "each is itself, and none of them is another");
}

#[test]
fn real_programs_are_known_by_the_lists_that_their_builders_left() {
    let tree = Tree::debian(&stanza("base", "1", ""));
    copy(&tree, Path::new("/bin/true"), "opt/x/bin/tool");
    let list = br#"{"packages": [{"name": "time", "version": "0.1.42", "source": "crates.io"}]}"#;
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(list).unwrap();
    tree.write("crates", packed.finish().unwrap());
    let modules = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gofmt.buildinfo");
    let program = tree.at("opt/x/bin/tool").display().to_string();
    let sections = [format!(".dep-v0={}", tree.at("crates").display()), format!(".go.buildinfo={modules}")];
    let added = run("objcopy", &["--add-section", &sections[0], "--add-section", &sections[1], &program]);
    if added.is_none() {
        // Without objcopy there is no such program; the form of sections is shown by the reader's own tests.
        return;
    }
    let found = shown(&tree.facts());
    assert_eq!(found, ["/opt/x/bin/tool CrateList time 0.1.42", "/opt/x/bin/tool GoBuildInfo stdlib 1.19.8"]);
}

#[test]
fn a_file_that_only_its_owner_reads_and_one_that_is_no_program_harm_nobody() {
    let tree = Tree::debian(&stanza("base", "1", ""));
    tree.write("opt/script", "#!/bin/sh\nexit 0\n".repeat(50));
    tree.write("opt/elf", [b"\x7fELF\x02\x01\x01".as_slice(), &[0xff; 400]].concat());
    for name in ["opt/script", "opt/elf"] {
        fs::set_permissions(tree.at(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let facts = tree.facts();
    assert!(facts.bundles.is_empty() && facts.unsearched.is_empty(), "{:?}", facts.unsearched);
}

/// Fetches an old wheel from the index that pip is configured with.
#[test]
#[ignore = "needs an index of Python packages"]
fn the_openssl_inside_a_real_wheel_is_found_with_the_wheel_that_brought_it() {
    let tree = Tree::debian(&stanza("base", "1", ""));
    let site = tree.at("opt/app/venv/lib/python3.11/site-packages");
    fs::create_dir_all(&site).unwrap();
    tree.write("opt/app/venv/pyvenv.cfg", "");
    let to = tree.at("wheels").display().to_string();
    for wheel in ["cryptography==38.0.4", "pillow==9.4.0"] {
        let options = ["--no-deps", "--only-binary=:all:", "--platform=manylinux2014_x86_64", "--python-version=311"];
        let args = [&["-m", "pip", "download", "--quiet", "--dest", &to][..], &options, &[wheel]].concat();
        run("python3", &args).unwrap();
    }
    for wheel in fs::read_dir(tree.at("wheels")).unwrap() {
        let (wheel, site) = (wheel.unwrap().path().display().to_string(), site.display().to_string());
        run("python3", &["-m", "zipfile", "-e", &wheel, &site]).unwrap();
    }
    let facts = tree.facts();
    let carrier = |name: &str| {
        let bundle = facts.bundles.iter().find(|one| one.copies.iter().any(|copy| copy.name == name)).unwrap();
        assert_eq!(bundle.evidence, Evidence::Text);
        bundle.carrier.clone().unwrap()
    };
    assert_eq!(carrier("openssl"), "pkg:pypi/cryptography@38.0.4?environment=/opt/app/venv");
    assert_eq!(carrier("libtiff"), "pkg:pypi/pillow@9.4.0?environment=/opt/app/venv");
    let found: Vec<String> = facts.copies().map(|copy| format!("{} {}", copy.name, copy.version)).collect();
    for copy in ["openssl 3.0.7", "libjpeg-turbo 2.1.4", "libpng 1.6.39", "libtiff 4.5.0"] {
        assert!(found.iter().any(|one| one == copy), "{copy} is not among {found:?}");
    }
}

//! `stanch trust` as it is typed: a root that never was on the server, and a server that orders by its word.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const STANCH: &str = env!("CARGO_BIN_EXE_stanch");

fn stanch(data: &Path, arguments: &[&str]) -> Output {
    Command::new(STANCH).arg("--data-dir").arg(data).args(arguments).output().unwrap()
}

#[track_caller]
fn must(data: &Path, arguments: &[&str]) -> String {
    let output = stanch(data, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[track_caller]
fn refused(data: &Path, arguments: &[&str]) -> String {
    let output = stanch(data, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_root_elsewhere_is_adopted_asked_and_answers() {
    let (server, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (data, safe) = (server.path().join("data"), elsewhere.path());
    let file = |name: &str| safe.join(name).display().to_string();
    fs::write(safe.join("passphrase"), "correct horse battery staple\n").unwrap();
    fs::set_permissions(safe.join("passphrase"), fs::Permissions::from_mode(0o644)).unwrap();
    let (root, passphrase) = (file("root.stanch"), file("passphrase"));
    let new = ["trust", "new-root", &root, "--passphrase-file", &passphrase];
    assert!(refused(&data, &new).contains("can be read by others"));
    fs::set_permissions(safe.join("passphrase"), fs::Permissions::from_mode(0o600)).unwrap();
    let public = must(&data, &new);
    assert_eq!(public.len(), 64);
    assert!(refused(&data, &new).contains("is there already"));
    assert!(!data.exists(), "the machine of the root needs no data folder");

    let ann = ["trust", "new-approver", "ann.stanch", "--passphrase-file", &passphrase];
    let beside = Command::new(STANCH).current_dir(safe).args(ann).output().unwrap();
    assert!(beside.status.success() && safe.join("ann.stanch").exists(), "{beside:?}");

    must(&data, &["trust", "adopt", &public]);
    assert!(must(&data, &["trust", "status"]).contains("none: nothing can be ordered"));
    let (request, certificate) = (file("request.json"), file("certificate.json"));
    must(&data, &["trust", "request", "--out", &request]);
    let certify = ["trust", "certify", &request, "--root", &root, "--days", "30", "-o", &certificate];
    assert!(refused(&data, &certify).contains("nobody is there to type"));
    must(&data, &[&certify[..], &["--passphrase-file", &passphrase]].concat());
    must(&data, &["trust", "install", &certificate]);
    let status: Value = serde_json::from_str(&must(&data, &["--json", "trust", "status"])).unwrap();
    assert_eq!(
        (&status["root"], &status["root_is_here"], &status["asked"]),
        (&public.into(), &false.into(), &false.into())
    );
    assert!(status["issuer"]["serial"].as_u64().unwrap() > 1_790_000_000);
    assert!(!data.join("keys/root").exists());

    // What is damaged on its way is said to be.
    fs::write(safe.join("certificate.json"), "{}").unwrap();
    assert!(refused(&data, &["trust", "install", &certificate]).contains("the certificate cannot be read"));
}

#[test]
fn a_root_of_this_server_is_taken_away() {
    let (server, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (data, safe) = (server.path().join("data"), elsewhere.path());
    assert!(must(&data, &["trust", "status"]).contains("none yet"));
    // Any command that opens a server makes the keys.
    must(&data, &["executors", "list"]);
    let before = must(&data, &["trust", "status"]);
    assert!(before.contains("on this machine") && before.contains("renewed with every start"), "{before}");
    assert!(refused(&data, &["trust", "request"]).contains("stanch trust take-offline"));
    fs::write(safe.join("passphrase"), "correct horse battery staple").unwrap();
    fs::set_permissions(safe.join("passphrase"), fs::Permissions::from_mode(0o600)).unwrap();
    let (root, passphrase) = (safe.join("root").display().to_string(), safe.join("passphrase").display().to_string());
    must(&data, &["trust", "take-offline", &root, "--passphrase-file", &passphrase]);
    let after = must(&data, &["trust", "status"]);
    assert!(after.contains("elsewhere") && !after.contains("on this machine"), "{after}");
    must(&data, &["executors", "list"]);
    assert_eq!(must(&data, &["trust", "status"]), after, "a start changes nothing of it");
}

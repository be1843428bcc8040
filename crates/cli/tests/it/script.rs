//! `stanch script` as people use it: from a new folder to a script that a host would run, without a server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stanch_testkit::root_or_skip;

use crate::program::{Home, Run};

struct Desk(Home);

impl Desk {
    fn new() -> Self {
        let desk = Self(Home::new());
        assert_eq!(desk.run(&["new", "modes", "--in", desk.path("").to_str().unwrap()]).code, 0);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.0.run(&[&["script"], arguments].concat())
    }

    fn key(&self, name: &str, more: &[&str]) -> Run {
        let out = self.path(name);
        self.run(&[&["keygen", "--out", out.to_str().unwrap()], more].concat())
    }

    /// A command about the one script, with a key and more.
    fn on(&self, command: &str, key: &str, more: &[&str]) -> Run {
        let (folder, key) = (self.path("modes"), self.path(key));
        let key = if command == "test" { Vec::new() } else { vec!["--key", key.to_str().unwrap()] };
        self.run(&[&[command, folder.to_str().unwrap()], key.as_slice(), more].concat())
    }
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_new_script_is_signed_and_verified_until_somebody_changes_it() {
    let desk = Desk::new();
    let made = desk.key("key", &["--no-passphrase"]);
    assert!(made.code == 0 && made.out.starts_with("RW"), "{}", made.err);
    assert_eq!(fs::metadata(desk.path("key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(desk.key("key", &["--no-passphrase"]).code, 5, "a key that is there is not written over");

    let unsigned = desk.on("verify", "key.pub", &[]);
    assert!(unsigned.code == 5 && unsigned.err.contains("not signed"), "{}", unsigned.err);
    assert_eq!(desk.on("sign", "key", &[]).code, 0);
    let verified = desk.on("verify", "key.pub", &["--json"]);
    let said: Value = serde_json::from_str(&verified.out).unwrap();
    assert_eq!((said["script"].as_str(), said["key"].as_str()), (Some("modes@1"), Some(made.out.trim())));

    desk.key("other", &["--no-passphrase"]);
    assert!(desk.on("verify", "other.pub", &[]).err.contains("not signed by a key"));
    let undo = desk.path("modes/undo");
    fs::write(&undo, fs::read_to_string(&undo).unwrap() + "#\n").unwrap();
    let changed = desk.on("verify", "key.pub", &[]);
    assert!(changed.code == 5 && changed.err.contains("`undo` was changed"), "{}", changed.err);
    assert_eq!(desk.on("sign", "key", &[]).code, 0, "signing fills in the digests");
    assert_eq!(desk.on("verify", "key.pub", &[]).code, 0);
}

#[test]
fn a_key_has_a_password_that_is_never_typed_as_an_argument() {
    let desk = Desk::new();
    let (good, bad) = (desk.path("password"), desk.path("bad"));
    private(&good, "correct horse\n");
    private(&bad, "battery\n");
    let with = |file: &Path| ["--passphrase-file".to_owned(), file.to_str().unwrap().to_owned()];
    let with_good = with(&good);
    let with_good: Vec<&str> = with_good.iter().map(String::as_str).collect();
    assert_eq!(desk.key("key", &with_good).code, 0);
    assert_eq!(desk.on("sign", "key", &with_good).code, 0);
    assert_eq!(desk.on("verify", "key.pub", &[]).code, 0);
    let with_bad = with(&bad);
    let wrong = desk.on("sign", "key", &with_bad.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(wrong.code == 5 && wrong.err.to_lowercase().contains("password"), "{}", wrong.err);
    fs::set_permissions(&good, fs::Permissions::from_mode(0o644)).unwrap();
    let open = desk.on("sign", "key", &with_good);
    assert!(open.code == 5 && open.err.contains("can be read by others"), "{}", open.err);
    fs::set_permissions(desk.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(desk.on("sign", "key", &with_good).err.contains("can be read by others"));
    assert!(!desk.run(&["sign", "--help"]).out.contains("--password "));
}

#[test]
fn what_no_host_would_run_is_not_signed() {
    let desk = Desk::new();
    desk.key("key", &["--no-passphrase"]);
    let manifest = desk.path("modes/manifest.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    for (from, to, word) in [
        ("expires = \"2", "expires = \"1", "expired"),
        ("version = 1", "version = -1", "line 2"),
        ("/bin/sh", "sh", "line 4"),
    ] {
        fs::write(&manifest, text.replace(from, to)).unwrap();
        let refused = desk.on("sign", "key", &[]);
        assert!(refused.code != 0 && refused.err.contains(word), "{}", refused.err);
        assert!(!desk.path("modes/manifest.toml.minisig").exists());
    }
    assert_eq!(desk.run(&["new", "Bad Name"]).code, 2);
}

#[test]
fn a_trial_says_what_held_and_leaves_the_machine_as_it_was() {
    if !root_or_skip().unwrap() {
        return;
    }
    let desk = Desk::new();
    let file = desk.path("file");
    fs::write(&file, "x").unwrap();
    let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let set = format!("file={}", file.display());
    let tried = desk.on("test", "", &["--here", "--set", &set]);
    assert_eq!(tried.code, 0, "{}{}", tried.out, tried.err);
    assert!(tried.out.contains("held    undo brings everything back: {\"mode\":\"666\"}"), "{}", tried.out);
    assert_eq!(mode(), 0o666);

    fs::write(desk.path("modes/undo"), "chmod 640 \"$1\"\n").unwrap();
    let broken = desk.on("test", "", &["--here", "--set", &set, "--json"]);
    assert_eq!(broken.code, 1);
    let last: Value = serde_json::from_str(broken.out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (last["name"].as_str(), last["outcome"].as_str()),
        (Some("undo brings everything back"), Some("failed"))
    );

    assert_eq!(desk.on("test", "", &["--here", "--set", &set]).code, 4, "there is nothing to do any more");
    let wrong = desk.on("test", "", &["--here", "--set", "file=../x"]);
    assert!(wrong.code == 2 && wrong.err.contains("absolute path"), "{}", wrong.err);
}

//! `stanch policy` as people use it: offline, with exit codes and JSON.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::{Home, Run};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")
}

fn run(home: &Home, arguments: &[&str], path: &Path) -> Run {
    let (command, rest) = arguments.split_first().unwrap();
    let mut all = vec!["policy", command, path.to_str().unwrap()];
    all.extend(rest);
    home.run(&all)
}

fn folder(home: &Home, text: &str) -> PathBuf {
    let folder = home.path().join("bundle");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("p.yaml"), text).unwrap();
    folder
}

const WRONG: &str = "apiVersion: stanch/v1\nkind: Policy\nname: p\nmatch: {all: true}\nrules:\n  - id: r\n    when: item.kev || item.epsss > 0.5\n    mode: auto\n";

#[test]
fn the_shipped_bundle_passes_and_needs_no_server() {
    let home = Home::new();
    let check = run(&home, &["check", "--strict"], &shipped());
    assert_eq!((check.code, check.out.as_str()), (0, ""), "{}", check.err);
    let test = run(&home, &["test"], &shipped());
    assert_eq!(test.code, 0, "{}{}", test.out, test.err);
    assert!(!home.path().join("data").exists(), "nothing is written");
}

#[test]
fn a_mistake_is_told_with_file_line_and_remedy_and_ends_with_1() {
    let home = Home::new();
    let found = run(&home, &["check"], &folder(&home, WRONG));
    assert_eq!(found.code, 1);
    insta::assert_snapshot!(found.out, @r"
    p.yaml:7:23: error[unknown-path]: there is no fact `item.epsss`
      7 |     when: item.kev || item.epsss > 0.5
        |                       ^
      remedy: did you mean `item.epss`?
    ");
    let json = run(&home, &["check", "--json"], &folder(&home, WRONG));
    let problem: Value = serde_json::from_str(json.out.trim()).unwrap();
    assert_eq!(
        (&problem["file"], &problem["line"], &problem["code"]),
        (&"p.yaml".into(), &7.into(), &"unknown-path".into())
    );
}

#[test]
fn a_warning_ends_with_1_only_when_it_should() {
    let home = Home::new();
    let text = "apiVersion: stanch/v1\nkind: Policy\nname: p\nmatch: {all: true}\nrules: [{id: r, mode: auto}]\n";
    let folder = folder(&home, text);
    assert_eq!(run(&home, &["check"], &folder).code, 0);
    assert_eq!(run(&home, &["check", "--strict"], &folder).code, 1);
}

#[test]
fn tests_without_a_test_fail() {
    let home = Home::new();
    let text = "apiVersion: stanch/v1\nkind: Policy\nname: p\nmatch: {all: true}\nrules: [{id: r, mode: auto}]\n";
    let run = run(&home, &["test"], &folder(&home, text));
    assert_eq!(run.code, 1);
    assert!(run.out.contains("no test shows that p/r fires"), "{}", run.out);
}

#[test]
fn an_explanation_shows_who_decided_and_from_what() {
    let home = Home::new();
    let set = ["--given", "urgent", "--set", "asset.labels=automation:auto", "--set", "action.disruption=outage"];
    let mut arguments = vec!["explain"];
    arguments.extend(set);
    let told = run(&home, &arguments, &shipped());
    assert_eq!(told.code, 0, "{}", told.err);
    insta::assert_snapshot!(told.out);
    arguments.push("--json");
    let json: Value = serde_json::from_str(run(&home, &arguments, &shipped()).out.trim()).unwrap();
    assert_eq!(json["decision"]["mode"], "approve");
    let wrong = run(&home, &["explain", "--given", "urgnt"], &shipped());
    assert_eq!(wrong.code, 2);
    let wrong = run(&home, &["explain", "--given", "urgent", "--set", "item.epsss=1"], &shipped());
    assert!(wrong.code == 2 && wrong.err.contains("did you mean `item.epss`?"), "{}", wrong.err);
}

#[test]
fn a_bundle_is_signed_and_only_as_it_was_signed_it_is_taken() {
    let home = Home::new();
    let text = "apiVersion: stanch/v1\nkind: Policy\nname: p\nmatch: {all: true}\nrules: [{id: r, mode: alert}]\n";
    let folder = folder(&home, text);
    let key = home.path().join("key");
    std::fs::write(&key, format!("{}\n", "07".repeat(32))).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let sign = ["sign", "--key", key.to_str().unwrap(), "--json"];
    assert_eq!(run(&home, &sign, &folder).code, 5, "a key that others can read is refused");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let signed = run(&home, &sign, &folder);
    let signed: Value = serde_json::from_str(signed.out.trim()).unwrap_or_else(|_| panic!("{}", signed.err));
    let public = signed["key"].as_str().unwrap();
    assert_eq!(run(&home, &["check", "--signed-by", public], &folder).code, 0);
    assert_eq!(run(&home, &["check", "--signed-by", &"00".repeat(32)], &folder).code, 5);
    std::fs::write(folder.join("p.yaml"), format!("{text}# more\n")).unwrap();
    let changed = run(&home, &["check", "--signed-by", public], &folder);
    assert!(changed.code == 5 && changed.err.contains("`p.yaml` is not as it was signed"), "{}", changed.err);
}

#[test]
fn links_and_hidden_files_are_no_part_of_a_bundle() {
    let home = Home::new();
    let folder = folder(&home, WRONG);
    std::fs::rename(folder.join("p.yaml"), folder.join(".p.yaml")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.join("host.yaml")).unwrap();
    let run = run(&home, &["check"], &folder);
    assert!(run.code == 1 && run.err.contains("holds no policy files"), "{}", run.err);
}

#[test]
fn the_schema_is_json_and_the_table_is_the_one_of_the_guide() {
    let home = Home::new();
    let schema: Value = serde_json::from_str(&home.run(&["policy", "schema"]).out).unwrap();
    assert!(schema["$defs"]["Policy"]["properties"]["rules"].is_object());
    let table = home.run(&["policy", "schema", "--facts"]).out;
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy.md");
    assert!(std::fs::read_to_string(guide).unwrap().contains(&table));
}

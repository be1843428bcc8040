//! The files that set servers up name nothing that the program does not know.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../packaging/deploy")
}

/// Every document of every YAML file.
fn documents() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for folder in [folder(), folder().join("kubernetes")] {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.extension().is_some_and(|ending| ending == "yaml") {
                let name = entry.file_name().unwrap().to_string_lossy().into_owned();
                let text = fs::read_to_string(&entry).unwrap();
                let all: Vec<Value> =
                    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
                found.extend(all.into_iter().map(|value| (name.clone(), value)));
            }
        }
    }
    assert!(found.len() >= 12, "{} documents", found.len());
    found
}

/// Everything that holds an `image`, wherever it stands.
fn containers(value: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    if value.get("image").is_some() {
        found.push(value);
    }
    match value {
        Value::Object(map) => found.extend(map.values().flat_map(containers)),
        Value::Array(list) => found.extend(list.iter().flat_map(containers)),
        _ => {}
    }
    found
}

fn texts<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    value.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Names of environment variables, as a map (compose) or a list (Kubernetes).
fn variables(container: &Value) -> Vec<&str> {
    let map = container.get("environment").and_then(Value::as_object);
    let list = container.get("env").and_then(Value::as_array);
    let listed = list.into_iter().flatten().filter_map(|one| one.get("name")?.as_str());
    map.into_iter().flat_map(|map| map.keys().map(String::as_str)).chain(listed).collect()
}

fn help(of: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_stanch")).args([of, "--help"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_flag_and_variable_is_one_of_the_servers() {
    let known = help("server");
    let is_known = |word: &str| {
        let mut names = known.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
        names.any(|name| name == word)
    };
    let mut looked = 0;
    for (file, document) in documents() {
        let ours = containers(&document)
            .into_iter()
            .filter(|one| one.get("image").and_then(Value::as_str).is_some_and(|image| image.starts_with("stanch")));
        // The second file of compose changes the service of the first, and names no image.
        let also = document.pointer("/services/stanch");
        for container in ours.chain(also) {
            let words = ["command", "args"].into_iter().flat_map(|key| texts(container, key));
            let words: Vec<&str> = words.collect();
            if words.first().is_none_or(|word| *word != "server") {
                continue;
            }
            looked += 1;
            let flags = words.iter().copied().filter(|word| word.starts_with("--"));
            for word in flags.chain(variables(container)) {
                assert!(is_known(word), "{file}: the server knows no `{word}`");
            }
        }
    }
    assert!(looked >= 3, "{looked} servers were looked at");
    assert!(!is_known("--no-such-flag") && !is_known("STANCH_NOTHING"));
}

#[test]
fn servers_run_without_rights_over_a_root_that_cannot_be_written_to() {
    for (file, document) in documents() {
        for container in containers(&document) {
            let Some(security) = container.get("securityContext") else { continue };
            let said = |key: &str| security.get(key).and_then(Value::as_bool);
            assert_eq!(said("readOnlyRootFilesystem"), Some(true), "{file}");
            assert_eq!(said("allowPrivilegeEscalation"), Some(false), "{file}");
            assert_eq!(security.pointer("/capabilities/drop/0").and_then(Value::as_str), Some("ALL"), "{file}");
        }
    }
    let image = fs::read_to_string(folder().join("Containerfile")).unwrap();
    let user = image.lines().rfind(|line| line.starts_with("USER ")).unwrap();
    assert_eq!(user, "USER 64100:64100");
}

#[test]
fn what_watches_a_server_asks_in_words_that_the_program_knows() {
    assert!(help("health").contains("starts none"));
    let mut asked = 0;
    for (file, document) in documents() {
        for container in containers(&document) {
            for probe in ["/healthcheck/test", "/readinessProbe/exec/command", "/startupProbe/exec/command"] {
                let words = container.pointer(probe).and_then(Value::as_array).cloned().unwrap_or_default();
                if let Some(at) = words.iter().position(|word| word == "stanch") {
                    assert_eq!(words[at + 1..], [Value::from("health")], "{file}");
                    asked += 1;
                }
            }
        }
    }
    assert!(asked >= 3, "{asked}");
}

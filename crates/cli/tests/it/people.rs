//! People and tokens from the command line, against a server that runs.

use std::process::Command;

use serde_json::Value;

use crate::pages::Up;

/// Runs a command against the server; its output, or its complaint.
fn run(up: &Up, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stanch"));
    let output = command.args(arguments).arg("--data-dir").arg(up.data.path()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn an_account_a_team_and_a_token_are_made_on_the_command_line() {
    let up = Up::start();
    let link = run(&up, &["people", "add", "ada", "--email", "ada@example.org"]).unwrap();
    assert!(link.starts_with(&format!("{}/invitation?token=", up.address())), "{link}");
    let twice = run(&up, &["people", "add", "ada"]).unwrap_err();
    assert!(twice.contains("there is somebody called `ada`") && twice.contains("hint:"), "{twice}");
    run(&up, &["people", "add-team", "web"]).unwrap();
    run(&up, &["people", "join", "web", "ada"]).unwrap();
    run(&up, &["people", "grant", "owner", "--team", "web", "--for", "team/web"]).unwrap();
    let wrong = run(&up, &["people", "grant", "king", "--person", "ada", "--for", "all"]).unwrap_err();
    assert!(wrong.contains("viewer, operator, approver, owner, admin"), "{wrong}");
    let listed = run(&up, &["people", "list", "--json"]).unwrap();
    let ada: Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!((ada["name"].as_str(), ada["teams"][0].as_str()), (Some("ada"), Some("web")));
    assert!(run(&up, &["people", "teams"]).unwrap().contains("owner (team/web)"));

    let token = run(&up, &["token", "create", "ci", "--scope", "operate", "--days", "2"]).unwrap();
    assert!(token.starts_with("stn_"), "{token}");
    let listed = run(&up, &["token", "list"]).unwrap();
    assert!(listed.contains("ci") && listed.contains("read, operate") && !listed.contains(token.trim()), "{listed}");
    run(&up, &["token", "revoke", "ci"]).unwrap();
    assert!(run(&up, &["notify", "test", "none"]).unwrap_err().contains("there is no connection `none`"));
}

//! `stanch backup` and `stanch restore`: one machine's store moves into a database and back.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use stanch_testkit::postgres::Cluster;

use crate::program::{Home, Run};

fn done(run: Run) -> String {
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    run.out
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_a_file_knows_moves_into_a_database_and_back() {
    let cluster = Cluster::start(false).unwrap();
    let url = cluster.database(None).unwrap();
    let home = Home::new();
    let address = home.path().join("database");
    std::fs::write(&address, format!("{url}\n")).unwrap();
    done(home.run(&["hold", "set", "while it moves"]));

    let (first, second) = (home.path().join("first"), home.path().join("second"));
    done(home.run(&["backup", text(&first)]));
    assert_eq!(std::fs::metadata(&first).unwrap().permissions().mode() & 0o777, 0o600, "nobody else reads it");
    assert_eq!(home.run(&["backup", text(&first)]).code, 1, "it never overwrites");

    let there = ["--database-url-file", text(&address)];
    done(home.run(&[&["restore", text(&first)], &there[..]].concat()));
    let twice = home.run(&[&["restore", text(&first)], &there[..]].concat());
    assert!(twice.code == 1 && twice.err.contains("is not empty"), "{}", twice.err);
    let holds = |at: &[&str]| -> Value {
        let listed = done(home.run(&[&["hold", "show", "--json"], at].concat()));
        serde_json::from_str(listed.lines().next().unwrap_or("null")).unwrap()
    };
    assert_eq!(holds(&there)["reason"], "while it moves");
    done(home.run(&[&["hold", "release"], &there[..]].concat()));
    assert_eq!(holds(&[])["reason"], "while it moves", "the file stays as it was");

    done(home.run(&[&["backup", text(&second)], &there[..]].concat()));
    let again = Home::new();
    done(again.run(&["restore", text(&second)]));
    assert_eq!(done(again.run(&["hold", "show", "--json"])).trim(), "");
}

#[test]
fn a_password_on_the_command_line_is_refused_and_never_repeated() {
    let home = Home::new();
    let run = home.run(&["history", "--database-url", "postgres://ada:s3cret@db.example/stanch"]);
    assert_eq!(run.code, 2, "{}", run.err);
    assert!(run.err.contains("--database-url-file") && !run.err.contains("s3cret"), "{}", run.err);
    let nowhere = home.path().join("database");
    std::fs::write(&nowhere, "postgres://ada:s3cret@localhost:1/stanch").unwrap();
    let run = home.run(&["history", "--database-url-file", text(&nowhere)]);
    assert_eq!(run.code, 1, "{}", run.err);
    assert!(run.err.contains("localhost:1/stanch") && !run.err.contains("s3cret"), "{}", run.err);
}

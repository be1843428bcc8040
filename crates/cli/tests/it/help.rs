//! The program explains itself.

use crate::program::Home;

#[test]
fn every_command_has_a_line_of_help() {
    let home = Home::new();
    let run = home.run(&["--help"]);
    assert_eq!(run.code, 0);
    for command in [
        "up",
        "backup",
        "restore",
        "scan",
        "findings",
        "explain",
        "cve",
        "plan",
        "fix",
        "undo",
        "history",
        "hold",
        "executors",
        "feeds",
        "audit",
        "policy",
        "script",
        "assets",
        "people",
        "token",
        "notify",
        "sign-in",
        "health",
    ] {
        assert!(run.out.contains(&format!("\n  {command} ")), "{command}");
        assert_eq!(home.run(&[command, "--help"]).code, 0, "{command}");
    }
    assert!(run.out.contains("Exit codes:"));
}

#[test]
fn completions_and_man_pages_come_from_the_same_words() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.run(&["completions", shell]).out.contains("dpkg-status"), "{shell}");
    }
    let man = home.path().join("man");
    assert_eq!(home.run(&["man", man.to_str().unwrap()]).code, 0);
    assert!(std::fs::read_to_string(man.join("stanch-fix.1")).unwrap().contains("dry\\-run"));
}

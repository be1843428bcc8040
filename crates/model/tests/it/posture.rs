//! The table of checks in the documentation is the pack's own.

use std::fmt::Write as _;

use stanch_model::posture::{CHECKS, Wanted};

/// The pack as the documentation shows it.
fn table() -> String {
    let mut text = String::from(
        "| check | severity | setting | wanted | set to | what is wrong | serves |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for check in CHECKS {
        let set = match (check.set, check.wanted) {
            (None, _) => "a person decides".to_owned(),
            (_, Wanted::ModeAtMost(..)) => "what is too much is taken away".to_owned(),
            (Some(_), Wanted::Off) => "stopped and masked".to_owned(),
            (Some(set), _) => format!("`{set}`"),
        };
        let caution = check.caution.map(|caution| format!(" **But** {caution}.")).unwrap_or_default();
        let _ = writeln!(
            text,
            "| `{}` | {} | `{}` | {} | {set} | {}. {}{caution} | {} |",
            check.short(),
            check.severity.name(),
            check.setting(),
            check.wanted,
            check.title,
            check.why,
            check.controls.join(", "),
        );
    }
    text
}

#[test]
fn the_table_of_checks_in_the_documentation_is_the_pack() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/posture.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, after) = (page.find("| check |").unwrap(), page.rfind("|\n").unwrap() + 2);
    if std::env::var_os("STANCH_UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        std::fs::write(path, format!("{}{}{}", &page[..before], table(), &page[after..])).unwrap();
        return;
    }
    assert!(page[before..after] == table(), "STANCH_UPDATE_SNAPSHOTS=1 renews the table in docs/posture.md");
}

//! `stanch audit`: the record of a real data folder, checked by the program and broken by hand.

use crate::program::Home;

#[test]
fn an_export_verifies_and_every_tampering_is_found() {
    let home = Home::new();
    let export = home.path().join("record");
    let path = export.to_str().unwrap();
    // Something to be recorded.
    for act in [&["hold", "set", "audit week"][..], &["hold", "release"]] {
        let run = home.run(act);
        assert_eq!(run.code, 0, "{}", run.err);
    }
    let run = home.run(&["audit", "export", path]);
    assert_eq!(run.code, 0, "{}", run.err);

    let run = home.run(&["audit", "verify", path, "--json"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let report: serde_json::Value = serde_json::from_str(run.out.trim()).unwrap();
    assert_eq!(report["good"], true);
    assert!(report["entries"].as_u64().unwrap() > 0);

    let whole = std::fs::read(&export).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 12) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        std::fs::write(&export, &flipped).unwrap();
        assert_eq!(home.run(&["audit", "verify", path]).code, 1, "byte {at}");
    }

    // Cut after a checkpoint, the export agrees with itself; only what was kept elsewhere tells.
    let text = String::from_utf8(whole).unwrap();
    let signed: Vec<&str> = text.lines().filter(|line| line.starts_with(r#"{"checkpoint""#)).collect();
    let kept = home.path().join("kept");
    std::fs::write(&kept, note(signed.last().unwrap())).unwrap();
    let outside = ["audit", "verify", path, "--checkpoint", kept.to_str().unwrap()];
    std::fs::write(&export, &text).unwrap();
    assert_eq!(home.run(&outside).code, 0);
    if let [first, .., _] = signed.as_slice() {
        let end = text.find(first).unwrap() + first.len() + 1;
        std::fs::write(&export, &text[..end]).unwrap();
        assert_eq!(home.run(&["audit", "verify", path]).code, 0);
        assert_eq!(home.run(&outside).code, 1);
    }
}

#[test]
fn an_export_of_nothing_is_called_empty_and_vouched_for_by_nobody() {
    let home = Home::new();
    let export = home.path().join("record");
    let path = export.to_str().unwrap();
    assert_eq!(home.run(&["audit", "export", path]).code, 0);
    let run = home.run(&["audit", "verify", path]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("no entry and no checkpoint"), "{}", run.err);
}

/// The text of a checkpoint as an export carries it.
fn note(line: &str) -> String {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["checkpoint"].as_str().unwrap().to_owned()
}

#[test]
fn a_person_is_asked_before_anything_is_changed() {
    let home = Home::new();
    let run = home.run(&["undo", "last"]);
    assert_eq!(run.code, 5, "{}", run.err);
    assert_eq!(home.run(&["fix"]).code, 2);
    assert_eq!(home.run(&["fix", "--plan", "short"]).code, 2);
    let run = home.run(&["fix", "no-such-thing-as-this"]);
    assert_eq!(run.code, 1, "{}", run.err);
    assert!(run.err.contains("hint:"), "{}", run.err);
}

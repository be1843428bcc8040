//! Hosts, problems and files about them on the command line.

use crate::program::Home;

#[test]
fn what_nobody_knows_is_not_called_clean() {
    let home = Home::new();
    let told = home.run(&["cve", "CVE-1999-0001"]);
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(told.out.contains("not finding it says nothing"), "{}", told.out);
    let told = home.run(&["cve", "nonsense"]);
    assert!(told.code == 1 && told.err.contains("there is no problem `nonsense`"), "{}", told.err);
    let told = home.run(&["assets", "list", "--blind", "stale", "--json"]);
    assert_eq!((told.code, told.out.as_str()), (0, ""));
    assert_eq!(home.run(&["assets", "list", "--state", "asleep"]).code, 2);
}

#[test]
fn a_file_with_a_fault_is_told_by_its_name_and_line_and_one_of_no_known_kind_is_not_guessed() {
    let home = Home::new();
    let file = home.path().join("hosts.csv");
    std::fs::write(&file, "asset,owner\ngone,web\n").unwrap();
    let file = file.to_str().unwrap();
    let told = home.run(&["assets", "import", file, "--dry-run"]);
    assert_eq!(told.code, 1);
    assert!(told.out.contains("hosts.csv:2: there is no asset `gone`"), "{}", told.out);
    assert!(told.err.contains("nothing was changed"), "{}", told.err);
    let told = home.run(&["assets", "import", file, "--dry-run", "--json"]);
    assert!(told.out.contains("\"errors\":[{\"line\":2,"), "{}", told.out);
    let other = home.path().join("hosts.txt");
    std::fs::write(&other, "").unwrap();
    let told = home.run(&["assets", "import", other.to_str().unwrap()]);
    assert!(told.code == 2 && told.err.contains("--format yaml"), "{}", told.err);
}

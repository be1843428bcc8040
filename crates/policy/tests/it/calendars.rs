//! Calendars as people write them into a bundle.

use serde_json::{Value, json};
use stanch_model::terms::CatchUp;
use stanch_policy::calendar::read;
use stanch_policy::{Bundle, Loaded};

use crate::world::source;

fn doc(entries: Value) -> Value {
    json!({
        "apiVersion": "stanch/v1",
        "kind": "Calendar",
        "name": "paris",
        "tz": "Europe/Paris",
        "entries": entries,
        "except": ["2026-12-24"],
    })
}

/// The first intervals from the first that is not over on 1 December 2026, as texts.
fn first(entries: Value, count: usize) -> Vec<String> {
    let table = read(&doc(entries)).unwrap().expand("2026-12-08T00:00:00Z".parse().unwrap()).unwrap();
    let found = table.occurrences().iter().take(count);
    found.map(|found| format!("{}/{}", found.interval.start, found.interval.end)).collect()
}

fn refused(document: &Value) -> String {
    let bad = read(document).unwrap_err();
    format!("{bad} -> {}", bad.remedy)
}

#[test]
fn weekdays_have_hours_that_may_go_over_midnight() {
    assert_eq!(
        first(json!([{"days": ["mon", "thu"], "from": "22:00", "to": "06:00"}]), 4),
        [
            "2026-11-30T21:00:00Z/2026-12-01T05:00:00Z",
            "2026-12-03T21:00:00Z/2026-12-04T05:00:00Z",
            "2026-12-07T21:00:00Z/2026-12-08T05:00:00Z",
            "2026-12-10T21:00:00Z/2026-12-11T05:00:00Z",
        ]
    );
}

#[test]
fn weekdays_of_a_month_are_numbered() {
    assert_eq!(
        first(json!([{"days": ["first sat", "last sun"], "months": [12], "from": "08:00", "to": "18:00"}]), 3),
        [
            "2026-12-05T07:00:00Z/2026-12-05T17:00:00Z",
            "2026-12-27T07:00:00Z/2026-12-27T17:00:00Z",
            "2027-12-04T07:00:00Z/2027-12-04T17:00:00Z",
        ]
    );
}

#[test]
fn dates_are_whole_days_and_a_range_is_one_piece() {
    assert_eq!(
        first(
            json!([
                {"dates": ["2026-12-19/2027-01-03"], "name": "Year end"},
                {"dates": ["2026-12-24", "2026-12-09"], "from": "10:00", "to": "24:00"},
            ]),
            9
        ),
        ["2026-12-09T09:00:00Z/2026-12-09T23:00:00Z", "2026-12-18T23:00:00Z/2027-01-03T23:00:00Z"]
    );
}

#[test]
fn excepted_days_are_left_out_by_their_start() {
    let days = first(json!([{"days": ["daily"], "from": "22:00", "to": "02:00"}]), 100);
    assert!(days.contains(&"2026-12-23T21:00:00Z/2026-12-24T01:00:00Z".to_owned()));
    assert!(!days.iter().any(|found| found.starts_with("2026-12-24T21")));
}

#[test]
fn what_cannot_be_is_refused_with_its_entry_and_the_remedy() {
    let entries = [
        json!([]),
        json!([{}]),
        json!([{"days": ["mon"]}, {"days": ["mon"], "dates": ["2026-12-24"]}]),
        json!([{"days": ["moon"]}]),
        json!([{"days": ["ninth sat"]}]),
        json!([{"days": ["mon"], "months": [13]}]),
        json!([{"days": ["mon"], "from": "24:00"}]),
        json!([{"days": ["mon"], "from": "9:00"}]),
        json!([{"days": ["mon"], "to": "25:00"}]),
        json!([{"dates": ["24.12.2026"]}]),
        json!([{"dates": ["2027-01-03/2026-12-19"]}]),
        json!([{"dates": ["2026-12-24"], "months": [1]}]),
        json!([{"dates": ["9999-12-31/9999-12-31"]}]),
        json!([{"days": ["mon"], "form": "22:00"}]),
    ];
    let mut table: Vec<String> = entries.into_iter().map(|entries| refused(&doc(entries))).collect();
    let mut elsewhere = doc(json!([{"days": ["mon"]}]));
    elsewhere["tz"] = json!("Europe/Lutetia");
    table.push(refused(&elsewhere));
    insta::assert_snapshot!(table.join("\n"));
}

/// A bundle of one policy that uses these calendars, and of this file.
fn with(uses: &str, name: &str, text: &str) -> Loaded {
    let policy = format!("{}{uses}\n", crate::world::rule("item.kev", "approve"));
    Bundle::load(&[source("policy.yaml", &policy), source(name, text)])
}

fn told(loaded: &Loaded) -> Vec<String> {
    loaded.problems.iter().map(|problem| format!("{problem} -> {}", problem.remedy)).collect()
}

const FREEZE: &str = "BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VEVENT
UID:year-end
DTSTART;VALUE=DATE:20261219
DTEND;VALUE=DATE:20270104
SUMMARY:Year end
END:VEVENT
END:VCALENDAR
";

#[test]
fn a_bundle_works_out_its_calendars_in_the_zone_that_its_policies_name() {
    let loaded = with("freezes: [{ics: corp.ics, tz: Europe/Paris}]", "corp.ics", FREEZE);
    assert_eq!(told(&loaded), [] as [&str; 0]);
    let (tables, errors) = loaded.bundle.unwrap().timetables("2026-12-01T00:00:00Z".parse().unwrap());
    assert!(errors.is_empty());
    let change = tables["corp"].next_change("2026-12-01T00:00:00Z".parse().unwrap()).unwrap();
    assert_eq!(change.to_string(), "2026-12-18T23:00:00Z");
}

#[test]
fn a_calendar_that_cannot_be_refuses_the_bundle_with_its_file_and_line() {
    let bad = FREEZE.replace("VALUE=DATE:20261219", "TZID=Customized Time Zone:20261219T000000");
    let yaml = "apiVersion: stanch/v1\nkind: Calendar\nname: corp\ntz: Europe/Paris\nentries: [{days: [moon]}]\n";
    let mut table = Vec::new();
    for (uses, name, text) in [
        ("freezes: [{ics: corp.ics}]", "corp.ics", bad.as_str()),
        ("freezes: [{ics: corp.ics}]", "corp.ics", FREEZE),
        ("windows: [{calendar: corp, tz: Europe/Lutetia}]", "corp.ics", FREEZE),
        (
            "windows: [{calendar: corp, tz: Europe/Paris}]\nfreezes: [{calendar: corp, tz: Asia/Tokyo}]",
            "corp.ics",
            FREEZE,
        ),
        ("windows: [{calendar: corp}]", "corp.yaml", yaml),
        ("windows: [{calendar: corp, tz: Asia/Tokyo}]", "corp.yaml", &yaml.replace("moon", "mon")),
    ] {
        let loaded = with(uses, name, text);
        assert!(loaded.bundle.is_none(), "{uses}");
        table.extend(told(&loaded));
        table.push(String::new());
    }
    insta::assert_snapshot!(table.join("\n"));
}

#[test]
fn what_people_should_know_of_a_calendar_is_told_and_stops_nothing() {
    let cancelled = FREEZE.replace("SUMMARY", "STATUS:CANCELLED\nSUMMARY");
    let loaded = with("freezes: [{ics: corp.ics, tz: Europe/Paris}]", "corp.ics", &cancelled);
    assert!(loaded.bundle.is_some());
    let told = told(&loaded).remove(0);
    assert!(told.starts_with("corp.ics:3:1: warning[calendar-note]: the event is cancelled"), "{told}");
}

#[test]
fn what_becomes_of_a_missed_window_is_said_beside_it() {
    let catch_up = |more: &str| {
        let text = crate::world::policy("p", "  - {id: r, mode: auto}") + more;
        let calendar =
            "---\napiVersion: stanch/v1\nkind: Calendar\nname: nights\ntz: UTC\nentries: [{days: [daily]}]\n";
        crate::world::bundle(&(text + calendar)).policies()[0].terms().catch_up
    };
    let says = |run_within_seconds, tell_after| Some(CatchUp { run_within_seconds, tell_after });
    let windows = "windows: [{calendar: nights}]\n";
    assert_eq!(catch_up(""), None, "who has no window says nothing of it");
    assert_eq!(catch_up(windows), says(0, 0), "who has one waits");
    let with = |words: &str| catch_up(&format!("{windows}catch_up: {words}\n"));
    assert_eq!(with("{then: escalate}"), says(0, 3));
    assert_eq!(with("{then: run_when_back, within: 8h, tell_after: 2}"), says(28_800, 2));
}

#[test]
fn a_catch_up_that_cannot_be_meant_is_refused() {
    let refused = |more: &str| {
        crate::world::problems(&(crate::world::policy("p", "  - {id: r, mode: auto}") + more)).contains("catch-up")
    };
    assert!(refused("catch_up: {then: wait}\n"), "there is no window");
    assert!(refused("windows: [{calendar: nights}]\ncatch_up: {then: run_when_back}\n"), "for how long?");
    assert!(refused("windows: [{calendar: nights}]\ncatch_up: {then: wait, within: 4h}\n"));
}

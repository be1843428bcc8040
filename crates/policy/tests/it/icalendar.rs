//! iCalendar files: what is taken, what is refused with its line, and what hostile ones cost.

use std::fmt::Write as _;

use jiff::Timestamp;
use proptest::prelude::*;
use stanch_model::calendar::{Timetable, Zone};
use stanch_policy::ics::{Imported, MAX_FILE, MAX_LINES, Refusal, read};

fn file(lines: &[&str]) -> String {
    let body = lines.join("\r\n");
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test\r\n{body}\r\nEND:VCALENDAR\r\n")
}

/// One event with these lines. The first of them is the sixth of the file.
fn event(lines: &[&str]) -> String {
    let mut all = vec!["BEGIN:VEVENT", "UID:one@example.org"];
    all.extend(lines);
    all.push("END:VEVENT");
    file(&all)
}

fn take(text: &str) -> Imported {
    read("corp", text.as_bytes(), None).unwrap()
}

fn refuse(text: &str) -> Refusal {
    let mut refusals = read("corp", text.as_bytes(), None).unwrap_err();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    refusals.remove(0)
}

fn expand(imported: &Imported, now: &str) -> Timetable {
    imported.calendar.expand(now.parse().unwrap()).unwrap()
}

/// The first intervals, as texts.
fn first(imported: &Imported, now: &str, count: usize) -> Vec<String> {
    let table = expand(imported, now);
    let found = table.occurrences().iter().take(count);
    found.map(|found| format!("{}/{}", found.interval.start, found.interval.end)).collect()
}

#[test]
fn recurrences_are_those_that_another_program_works_out() {
    let mut seen = 0;
    for line in include_str!("data/recurrences.txt").lines().filter(|line| !line.starts_with('#')) {
        let [start, rule, count, last, shown] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let text = event(&[&format!("DTSTART:{start}T090000Z"), "DURATION:PT1H", &format!("RRULE:{rule}")]);
        let imported = take(&text);
        let now: Timestamp = format!("{}-{}-{}T09:00:00Z", &start[..4], &start[4..6], &start[6..]).parse().unwrap();
        let table = imported.calendar.expand(now).unwrap();
        let days = table.occurrences().iter().map(|found| found.interval.start.strftime("%Y%m%d").to_string());
        let days: Vec<String> = days.collect();
        assert_eq!(days.len().to_string(), count, "{rule} from {start}: {days:?}");
        assert_eq!(days.last().unwrap(), last, "{rule} from {start}");
        assert_eq!(days[..days.len().min(10)].join(","), shown, "{rule} from {start}");
        seen += 1;
    }
    assert_eq!(seen, 240);
}

#[test]
fn a_night_ends_when_the_wall_clock_says_so_and_a_duration_when_it_has_passed() {
    let weekly = ["DTSTART;TZID=Europe/Paris:20270320T220000", "RRULE:FREQ=WEEKLY;BYDAY=SA;COUNT=2"];
    let until = event(&[weekly[0], "DTEND;TZID=Europe/Paris:20270321T060000", weekly[1]]);
    assert_eq!(
        first(&take(&until), "2027-03-20T12:00:00Z", 2),
        ["2027-03-20T21:00:00Z/2027-03-21T05:00:00Z", "2027-03-27T21:00:00Z/2027-03-28T04:00:00Z"]
    );
    let long = event(&[weekly[0], "DURATION:PT8H", weekly[1]]);
    assert_eq!(
        first(&take(&long), "2027-03-20T12:00:00Z", 2),
        ["2027-03-20T21:00:00Z/2027-03-21T05:00:00Z", "2027-03-27T21:00:00Z/2027-03-28T05:00:00Z"]
    );
}

#[test]
fn whole_days_are_those_of_the_zone_that_is_named() {
    let text = event(&["DTSTART;VALUE=DATE:20261224", "DTEND;VALUE=DATE:20270102", "SUMMARY:Year end\\, all sites"]);
    let paris = Zone::named("Europe/Paris").unwrap();
    let imported = read("corp", text.as_bytes(), Some(&paris)).unwrap();
    assert_eq!(first(&imported, "2026-12-01T00:00:00Z", 1), ["2026-12-23T23:00:00Z/2027-01-01T23:00:00Z"]);
    let table = expand(&imported, "2026-12-01T00:00:00Z");
    assert_eq!(table.label_at("2026-12-25T00:00:00Z".parse().unwrap()).unwrap(), "Year end, all sites");
    // The file may name the zone itself; whoever uses it has the last word.
    let own = text.replace("PRODID", "X-WR-TIMEZONE:Asia/Tokyo\r\nPRODID");
    assert_eq!(first(&take(&own), "2026-12-01T00:00:00Z", 1), ["2026-12-23T15:00:00Z/2027-01-01T15:00:00Z"]);
    assert_eq!(read("corp", own.as_bytes(), Some(&paris)).unwrap().calendar, imported.calendar);
    let refusal = refuse(&text);
    assert_eq!((refusal.line, refusal.message.as_str()), (6, "nothing says in which time zone this is"));
}

#[test]
fn single_days_are_left_out_added_and_replaced() {
    let text = file(&[
        "BEGIN:VEVENT",
        "UID:patch",
        "SUMMARY:Patch night",
        "DTSTART;TZID=Europe/Paris:20261201T220000",
        "DTEND;TZID=Europe/Paris:20261202T020000",
        "RRULE:FREQ=WEEKLY;COUNT=5",
        "EXDATE;TZID=Europe/Paris:20261208T220000,20261209T220000",
        "EXDATE:20261215T210000Z",
        "RDATE;TZID=Europe/Paris:20261217T220000",
        "END:VEVENT",
        "BEGIN:VEVENT",
        "UID:patch",
        "RECURRENCE-ID;TZID=Europe/Paris:20261222T220000",
        "DTSTART;TZID=Europe/Paris:20261221T200000",
        "DURATION:PT30M",
        "END:VEVENT",
        "BEGIN:VEVENT",
        "UID:patch",
        "RECURRENCE-ID;TZID=Europe/Paris:20261229T220000",
        "DTSTART;TZID=Europe/Paris:20261229T220000",
        "DURATION:PT30M",
        "STATUS:CANCELLED",
        "END:VEVENT",
    ]);
    let imported = take(&text);
    assert_eq!(
        first(&imported, "2026-12-01T12:00:00Z", 9),
        [
            "2026-12-01T21:00:00Z/2026-12-02T01:00:00Z",
            "2026-12-17T21:00:00Z/2026-12-18T01:00:00Z",
            "2026-12-21T19:00:00Z/2026-12-21T19:30:00Z",
        ]
    );
    let notes: Vec<String> = imported.notes.iter().map(|note| format!("{}: {}", note.line, note.message)).collect();
    assert_eq!(notes, ["4: nothing starts at 2026-12-09T22:00:00, so EXDATE leaves out nothing"]);
}

#[test]
fn a_cancelled_event_does_not_count_and_is_told() {
    let text = event(&["DTSTART:20261224T000000Z", "DTEND:20261225T000000Z", "STATUS:CANCELLED"]);
    let imported = take(&text);
    assert!(expand(&imported, "2026-12-01T00:00:00Z").in_force().is_empty());
    assert_eq!(imported.notes[0].message, "the event is cancelled and does not count");
}

#[test]
fn lines_may_be_folded_anywhere_and_end_either_way() {
    let text = event(&["DTSTART:20261224T000000Z", "DTEND:20261225T000000Z", "SUMMARY:Année \u{1f384} fin"]);
    let plain = take(&text);
    let mut folded = Vec::new();
    for line in text.trim_end().split("\r\n") {
        for (at, byte) in line.bytes().enumerate() {
            if at > 0 && at % 7 == 0 {
                folded.extend_from_slice(b"\r\n ");
            }
            folded.push(byte);
        }
        folded.extend_from_slice(b"\r\n");
    }
    assert_eq!(read("corp", &folded, None).unwrap(), plain);
    assert_eq!(take(&text.replace("\r\n", "\n")), plain);
    assert_eq!(take(&format!("\u{feff}{text}\r\n\r\n")), plain);
}

#[test]
fn what_says_nothing_of_time_is_passed_over() {
    let text = file(&[
        "METHOD:PUBLISH",
        "CALSCALE:GREGORIAN",
        "X-WR-CALNAME:Corp",
        "BEGIN:VTIMEZONE",
        "TZID:Europe/Paris",
        "BEGIN:STANDARD",
        "DTSTART:19701025T030000",
        "RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10",
        "TZOFFSETFROM:+0200",
        "TZOFFSETTO:+0100",
        "END:STANDARD",
        "END:VTIMEZONE",
        "BEGIN:VEVENT",
        "UID:one",
        "DTSTAMP:20261101T000000Z",
        "DTSTART;TZID=\"Europe/Paris\":20261224T000000",
        "DTEND;TZID=Europe/Paris:20261225T000000",
        "ATTENDEE;CN=\"Doe; Jane: ops\";ROLE=CHAIR:mailto:jane@example.org",
        "X-ANYTHING;X=1:2",
        "TRANSP:TRANSPARENT",
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        "TRIGGER:-PT15M",
        "END:VALARM",
        "END:VEVENT",
    ]);
    assert_eq!(first(&take(&text), "2026-12-01T00:00:00Z", 9), ["2026-12-23T23:00:00Z/2026-12-24T23:00:00Z"]);
}

/// What is refused, with its line and what to do: the table of the guide's refusals.
#[test]
fn everything_else_is_refused_with_its_line_and_the_remedy() {
    let once = ["DTSTART:20261224T000000Z", "DTEND:20261225T000000Z"];
    let with = |line: &str| event(&[once[0], once[1], line]);
    let paris = "DTSTART;TZID=Europe/Paris:20261224T000000";
    let files = [
        with("RRULE:FREQ=HOURLY"),
        with("RRULE:FREQ=MONTHLY;BYSETPOS=-1;BYDAY=MO"),
        with("RRULE:FREQ=WEEKLY;COUNT=2;UNTIL=20270101T000000Z"),
        with("RRULE:FREQ=WEEKLY;UNTIL=20270101"),
        with("RRULE:FREQ=WEEKLY;UNTIL=20260101T000000Z"),
        with("RRULE:FREQ=WEEKLY;BYDAY=MO"),
        with("RRULE:FREQ=YEARLY;BYWEEKNO=20"),
        with("RRULE:INTERVAL=2"),
        with("RRULE:FREQ=DAILY;INTERVAL=0"),
        with("EXRULE:FREQ=DAILY"),
        with("EXDATE;VALUE=DATE:20261224"),
        with("RDATE;VALUE=PERIOD:20261224T000000Z/PT1H"),
        with("STATUS:TENTATIVE"),
        with("RECURRENCE-ID:20261224T000000Z"),
        with("DTSTART:20261225T000000Z"),
        with("DURATION:PT1H"),
        with("BREAKFAST:eggs"),
        event(&[paris]),
        event(&[paris, "DTEND;TZID=Europe/Paris:20261223T000000"]),
        event(&[paris, "DTEND;VALUE=DATE:20261225"]),
        event(&[paris, "DURATION:-PT1H"]),
        event(&["DTSTART;TZID=W. Europe Standard Time:20261224T000000", once[1]]),
        event(&["DTSTART;TZID=Europe/Paris:20261224T000000Z", once[1]]),
        event(&["DTSTART:20261324T000000Z", once[1]]),
        event(&["DTSTART:20261224T240000Z", once[1]]),
        event(&["DTSTART:20261224T000000", "DURATION:PT1H"]),
        event(&["DTEND:20261225T000000Z"]),
        event(&[paris, "DTEND;TZID=Asia/Tokyo:20261225T000000", "RRULE:FREQ=DAILY"]),
        file(&["BEGIN:VTODO", "END:VTODO"]),
        file(&["BEGIN:VEVENT", once[0], once[1], "END:VEVENT"]),
        file(&["BEGIN:VEVENT", "UID:a", "END:VALARM"]),
        file(&["METHOD:CANCEL"]),
        file(&["CALSCALE:HEBREW"]),
        event(&["DTSTART 20261224T000000Z"]),
        event(&["DTSTART;TZID=\"Europe/Paris:20261224T000000"]),
        event(&[once[0], once[1], "SUMMARY:\u{7}"]),
        "BEGIN:VCALENDAR\nEND:VCALENDAR\n".to_owned(),
        "BEGIN:VCALENDAR\nVERSION:2.0\n".to_owned(),
        format!("{}BEGIN:VCALENDAR", file(&[])),
        "<html>".to_owned(),
        String::new(),
    ];
    let mut table = String::new();
    for text in &files {
        let refusal = refuse(text);
        let line = text.lines().nth(refusal.line as usize - 1).unwrap_or_default();
        writeln!(
            table,
            "{:>2} {}\n     {}\n     -> {}",
            refusal.line,
            line.escape_debug(),
            refusal.message,
            refusal.remedy
        )
        .unwrap();
    }
    insta::assert_snapshot!(table);
}

#[test]
fn two_events_are_never_one() {
    let one = ["BEGIN:VEVENT", "UID:a", "DTSTART:20261224T000000Z", "DURATION:P1D", "END:VEVENT"];
    let refusal = refuse(&file(&[one, one].concat()));
    assert_eq!((refusal.line, refusal.message.as_str()), (10, "two events have this UID"));
}

#[test]
fn all_refusals_are_told_at_once_and_a_flood_is_cut() {
    let bad = ["BEGIN:VEVENT", "UID:a", "DTSTART:tomorrow", "END:VEVENT"];
    let many = |count: usize| {
        let events: Vec<String> = (0..count).map(|n| bad.join("\n").replace("UID:a", &format!("UID:{n}"))).collect();
        read("corp", file(&events.iter().map(String::as_str).collect::<Vec<_>>()).as_bytes(), None).unwrap_err().len()
    };
    assert_eq!((many(3), many(1_000)), (3, 50));
}

#[test]
fn hostile_files_are_refused_before_they_cost_anything() {
    let refusal = |source: Vec<u8>| read("corp", &source, None).unwrap_err()[0].message.clone();
    assert!(refusal(vec![b'A'; MAX_FILE + 1]).contains("bytes"));
    assert!(refusal(vec![b'\n'; MAX_LINES + 1]).contains("lines"));
    assert!(refusal([b"A:".to_vec(), b"\n x".repeat(200_000)].concat()).contains("lines"));
    assert!(refusal([b"A:".to_vec(), vec![b'x'; 1 << 19], b"\n x".to_vec()].concat()).contains("longer"));
    assert!(refusal(b"\xff\xfe".to_vec()).contains("UTF-8"));
    let deep = format!("BEGIN:VCALENDAR\n{}", "BEGIN:VEVENT\n".repeat(9_000));
    assert!(!read("corp", deep.as_bytes(), None).unwrap_err().is_empty());
    let events = "BEGIN:VEVENT\nEND:VEVENT\n".repeat(2_001);
    let flood = read("corp", file(&[events.trim_end()]).as_bytes(), None).unwrap_err();
    assert!(flood.iter().any(|refusal| refusal.message.contains("no UID")), "{flood:?}");
    let dates = vec!["20261224T000000Z"; 1_001].join(",");
    assert!(
        refuse(&event(&["DTSTART:20261224T000000Z", "DURATION:PT1H", &format!("EXDATE:{dates}")]))
            .message
            .contains("1000")
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read("any", &bytes, None);
    }

    #[test]
    fn any_lines_are_read_or_refused(lines in prop::collection::vec(
        prop::sample::select(vec![
            "BEGIN:VEVENT", "END:VEVENT", "UID:a", "UID:b", "DTSTART:20261224T000000Z", "DTSTART;VALUE=DATE:99991231",
            "DTSTART;TZID=Pacific/Apia:20111230T100000", "DTEND:99991231T235959Z", "DURATION:P4294967295D",
            "DURATION:PT1H", "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "RRULE:FREQ=DAILY;COUNT=10000",
            "RRULE:FREQ=MONTHLY;BYDAY=5SU", "EXDATE:99991231T235959Z", "RDATE:20261224T000000Z",
            "RECURRENCE-ID:20261224T000000Z", "STATUS:CANCELLED", "X-WR-TIMEZONE:Europe/Paris",
        ]),
        0..14,
    )) {
        if let Ok(imported) = read("any", file(&lines).as_bytes(), None) {
            let _ = imported.calendar.expand("2026-12-01T00:00:00Z".parse().unwrap());
        }
    }
}

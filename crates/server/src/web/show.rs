//! How values look: marks for states, times, numbers. A mark tells by word and shape; its colour only repeats it.

use std::fmt;

use askama::filters::HtmlSafe;
use jiff::Timestamp;
use serde::Deserialize as _;
use stanch_model::When;
use stanch_model::script::{MANIFEST_FILE, Script};

/// Members and findings shown of one item; the rest is a filter away.
pub(super) const SHOWN: usize = 60;

/// A state as a small mark.
pub(super) struct Mark {
    tone: &'static str,
    shape: &'static str,
    word: String,
}

/// It writes tags around a word that it escapes itself.
impl HtmlSafe for Mark {}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<span class=\"mark {}\"><i aria-hidden=\"true\">{}</i>", self.tone, self.shape)?;
        for c in self.word.chars() {
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("</span>")
    }
}

/// A span in the largest unit that says it exactly.
pub(super) fn seconds(seconds: u32) -> String {
    crate::view::span(seconds)
}

/// The mark of any state, verdict, outcome or class by its name on the wire.
pub(super) fn mark(name: &str) -> Mark {
    let (tone, shape) = match name {
        "immediate" | "act" | "days3_forensics" | "days3" | "critical" => ("bad", "▲"),
        "failed" | "rollback_failed" | "undo_failed" | "verify_failed" | "lost" | "interrupted" | "refused" => {
            ("bad", "✕")
        }
        "out_of_cycle" | "attend" | "days14" | "high" => ("warn", "▲"),
        "awaiting_approval"
        | "needs_operator"
        | "awaiting_confirmation"
        | "paused"
        | "inconclusive"
        | "held"
        | "halted"
        | "partially_remediated"
        | "partly"
        | "blocked"
        | "kept"
        | "disabled"
        | "one_way"
        | "unknown"
        | "stale"
        | "fixed_not_running" => ("warn", "◆"),
        "enabled" | "sent" | "closed" | "verified" | "successful" | "done" | "fixed" | "good" | "fresh"
        | "unchanged" | "undone" | "restorable" | "transient" => ("good", "✓"),
        "decided" | "planned" | "approved" | "scheduled" | "rolling" | "verifying" | "baking" | "rolling_back"
        | "pending" | "waiting" | "reserved" | "granted" | "dispatched" | "accepted" | "running" | "reconciling"
        | "undoing" | "succeeded" | "open" | "going_back" | "closing" => ("busy", "◐"),
        "connected" => ("good", "●"),
        "away" | "unconfirmed" => ("warn", "◆"),
        "frozen" | "put_out" | "no_executor" => ("bad", "▲"),
        "affected_fixable" => ("", "●"),
        "affected_unfixed" | "unsupported" => ("warn", "○"),
        _ => ("", "○"),
    };
    Mark { tone, shape, word: words(name) }
}

/// The mark of an urgency: the outcome of the deployer table.
pub(super) fn urgency(name: &str) -> Mark {
    let (tone, shape) = match name {
        "immediate" => ("bad", "▲"),
        "out_of_cycle" => ("warn", "▲"),
        "scheduled" => ("", "△"),
        _ => ("", "▽"),
    };
    Mark { tone, shape, word: words(name) }
}

/// The mark of a state that bears the name of what is in it.
pub(super) fn named(state: &str, name: &str) -> Mark {
    Mark { word: name.to_owned(), ..mark(state) }
}

/// The mark of how a problem stands at a place.
pub(super) fn stands(name: &str) -> Mark {
    match name {
        "open" => say("bad", "can be fixed"),
        "excepted" => say("warn", "excepted"),
        "no_fix" => say("warn", "no fix yet"),
        "in_work" => say("busy", "in work"),
        "fixed" | "gone" => say("good", name),
        other => mark(other),
    }
}

/// A number with its thousands apart.
pub(super) fn number(value: &u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A mark with its own words.
pub(super) fn say(tone: &'static str, text: &str) -> Mark {
    let shape = match tone {
        "bad" => "▲",
        "warn" => "◆",
        "good" => "✓",
        "busy" => "◐",
        _ => "○",
    };
    Mark { tone, shape, word: text.to_owned() }
}

/// A name on the wire in words.
pub(super) fn words(name: &str) -> String {
    match name {
        "affected_fixable" => "fix available".to_owned(),
        "affected_unfixed" => "no fix yet".to_owned(),
        "fixed_not_running" => "old code runs".to_owned(),
        "held" => "held by owner".to_owned(),
        "unconfirmed" => "not confirmed".to_owned(),
        "no_executor" => "no agent".to_owned(),
        "no_policy" => "no policy".to_owned(),
        "unmatched" => "no data".to_owned(),
        "unsupported" => "out of support".to_owned(),
        "source_package" => "package".to_owned(),
        "one_way" => "cannot be undone".to_owned(),
        "restorable" => "can be undone".to_owned(),
        "days3_forensics" => "3 days, look for compromise".to_owned(),
        "days3" => "3 days".to_owned(),
        "days14" => "14 days".to_owned(),
        "days60" => "60 days".to_owned(),
        "ageless" => "no age limit".to_owned(),
        "absent" => "not at hand".to_owned(),
        "next_upgrade" => "next upgrade".to_owned(),
        other => other.replace('_', " "),
    }
}

/// A time as people read it, in UTC.
pub(super) fn when(at: &Timestamp) -> String {
    When(*at).to_string()
}

/// The same, where there may be none.
pub(super) fn when_if(at: &Option<Timestamp>) -> String {
    at.as_ref().map_or_else(|| "never".to_owned(), when)
}

/// The time of day only.
pub(super) fn clock(at: &Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// A day.
pub(super) fn day(at: &Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// A score in tenths.
pub(super) fn tenths(score: &u8) -> String {
    format!("{}.{}", score / 10, score % 10)
}

/// A probability in parts per 100,000, as per cent.
pub(super) fn percent_e5(score: &u32) -> String {
    format!("{}.{} %", score / 1000, score % 1000 / 100)
}

/// `1 finding`, `2 findings`.
pub(super) fn count(number: &u64, one: &str) -> String {
    if *number == 1 { format!("1 {one}") } else { format!("{} {one}s", self::number(number)) }
}

/// How many of how many, as per cent without decimals, never rounded up to 100.
pub(super) fn share(part: &u32, of: &u32) -> String {
    if *of == 0 {
        return "no packages".to_owned();
    }
    format!("{} %", u64::from(*part) * 100 / u64::from(*of))
}

/// Where a role holds, in words.
pub(super) fn scope(scope: &str) -> String {
    match scope.split_once('/') {
        Some(("environment", name)) => format!("environment {name}"),
        Some(("team", name)) => format!("assets of team {name}"),
        _ => "everything".to_owned(),
    }
}

/// A name as one part of a path.
pub(super) fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The beginning of a text.
pub(super) fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

/// The first few names, and how many more there are.
pub(super) fn some(names: &[String]) -> String {
    match names {
        [first @ .., _, _] if names.len() > 5 => {
            let shown: Vec<&str> = first.iter().take(4).map(String::as_str).collect();
            format!("{} and {} more", shown.join(", "), names.len() - shown.len())
        }
        _ => names.join(", "),
    }
}

/// What users notice, in words.
pub(super) fn disruption(name: &str) -> &'static str {
    match name {
        "restart" => "services restart",
        "session_loss" => "sessions are lost",
        "outage" => "away for a while",
        _ => "nothing is noticed",
    }
}

/// The name under which a problem has its page: its CVE where it bears one.
pub(super) fn problem(name: &str) -> &str {
    name.find("CVE-").and_then(|at| name.get(at..)).unwrap_or(name)
}

/// Whether a name is a CVE number, which has a page of its own.
pub(super) fn is_cve(name: &str) -> bool {
    name.starts_with("CVE-") && crate::view::is_problem_name(name)
}

/// The first 12 digits of a hash.
pub(super) fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// The files of the script that a step runs, manifest first: whoever agrees can read what they agree to.
pub(super) fn script(params: &serde_json::Value) -> Vec<(String, String)> {
    let script = params.get("script").and_then(|script| Script::deserialize(script).ok());
    let files = |script: Script| {
        let parts = script.files.into_iter().map(|(part, text)| (part.to_string(), text));
        [(MANIFEST_FILE.to_owned(), script.manifest)].into_iter().chain(parts).collect()
    };
    script.map(files).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_escapes_its_word() {
        let html = say("bad", "<script>\"&'").to_string();
        assert!(html.contains("&lt;script&gt;&quot;&amp;&#39;"), "{html}");
        assert!(mark("</span><b>").to_string().contains("&lt;/span&gt;&lt;b&gt;"));
    }

    #[test]
    fn every_state_has_a_shape_of_its_own_meaning() {
        assert_eq!(mark("immediate").shape, "▲");
        assert_eq!(mark("closed").shape, "✓");
        assert_eq!(mark("needs_operator").shape, "◆");
        assert_eq!(mark("verify_failed").shape, "✕");
    }

    #[test]
    fn almost_all_is_not_all() {
        assert_eq!(share(&999, &1000), "99 %");
        assert_eq!(share(&0, &0), "no packages");
        assert_eq!(percent_e5(&94_420), "94.4 %");
        assert_eq!(tenths(&98), "9.8");
        assert_eq!(
            (number(&4970), number(&999), number(&1_000_000)),
            ("4,970".into(), "999".into(), "1,000,000".into())
        );
    }
}

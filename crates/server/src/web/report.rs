//! How long problems were open and what they waited for: every gate shows its price.

use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;

use super::{Page, PageError, Shell, page, show};
use crate::api::ReportFilter;
use crate::api::types::{Report, ReportFigures};
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

/// Width of a bar's drawing.
const WIDTH: i64 = 840;

/// The gates with what they are called, in the order they usually come.
const GATES: [(&str, &str); 7] = [
    ("before_detection", "before anybody knew"),
    ("detect", "to be detected"),
    ("decide", "to be decided and planned"),
    ("person", "for a person"),
    ("window", "for a window, a wave or its turn"),
    ("act", "for the act itself"),
    ("verify", "for the proof"),
];

#[derive(Template)]
#[template(path = "report.html")]
struct ReportPage {
    shell: Shell,
    told: Report,
    days: u16,
}

/// One part of a bar.
struct Part {
    key: &'static str,
    words: &'static str,
    x: i64,
    width: i64,
    seconds: i64,
    percent: i64,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/report", get(show_page))
}

async fn show_page(State(app): State<App>, visitor: Visitor, Query(filter): Query<ReportFilter>) -> Page {
    let told = view::report(&app, &visitor.sight, &filter).await.map_err(PageError::from)?;
    page(&ReportPage {
        shell: Shell::new(&app, &visitor, "Report", "Report").await?,
        told,
        days: filter.days.unwrap_or(30),
    })
}

impl ReportPage {
    fn parts(&self, figures: &ReportFigures) -> Vec<Part> {
        let total: i64 = figures.gates.values().sum::<i64>().max(1);
        let mut before = 0;
        let mut parts = Vec::new();
        for (key, words) in GATES {
            let seconds = figures.gates.get(key).copied().unwrap_or(0);
            if seconds <= 0 {
                continue;
            }
            let at = |seconds: i64| i64::try_from(i128::from(seconds) * i128::from(WIDTH) / i128::from(total));
            let (from, until) = (at(before).unwrap_or(0), at(before + seconds).unwrap_or(WIDTH));
            let percent = i64::try_from((i128::from(seconds) * 200 / i128::from(total) + 1) / 2).unwrap_or(0);
            parts.push(Part { key, words, x: from, width: (until - from).max(1), seconds, percent });
            before += seconds;
        }
        parts
    }

    fn words(&self, figures: &ReportFigures) -> String {
        let part = |part: Part| format!("{} % {}", part.percent, part.words);
        self.parts(figures).into_iter().map(part).collect::<Vec<_>>().join(", ")
    }

    fn time(&self, seconds: &Option<i64>) -> String {
        seconds.as_ref().map_or_else(|| "none yet".to_owned(), span)
    }

    fn hundredths(&self, number: &Option<u64>) -> String {
        number.map_or_else(|| "none yet".to_owned(), |e2| format!("{}.{:02}", e2 / 100, e2 % 100))
    }

    fn percent(&self, number: &Option<u32>) -> String {
        number.map_or_else(|| "none yet".to_owned(), |percent| format!("{percent} %"))
    }
}

/// The two largest units: `3 d 4 h`, `12 min`, `8 s`.
fn span(seconds: &i64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut left = (*seconds).max(0);
    let mut said: Vec<String> = Vec::new();
    for (size, unit) in units {
        let count = left / size;
        left %= size;
        if count > 0 {
            said.push(format!("{count} {unit}"));
        } else if !said.is_empty() {
            break;
        }
        if said.len() == 2 {
            break;
        }
    }
    if said.is_empty() { "0 s".to_owned() } else { said.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans_are_told_in_their_two_largest_units() {
        let told = [0, 8, 60, 75, 3_600, 3_660, 90_000, 86_400 * 3 + 5].map(|seconds| span(&seconds));
        assert_eq!(told, ["0 s", "8 s", "1 min", "1 min 15 s", "1 h", "1 h 1 min", "1 d 1 h", "3 d"]);
    }
}

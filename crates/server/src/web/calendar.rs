//! What may run when: windows and freezes of the next weeks, and what waits for them.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::{Page, Shell, page, show};
use crate::api::types::{Calendar, CalendarSpan, CalendarSpans};
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

/// Width of the drawing; its height comes from its rows.
const WIDTH: i64 = 840;
const SECONDS_A_DAY: i64 = 86_400;

#[derive(Template)]
#[template(path = "calendar.html")]
struct CalendarPage {
    shell: Shell,
    told: Calendar,
}

/// Whether a calendar keeps things from starting.
fn freezes(calendar: &CalendarSpans) -> bool {
    calendar.used_as.iter().any(|used| used == "freeze")
}

/// A day's line in the drawing.
struct Day {
    x: i64,
    name: String,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/calendar", get(show_page))
}

async fn show_page(State(app): State<App>, visitor: Visitor) -> Page {
    page(&CalendarPage {
        shell: Shell::new(&app, &visitor, "Calendar", "Calendar").await?.live("/api/v1/events", "policies remediation"),
        told: view::calendar(&app, &visitor.sight).await?,
    })
}

impl CalendarPage {
    fn x(&self, second: i64) -> i64 {
        let (from, until) = (self.told.from.as_second(), self.told.until.as_second());
        let length = (until - from).max(1);
        ((second - from) * WIDTH / length).clamp(0, WIDTH)
    }

    fn left(&self, span: &CalendarSpan) -> i64 {
        self.x(span.from.as_second())
    }

    fn width(&self, span: &CalendarSpan) -> i64 {
        (self.x(span.until.as_second()) - self.left(span)).max(1)
    }

    /// Every seventh midnight (UTC) in the drawing.
    fn days(&self) -> Vec<Day> {
        let first = (self.told.from.as_second().div_euclid(SECONDS_A_DAY) + 1) * SECONDS_A_DAY;
        (0..4)
            .filter_map(|week| {
                let second = first + week * 7 * SECONDS_A_DAY;
                let at = jiff::Timestamp::from_second(second).ok()?;
                Some(Day { x: self.x(second), name: at.strftime("%b %-d").to_string() })
            })
            .collect()
    }
}

//! Events as they happen (server-sent events). They say what changed; the page or program then reads it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _};
use tokio_stream::wrappers::BroadcastStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Problem, Segment};
use crate::app::App;
use crate::auth::Visitor;
use crate::bus::Live;
use crate::view;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(all)).routes(routes!(of_remediation))
}

/// Everything that changes. The event's name is the kind; its data `{kind, subject, remediation, text}`.
#[utoipa::path(get, path = "/events", tag = "events", operation_id = "events",
    responses((status = 200, body = String, content_type = "text/event-stream")))]
async fn all(State(app): State<App>, visitor: Visitor) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let whole = visitor.sight.is_everything();
    // Whoever does not see everything is told that something changed, and reads what of it is theirs.
    stream(&app, move |live| Some(if whole { write(live) } else { Event::default().event(live.kind).data("{}") }))
}

/// What changes in one remediation, and of what its targets are measured.
#[utoipa::path(get, path = "/remediations/{id}/events", tag = "events", operation_id = "remediation_events",
    params(("id" = String, Path)),
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 404, body = Problem)))]
async fn of_remediation(
    State(app): State<App>,
    Segment(id): Segment<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let assets: BTreeSet<String> =
        view::assets_of_remediation(&app, &id).await?.iter().map(ToString::to_string).collect();
    Ok(stream(&app, move |live| {
        let measured = live.kind == "facts" && assets.contains(&live.subject);
        (measured || live.remediation.as_ref() == Some(&id)).then(|| write(live))
    }))
}

fn stream<F>(app: &App, told: F) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<F>>
where
    F: Fn(&Live) -> Option<Event> + Send + 'static,
{
    let closing = app.closing();
    let events = BroadcastStream::new(app.bus.watch()).filter_map(move |live| {
        let event = match live {
            Ok(live) => told(&live),
            // The watcher was too slow: tell it to read everything again.
            Err(_) => Some(Event::default().event("missed").data("{}")),
        };
        std::future::ready(event.map(Ok))
    });
    let first = futures_util::stream::once(std::future::ready(Ok(Event::default().event("ready").data("{}"))));
    let events = first.chain(events).take_until(closing);
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}

fn write(live: &Live) -> Event {
    let data = serde_json::to_string(live).unwrap_or_else(|_| "{}".to_owned());
    Event::default().event(live.kind).data(data)
}

//! The style, the script and the icon, out of the program itself.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;

use crate::app::App;

const STYLE: &str = include_str!("static/stanch.css");
const SCRIPT: &str = include_str!("static/stanch.js");
const ICON: &str = include_str!("static/icon.svg");

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/static/stanch.css", get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)))
        .route("/static/stanch.js", get(async || ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)))
        .route("/static/icon.svg", get(async || ([(CONTENT_TYPE, "image/svg+xml")], ICON)))
}

//! Signing in. A link only opens this page; the token is used up by its form, so that a preview of the link or a
//! prefetching browser cannot use it.

use askama::Template;
use axum::Router;
use axum::extract::{Form, Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::{Page, PageError, page};
use crate::app::App;
use crate::auth::{self, Visitor};

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    token: String,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/sign-in", get(show).post(sign_in)).route("/sign-out", post(sign_out))
}

async fn show(Query(Token { token }): Query<Token>) -> Page {
    let token = token.chars().filter(char::is_ascii_graphic).take(64).collect();
    page(&SignIn { token })
}

async fn sign_in(State(app): State<App>, Form(Token { token }): Form<Token>) -> Result<Response, PageError> {
    let session = auth::sign_in(&app, token.trim()).await?;
    Ok((session.cookie, Redirect::to("/")).into_response())
}

async fn sign_out(State(app): State<App>, visitor: Visitor) -> Result<Response, PageError> {
    auth::sign_out(&app, &visitor).await?;
    Ok((auth::forget_cookie(), Redirect::to("/sign-in")).into_response())
}

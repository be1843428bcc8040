//! Signing in. A link only opens this page; the token is used up by its form, so that a preview of the link or a
//! prefetching browser cannot use it.

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::{Page, PageError, page};
use crate::api::Problem;
use crate::app::App;
use crate::auth::{self, Visitor, oidc};
use crate::view;

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
struct NamePassword {
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
}

#[derive(Deserialize)]
struct NewPassword {
    #[serde(default)]
    token: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    again: String,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn {
    token: String,
    providers: Vec<String>,
}

#[derive(Template)]
#[template(path = "invitation.html")]
struct Invitation {
    token: String,
}

/// The browser came from a provider's page: a link of ours must lead on, or the session's cookie would not go with it.
#[derive(Template)]
#[template(path = "signed_in.html")]
struct SignedIn;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/sign-in", get(show).post(by_link))
        .route("/sign-in/password", post(by_password))
        .route("/sign-in/oidc/{name}", get(to_provider))
        .route("/sign-in/callback", get(from_provider))
        .route("/invitation", get(invitation).post(accept))
        .route("/sign-out", post(sign_out))
}

fn plain(token: &str) -> String {
    token.chars().filter(char::is_ascii_graphic).take(64).collect()
}

async fn show(State(app): State<App>, Query(Token { token }): Query<Token>) -> Page {
    page(&SignIn { token: plain(&token), providers: view::providers(&app).await? })
}

async fn by_link(State(app): State<App>, Form(Token { token }): Form<Token>) -> Result<Response, PageError> {
    let session = auth::by_link(&app, token.trim()).await?;
    Ok((session.cookie, Redirect::to("/")).into_response())
}

async fn by_password(State(app): State<App>, Form(given): Form<NamePassword>) -> Result<Response, PageError> {
    let session = auth::by_password(&app, &given.name, given.password).await?;
    Ok((session.cookie, Redirect::to("/")).into_response())
}

async fn to_provider(State(app): State<App>, Path(name): Path<String>) -> Result<Response, PageError> {
    let (url, cookie) = oidc::start(&app, &name).await?;
    Ok((cookie, Redirect::to(&url)).into_response())
}

async fn from_provider(
    State(app): State<App>,
    headers: HeaderMap,
    Query(back): Query<oidc::Callback>,
) -> Result<Response, PageError> {
    // Whatever comes of it, this sign-in is over.
    let forget = oidc::forget(&app);
    let session = match oidc::finish(&app, &headers, &back).await {
        Ok(session) => session,
        Err(problem) => return Ok((forget, PageError::from(problem)).into_response()),
    };
    let mut response = page(&SignedIn)?;
    for (name, value) in forget.iter().chain(session.cookie.iter()) {
        response.headers_mut().append(name.clone(), value.clone());
    }
    Ok(response)
}

async fn invitation(Query(Token { token }): Query<Token>) -> Page {
    page(&Invitation { token: plain(&token) })
}

async fn accept(State(app): State<App>, Form(given): Form<NewPassword>) -> Result<Response, PageError> {
    if given.password != given.again {
        return Err(Problem::bad_request("the two passwords differ").hint("go back and type both again").into());
    }
    let session = auth::accept_invitation(&app, given.token.trim(), given.password).await?;
    Ok((session.cookie, Redirect::to("/")).into_response())
}

async fn sign_out(State(app): State<App>, visitor: Visitor) -> Result<Response, PageError> {
    auth::sign_out(&app, &visitor).await?;
    Ok((auth::forget_cookie(&app), Redirect::to("/sign-in")).into_response())
}

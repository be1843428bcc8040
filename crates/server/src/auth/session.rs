//! Sessions: who signed in, until when. The cookie holds a secret; the store holds its digest.

use axum::http::{HeaderMap, HeaderValue, header};
use jiff::SignedDuration;

use super::token::{csrf, fresh, session_digest};
use super::{Denied, Visitor};
use crate::api::Problem;
use crate::app::App;

/// The session's cookie.
pub(crate) const COOKIE: &str = "stanch_session";
/// How long a session lasts.
const LIFE: SignedDuration = SignedDuration::from_hours(12);

/// A session that has just begun.
pub(crate) struct Session {
    /// The headers that hand it to the browser.
    pub(crate) cookie: HeaderMap,
}

/// The secret in a request's cookie.
pub(super) fn secret(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == COOKIE && !value.is_empty() && value.len() <= 128)
        .map(|(_, value)| value.to_owned())
}

/// The visitor a request's cookie stands for, if its session is alive.
pub(super) async fn find(app: &App, headers: &HeaderMap) -> Result<Option<Visitor>, Problem> {
    let Some(secret) = secret(headers) else { return Ok(None) };
    let digest = session_digest(&secret);
    let name = crate::view::session(app, &digest).await?;
    Ok(name.map(|name| Visitor { name, csrf: Some(csrf(&secret)), session: Some(digest) }))
}

/// Exchanges a sign-in link's token for a session.
pub(crate) async fn sign_in(app: &App, token: &str) -> Result<Session, Problem> {
    let now = app.now();
    app.links.redeem(token, now).map_err(|denied| match denied {
        Denied::TooMany => Problem::new(
            axum::http::StatusCode::TOO_MANY_REQUESTS,
            "too_many_attempts",
            "Too many attempts",
            denied.to_string(),
        ),
        Denied::Unknown => Problem::new(
            axum::http::StatusCode::FORBIDDEN,
            "bad_link",
            "This link does not open anything",
            denied.to_string(),
        )
        .hint("print a new one with `stanch sign-in` on the machine that runs the server"),
    })?;
    let secret = fresh(app.config.entropy.as_ref()).map_err(|error| Problem::internal("making a session", &error))?;
    let until = now.saturating_add(LIFE).unwrap_or(now);
    crate::ask::begin_session(app, &session_digest(&secret), "local operator", until).await?;
    Ok(Session {
        cookie: cookie(&format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}", LIFE.as_secs())),
    })
}

/// Ends a session.
pub(crate) async fn sign_out(app: &App, visitor: &Visitor) -> Result<(), Problem> {
    match &visitor.session {
        Some(session) => crate::ask::end_session(app, session).await,
        None => Ok(()),
    }
}

/// Makes the browser forget its session.
pub(crate) fn forget_cookie() -> HeaderMap {
    cookie(&format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"))
}

fn cookie(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(header::SET_COOKIE, value);
    }
    headers
}

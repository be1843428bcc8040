//! Sessions and tokens: how somebody who comes over TCP shows who they are. The cookie or the token holds a secret;
//! the store holds its digest.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, header};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stanch_model::canonical::Digest;
use stanch_model::id::ActorId;
use stanch_model::person::{Access, Power};
use stanch_store::person::{Person, PersonState};

use super::token::{api_digest, csrf, fresh, session_digest};
use super::{Sight, Visitor};
use crate::api::Problem;
use crate::app::App;

/// The session's cookie.
pub(crate) const COOKIE: &str = "stanch_session";
/// How long a session lasts.
const LIFE: SignedDuration = SignedDuration::from_hours(12);
/// What tokens are called in the store.
pub(crate) const API: &str = "api";
/// When a token was last used is kept no more exactly than this, so that reading does not write each time.
const LAST_USE: SignedDuration = SignedDuration::from_mins(5);

/// What is kept with a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Its name: its acts are recorded as `token:NAME`.
    pub(crate) name: String,
    /// Who made it and answers for it; nobody for one made on the machine itself.
    pub(crate) maker: Option<ActorId>,
    /// What it lets do, never more than its maker may.
    pub(crate) powers: BTreeSet<Power>,
    /// The only environment it reaches.
    pub(crate) environment: Option<String>,
}

/// A session that has just begun.
pub(crate) struct Session {
    /// The headers that hand it to the browser.
    pub(crate) cookie: HeaderMap,
}

/// A value of a request's cookies.
pub(super) fn cookie_value(headers: &HeaderMap, wanted: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == wanted && !value.is_empty() && value.len() <= 4_096)
        .map(|(_, value)| value.to_owned())
}

/// The secret in a request's cookie.
pub(super) fn secret(headers: &HeaderMap) -> Option<String> {
    cookie_value(headers, COOKIE).filter(|value| value.len() <= 128)
}

/// The visitor a request's cookie stands for, if its session is alive and its person may sign in.
pub(super) async fn find(app: &App, headers: &HeaderMap) -> Result<Option<Visitor>, Problem> {
    let Some(secret) = secret(headers) else { return Ok(None) };
    let digest = session_digest(&secret);
    let Some(session) = app.store.session(&digest, app.now()).await? else { return Ok(None) };
    let Ok(id) = session.actor.parse::<ActorId>() else { return Ok(None) };
    let Some(person) = enabled(app, &id).await? else { return Ok(None) };
    let access = app.store.access(&id).await?;
    Ok(Some(Visitor {
        name: person.name.to_string(),
        person: Some(id),
        sight: sight(app, &access).await?,
        access,
        csrf: Some(csrf(&secret)),
        session: Some(digest),
        is_token: false,
    }))
}

/// The visitor a request's token stands for. A token that is not good is refused, not passed over.
pub(super) async fn find_bearer(app: &App, headers: &HeaderMap) -> Result<Option<Visitor>, Problem> {
    let Some(given) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let bad = || Problem::unauthenticated().hint("the token is unknown, has ended, or its maker may not sign in");
    let text = given.to_str().map_err(|_| bad())?;
    let token =
        text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
    let digest = api_digest(token.ok_or_else(bad)?.trim()).ok_or_else(bad)?;
    let now = app.now();
    let body = app.store.token(&digest, API, now).await?.ok_or_else(bad)?;
    let kept: Kept = serde_json::from_value(body).map_err(|_| bad())?;
    let access = match &kept.maker {
        None => Access::full(),
        Some(maker) => {
            enabled(app, maker).await?.ok_or_else(bad)?;
            app.store.access(maker).await?
        }
    };
    let access = access.narrowed(kept.powers, kept.environment);
    if app.tokens_seen.is_due(digest, now, LAST_USE) {
        let touch = stanch_store::session::TouchToken { hash: digest, at: now };
        app.store.put(stanch_store::Write::TouchToken(touch)).await?;
    }
    Ok(Some(Visitor {
        name: format!("token:{}", kept.name),
        person: kept.maker,
        sight: sight(app, &access).await?,
        access,
        csrf: None,
        session: None,
        is_token: true,
    }))
}

async fn enabled(app: &App, id: &ActorId) -> Result<Option<Person>, Problem> {
    Ok(app.store.person(id).await?.filter(|person| person.state == PersonState::Enabled))
}

/// What may be seen.
async fn sight(app: &App, access: &Access) -> Result<Sight, Problem> {
    if access.may_everywhere(Power::Read) {
        return Ok(Sight::Everything);
    }
    let mut seen = BTreeSet::new();
    let mut last = None;
    loop {
        let page = app.store.assets(last.as_ref(), crate::view::PAGE).await?;
        let Some(end) = page.last() else { return Ok(Sight::Only(Arc::new(seen))) };
        last = Some(end.asset.id.clone());
        seen.extend(page.into_iter().filter(|row| access.may(Power::Read, &row.asset)).map(|row| row.asset.id));
    }
}

/// Begins a session of a person; what else becomes true with it stands in `with`.
pub(crate) async fn begin(
    app: &App,
    person: &Person,
    how: &str,
    with: Vec<stanch_store::Write>,
) -> Result<Session, Problem> {
    let now = app.now();
    let secret = fresh(app.config.entropy.as_ref()).map_err(|error| Problem::internal("making a session", &error))?;
    let until = now.saturating_add(LIFE).unwrap_or(now);
    crate::ask::people::begin_session(app, person, &session_digest(&secret), how, until, with).await?;
    Ok(Session { cookie: set_cookie(app, COOKIE, &secret, "/", "Strict", LIFE) })
}

/// Ends a session.
pub(crate) async fn sign_out(app: &App, visitor: &Visitor) -> Result<(), Problem> {
    match &visitor.session {
        Some(session) => crate::ask::people::end_session(app, session).await,
        None => Ok(()),
    }
}

/// Makes the browser forget its session.
pub(crate) fn forget_cookie(app: &App) -> HeaderMap {
    set_cookie(app, COOKIE, "", "/", "Strict", SignedDuration::ZERO)
}

pub(super) fn set_cookie(
    app: &App,
    name: &str,
    value: &str,
    path: &str,
    site: &str,
    life: SignedDuration,
) -> HeaderMap {
    let secure = if app.public_url().starts_with("https://") { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path={path}; HttpOnly; SameSite={site}; Max-Age={}{secure}", life.as_secs());
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(header::SET_COOKIE, value);
    }
    headers
}

/// When tokens were last seen, so that their last use is not written each time.
#[derive(Default)]
pub(crate) struct Seen(std::sync::Mutex<std::collections::HashMap<Digest, Timestamp>>);

impl Seen {
    fn is_due(&self, token: Digest, now: Timestamp, every: SignedDuration) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if seen.get(&token).is_some_and(|last| now.duration_since(*last) < every) {
            return false;
        }
        seen.retain(|_, last| now.duration_since(*last) < every);
        seen.insert(token, now);
        true
    }
}

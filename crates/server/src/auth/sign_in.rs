//! Signing in here: by a link that works once, by a password, by an invitation that asks for one.

use axum::http::StatusCode;
use stanch_model::id::ActorId;
use stanch_model::person::PersonName;
use stanch_store::Write;
use stanch_store::person::{ChangePerson, Person, PersonChange, PersonState};
use stanch_store::session::UseToken;

use super::session::{Session, begin};
use super::token::{Denied, invitation_digest};
use super::{PasswordError, session};
use crate::api::Problem;
use crate::app::App;
use crate::ask;

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Weak(why) => Self::bad_request(why).hint("a sentence of four words is easy to keep"),
            other => Self::internal("handling a password", &other),
        }
    }
}

fn bad_link(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "bad_link", "This link does not open anything", detail)
}

/// Exchanges a sign-in link's token for a session.
pub(crate) async fn by_link(app: &App, token: &str) -> Result<Session, Problem> {
    let person = app.links.redeem(token, app.now()).map_err(|denied| match denied {
        Denied::TooMany => {
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", "Too many attempts", denied.to_string())
        }
        Denied::Unknown => bad_link(denied.to_string())
            .hint("print a new one with `stanch sign-in` on the machine that runs the server"),
    })?;
    let person = match person {
        Some(id) => app.store.person(&id).await?,
        None => Some(ask::people::first_administrator(app).await?),
    };
    let person = person.filter(|person| person.state == PersonState::Enabled);
    let person = person.ok_or_else(|| {
        bad_link("the account it is for may not sign in").hint("name another: stanch sign-in --as NAME")
    })?;
    begin(app, &person, "link", Vec::new()).await
}

/// Exchanges a name and a password for a session. Whether the account is there cannot be told from the answer.
pub(crate) async fn by_password(app: &App, name: &str, password: String) -> Result<Session, Problem> {
    let name = name.trim();
    if !app.passwords.attempts.begin(name, app.now()) {
        return Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_attempts",
            "Too many attempts",
            "too many failed attempts: wait a quarter of an hour",
        )
        .hint("an administrator can give you a link to set a new password"));
    }
    let person = match name.parse::<PersonName>() {
        Ok(name) => app.store.person_named(&name).await?,
        Err(_) => None,
    };
    let person = person.filter(|person| person.state == PersonState::Enabled);
    let kept = match &person {
        Some(person) => app.store.password_hash(&person.id).await?,
        None => None,
    };
    let fits = app.passwords.fits(password, kept).await?;
    match person.filter(|_| fits) {
        Some(person) => {
            app.passwords.attempts.succeeded(name);
            begin(app, &person, "password", Vec::new()).await
        }
        None => {
            tracing::warn!("a sign-in by password failed");
            Err(Problem::new(
                StatusCode::FORBIDDEN,
                "wrong_password",
                "Not signed in",
                "this name and this password do not belong together",
            )
            .hint("an administrator can give you a link to set a new password"))
        }
    }
}

/// Sets the password of whoever was invited, and signs them in. The invitation is used up in the same transaction.
pub(crate) async fn accept_invitation(app: &App, token: &str, password: String) -> Result<Session, Problem> {
    let hash = invitation_digest(token);
    let gone = || bad_link("this invitation was used already or is too old").hint("ask for a new one");
    let id = ask::people::invited(app, &hash).await?.ok_or_else(gone)?;
    let person = app.store.person(&id).await?.filter(|person| person.state == PersonState::Enabled).ok_or_else(gone)?;
    let kept = app.passwords.hash(person.name.as_str(), password, app.config.entropy.as_ref()).await?;
    let now = app.now();
    let used = UseToken { hash, purpose: ask::people::INVITATION.to_owned(), at: now };
    let change = ChangePerson { id, change: PersonChange::Password(Some(kept)), at: now };
    let with = vec![Write::UseToken(used), Write::ChangePerson(change)];
    match begin(app, &person, "invitation", with).await {
        Err(problem) if problem.code == TOKEN_USED => Err(gone()),
        other => other,
    }
}

/// The code of a one-time token that was used meanwhile.
pub(crate) const TOKEN_USED: &str = "token_used";

/// Changes one's own password; every other session ends.
pub(crate) async fn change_password(app: &App, id: &ActorId, old: String, new: String) -> Result<Session, Problem> {
    let person: Person = app.store.person(id).await?.ok_or_else(Problem::unauthenticated)?;
    if !app.passwords.attempts.begin(person.name.as_str(), app.now()) {
        let detail = "too many failed attempts: wait a quarter of an hour";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", "Too many attempts", detail));
    }
    let kept = app.store.password_hash(id).await?;
    // Who has none yet came by a link or through a provider, which is proof enough to set one.
    if kept.is_some() && !app.passwords.fits(old, kept).await? {
        let detail = "the password that is to be replaced is another one";
        return Err(Problem::new(StatusCode::FORBIDDEN, "wrong_password", "Not changed", detail));
    }
    app.passwords.attempts.succeeded(person.name.as_str());
    let kept = app.passwords.hash(person.name.as_str(), new, app.config.entropy.as_ref()).await?;
    let change = ChangePerson { id: id.clone(), change: PersonChange::Password(Some(kept)), at: app.now() };
    session::begin(app, &person, "password", vec![Write::ChangePerson(change)]).await
}

//! Connections to the outside: providers of identities and ways to send notices. Secrets come in, are sealed, and
//! are never given out again.

use serde_json::{Value, json};
use stanch_ledger::NewEntry;
use stanch_store::connection::{Connection as Row, DropConnection};
use stanch_store::setting::Setting;
use stanch_store::{Transition, Write};

use crate::api::Problem;
use crate::api::types::{Accepted, PutConnection, SavedConnection};
use crate::app::App;
use crate::auth::{SealError, fresh, oidc};
use crate::bus::{Live, Stage};
use crate::notice::channel::{Channel, SMTP, WEBHOOK};
use crate::notice::{self, Message};

/// Connections there can be.
const MOST: usize = 100;

fn place(name: &str) -> String {
    format!("connection/{name}")
}

impl From<SealError> for Problem {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Closed => Self::conflict("sealed", error.to_string()),
            other => Self::internal("handling a secret", &other),
        }
    }
}

/// A connection's secret.
pub(crate) fn secret(app: &App, name: &str, sealed: &[u8]) -> Result<String, Problem> {
    Ok(app.seal.open_text(&place(name), sealed)?)
}

/// Checks settings by their kind; answers what they lead to: a secret is kept only while that stays the same.
fn check(kind: &str, settings: &Value) -> Result<String, Problem> {
    let wrong = |error: serde_json::Error| Problem::bad_request(format!("`settings`: {error}"));
    match kind {
        oidc::KIND => {
            let settings: oidc::Settings = serde_json::from_value(settings.clone()).map_err(wrong)?;
            oidc::check(&settings)?;
            Ok(settings.issuer)
        }
        SMTP | WEBHOOK => {
            let channel = Channel::read(kind, settings).map_err(wrong)?;
            channel.check().map_err(Problem::bad_request)?;
            Ok(channel.leads_to())
        }
        _ => Err(Problem::bad_request("`kind` is oidc, smtp or webhook")),
    }
}

/// Sets up a connection, or changes it.
pub(crate) async fn put(app: &App, who: &str, wanted: &PutConnection) -> Result<SavedConnection, Problem> {
    let name = wanted.name.trim();
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > 40 || !name.bytes().all(word) {
        return Err(Problem::bad_request("`name` is 1 to 40 of a-z, 0-9 and `-`"));
    }
    let leads_to = check(&wanted.kind, &wanted.settings)?;
    let _making = app.making.lock().await;
    let all = app.store.connections().await?;
    let before = all.iter().find(|row| row.name == name);
    if before.is_some_and(|row| row.kind != wanted.kind) {
        return Err(Problem::conflict("exists", format!("`{name}` is a connection of another kind")));
    }
    if before.is_none() && all.len() >= MOST {
        return Err(Problem::conflict("too_many", "there are too many connections"));
    }
    let same = before.is_some_and(|row| check(&row.kind, &row.body).is_ok_and(|before| before == leads_to));
    let given = wanted.secret.as_deref().filter(|secret| !secret.is_empty());
    let (secret, made) = match given {
        Some(secret) if secret.len() > 4_096 => return Err(Problem::bad_request("`secret` is too long")),
        Some(secret) => (Some(seal(app, name, secret)?), None),
        None if same => (before.and_then(|row| row.secret.clone()), None),
        None if wanted.kind == WEBHOOK => {
            let made = fresh(app.config.entropy.as_ref())?;
            (Some(seal(app, name, &made)?), Some(made))
        }
        // A secret does not follow an address to another place.
        None => (None, None),
    };
    let now = app.now();
    let row = Row { name: name.to_owned(), kind: wanted.kind.clone(), body: wanted.settings.clone(), secret, at: now };
    let event = if before.is_some() { "connection_changed" } else { "connection_made" };
    let entry = NewEntry::new(now, who, event).about(place(name)).with(
        json!({ "kind": wanted.kind, "leads_to": leads_to, "secret_changed": given.is_some() || made.is_some() }),
    );
    let mut transition = Transition::new(entry).write(Write::PutConnection(row));
    if before.is_none() && wanted.kind != oidc::KIND {
        // It tells of what happens from now on.
        let value = json!(app.store.tree().await?.frontier.size());
        transition = transition.write(Write::PutSetting(Setting { key: notice::cursor(name), value, at: now }));
    }
    app.store.commit(transition).await?;
    app.providers.forget();
    app.bus.tell(Live::of("connections", name, event));
    Ok(SavedConnection { name: name.to_owned(), secret: made })
}

fn seal(app: &App, name: &str, secret: &str) -> Result<Vec<u8>, Problem> {
    Ok(app.seal.close(&place(name), secret.as_bytes(), app.config.entropy.as_ref())?)
}

/// Removes a connection. Notices that wait for it are given up.
pub(crate) async fn remove(app: &App, who: &str, name: &str) -> Result<(), Problem> {
    let missing = || Problem::not_found("connection", name);
    let row = app.store.connection(name).await?.ok_or_else(missing)?;
    let entry =
        NewEntry::new(app.now(), who, "connection_removed").about(place(name)).with(json!({ "kind": row.kind }));
    let write = Write::DropConnection(DropConnection { name: name.to_owned() });
    app.store.commit(Transition::new(entry).write(write)).await?;
    app.providers.forget();
    app.bus.nudge(Stage::Notify);
    app.bus.tell(Live::of("connections", name, "removed"));
    Ok(())
}

/// Tries a connection now: a notice that says it is a test; for a provider, its description and keys.
pub(crate) async fn test(app: &App, who: &str, name: &str) -> Result<Accepted, Problem> {
    let missing = || Problem::not_found("connection", name);
    let row = app.store.connection(name).await?.ok_or_else(missing)?;
    let entry = NewEntry::new(app.now(), who, "connection_tested").about(place(name));
    app.store.commit(Transition::new(entry)).await?;
    if row.kind == oidc::KIND {
        let settings: oidc::Settings = serde_json::from_value(row.body)
            .map_err(|error| Problem::internal("reading a provider's settings", &error))?;
        let issuer = stanch_connect::oidc::Address::parse(&settings.issuer)?;
        let metadata = stanch_connect::oidc::fetch_metadata(&issuer).await?;
        stanch_connect::oidc::fetch_keys(&metadata).await?;
        return Ok(Accepted { message: format!("{} answers with its description and its keys", settings.issuer) });
    }
    let id = format!("test-{}", fresh(app.config.entropy.as_ref())?);
    let message = Message::test(app, who, &id);
    match notice::deliver(app, &row, &message).await {
        Ok(()) => Ok(Accepted { message: format!("`{name}` took a test notice") }),
        Err(error) => Err(Problem::new(
            axum::http::StatusCode::BAD_GATEWAY,
            "not_sent",
            "The test notice was not taken",
            crate::error::chain(&error),
        )
        .hint("change the connection and try again")),
    }
}

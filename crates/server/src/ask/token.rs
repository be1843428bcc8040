//! Tokens for programs: shown once, never more powerful than who made them.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde_json::json;
use stanch_ledger::NewEntry;
use stanch_model::person::{PersonName, Power, Scope};
use stanch_store::session::{DropToken, NewToken, StoredToken};
use stanch_store::{Transition, Write};

use crate::api::Problem;
use crate::api::types::{CreateToken, CreatedToken, Token};
use crate::app::App;
use crate::auth::{API, Kept, Visitor, api_digest, fresh_api};
use crate::bus::Live;

/// Days a token lasts when nobody says.
const DEFAULT_DAYS: u32 = 90;
/// Days it lasts at most.
const MOST_DAYS: u32 = 366;
/// Tokens there can be.
const MOST: usize = 1_000;

fn kept(row: &StoredToken) -> Option<Kept> {
    serde_json::from_value(row.body.clone()).ok()
}

/// Twelve digits of its hash: enough to name it, and of no use to sign in with.
fn id(row: &StoredToken) -> String {
    row.hash.to_string().chars().take(12).collect()
}

/// The tokens a visitor answers for; all of them for an administrator.
pub(crate) async fn list(app: &App, visitor: &Visitor) -> Result<Vec<Token>, Problem> {
    let all = visitor.access.may_everywhere(Power::Admin);
    let people = app.store.people().await?;
    let mut tokens = Vec::new();
    for row in app.store.tokens(API).await? {
        let Some(kept) = kept(&row) else { continue };
        if !all && (kept.maker.is_none() || kept.maker != visitor.person) {
            continue;
        }
        let maker = people.iter().find(|person| Some(&person.id) == kept.maker.as_ref());
        tokens.push(Token {
            id: id(&row),
            name: kept.name,
            made_by: maker.map(|person| person.name.to_string()),
            scopes: kept.powers.iter().map(|power| power.name().to_owned()).collect(),
            environment: kept.environment,
            created_at: row.created_at,
            expires_at: row.expires_at,
            used_at: row.used_at,
        });
    }
    Ok(tokens)
}

/// Makes a token. It is shown in the answer and never again.
pub(crate) async fn create(app: &App, visitor: &Visitor, wanted: &CreateToken) -> Result<CreatedToken, Problem> {
    if visitor.is_token {
        return Err(Problem::forbidden("a token makes no other"));
    }
    // The same rules as for people: the name stands in the record.
    let name: PersonName =
        wanted.name.trim().parse().map_err(|_| Problem::bad_request("`name`: a-z, 0-9, `.`, `_`, `-`"))?;
    let mut powers = BTreeSet::from([Power::Read]);
    for text in &wanted.scopes {
        let power = Power::ALL.into_iter().find(|power| power.name() == text);
        powers
            .insert(power.ok_or_else(|| Problem::bad_request("`scopes` are some of: read, operate, approve, admin"))?);
    }
    if let Some(power) = powers.iter().find(|power| !visitor.access.may_somewhere(**power)) {
        return Err(Problem::forbidden(format!("you may not {} yourself", power.name())));
    }
    let environment = wanted.environment.as_deref().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
    if let Some(name) = &environment {
        let scope: Result<Scope, _> = format!("environment/{name}").parse();
        scope.map_err(|_| Problem::bad_request("`environment` is one word"))?;
    }
    let days = wanted.days.unwrap_or(DEFAULT_DAYS);
    if !(1..=MOST_DAYS).contains(&days) {
        return Err(Problem::bad_request("`days` is a number from 1 to 366"));
    }
    let _making = app.making.lock().await;
    let rows = app.store.tokens(API).await?;
    if rows.len() >= MOST {
        return Err(Problem::conflict("too_many", "there are too many tokens").hint("revoke some that are not used"));
    }
    if rows.iter().filter_map(kept).any(|kept| kept.name == name.as_str()) {
        return Err(Problem::conflict("exists", format!("there is a token `{name}`")).hint("choose another name"));
    }
    let now = app.now();
    let token = fresh_api(app.config.entropy.as_ref())?;
    let hash = api_digest(&token).ok_or_else(|| Problem::conflict("token", "the token could not be made"))?;
    let until = now.saturating_add(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(now);
    let kept = Kept { name: name.to_string(), maker: visitor.person.clone(), powers, environment };
    let body = serde_json::to_value(&kept).map_err(|error| Problem::internal("making a token", &error))?;
    let new = NewToken { hash, purpose: API.to_owned(), once: false, body, at: now, expires_at: Some(until) };
    let entry = NewEntry::new(now, &visitor.name, "token_made").about(format!("token:{name}")).with(json!({
        "scopes": kept.powers, "environment": kept.environment, "until": until,
    }));
    app.store.commit(Transition::new(entry).write(Write::NewToken(new))).await?;
    app.bus.tell(Live::of("people", "", "a token was made"));
    Ok(CreatedToken { name: name.to_string(), token, expires_at: until })
}

/// Takes a token away.
pub(crate) async fn revoke(app: &App, visitor: &Visitor, wanted: &str) -> Result<(), Problem> {
    let missing = || Problem::not_found("token", wanted);
    let mine = list(app, visitor).await?.into_iter().find(|token| token.id == wanted || token.name == wanted);
    let mine = mine.ok_or_else(missing)?;
    let row = app.store.tokens(API).await?.into_iter().find(|row| id(row) == mine.id).ok_or_else(missing)?;
    let entry = NewEntry::new(app.now(), &visitor.name, "token_revoked").about(format!("token:{}", mine.name));
    app.store.commit(Transition::new(entry).write(Write::DropToken(DropToken { hash: row.hash }))).await?;
    app.bus.tell(Live::of("people", "", "a token was revoked"));
    Ok(())
}

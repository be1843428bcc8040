//! Tokens with which hosts get in: shown once, and good for a stated number of hosts and hours.

use jiff::SignedDuration;
use serde_json::json;
use stanch_ledger::NewEntry;
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::enrol::EnrolmentToken;
use stanch_model::person::PersonName;
use stanch_store::enrolment::{DropEnrolment, NewEnrolment, StoredEnrolment};
use stanch_store::{CommitError, Transition, Write};

use super::labelled;
use crate::api::Problem;
use crate::api::types::{CreateEnrolment, CreatedEnrolment, Enrolment};
use crate::app::App;
use crate::bus::Live;
use crate::clock::thirty_two;
use crate::fleet::Becomes;

/// Hosts a token lets in when nobody says.
const DEFAULT_USES: u32 = 1;
/// Hosts it lets in at most.
const MOST_USES: u32 = 100_000;
/// Hours it works when nobody says.
const DEFAULT_HOURS: u32 = 24;
/// Hours it works at most.
const MOST_HOURS: u32 = 24 * 90;

/// All tokens, whether they still work or not.
pub(crate) async fn list(app: &App) -> Result<Vec<Enrolment>, Problem> {
    let now = app.now();
    let rows = app.store.enrolments().await?;
    Ok(rows.into_iter().filter_map(|row| wire(row, now)).collect())
}

fn wire(row: StoredEnrolment, now: jiff::Timestamp) -> Option<Enrolment> {
    let becomes: Becomes = serde_json::from_value(row.body).ok()?;
    Some(Enrolment {
        works: row.used < row.uses && now < row.expires_at,
        name: row.name,
        made_by: becomes.made_by,
        uses: row.uses,
        used: row.used,
        confirmed: becomes.confirmed,
        environment: becomes.environment,
        owner: becomes.owner,
        labels: becomes.labels,
        created_at: row.created_at,
        expires_at: row.expires_at,
    })
}

/// Makes a token. It is shown in the answer and never again.
pub(crate) async fn create(app: &App, who: &str, wanted: &CreateEnrolment) -> Result<CreatedEnrolment, Problem> {
    let (Some(authority), Some(door)) = (&app.authority, &app.config.executors) else {
        return Err(Problem::conflict("no_door", "this server lets no executors of other machines in")
            .hint("start it with --executors ADDRESS:PORT and --executors-name NAME"));
    };
    let name: PersonName =
        wanted.name.trim().parse().map_err(|_| Problem::bad_request("`name`: a-z, 0-9, `.`, `_`, `-`"))?;
    let uses = wanted.uses.unwrap_or(DEFAULT_USES);
    if !(1..=MOST_USES).contains(&uses) {
        return Err(Problem::bad_request(format!("`uses` is a number from 1 to {MOST_USES}")));
    }
    let hours = wanted.hours.unwrap_or(DEFAULT_HOURS);
    if !(1..=MOST_HOURS).contains(&hours) {
        return Err(Problem::bad_request(format!("`hours` is a number from 1 to {MOST_HOURS}")));
    }
    let host = labelled(Asset::unlabelled(AssetKind::Host, "", ""), &wanted.host)?;
    let becomes = Becomes {
        made_by: who.to_owned(),
        confirmed: wanted.confirmed,
        environment: host.environment,
        tier: host.tier,
        classification: host.classification,
        owner: host.owner,
        labels: host.labels,
    };
    let token = EnrolmentToken::new(authority.fingerprint(), app.keys.root(), thirty_two(app.config.entropy.as_ref())?);
    let now = app.now();
    let until = now.saturating_add(SignedDuration::from_hours(i64::from(hours))).unwrap_or(now);
    let body = serde_json::to_value(&becomes).map_err(|error| Problem::internal("making a token", &error))?;
    let new = NewEnrolment {
        name: name.to_string(),
        digest: token.secret().digest(),
        uses,
        body: body.clone(),
        at: now,
        expires_at: until,
    };
    let entry = NewEntry::new(now, who, "enrolment_made")
        .about(format!("enrolment/{name}"))
        .with(json!({ "uses": uses, "until": until, "host": body }));
    match app.store.commit(Transition::new(entry).write(Write::NewEnrolment(new))).await {
        Ok(_) => {}
        Err(CommitError::Exists { .. }) => {
            return Err(Problem::conflict("exists", format!("there is a token `{name}`")).hint("choose another name"));
        }
        Err(error) => return Err(error.into()),
    }
    app.bus.tell(Live::of("people", "", "an enrolment token was made"));
    let at = door.names.first().cloned().unwrap_or_else(|| door.listen.ip().to_string());
    let port = app.door().map_or(door.listen.port(), |bound| bound.port());
    let server = if at.contains(':') { format!("https://[{at}]:{port}") } else { format!("https://{at}:{port}") };
    Ok(CreatedEnrolment { name: name.to_string(), token: token.to_string(), server, uses, expires_at: until })
}

/// Takes a token away. Hosts that got in with it stay.
pub(crate) async fn revoke(app: &App, who: &str, wanted: &str) -> Result<(), Problem> {
    let known = app.store.enrolments().await?.into_iter().any(|row| row.name == wanted);
    if !known {
        return Err(Problem::not_found("enrolment token", wanted));
    }
    let entry = NewEntry::new(app.now(), who, "enrolment_revoked").about(format!("enrolment/{wanted}"));
    let write = Write::DropEnrolment(DropEnrolment { name: wanted.to_owned() });
    app.store.commit(Transition::new(entry).write(write)).await?;
    app.bus.tell(Live::of("people", "", "an enrolment token was taken away"));
    Ok(())
}

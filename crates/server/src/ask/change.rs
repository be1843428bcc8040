//! What is said of change requests: by people here, and by other systems with signed messages.

use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use stanch_connect::webhook;
use stanch_ledger::NewEntry;
use stanch_model::Digest;
use stanch_model::id::ChangeId;
use stanch_model::person::Access;
use stanch_model::terms::{ChangeClass, ChangeTerm};
use stanch_store::change::StoredChange;
use stanch_store::{Transition, Write};

use super::reason;
use crate::api::Problem;
use crate::api::types::{Accepted, ChangeRequest, ChangeWord as Word, CreateRemediation};
use crate::app::App;
use crate::auth::Visitor;
use crate::bus::{Live, Stage};
use crate::notice::channel::{Channel, WEBHOOK};
use crate::record::{Change, ChangeAsked, ChangeState};
use crate::tasks::put_change;
use crate::view;

/// The longest reference that is kept.
const REFERENCE: usize = 120;

/// What another system says: one thing at a time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    /// It has a change of its own for this one.
    Reference { change: ChangeId, reference: String },
    /// It may be done, exactly as this plan says.
    Approve { change: ChangeId, plan: Digest, by: String, reference: Option<String> },
    /// It may not be done.
    Reject { change: ChangeId, by: String, reason: Option<String> },
    /// It is looked at, and over.
    Close { change: ChangeId, by: String, reason: Option<String> },
    /// Something is to be done.
    Open { items: Vec<String>, class: ChangeClass, reference: String, by: String, reason: Option<String> },
}

/// What is said of a change request.
enum Turn {
    Reference,
    Approve(Digest),
    Reject,
    Close,
}

/// Takes a signed message of another system. Who does not know the secret learns nothing, not even what there is.
pub(crate) async fn heard(app: &App, name: &str, signature: Option<&str>, body: &[u8]) -> Result<Accepted, Problem> {
    let refused = || {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "signature",
            "Not believed",
            "the message is not signed by this connection",
        )
        .hint("sign `TIME.BODY` with the connection's secret: stanch-signature: t=TIME,v1=HMAC-SHA256")
    };
    let row = app.store.connection(name).await?.filter(|row| row.kind == WEBHOOK).ok_or_else(refused)?;
    let sealed = row.secret.as_deref().ok_or_else(refused)?;
    let secret = webhook::Secret::new(super::connection::secret(app, &row.name, sealed)?);
    let now = app.now();
    webhook::verify(&secret, signature.unwrap_or_default(), body, now).map_err(|error| match error {
        webhook::SignatureError::Stale => {
            Problem::new(StatusCode::UNAUTHORIZED, "stale", "Not believed", error.to_string()).hint("sign it anew")
        }
        _ => refused(),
    })?;
    let said: Said = serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("the message does not read: {error}")))?;
    let actor = |by: &str| format!("{name}: {}", reason(Some(by), "nobody").chars().take(60).collect::<String>());
    match said {
        Said::Open { items, class, reference, by, reason: why } => {
            let opens = matches!(Channel::read(&row.kind, &row.body), Ok(Channel::Webhook(hook)) if hook.opens);
            if !opens {
                return Err(Problem::forbidden("this connection may not ask for anything to be done")
                    .hint("set `opens` in its settings"));
            }
            let reference = short(&reference)?;
            let wanted = CreateRemediation {
                items,
                all: false,
                include_suppressed: false,
                reason: Some(reason(why.as_deref(), &format!("asked for by {reference}"))),
            };
            let asked = ChangeAsked {
                term: ChangeTerm { connection: name.to_owned(), class },
                reference: Some(reference.clone()),
            };
            // It asks for no more than a plan, which waits for its approvals here as any other.
            let (_, made) =
                super::create(app, &actor(&by), &Access::full(), wanted, Some(&reference), Some(asked)).await?;
            match made.remediation {
                Some(remediation) => Ok(Accepted { message: remediation.id }),
                None => {
                    let why = made.left_out.first().map_or("there is nothing to do", |left| left.reason.as_str());
                    Err(Problem::conflict("nothing_to_do", why.to_owned()))
                }
            }
        }
        Said::Reference { change, reference } => {
            let reference = short(&reference)?;
            turn(app, name, change, &actor("itself"), Turn::Reference, Some(reference), None, Some(name)).await
        }
        Said::Approve { change, plan, by, reference } => {
            let reference = reference.as_deref().map(short).transpose()?;
            turn(app, name, change, &actor(&by), Turn::Approve(plan), reference, None, Some(name)).await
        }
        Said::Reject { change, by, reason } => {
            turn(app, name, change, &actor(&by), Turn::Reject, None, reason, Some(name)).await
        }
        Said::Close { change, by, reason } => {
            turn(app, name, change, &actor(&by), Turn::Close, None, reason, Some(name)).await
        }
    }
}

fn short(text: &str) -> Result<String, Problem> {
    let text = text.trim();
    if text.is_empty() || text.len() > REFERENCE || text.chars().any(char::is_control) {
        return Err(Problem::bad_request(format!("`reference` is 1 to {REFERENCE} bytes on one line")));
    }
    Ok(text.to_owned())
}

/// Takes a person's word, in the place of the other system.
pub(crate) async fn change_word(
    app: &App,
    visitor: &Visitor,
    id: &str,
    verb: &str,
    word: Word,
) -> Result<ChangeRequest, Problem> {
    let missing = || Problem::not_found("change request", id);
    let change: ChangeId = id.parse().map_err(|_| missing())?;
    let what = match verb {
        "approve" => {
            let plan = word.plan.as_deref().and_then(|plan| plan.parse().ok());
            Turn::Approve(plan.ok_or_else(|| Problem::bad_request("`plan` is the hash of the plan that was read"))?)
        }
        "reject" => Turn::Reject,
        _ => Turn::Close,
    };
    turn(app, "", change, &visitor.name, what, None, word.reason, None).await?;
    view::change(app, id).await
}

#[allow(clippy::too_many_arguments, reason = "one thing said, with who, what and why")]
async fn turn(
    app: &App,
    connection: &str,
    id: ChangeId,
    by: &str,
    what: Turn,
    reference: Option<String>,
    why: Option<String>,
    only: Option<&str>,
) -> Result<Accepted, Problem> {
    let missing = || Problem::not_found("change request", id.as_str());
    let stored: StoredChange = app.store.change(&id).await?.ok_or_else(missing)?;
    // A system speaks of its own.
    if only.is_some_and(|only| only != stored.connection) {
        return Err(missing());
    }
    let mut change = Change::read(&stored.body).ok_or_else(missing)?;
    let wrong =
        |state: ChangeState| Problem::conflict("wrong_state", format!("the change request is {}", state.name()));
    let name = match what {
        Turn::Reference => "change_referenced",
        Turn::Approve(plan) => {
            if plan != change.plan {
                return Err(Problem::conflict("wrong_plan", "this is not the plan that the change request is about")
                    .hint("read the plan as it is now, and agree to that hash"));
            }
            match change.state {
                ChangeState::Open | ChangeState::Rejected => change.state = ChangeState::Approved,
                ChangeState::Approved => {}
                state => return Err(wrong(state)),
            }
            "change_approved"
        }
        Turn::Reject => {
            match change.state {
                ChangeState::Open | ChangeState::Approved => change.state = ChangeState::Rejected,
                ChangeState::Rejected => {}
                state => return Err(wrong(state)),
            }
            "change_rejected"
        }
        Turn::Close => {
            match change.state {
                ChangeState::Done | ChangeState::Rejected => change.state = ChangeState::Closed,
                ChangeState::Closed => {}
                state => return Err(wrong(state)),
            }
            "change_closed"
        }
    };
    if let Some(reference) = reference {
        change.reference = Some(reference);
    }
    if !matches!(what, Turn::Reference) {
        change.by = Some(by.to_owned());
        change.why = why.as_deref().map(|why| reason(Some(why), "")).filter(|why| !why.is_empty()).or(change.why);
    }
    let now: Timestamp = app.now();
    let entry = NewEntry::new(now, by, name)
        .about(&stored.id)
        .about(&stored.remediation)
        .with(json!({ "class": change.class, "reference": change.reference, "why": change.why, "system": connection }))
        .resting_on("plan", change.plan);
    app.store.commit(Transition::new(entry).write(Write::PutChange(put_change(&stored, &change, now)))).await?;
    app.bus.nudge(Stage::Rollout);
    app.bus.tell(Live::of("change", &stored.id, change.state.name()));
    Ok(Accepted { message: format!("{} is {}", stored.id, change.state.name()) })
}

//! Remediations to change requests: opens what their terms ask for, and tells how they ended.

use serde_json::json;
use stanch_engine::rollout::{ChangeWord, Rollout};
use stanch_ledger::NewEntry;
use stanch_model::canonical::{Digest, digest};
use stanch_model::id::{ChangeId, RemediationId};
use stanch_model::remediation::RemediationState as S;
use stanch_model::terms::{ChangeClass, ChangeTerm};
use stanch_store::change::{ChangeFilter, PutChange, StoredChange};
use stanch_store::remediation::{RemediationFilter, StoredRemediation};
use stanch_store::{Transition, Write};

use super::PassError;
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::record::{Change, ChangeState, Record};
use crate::view::PAGE;

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let filter = RemediationFilter { over: Some(false), ..RemediationFilter::default() };
    for row in app.store.all_remediations(&filter).await? {
        let record = Record::read(&row.body);
        let Some(rollout) = &record.rollout else { continue };
        for term in &rollout.terms.changes {
            open(app, &row, &record, rollout, term).await?;
        }
    }
    for stored in app.store.changes(&ChangeFilter { live: true, ..ChangeFilter::default() }, PAGE).await? {
        end(app, &stored).await?;
    }
    Ok(())
}

/// The change request of a remediation at a connection: the same whenever it is asked.
fn id(remediation: &RemediationId, connection: &str) -> ChangeId {
    // Texts always have a canonical form.
    let id = digest("stanch/change/v1", &(remediation, connection)).unwrap_or(Digest::from_bytes([0; 32]));
    ChangeId::from_digest(&id)
}

async fn open(
    app: &App,
    row: &StoredRemediation,
    record: &Record,
    rollout: &Rollout,
    term: &ChangeTerm,
) -> Result<(), PassError> {
    // Before it is shown to anybody there is nothing to agree to.
    if matches!(row.state, S::Decided | S::Planned) {
        return Ok(());
    }
    let id = id(&row.id, &term.connection);
    if app.store.change(&id).await?.is_some() {
        return Ok(());
    }
    let asked = record.change.as_ref().filter(|asked| asked.term.connection == term.connection);
    let change = Change {
        class: term.class,
        plan: rollout.plan,
        state: ChangeState::Open,
        reference: asked.and_then(|asked| asked.reference.clone()),
        by: None,
        why: None,
    };
    let now = app.now();
    let entry = NewEntry::new(now, "server", "change_opened").about(&id).about(&row.id).with(json!({
        "connection": term.connection, "class": term.class, "plan": rollout.plan, "reference": change.reference,
    }));
    let put = PutChange {
        id: id.clone(),
        remediation: row.id.clone(),
        connection: term.connection.clone(),
        generation: 0,
        over: false,
        body: change.write(),
        at: now,
    };
    app.store.commit(Transition::new(entry.resting_on("plan", rollout.plan)).write(Write::PutChange(put))).await?;
    app.bus.nudge(Stage::Rollout);
    app.bus.nudge(Stage::Notify);
    app.bus.tell(Live::of("change", &id, "opened"));
    Ok(())
}

/// Tells how what it is about has ended.
async fn end(app: &App, stored: &StoredChange) -> Result<(), PassError> {
    let Some(mut change) = Change::read(&stored.body) else { return Ok(()) };
    if !matches!(change.state, ChangeState::Open | ChangeState::Approved | ChangeState::Rejected) {
        return Ok(());
    }
    let Some(row) = app.store.remediation(&stored.remediation).await? else { return Ok(()) };
    let settled = row.state.is_over() || matches!(row.state, S::PartiallyRemediated | S::NeedsOperator);
    if !settled {
        return Ok(());
    }
    let begun = Record::read(&row.body).rollout.is_some_and(|rollout| rollout.tasks.iter().any(|task| task.sends > 0));
    change.state = match (begun, change.class) {
        (false, _) => ChangeState::Withdrawn,
        (true, ChangeClass::Standard) => ChangeState::Closed,
        (true, _) => ChangeState::Done,
    };
    change.why = Some(row.state.name().replace('_', " "));
    let now = app.now();
    let entry = NewEntry::new(now, "server", "change_ended").about(&stored.id).about(&row.id).with(json!({
        "connection": stored.connection, "class": change.class, "plan": change.plan, "reference": change.reference,
        "state": change.state, "outcome": row.state.name(),
    }));
    let put = put(stored, &change, now);
    app.store.commit(Transition::new(entry).write(Write::PutChange(put))).await?;
    app.bus.nudge(Stage::Notify);
    app.bus.tell(Live::of("change", &stored.id, change.state.name()));
    Ok(())
}

/// The next state of a change request.
pub(crate) fn put(stored: &StoredChange, change: &Change, at: jiff::Timestamp) -> PutChange {
    PutChange {
        id: stored.id.clone(),
        remediation: stored.remediation.clone(),
        connection: stored.connection.clone(),
        generation: stored.generation,
        over: matches!(change.state, ChangeState::Closed | ChangeState::Withdrawn),
        body: change.write(),
        at,
    }
}

/// What other systems say of a rollout's change requests.
pub(super) async fn words(
    app: &App,
    rollout: &Rollout,
) -> Result<std::collections::BTreeMap<String, ChangeWord>, PassError> {
    let mut words = std::collections::BTreeMap::new();
    if rollout.terms.changes.is_empty() {
        return Ok(words);
    }
    let filter = ChangeFilter { remediation: Some(rollout.remediation.clone()), live: false };
    for stored in app.store.changes(&filter, PAGE).await? {
        let Some(change) = Change::read(&stored.body).filter(|change| change.plan == rollout.plan) else { continue };
        let word = match change.state {
            ChangeState::Open => ChangeWord::Open,
            ChangeState::Rejected | ChangeState::Withdrawn => ChangeWord::Rejected,
            ChangeState::Approved | ChangeState::Done | ChangeState::Closed => ChangeWord::Approved,
        };
        words.insert(stored.connection, word);
    }
    Ok(words)
}

//! Ledger to notices, and notices to their receivers. What was read and what is to be sent are committed together;
//! what was sent is noted after the other side took it. A crash in between sends the same notice, of the same id, again.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stanch_store::connection::Connection;
use stanch_store::notice::{MoveNotice, Notice, NoticeState};
use stanch_store::setting::Setting;
use stanch_store::{Transition, Write};

use super::PassError;
use crate::app::App;
use crate::auth::oidc;
use crate::bus::Live;
use crate::error::chain;
use crate::notice::channel::Channel;
use crate::notice::{Message, cursor, deliver, id, message, tells};

/// Entries read at once.
const ENTRIES: u32 = 200;
/// Notices sent in one pass.
const BATCH: u32 = 50;
/// Waits between attempts, in minutes; after the last one a notice is given up, a good day after it was made.
const WAITS: &[i64] = &[1, 2, 5, 15, 30, 60, 120, 240, 480, 720];

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let connections: Vec<Connection> =
        app.store.connections().await?.into_iter().filter(|row| row.kind != oidc::KIND).collect();
    for connection in &connections {
        gather(app, connection).await?;
    }
    send(app, &connections).await
}

/// Makes the notices of what happened since the connection last looked.
async fn gather(app: &App, connection: &Connection) -> Result<(), PassError> {
    let Ok(channel) = Channel::read(&connection.kind, &connection.body) else { return Ok(()) };
    let key = cursor(&connection.name);
    let begin = app.store.setting(&key).await?.and_then(|value| value.as_u64()).unwrap_or(0);
    let entries = app.store.entries(begin, ENTRIES).await?;
    let Some(last) = entries.last() else { return Ok(()) };
    let now = app.now();
    let value = json!(last.index + 1);
    let mut transition = Transition::silent(Write::PutSetting(Setting { key, value, at: now }));
    for entry in &entries {
        let Some(event) = tells(&entry.entry.event, &entry.entry.payload) else { continue };
        let named = || entry.entry.payload.get("connection").and_then(Value::as_str) == Some(&connection.name);
        if !if event.is_for_one() { named() } else { channel.events().contains(&event) } {
            continue;
        }
        let message = message(app, event, entry, id(&connection.name, entry.index)).await?;
        transition = transition.write(Write::NewNotice(Notice {
            id: message.id.clone(),
            connection: connection.name.clone(),
            event: message.event.clone(),
            body: serde_json::to_value(&message).unwrap_or_default(),
            state: NoticeState::Waiting,
            attempts: 0,
            due: now,
            error: None,
            at: now,
        }));
    }
    app.store.commit(transition).await?;
    Ok(())
}

async fn send(app: &App, connections: &[Connection]) -> Result<(), PassError> {
    let mut silent: BTreeSet<String> = BTreeSet::new();
    for notice in app.store.notices_due(app.now(), BATCH).await? {
        if silent.contains(&notice.connection) {
            continue;
        }
        let step = match connections.iter().find(|row| row.name == notice.connection) {
            None => over(&notice, NoticeState::Failed, Some("the connection was removed".to_owned())),
            Some(row) => attempt(app, row, &notice).await,
        };
        // What is down is not asked again in the same pass.
        if step.state == NoticeState::Waiting {
            silent.insert(notice.connection.clone());
        }
        let what = format!("notices to {}", notice.connection);
        match &step.error {
            Some(error) => app.waits(&what, error.clone()),
            None => app.goes_on(&what),
        }
        app.store.put(Write::MoveNotice(step)).await?;
        app.bus.tell(Live::of("notices", &notice.id, "tried"));
    }
    Ok(())
}

async fn attempt(app: &App, row: &Connection, notice: &Notice) -> MoveNotice {
    let message: Message = match serde_json::from_value(notice.body.clone()) {
        Ok(message) => message,
        Err(error) => return over(notice, NoticeState::Failed, Some(error.to_string())),
    };
    match deliver(app, row, &message).await {
        Ok(()) => over(notice, NoticeState::Sent, None),
        Err(error) => {
            let why = Some(chain(&error).chars().take(500).collect());
            match due(notice, app.now()).filter(|_| !error.is_final()) {
                Some(due) => MoveNotice { due, ..over(notice, NoticeState::Waiting, why) },
                None => over(notice, NoticeState::Failed, why),
            }
        }
    }
}

fn over(notice: &Notice, state: NoticeState, error: Option<String>) -> MoveNotice {
    MoveNotice { id: notice.id.clone(), attempts: notice.attempts, state, due: notice.due, error }
}

/// When to try next; never again after the last wait.
fn due(notice: &Notice, now: Timestamp) -> Option<Timestamp> {
    let minutes = WAITS.get(usize::try_from(notice.attempts).ok()?)?;
    now.checked_add(SignedDuration::from_mins(*minutes)).ok()
}

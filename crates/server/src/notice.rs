//! Notices: what people elsewhere are told. They are made from the ledger, which holds every event exactly once; so
//! nothing that happens needs to remember to tell, and a crash forgets none.
//!
//! A notice holds no secret and no way to act: its link opens a page that asks to sign in and shows a form.

pub(crate) mod channel;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stanch_connect::smtp::{self, one_line};
use stanch_connect::webhook;
use stanch_ledger::Entry;
use stanch_model::When;
use stanch_model::canonical::digest_encoded;
use stanch_model::id::{AssetId, CaseId, ChangeId, RemediationId};
use stanch_model::playbook::Doing;
use stanch_store::connection::Connection;

use crate::api::Problem;
use crate::app::App;
use crate::record::{Case, Record};
use channel::Channel;

/// Names that are listed in a notice; the page has them all.
const LISTED: usize = 20;

/// What people can ask to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// A plan waits for a person's word.
    ApprovalNeeded,
    /// Something was done by itself, and its owner is asked about it.
    ConfirmationDue,
    /// Nobody has answered yet.
    ConfirmationReminder,
    /// Nobody answered; the next in line is asked.
    ConfirmationEscalated,
    /// A rollout stopped because something failed.
    Halted,
    /// Something needs a person to go on.
    NeedsOperator,
    /// Changes are stopped.
    HoldSet,
    /// Changes are allowed again.
    HoldReleased,
    /// A newer feed would turn many verdicts, and waits.
    FeedWaits,
    /// An executor is not trusted any more.
    ExecutorFrozen,
    /// A new version of Stanch's own did not prove itself on a host.
    PackageRestored,
    /// A new version of Stanch did not prove itself on a host, and the one before could not be brought back.
    PackageNotRestored,
    /// A task of a case waits for a person.
    TaskAsked,
    /// A step of a case, or a person's task, takes longer than it may.
    StepLate,
    /// A case ended, and not everything is done.
    CasePartly,
    /// A change request is opened; the connection that it is for is told, and no other.
    ChangeOpened,
    /// What a change request is about has ended; told to the same.
    ChangeEnded,
    /// A host has missed so many windows in a row that its policy has people told.
    WindowMissed,
}

impl Event {
    pub(crate) const ALL: [Self; 18] = [
        Self::ApprovalNeeded,
        Self::ConfirmationDue,
        Self::ConfirmationReminder,
        Self::ConfirmationEscalated,
        Self::Halted,
        Self::NeedsOperator,
        Self::HoldSet,
        Self::HoldReleased,
        Self::FeedWaits,
        Self::ExecutorFrozen,
        Self::PackageRestored,
        Self::PackageNotRestored,
        Self::TaskAsked,
        Self::StepLate,
        Self::CasePartly,
        Self::ChangeOpened,
        Self::ChangeEnded,
        Self::WindowMissed,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ApprovalNeeded => "approval_needed",
            Self::ConfirmationDue => "confirmation_due",
            Self::ConfirmationReminder => "confirmation_reminder",
            Self::ConfirmationEscalated => "confirmation_escalated",
            Self::Halted => "halted",
            Self::NeedsOperator => "needs_operator",
            Self::HoldSet => "hold_set",
            Self::HoldReleased => "hold_released",
            Self::FeedWaits => "feed_waits",
            Self::ExecutorFrozen => "executor_frozen",
            Self::PackageRestored => "package_restored",
            Self::PackageNotRestored => "package_not_restored",
            Self::TaskAsked => "task_asked",
            Self::StepLate => "step_late",
            Self::CasePartly => "case_partly",
            Self::ChangeOpened => "change_opened",
            Self::ChangeEnded => "change_ended",
            Self::WindowMissed => "window_missed",
        }
    }

    /// Whether it is for the connection that it names, whatever others ask for.
    pub(crate) const fn is_for_one(self) -> bool {
        matches!(self, Self::ChangeOpened | Self::ChangeEnded)
    }

    /// What it is, for people.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::ApprovalNeeded => "A plan waits for approval",
            Self::ConfirmationDue => "Please confirm what was done by itself",
            Self::ConfirmationReminder => "Still to confirm: what was done by itself",
            Self::ConfirmationEscalated => "Nobody confirmed what was done by itself",
            Self::Halted => "A rollout was halted",
            Self::NeedsOperator => "A remediation needs an operator",
            Self::HoldSet => "Changes are on hold",
            Self::HoldReleased => "The hold was released",
            Self::FeedWaits => "A newer feed waits for a decision",
            Self::ExecutorFrozen => "An executor was frozen",
            Self::PackageRestored => {
                "A new version of Stanch did not prove itself, and the one before was brought back"
            }
            Self::PackageNotRestored => {
                "A new version of Stanch did not prove itself, and the one before could not be brought back"
            }
            Self::TaskAsked => "A task waits for a person",
            Self::StepLate => "A step takes longer than it may",
            Self::CasePartly => "A case ended, and not everything is done",
            Self::ChangeOpened => "A change request",
            Self::ChangeEnded => "A change request has ended",
            Self::WindowMissed => "A host misses its windows",
        }
    }
}

/// What an entry of the ledger is to be told as, if at all.
pub(crate) fn tells(event: &str, payload: &Value) -> Option<Event> {
    match event {
        "hold_set" => return Some(Event::HoldSet),
        "hold_released" => return Some(Event::HoldReleased),
        "feed_waits" => return Some(Event::FeedWaits),
        "executor_frozen" => return Some(Event::ExecutorFrozen),
        "package_restored" => return Some(Event::PackageRestored),
        "package_not_restored" => return Some(Event::PackageNotRestored),
        "case_task_asked" => return Some(Event::TaskAsked),
        "case_step_late" => return Some(Event::StepLate),
        "case_partly" => return Some(Event::CasePartly),
        "change_opened" => return Some(Event::ChangeOpened),
        "window_missed_often" => return Some(Event::WindowMissed),
        "window_missed" => return None,
        "change_ended" => return Some(Event::ChangeEnded),
        "confirmation_due" => return Some(Event::ConfirmationDue),
        "confirmation_reminder" => return Some(Event::ConfirmationReminder),
        "confirmation_escalated" => return Some(Event::ConfirmationEscalated),
        _ => {}
    }
    // A step may pass through several states; where it ends counts, and a halt on the way is told too.
    let way = payload.get("way").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let states: BTreeSet<&str> = way.chain(payload.get("to").and_then(Value::as_str)).collect();
    let told = [
        ("needs_operator", Event::NeedsOperator),
        ("rollback_failed", Event::NeedsOperator),
        ("halted", Event::Halted),
        ("awaiting_confirmation", Event::ConfirmationDue),
        ("awaiting_approval", Event::ApprovalNeeded),
    ];
    told.into_iter().find(|(state, _)| states.contains(state)).map(|(_, event)| event)
}

/// The setting that says how far a connection has read the ledger.
pub(crate) fn cursor(connection: &str) -> String {
    format!("notices/{connection}")
}

/// The id of what one entry is to one connection: the same however often it is made or sent.
pub(crate) fn id(connection: &str, index: u64) -> String {
    let digest = digest_encoded("stanch/notice/v1", format!("{connection}/{index}").as_bytes()).to_string();
    format!("notice-{}", digest.chars().take(32).collect::<String>())
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// Its id.
    pub(crate) id: String,
    /// What it tells of: an event's name, or `test`.
    pub(crate) event: String,
    /// On one line.
    pub(crate) subject: String,
    /// More, a line each.
    pub(crate) lines: Vec<String>,
    /// The page to look at.
    pub(crate) link: String,
    /// The remediation, where there is one.
    pub(crate) remediation: Option<String>,
    /// The change request, where it is about one: what the other system needs to answer.
    #[serde(default)]
    pub(crate) change: Option<Value>,
    /// The assets it is about.
    pub(crate) assets: Vec<String>,
    /// When it happened.
    pub(crate) at: Timestamp,
}

impl Message {
    /// A notice that says it is a test.
    pub(crate) fn test(app: &App, who: &str, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            event: "test".to_owned(),
            subject: "Test notice".to_owned(),
            lines: vec![format!("{who} asked for it. Nothing has happened.")],
            link: app.public_url(),
            remediation: None,
            change: None,
            assets: Vec::new(),
            at: app.now(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{}.\n", self.subject);
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(&format!("\nLook at it (you will be asked to sign in):\n{}\n", self.link));
        text.push_str(&format!("\n{} · {}\n", When(self.at), self.id));
        text
    }

    /// As a CloudEvent 1.0 in JSON.
    fn cloud_event(&self, app: &App) -> Value {
        json!({
            "specversion": "1.0",
            "id": self.id,
            "source": app.public_url(),
            "type": format!("stanch.{}", self.event),
            "time": self.at,
            "subject": self.remediation,
            "datacontenttype": "application/json",
            "data": {
                "summary": self.subject,
                "lines": self.lines,
                "link": self.link,
                "remediation": self.remediation,
                "change": self.change,
                "assets": self.assets,
            },
        })
    }
}

/// What an entry is told as.
pub(crate) async fn message(
    app: &App,
    event: Event,
    entry: &Entry,
    id: String,
) -> Result<Message, stanch_store::ReadError> {
    let said = |key: &str| entry.entry.payload.get(key).and_then(Value::as_str).map(|text| one_line(text, 300));
    let mut message = Message {
        id,
        event: event.name().to_owned(),
        subject: event.words().to_owned(),
        lines: vec![format!("By {}.", one_line(&entry.entry.actor, 100))],
        link: app.public_url(),
        remediation: None,
        change: None,
        assets: Vec::new(),
        at: entry.entry.at,
    };
    for key in ["reason", "why", "feed"] {
        message.lines.extend(said(key).map(|text| format!("{}: {text}", capital(key))));
    }
    let remediation = entry.entry.subjects.iter().find_map(|subject| subject.parse::<RemediationId>().ok());
    let case = entry.entry.subjects.iter().find_map(|subject| subject.parse::<CaseId>().ok());
    if let (Some(case), None) = (case, &remediation) {
        return about_case(app, message, &case, &entry.entry.payload).await;
    }
    let change = entry.entry.subjects.iter().find_map(|subject| subject.parse::<ChangeId>().ok());
    message.change = change.map(|id| {
        let mut told = entry.entry.payload.clone();
        if let Some(told) = told.as_object_mut() {
            told.insert("id".to_owned(), json!(id));
        }
        told
    });
    if event == Event::FeedWaits {
        message.link = format!("{}/feeds", app.public_url());
    }
    let Some(remediation) = remediation else { return Ok(message) };
    message.link = format!("{}/remediations/{remediation}", app.public_url());
    message.remediation = Some(remediation.to_string());
    let Some(row) = app.store.remediation(&remediation).await? else { return Ok(message) };
    let record = Record::read(&row.body);
    let first = record.names.first().map(|name| one_line(name, 60)).unwrap_or_default();
    let more = record.names.len().saturating_sub(1);
    let others = if more > 0 { format!(" and {more} more") } else { String::new() };
    message.subject = format!("{}: {first}{others}", event.words());
    message.lines.push(format!("What: {}", list(&record.names)));
    message.lines.push(format!("Why: {}", one_line(&record.reason, 300)));
    let mut names = Vec::new();
    for asset in &row.assets {
        message.assets.push(asset.to_string());
        if names.len() < LISTED {
            names.extend(app.store.asset(asset).await?.map(|stored| stored.asset.name));
        }
    }
    message.lines.push(format!("Where: {}", list(&names)));
    message.lines.extend(row.waiting.map(|on| format!("Waits on: {}", one_line(&on, 300))));
    Ok(message)
}

/// What is told of a case: what it is about, what a person is to do, and where to look.
async fn about_case(
    app: &App,
    mut message: Message,
    id: &CaseId,
    payload: &Value,
) -> Result<Message, stanch_store::ReadError> {
    message.link = format!("{}/cases/{id}", app.public_url());
    let Some(record) = app.store.case(id).await?.and_then(|stored| Case::read(&stored.body)) else {
        return Ok(message);
    };
    message.subject = format!("{}: {}", message.subject, one_line(&record.title, 80));
    let run = payload.get("run").and_then(Value::as_u64).and_then(|run| usize::try_from(run).ok());
    let rung = run.and_then(|run| record.case.rung(record.case.runs.get(run)?));
    match rung.map(|rung| &rung.doing) {
        Some(Doing::Human(task)) => {
            let whom = if task.owner == "owner" { "whoever owns the asset" } else { task.owner.as_str() };
            message.lines.push(format!("Task: {}, for {}", one_line(&task.title, 120), one_line(whom, 60)));
            message.lines.push(format!("What to do: {}", one_line(&task.instructions, 500)));
        }
        Some(Doing::Act(act)) => message.lines.push(format!("Step: {}", one_line(&act.action, 120))),
        None => {}
    }
    message.lines.push(format!("Playbook: {}", one_line(&record.playbook, 80)));
    message.lines.push(format!("Why: {}", one_line(&record.reason, 300)));
    let mut names = Vec::new();
    let assets: BTreeSet<&AssetId> = record.case.members.iter().map(|member| &member.asset).collect();
    for asset in assets {
        message.assets.push(asset.to_string());
        if names.len() < LISTED {
            names.extend(app.store.asset(asset).await?.map(|stored| stored.asset.name));
        }
    }
    message.lines.push(format!("Where: {}", list(&names)));
    Ok(message)
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn list(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| one_line(name, 80)).collect();
    let more = names.len().saturating_sub(LISTED);
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

/// Why a notice was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError {
    /// The mail server.
    #[error("the letter was not taken")]
    Smtp(#[from] smtp::SmtpError),
    /// The webhook.
    #[error("the webhook did not take it")]
    Webhook(#[from] webhook::WebhookError),
    /// The settings do not read any more.
    #[error("the connection's settings do not read")]
    Settings(#[source] serde_json::Error),
    /// The secret cannot be used.
    #[error("the connection's secret cannot be used: {}", .0.detail)]
    Secret(Box<Problem>),
    /// Who is meant cannot be read.
    #[error("who is to be told cannot be read")]
    Read(#[from] stanch_store::ReadError),
}

impl DeliveryError {
    /// Whether trying again is of no use before a person changes something.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Smtp(error) => error.is_final(),
            Self::Webhook(error) => error.is_final(),
            Self::Settings(_) | Self::Secret(_) => true,
            Self::Read(_) => false,
        }
    }
}

/// Hands a message over.
pub(crate) async fn deliver(app: &App, row: &Connection, message: &Message) -> Result<(), DeliveryError> {
    let channel = Channel::read(&row.kind, &row.body).map_err(DeliveryError::Settings)?;
    let secret = match &row.secret {
        Some(sealed) => {
            let open = crate::ask::connection::secret(app, &row.name, sealed);
            Some(open.map_err(|problem| DeliveryError::Secret(Box::new(problem)))?)
        }
        None => None,
    };
    match channel {
        Channel::Smtp(mail) => {
            let to = mail.receivers(app, message).await?;
            let letter = smtp::Letter {
                id: message.id.clone(),
                subject: format!("[Stanch] {}", message.subject),
                text: message.text(),
                at: message.at,
            };
            Ok(smtp::send(&mail.server, secret.as_deref(), &to, &letter).await?)
        }
        Channel::Webhook(hook) => {
            let secret = webhook::Secret::new(secret.unwrap_or_default());
            let body = message.cloud_event(app).to_string().into_bytes();
            Ok(webhook::send(&hook.target, &secret, &message.id, body, app.now()).await?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_told_by_where_they_lead() {
        let moved = |to: &str, way: &[&str]| tells("remediation_x", &json!({ "to": to, "way": way }));
        assert_eq!(moved("halted", &[]), Some(Event::Halted));
        assert_eq!(moved("rolling_back", &["halted", "rolling_back"]), Some(Event::Halted));
        assert_eq!(moved("needs_operator", &["halted", "needs_operator"]), Some(Event::NeedsOperator));
        assert_eq!(
            moved("awaiting_confirmation", &["verified", "awaiting_confirmation"]),
            Some(Event::ConfirmationDue)
        );
        assert_eq!(moved("closed", &["verified", "closed"]), None);
        assert_eq!(moved("awaiting_approval", &["awaiting_approval"]), Some(Event::ApprovalNeeded));
        assert_eq!(tells("remediation_planned", &json!({})), None, "what follows it is told");
        assert_eq!(tells("facts_taken", &json!({ "to": 5 })), None);
        for event in Event::ALL {
            let written = serde_json::to_value(event).unwrap();
            assert_eq!(written, event.name());
        }
    }

    #[test]
    fn a_notice_is_one_notice_for_each_connection() {
        assert_eq!(id("mail", 7), id("mail", 7));
        assert_ne!(id("mail", 7), id("mail", 8));
        assert_ne!(id("mail", 7), id("hook", 7));
    }
}

//! Ways to send notices, as they were set up.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stanch_connect::{smtp, webhook};
use stanch_model::terms::Role;
use stanch_store::person::PersonState;

use super::{Event, Message};
use crate::app::App;

/// What mail servers are called among the connections.
pub(crate) const SMTP: &str = "smtp";
/// What webhooks are called.
pub(crate) const WEBHOOK: &str = "webhook";
/// Addresses that are named at most.
const NAMED: usize = 100;

/// A way to send notices.
#[derive(Debug, Clone)]
pub(crate) enum Channel {
    Smtp(Mail),
    Webhook(Hook),
}

/// Letters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mail {
    /// The mail server.
    pub(crate) server: smtp::Settings,
    /// Addresses that get every letter.
    #[serde(default)]
    pub(crate) to: Vec<String>,
    /// People who get one when they hold such a role for what it is about.
    #[serde(default)]
    pub(crate) roles: BTreeSet<Role>,
    /// What is told.
    pub(crate) events: BTreeSet<Event>,
}

/// Signed messages to an address.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hook {
    /// Where they go.
    pub(crate) target: webhook::Settings,
    /// What is told.
    pub(crate) events: BTreeSet<Event>,
    /// It may ask for something to be done, which then waits for its approvals.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) opens: bool,
}

impl Channel {
    /// The channel of a connection's settings.
    pub(crate) fn read(kind: &str, settings: &Value) -> Result<Self, serde_json::Error> {
        if kind == SMTP {
            serde_json::from_value(settings.clone()).map(Self::Smtp)
        } else {
            serde_json::from_value(settings.clone()).map(Self::Webhook)
        }
    }

    /// What is told.
    pub(crate) const fn events(&self) -> &BTreeSet<Event> {
        match self {
            Self::Smtp(mail) => &mail.events,
            Self::Webhook(hook) => &hook.events,
        }
    }

    /// Where its secret goes to.
    pub(crate) fn leads_to(&self) -> String {
        match self {
            Self::Smtp(mail) => format!(
                "{}:{} ({:?}) as {}",
                mail.server.host,
                mail.server.port,
                mail.server.security,
                mail.server.user.as_deref().unwrap_or("nobody")
            ),
            // Only the host: the path may be a secret of the receiver.
            Self::Webhook(hook) => match hook.target.check() {
                Ok(url) => format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default()),
                Err(_) => String::new(),
            },
        }
    }

    /// Checks what can be checked without the other side.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.events().is_empty() {
            return Err("`events` names nothing: nothing would be told".to_owned());
        }
        match self {
            Self::Smtp(mail) => {
                mail.server.check().map_err(|error| error.to_string())?;
                if mail.to.is_empty() && mail.roles.is_empty() {
                    return Err("`to` and `roles` name nobody: nobody would be told".to_owned());
                }
                if mail.to.len() > NAMED {
                    return Err("`to` names more than 100 addresses: use a list at the mail server".to_owned());
                }
                mail.to.iter().try_for_each(|one| smtp::check_address(one).map_err(|error| error.to_string()))
            }
            Self::Webhook(hook) => hook.target.check().map(drop).map_err(|error| error.to_string()),
        }
    }
}

impl Mail {
    /// Who gets a letter: the addresses that get all, and the people whose roles cover what it is about.
    pub(crate) async fn receivers(&self, app: &App, message: &Message) -> Result<Vec<String>, stanch_store::ReadError> {
        let mut to: BTreeSet<String> = self.to.iter().map(|one| one.trim().to_owned()).collect();
        if self.roles.is_empty() {
            return Ok(to.into_iter().collect());
        }
        let mut assets = Vec::new();
        for id in &message.assets {
            let Ok(id) = id.parse() else { continue };
            assets.extend(app.store.asset(&id).await?.map(|stored| stored.asset));
        }
        for person in app.store.people().await? {
            let Some(email) = person.email.filter(|_| person.state == PersonState::Enabled) else { continue };
            let access = app.store.access(&person.id).await?;
            let meant = access.held().any(|held| {
                let everywhere = held.scope == stanch_model::person::Scope::Everything;
                self.roles.contains(&held.role) && (everywhere || assets.iter().any(|asset| held.scope.covers(asset)))
            });
            if meant {
                to.insert(email);
            }
        }
        Ok(to.into_iter().collect())
    }
}

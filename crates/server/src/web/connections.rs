//! Connections to the outside, and the notices that go through them.

use std::collections::BTreeMap;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::{get, post};
use serde_json::{Value, json};
use stanch_model::terms::Role;

use super::act::{Done, Fields, field, fields, to};
use super::{Once, Page, Shell, page, show};
use crate::api::Problem;
use crate::api::types::{Connection, Notice, PutConnection};
use crate::app::App;
use crate::auth::{Visitor, oidc};
use crate::notice::Event;
use crate::{ask, view};

#[derive(Template)]
#[template(path = "connections.html")]
struct Connections {
    shell: Shell,
    connections: Vec<Shown>,
    notices: Vec<Notice>,
    events: Vec<(&'static str, &'static str)>,
    roles: Vec<&'static str>,
    callback: String,
}

/// A connection in words.
struct Shown {
    row: Connection,
    leads_to: String,
    tells: String,
}

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/connections", get(show_page).post(put))
        .route("/connections/{name}/remove", post(remove))
        .route("/connections/{name}/test", post(test))
}

fn shown(row: Connection) -> Shown {
    let text = |pointer: &str| row.settings.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |pointer: &str| -> Vec<String> {
        let all = row.settings.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).map(show::words).collect()
    };
    let leads_to = match row.kind.as_str() {
        oidc::KIND => text("/issuer"),
        "smtp" => {
            let port = row.settings.pointer("/server/port").and_then(Value::as_u64).unwrap_or_default();
            format!("{}:{port} ({})", text("/server/host"), text("/server/security"))
        }
        _ => text("/target/url"),
    };
    let tells = if row.kind == oidc::KIND {
        let teams = row.settings.get("teams").and_then(Value::as_object).into_iter().flatten();
        let pairs = teams.map(|(group, team)| format!("{group} is {}", team.as_str().unwrap_or_default()));
        pairs.collect::<Vec<_>>().join(", ")
    } else {
        list("/events").join(", ")
    };
    Shown { leads_to, tells, row }
}

async fn show_page(State(app): State<App>, visitor: Visitor) -> Page {
    page(&Connections {
        // Not live: half a form would be lost.
        shell: Shell::new(&app, &visitor, "People", "Connections and notices").await?,
        connections: view::connections(&app).await?.into_iter().map(shown).collect(),
        notices: view::notices(&app).await?,
        events: Event::ALL.into_iter().map(|event| (event.name(), event.words())).collect(),
        roles: Role::ALL.into_iter().map(Role::name).collect(),
        callback: format!("{}{}", app.public_url(), oidc::CALLBACK),
    })
}

/// The words of a field that lists some, parted by spaces, commas or lines.
fn words(form: &[(String, String)], name: &str) -> Vec<String> {
    let text = field(form, name);
    text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The settings that a form describes.
fn settings(kind: &str, form: &[(String, String)]) -> Result<Value, Problem> {
    let some = |name| Some(field(form, name)).filter(|text| !text.is_empty());
    match kind {
        oidc::KIND => {
            let mut teams = BTreeMap::new();
            for line in field(form, "teams").lines().map(str::trim).filter(|line| !line.is_empty()) {
                let (group, team) = line.rsplit_once('=').ok_or_else(|| {
                    Problem::bad_request(format!("`{}`: expected GROUP = TEAM on each line", show::cut(line, 60)))
                })?;
                teams.insert(group.trim().to_owned(), team.trim().to_owned());
            }
            let mut settings = json!({
                "issuer": field(form, "issuer"), "client_id": field(form, "client_id"), "teams": teams,
            });
            if let (Some(claim), Some(map)) = (some("groups_claim"), settings.as_object_mut()) {
                map.insert("groups_claim".to_owned(), json!(claim));
            }
            if let (scopes @ [_, ..], Some(map)) = (words(form, "scopes").as_slice(), settings.as_object_mut()) {
                map.insert("scopes".to_owned(), json!(scopes));
            }
            Ok(settings)
        }
        "smtp" => {
            let port: u16 = field(form, "port").parse().map_err(|_| Problem::bad_request("the port is a number"))?;
            let mut server = json!({
                "host": field(form, "host"), "port": port, "security": field(form, "security"),
                "from": field(form, "from"),
            });
            for name in ["user", "authority"] {
                if let (Some(text), Some(map)) = (some(name), server.as_object_mut()) {
                    map.insert(name.to_owned(), json!(text));
                }
            }
            let (to, roles, events) = (words(form, "to"), fields(form, "role"), fields(form, "event"));
            Ok(json!({ "server": server, "to": to, "roles": roles, "events": events }))
        }
        "webhook" => {
            let target = json!({ "url": field(form, "url"), "allow": words(form, "allow") });
            Ok(json!({ "target": target, "events": fields(form, "event") }))
        }
        _ => Err(Problem::bad_request("this form makes no kind of connection")),
    }
}

async fn put(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Page {
    let kind = field(&form, "kind");
    let wanted = PutConnection {
        name: field(&form, "name"),
        settings: settings(&kind, &form)?,
        kind,
        secret: form.iter().find(|(name, _)| name == "secret").map(|(_, value)| value.clone()),
    };
    let saved = ask::connection::put(&app, &visitor.name, &wanted).await?;
    let Some(secret) = saved.secret else { return Ok(Redirect::to("/connections").into_response()) };
    page(&Once {
        shell: Shell::new(&app, &visitor, "People", format!("The secret of {}", saved.name)).await?,
        text: "The receiver checks with it that a message is ours and fresh.".to_owned(),
        value: secret,
        back: "/connections".to_owned(),
    })
}

async fn remove(State(app): State<App>, visitor: Visitor, Path(name): Path<String>) -> Done {
    ask::connection::remove(&app, &visitor.name, &name).await?;
    to("/connections")
}

#[derive(Template)]
#[template(path = "said.html")]
struct Said {
    shell: Shell,
    text: String,
    back: String,
}

async fn test(State(app): State<App>, visitor: Visitor, Path(name): Path<String>) -> Page {
    let said = ask::connection::test(&app, &visitor.name, &name).await?;
    page(&Said {
        shell: Shell::new(&app, &visitor, "People", format!("Test of {name}")).await?,
        text: said.message,
        back: "/connections".to_owned(),
    })
}

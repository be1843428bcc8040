//! One's own account: roles, password, tokens.

use askama::Template;
use axum::Router;
use axum::extract::{Form, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use stanch_model::person::Power;

use super::act::{Fields, field, fields, to};
use super::{Once, Page, PageError, Shell, page, show};
use crate::api::Problem;
use crate::api::types::{CreateToken, Token};
use crate::app::App;
use crate::ask;
use crate::auth::{self, Visitor};

#[derive(Template)]
#[template(path = "account.html")]
struct Account {
    shell: Shell,
    name: String,
    roles: Vec<(String, String)>,
    /// Whether there is an account whose password can be changed; not on the machine itself.
    is_person: bool,
    has_password: bool,
    issuer: Option<String>,
    tokens: Vec<Token>,
    scopes: Vec<&'static str>,
}

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/account", get(show_page))
        .route("/account/password", post(password))
        .route("/account/tokens", post(make_token))
        .route("/account/tokens/revoke", post(revoke_token))
}

async fn show_page(State(app): State<App>, visitor: Visitor) -> Page {
    let person = match &visitor.person {
        Some(id) => app.store.person(id).await.map_err(Problem::from)?,
        None => None,
    };
    let may = |power: &Power| *power != Power::Read && visitor.access.may_somewhere(*power);
    page(&Account {
        shell: Shell::new(&app, &visitor, "Account", "Your account").await?,
        name: visitor.name.clone(),
        roles: visitor.access.held().map(|held| (held.role.name().to_owned(), held.scope.to_string())).collect(),
        is_person: person.is_some(),
        has_password: person.as_ref().is_some_and(|person| person.has_password),
        issuer: person.and_then(|person| person.subject).map(|subject| subject.issuer),
        tokens: ask::token::list(&app, &visitor).await?,
        scopes: Power::ALL.iter().filter(|power| may(power)).map(|power| power.name()).collect(),
    })
}

async fn password(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Result<Response, PageError> {
    let given = |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let (old, new) = (given("old").unwrap_or_default(), given("password").unwrap_or_default());
    if Some(&new) != given("again").as_ref() {
        return Err(Problem::bad_request("the two new passwords differ").hint("go back and type both again").into());
    }
    let session = auth::change_password(&app, ask::people::own(&visitor)?, old, new).await?;
    Ok((session.cookie, Redirect::to("/account")).into_response())
}

async fn make_token(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Page {
    let wanted = CreateToken {
        name: field(&form, "name"),
        scopes: fields(&form, "scope"),
        environment: Some(field(&form, "environment")).filter(|text| !text.is_empty()),
        days: field(&form, "days").parse().ok(),
    };
    let made = ask::token::create(&app, &visitor, &wanted).await?;
    page(&Once {
        shell: Shell::new(&app, &visitor, "Account", "A new token").await?,
        text: format!("Token `{}`, until {}. Programs send it as `Authorization: Bearer`.", made.name, made.expires_at),
        value: made.token,
        back: "/account".to_owned(),
    })
}

async fn revoke_token(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Page {
    ask::token::revoke(&app, &visitor, &field(&form, "id")).await?;
    to("/account")
}

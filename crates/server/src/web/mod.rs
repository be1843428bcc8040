//! Pages, a file a page with its template beside it. Rendered on the server, whole without script; they read through
//! `view` and act through `ask`, as the API does.

mod account;
mod act;
mod calendar;
mod campaign;
mod case;
mod chart;
mod connections;
mod cve;
mod enrolment;
mod feeds;
mod host;
mod hosts;
mod item;
mod items;
mod ledger;
mod overview;
mod people;
mod policies;
mod remediation;
mod remediations;
mod report;
mod search;
mod show;
mod sign_in;
mod statics;

use askama::Template;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use stanch_model::person::Power;

use crate::api::Problem;
use crate::api::types::Hold;
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

pub(crate) fn router() -> Router<App> {
    Router::new()
        .merge(overview::routes())
        .merge(search::routes())
        .merge(hosts::routes())
        .merge(host::routes())
        .merge(cve::routes())
        .merge(enrolment::routes())
        .merge(items::routes())
        .merge(item::routes())
        .merge(remediations::routes())
        .merge(remediation::routes())
        .merge(report::routes())
        .merge(ledger::routes())
        .merge(policies::routes())
        .merge(calendar::routes())
        .merge(campaign::routes())
        .merge(case::routes())
        .merge(feeds::routes())
        .merge(people::routes())
        .merge(connections::routes())
        .merge(account::routes())
        .merge(sign_in::routes())
        .merge(act::routes())
        .merge(statics::routes())
}

/// What stands around every page.
struct Shell {
    title: String,
    /// The name of the page in the bar.
    page: &'static str,
    csrf: String,
    /// Who looks at it.
    name: String,
    /// Whether they see what belongs to no asset.
    sees_everything: bool,
    /// Whether they may stop everything.
    may_hold: bool,
    /// Whether they manage people and connections.
    may_admin: bool,
    holds: Vec<Hold>,
    version: &'static str,
    /// Where changes are told; empty for a page that does not change.
    live: String,
    kinds: &'static str,
}

/// One page in the bar.
struct Link {
    name: &'static str,
    path: &'static str,
    key: &'static str,
}

impl Shell {
    async fn new(
        app: &App,
        visitor: &Visitor,
        page: &'static str,
        title: impl Into<String>,
    ) -> Result<Self, PageError> {
        Ok(Self {
            title: title.into(),
            page,
            csrf: visitor.csrf.clone().unwrap_or_default(),
            name: visitor.name.clone(),
            sees_everything: visitor.sight.is_everything(),
            may_hold: visitor.access.may_everywhere(Power::Operate),
            may_admin: visitor.access.may_everywhere(Power::Admin),
            holds: view::whole_holds(app).await?,
            version: env!("CARGO_PKG_VERSION"),
            live: String::new(),
            kinds: "",
        })
    }

    /// The page is fetched again when something of these kinds changes.
    fn live(mut self, source: impl Into<String>, kinds: &'static str) -> Self {
        self.live = source.into();
        self.kinds = kinds;
        self
    }

    /// The pages that this visitor may open.
    fn pages(&self) -> Vec<Link> {
        let link = |name, path, key| Link { name, path, key };
        let mut pages = vec![
            link("Overview", "/", "o"),
            link("Hosts", "/hosts", "h"),
            link("Items", "/items", "i"),
            link("Cases", "/cases", "s"),
            link("Remediations", "/remediations", "r"),
            link("Policies", "/policies", "y"),
            link("Calendar", "/calendar", "d"),
            link("Report", "/report", "t"),
        ];
        if self.sees_everything {
            pages.push(link("Ledger", "/ledger", "l"));
        }
        pages.push(link("Feeds", "/feeds", "f"));
        if self.may_admin {
            pages.push(link("People", "/people", "p"));
        }
        pages
    }
}

/// Something that is shown once: a token, an invitation, a secret.
#[derive(Template)]
#[template(path = "once.html")]
struct Once {
    shell: Shell,
    text: String,
    value: String,
    back: String,
}

/// A page that could not be made.
pub(crate) struct PageError(Problem);

impl From<Problem> for PageError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl axum::response::IntoResponse for PageError {
    fn into_response(self) -> Response {
        if self.0.status == StatusCode::UNAUTHORIZED.as_u16() {
            return axum::response::Redirect::to("/sign-in").into_response();
        }
        problem_page(&self.0)
    }
}

type Page = Result<Response, PageError>;

fn page(template: &impl Template) -> Page {
    let html = template.render().map_err(|error| Problem::internal("rendering a page", &error))?;
    Ok(Html(html).into_response())
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    problem: &'a Problem,
}

/// A problem as a page.
pub(crate) fn problem_page(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match (ProblemPage { problem }).render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(_) => problem.clone().into_response(),
    }
}

/// What is answered where nothing is.
pub(crate) async fn nothing_here(uri: axum::http::Uri) -> Response {
    let problem = Problem::not_found("page", uri.path());
    if uri.path().starts_with("/api/") { problem.into_response() } else { problem_page(&problem) }
}

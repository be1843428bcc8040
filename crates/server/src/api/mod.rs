//! The HTTP API, a file a noun. Handlers read through `view` and act through `ask`; they call no engine code, and so
//! can do nothing that the reconcilers do not see.

mod asset;
mod campaign;
mod case;
mod change;
mod connection;
mod cve;
mod enrolment;
mod event;
mod executor;
mod feed;
mod finding;
mod hold;
mod item;
mod ledger;
mod people;
mod policy;
mod problem;
mod remediation;
mod report;
mod retention;
mod session;
mod status;
mod token;
pub mod types;

pub(crate) use asset::{AssetFilter, EdgeFilter, HistoryFilter};
pub(crate) use cve::CveFilter;
pub(crate) use finding::FindingFilter;
pub(crate) use item::ItemFilter;
pub(crate) use ledger::LedgerFilter;
pub use problem::Problem;
pub(crate) use problem::{Body, Filter, MaybeBody, Segment};
pub(crate) use remediation::RemediationFilter;
pub(crate) use report::ReportFilter;
pub use session::{CreateLink, Me, SignInLink};

use axum::Json;
use axum::Router;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;

/// Where the API begins.
pub const PREFIX: &str = "/api/v1";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Stanch",
        description = "Closes security problems by itself, safely. Requests come with a session cookie, with a \
                       token (`Authorization: Bearer stn_...`), or over the control socket on the same machine. With a cookie, whatever acts must carry `x-csrf-token`. \
                       Errors are `application/problem+json` with a `code` that stays and a `hint` for a person."
    ),
    security(("session" = []), ("token" = []))
)]
struct Description;

fn operations() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Description::openapi())
        .merge(status::routes())
        .merge(asset::routes())
        .merge(executor::routes())
        .merge(enrolment::routes())
        .merge(finding::routes())
        .merge(cve::routes())
        .merge(item::routes())
        .merge(remediation::routes())
        .merge(campaign::routes())
        .merge(case::routes())
        .merge(change::routes())
        .merge(report::routes())
        .merge(policy::routes())
        .merge(hold::routes())
        .merge(feed::routes())
        .merge(ledger::routes())
        .merge(retention::routes())
        .merge(event::routes())
        .merge(session::routes())
        .merge(people::routes())
        .merge(token::routes())
        .merge(connection::routes())
}

/// The description of every operation, made from the code.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (_, mut description) = OpenApiRouter::<App>::new().nest(PREFIX, operations()).split_for_parts();
    let root = Description::openapi();
    description.info = root.info;
    description.security = root.security;
    let scheme = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(crate::auth::COOKIE)));
    description.components.get_or_insert_with(Default::default).add_security_scheme("session", scheme);
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    description.components.get_or_insert_with(Default::default).add_security_scheme("token", token);
    description
}

pub(crate) fn router() -> Router<App> {
    let (router, _) = OpenApiRouter::<App>::new().nest(PREFIX, operations()).split_for_parts();
    router.route("/api/v1/openapi.json", get(async || Json(openapi())))
}

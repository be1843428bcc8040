//! People, teams and the roles they hold. For administrators.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::types::{
    ChangeGrant, ChangeMember, CreatePerson, CreateTeam, Invitation, Person, SetEmail, SetPersonState, Team,
};
use super::{Body, Problem, Segment};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(people, create))
        .routes(routes!(state))
        .routes(routes!(email))
        .routes(routes!(invitation))
        .routes(routes!(teams, create_team))
        .routes(routes!(remove_team))
        .routes(routes!(members))
        .routes(routes!(give))
        .routes(routes!(revoke))
}

/// Everybody who may or might sign in.
#[utoipa::path(get, path = "/people", tag = "people", operation_id = "people",
    responses((status = 200, body = Vec<Person>)))]
async fn people(State(app): State<App>) -> Result<Json<Vec<Person>>, Problem> {
    view::people(&app).await.map(Json)
}

/// Make an account. It can be used once its person has set a password by an invitation.
#[utoipa::path(post, path = "/people", tag = "people", operation_id = "create_person", request_body = CreatePerson,
    responses((status = 201, body = Vec<Person>), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn create(
    State(app): State<App>,
    visitor: Visitor,
    Body(wanted): Body<CreatePerson>,
) -> Result<(StatusCode, Json<Vec<Person>>), Problem> {
    ask::people::create(&app, &visitor.name, &wanted).await?;
    Ok((StatusCode::CREATED, Json(view::people(&app).await?)))
}

/// Enable, disable or remove an account. The last administrator stays.
#[utoipa::path(post, path = "/people/{name}/state", tag = "people", operation_id = "set_person_state",
    params(("name" = String, Path)), request_body = SetPersonState,
    responses((status = 200, body = Vec<Person>), (status = 404, body = Problem),
        (status = 409, body = Problem, description = "`last_administrator`")))]
async fn state(
    State(app): State<App>,
    visitor: Visitor,
    Segment(name): Segment<String>,
    Body(wanted): Body<SetPersonState>,
) -> Result<Json<Vec<Person>>, Problem> {
    ask::people::set_state(&app, &visitor.name, &name, wanted.state).await?;
    view::people(&app).await.map(Json)
}

/// Change where notices go.
#[utoipa::path(post, path = "/people/{name}/email", tag = "people", operation_id = "set_email",
    params(("name" = String, Path)), request_body = SetEmail,
    responses((status = 200, body = Vec<Person>), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn email(
    State(app): State<App>,
    visitor: Visitor,
    Segment(name): Segment<String>,
    Body(wanted): Body<SetEmail>,
) -> Result<Json<Vec<Person>>, Problem> {
    ask::people::set_email(&app, &visitor.name, &name, wanted.email.as_deref()).await?;
    view::people(&app).await.map(Json)
}

/// Make a link with which somebody sets a password, once.
#[utoipa::path(post, path = "/people/{name}/invitation", tag = "people", operation_id = "invite",
    params(("name" = String, Path)),
    responses((status = 201, body = Invitation), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn invitation(
    State(app): State<App>,
    visitor: Visitor,
    Segment(name): Segment<String>,
) -> Result<(StatusCode, Json<Invitation>), Problem> {
    let invitation = ask::people::invite(&app, &visitor.name, &name).await?;
    Ok((StatusCode::CREATED, Json(invitation)))
}

/// The teams with their members and roles.
#[utoipa::path(get, path = "/teams", tag = "people", operation_id = "teams",
    responses((status = 200, body = Vec<Team>)))]
async fn teams(State(app): State<App>) -> Result<Json<Vec<Team>>, Problem> {
    view::teams(&app).await.map(Json)
}

/// Make a team.
#[utoipa::path(post, path = "/teams", tag = "people", operation_id = "create_team", request_body = CreateTeam,
    responses((status = 201, body = Vec<Team>), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn create_team(
    State(app): State<App>,
    visitor: Visitor,
    Body(wanted): Body<CreateTeam>,
) -> Result<(StatusCode, Json<Vec<Team>>), Problem> {
    ask::people::create_team(&app, &visitor.name, &wanted).await?;
    Ok((StatusCode::CREATED, Json(view::teams(&app).await?)))
}

/// End a team, with the roles it holds and those over its assets.
#[utoipa::path(post, path = "/teams/{name}/remove", tag = "people", operation_id = "remove_team",
    params(("name" = String, Path)),
    responses((status = 200, body = Vec<Team>), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove_team(
    State(app): State<App>,
    visitor: Visitor,
    Segment(name): Segment<String>,
) -> Result<Json<Vec<Team>>, Problem> {
    ask::people::remove_team(&app, &visitor.name, &name).await?;
    view::teams(&app).await.map(Json)
}

/// Put somebody in a team, or take them out.
#[utoipa::path(post, path = "/teams/{name}/members", tag = "people", operation_id = "set_member",
    params(("name" = String, Path)), request_body = ChangeMember,
    responses((status = 200, body = Vec<Team>), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn members(
    State(app): State<App>,
    visitor: Visitor,
    Segment(name): Segment<String>,
    Body(wanted): Body<ChangeMember>,
) -> Result<Json<Vec<Team>>, Problem> {
    ask::people::set_member(&app, &visitor.name, &name, &wanted).await?;
    view::teams(&app).await.map(Json)
}

/// Give a role to a person or to a team.
#[utoipa::path(post, path = "/grants", tag = "people", operation_id = "give_role", request_body = ChangeGrant,
    responses((status = 204), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn give(
    State(app): State<App>,
    visitor: Visitor,
    Body(wanted): Body<ChangeGrant>,
) -> Result<StatusCode, Problem> {
    ask::people::set_grant(&app, &visitor.name, &wanted, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a role away. The last administrator stays.
#[utoipa::path(post, path = "/grants/revoke", tag = "people", operation_id = "take_role", request_body = ChangeGrant,
    responses((status = 204), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem, description = "`last_administrator`")))]
async fn revoke(
    State(app): State<App>,
    visitor: Visitor,
    Body(wanted): Body<ChangeGrant>,
) -> Result<StatusCode, Problem> {
    ask::people::set_grant(&app, &visitor.name, &wanted, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! People, teams, connections and notices, as administrators see them.

use stanch_model::person::Holder;
use stanch_store::fleet::FleetFilter;
use stanch_store::grant::Grant;
use stanch_store::notice::NoticeState;
use stanch_store::person::PersonState;
use stanch_store::team::MemberSource;

use super::name;
use crate::api::Problem;
use crate::api::types::{Connection, HeldRole, Notice, Person, PersonStateName, Team, TeamMember};
use crate::app::App;

/// Notices that are shown.
const NOTICES: u32 = 100;

fn held(grants: &[Grant], holder: &Holder) -> Vec<HeldRole> {
    let mine = grants.iter().filter(|grant| grant.holder == *holder);
    mine.map(|grant| HeldRole {
        role: grant.role.name().to_owned(),
        scope: grant.scope.to_string(),
        given_by: grant.actor.clone(),
        given_at: grant.at,
    })
    .collect()
}

/// Everybody, by name.
pub(crate) async fn people(app: &App) -> Result<Vec<Person>, Problem> {
    let (grants, members) = (app.store.grants().await?, app.store.members().await?);
    let wire = |person: stanch_store::person::Person| {
        let mine = members.iter().filter(|member| member.person == person.id);
        let mut teams: Vec<String> = mine.map(|member| member.team.to_string()).collect();
        teams.dedup();
        Person {
            roles: held(&grants, &Holder::Person(person.id.clone())),
            id: person.id.to_string(),
            name: person.name.to_string(),
            email: person.email,
            state: match person.state {
                PersonState::Enabled => PersonStateName::Enabled,
                PersonState::Disabled => PersonStateName::Disabled,
                PersonState::Removed => PersonStateName::Removed,
            },
            issuer: person.subject.map(|subject| subject.issuer),
            has_password: person.has_password,
            teams,
            created_at: person.created_at,
        }
    };
    Ok(app.store.people().await?.into_iter().map(wire).collect())
}

/// One person.
pub(crate) async fn person(app: &App, wanted: &str) -> Result<Person, Problem> {
    let all = people(app).await?;
    all.into_iter().find(|one| one.name == wanted).ok_or_else(|| Problem::not_found("person", wanted))
}

/// The teams, by name.
pub(crate) async fn teams(app: &App) -> Result<Vec<Team>, Problem> {
    let (grants, members) = (app.store.grants().await?, app.store.members().await?);
    let people = app.store.people().await?;
    let mut teams = Vec::new();
    for team in app.store.teams().await? {
        let mut in_it: Vec<TeamMember> = Vec::new();
        for member in members.iter().filter(|member| member.team == team.name) {
            let Some(person) = people.iter().find(|person| person.id == member.person) else { continue };
            let by_provider = member.source == MemberSource::Provider;
            match in_it.iter_mut().find(|known| known.person == person.name.as_str()) {
                Some(known) => known.by_provider &= by_provider,
                None => in_it.push(TeamMember { person: person.name.to_string(), by_provider }),
            }
        }
        let owned = FleetFilter { owner: Some(team.name.to_string()), ..FleetFilter::default() };
        teams.push(Team {
            roles: held(&grants, &Holder::Team(team.name.clone())),
            assets: app.store.count_fleet(&owned).await?,
            name: team.name.to_string(),
            about: team.about,
            members: in_it,
            created_at: team.created_at,
        });
    }
    Ok(teams)
}

/// One team.
pub(crate) async fn team(app: &App, wanted: &str) -> Result<Team, Problem> {
    let all = teams(app).await?;
    all.into_iter().find(|one| one.name == wanted).ok_or_else(|| Problem::not_found("team", wanted))
}

/// The connections, by name, without their secrets.
pub(crate) async fn connections(app: &App) -> Result<Vec<Connection>, Problem> {
    let wire = |row: stanch_store::connection::Connection| Connection {
        name: row.name,
        kind: row.kind,
        settings: row.body,
        has_secret: row.secret.is_some(),
        changed_at: row.at,
    };
    Ok(app.store.connections().await?.into_iter().map(wire).collect())
}

/// The newest notices.
pub(crate) async fn notices(app: &App) -> Result<Vec<Notice>, Problem> {
    let wire = |row: stanch_store::notice::Notice| Notice {
        subject: row.body.get("subject").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned(),
        state: name(&row.state),
        due: Some(row.due).filter(|_| row.state == NoticeState::Waiting),
        id: row.id,
        connection: row.connection,
        event: row.event,
        attempts: row.attempts,
        error: row.error,
        at: row.at,
    };
    Ok(app.store.notices(NOTICES).await?.into_iter().map(wire).collect())
}

/// The providers that people can sign in with.
pub(crate) async fn providers(app: &App) -> Result<Vec<String>, Problem> {
    let all = app.store.connections().await?;
    Ok(all.into_iter().filter(|row| row.kind == crate::auth::oidc::KIND).map(|row| row.name).collect())
}

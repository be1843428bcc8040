//! People and teams: who may sign in, who is in which team, who holds which role where.

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::routing::{get, post};
use stanch_model::terms::Role;

use super::act::{Done, Fields, field, to};
use super::{Once, Page, Shell, page, show};
use crate::api::types::{ChangeGrant, ChangeMember, CreatePerson, CreateTeam, HeldRole, Person, PersonStateName, Team};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

#[derive(Template)]
#[template(path = "people.html")]
struct People {
    shell: Shell,
    people: Vec<Person>,
    removed: usize,
    teams: Vec<Team>,
}

#[derive(Template)]
#[template(path = "person.html")]
struct PersonPage {
    shell: Shell,
    person: Person,
    /// Roles through teams, with the team.
    through: Vec<(String, HeldRole)>,
    teams: Vec<Team>,
    roles: Vec<&'static str>,
}

#[derive(Template)]
#[template(path = "team.html")]
struct TeamPage {
    shell: Shell,
    team: Team,
    others: Vec<String>,
    teams: Vec<Team>,
    roles: Vec<&'static str>,
}

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/people", get(show_people).post(create))
        .route("/people/{name}", get(show_person))
        .route("/people/{name}/state", post(state))
        .route("/people/{name}/email", post(email))
        .route("/people/{name}/invitation", post(invite))
        .route("/teams", post(create_team))
        .route("/teams/{name}", get(show_team))
        .route("/teams/{name}/remove", post(remove_team))
        .route("/teams/{name}/members", post(member))
        .route("/grants", post(give))
        .route("/grants/revoke", post(revoke))
}

fn roles() -> Vec<&'static str> {
    Role::ALL.into_iter().map(Role::name).collect()
}

fn is_gone(person: &Person) -> bool {
    person.state == PersonStateName::Removed
}

async fn show_people(State(app): State<App>, visitor: Visitor) -> Page {
    let (removed, people): (Vec<Person>, Vec<Person>) = view::people(&app).await?.into_iter().partition(is_gone);
    page(&People {
        shell: Shell::new(&app, &visitor, "People", "People and teams").await?,
        people,
        removed: removed.len(),
        teams: view::teams(&app).await?,
    })
}

async fn show_person(State(app): State<App>, visitor: Visitor, Path(name): Path<String>) -> Page {
    let person = view::person(&app, &name).await?;
    let teams = view::teams(&app).await?;
    let mine = teams.iter().filter(|team| person.teams.contains(&team.name));
    let through = mine.flat_map(|team| team.roles.iter().map(|role| (team.name.clone(), role.clone()))).collect();
    let shell = Shell::new(&app, &visitor, "People", person.name.clone()).await?;
    page(&PersonPage { shell, person, through, teams, roles: roles() })
}

async fn show_team(State(app): State<App>, visitor: Visitor, Path(name): Path<String>) -> Page {
    let team = view::team(&app, &name).await?;
    let people = view::people(&app).await?.into_iter().filter(|person| !is_gone(person));
    let here = |name: &String| team.members.iter().any(|member| member.person == *name && !member.by_provider);
    let others = people.map(|person| person.name).filter(|name| !here(name)).collect();
    let shell = Shell::new(&app, &visitor, "People", format!("Team {}", team.name)).await?;
    page(&TeamPage { shell, others, team, teams: view::teams(&app).await?, roles: roles() })
}

async fn create(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Done {
    let wanted = CreatePerson { name: field(&form, "name"), email: Some(field(&form, "email")) };
    let person = ask::people::create(&app, &visitor.name, &wanted).await?;
    to(&format!("/people/{}", show::segment(person.name.as_str())))
}

async fn state(State(app): State<App>, visitor: Visitor, Path(name): Path<String>, Form(form): Fields) -> Done {
    let wanted = match field(&form, "state").as_str() {
        "enabled" => PersonStateName::Enabled,
        "removed" => PersonStateName::Removed,
        _ => PersonStateName::Disabled,
    };
    ask::people::set_state(&app, &visitor.name, &name, wanted).await?;
    to(&if wanted == PersonStateName::Removed { "/people".to_owned() } else { person_page(&name) })
}

fn person_page(name: &str) -> String {
    format!("/people/{}", show::segment(name))
}

async fn email(State(app): State<App>, visitor: Visitor, Path(name): Path<String>, Form(form): Fields) -> Done {
    ask::people::set_email(&app, &visitor.name, &name, Some(&field(&form, "email"))).await?;
    to(&person_page(&name))
}

async fn invite(State(app): State<App>, visitor: Visitor, Path(name): Path<String>) -> Page {
    let invitation = ask::people::invite(&app, &visitor.name, &name).await?;
    page(&Once {
        shell: Shell::new(&app, &visitor, "People", format!("Invitation for {name}")).await?,
        text: format!(
            "With this link {name} chooses a password, once, until {}. Whoever has it can sign in as {name}: hand it \
             over in private.",
            show::when(&invitation.until)
        ),
        value: invitation.url,
        back: person_page(&name),
    })
}

async fn create_team(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Done {
    let wanted = CreateTeam { name: field(&form, "name"), about: Some(field(&form, "about")) };
    ask::people::create_team(&app, &visitor.name, &wanted).await?;
    to(&format!("/teams/{}", show::segment(&wanted.name)))
}

async fn remove_team(State(app): State<App>, visitor: Visitor, Path(name): Path<String>) -> Done {
    ask::people::remove_team(&app, &visitor.name, &name).await?;
    to("/people")
}

async fn member(State(app): State<App>, visitor: Visitor, Path(name): Path<String>, Form(form): Fields) -> Done {
    let wanted = ChangeMember { person: field(&form, "person"), member: field(&form, "member") == "true" };
    ask::people::set_member(&app, &visitor.name, &name, &wanted).await?;
    to(&back(&form))
}

async fn give(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Done {
    ask::people::set_grant(&app, &visitor.name, &grant(&form), true).await?;
    to(&back(&form))
}

async fn revoke(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Done {
    ask::people::set_grant(&app, &visitor.name, &grant(&form), false).await?;
    to(&back(&form))
}

fn grant(form: &[(String, String)]) -> ChangeGrant {
    let some = |name| Some(field(form, name)).filter(|text| !text.is_empty());
    ChangeGrant { person: some("person"), team: some("team"), role: field(form, "role"), scope: field(form, "scope") }
}

/// The page that the form stood on, of ours only.
fn back(form: &[(String, String)]) -> String {
    let back = field(form, "back");
    let ours = ["/people/", "/teams/"].iter().any(|start| back.starts_with(start));
    if ours && back.bytes().all(|byte| byte.is_ascii_graphic()) { back } else { "/people".to_owned() }
}

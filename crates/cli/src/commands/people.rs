//! `people` and `token`: who may sign in, what they may do where, and what programs may.

use serde::de::IgnoredAny;
use stanch_model::When;
use stanch_server::api::types::{
    ChangeGrant, ChangeMember, CreatePerson, CreateTeam, CreateToken, CreatedToken, Invitation, Person,
    PersonStateName, SetPersonState, Team, Token,
};

use crate::args::{Grant, People, Tokens};
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, plain};

pub(crate) async fn run(api: &Api, output: &Output, wanted: People) -> Result<Exit, Failure> {
    match wanted {
        People::List => {}
        People::Add { name, email } => {
            let _: Vec<Person> = api.post("/people", &CreatePerson { name: name.clone(), email }).await?;
            return invite(api, output, &name).await;
        }
        People::Invite { name } => return invite(api, output, &name).await,
        People::Enable { name } => state(api, &name, PersonStateName::Enabled).await?,
        People::Disable { name } => state(api, &name, PersonStateName::Disabled).await?,
        People::Remove { name } => state(api, &name, PersonStateName::Removed).await?,
        People::Grant(grant) => api.done("/grants", &change(grant)).await?,
        People::Revoke(grant) => api.done("/grants/revoke", &change(grant)).await?,
        People::Teams => return teams(output, api.get("/teams").await?),
        People::AddTeam { name, about } => {
            return teams(output, api.post("/teams", &CreateTeam { name, about }).await?);
        }
        People::RemoveTeam { name } => {
            let path = format!("/teams/{}/remove", segment(&name));
            return teams(output, api.post(&path, &serde_json::json!({})).await?);
        }
        People::Join { team, name } => return member(api, output, &team, name, true).await,
        People::Leave { team, name } => return member(api, output, &team, name, false).await,
    }
    list(output, api.get("/people").await?)
}

/// A name as one part of a path.
pub(super) fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn change(grant: Grant) -> ChangeGrant {
    ChangeGrant { person: grant.person, team: grant.team, role: grant.role, scope: grant.scope }
}

async fn invite(api: &Api, output: &Output, name: &str) -> Result<Exit, Failure> {
    let path = format!("/people/{}/invitation", segment(name));
    let invitation: Invitation = api.post(&path, &serde_json::json!({})).await?;
    if output.json {
        output.object(&invitation)?;
        return Ok(Exit::Done);
    }
    output.line(&invitation.url)?;
    output.say(&format!(
        "Hand this link to {} in private: it sets a password, once, until {}.",
        plain(name),
        When(invitation.until)
    ));
    Ok(Exit::Done)
}

async fn state(api: &Api, name: &str, state: PersonStateName) -> Result<(), Failure> {
    let path = format!("/people/{}/state", segment(name));
    let _: IgnoredAny = api.post(&path, &SetPersonState { state }).await?;
    Ok(())
}

async fn member(api: &Api, output: &Output, team: &str, person: String, member: bool) -> Result<Exit, Failure> {
    let path = format!("/teams/{}/members", segment(team));
    teams(output, api.post(&path, &ChangeMember { person, member }).await?)
}

fn list(output: &Output, people: Vec<Person>) -> Result<Exit, Failure> {
    if output.json {
        for person in &people {
            output.object(person)?;
        }
        return Ok(Exit::Done);
    }
    let mut table = output.table(&["NAME", "STATE", "SIGNS IN WITH", "TEAMS", "OWN ROLES"]);
    for person in &people {
        let state = match person.state {
            PersonStateName::Enabled => output.paint(Tone::Good, "enabled"),
            PersonStateName::Disabled => output.paint(Tone::Warn, "disabled"),
            PersonStateName::Removed => output.paint(Tone::Dim, "removed"),
        };
        let with = match (&person.issuer, person.has_password) {
            (Some(issuer), _) => plain(issuer),
            (None, true) => "password".to_owned(),
            (None, false) => "link only".to_owned(),
        };
        let roles: Vec<String> =
            person.roles.iter().map(|held| format!("{} ({})", held.role, plain(&held.scope))).collect();
        table.add_row([person.name.clone(), state, with, person.teams.join(", "), roles.join(", ")]);
    }
    output.line(&table.to_string())?;
    Ok(Exit::Done)
}

fn teams(output: &Output, teams: Vec<Team>) -> Result<Exit, Failure> {
    if output.json {
        for team in &teams {
            output.object(team)?;
        }
        return Ok(Exit::Done);
    }
    let mut table = output.table(&["TEAM", "MEMBERS", "ROLES", "ASSETS"]);
    for team in &teams {
        let members: Vec<&str> = team.members.iter().map(|member| member.person.as_str()).collect();
        let roles: Vec<String> =
            team.roles.iter().map(|held| format!("{} ({})", held.role, plain(&held.scope))).collect();
        table.add_row([team.name.clone(), members.join(", "), roles.join(", "), team.assets.to_string()]);
    }
    output.line(&table.to_string())?;
    Ok(Exit::Done)
}

pub(crate) async fn tokens(api: &Api, output: &Output, wanted: Tokens) -> Result<Exit, Failure> {
    let tokens: Vec<Token> = match wanted {
        Tokens::List => api.get("/tokens").await?,
        Tokens::Revoke { token } => {
            api.post(&format!("/tokens/{}/revoke", segment(&token)), &serde_json::json!({})).await?
        }
        Tokens::Create { name, scope, environment, days } => {
            let wanted = CreateToken { name, scopes: scope, environment, days: Some(days) };
            let made: CreatedToken = api.post("/tokens", &wanted).await?;
            if output.json {
                output.object(&made)?;
            } else {
                output.line(&made.token)?;
                output.say(&format!(
                    "Shown this once. It ends {}. Programs send it as: Authorization: Bearer TOKEN",
                    made.expires_at.strftime("%Y-%m-%d")
                ));
            }
            return Ok(Exit::Done);
        }
    };
    if output.json {
        for token in &tokens {
            output.object(token)?;
        }
        return Ok(Exit::Done);
    }
    let mut table = output.table(&["ID", "NAME", "MADE BY", "MAY", "ENDS", "LAST USED"]);
    for token in &tokens {
        let day = |at: Option<jiff::Timestamp>| {
            at.map_or_else(|| "never".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
        };
        let only = token.environment.as_ref().map(|name| format!(" in {}", plain(name))).unwrap_or_default();
        table.add_row([
            token.id.clone(),
            token.name.clone(),
            token.made_by.clone().unwrap_or_else(|| "this machine's operator".to_owned()),
            format!("{}{only}", token.scopes.join(", ")),
            day(token.expires_at),
            day(token.used_at),
        ]);
    }
    output.line(&table.to_string())?;
    Ok(Exit::Done)
}

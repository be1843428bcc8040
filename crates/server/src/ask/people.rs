//! What people ask about people: accounts, teams, roles, sessions. Every change is in the ledger with who made it.

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use stanch_connect::oidc::Claims;
use stanch_connect::smtp;
use stanch_ledger::NewEntry;
use stanch_model::Digest;
use stanch_model::id::ActorId;
use stanch_model::person::{Holder, PersonName, Scope, TeamName};
use stanch_model::terms::Role;
use stanch_store::grant::{Grant, Revoke};
use stanch_store::person::{ChangePerson, NewPerson, Person, PersonChange, PersonState, Subject};
use stanch_store::session::{EndSession, NewSession, NewToken};
use stanch_store::team::{Member, MemberSource, NewTeam, RemoveTeam};
use stanch_store::{CommitError, Transition, Write};

use super::reason;
use crate::api::Problem;
use crate::api::types::{ChangeGrant, ChangeMember, CreatePerson, CreateTeam, Invitation, PersonStateName};
use crate::app::App;
use crate::auth::{Visitor, fresh, invitation_digest};
use crate::bus::Live;
use crate::clock::ten;

/// What invitations are called in the store.
pub(crate) const INVITATION: &str = "invitation";
/// How long an invitation can be used.
const INVITED_FOR: SignedDuration = SignedDuration::from_hours(72);
/// The account of whoever runs the machine, made when the first link is used.
const FIRST: &str = "admin";
/// Accounts with one wish for a name that are told apart by a number.
const NAMESAKES: u32 = 100;

fn name<T: std::str::FromStr>(text: &str) -> Result<T, Problem>
where
    T::Err: std::fmt::Display,
{
    text.trim().parse().map_err(|error: T::Err| Problem::bad_request(error.to_string()))
}

/// The account of this name.
pub(crate) async fn find(app: &App, text: &str) -> Result<Person, Problem> {
    let missing = || Problem::not_found("person", text);
    let wanted: PersonName = text.parse().map_err(|_| missing())?;
    app.store.person_named(&wanted).await?.ok_or_else(missing)
}

async fn find_team(app: &App, text: &str) -> Result<TeamName, Problem> {
    let missing = || Problem::not_found("team", text);
    let wanted: TeamName = text.parse().map_err(|_| missing())?;
    let known = app.store.teams().await?.into_iter().any(|team| team.name == wanted);
    known.then_some(wanted).ok_or_else(missing)
}

fn address(text: Option<&str>) -> Result<Option<String>, Problem> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    smtp::check_address(text).map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(Some(text.to_owned()))
}

fn changed(app: &App, about: impl ToString, what: &str) {
    app.bus.tell(Live::of("people", about, what));
}

/// Makes an account. It can be used once its person has set a password by an invitation.
pub(crate) async fn create(app: &App, who: &str, wanted: &CreatePerson) -> Result<Person, Problem> {
    let wished: PersonName = name(&wanted.name)?;
    let email = address(wanted.email.as_deref())?;
    let person = make(app, who, wished, email, None).await?;
    changed(app, &person.id, "made");
    Ok(person)
}

async fn make(
    app: &App,
    who: &str,
    wished: PersonName,
    email: Option<String>,
    subject: Option<Subject>,
) -> Result<Person, Problem> {
    let now = app.now();
    let id = ActorId::from_entropy(ten(app.config.entropy.as_ref())?);
    let issuer = subject.as_ref().map(|subject| subject.issuer.clone());
    let entry = NewEntry::new(now, who, "person_made").about(&id).with(json!({ "name": wished, "issuer": issuer }));
    let new = NewPerson { id: id.clone(), name: wished, email, subject, at: now };
    let transition = Transition::new(entry).write(Write::NewPerson(new));
    app.store.commit(transition).await.map_err(|error| match error {
        CommitError::Exists { ref id, .. } => Problem::conflict("exists", format!("there is somebody called `{id}`"))
            .hint("a name is never given twice, also not after its person is gone"),
        other => other.into(),
    })?;
    app.store.person(&id).await?.ok_or_else(|| Problem::not_found("person", id.as_str()))
}

/// The account of the machine's operator, made with the role of an administrator when nobody was there yet.
pub(crate) async fn first_administrator(app: &App) -> Result<Person, Problem> {
    let wanted: PersonName = name(FIRST)?;
    if let Some(person) = app.store.person_named(&wanted).await? {
        return Ok(person);
    }
    let who = "operator of this machine";
    let now = app.now();
    let id = ActorId::from_entropy(ten(app.config.entropy.as_ref())?);
    let entry = NewEntry::new(now, who, "person_made").about(&id).with(json!({ "name": wanted, "role": "admin" }));
    let new = NewPerson { id: id.clone(), name: wanted, email: None, subject: None, at: now };
    let holder = Holder::Person(id.clone());
    let grant = Grant { holder, role: Role::Admin, scope: Scope::Everything, actor: who.to_owned(), at: now };
    app.store.commit(Transition::new(entry).write(Write::NewPerson(new)).write(Write::Give(grant))).await?;
    app.store.person(&id).await?.ok_or_else(|| Problem::not_found("person", FIRST))
}

async fn change(
    app: &App,
    who: &str,
    person: &Person,
    event: &str,
    payload: serde_json::Value,
    change: PersonChange,
) -> Result<(), Problem> {
    let now = app.now();
    let entry = NewEntry::new(now, who, event).about(&person.id).with(payload);
    let write = Write::ChangePerson(ChangePerson { id: person.id.clone(), change, at: now });
    app.store.commit(Transition::new(entry).write(write)).await?;
    changed(app, &person.id, event);
    Ok(())
}

/// Enables, disables or removes an account.
pub(crate) async fn set_state(app: &App, who: &str, text: &str, to: PersonStateName) -> Result<(), Problem> {
    let person = find(app, text).await?;
    let (state, event) = match to {
        PersonStateName::Enabled => (PersonState::Enabled, "person_enabled"),
        PersonStateName::Disabled => (PersonState::Disabled, "person_disabled"),
        PersonStateName::Removed => (PersonState::Removed, "person_removed"),
    };
    change(app, who, &person, event, json!({ "name": person.name }), PersonChange::State(state)).await
}

/// Changes where notices go.
pub(crate) async fn set_email(app: &App, who: &str, text: &str, email: Option<&str>) -> Result<(), Problem> {
    let person = find(app, text).await?;
    let email = address(email)?;
    // The address itself is not kept in the record, which is for ever.
    let payload = json!({ "name": person.name, "has_address": email.is_some() });
    change(app, who, &person, "person_address_changed", payload, PersonChange::Email(email)).await
}

/// A link with which a person sets a password; for a new account, or instead of a forgotten one.
pub(crate) async fn invite(app: &App, who: &str, text: &str) -> Result<Invitation, Problem> {
    let person = find(app, text).await?;
    if person.state != PersonState::Enabled {
        return Err(Problem::conflict("not_enabled", format!("`{}` may not sign in", person.name)));
    }
    if person.subject.is_some() {
        return Err(Problem::conflict("elsewhere", format!("`{}` signs in at a provider", person.name)));
    }
    if app.public_url().is_empty() {
        return Err(Problem::conflict("not_listening", "this server does not listen on HTTP")
            .hint("start it with `stanch up`, and ask again"));
    }
    let token = fresh(app.config.entropy.as_ref())?;
    let now = app.now();
    let until = now.saturating_add(INVITED_FOR).unwrap_or(now);
    let new = NewToken {
        hash: invitation_digest(&token),
        purpose: INVITATION.to_owned(),
        once: true,
        body: json!({ "person": person.id }),
        at: now,
        expires_at: Some(until),
    };
    let entry = NewEntry::new(now, who, "person_invited").about(&person.id).with(json!({ "until": until }));
    app.store.commit(Transition::new(entry).write(Write::NewToken(new))).await?;
    Ok(Invitation { url: format!("{}/invitation?token={token}", app.public_url()), until })
}

/// Whom an invitation is for, if it can still be used.
pub(crate) async fn invited(app: &App, hash: &Digest) -> Result<Option<ActorId>, Problem> {
    let body = app.store.token_once(hash, INVITATION, app.now()).await?;
    Ok(body.and_then(|body| serde_json::from_value(body.get("person")?.clone()).ok()))
}

/// Makes a team.
pub(crate) async fn create_team(app: &App, who: &str, wanted: &CreateTeam) -> Result<(), Problem> {
    let team: TeamName = name(&wanted.name)?;
    let now = app.now();
    let about = reason(wanted.about.as_deref(), " ").trim().to_owned();
    let entry = NewEntry::new(now, who, "team_made").about(format!("team/{team}"));
    let write = Write::NewTeam(NewTeam { name: team.clone(), about, at: now });
    app.store.commit(Transition::new(entry).write(write)).await.map_err(|error| match error {
        CommitError::Exists { .. } => Problem::conflict("exists", format!("there is a team `{team}`")),
        other => other.into(),
    })?;
    changed(app, format!("team/{team}"), "made");
    Ok(())
}

/// Ends a team, with the roles it holds and those over its assets.
pub(crate) async fn remove_team(app: &App, who: &str, text: &str) -> Result<(), Problem> {
    let team = find_team(app, text).await?;
    let entry = NewEntry::new(app.now(), who, "team_removed").about(format!("team/{team}"));
    app.store.commit(Transition::new(entry).write(Write::RemoveTeam(RemoveTeam { name: team.clone() }))).await?;
    changed(app, format!("team/{team}"), "removed");
    Ok(())
}

/// Puts somebody in a team, or takes them out.
pub(crate) async fn set_member(app: &App, who: &str, team: &str, wanted: &ChangeMember) -> Result<(), Problem> {
    let team = find_team(app, team).await?;
    let person = find(app, &wanted.person).await?;
    if wanted.member && person.state == PersonState::Removed {
        return Err(Problem::not_found("person", &wanted.person));
    }
    let now = app.now();
    let event = if wanted.member { "member_joined" } else { "member_left" };
    let entry = NewEntry::new(now, who, event).about(&person.id).about(format!("team/{team}"));
    let member = Member { team, person: person.id.clone(), source: MemberSource::Local, at: now };
    let write = if wanted.member { Write::Join(member) } else { Write::Leave(member) };
    app.store.commit(Transition::new(entry).write(write)).await?;
    changed(app, &person.id, event);
    Ok(())
}

/// Gives a role, or takes it away.
pub(crate) async fn set_grant(app: &App, who: &str, wanted: &ChangeGrant, given: bool) -> Result<(), Problem> {
    let (holder, about) = match (&wanted.person, &wanted.team) {
        (Some(person), None) => {
            let person = find(app, person).await?;
            if given && person.state == PersonState::Removed {
                return Err(Problem::not_found("person", person.name.as_str()));
            }
            (Holder::Person(person.id.clone()), person.id.to_string())
        }
        (None, Some(team)) => {
            let team = find_team(app, team).await?;
            let about = format!("team/{team}");
            (Holder::Team(team), about)
        }
        _ => return Err(Problem::bad_request("a role is given to a `person` or to a `team`, to one of them")),
    };
    let scope: Scope = name(&wanted.scope)?;
    if let (true, Scope::Team(team)) = (given, &scope) {
        find_team(app, team.as_str()).await?;
    }
    let role: Role = serde_json::from_value(json!(wanted.role)).map_err(|_| {
        let known: Vec<&str> = Role::ALL.into_iter().map(Role::name).collect();
        Problem::bad_request(format!("`{}` is no role: {}", reason(Some(&wanted.role), ""), known.join(", ")))
    })?;
    let now = app.now();
    let event = if given { "role_given" } else { "role_taken" };
    let entry = NewEntry::new(now, who, event).about(&about).with(json!({ "role": role, "scope": scope }));
    let write = if given {
        Write::Give(Grant { holder, role, scope, actor: who.to_owned(), at: now })
    } else {
        Write::Revoke(Revoke { holder, role, scope })
    };
    app.store.commit(Transition::new(entry).write(write)).await?;
    changed(app, about, event);
    Ok(())
}

/// Begins a session; what else becomes true with it stands in `with`.
pub(crate) async fn begin_session(
    app: &App,
    person: &Person,
    hash: &Digest,
    how: &str,
    until: Timestamp,
    with: Vec<Write>,
) -> Result<(), Problem> {
    let now = app.now();
    let entry = NewEntry::new(now, person.name.as_str(), "signed_in")
        .about(&person.id)
        .with(json!({ "until": until, "how": how }));
    let new = NewSession {
        hash: *hash,
        actor: person.id.to_string(),
        body: json!({ "how": how }),
        at: now,
        expires_at: until,
    };
    let mut transition = Transition::new(entry);
    // A change of password ends all sessions, so the new one comes after it.
    transition.writes.extend(with);
    app.store.commit(transition.write(Write::NewSession(new))).await?;
    Ok(())
}

/// Ends a session.
pub(crate) async fn end_session(app: &App, hash: &Digest) -> Result<(), Problem> {
    app.store.put(Write::EndSession(EndSession { hash: *hash })).await?;
    Ok(())
}

/// Whoever a provider vouches for: their account, made at the first time, and what makes their teams those of today.
/// An account is found by the provider's own id alone, never by a name or an address, which others could take.
pub(crate) async fn vouched(
    app: &App,
    provider: &str,
    issuer: &str,
    claims: Claims,
    teams: &[TeamName],
) -> Result<(Person, Vec<Write>), Problem> {
    let subject = Subject { issuer: issuer.to_owned(), subject: claims.subject.clone() };
    let known = app.store.person_known_as(&subject).await?;
    let outside = || {
        Problem::new(StatusCode::FORBIDDEN, "not_signed_in", "Not signed in", "none of your groups is a team here")
            .hint("an administrator says which groups are teams, under Connections")
    };
    let person = match known {
        Some(person) if person.state == PersonState::Enabled => person,
        Some(_) => {
            let detail = "this account may not sign in";
            return Err(Problem::new(StatusCode::FORBIDDEN, "not_signed_in", "Not signed in", detail));
        }
        None if teams.is_empty() => return Err(outside()),
        None => {
            let wished = free_name(app, &claims).await?;
            make(app, &format!("provider:{provider}"), wished, claims.email, Some(subject)).await?
        }
    };
    let now = app.now();
    let there = app.store.teams().await?;
    let is_there = |team: &&TeamName| there.iter().any(|known| known.name == **team);
    let member = |team: &TeamName| Member {
        team: team.clone(),
        person: person.id.clone(),
        source: MemberSource::Provider,
        at: now,
    };
    let mut with: Vec<Write> = Vec::new();
    for old in app.store.members().await? {
        if old.person == person.id && old.source == MemberSource::Provider && !teams.contains(&old.team) {
            with.push(Write::Leave(old));
        }
    }
    let mine: Vec<&TeamName> = teams.iter().filter(is_there).collect();
    with.extend(mine.iter().map(|team| Write::Join(member(team))));
    if mine.is_empty() {
        if !with.is_empty() {
            let entry = NewEntry::new(now, format!("provider:{provider}"), "member_left").about(&person.id);
            let mut transition = Transition::new(entry);
            transition.writes.extend(with);
            app.store.commit(transition).await?;
        }
        return Err(outside());
    }
    Ok((person, with))
}

/// A name that nobody has, near the one that the provider gives.
async fn free_name(app: &App, claims: &Claims) -> Result<PersonName, Problem> {
    let wish = claims.preferred_name.as_deref().or(claims.email.as_deref()).unwrap_or("person");
    let wish = wish.split('@').next().unwrap_or_default().to_lowercase();
    let plain: String = wish
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-'))
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(40)
        .collect();
    let plain = if plain.is_empty() { "person".to_owned() } else { plain };
    for number in 1..=NAMESAKES {
        let text = if number == 1 { plain.clone() } else { format!("{plain}-{number}") };
        if let Ok(wished) = text.parse::<PersonName>()
            && app.store.person_named(&wished).await?.is_none()
        {
            return Ok(wished);
        }
    }
    Err(Problem::conflict("exists", "no free name was found"))
}

/// The person behind a visitor; tokens and the machine's operator have no account of their own to change.
pub(crate) fn own(visitor: &Visitor) -> Result<&ActorId, Problem> {
    match &visitor.person {
        Some(person) if !visitor.is_token => Ok(person),
        _ => Err(Problem::forbidden("only a person who signed in has an account here")),
    }
}

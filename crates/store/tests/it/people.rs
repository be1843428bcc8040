//! People, teams, roles, connections and notices.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;
use stanch_ledger::NewEntry;
use stanch_model::Digest;
use stanch_model::id::ActorId;
use stanch_model::person::{Holder, Power, Scope};
use stanch_model::terms::Role;
use stanch_store::connection::{Connection, DropConnection};
use stanch_store::grant::{Grant, Revoke};
use stanch_store::notice::{MoveNotice, Notice, NoticeState};
use stanch_store::person::{ChangePerson, NewPerson, PersonChange, PersonState, Subject};
use stanch_store::retention::Noun;
use stanch_store::session::{EndSessions, NewSession, NewToken, TouchToken};
use stanch_store::team::{Member, MemberSource, NewTeam, RemoveTeam};
use stanch_store::{CommitError, Committed, Effect, Store, Transition, Write};

use crate::world::{at, world};

fn id(name: &str) -> ActorId {
    ActorId::from_digest(&Digest::of_bytes(name.as_bytes()))
}

fn person(name: &str) -> Write {
    let email = Some(format!("{name}@example.org"));
    Write::NewPerson(NewPerson { id: id(name), name: name.parse().unwrap(), email, subject: None, at: at(0) })
}

fn team(name: &str) -> Write {
    Write::NewTeam(NewTeam { name: name.parse().unwrap(), about: String::new(), at: at(0) })
}

fn state(name: &str, state: PersonState) -> Write {
    Write::ChangePerson(ChangePerson { id: id(name), change: PersonChange::State(state), at: at(1) })
}

fn member(team: &str, name: &str, source: MemberSource) -> Member {
    Member { team: team.parse().unwrap(), person: id(name), source, at: at(0) }
}

fn join(team: &str, name: &str) -> Write {
    Write::Join(member(team, name, MemberSource::Local))
}

fn give(holder: Holder, role: Role, scope: &str) -> Write {
    Write::Give(Grant { holder, role, scope: scope.parse().unwrap(), actor: "tester".into(), at: at(0) })
}

fn revoke(holder: Holder, role: Role, scope: &str) -> Write {
    Write::Revoke(Revoke { holder, role, scope: scope.parse().unwrap() })
}

fn of(name: &str) -> Holder {
    Holder::Person(id(name))
}

fn all_in(team: &str) -> Holder {
    Holder::Team(team.parse().unwrap())
}

/// Commits a change with an entry about everything it could be about.
async fn commit(store: &Store, write: Write) -> Result<Committed, CommitError> {
    let mut entry = NewEntry::new(at(0), "tester", "people_changed");
    for name in ["ada", "ben", "cyd"] {
        entry = entry.about(id(name));
    }
    for name in ["team/web", "team/root", "connection/mail"] {
        entry = entry.about(name);
    }
    store.commit(Transition::new(entry).write(write)).await
}

async fn commit_all(store: &Store, writes: impl IntoIterator<Item = Write>) {
    for write in writes {
        commit(store, write).await.unwrap();
    }
}

#[tokio::test]
async fn nobody_is_made_or_changed_without_an_entry_that_names_them() {
    let world = world().await;
    for write in
        [person("ada"), team("web"), give(of("ada"), Role::Viewer, "all"), give(all_in("web"), Role::Owner, "all")]
    {
        let refused = world.store.put(write.clone()).await;
        assert!(matches!(refused, Err(CommitError::NoEntry { .. })), "{write:?}");
    }
    commit_all(&world.store, [person("ada"), team("web")]).await;
    let silent = world.store.put(state("ada", PersonState::Disabled)).await;
    assert!(matches!(silent, Err(CommitError::NoEntry { noun: "person", .. })));
}

#[tokio::test]
async fn a_name_always_means_the_same_person() {
    let world = world().await;
    commit_all(&world.store, [person("ada"), state("ada", PersonState::Removed)]).await;
    let other = NewPerson { id: id("other"), name: "ada".parse().unwrap(), email: None, subject: None, at: at(2) };
    let entry = NewEntry::new(at(0), "tester", "person_made").about(id("other"));
    let again = world.store.commit(Transition::new(entry).write(Write::NewPerson(other))).await;
    assert!(matches!(again, Err(CommitError::Exists { noun: "person", .. })));
    let gone = world.store.person(&id("ada")).await.unwrap().unwrap();
    assert_eq!((gone.state, gone.email), (PersonState::Removed, None));
    let back = commit(&world.store, state("ada", PersonState::Enabled)).await;
    assert!(matches!(back, Err(CommitError::Missing { .. })), "who was removed does not come back");
}

#[tokio::test]
async fn roles_come_from_people_and_from_teams_and_go_with_both() {
    let world = world().await;
    commit_all(&world.store, [person("ada"), team("web"), join("web", "ada")]).await;
    let access = async || world.store.access(&id("ada")).await.unwrap();
    assert!(!access().await.may_somewhere(Power::Read));
    commit_all(&world.store, [give(all_in("web"), Role::Owner, "team/web"), give(of("ada"), Role::Viewer, "all")])
        .await;
    assert!(access().await.may_somewhere(Power::Approve) && access().await.may_everywhere(Power::Read));
    commit_all(&world.store, [revoke(of("ada"), Role::Viewer, "all")]).await;
    assert!(!access().await.may_everywhere(Power::Read));
    commit_all(&world.store, [Write::RemoveTeam(RemoveTeam { name: "web".parse().unwrap() })]).await;
    assert!(!access().await.may_somewhere(Power::Read));
    assert!(world.store.grants().await.unwrap().is_empty() && world.store.members().await.unwrap().is_empty());
}

#[tokio::test]
async fn whoever_may_not_sign_in_any_more_is_signed_out() {
    let world = world().await;
    commit_all(&world.store, [person("ada")]).await;
    let hash = |n: u8| Digest::of_bytes(&[n]);
    let begin = async |n: u8| {
        let actor = id("ada").to_string();
        let new = NewSession { hash: hash(n), actor, body: json!({}), at: at(0), expires_at: at(100) };
        world.store.put(Write::NewSession(new)).await.unwrap();
    };
    let alive = async |n: u8| world.store.session(&hash(n), at(1)).await.unwrap().is_some();
    begin(1).await;
    let email = PersonChange::Email(None);
    commit_all(&world.store, [Write::ChangePerson(ChangePerson { id: id("ada"), change: email, at: at(1) })]).await;
    assert!(alive(1).await);
    for change in [
        PersonChange::Password(Some("$argon2id$".into())),
        PersonChange::State(PersonState::Disabled),
        PersonChange::State(PersonState::Removed),
    ] {
        begin(3).await;
        commit_all(&world.store, [Write::ChangePerson(ChangePerson { id: id("ada"), change, at: at(1) })]).await;
        assert!(!alive(3).await && !alive(1).await);
    }
    begin(1).await;
    begin(2).await;
    let end = EndSessions { actor: id("ada").to_string(), except: Some(hash(2)) };
    world.store.put(Write::EndSessions(end)).await.unwrap();
    assert_eq!((alive(1).await, alive(2).await), (false, true));
}

#[tokio::test]
async fn a_provider_names_one_account_only() {
    let world = world().await;
    let subject = Subject { issuer: "https://id.example".into(), subject: "0815".into() };
    let new = |name: &str| {
        let subject = Some(subject.clone());
        Write::NewPerson(NewPerson { id: id(name), name: name.parse().unwrap(), email: None, subject, at: at(0) })
    };
    commit(&world.store, new("ada")).await.unwrap();
    assert!(matches!(commit(&world.store, new("ben")).await, Err(CommitError::Exists { .. })));
    assert_eq!(world.store.person_known_as(&subject).await.unwrap().unwrap().name.as_str(), "ada");
    let elsewhere = Subject { issuer: "https://other.example".into(), ..subject };
    assert_eq!(world.store.person_known_as(&elsewhere).await.unwrap(), None);
}

#[tokio::test]
async fn lasting_tokens_are_listed_with_their_last_use() {
    let world = world().await;
    let hash = Digest::of_bytes(b"token");
    let new = NewToken {
        hash,
        purpose: "api".into(),
        once: false,
        body: json!({"name": "ci"}),
        at: at(0),
        expires_at: Some(at(9)),
    };
    world.store.put(Write::NewToken(new)).await.unwrap();
    world.store.put(Write::TouchToken(TouchToken { hash, at: at(5) })).await.unwrap();
    let all = world.store.tokens("api").await.unwrap();
    assert_eq!((all.len(), all[0].used_at, all[0].expires_at), (1, Some(at(5)), Some(at(9))));
    assert!(world.store.tokens("enrol").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_keeps_its_kind_until_it_is_removed() {
    let world = world().await;
    let mail = Connection {
        name: "mail".into(),
        kind: "smtp".into(),
        body: json!({"host": "mx"}),
        secret: Some(vec![1, 2]),
        at: at(0),
    };
    commit(&world.store, Write::PutConnection(mail.clone())).await.unwrap();
    let other = Connection { kind: "oidc".into(), ..mail.clone() };
    let refused = commit(&world.store, Write::PutConnection(other)).await;
    assert!(matches!(refused, Err(CommitError::Exists { .. })));
    assert_eq!(world.store.connections().await.unwrap(), [mail]);
    commit(&world.store, Write::DropConnection(DropConnection { name: "mail".into() })).await.unwrap();
    assert_eq!(world.store.connection("mail").await.unwrap(), None);
}

#[tokio::test]
async fn a_notice_waits_until_it_is_sent_and_only_one_attempt_counts() {
    let world = world().await;
    let notice = Notice {
        id: "n1".into(),
        connection: "mail".into(),
        event: "hold_set".into(),
        body: json!({"text": "held"}),
        state: NoticeState::Waiting,
        attempts: 0,
        due: at(0),
        error: None,
        at: at(0),
    };
    world.store.put(Write::NewNotice(notice.clone())).await.unwrap();
    let again = world.store.put(Write::NewNotice(notice.clone())).await.unwrap();
    assert_eq!(again.effects, [Effect::Unchanged], "the same notice is one notice");
    assert_eq!(world.store.notices_due(at(0), 10).await.unwrap(), std::slice::from_ref(&notice));
    let step = |attempts, state, due| {
        Write::MoveNotice(MoveNotice { id: "n1".into(), attempts, state, due: at(due), error: Some("busy".into()) })
    };
    world.store.put(step(0, NoticeState::Waiting, 60)).await.unwrap();
    let late = world.store.put(step(0, NoticeState::Sent, 0)).await;
    assert!(matches!(late, Err(CommitError::Conflict { .. })));
    assert!(world.store.notices_due(at(59), 10).await.unwrap().is_empty());
    world.store.put(step(1, NoticeState::Sent, 60)).await.unwrap();
    assert!(world.store.notices_due(at(99), 10).await.unwrap().is_empty());
    assert_eq!(world.store.notices(10).await.unwrap()[0].attempts, 2);
    let due = world.store.due(Noun::Notices, at(1), "", 10).await.unwrap();
    world.store.commit(due.transition(Noun::Notices, at(1), "30d", "server", at(2))).await.unwrap();
    assert!(world.store.notices(10).await.unwrap().is_empty());
}

/// One step of somebody who gives and takes.
#[derive(Debug, Clone)]
enum Step {
    State(&'static str, PersonState),
    Join(&'static str, &'static str, MemberSource),
    Leave(&'static str, &'static str, MemberSource),
    Give(Holder, Role, &'static str),
    Revoke(Holder, Role, &'static str),
    NewTeam(&'static str),
    RemoveTeam(&'static str),
}

fn any_step() -> impl Strategy<Value = Step> {
    let people = || proptest::sample::select(vec!["ada", "ben", "cyd"]);
    let teams = || proptest::sample::select(vec!["web", "root"]);
    let states = proptest::sample::select(vec![PersonState::Enabled, PersonState::Disabled, PersonState::Removed]);
    let source = || proptest::sample::select(vec![MemberSource::Local, MemberSource::Provider]);
    let holder = || prop_oneof![people().prop_map(of), teams().prop_map(all_in)];
    let role = || proptest::sample::select(vec![Role::Admin, Role::Admin, Role::Operator]);
    let scope = || proptest::sample::select(vec!["all", "all", "environment/prod", "team/web"]);
    prop_oneof![
        2 => (people(), states).prop_map(|(name, state)| Step::State(name, state)),
        2 => (teams(), people(), source()).prop_map(|(team, name, source)| Step::Join(team, name, source)),
        2 => (teams(), people(), source()).prop_map(|(team, name, source)| Step::Leave(team, name, source)),
        3 => (holder(), role(), scope()).prop_map(|(holder, role, scope)| Step::Give(holder, role, scope)),
        4 => (holder(), role(), scope()).prop_map(|(holder, role, scope)| Step::Revoke(holder, role, scope)),
        1 => teams().prop_map(Step::NewTeam),
        1 => teams().prop_map(Step::RemoveTeam),
    ]
}

/// The same rules in a few lines, to compare with.
#[derive(Debug, Clone, Default)]
struct Model {
    people: BTreeMap<&'static str, Option<PersonState>>,
    teams: BTreeSet<&'static str>,
    members: BTreeSet<(&'static str, &'static str, MemberSource)>,
    grants: BTreeSet<(Holder, Role, String)>,
}

impl Model {
    fn administrators(&self) -> usize {
        let admin = |holder: Holder| self.grants.contains(&(holder, Role::Admin, Scope::Everything.to_string()));
        self.people
            .iter()
            .filter(|(_, state)| **state == Some(PersonState::Enabled))
            .filter(|(name, _)| {
                let mine = self.members.iter().filter(|(_, who, by)| who == *name && *by == MemberSource::Local);
                admin(of(name)) || mine.into_iter().any(|(team, _, _)| admin(all_in(team)))
            })
            .count()
    }

    /// What the step makes of it; `None` when there is nothing it could be done to.
    fn after(&self, step: &Step) -> Option<Self> {
        let mut next = self.clone();
        match step {
            Step::State(name, _) if self.people[name] == Some(PersonState::Removed) => return None,
            Step::State(name, state) => {
                next.people.insert(name, Some(*state));
                if *state == PersonState::Removed {
                    next.members.retain(|(_, who, _)| who != name);
                    next.grants.retain(|(holder, _, _)| *holder != of(name));
                }
            }
            Step::Join(team, _, _) if !self.teams.contains(team) => return None,
            Step::Join(team, name, source) => drop(next.members.insert((team, name, *source))),
            Step::Leave(team, name, source) => drop(next.members.remove(&(*team, *name, *source))),
            Step::Give(holder, role, scope) => drop(next.grants.insert((holder.clone(), *role, (*scope).to_owned()))),
            Step::Revoke(holder, role, scope) => {
                next.grants.remove(&(holder.clone(), *role, (*scope).to_owned()));
            }
            Step::NewTeam(team) if self.teams.contains(team) => return None,
            Step::NewTeam(team) => drop(next.teams.insert(team)),
            Step::RemoveTeam(team) if !self.teams.contains(team) => return None,
            Step::RemoveTeam(team) => {
                next.teams.remove(team);
                next.members.retain(|(known, _, _)| known != team);
                next.grants.retain(|(holder, _, scope)| *holder != all_in(team) && *scope != format!("team/{team}"));
            }
        }
        Some(next)
    }
}

fn write(step: &Step) -> Write {
    match step {
        Step::State(name, to) => state(name, *to),
        Step::Join(team, name, source) => Write::Join(member(team, name, *source)),
        Step::Leave(team, name, source) => Write::Leave(member(team, name, *source)),
        Step::Give(holder, role, scope) => give(holder.clone(), *role, scope),
        Step::Revoke(holder, role, scope) => revoke(holder.clone(), *role, scope),
        Step::NewTeam(name) => team(name),
        Step::RemoveTeam(name) => Write::RemoveTeam(RemoveTeam { name: name.parse().unwrap() }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_last_administrator_stays_whatever_is_given_and_taken(steps in proptest::collection::vec(any_step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world().await;
            commit_all(&world.store, ["ada", "ben", "cyd"].map(person)).await;
            let people = ["ada", "ben", "cyd"].map(|name| (name, Some(PersonState::Enabled)));
            let mut model = Model { people: people.into_iter().collect(), ..Model::default() };
            for step in &steps {
                let done = commit(&world.store, write(step)).await;
                match model.after(step) {
                    None => prop_assert!(done.is_err(), "{:?} cannot be done", step),
                    Some(next) if model.administrators() > 0 && next.administrators() == 0 => {
                        prop_assert!(matches!(done, Err(CommitError::LastAdministrator)), "{step:?}: {done:?}");
                    }
                    Some(next) => {
                        prop_assert!(done.is_ok(), "{:?}: {:?}", step, done);
                        model = next;
                    }
                }
            }
            world.store.shut().await;
            Ok(())
        })?;
    }
}

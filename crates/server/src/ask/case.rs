//! What people ask of cases: to open one, to answer a task in it, to end it, to take back what it did.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::json;
use stanch_engine::case::{Illegal, Member};
use stanch_ledger::NewEntry;
use stanch_model::person::Power;
use stanch_model::playbook::Doing;
use stanch_store::case::StoredCase;
use stanch_store::suppression::Suppression;
use stanch_store::{Transition, Write};

use super::reason;
use crate::api::Problem;
use crate::api::types::{Because, Case as Wire, OpenCase, TaskWord};
use crate::app::App;
use crate::auth::Visitor;
use crate::bus::{Live, Stage};
use crate::record::Case;
use crate::tasks::{self, begin_case, commit_case, put_case};
use crate::view;

impl From<Illegal> for Problem {
    fn from(error: Illegal) -> Self {
        match error {
            Illegal::NoTask => Self::not_found("task of this case", "of that number"),
            Illegal::NothingDone => Self::conflict("nothing_done", error.to_string()),
            Illegal::TaskOver | Illegal::State(_) => Self::conflict("wrong_state", error.to_string()),
        }
    }
}

/// Opens a case for items with a playbook of the bundle in force.
pub(crate) async fn open_case(app: &App, visitor: &Visitor, wanted: OpenCase) -> Result<Wire, Problem> {
    if wanted.items.is_empty() {
        return Err(Problem::bad_request("no item is named: nothing is done").hint("name the items it is about"));
    }
    let held = app.policies.held();
    let Some(playbook) = held.bundle.playbooks().find(|playbook| playbook.name == wanted.playbook) else {
        let known: Vec<String> = held.bundle.playbooks().map(|playbook| playbook.name).collect();
        let hint = match known.is_empty() {
            true => "the bundle in force has none; add a document of the kind Playbook".to_owned(),
            false => format!("there are: {}", known.join(", ")),
        };
        return Err(Problem::not_found("playbook", &wanted.playbook).hint(hint));
    };
    let _making = app.making.lock().await;
    let rows = super::named(app, &wanted.items).await?;
    let context = view::Context::of(app, &rows).await?;
    let mut about = Vec::new();
    for row in rows {
        let name = row.item.subject.name().to_owned();
        let asset = context.asset(&row.item.asset);
        if !asset.is_some_and(|asset| visitor.access.may(Power::Read, asset)) {
            return Err(Problem::not_found("item", &name));
        }
        if !asset.is_some_and(|asset| visitor.access.may(Power::Operate, asset)) {
            return Err(Problem::forbidden(format!("you may not operate the asset of {name}")).hint("ask its owner"));
        }
        if let Some(case) = context.case(&row.item.id) {
            return Err(Problem::conflict("busy", format!("{case} works on {name}")).hint("look at that case"));
        }
        if let Some(busy) = context.busy(&row.item.id) {
            return Err(Problem::conflict("busy", format!("{busy} is about {name} already"))
                .hint("wait until it is over, or dismiss it"));
        }
        about.push((Member { item: row.item.id, asset: row.item.asset }, name));
    }
    let why = reason(wanted.reason.as_deref(), &format!("asked for by {}", visitor.name));
    let case = begin_case(about, playbook.steps, &visitor.name, &why, &playbook.name, None);
    let id = commit_case(app, case).await.map_err(pass)?;
    view::case(app, id.as_str()).await
}

fn pass(error: tasks::PassError) -> Problem {
    match error {
        tasks::PassError::Commit(error) => error.into(),
        error => Problem::internal("moving a case", &error),
    }
}

/// How often it is tried while the case moves.
const ATTEMPTS: u32 = 4;

/// Says something of a case, and commits what follows. Where the case moves meanwhile, that is worked out anew.
async fn say(
    app: &App,
    id: &str,
    word: impl Fn(&StoredCase, &mut Case, Timestamp) -> Result<(NewEntry, Vec<Write>), Problem>,
) -> Result<Case, Problem> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let (stored, mut record) = view::find_case(app, id).await?;
        let now = app.now();
        let (entry, with) = word(&stored, &mut record, now)?;
        let put = put_case(&stored.id, stored.generation, &record, now);
        let mut transition = Transition::new(entry).write(Write::PutCase(put));
        transition.writes.extend(with);
        match app.store.commit(transition).await {
            Ok(_) => {
                app.bus.nudge(Stage::Case);
                app.bus.tell(Live::of("case", &stored.id, record.case.state.name()));
                return Ok(record);
            }
            Err(error) if error.is_conflict() && attempt < ATTEMPTS => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a task is this visitor's to answer: a team's is for whoever is in it, and for administrators.
async fn may_answer(app: &App, visitor: &Visitor, record: &Case, run: usize) -> Result<(), Problem> {
    let Some(rung) = record.case.runs.get(run).and_then(|run| record.case.rung(run)) else {
        return Err(Illegal::NoTask.into());
    };
    let Doing::Human(task) = &rung.doing else { return Err(Illegal::NoTask.into()) };
    if task.owner == "owner" || visitor.access.may_everywhere(Power::Admin) {
        return Ok(());
    }
    let mine = app
        .store
        .members()
        .await?
        .into_iter()
        .any(|member| member.team.as_str() == task.owner && visitor.person.as_ref() == Some(&member.person));
    if mine {
        return Ok(());
    }
    Err(Problem::forbidden(format!("this task is for the team {}", task.owner)).hint("ask somebody of that team"))
}

/// A person says that their task is done. The check that found the problem has the last word, where it can see it.
pub(crate) async fn do_task(
    app: &App,
    visitor: &Visitor,
    id: &str,
    run: usize,
    word: TaskWord,
) -> Result<Wire, Problem> {
    may_answer(app, visitor, &view::find_case(app, id).await?.1, run).await?;
    let note = reason(word.note.as_deref(), "");
    let told = if note.is_empty() { "said to be done".to_owned() } else { format!("said to be done: {note}") };
    let record = say(app, id, |stored, record, now| {
        record.case = record.case.said(run, &visitor.name, &note, now)?;
        record.note(now, &visitor.name, Some(run), "said", told.clone());
        let entry = NewEntry::new(now, &*visitor.name, "case_task_said").about(&stored.id);
        Ok((entry.with(json!({ "run": run, "note": note })), Vec::new()))
    });
    let record = record.await?;
    let assets: BTreeSet<_> = record.case.members.iter().map(|member| &member.asset).collect();
    for asset in assets {
        tasks::request_facts(app, asset, false).await.map_err(pass)?;
    }
    view::case(app, id).await
}

/// A person says that their task will not be done.
pub(crate) async fn decline_task(
    app: &App,
    visitor: &Visitor,
    id: &str,
    run: usize,
    word: TaskWord,
) -> Result<Wire, Problem> {
    may_answer(app, visitor, &view::find_case(app, id).await?.1, run).await?;
    let why = reason(word.note.as_deref(), "a person said no");
    say(app, id, |stored, record, now| {
        record.case = record.case.declined(run, &why)?;
        record.note(now, &visitor.name, Some(run), "refused", format!("will not be done: {why}"));
        let entry = NewEntry::new(now, &*visitor.name, "case_task_declined").about(&stored.id);
        Ok((entry.with(json!({ "run": run, "why": why })), Vec::new()))
    })
    .await?;
    view::case(app, id).await
}

/// Ends a case. What was done stays.
pub(crate) async fn close_case(app: &App, visitor: &Visitor, id: &str, because: Because) -> Result<Wire, Problem> {
    let why = reason(because.reason.as_deref(), "no reason given");
    say(app, id, |stored, record, now| {
        record.case = record.case.close(&why)?;
        record.note(now, &visitor.name, None, "closing", format!("is ended: {why}"));
        let entry = NewEntry::new(now, &*visitor.name, "case_close_asked").about(&stored.id);
        Ok((entry.with(json!({ "why": why })), Vec::new()))
    })
    .await?;
    view::case(app, id).await
}

/// Takes back everything that a case did, the last first. Policies leave its items alone from then on.
pub(crate) async fn undo_case(app: &App, visitor: &Visitor, id: &str, because: Because) -> Result<Wire, Problem> {
    let why = reason(because.reason.as_deref(), "no reason given");
    say(app, id, |stored, record, now| {
        record.case = record.case.undo(&visitor.name, &why)?;
        record.note(now, &visitor.name, None, "undoing", format!("is taken back: {why}"));
        let entry = NewEntry::new(now, &*visitor.name, "case_undo_asked").about(&stored.id);
        let versions = record.decided.as_ref().map(|decided| &decided.versions);
        let leave = record.case.members.iter().map(|member| {
            Write::Suppress(Suppression {
                item: member.item.clone(),
                asset: member.asset.clone(),
                version: versions.and_then(|known| known.get(&member.item)).cloned().unwrap_or_default(),
                until: None,
                actor: visitor.name.clone(),
                reason: format!("its case was taken back by {}: {why}", visitor.name),
                at: now,
            })
        });
        Ok((entry.with(json!({ "reason": why })), leave.collect()))
    })
    .await?;
    view::case(app, id).await
}

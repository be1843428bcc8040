//! `case`: one problem with everything that is done about it: look, open, answer a task, end, take back.

use std::time::Duration;

use stanch_model::When;
use stanch_server::api::types::{Because, Case, CaseRow, OpenCase, TaskWord};

use super::fix::confirm;
use crate::args::Cases;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, plain};

/// How often it is looked how far an undo has come.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) async fn run(api: &Api, output: &Output, wanted: Cases) -> Result<Exit, Failure> {
    match wanted {
        Cases::List { open } => list(api, output, open).await,
        Cases::Show { case } => show(output, &find(api, &case).await?),
        Cases::Open { items, playbook, reason } => {
            let opened: Case = api.post("/cases", &OpenCase { items, playbook, reason }).await?;
            show(output, &opened)
        }
        Cases::Done { case, task, note } => {
            let (id, number) = task_of(&find(api, &case).await?, task)?;
            let told: Case = api.post(&format!("/cases/{id}/tasks/{number}/done"), &TaskWord { note }).await?;
            show(output, &told)
        }
        Cases::Decline { case, task, note } => {
            let (id, number) = task_of(&find(api, &case).await?, task)?;
            let told: Case = api.post(&format!("/cases/{id}/tasks/{number}/decline"), &TaskWord { note }).await?;
            show(output, &told)
        }
        Cases::Close { case, reason } => {
            let id = find(api, &case).await?.case.id;
            let told: Case = api.post(&format!("/cases/{id}/close"), &Because { reason }).await?;
            show(output, &told)
        }
        Cases::Undo { case, reason, yes } => undo(api, output, &find(api, &case).await?, reason, yes).await,
    }
}

async fn list(api: &Api, output: &Output, open: bool) -> Result<Exit, Failure> {
    let all: Vec<CaseRow> = api.get("/cases").await?;
    let rows = all.iter().filter(|one| !open || !one.over);
    if output.json {
        for one in rows {
            output.object(one)?;
        }
        return Ok(Exit::Done);
    }
    let mut table = output.table(&["CASE", "ABOUT", "STATE", "STEP", "WAITS ON"]);
    for one in rows {
        let step = if one.step > one.steps { "all".to_owned() } else { format!("{}/{}", one.step, one.steps) };
        table.add_row([one.id.clone(), plain(&one.title), one.state.clone(), step, plain(&one.waits.join("; "))]);
    }
    output.line(&table.to_string())?;
    Ok(Exit::Done)
}

/// The case meant: its id, or an unambiguous beginning of it.
async fn find(api: &Api, typed: &str) -> Result<Case, Failure> {
    let all: Vec<CaseRow> = api.get("/cases").await?;
    let matching: Vec<&CaseRow> = all.iter().filter(|one| one.id.starts_with(typed)).collect();
    match matching.as_slice() {
        [only] => api.get(&format!("/cases/{}", only.id)).await,
        [] => {
            Err(Failure::new(format!("there is no case `{}`", plain(typed))).hint("list them with: stanch case list"))
        }
        many => Err(Failure::new(format!("`{}` could be any of {} cases", plain(typed), many.len()))
            .hint("type more of its id")),
    }
}

/// The task meant: the one named, or the only one that waits.
fn task_of(case: &Case, named: Option<u64>) -> Result<(String, u64), Failure> {
    let open: Vec<u64> =
        case.runs.iter().filter(|run| run.task.as_ref().is_some_and(|task| task.open)).map(|run| run.number).collect();
    let number = match (named, open.as_slice()) {
        (Some(number), _) if open.contains(&number) => number,
        (Some(number), _) => {
            return Err(Failure::new(format!("task {number} of {} waits for nobody", case.case.id)));
        }
        (None, [only]) => *only,
        (None, []) => return Err(Failure::refused(format!("{} has no task that waits for a person", case.case.id))),
        (None, many) => {
            let numbers: Vec<String> = many.iter().map(ToString::to_string).collect();
            return Err(Failure::usage(format!("{} has several tasks: {}", case.case.id, numbers.join(", ")))
                .hint("name one with --task"));
        }
    };
    Ok((case.case.id.clone(), number))
}

fn show(output: &Output, case: &Case) -> Result<Exit, Failure> {
    if output.json {
        output.object(case)?;
        return Ok(Exit::Done);
    }
    let row = &case.case;
    let head = format!("{}  {}  {}", row.id, output.paint(Tone::Strong, &plain(&row.title)), row.state);
    output.line(&head)?;
    output.line(&plain(&format!("{}, opened by {}: {}", row.playbook, row.by, row.reason)))?;
    for step in &case.plan {
        for (place, rung) in step.rungs.iter().enumerate() {
            let number = if place == 0 { format!("{:>2}.", step.number) } else { "  or".to_owned() };
            let on = if rung.on == "asset" { String::new() } else { format!(" on the linked {}", rung.on) };
            let lift = rung.lift_when.as_ref().map(|what| format!(", lifted when {what} is verified"));
            let state = rung.state.replace('_', " ");
            let line = format!("{number} {}: {}{on}{}  [{state}]", rung.id, rung.does, lift.unwrap_or_default());
            output.line(&plain(&line))?;
        }
    }
    output.line("")?;
    for one in &case.happened {
        let rung = one.rung.as_ref().map(|rung| format!("{rung} ")).unwrap_or_default();
        let by = if one.by == "server" { String::new() } else { format!(" ({})", one.by) };
        output.line(&plain(&format!("{}  {rung}{}{by}", When(one.at), one.text)))?;
    }
    for run in &case.runs {
        let Some(task) = run.task.as_ref().filter(|task| task.open) else { continue };
        let whom = if task.owner == "owner" { "the owner".to_owned() } else { format!("team {}", task.owner) };
        let due = When(task.due);
        let line = format!("Task {} for {whom} until {due}: {}. {}", run.number, run.does, task.instructions);
        output.line(&output.paint(Tone::Warn, &plain(&line)))?;
    }
    for one in &case.not_done {
        let why = one.why.as_deref().unwrap_or_default();
        output.line(
            &output.paint(Tone::Warn, &plain(&format!("Goes no further: {} on {}: {why}", one.name, one.asset))),
        )?;
    }
    Ok(Exit::Done)
}

async fn undo(api: &Api, output: &Output, case: &Case, reason: Option<String>, yes: bool) -> Result<Exit, Failure> {
    let id = &case.case.id;
    if !case.may_undo {
        return Err(Failure::refused(format!(
            "{id} has done nothing that can be taken back (it is {})",
            case.case.state
        )));
    }
    for run in case.runs.iter().rev().filter(|run| run.state == "done" && run.remediation.is_some()) {
        output.say(&plain(&format!("  {}: {} on {}", run.rung, run.does, run.assets.join(", "))));
    }
    output.say("This brings back what was vulnerable before; it will not be fixed again by itself.");
    if !yes && !confirm("Take it all back, in this order?")? {
        output.say("Nothing was changed.");
        return Ok(Exit::Done);
    }
    let mut told: Case = api.post(&format!("/cases/{id}/undo"), &Because { reason }).await?;
    let mut said = String::new();
    while !told.case.over {
        let line = told.case.waits.join("; ");
        if line != said && !line.is_empty() {
            output.say(&plain(&line));
            said = line;
        }
        tokio::time::sleep(LOOK).await;
        told = api.get(&format!("/cases/{id}")).await?;
    }
    show(output, &told)?;
    let kept = told.runs.iter().flat_map(|run| &run.items).any(|item| item.fate == "kept");
    Ok(if kept { Exit::NotProven } else { Exit::Done })
}

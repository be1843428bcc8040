//! Cases in the words of the wire.

use std::collections::{BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use stanch_engine::case::{Errand, Fate, Run};
use stanch_model::id::{AssetId, CaseId, ItemId};
use stanch_model::playbook::{Doing, On, Rung, VerifiedBy};
use stanch_store::case::StoredCase;

use super::name;
use crate::api::Problem;
use crate::api::types::{Case as Wire, CaseEvent, CaseItem, CaseRow, CaseRun, CaseRung, CaseStep, CaseTask};
use crate::app::App;
use crate::auth::Sight;
use crate::record::Case;

/// Cases shown.
const SHOWN: u32 = 500;

/// Cases that are seen, the newest first.
pub(crate) async fn cases(app: &App, sight: &Sight) -> Result<Vec<CaseRow>, Problem> {
    let mut rows = Vec::new();
    for stored in app.store.cases(SHOWN).await? {
        let Some(record) = Case::read(&stored.body) else { continue };
        if sight.is_everything() || record.case.members.iter().any(|member| sight.covers(&member.asset)) {
            rows.push(row(&stored, &record));
        }
    }
    Ok(rows)
}

/// The row of a case.
pub(crate) async fn find_case(app: &App, id: &str) -> Result<(StoredCase, Case), Problem> {
    let missing = || Problem::not_found("case", id);
    let known: CaseId = id.parse().map_err(|_| missing())?;
    let stored = app.store.case(&known).await?.ok_or_else(missing)?;
    let record = Case::read(&stored.body).ok_or_else(missing)?;
    Ok((stored, record))
}

/// The assets that a case is about, and those that something is done on.
pub(crate) async fn case_assets(app: &App, record: &Case) -> Result<BTreeSet<AssetId>, stanch_store::ReadError> {
    let mut assets: BTreeSet<AssetId> = record.case.members.iter().map(|member| member.asset.clone()).collect();
    for run in &record.case.runs {
        if let Errand::Remediation(id) = &run.what {
            assets.extend(app.store.remediation(id).await?.into_iter().flat_map(|row| row.assets));
        }
    }
    Ok(assets)
}

/// One case with everything about it.
pub(crate) async fn case(app: &App, id: &str) -> Result<Wire, Problem> {
    let (stored, record) = find_case(app, id).await?;
    let assets = case_assets(app, &record).await?;
    let known = app.store.assets_named(&assets).await?.into_iter();
    let assets: HashMap<AssetId, String> = known.map(|row| (row.asset.id, row.asset.name)).collect();
    let told = Told { record: &record, assets };
    let mut runs = Vec::new();
    for (number, run) in record.case.runs.iter().enumerate() {
        runs.push(told.run(app, number, run).await?);
    }
    let step = |(number, step): (usize, &stanch_model::playbook::Step)| CaseStep {
        number: count(number + 1),
        rungs: step.rungs.iter().enumerate().map(|(rung, known)| told.rung(number, rung, known)).collect(),
    };
    let acts = |run: &&Run| matches!(run.what, Errand::Remediation(_));
    let done = record.case.runs.iter().filter(acts).flat_map(|run| run.fates.values()).any(|fate| *fate == Fate::Done);
    let under_way = matches!(record.case.state.name(), "undoing" | "undone");
    Ok(Wire {
        plan: record.case.steps.iter().enumerate().map(step).collect(),
        runs,
        not_done: record
            .case
            .out
            .iter()
            .map(|(item, why)| CaseItem { why: Some(why.clone()), ..told.item(item, &Fate::Blocked(String::new())) })
            .collect(),
        happened: record
            .happened
            .iter()
            .map(|one| CaseEvent {
                at: one.at,
                by: one.by.clone(),
                run: one.run.map(count),
                rung: one.run.and_then(|run| told.rung_of(run)).map(|rung| rung.id.clone()),
                kind: one.kind.clone(),
                text: one.text.clone(),
            })
            .collect(),
        may_undo: done && !under_way,
        case: row(&stored, &record),
    })
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn row(stored: &StoredCase, record: &Case) -> CaseRow {
    let case = &record.case;
    let open = |run: &&Run| matches!(run.what, Errand::Human(_)) && is_running(run) && !case.state.is_over();
    let running = case.runs.iter().filter(|run| is_running(run) && !case.state.is_over());
    let waits = running.filter_map(|run| {
        let rung = case.rung(run)?;
        Some(match &rung.doing {
            Doing::Act(act) => format!("{}: {}", rung.id, act.action),
            Doing::Human(task) => format!("{}: waits for {}", task.title, whose(&task.owner)),
        })
    });
    let mut waits: Vec<String> = waits.collect();
    if waits.is_empty() && !case.state.is_over() {
        // Nothing runs, and it is not over: something stands in for what is still to come.
        let stands = case.runs.iter().filter_map(|run| case.rung(run)?.lift_when.clone().map(|what| (run, what)));
        let lifted = stands.filter(|(run, _)| run.fates.values().any(|fate| *fate == Fate::Done));
        waits.extend(lifted.map(|(_, what)| format!("what stands in stays until {what} is verified")));
        waits.dedup();
    }
    CaseRow {
        id: stored.id.to_string(),
        title: record.title.clone(),
        state: case.state.name().to_owned(),
        over: case.state.is_over(),
        playbook: record.playbook.clone(),
        by: record.by.clone(),
        reason: record.reason.clone(),
        items: count(case.members.len()),
        step: count(case.at + 1),
        steps: count(case.steps.len()),
        waits,
        tasks: count(case.runs.iter().filter(open).count()),
        created_at: stored.created_at,
        updated_at: stored.updated_at,
    }
}

fn whose(owner: &str) -> String {
    if owner == "owner" { "the asset's owner".to_owned() } else { owner.to_owned() }
}

fn is_running(run: &Run) -> bool {
    run.fates.values().any(|fate| matches!(fate, Fate::Running | Fate::GoingBack))
}

/// What a run has come to: of several fates the one that asks for most attention.
fn state(run: &Run) -> &'static str {
    const ORDER: [&str; 8] = ["running", "going_back", "kept", "failed", "refused", "blocked", "undone", "done"];
    let of = |name: &&&str| run.fates.values().any(|fate| fate.name() == **name);
    ORDER.iter().find(of).copied().unwrap_or("done")
}

/// A case with the names of its assets.
struct Told<'a> {
    record: &'a Case,
    assets: HashMap<AssetId, String>,
}

impl Told<'_> {
    fn rung_of(&self, run: usize) -> Option<&Rung> {
        self.record.case.rung(self.record.case.runs.get(run)?)
    }

    fn asset(&self, id: &AssetId) -> String {
        self.assets.get(id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn item(&self, item: &ItemId, fate: &Fate) -> CaseItem {
        let place = self.record.case.members.iter().position(|member| member.item == *item);
        let asset = place.and_then(|place| self.record.case.members.get(place)).map(|member| self.asset(&member.asset));
        let known = place.and_then(|place| self.record.names.get(place)).cloned();
        CaseItem {
            item: item.to_string(),
            name: known.unwrap_or_else(|| item.to_string()),
            asset: asset.unwrap_or_default(),
            fate: fate.name().to_owned(),
            why: fate.why().map(str::to_owned),
        }
    }

    fn rung(&self, step: usize, rung: usize, known: &Rung) -> CaseRung {
        let last = self.record.case.runs.iter().rev().find(|run| run.step == step && run.rung == rung);
        let (does, human, params) = match &known.doing {
            Doing::Act(act) => (
                act.action.clone(),
                false,
                act.params
                    .iter()
                    .map(|(name, value)| {
                        let value = serde_json::Value::from(value.clone());
                        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                        (name.clone(), text)
                    })
                    .collect(),
            ),
            Doing::Human(task) => (task.title.clone(), true, Default::default()),
        };
        CaseRung {
            id: known.id.clone(),
            does,
            human,
            params,
            on: match known.on {
                On::Asset => "asset".to_owned(),
                On::Linked(kind) => name(&kind),
            },
            within_seconds: known.within_seconds,
            lift_when: known.lift_when.clone(),
            state: last.map_or("not_begun", state).to_owned(),
        }
    }

    async fn run(&self, app: &App, number: usize, run: &Run) -> Result<CaseRun, Problem> {
        let rung = self.record.case.rung(run);
        let row = match &run.what {
            Errand::Remediation(id) => app.store.remediation(id).await?,
            Errand::Human(_) => None,
        };
        let task = match (rung.map(|rung| &rung.doing), &run.what) {
            (Some(Doing::Human(task)), Errand::Human(said)) => Some(CaseTask {
                owner: task.owner.clone(),
                instructions: task.instructions.clone(),
                due: due(run.begun_at, task.due_seconds),
                verified_by: match task.verified_by {
                    VerifiedBy::Check => "check",
                    VerifiedBy::Word => "word",
                }
                .to_owned(),
                open: self.record.case.state.name() == "open" && is_running(run),
                said_by: said.as_ref().map(|said| said.by.clone()),
            }),
            _ => None,
        };
        let names = row.iter().flat_map(|row| &row.assets).map(|asset| self.asset(asset)).collect();
        Ok(CaseRun {
            number: count(number),
            step: count(run.step + 1),
            rung: rung.map(|rung| rung.id.clone()).unwrap_or_default(),
            does: match rung.map(|rung| &rung.doing) {
                Some(Doing::Act(act)) => act.action.clone(),
                Some(Doing::Human(task)) => task.title.clone(),
                None => String::new(),
            },
            state: state(run).to_owned(),
            remediation: row.as_ref().map(|row| row.id.to_string()),
            remediation_state: row.as_ref().map(|row| row.state.name().to_owned()),
            waiting_on: row.as_ref().filter(|_| is_running(run)).and_then(|row| row.waiting.clone()),
            assets: names,
            task,
            late: run.late,
            begun_at: run.begun_at,
            items: run.fates.iter().map(|(item, fate)| self.item(item, fate)).collect(),
        })
    }
}

fn due(begun_at: Timestamp, seconds: u32) -> Timestamp {
    begun_at.checked_add(SignedDuration::from_secs(i64::from(seconds))).unwrap_or(Timestamp::MAX)
}

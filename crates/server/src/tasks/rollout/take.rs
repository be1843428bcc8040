//! Feeds one event to [`step`] and commits the next state with everything that belongs to it in one transaction.

use stanch_engine::Blocked;
use stanch_engine::exposure_time::{Gate, Moment};
use stanch_engine::rollout::{Event, Illegal, Rollout, step};
use stanch_model::Timestamp;
use stanch_model::id::{RemediationId, TaskId};
use stanch_model::remediation::RemediationState;
use stanch_store::remediation::{RemediationFilter, StoredRemediation};
use stanch_store::{CommitError, Transition, Write};

use super::change::Change;
use crate::app::App;
use crate::record::{MOMENTS, Record};
use crate::tasks::{PassError, orders};

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    /// There is no such remediation.
    #[error("there is no remediation {0}")]
    Missing(RemediationId),
    /// It has no plan yet.
    #[error("it is {0} and has no plan yet")]
    NoPlan(RemediationState),
    /// Something else has the lane or the budget now: nothing was written.
    #[error("{why}{}", by.as_ref().map(|by| format!(": {by} is at work there")).unwrap_or_default())]
    Busy {
        /// What is taken.
        why: String,
        /// Who has the lane.
        by: Option<RemediationId>,
        /// The task that there was no room for.
        task: Option<TaskId>,
        /// What it waits for.
        on: Option<Blocked>,
    },
    /// It makes no sense now.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// It could not be committed.
    #[error(transparent)]
    Pass(#[from] PassError),
}

impl From<stanch_store::ReadError> for TakeError {
    fn from(error: stanch_store::ReadError) -> Self {
        Self::Pass(error.into())
    }
}

impl From<CommitError> for TakeError {
    fn from(error: CommitError) -> Self {
        Self::Pass(error.into())
    }
}

/// An event, who tells of it, and what is written with it.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) who: String,
    pub(crate) event: Event,
    pub(crate) with: Vec<Write>,
}

impl Told {
    /// What the server sees by itself.
    pub(crate) fn seen(event: Event) -> Self {
        Self { who: "server".to_owned(), event, with: Vec::new() }
    }
}

/// Takes one event and commits what follows, with these writes. Answers whether anything changed.
pub(crate) async fn take(
    app: &App,
    id: &RemediationId,
    who: &str,
    event: Event,
    with: Vec<Write>,
) -> Result<bool, TakeError> {
    let told = [Told { who: who.to_owned(), event, with }];
    Ok(commit(app, id, &told).await?.contains(&true))
}

/// Events that are taken in one commit, at most.
const TOGETHER: usize = 64;

/// Takes events one after the other, but commits them together: a rollout is read and written whole, so that each commit
/// costs as much as it has targets. Where there is no room for what follows from all of them, each is committed alone.
/// Answers those that changed nothing, and of which nothing was written; one that waits for room is told again later.
pub(crate) async fn take_all(app: &App, id: &RemediationId, told: Vec<Told>) -> Result<Vec<Told>, PassError> {
    let mut left = Vec::new();
    for some in told.chunks(TOGETHER) {
        let taken = match commit(app, id, some).await {
            Err(TakeError::Busy { .. }) => None,
            Err(TakeError::Pass(error)) => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "events were not taken");
                Some(vec![false; some.len()])
            }
            Ok(taken) => Some(taken),
        };
        match taken {
            Some(taken) => {
                left.extend(some.iter().zip(taken).filter(|(_, taken)| !taken).map(|(told, _)| told.clone()));
            }
            None => {
                for one in some {
                    match commit(app, id, std::slice::from_ref(one)).await {
                        Err(TakeError::Busy { .. }) => {}
                        Err(TakeError::Pass(error)) => return Err(error),
                        Ok(taken) if taken.contains(&true) => {}
                        Ok(_) | Err(_) => left.push(one.clone()),
                    }
                }
            }
        }
    }
    Ok(left)
}

/// Commits what follows from these events. Answers of each whether it was taken.
async fn commit(app: &App, id: &RemediationId, told: &[Told]) -> Result<Vec<bool>, TakeError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match once(app, id, told).await {
            // Somebody else moved it meanwhile: load and decide anew.
            Err(TakeError::Pass(PassError::Commit(error))) if error.is_conflict() && attempt < 4 => {}
            done => return done,
        }
    }
}

/// What superseding a plan that nobody approved yet would write, to be committed with the making of its successor.
pub(crate) async fn superseding(app: &App, row: &StoredRemediation, who: &str) -> Result<Transition, TakeError> {
    let now = app.now();
    let mut record = Record::read(&row.body);
    let rollout = record.rollout.take().ok_or(TakeError::NoPlan(row.state))?;
    let event = Event::Superseded;
    let name = event_name(&event);
    let (next, effects) = step(&rollout, event, now)?;
    let waiting = waiting(&next, now);
    record.rollout = Some(next.clone());
    Change::new(app, (row, &record), (&rollout, &next), (who, now), waiting, None).transition(name, effects).await
}

async fn once(app: &App, id: &RemediationId, told: &[Told]) -> Result<Vec<bool>, TakeError> {
    let now = app.now();
    let row = app.store.remediation(id).await?.ok_or_else(|| TakeError::Missing(id.clone()))?;
    let mut record = Record::read(&row.body);
    let rollout = record.rollout.take().ok_or(TakeError::NoPlan(row.state))?;
    let (mut next, mut effects, mut with) = (rollout.clone(), Vec::new(), Vec::new());
    let mut taken = Vec::with_capacity(told.len());
    for one in told {
        match step(&next, one.event.clone(), now) {
            Ok((after, more)) => {
                taken.push(after != next || !more.is_empty() || !one.with.is_empty());
                next = after;
                effects.extend(more);
                with.extend(one.with.iter().cloned());
            }
            // Alone, whoever told it is answered.
            Err(error) if told.len() == 1 => return Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, "an event was not taken");
                taken.push(false);
            }
        }
    }
    let waiting = waiting(&next, now);
    if next == rollout && effects.is_empty() && with.is_empty() && waiting == row.waiting {
        return Ok(vec![false; told.len()]);
    }
    if let [alone] = taken.as_mut_slice() {
        // Also when only the time has changed what it waits for.
        *alone = true;
    }
    let name = told.iter().find_map(|one| event_name(&one.event));
    let answer = told.iter().find_map(|one| match &one.event {
        Event::Answered { answer, .. } => Some(*answer),
        _ => None,
    });
    let by_person = told.iter().any(|one| is_a_persons(&one.event));
    // Of what several have told the server says what follows: each word of theirs is in the record by itself.
    let who = told.first().map(|first| first.who.as_str()).filter(|who| told.iter().all(|one| one.who == *who));
    let who = who.unwrap_or("server");
    record.rollout = Some(next.clone());
    note_gate(&mut record, &next, now);
    record.touches = record.touches.saturating_add(u32::from(by_person));
    let change = Change::new(app, (&row, &record), (&rollout, &next), (who, now), waiting, answer);
    let mut transition = change.transition(name, effects).await?;
    transition.writes.extend(with);
    let receivers = orders::receivers(&transition);
    match app.store.commit(transition).await {
        Ok(_) => app.bus.wake(&receivers),
        // There is no room now: nothing was written, and whoever asked decides what becomes of it.
        Err(
            error @ (CommitError::OverBudget { .. } | CommitError::LaneBusy { .. } | CommitError::TakenBack { .. }),
        ) => {
            let why = error.to_string();
            let (by, task, on) = match error {
                CommitError::LaneBusy { asset, .. } => {
                    let task = next.tasks.iter().find(|task| task.asset.as_str() == asset);
                    let on = task.map(|task| Blocked::Lane { asset: task.asset.clone() });
                    (at_work(app, id, &asset).await?, task.map(|task| task.id.clone()), on)
                }
                CommitError::TakenBack { asset, item } => {
                    let task = next.tasks.iter().find(|task| task.asset.as_str() == asset);
                    let on = Blocked::Suppressed { reason: format!("{item} was taken back"), until: None };
                    (None, task.map(|task| task.id.clone()), Some(on))
                }
                CommitError::OverBudget { holder, scope, limit, .. } => {
                    let task = next.tasks.iter().find(|task| task.id.as_str() == holder).map(|task| task.id.clone());
                    (None, task, Some(Blocked::Budget { scope, limit }))
                }
                _ => (None, None, None),
            };
            let busy = TakeError::Busy { why, by, task, on };
            // A person is answered; what goes on by itself waits, and people see on what.
            if name.is_none() {
                app.waits(id.as_str(), busy.to_string());
            }
            return Err(busy);
        }
        Err(error) => return Err(error.into()),
    }
    app.goes_on(id.as_str());
    change.tell();
    Ok(taken)
}

/// Whether somebody had to do something for this to happen.
const fn is_a_persons(event: &Event) -> bool {
    matches!(
        event,
        Event::Approved { .. }
            | Event::Rejected { .. }
            | Event::UndoAsked { .. }
            | Event::Cancelled { .. }
            | Event::Dismissed { .. }
            | Event::Answered { .. }
    )
}

/// Notes what it waits for from now on, when that is something else.
fn note_gate(record: &mut Record, rollout: &Rollout, now: Timestamp) {
    let waits: Vec<Blocked> = rollout.blocked(now).into_iter().map(|(_, blocked)| blocked).collect();
    let gate = Gate::of(rollout.state, &waits);
    if record.moments.last().is_none_or(|last| last.gate != gate) {
        record.moments.push(Moment { at: now, gate });
        let more = record.moments.len().saturating_sub(MOMENTS);
        record.moments.drain(..more);
    }
}

/// The other remediation that has the lane of an asset.
async fn at_work(app: &App, but: &RemediationId, asset: &str) -> Result<Option<RemediationId>, TakeError> {
    let filter = RemediationFilter { over: Some(false), ..RemediationFilter::default() };
    let rows = app.store.all_remediations(&filter).await?;
    let has_it = |row: &StoredRemediation| {
        let rollout = Record::read(&row.body).rollout;
        rollout.is_some_and(|it| it.tasks.iter().any(|task| task.asset.as_str() == asset && task.state.holds_lane()))
    };
    Ok(rows.into_iter().find(|row| row.id != *but && has_it(row)).map(|row| row.id))
}

/// Everything that a wait says, in one line.
fn waiting(rollout: &Rollout, now: Timestamp) -> Option<String> {
    let mut words: Vec<String> = rollout.blocked(now).into_iter().map(|(_, blocked)| blocked.to_string()).collect();
    words.dedup();
    (!words.is_empty()).then(|| words.join("; "))
}

const fn event_name(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::Submitted => "remediation_submitted",
        Event::Approved { .. } => "remediation_approved",
        Event::Rejected { .. } => "remediation_rejected",
        Event::Superseded => "remediation_superseded",
        Event::UndoAsked { .. } => "undo_asked",
        Event::Cancelled { .. } => "remediation_cancel_asked",
        Event::Dismissed { .. } => "remediation_dismissed",
        Event::Judged { .. } => "task_judged",
        Event::LeaseExpired { .. } => "executor_silent",
        Event::Granted { .. } => "remediation_granted",
        Event::Answered { .. } => "confirmation_answered",
        Event::Tick
        | Event::Receipt { .. }
        | Event::Facts { .. }
        | Event::Reach { .. }
        | Event::HoldChanged { .. }
        | Event::SurroundingsChanged { .. }
        | Event::NoRoom { .. } => return None,
    })
}

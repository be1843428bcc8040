//! What may run when: the calendars of the policies in force, and what has not ended.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use stanch_engine::forecast::{Basis, Durations, Forecast, ForecastInput, WaveSize, forecast};
use stanch_engine::rollout::{Rollout, Task};
use stanch_engine::schedule::Schedule;
use stanch_model::remediation::{RemediationState, TaskState};
use stanch_store::remediation::{RemediationFilter, StoredRemediation};

use crate::api::Problem;
use crate::api::types::{Calendar, CalendarSpan, CalendarSpans, Upcoming};
use crate::app::App;
use crate::auth::Sight;
use crate::record::Record;
use crate::tasks::act;

/// How far it is told.
const AHEAD: SignedDuration = SignedDuration::from_hours(28 * 24);
/// Spans told of one calendar.
const SPANS: usize = 200;
/// From the last act of a wave to newer facts and the check on them.
const VERIFY: SignedDuration = SignedDuration::from_mins(2);

/// The calendars, and what has not ended.
pub(crate) async fn calendar(app: &App, sight: &Sight) -> Result<Calendar, Problem> {
    let now = app.now();
    let until = now.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
    let held = app.policies.held();
    let mut used: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for policy in held.bundle.in_force() {
        let windows = policy.windows.iter().map(|window| (window.calendar.as_str(), "window"));
        let freezes = policy.freezes.iter().map(|freeze| (freeze.term.calendar.as_str(), "freeze"));
        for (name, how) in windows.chain(freezes) {
            let list = used.entry(name).or_default();
            if !list.iter().any(|known| known == how) {
                list.push(how.to_owned());
            }
        }
    }
    let tables = app.policies.calendars(now);
    let calendars = tables.values().map(|table| CalendarSpans {
        name: table.name().to_owned(),
        used_as: used.remove(table.name()).unwrap_or_default(),
        now: table.open_at(now).is_some(),
        spans: table
            .occurrences()
            .iter()
            .filter(|one| one.interval.end > now && one.interval.start < until)
            .take(SPANS)
            .map(|one| CalendarSpan {
                from: one.interval.start,
                until: one.interval.end,
                label: one.label.as_ref().map(ToString::to_string),
            })
            .collect(),
    });
    let calendars = calendars.collect();
    let mut upcoming = Vec::new();
    let filter = RemediationFilter { over: Some(false), ..RemediationFilter::default() };
    for row in app.store.all_remediations(&filter).await? {
        if sight.is_everything() || row.assets.iter().any(|asset| sight.covers(asset)) {
            upcoming.push(one(app, &row, now));
        }
    }
    upcoming.sort_by_key(|one| one.starts_at.unwrap_or(Timestamp::MAX));
    Ok(Calendar { from: now, until, calendars, upcoming })
}

fn one(app: &App, row: &StoredRemediation, now: Timestamp) -> Upcoming {
    let record = Record::read(&row.body);
    let rollout = record.rollout.as_ref();
    let openings = rollout.and_then(|rollout| rollout.surroundings.openings.as_ref());
    let begun = rollout.is_some_and(|rollout| rollout.tasks.iter().any(|task| task.sends > 0));
    let starts_at = openings
        .filter(|_| !begun)
        .and_then(|openings| if openings.is_open(now) { Some(now) } else { openings.opens_after(now) });
    Upcoming {
        id: row.id.to_string(),
        names: record.names.clone(),
        state: row.state.name().to_owned(),
        targets: rollout.map_or(row.assets.len(), |rollout| rollout.tasks.len()) as u64,
        starts_at,
        forecast: rollout
            .filter(|_| !begun)
            .and_then(|rollout| foreseen(app, row, rollout, now))
            .map(|told| told.to_string()),
        waiting_on: row.waiting.clone(),
    }
}

/// When a rollout can be over, were what is left of it started now.
pub(super) fn foreseen(app: &App, row: &StoredRemediation, rollout: &Rollout, now: Timestamp) -> Option<Forecast> {
    use RemediationState as S;
    let (begun, wave) = match row.state {
        S::Planned | S::AwaitingApproval | S::Approved | S::Scheduled | S::Paused => (false, 0),
        S::Rolling(wave) | S::Verifying(wave) | S::Baking(wave) => (true, wave),
        _ => return None,
    };
    let calendars = app.policies.calendars(now);
    let act = act(rollout);
    let schedule = Schedule::new(&rollout.terms, &calendars, &act);
    let left = |task: &&Task| !begun || task.state == TaskState::Pending || task.state.holds_lane();
    // A wave that is watched counts with the whole of its time: it may be over sooner.
    let sizes = (0..).zip(&rollout.bakes).skip_while(|(number, _)| *number < wave).map(|(number, bake)| WaveSize {
        targets: u32::try_from(rollout.tasks.iter().filter(left).filter(|task| task.wave == number).count())
            .unwrap_or(u32::MAX),
        bake_seconds: *bake,
    });
    let waves: Vec<WaveSize> = sizes.collect();
    let held = app.policies.held();
    let deadlines = rollout.policies.iter().filter_map(|name| held.bundle.policy(name)?.deadline_seconds);
    let deadline = deadlines
        .min()
        .and_then(|seconds| row.created_at.checked_add(SignedDuration::from_secs(i64::from(seconds))).ok());
    let input = ForecastInput {
        waves: &waves,
        limits: &rollout.terms.limits,
        schedule: &schedule,
        durations: Durations { typical: act.longest, slow: act.longest, basis: Basis::Declared },
        verify: VERIFY,
        from: now,
        valid_until: Some(rollout.valid_until).filter(|_| !begun),
        deadline,
    };
    forecast(&input).ok()
}

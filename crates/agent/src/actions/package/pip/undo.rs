//! The way back: exactly what pip changed becomes as it was, and nothing else is touched.

use std::collections::BTreeSet;

use serde_json::json;
use stanch_action::{ActionError, Applied, Run};
use stanch_model::id::ItemId;

use super::apply::{self, Captured, Installed, KEPT, Kept, read_acts, versions_changed};
use super::params::{Params, Planned, Projection};
use super::place::Place;
use super::snapshot::Entries;
use super::{Pip, failed, files, restore};
use crate::actions::package::apply::{reached, state};
use crate::actions::package::{point, undo};
use crate::actions::reach;

impl Pip<'_> {
    pub(crate) fn undone(&self, params: &Params, items: &[ItemId], run: &mut dyn Run) -> Result<Applied, ActionError> {
        // Hours and the list of actions do not bind a way back; rules that cannot be read do.
        self.rules.current()?;
        let place = self.place(params)?;
        let back: Vec<&Planned> =
            params.packages.iter().filter(|planned| planned.items.iter().all(|item| items.contains(item))).collect();
        let Some(captured) = state::<Captured>(run.applied(), point::CAPTURED)?.filter(|_| !back.is_empty()) else {
            // Nothing was begun.
            return unchanged(&place, params);
        };
        let vault = run.vault()?;
        let kept: Kept = apply::read(&vault.join(KEPT), captured.kept)?;
        let names: BTreeSet<&str> = back.iter().map(|planned| planned.name.as_str()).collect();
        let of_back = |projection: &Projection| projection.of(|name| names.contains(name));
        let start = now(&place, params)?;
        let installed = state::<Installed>(run.applied(), point::INSTALLED)?;
        let again = reached(run.reached(), point::COMPARED);
        if let Some(installed) = &installed {
            let acts = read_acts(&vault, installed.acts)?;
            let acts = restore::acts_of(&acts, &names).map_err(|path| {
                ActionError::refused(format!("{path} is of packages that stay as well: take them back together"))
            })?;
            if !again {
                if of_back(&start) == of_back(&captured.before) {
                    return unchanged(&place, params);
                }
                let mut reader = place.reader();
                let mut there = Entries::new();
                for path in acts.keys() {
                    let entry = reader.entry(path).map_err(|e| failed(e, "cannot read what was installed"))?;
                    there.extend(entry.map(|entry| ((*path).to_owned(), entry)));
                }
                let moved = match of_back(&installed.after).differences(&of_back(&start)) {
                    same if same.is_empty() => restore::moved(&acts, &there),
                    moved => moved,
                };
                if !moved.is_empty() {
                    let message = "somebody else changed it since".to_owned();
                    return Err(ActionError::Refused { message, moved });
                }
                reach(run, point::COMPARED, json!({}))?;
            }
            if !reached(run.reached(), point::RESTORED) {
                let targets = acts.iter().map(|(path, act)| ((*path).to_owned(), act.before.clone())).collect();
                self.restore(&place, params.lock_timeout_seconds, targets, &kept.entries, run)?;
            }
        } else {
            if back.len() != params.packages.len() {
                return Err(ActionError::refused("pip was broken off: its packages go back together"));
            }
            if !again {
                // What was broken off has no state that somebody could have changed.
                reach(run, point::COMPARED, json!({}))?;
            }
            if !reached(run.reached(), point::RESTORED) {
                let wheels = apply::wheels(run.applied(), &vault)?;
                self.put_back_half(&place, params, &kept, &wheels, run)?;
            }
        }
        if !reached(run.reached(), point::RESTORED) {
            reach(run, point::RESTORED, json!({}))?;
        }
        if !reached(run.reached(), point::RESTARTED) {
            let shared = back.iter().map(|planned| params.shared(&planned.name)).collect();
            undo::restart(self.host, &self.rules.current()?, &shared, run)?;
            reach(run, point::RESTARTED, json!({}))?;
        }
        let now = now(&place, params)?;
        let differences = of_back(&captured.before).differences(&of_back(&now));
        if !differences.is_empty() {
            let names: Vec<&str> = differences.iter().map(|change| change.subject.as_str()).take(10).collect();
            return Err(ActionError::failed(format!("not all is as before: {}", names.join(", ")))
                .with_hint("compare them with the before-state in the plan"));
        }
        let after = installed.map_or(start, |installed| installed.after);
        let changes = versions_changed(&of_back(&after), &of_back(&now));
        Ok(Applied { changed: true, changes, after: now.observation()? })
    }
}

fn now(place: &Place, params: &Params) -> Result<Projection, ActionError> {
    files::projection(place, &place.read(), params.names())
}

fn unchanged(place: &Place, params: &Params) -> Result<Applied, ActionError> {
    Ok(Applied { changed: false, changes: Vec::new(), after: now(place, params)?.observation()? })
}

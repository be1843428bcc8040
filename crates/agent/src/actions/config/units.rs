//! Services that are switched off: stopped and masked, because a mask is one link that is taken away again, and leaves
//! everything by which a service is started as it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use stanch_action::{ActionError, Run};
use stanch_model::facts::{Known, UnitState};

use crate::actions::command::{Invocation, Programs};
use crate::actions::log;
use crate::actions::service::restart;
use crate::facts::Root;
use crate::facts::posture;

/// What systemd calls the file of a masked unit.
pub(crate) const MASKED: &str = "masked";

const SWITCHING: Duration = Duration::from_secs(120);

/// How these units stand; those that are not there are left out.
pub(crate) fn read(host: &dyn Programs, units: &[&str]) -> Result<BTreeMap<String, UnitState>, ActionError> {
    let root = Root::open(Path::new("/")).map_err(|e| ActionError::caused("cannot open the root folder", e))?;
    let mut states = BTreeMap::new();
    for (unit, state) in posture::units(host, &root, units) {
        match state {
            Known::Known(state) => drop(states.insert(unit, state)),
            Known::Unknown(why) => return Err(ActionError::refused(format!("{unit}: {why}"))),
        }
    }
    Ok(states)
}

/// Whether a mask can be laid and taken away again: a file of the owner's in its place would be lost.
pub(crate) fn can_be_masked(unit: &str) -> Result<(), ActionError> {
    let path = Path::new("/etc/systemd/system").join(unit);
    match std::fs::symlink_metadata(&path) {
        Ok(_) => Err(ActionError::refused(format!("{} is there, where the mask would be", path.display()))),
        Err(_) => Ok(()),
    }
}

/// Refuses to stop what something else that runs cannot be without: it would stop too, and nothing starts it again.
pub(crate) fn are_spared(host: &dyn Programs, units: &[&str]) -> Result<(), ActionError> {
    for unit in units {
        let about = restart::show(host, unit, &["RequiredBy", "BoundBy", "ConsistsOf"])?;
        for other in about.values().flat_map(|list| list.split_whitespace()).filter(|other| !units.contains(other)) {
            let state = restart::show(host, other, &["ActiveState"])?;
            if state.get("ActiveState").is_some_and(|state| state == "active") {
                return Err(ActionError::refused(format!("{other} runs and needs {unit}: it would be stopped too")));
            }
        }
    }
    Ok(())
}

/// Brings units to these states: those that are wanted masked are, and stopped; others lose their mask and run if they
/// are to.
pub(crate) fn write(
    host: &dyn Programs,
    wanted: &BTreeMap<String, UnitState>,
    run: &mut dyn Run,
) -> Result<(), ActionError> {
    let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
    let now = read(host, &names)?;
    let pick = |of: &dyn Fn(&UnitState, &UnitState) -> bool| -> Vec<&str> {
        let due = wanted.iter().filter(|(unit, wanted)| now.get(*unit).is_some_and(|now| of(now, wanted)));
        due.map(|(unit, _)| unit.as_str()).collect()
    };
    let mask = pick(&|now, wanted| wanted.file == MASKED && now.file != MASKED);
    let unmask = pick(&|now, wanted| wanted.file != MASKED && now.file == MASKED);
    let stop = pick(&|now, wanted| !wanted.active && now.active);
    let start = pick(&|now, wanted| wanted.active && !now.active);
    // Together, so that a socket does not start what was just stopped.
    for (verb, units) in [("mask", mask), ("unmask", unmask), ("stop", stop), ("start", start)] {
        if units.is_empty() {
            continue;
        }
        run.progress(&format!("systemctl {verb} {}", units.join(" ")));
        let args = [verb, "--"].into_iter().chain(units.iter().copied());
        let output = host
            .run(&Invocation::changing("systemctl", args, log(run)?).within(SWITCHING))
            .map_err(|error| ActionError::caused(format!("systemctl {verb} gave no result"), error))?;
        run.evidence(&format!("systemctl {verb}"), &output.stdout);
        if !output.ok() {
            return Err(ActionError::failed(format!("systemctl {verb} {}: {}", units.join(" "), output.complaint())));
        }
    }
    Ok(())
}

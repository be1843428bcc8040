//! What a setting is on this host: the value that counts now, and what makes it so after the next start.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use stanch_action::ActionError;
use stanch_model::facts::{FileMode, Known, UnitState};
use stanch_model::plan::Change;
use stanch_model::posture::{Check, Kind, OFF, Wanted};

use super::drop_in::DropIn;
use super::{files, sshd, units};
use crate::actions::command::Programs;
use crate::facts::posture;

/// The last file that is read of all in its folder, so that it wins. `/etc/sysctl.conf` is read there as
/// `99-sysctl.conf`.
pub(crate) const SYSCTL: DropIn = DropIn { folder: "/etc/sysctl.d", name: "zz-stanch.conf", between: " = " };

pub(super) const PROC: &str = "/proc";

/// The state of one setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum State {
    /// A value in force, and the lines of our own file about it.
    Line {
        /// The value.
        value: String,
        /// The lines.
        lines: Vec<String>,
    },
    /// Who may do what with a file.
    File {
        /// Mode, owner and group.
        mode: FileMode,
    },
    /// How the units of a service stand.
    Units {
        /// By name.
        units: BTreeMap<String, UnitState>,
    },
}

/// The file that settings of a kind are written to, where there is one.
pub(crate) const fn drop_in(kind: Kind) -> Option<DropIn> {
    match kind {
        Kind::Sysctl => Some(SYSCTL),
        Kind::Sshd => Some(sshd::FILE),
        Kind::File | Kind::Service => None,
    }
}

/// Reads settings of one kind; those that are not on the host have no state.
pub(crate) fn read(
    host: &dyn Programs,
    kind: Kind,
    checks: &[&'static Check],
) -> Result<BTreeMap<&'static str, State>, ActionError> {
    let text = drop_in(kind).map(|file| file.read()).transpose()?.flatten();
    let settings = if kind == Kind::Sshd && host.has("sshd") { Some(sshd::settings(host)?) } else { None };
    let mut states = BTreeMap::new();
    for check in checks {
        let lines = || drop_in(kind).map(|file| file.lines(text.as_deref(), check.name)).unwrap_or_default();
        let state = match kind {
            Kind::Sysctl => match posture::sysctl(Path::new(PROC), check.name) {
                Some(Known::Known(value)) => Some(State::Line { value, lines: lines() }),
                Some(Known::Unknown(why)) => return Err(ActionError::failed(format!("{}: {why}", check.setting()))),
                None => None,
            },
            Kind::Sshd => settings
                .as_ref()
                .and_then(|all| sshd::value(all, check.name))
                .map(|value| State::Line { value: value.to_owned(), lines: lines() }),
            Kind::File => files::read(check.name)?.map(|mode| State::File { mode }),
            Kind::Service => Some(units::read(host, check.units)?)
                .filter(|units| !units.is_empty())
                .map(|units| State::Units { units }),
        };
        if let Some(state) = state {
            states.insert(check.short(), state);
        }
    }
    Ok(states)
}

impl State {
    /// What `config.set` makes of it; nothing where the pack sets nothing.
    pub(crate) fn target(&self, check: &Check) -> Option<Self> {
        let set = check.set?;
        Some(match (self, check.wanted) {
            (Self::Line { .. }, _) => {
                let line = drop_in(check.kind)?.line(check.name, set);
                Self::Line { value: set.to_owned(), lines: vec![line] }
            }
            (Self::File { mode }, Wanted::ModeAtMost(most, groups)) => Self::File { mode: mode.narrowed(most, groups) },
            (Self::Units { units }, _) => {
                let off = || UnitState { file: units::MASKED.to_owned(), active: false };
                Self::Units { units: units.keys().map(|unit| (unit.clone(), off())).collect() }
            }
            _ => return None,
        })
    }

    /// Whether the check is content with it; nothing where that cannot be told.
    pub(crate) fn holds(&self, check: &Check) -> Option<bool> {
        match self {
            Self::Line { value, .. } => check.wanted.holds(value),
            Self::File { mode } => check.wanted.holds(&mode.to_string()),
            Self::Units { units } => check.wanted.holds(if units.values().any(UnitState::is_on) { "on" } else { OFF }),
        }
    }

    /// Whether it is what was set. sshd calls some values by another name, so that there the check has to be content.
    pub(crate) fn is_set(&self, target: &Self, check: &Check) -> bool {
        match (self, target) {
            (Self::Line { lines, .. }, Self::Line { lines: set, .. }) if check.kind == Kind::Sshd => {
                lines == set && self.holds(check) == Some(true)
            }
            _ => self == target,
        }
    }

    /// Whether it lies between two states, as after a death half-way: each part of it is as in one or the other.
    pub(crate) fn is_between(&self, one: &Self, other: &Self, check: &Check) -> bool {
        match (self, one, other) {
            (Self::Line { value, lines }, Self::Line { value: a, lines: from }, Self::Line { value: b, lines: to }) => {
                let known = value == a || value == b || (check.kind == Kind::Sshd && self.holds(check) == Some(true));
                known && (lines == from || lines == to)
            }
            (Self::File { mode }, Self::File { mode: a }, Self::File { mode: b }) => {
                (mode.mode == a.mode || mode.mode == b.mode || mode.mode == a.mode & b.mode)
                    && (mode.uid == a.uid || mode.uid == b.uid)
                    && (mode.gid == a.gid || mode.gid == b.gid)
            }
            (Self::Units { units }, Self::Units { units: a }, Self::Units { units: b }) => {
                units.len() == a.len()
                    && units.iter().all(|(unit, now)| {
                        let (Some(a), Some(b)) = (a.get(unit), b.get(unit)) else { return false };
                        (now.file == a.file || now.file == b.file) && (now.active == a.active || now.active == b.active)
                    })
            }
            _ => false,
        }
    }

    /// The difference to another state, a line for each part, for a person to read.
    pub(crate) fn changes(&self, to: &Self, check: &Check) -> Vec<Change> {
        let line = |subject: String, before: Option<String>, after: Option<String>| Change {
            subject,
            before,
            after,
            note: None,
        };
        match (self, to) {
            (Self::Line { value, lines }, Self::Line { value: then, lines: set }) => {
                let path = drop_in(check.kind).map(|file| file.path()).unwrap_or_default();
                let written = |lines: &[String]| (!lines.is_empty()).then(|| lines.join("; "));
                vec![
                    line(check.setting(), Some(value.clone()), Some(then.clone())),
                    line(path, written(lines), written(set)),
                ]
            }
            (Self::File { mode }, Self::File { mode: then }) => {
                vec![line(check.name.to_owned(), Some(mode.to_string()), Some(then.to_string()))]
            }
            (Self::Units { units }, Self::Units { units: then }) => units
                .iter()
                .map(|(unit, state)| {
                    line(unit.clone(), Some(state.to_string()), then.get(unit).map(ToString::to_string))
                })
                .collect(),
            _ => Vec::new(),
        }
        .into_iter()
        .filter(|change| change.before != change.after)
        .collect()
    }
}

/// Gives a parameter of the kernel this value.
pub(crate) fn write_sysctl(name: &str, value: &str) -> Result<(), ActionError> {
    let path = posture::sysctl_path(Path::new(PROC), name);
    fs::write(&path, value)
        .map_err(|error| ActionError::caused(format!("the kernel does not take {value} for {name}"), error))
}

/// Other files that set a parameter and are read after ours at some time, for a person to know.
pub(crate) fn overrides(name: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/sysctl.conf").ok()?;
    let set = !SYSCTL.lines(Some(&text), name).is_empty();
    set.then(|| "/etc/sysctl.conf sets it too, and wins whenever somebody runs `sysctl --system`".to_owned())
}

//! People who are at work on the host.

use std::path::Path;

use stanch_action::ActionError;

use super::command::{Invocation, Programs};

/// Sessions of people, a line each, other than the one that this runs in.
///
/// # Errors
/// When the host does not tell.
pub(crate) fn of_people(host: &dyn Programs) -> Result<Vec<String>, ActionError> {
    let own = std::fs::read_to_string("/proc/self/sessionid").unwrap_or_default();
    let systemd = Path::new("/run/systemd/system").is_dir() && host.has("loginctl");
    let invocation = if systemd {
        Invocation::reading("loginctl", ["list-sessions", "--no-legend", "--no-pager"])
    } else {
        Invocation::reading("who", [] as [&str; 0])
    };
    let output = host.run(&invocation).map_err(|e| ActionError::caused("cannot tell who is at work", e))?;
    if !output.ok() {
        return Err(ActionError::failed(format!("cannot tell who is at work: {}", output.complaint())));
    }
    let lines = output.text();
    let others = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(others
        .filter(|line| !systemd || line.split_whitespace().next() != Some(own.trim()))
        .map(str::to_owned)
        .collect())
}

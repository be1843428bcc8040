//! People who are at work on the host.

use std::collections::BTreeSet;
use std::path::Path;

use stanch_action::ActionError;

use super::command::{Invocation, Programs};

/// Sessions of people, a line each, other than the one that this runs in.
///
/// # Errors
/// When the host does not tell.
pub(crate) fn of_people(host: &dyn Programs) -> Result<Vec<String>, ActionError> {
    if !(Path::new("/run/systemd/system").is_dir() && host.has("loginctl")) {
        return Ok(lines(&told(host, &Invocation::reading("who", [] as [&str; 0]))?));
    }
    let own = std::fs::read_to_string("/proc/self/sessionid").unwrap_or_default();
    let listed = told(host, &Invocation::reading("loginctl", ["list-sessions", "--no-legend", "--no-pager"]))?;
    let mut sessions = lines(&listed);
    sessions.retain(|line| id(line) != own.trim());
    if sessions.is_empty() {
        return Ok(sessions);
    }
    let ask = ["show-session", "--no-pager", "--property=Id", "--property=Class", "--property=State"];
    let ids = sessions.iter().map(|line| id(line));
    let about = told(host, &Invocation::reading("loginctl", ask.into_iter().chain(["--"]).chain(ids)));
    // One that ended meanwhile makes the question fail; somebody too many is the careful answer.
    if let Ok(about) = about {
        let others = not_people(&about);
        sessions.retain(|line| !others.contains(id(line)));
    }
    Ok(sessions)
}

fn told(host: &dyn Programs, invocation: &Invocation) -> Result<String, ActionError> {
    let output = host.run(invocation).map_err(|e| ActionError::caused("cannot tell who is at work", e))?;
    if !output.ok() {
        return Err(ActionError::failed(format!("cannot tell who is at work: {}", output.complaint())));
    }
    Ok(output.text())
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The session's id: what its line begins with.
fn id(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}

/// Of the sessions that `loginctl show-session` tells of, those that are nobody at work: a service manager's, a
/// greeter's, and what is only being closed.
fn not_people(about: &str) -> BTreeSet<&str> {
    let blocks = about.split("\n\n").map(|block| {
        let property = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        (property("Id"), property("Class"), property("State"))
    });
    let others = blocks.filter_map(|(id, class, state)| {
        let person = class.is_none_or(|class| class.starts_with("user")) && state != Some("closing");
        id.filter(|_| !person)
    });
    others.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_greeters_and_what_is_closing_are_nobody_at_work() {
        let about = "Id=1\nClass=user\nState=active\n\nId=2\nClass=manager\nState=active\n\nId=c1\nClass=greeter\n\
             State=online\n\nId=4\nClass=user-early\nState=online\n\nId=5\nClass=user\nState=closing\n";
        assert_eq!(not_people(about), BTreeSet::from(["2", "c1", "5"]));
    }
}

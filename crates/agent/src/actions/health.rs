//! The host's own health probes: programs that its owner wrote down in the rules of this host. They are part of its facts,
//! and asked again after every act.

use std::time::Duration;

use stanch_model::facts::Health;
use stanch_model::order::{Check, CheckOutcome};
use stanch_runner::mask;

use super::check;
use super::command::{Invocation, Programs};
use crate::rules::{Probe, Rules};

/// The host's own probes, as checks of what was done.
pub(crate) fn checks(host: &dyn Programs, rules: &Rules) -> Vec<Check> {
    let checked = |one: Health| {
        check("health-probe", if one.well { CheckOutcome::Successful } else { CheckOutcome::Failed }, one.detail)
    };
    read(host, rules).into_iter().map(checked).collect()
}

/// What the host's own probes say, whether or not anything is done. Takes as long as they do, one after the other.
pub(crate) fn read(host: &dyn Programs, rules: &Rules) -> Vec<Health> {
    let ask = |probe: &Probe| {
        // Programs are named by static texts; `env` runs any, without a shell.
        let invocation = Invocation::reading("env", ["--"].into_iter().chain(probe.command.iter().map(String::as_str)))
            .within(Duration::from_secs(probe.timeout_seconds.into()));
        let (well, detail) = match host.run(&invocation) {
            Ok(output) if output.ok() => (true, format!("{} is well", probe.name)),
            Ok(output) => {
                let code = output.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
                (false, format!("{} ended with {code}: {}", probe.name, output.complaint()))
            }
            Err(error) => (false, format!("{}: {error}", probe.name)),
        };
        Health { name: probe.name.clone(), well, detail: mask(&detail) }
    };
    rules.probes.iter().map(ask).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::actions::Host;

    #[test]
    fn probes_say_how_the_host_is_without_giving_secrets_away() {
        let rules = "[[probe]]\nname = \"up\"\ncommand = [\"/bin/true\"]\n\n[[probe]]\nname = \"api\"\n\
                     command = [\"/bin/sh\", \"-c\", \"echo password=hunter22 >&2; exit 3\"]\n";
        let rules = Rules::parse(rules).unwrap();
        let host: Arc<dyn Programs> = Arc::new(Host::default());
        let said = read(host.as_ref(), &rules);
        assert_eq!(
            said.iter().map(|one| (one.name.as_str(), one.well)).collect::<Vec<_>>(),
            [("up", true), ("api", false)]
        );
        assert!(said[1].detail.starts_with("api ended with 3"), "{said:?}");
        assert!(!said[1].detail.contains("hunter22"), "{said:?}");
        assert_eq!(checks(host.as_ref(), &rules)[1].outcome, CheckOutcome::Failed);
    }
}

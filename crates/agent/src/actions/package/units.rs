//! Services that a package brings: its own scripts may restart them while it is upgraded, whatever Stanch restarts
//! afterwards or not.

use std::collections::BTreeSet;
use std::fs;

use super::{Key, PackageUpgrade};
use crate::actions::service::excluded;
use crate::rules::Rules;

/// Folders of unit files and init scripts.
const FOLDERS: [&str; 4] = ["/lib/systemd/system/", "/usr/lib/systemd/system/", "/etc/systemd/system/", "/etc/init.d/"];

impl PackageUpgrade {
    /// The services of an installed package, by the names of their unit files and init scripts. What comes along new runs
    /// nothing yet.
    pub(super) fn units(&self, key: &Key) -> BTreeSet<String> {
        let names = [format!("{}.list", key.name), format!("{key}.list")];
        let list = names.iter().find_map(|name| fs::read_to_string(self.info.join(name)).ok());
        list.iter().flat_map(|list| list.lines()).filter_map(unit).map(str::to_owned).collect()
    }
}

/// The service whose unit file or init script this is.
pub(super) fn unit(path: &str) -> Option<&str> {
    let name = FOLDERS.iter().find_map(|folder| path.strip_prefix(folder))?;
    let script = path.starts_with("/etc/init.d/");
    (!name.is_empty() && !name.contains('/') && (script || name.ends_with(".service"))).then_some(name)
}

/// A note on services that Stanch itself would leave to a person.
pub(super) fn delicate(units: &BTreeSet<String>, rules: &Rules) -> Option<String> {
    let left = |unit: &&String| excluded::reason(unit).is_some() && !rules.allows_service(unit);
    let mut names: Vec<&str> =
        units.iter().filter(left).map(|unit| unit.strip_suffix(".service").unwrap_or(unit)).collect();
    names.dedup();
    (!names.is_empty()).then(|| format!("its own package scripts may restart {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use stanch_model::order::StepRequest;

    use super::*;
    use crate::actions::doubles::Table;

    const LISTING: &str = "\u{1}docker.io\tamd64\t1\tdocker.io\t1\tinstall\tinstalled\tok\t";
    const POLICY: &str =
        "docker.io:\n  Candidate: 2\n  Version table:\n     2 500\n        500 http://x s/m amd64 Packages\n";
    const FILES: &str = "/.\n/usr/bin/dockerd\n/lib/systemd/system/docker.service\n/lib/systemd/system/docker.socket\n\
                         /etc/init.d/docker\n/lib/systemd/system/docker.service.d/x.conf\n";

    /// The note on the plan's line, or why nothing is planned.
    fn planned(rules: &str) -> Result<Option<String>, (String, String)> {
        let info = tempfile::tempdir().unwrap();
        fs::write(info.path().join("docker.io.list"), FILES).unwrap();
        let host = Arc::new(Table::new(&[
            ("print-architecture", "amd64"),
            ("--showformat", LISTING),
            ("apt-cache policy", POLICY),
            ("-s install", "Inst docker.io [1] (2 x:1/s [amd64])\n"),
        ]));
        let mut action = PackageUpgrade::new(host, Rules::parse(rules).unwrap());
        action.info = info.path().to_owned();
        let want = json!({"sources": ["docker.io"], "to": "candidate"});
        let request = StepRequest { action: super::super::NAME.to_owned(), want, items: Vec::new() };
        let mut answer = action.planned(&[request]).unwrap();
        match answer.refused.pop() {
            Some(refused) => Err((refused.reason, refused.hint.unwrap())),
            None => Ok(answer.steps[0].changes[0].note.clone()),
        }
    }

    #[test]
    fn a_plan_says_what_package_scripts_may_restart_and_stops_where_the_owner_forbids_it() {
        assert!(planned("").unwrap().unwrap().ends_with("its own package scripts may restart docker"));
        let allowed = planned("[allow]\nservices = [\"docker\"]\n").unwrap();
        assert!(!allowed.unwrap().contains("scripts"));
        let (reason, hint) = planned("[deny]\nservices = [\"docker.service\"]\n").unwrap_err();
        assert!(reason.contains("deny a restart of docker") && reason.contains("docker.io:amd64"), "{reason}");
        assert!(hint.contains("apt-mark hold docker.io") && hint.contains("deny.services"), "{hint}");
    }
}

//! Which release an installed package belongs to. Advisories speak of one release; a package of another suite has
//! versions that only look comparable.

use stanch_model::facts::{HostFacts, Origin, Package};

use crate::releases::{self, Release};

/// Where a package comes from, as seen from the host's release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Suite {
    /// The host's own release, with its security and update pockets, or unknown.
    Own,
    /// Another release of the same distribution.
    Other(&'static Release),
    /// Something that no advisory feed speaks of; the text names it.
    Foreign(String),
}

/// The suite of a package. What no index on the host carries counts as the host's own: a superseded version vanishes
/// from the indexes while it is still installed.
pub(crate) fn of(facts: &HostFacts, package: &Package) -> Suite {
    let version = package.source_version.as_str();
    if version.contains("~bpo") {
        return Suite::Foreign("backports".to_owned());
    }
    let mut foreign = Suite::Own;
    for origin in &package.origins {
        match one(facts, origin) {
            Suite::Own => return Suite::Own,
            // Another release says more than a stranger.
            other => {
                if !matches!(foreign, Suite::Other(_)) {
                    foreign = other;
                }
            }
        }
    }
    foreign
}

fn one(facts: &HostFacts, origin: &Origin) -> Suite {
    // Local archives often carry no label at all.
    if origin.origin.is_empty() {
        return Suite::Own;
    }
    let name = if origin.codename.is_empty() { &origin.suite } else { &origin.codename };
    if !origin.origin.eq_ignore_ascii_case(&facts.os.id) {
        return Suite::Foreign(format!("{} {name}", origin.origin).trim_end().to_owned());
    }
    if name.ends_with("-backports") || name.ends_with("-backports-sloppy") {
        return Suite::Foreign(name.clone());
    }
    match releases::of_codename(name) {
        _ if name.is_empty() => Suite::Own,
        Some(release) if Some(release.codename) == own(facts) => Suite::Own,
        Some(release) => Suite::Other(release),
        None if facts.os.codename.as_deref() == name.split('-').next() => Suite::Own,
        None => Suite::Foreign(name.clone()),
    }
}

fn own(facts: &HostFacts) -> Option<&'static str> {
    let version = facts.os.version_id.as_deref()?;
    releases::release(&facts.os.id, version).map(|release| release.codename)
}

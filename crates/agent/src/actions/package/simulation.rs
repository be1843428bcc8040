//! What `apt-get -s` says it would do.
//!
//! apt is the only one that knows what apt will do: pins, holds, conflicts and multi-arch are its business. So a plan is
//! what apt prints, and the plan is only taken when apt prints it again for exactly that list.

use std::collections::BTreeMap;

use stanch_model::version::DebVersion;

use super::Key;

/// One package that would be installed, upgraded or downgraded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Install {
    /// The version there is now.
    pub(crate) from: Option<DebVersion>,
    /// The version there would be.
    pub(crate) to: DebVersion,
    /// The archives apt would take it from, as apt names them: `Debian-Security:12/oldstable-security`.
    pub(crate) origins: String,
}

/// All that would happen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Simulation {
    /// What would be installed.
    pub(crate) installs: BTreeMap<Key, Install>,
    /// What would be removed, with the version there is now.
    pub(crate) removals: BTreeMap<Key, String>,
}

/// A line that is not as apt writes it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("apt's simulation has a line that cannot be read: `{line}`")]
pub(crate) struct Unreadable {
    line: String,
}

/// Most lines taken from a simulation.
const MOST_LINES: usize = 200_000;

/// Reads the simulation that apt printed. `native` is dpkg's main architecture: apt writes names of that one bare.
pub(crate) fn parse(text: &str, native: &str) -> Result<Simulation, Unreadable> {
    let mut found = Simulation::default();
    for line in text.lines().take(MOST_LINES) {
        let unreadable = || Unreadable { line: line.chars().take(200).collect() };
        if let Some(rest) = line.strip_prefix("Inst ") {
            let (key, install) = inst(rest, native).ok_or_else(unreadable)?;
            found.installs.insert(key, install);
        } else if let Some(rest) = line.strip_prefix("Remv ").or_else(|| line.strip_prefix("Purg ")) {
            let mut words = rest.split_whitespace();
            let name = words.next().ok_or_else(unreadable)?;
            let version = words.next().unwrap_or("").trim_matches(['[', ']']).to_owned();
            found.removals.insert(Key::read(name, native), version);
        }
    }
    Ok(found)
}

/// `NAME [OLD] (NEW ORIGIN, ORIGIN [ARCH])`, then what is broken meanwhile, which does not matter here.
fn inst(rest: &str, native: &str) -> Option<(Key, Install)> {
    let (name, rest) = rest.split_once(' ')?;
    let rest = rest.trim_start();
    let (from, rest) = match rest.strip_prefix('[') {
        Some(old) => {
            let (old, rest) = old.split_once(']')?;
            (Some(old.parse().ok()?), rest.trim_start())
        }
        None => (None, rest),
    };
    let rest = rest.strip_prefix('(')?;
    // An origin's name may itself hold brackets, so the architecture is what stands last before the closing one.
    let (inside, _) = rest.split_once("])")?;
    let (inside, arch) = inside.rsplit_once('[')?;
    let (to, origins) = inside.trim().split_once(' ').unwrap_or((inside.trim(), ""));
    let arch = arch.trim();
    if arch.is_empty() || !arch.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return None;
    }
    let mut key = Key::read(name, native);
    arch.clone_into(&mut key.arch);
    Some((key, Install { from, to: to.parse().ok()?, origins: origins.trim().to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_a_new_package_and_one_for_every_architecture() {
        let text = "Reading package lists...\n\
            Inst base-files [12.4+deb12u11] (12.4+deb12u12 Debian:12.12/oldstable [amd64])\n\
            Inst newdep (1.0 localhost [amd64])\n\
            Inst tzdata [2026b-0+deb12u1] (2026f-0+deb12u1 Debian:12.12/oldstable, Debian-Security:12/oldstable-security [all]) []\n\
            Inst libc6:i386 [2.36-9] (2.36-10 Debian:12/x [i386]) [libc6:amd64 ]\n\
            Remv other [1:1.0] [demo:amd64 ]\n\
            Conf newdep (1.0 localhost [amd64])\n";
        let found = parse(text, "amd64").unwrap();
        let shown: Vec<String> = found
            .installs
            .iter()
            .map(|(key, i)| {
                format!("{key} {} -> {} from {}", i.from.as_ref().map_or("-", |v| v.as_str()), i.to, i.origins)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "base-files:amd64 12.4+deb12u11 -> 12.4+deb12u12 from Debian:12.12/oldstable",
                "libc6:i386 2.36-9 -> 2.36-10 from Debian:12/x",
                "newdep:amd64 - -> 1.0 from localhost",
                "tzdata:all 2026b-0+deb12u1 -> 2026f-0+deb12u1 from Debian:12.12/oldstable, \
                 Debian-Security:12/oldstable-security",
            ]
        );
        assert_eq!(
            found.removals.into_iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>(),
            ["other:amd64 1:1.0"]
        );
    }

    #[test]
    fn a_line_apt_would_not_write_is_an_error_and_not_a_guess() {
        for line in ["Inst x", "Inst x [1 (2 o [amd64])", "Inst x [1] (2 o)", "Inst x [1] (!! o [amd64])", "Remv "] {
            assert!(parse(line, "amd64").is_err(), "{line}");
        }
    }

    #[test]
    fn what_apt_printed_on_a_real_root_is_read_whole() {
        let text = include_str!("../../../tests/fixtures/actions/simulation-minimal.txt");
        let found = parse(text, "amd64").unwrap();
        assert_eq!(found.installs.len(), text.matches("\nInst ").count());
        assert!(found.removals.is_empty());
        assert!(found.installs.values().all(|i| i.from.as_ref().is_some_and(|from| *from < i.to)));
        let tzdata = &found.installs[&Key::read("tzdata:all", "amd64")];
        assert_eq!(tzdata.to.as_str(), "2026f-0+deb12u1");
        assert!(tzdata.origins.contains("Debian-Security"), "{}", tzdata.origins);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(Inst|Remv) [ -~]{0,60}") {
            let _ = parse(&text, "amd64");
        }
    }
}

//! What an archive says of itself in its Release file, with the names apt gives its files.

use stanch_model::facts::Origin;

use crate::facts::deb822::Stanzas;

/// How much of a Release file is read: its fields stand before its checksums.
pub(crate) const HEAD: u64 = 32 << 10;

/// The fields of a Release file that matter for choosing versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) origin: String,
    pub(crate) label: String,
    pub(crate) suite: String,
    pub(crate) codename: String,
    pub(crate) version: String,
    /// Not taken unless asked for (experimental, backports).
    pub(crate) not_automatic: bool,
    /// Yet upgraded once something of it is installed (backports).
    pub(crate) but_automatic_upgrades: bool,
}

impl Release {
    /// Reads the head of a Release or InRelease file; a cut last line does no harm. A file without fields gives an
    /// archive without names, which matches no pin.
    pub(crate) fn parse(head: &[u8]) -> Self {
        let named = |stanza: &crate::facts::deb822::Stanza<'_>| {
            ["Origin", "Label", "Suite", "Codename"].iter().any(|name| stanza.get(name).is_some())
        };
        let Some(stanza) = Stanzas::new(head).take(4).find(named) else { return Self::default() };
        let text = |name: &str| stanza.text(name).unwrap_or_default().chars().take(200).collect::<String>();
        let yes = |name: &str| stanza.text(name).is_some_and(|value| value.eq_ignore_ascii_case("yes"));
        Self {
            origin: text("Origin"),
            label: text("Label"),
            suite: text("Suite"),
            codename: text("Codename"),
            version: text("Version"),
            not_automatic: yes("NotAutomatic"),
            but_automatic_upgrades: yes("ButAutomaticUpgrades"),
        }
    }

    /// The archive with one of its components.
    pub(crate) fn component(&self, component: &str) -> Origin {
        Origin {
            origin: self.origin.clone(),
            label: self.label.clone(),
            suite: self.suite.clone(),
            codename: self.codename.clone(),
            component: component.to_owned(),
        }
    }
}

/// What the name of a file under `/var/lib/apt/lists` tells: `HOST_PATH_dists_SUITE_COMPONENT_binary-ARCH_Packages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListName {
    /// The file's name.
    pub(crate) file: String,
    /// The file of the Release that covers it, if there is one.
    pub(crate) release: Option<String>,
    /// The host it came from; empty for one on this machine.
    pub(crate) site: String,
    /// The component, such as `main`; empty in a flat archive.
    pub(crate) component: String,
}

/// Picks the package indexes out of the names in the folder.
pub(crate) fn lists(names: &[String]) -> Vec<ListName> {
    let release = |name: &String| {
        let prefix = name.strip_suffix("InRelease").or_else(|| name.strip_suffix("Release"))?;
        prefix.ends_with('_').then(|| (prefix.to_owned(), name.clone()))
    };
    // Of two Release files of one archive apt takes the signed one, which sorts first.
    let releases: Vec<(String, String)> = names.iter().filter_map(release).collect();
    let mut lists = Vec::new();
    for file in names {
        let stem = [".lz4", ".gz", ".xz", ".zst", ".bz2", ".lzma"].iter().find_map(|end| file.strip_suffix(end));
        let stem = stem.unwrap_or(file);
        let Some(place) = stem.strip_suffix("_Packages") else { continue };
        let covers = |(prefix, _): &&(String, String)| stem.starts_with(prefix.as_str());
        let longest = releases.iter().filter(covers).max_by_key(|(prefix, _)| prefix.len());
        let inside = longest.map_or("", |(prefix, _)| place.strip_prefix(prefix.as_str()).unwrap_or_default());
        let component = inside.rsplit_once("_binary-").map_or("", |(component, _)| component);
        lists.push(ListName {
            file: file.clone(),
            release: longest.map(|(_, name)| name.clone()),
            site: unescape(file.split('_').next().unwrap_or_default()),
            component: unescape(&component.replace('_', "/")),
        });
    }
    lists
}

/// Takes apt's `%5f` escapes and a port off a host.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        match after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                plain.push('%');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    match plain.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host.to_owned(),
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_release_tells_its_names() {
        let text = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nLabel: Debian-Security\nSuite: stable-security\nCodename: bookworm-security\nNotAutomatic: yes\nSHA256:\n abc 12 ma";
        let release = Release::parse(text);
        assert!(release.component("main").is_security());
        assert_eq!(release.suite, "stable-security");
        assert!(release.not_automatic && !release.but_automatic_upgrades);
    }

    #[test]
    fn an_unnamed_release_is_no_security_archive() {
        assert_eq!(Release::parse(b"not a release"), Release::default());
        assert!(!Release::default().component("main").is_security());
    }

    #[test]
    fn an_index_is_matched_with_the_nearest_release() {
        let names = [
            "deb.debian.org_debian_dists_bookworm-updates_InRelease",
            "deb.debian.org_debian_dists_bookworm_InRelease",
            "deb.debian.org_debian_dists_bookworm_non-free-firmware_binary-amd64_Packages.lz4",
            "deb.debian.org_debian_dists_bookworm_main_i18n_Translation-en",
            "local.example:8080_flat_._Packages.gz",
            "local.example:8080_flat_._Release",
            "_srv_repo_dists_my%5fsuite_InRelease",
            "_srv_repo_dists_my%5fsuite_updates_main_binary-all_Packages",
            "orphan_Packages",
        ]
        .map(str::to_owned);
        let seen: Vec<_> = lists(&names)
            .into_iter()
            .map(|list| (list.site, list.component, list.release.unwrap_or_default()))
            .collect();
        let row = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            seen,
            [
                row("deb.debian.org", "non-free-firmware", "deb.debian.org_debian_dists_bookworm_InRelease"),
                row("local.example", "", "local.example:8080_flat_._Release"),
                row("", "updates/main", "_srv_repo_dists_my%5fsuite_InRelease"),
                row("orphan", "", ""),
            ]
        );
    }
}

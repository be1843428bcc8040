//! Which archives are in use. apt keeps the indexes of a source that its owner took away until it fetches them the next
//! time; what they list cannot be had any more.

use std::io;

use super::config::{Config, is_part};
use crate::facts::Root;
use crate::facts::deb822::Stanzas;

const FILE: &str = "/etc/apt/sources.list";
const PARTS: &str = "/etc/apt/sources.list.d";
const MAX_FILE: u64 = 1 << 20;
/// Characters that apt escapes in the names of its lists, beside those that are not printed (`URItoFileName`).
const ESCAPED: &[u8] = b"\\|{}[]<>\"^~_=!@#$%&*";

/// What the names of the indexes of the archives in use begin with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    prefixes: Vec<String>,
}

impl Sources {
    /// Reads the sources of a root. `None` when they tell nothing, or something that is not understood here: then every
    /// index counts.
    pub(crate) fn read(root: &Root, config: &Config) -> Option<Self> {
        if ["Dir::Etc", "Dir::Etc::SourceList", "Dir::Etc::SourceParts"].iter().any(|name| config.get(name).is_some()) {
            return None;
        }
        let mut sources = Self::default();
        let text = |path: &str| match root.text(path, MAX_FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(String::new()),
            read => read.ok(),
        };
        sources.lines(&text(FILE)?)?;
        for name in root.list(PARTS).unwrap_or_default() {
            let path = format!("{PARTS}/{name}");
            // A name without an ending is none that apt reads here.
            let is = |ending: &str| name.contains('.') && is_part(&name, ending);
            if is("list") {
                sources.lines(&text(&path)?)?;
            } else if is("sources") {
                sources.stanzas(&text(&path)?)?;
            }
        }
        (!sources.prefixes.is_empty()).then_some(sources)
    }

    /// Whether an index of this name belongs to one of them.
    pub(crate) fn have(&self, index: &str) -> bool {
        self.prefixes.iter().any(|prefix| index.starts_with(prefix.as_str()))
    }

    /// The form of one line: `deb [options] URI SUITE COMPONENT...`.
    fn lines(&mut self, text: &str) -> Option<()> {
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with(char::is_whitespace)) else {
                continue;
            };
            let rest = rest.trim_start();
            let rest = match rest.strip_prefix('[') {
                Some(options) => options.split_once(']')?.1,
                None => rest,
            };
            let mut words = rest.split_ascii_whitespace();
            self.add(words.next()?, words.next()?)?;
        }
        Some(())
    }

    /// The form of stanzas: `Types`, `URIs`, `Suites`, `Enabled`.
    fn stanzas(&mut self, text: &str) -> Option<()> {
        let plain: String = text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
        for stanza in Stanzas::new(plain.as_bytes()) {
            let words = |name: &str| {
                let value = stanza.text(name).unwrap_or_default().to_owned();
                value.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
            };
            let off = ["no", "false", "without", "off", "disable", "0"];
            let is_off = words("Enabled").first().is_some_and(|word| off.contains(&word.to_ascii_lowercase().as_str()));
            if is_off || !words("Types").iter().any(|kind| kind == "deb") {
                continue;
            }
            for uri in words("URIs") {
                for suite in words("Suites") {
                    self.add(&uri, &suite)?;
                }
            }
        }
        Some(())
    }

    /// One archive; `None` when its indexes are named in a way that is not foreseen here.
    fn add(&mut self, uri: &str, suite: &str) -> Option<()> {
        let (scheme, place) = uri.split_once(':')?;
        if scheme == "cdrom" || uri.contains('%') || [uri, suite].iter().any(|text| text.contains("$(")) {
            return None;
        }
        let place = match place.strip_prefix("//") {
            Some(place) => {
                let (host, path) = place.split_once('/').unwrap_or((place, ""));
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
                format!("{host}/{path}")
            }
            None => place.to_owned(),
        };
        let base = place.trim_end_matches('/');
        let folder = match suite.strip_suffix('/') {
            // A flat archive.
            Some("") => format!("{base}/"),
            Some(folder) => format!("{base}/{folder}/"),
            None => format!("{base}/dists/{suite}/"),
        };
        self.prefixes.push(file_name(&folder));
        Some(())
    }
}

fn file_name(place: &str) -> String {
    let mut name = String::with_capacity(place.len());
    for byte in place.bytes() {
        match byte {
            b'/' => name.push('_'),
            byte if byte.is_ascii_graphic() && !ESCAPED.contains(&byte) => name.push(char::from(byte)),
            byte => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &str) -> Option<Sources> {
        let mut sources = Sources::default();
        sources.lines(text)?;
        Some(sources)
    }

    #[test]
    fn indexes_of_archives_in_use_are_known_by_their_names() {
        let text = "# deb http://gone.example/debian bookworm main\n\
                    deb http://deb.debian.org/debian/ bookworm main # as shipped\n\
                    deb-src http://src.example/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg] https://user:word@deb.nodesource.com/node_20.x nodistro main\n\
                    deb [trusted=yes] copy:/srv/archive bookworm-security main\ndeb file:///srv/flat ./\n";
        let sources = lines(text).unwrap();
        for index in [
            "deb.debian.org_debian_dists_bookworm_main_binary-amd64_Packages.lz4",
            "deb.nodesource.com_node%5f20.x_dists_nodistro_main_binary-amd64_Packages",
            "_srv_archive_dists_bookworm-security_main_binary-amd64_Packages",
            "_srv_flat_._Packages",
        ] {
            assert!(sources.have(index), "{index} of {sources:?}");
        }
        for index in [
            "gone.example_debian_dists_bookworm_main_binary-amd64_Packages",
            "src.example_debian_dists_bookworm_main_binary-amd64_Packages",
            "deb.debian.org_debian_dists_bookworm-updates_main_binary-amd64_Packages",
        ] {
            assert!(!sources.have(index), "{index} of {sources:?}");
        }
    }

    #[test]
    fn stanzas_that_are_switched_off_are_not_in_use() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://one.example/debian\n http://two.example/debian\n\
                    Suites: bookworm bookworm-updates\nComponents: main\n\n\
                    Types: deb\nURIs: http://off.example/debian\nSuites: bookworm\nEnabled: No\n";
        let mut sources = Sources::default();
        sources.stanzas(text).unwrap();
        assert_eq!(sources.prefixes.len(), 4);
        assert!(sources.have("two.example_debian_dists_bookworm-updates_main_binary-all_Packages"));
        assert!(!sources.have("off.example_debian_dists_bookworm_main_binary-all_Packages"));
    }

    #[test]
    fn what_is_not_understood_leaves_nothing_out() {
        for text in ["deb cdrom:[Debian 12]/ bookworm main", "deb http://x/$(ARCH) ./", "deb [open http://x y", "deb x"]
        {
            assert_eq!(lines(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String) {
            let _ = lines(&text);
            let _ = Sources::default().stanzas(&text);
        }
    }
}

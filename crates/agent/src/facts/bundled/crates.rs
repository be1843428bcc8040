//! The list of its crates that `cargo auditable` puts into a program: JSON, compressed with zlib, in the section `.dep-v0`.

use std::collections::BTreeSet;
use std::io::Read as _;

use serde::Deserialize;
use stanch_model::facts::Copied;
use stanch_model::version::SemanticVersion;

use crate::facts::listed::is_plain;

/// Its section.
pub(super) const SECTION: &str = ".dep-v0";
/// A list unpacks to no more than this.
const MOST_UNPACKED: u64 = 8 << 20;
const MOST_CRATES: usize = 5000;

#[derive(Deserialize)]
struct List {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: String,
    /// `runtime` where it is not said; what only builds is not in the program.
    #[serde(default)]
    kind: Option<String>,
}

/// The crates of crates.io in a list; `None` for what is no such list.
pub(super) fn read(section: &[u8]) -> Option<Vec<Copied>> {
    let mut text = Vec::new();
    flate2::read::ZlibDecoder::new(section).take(MOST_UNPACKED + 1).read_to_end(&mut text).ok()?;
    if text.len() as u64 > MOST_UNPACKED {
        return None;
    }
    let list: List = serde_json::from_slice(&text).ok()?;
    let copies: BTreeSet<Copied> = list
        .packages
        .into_iter()
        .take(MOST_CRATES)
        .filter(|one| one.source == "crates.io" && one.kind.as_deref().is_none_or(|kind| kind == "runtime"))
        .filter(|one| is_plain(&one.name) && one.version.parse::<SemanticVersion>().is_ok())
        .map(|one| Copied { name: one.name, version: one.version, said: None })
        .collect();
    Some(copies.into_iter().collect())
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use super::*;

    pub(in super::super) fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn crates_of_crates_io_that_run_are_listed() {
        let text = br#"{"packages": [
            {"name": "tool", "version": "0.1.0", "source": "local", "dependencies": [1, 2], "root": true},
            {"name": "smallvec", "version": "1.6.0", "source": "crates.io"},
            {"name": "time", "version": "0.1.42", "source": "crates.io", "kind": "runtime"},
            {"name": "cc", "version": "1.0.0", "source": "crates.io", "kind": "build"},
            {"name": "own", "version": "1.0.0", "source": "git"},
            {"name": "../evil", "version": "1.0.0", "source": "crates.io"},
            {"name": "odd", "version": "latest", "source": "crates.io"}
        ]}"#;
        let found = read(&packed(text)).unwrap();
        let found: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.version.as_str())).collect();
        assert_eq!(found, [("smallvec", "1.6.0"), ("time", "0.1.42")]);
    }

    #[test]
    fn what_is_no_list_is_refused_and_a_bomb_is_not_unpacked() {
        assert_eq!(read(b"{}"), None);
        assert_eq!(read(&packed(b"{}")), None);
        let bomb = packed(&vec![b' '; 64 << 20]);
        assert!(bomb.len() < 100_000);
        assert_eq!(read(&bomb), None);
    }
}

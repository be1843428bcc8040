//! Where feeds come from: the publishers' own addresses, and what a person puts in their place.

use std::path::PathBuf;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// Where one feed comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// A file on this machine.
    File(PathBuf),
    /// A folder on this machine, laid out like the folder of feeds.
    Folder(PathBuf),
    /// An address, `https://` or `http://`.
    Url(String),
}

/// One feed and how it is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The feed's name, such as `osv/Debian-12`.
    pub name: String,
    /// Its place in the folder of feeds.
    pub file: String,
    /// Where it comes from.
    pub from: Location,
    /// Where its SHA-256 checksum comes from; for a folder, the file beside it with `.sha256` when this is set.
    pub checksum: Option<Location>,
    /// How often it is looked for.
    pub every: SignedDuration,
    /// Larger ones are refused, in bytes.
    pub max_bytes: u64,
}

const MIB: u64 = 1 << 20;

/// The advisories of an OSV ecosystem, such as `Debian:12`, from OSV's public bulk export.
pub fn osv_source(ecosystem: &str) -> Source {
    let folder = match ecosystem {
        "crates.io" => "crates".to_owned(),
        other => other.replace(':', "-"),
    };
    Source {
        name: format!("osv/{}", ecosystem.replace(':', "-")),
        file: format!("osv/{folder}/all.zip"),
        from: Location::Url(format!(
            "https://osv-vulnerabilities.storage.googleapis.com/{}/all.zip",
            ecosystem.replace(' ', "%20")
        )),
        checksum: None,
        every: SignedDuration::from_hours(4),
        max_bytes: 1024 * MIB,
    }
}

/// The publishers' own addresses of every feed, with the advisories of these OSV ecosystems.
pub fn known_sources(ecosystems: &[&str]) -> Vec<Source> {
    let mut sources: Vec<Source> = ecosystems.iter().map(|ecosystem| osv_source(ecosystem)).collect();
    let hours = SignedDuration::from_hours;
    for (name, file, address, every, limit) in [
        (
            "kev",
            "kev/known_exploited_vulnerabilities.json",
            "https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json",
            hours(4),
            64 * MIB,
        ),
        (
            "epss",
            "epss/epss_scores-current.csv.gz",
            "https://epss.empiricalsecurity.com/epss_scores-current.csv.gz",
            hours(12),
            64 * MIB,
        ),
        (
            "vulnrichment",
            "vulnrichment/vulnrichment.zip",
            "https://github.com/cisagov/vulnrichment/archive/refs/heads/develop.zip",
            hours(24),
            1024 * MIB,
        ),
    ] {
        sources.push(Source {
            name: name.to_owned(),
            file: file.to_owned(),
            from: Location::Url(address.to_owned()),
            checksum: None,
            every,
            max_bytes: limit,
        });
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_feed_comes_encrypted_and_has_its_own_place() {
        let sources = known_sources(&["Debian:12", "Ubuntu:22.04:LTS", "crates.io"]);
        let mut files: Vec<&str> = sources.iter().map(|source| source.file.as_str()).collect();
        assert_eq!(files.len(), 6);
        files.sort_unstable();
        files.dedup();
        assert_eq!(files.len(), 6);
        for source in &sources {
            assert!(matches!(&source.from, Location::Url(url) if url.starts_with("https://")), "{source:?}");
        }
    }

    #[test]
    fn an_ecosystem_is_found_where_feed_folders_keep_it() {
        assert_eq!(osv_source("Debian:12").file, "osv/Debian-12/all.zip");
        assert_eq!(osv_source("crates.io").file, "osv/crates/all.zip");
        let rocky = osv_source("Rocky Linux:9");
        assert_eq!(rocky.file, "osv/Rocky Linux-9/all.zip");
        assert!(matches!(&rocky.from, Location::Url(url) if !url.contains(' ')), "{rocky:?}");
    }
}

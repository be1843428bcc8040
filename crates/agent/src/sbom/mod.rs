//! Inventories that others made: CycloneDX and SPDX documents in JSON. What they list becomes the same facts that a
//! host gives, so that the same detectors judge it; and what of it could not be used is counted, because an inventory
//! that names nothing we know must not look clean.

mod cyclonedx;
mod purl;
mod spdx;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use stanch_model::facts::{HostFacts, OsRelease, Package};

use crate::facts::{common_architecture, inventory, os};
use purl::Meaning;

/// Larger documents are refused.
pub const MAX_DOCUMENT: u64 = 256 << 20;

const MAX_ENTRIES: usize = 500_000;

/// What an inventory gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Packages of a distribution and components of other ecosystems, as facts of a host that is elsewhere; `gaps`
    /// says what was left out.
    pub facts: HostFacts,
    /// How much of the document was of use.
    pub coverage: Coverage,
}

/// How much of a document was of use. The counts add up to `listed`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The document's form and version, such as `CycloneDX 1.6`.
    pub format: String,
    /// Entries that it lists, without its own subject, operating systems, files and groups.
    pub listed: usize,
    /// Entries that became packages.
    pub packages: usize,
    /// Entries that became components.
    pub components: usize,
    /// Entries that are listed more than once.
    pub repeated: usize,
    /// Entries without a package URL, which nothing can be matched with.
    pub without_purl: usize,
    /// Entries of which the package URL, name or version cannot be understood.
    pub unreadable: usize,
    /// Packages of another release than the document's.
    pub other_release: usize,
    /// Entries of kinds that Stanch has no advisories for, by their type.
    pub unsupported: BTreeMap<String, usize>,
}

/// Why a document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SbomError {
    /// It is no JSON, or not of the shape it claims.
    #[error("the inventory is not readable JSON of its format")]
    Json(#[source] serde_json::Error),
    /// It is neither CycloneDX nor SPDX.
    #[error("the document is neither CycloneDX nor SPDX in JSON")]
    Format,
    /// It is too large.
    #[error("the inventory {0}")]
    TooLarge(&'static str),
}

impl SbomError {
    /// What a person can do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Json(_) => "make it anew and check that it was written to its end",
            Self::Format => "make it as CycloneDX JSON or SPDX JSON (2.3 or 3.0)",
            Self::TooLarge(_) => "split it by system",
        }
    }
}

/// One entry of a document, before it is understood.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    purl: Option<String>,
    version: Option<String>,
    source: Option<String>,
    source_version: Option<String>,
}

/// What a document lists.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    format: String,
    /// Name and version of an operating system.
    system: Option<(String, String)>,
    entries: Vec<Listed>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "bomFormat")]
    bom_format: Option<String>,
    #[serde(rename = "spdxVersion")]
    spdx_version: Option<String>,
    #[serde(rename = "@graph")]
    graph: Option<serde::de::IgnoredAny>,
}

/// Reads an inventory. `name` is what it is called, a file's name say: inventories of one name are one asset.
/// `release` overrides the release that the document names.
///
/// # Errors
/// When it is no JSON, of neither format, or too large.
pub fn parse(bytes: &[u8], name: &str, release: Option<OsRelease>) -> Result<Inventory, SbomError> {
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_DOCUMENT {
        return Err(SbomError::TooLarge("is larger than 256 MB"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let head: Head = serde_json::from_slice(bytes).map_err(SbomError::Json)?;
    let document = match head {
        Head { bom_format: Some(format), .. } if format.eq_ignore_ascii_case("CycloneDX") => cyclonedx::read(bytes),
        Head { spdx_version: Some(_), .. } => spdx::read(bytes),
        Head { graph: Some(_), .. } => spdx::read_graph(bytes),
        _ => return Err(SbomError::Format),
    };
    let document = document.map_err(SbomError::Json)?;
    if document.entries.len() > MAX_ENTRIES {
        return Err(SbomError::TooLarge("lists more than 500,000 entries"));
    }
    Ok(understand(document, name, release))
}

fn understand(document: Document, name: &str, release: Option<OsRelease>) -> Inventory {
    let mut coverage = Coverage { format: document.format, listed: document.entries.len(), ..Coverage::default() };
    let mut packages: Vec<(Package, Option<String>)> = Vec::new();
    let mut components = BTreeSet::new();
    let mut sources_named = false;
    for entry in &document.entries {
        let Some(text) = &entry.purl else {
            coverage.without_purl += 1;
            continue;
        };
        match purl::understand(text, entry) {
            Meaning::Package { package, distribution, release } => {
                sources_named |= package.source != package.name;
                let distro = release.or_else(|| Some(distribution.clone()));
                packages.push((*package, distro));
            }
            Meaning::Component(component) => {
                let new = components.insert(component);
                *(if new { &mut coverage.components } else { &mut coverage.repeated }) += 1;
            }
            Meaning::Unsupported(kind) => *coverage.unsupported.entry(kind).or_default() += 1,
            Meaning::Unreadable => coverage.unreadable += 1,
        }
    }
    let system = document.system.and_then(|(id, version)| os::parse_release(&format!("{id}:{version}")).ok());
    let os = release.or(system).unwrap_or_else(|| common_release(&packages));
    let before = packages.len();
    packages.retain(|(_, distro)| distro.as_deref().is_none_or(|distro| is_of(distro, &os)));
    coverage.other_release = before - packages.len();
    let mut packages: Vec<Package> = packages.into_iter().map(|(package, _)| package).collect();
    packages.sort_by(|a, b| {
        (&a.name, &a.architecture, a.version.as_str()).cmp(&(&b.name, &b.architecture, b.version.as_str()))
    });
    let unique = packages.len();
    packages.dedup_by(|a, b| {
        a.name == b.name && a.architecture == b.architecture && a.version.as_str() == b.version.as_str()
    });
    coverage.repeated += unique - packages.len();
    coverage.packages = packages.len();
    let mut gaps = coverage.gaps();
    if !packages.is_empty() && os.ecosystem().is_none() {
        gaps.push(format!("the release of {} packages is not named: name it", packages.len()));
    }
    if packages.len() >= 20 && !sources_named {
        gaps.push(
            "no package names the source it was built from: problems of sources of other names are missed".to_owned(),
        );
    }
    let architecture = common_architecture(&packages);
    let components = components.into_iter().collect();
    let facts = HostFacts { packages, components, gaps, ..inventory(os, architecture, name) };
    Inventory { facts, coverage }
}

/// Whether a package URL's distribution (`debian-12.9`, `bookworm`, or only `debian`) is this release.
fn is_of(distro: &str, os: &OsRelease) -> bool {
    match os::parse_release(distro) {
        Ok(release) => release.ecosystem() == os.ecosystem() || os.ecosystem().is_none(),
        Err(_) => distro == os.id || os.codename.as_deref() == Some(distro) || !distro.contains('-'),
    }
}

/// The release that most packages name.
fn common_release(packages: &[(Package, Option<String>)]) -> OsRelease {
    let mut counts = BTreeMap::<&str, usize>::new();
    for distro in packages.iter().filter_map(|(_, distro)| distro.as_deref()) {
        *counts.entry(distro).or_default() += 1;
    }
    let known = counts.iter().filter(|(distro, _)| os::parse_release(distro).is_ok());
    let most = known.max_by_key(|(_, count)| **count).and_then(|(distro, _)| os::parse_release(distro).ok());
    most.unwrap_or_else(|| {
        let id = counts.into_keys().find(|distro| matches!(*distro, "debian" | "ubuntu")).unwrap_or("none");
        OsRelease { id: id.to_owned(), version_id: None, codename: None, pretty_name: "no release named".to_owned() }
    })
}

impl Coverage {
    /// What was left out, in words with counts.
    fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        let mut say = |count: usize, what: &str| {
            if count > 0 {
                gaps.push(format!("{count} of {} listed {what}", self.listed));
            }
        };
        say(self.without_purl, "have no package URL and were left out");
        say(self.unreadable, "could not be understood and were left out");
        say(self.other_release, "are of another release and were left out");
        for (kind, count) in &self.unsupported {
            say(*count, &format!("are of type `{kind}`, for which no advisories are read"));
        }
        gaps
    }
}

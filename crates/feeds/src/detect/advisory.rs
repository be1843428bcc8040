//! The check `advisory`: does an advisory of the package's own release hold the installed SOURCE version?
//!
//! Binary names and versions are not compared: most binaries are named otherwise than their source, and rebuilds
//! change only the binary's version. Signed packages embed the source that advisories name (`Built-Using`).
//!
//! Components that an inventory lists are judged in the same way by the advisories of their own ecosystem, in its own
//! order of versions; of a host's holds and archives they know nothing. So are copies that lie inside files of a host.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use stanch_model::ecosystem::UPSTREAM;
use stanch_model::facts::{Component, HostFacts, Keeper, KernelFacts, Package};
use stanch_model::finding::{Detector, Finding, Since, Verdict};
use stanch_model::version::DebVersion;

use super::suite::{self, Suite};
use super::{Detection, finding, held};
use crate::index::{Flags, Holds, Index, Match, Unclear};
use crate::knowledge::Knowledge;
use crate::meta::FeedMeta;
use crate::vex::{self, Statement, Status};

/// Runs the check.
pub fn detect(facts: &HostFacts, knowledge: &Knowledge, now: Timestamp, detection: &mut Detection) {
    let copies: Vec<Component> = facts.copies().collect();
    let mut check = Check {
        facts,
        copies: &copies,
        now,
        statements: knowledge.statements().collect(),
        residue: 0,
        found: Vec::new(),
        places: HashMap::new(),
    };
    // An inventory may list components only: then its release does not matter.
    if !facts.packages.is_empty() || facts.components.is_empty() {
        check.packages(knowledge, detection);
    }
    check.components(knowledge, detection);
    if check.residue > 0 {
        let residue = check.residue;
        detection.notes.push(format!("{residue} older kernels are installed but not booted: residue, not counted"));
    }
    detection.findings.append(&mut check.found);
}

/// The advisories of an ecosystem; that they are asked, missing or too old to be believed is noted.
fn consult<'k>(
    knowledge: &'k Knowledge,
    ecosystem: &str,
    now: Timestamp,
    detection: &mut Detection,
) -> Option<(&'k Index, &'k FeedMeta)> {
    let Some((index, meta)) = knowledge.index(ecosystem) else {
        detection.blind_spots.push(match ecosystem {
            UPSTREAM => "advisories: no CVE records that name versions of libraries are at hand".to_owned(),
            _ => format!("advisories: no feed for {ecosystem} is at hand"),
        });
        return None;
    };
    detection.feeds.push(meta.reference());
    match knowledge.freshness(ecosystem, now) {
        Some(freshness) if !freshness.is_believed() => {
            let snapshot = if meta.snapshot { " (built-in snapshot)" } else { "" };
            detection.blind_spots.push(format!("advisories: {}{snapshot} is {freshness}", meta.name));
        }
        _ => {}
    }
    Some((index, meta))
}

/// The OSV ecosystem of a release.
pub(crate) fn ecosystem_of(release: &crate::releases::Release) -> String {
    let name = if release.distribution == "ubuntu" { "Ubuntu" } else { "Debian" };
    format!("{name}:{}", release.version)
}

/// The sources whose advisories concern a package: its own, and for signed packages the one they were signed from.
pub(crate) fn sources(package: &Package) -> Vec<(&str, &DebVersion)> {
    let mut sources = vec![(package.source.as_str(), &package.source_version)];
    if package.source.contains("-signed") {
        sources.extend(package.built_using.iter().map(|(name, version)| (name.as_str(), version)));
    }
    sources
}

/// What is judged: an installed package by a source it was built from, or a component by itself.
#[derive(Clone, Copy)]
enum Judged<'a> {
    Package(&'a Package, (&'a str, &'a DebVersion)),
    /// With the name that its advisories use: its own or its source's.
    Component(&'a Component, &'a str),
}

impl<'a> Judged<'a> {
    /// What findings about it are told apart by.
    fn binary(self) -> &'a str {
        match self {
            Self::Package(package, _) => &package.name,
            Self::Component(component, _) => &component.purl,
        }
    }

    /// The name that advisories use.
    fn name(self) -> &'a str {
        match self {
            Self::Package(_, (name, _)) | Self::Component(_, name) => name,
        }
    }

    /// The version that advisories are compared with.
    fn version(self) -> &'a str {
        match self {
            Self::Package(_, (_, version)) => version.as_str(),
            Self::Component(component, _) => &component.version,
        }
    }

    /// What an act on it would be about.
    fn subject(self) -> &'a str {
        match self {
            Self::Component(Component { source: Some(source), .. }, _) => source,
            _ => self.name(),
        }
    }
}

struct Check<'a> {
    facts: &'a HostFacts,
    copies: &'a [Component],
    now: Timestamp,
    statements: Vec<&'a Statement>,
    residue: usize,
    found: Vec<Finding>,
    /// Where a binary package's finding about an id lies: the same package on two architectures gives one.
    places: HashMap<(&'a str, String), usize>,
}

impl<'a> Check<'a> {
    fn packages(&mut self, knowledge: &Knowledge, detection: &mut Detection) {
        let facts = self.facts;
        let own = match facts.os.ecosystem() {
            Some(ecosystem) => consult(knowledge, &ecosystem, self.now, detection),
            None => {
                detection.blind_spots.push(format!("no advisories exist for {}", facts.os.pretty_name));
                None
            }
        };
        let mut matches: HashMap<(&str, &str, &str), Vec<Match<'_>>> = HashMap::new();
        for package in &facts.packages {
            detection.coverage.packages += 1;
            let suite = suite::of(facts, package);
            let other = match &suite {
                Suite::Other(release) => knowledge.index(&ecosystem_of(release)),
                _ => None,
            };
            let Some((index, meta)) = other.or(own) else {
                detection.coverage.without_feed += 1;
                continue;
            };
            let sources = sources(package);
            if !sources.iter().any(|(name, _)| index.knows(name)) {
                continue;
            }
            let elsewhere = match suite {
                Suite::Foreign(name) => Some(name),
                Suite::Other(release) if other.is_none() => Some(release.codename.to_owned()),
                _ => None,
            };
            if let Some(name) = elsewhere {
                self.unknown(package, &name, meta);
                continue;
            }
            detection.coverage.with_data += 1;
            if self.is_residue(package) {
                continue;
            }
            for (source, version) in sources {
                let key = (meta.name.as_str(), source, version.as_str());
                let found = matches.entry(key).or_insert_with(|| index.matching(source, version.as_str()));
                for one in found.iter() {
                    self.judge(Judged::Package(package, (source, version)), one, index, meta);
                }
            }
        }
    }

    /// Each component by the advisories of its own ecosystem.
    fn components(&mut self, knowledge: &Knowledge, detection: &mut Detection) {
        let facts = self.facts;
        let mut by_ecosystem: BTreeMap<&str, Vec<&'a Component>> = BTreeMap::new();
        for component in facts.components.iter().chain(self.copies) {
            by_ecosystem.entry(&component.ecosystem).or_default().push(component);
        }
        for (ecosystem, components) in by_ecosystem {
            let count = u32::try_from(components.len()).unwrap_or(u32::MAX);
            detection.coverage.packages += count;
            let Some((index, meta)) = consult(knowledge, ecosystem, self.now, detection) else {
                detection.coverage.without_feed += count;
                continue;
            };
            if ecosystem == UPSTREAM {
                detection.blind_spots.extend(unnamed(&components, index));
            }
            for component in components {
                // Distributions of rpm name binary packages in some advisories and their sources in others.
                let source = component.source.as_deref().filter(|source| *source != component.name);
                let names = || std::iter::once(component.name.as_str()).chain(source);
                detection.coverage.with_data += u32::from(names().any(|name| index.knows(name)));
                for name in names() {
                    for one in index.matching(name, &component.version) {
                        self.judge(Judged::Component(component, name), &one, index, meta);
                    }
                }
            }
        }
    }

    /// A kernel that is neither booted nor the newest of its flavour harms nobody and is removed by apt in its time.
    fn is_residue(&mut self, package: &Package) -> bool {
        let Some(kernel) = self.facts.kernel.known() else { return false };
        let Some(image) = kernel.installed.iter().find(|image| image.package == package.name) else { return false };
        let newest = kernel.installed.iter().filter(|other| other.flavour == image.flavour).map(|other| &other.version);
        let is_residue = image.release != kernel.running_release && newest.max() > Some(&image.version);
        self.residue += usize::from(is_residue);
        is_residue
    }

    fn unknown(&mut self, package: &'a Package, suite: &str, meta: &FeedMeta) {
        let id = format!("no-data-for-{}", suite.replace(' ', "-"));
        let mut unknown = finding(self.facts, Detector::Advisory, &id, &package.name, Verdict::Unknown);
        unknown.package.clone_from(&package.source);
        unknown.version = package.version.to_string();
        unknown.source_version = Some(package.source_version.to_string());
        unknown.reason = format!(
            "{} comes from {suite}; the advisories of {} say nothing about its versions",
            package.name, meta.name
        );
        unknown.feed = Some(meta.reference());
        self.add(&package.name, unknown);
    }

    fn judge(&mut self, judged: Judged<'a>, found: &Match<'_>, index: &Index, meta: &FeedMeta) {
        let (verdict, reason) = self.verdict(judged, found, index);
        let mut result = finding(self.facts, Detector::Advisory, found.id, judged.binary(), verdict);
        result.aliases = found.aliases.iter().map(|alias| (*alias).to_owned()).collect();
        judged.subject().clone_into(&mut result.package);
        (result.version, result.source_version) = match judged {
            Judged::Package(package, (_, source_version)) => {
                (package.version.to_string(), Some(source_version.to_string()))
            }
            Judged::Component(component, _) => (component.version.clone(), None),
        };
        result.fixed_version = match found.holds {
            Holds::Until(fixed) => Some(fixed.to_owned()),
            Holds::Unfixed | Holds::Unknown(_) => None,
        };
        result.reason = reason;
        result.cvss_vectors = found.vectors.iter().map(|vector| (*vector).to_owned()).collect();
        result.doubt = doubt(found.flags);
        let installed = if let Judged::Package(package, _) = judged { package.installed_at } else { None };
        result.since = Since { published: found.published, installed };
        result.feed = Some(meta.reference());
        self.add(judged.binary(), result);
    }

    fn verdict(&self, judged: Judged<'_>, found: &Match<'_>, index: &Index) -> (Verdict, String) {
        let (name, version) = (judged.name(), judged.version());
        let ids: Vec<&str> = std::iter::once(found.id).chain(found.aliases.iter().copied()).collect();
        let said = vex::last_word(self.statements.iter().copied(), &ids, |statement| match judged {
            Judged::Package(package, _) => statement.concerns(&self.facts.os, package, (name, version), self.now),
            Judged::Component(component, _) => statement.concerns_component(component, self.now),
        });
        if let Some(said) = said
            && matches!(said.status, Status::NotAffected | Status::Fixed)
        {
            return (Verdict::NotAffected, said.told());
        }
        if found.flags.has(Flags::END_OF_LIFE) {
            return (Verdict::Unsupported, format!("{name} gets no security support in this release"));
        }
        let fixed = match found.holds {
            Holds::Until(fixed) => fixed,
            Holds::Unfixed => {
                return (Verdict::AffectedUnfixed, format!("{name} {version} is affected; no fixed version is named"));
            }
            Holds::Unknown(why) => return (Verdict::Unknown, unclear(why, found.id, judged, index)),
        };
        let older = format!("{name} {version} is older than {fixed}, the first version without it");
        match judged {
            Judged::Package(package, _) => self.of_package(package, (name, version), found.id, fixed, older),
            Judged::Component(Component { keeper: Some(Keeper::Nobody(why)), .. }, _) => {
                (Verdict::AffectedUnfixed, format!("{older}; {why}"))
            }
            Judged::Component(..) => (Verdict::AffectedFixable, older),
        }
    }

    /// What the host itself adds: the fix may be there already and not run, be held, or not be had here.
    fn of_package(
        &self,
        package: &Package,
        (name, version): (&str, &str),
        id: &str,
        fixed: &str,
        older: String,
    ) -> (Verdict, String) {
        let Ok(fix) = fixed.parse::<DebVersion>() else {
            return (Verdict::Unknown, format!("{id} names a fixed version that cannot be compared"));
        };
        if let Some(booted) = self.facts.kernel.known().and_then(|kernel| fixed_image(kernel, package, &fix)) {
            return (
                Verdict::FixedNotRunning,
                format!("{booted} is installed and fixed, but {} is running", package.name),
            );
        }
        if let Some(why) = held(self.facts, package, |_, source_version| *source_version >= fix) {
            return (Verdict::Held, format!("{name} {version} is fixed in {fixed}, but {why}"));
        }
        let offered = self.facts.candidates.known().is_none_or(|candidates| {
            candidates.get(&package.name).is_some_and(|all| all.iter().any(|c| c.source_version >= fix))
        });
        let nobody = if offered { "" } else { "; no archive this host knows offers it for this package" };
        (Verdict::AffectedFixable, format!("{older}{nobody}"))
    }

    fn add(&mut self, binary: &'a str, new: Finding) {
        match self.places.entry((binary, new.id.clone())) {
            Entry::Vacant(place) => {
                place.insert(self.found.len());
                self.found.push(new);
            }
            Entry::Occupied(place) => {
                // The same package on two architectures, or named by two sources: the one that needs an act counts.
                if let Some(old) = self.found.get_mut(*place.get())
                    && urgency(new.verdict) > urgency(old.verdict)
                {
                    *old = new;
                }
            }
        }
    }
}

/// The libraries of which no record names a version: of their copies nothing can be said, and silence is not safety.
fn unnamed(copies: &[&Component], index: &Index) -> Option<String> {
    let named = |copy: &&&Component| !index.knows(&copy.name);
    let names: BTreeSet<&str> = copies.iter().filter(named).map(|copy| copy.name.as_str()).collect();
    let count = copies.iter().filter(named).count();
    let names: Vec<&str> = names.into_iter().collect();
    (count > 0).then(|| {
        let copies = if count == 1 { "1 copy".to_owned() } else { format!("{count} copies") };
        format!("advisories: no CVE record at hand names versions of {}: {copies} not judged", names.join(", "))
    })
}

/// Why nothing follows from an advisory, in a sentence.
fn unclear(why: Unclear, id: &str, judged: Judged<'_>, index: &Index) -> String {
    let (name, version) = (judged.name(), judged.version());
    match why {
        Unclear::Range => format!("{id} names no range of {name} that could be compared"),
        Unclear::Order => {
            format!("{id} names ranges of {name}, and in which order its versions come is not known here")
        }
        Unclear::Version => {
            let why = index.order().read(version).err().map(|error| error.to_string()).unwrap_or_default();
            format!("whether {id} concerns this {name} cannot be told: {why}")
        }
    }
}

/// An installed image of the running kernel's flavour that has the fix.
fn fixed_image<'k>(kernel: &'k KernelFacts, package: &Package, fix: &DebVersion) -> Option<&'k str> {
    let running = kernel.installed.iter().find(|image| image.package == package.name)?;
    if running.release != kernel.running_release {
        return None;
    }
    let better = |image: &&stanch_model::facts::KernelImage| image.flavour == running.flavour && image.version >= *fix;
    kernel.installed.iter().filter(better).max_by(|a, b| a.version.cmp(&b.version)).map(|image| image.package.as_str())
}

const fn urgency(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::NotAffected => 0,
        Verdict::Unknown => 1,
        Verdict::Unsupported => 2,
        Verdict::FixedNotRunning => 3,
        Verdict::AffectedUnfixed => 4,
        Verdict::Held => 5,
        Verdict::AffectedFixable => 6,
    }
}

fn doubt(flags: Flags) -> Option<String> {
    if flags.has(Flags::PRE_RELEASE) {
        Some("the fix is recorded from before the release or from another suite".to_owned())
    } else if flags.has(Flags::UNIMPORTANT) {
        Some("the distribution does not count it as a security problem of its packages".to_owned())
    } else if flags.has(Flags::INFORMATIONAL) {
        Some("the database lists it for information, not as a vulnerability".to_owned())
    } else {
        None
    }
}

//! The advisories of one ecosystem, arranged for one question: which of them hold this version of this source?
//!
//! Names, ids and versions are kept as texts in a few flat tables, so that loading is a copy rather than a parse; a
//! version is parsed only when a package of its name is installed.

mod build;
mod read;

use std::cmp::Ordering;
use std::collections::BTreeSet;

pub(crate) use build::{Builder, Entry, Event};

use jiff::Timestamp;

use crate::codec::Pool;
use crate::order::{Order, Version};

/// What is known of one source's relation to an advisory besides its versions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// The fix was uploaded before the release or to another suite: a match is suspect.
    pub const PRE_RELEASE: Self = Self(1);
    /// The fix came with a point release.
    pub const STABLE: Self = Self(2);
    /// The distribution calls it no security problem in its packages.
    pub const UNIMPORTANT: Self = Self(4);
    /// The distribution no longer supports this source here.
    pub const END_OF_LIFE: Self = Self(8);
    /// The database lists it for information, say of a package nobody looks after, and not as a vulnerability.
    pub const INFORMATIONAL: Self = Self(16);

    /// Whether all of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) const fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The compiled advisories of one ecosystem.
#[derive(Debug)]
pub struct Index {
    order: Order,
    names: Pool,
    ids: Pool,
    texts: Pool,
    versions: Pool,
    /// First entry of each package, and one more for the end of the last.
    package_entries: Vec<u32>,
    entry_record: Vec<u32>,
    entry_flags: Vec<u32>,
    entry_spans: Vec<u32>,
    entry_versions: Vec<u32>,
    span_from: Vec<u32>,
    span_end: Vec<u32>,
    span_to: Vec<u32>,
    listed: Vec<u32>,
    record_derived: Vec<u32>,
    record_aliases: Vec<u32>,
    record_vectors: Vec<u32>,
    alias_texts: Vec<u32>,
    vector_texts: Vec<u32>,
    record_published: Vec<u32>,
}

/// Seconds of a day: when an advisory was published is kept to the day.
const DAY: i64 = 86_400;

/// How a span of versions ends.
const OPEN: u32 = 0;
const FIXED: u32 = 1;
const LAST_AFFECTED: u32 = 2;

/// An advisory that concerns a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match<'a> {
    /// The advisory's id.
    pub id: &'a str,
    /// Other ids of the same problem.
    pub aliases: Vec<&'a str>,
    /// CVSS vectors.
    pub vectors: Vec<&'a str>,
    /// The day on which it was published, where that is known.
    pub published: Option<Timestamp>,
    /// What else is known.
    pub flags: Flags,
    /// What its ranges say of the version.
    pub holds: Holds<'a>,
}

/// What an advisory's ranges say of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds<'a> {
    /// Affected, and this version is the first without the problem.
    Until(&'a str),
    /// Affected, and no fixed version is named.
    Unfixed,
    /// Nothing follows.
    Unknown(Unclear),
}

/// Where a span begins, how it ends and where.
type Span<'a> = (Option<&'a str>, Option<u32>, Option<&'a str>);

/// What one advisory says of one package.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Said<'a> {
    id: &'a str,
    flags: Option<u32>,
    derived: Option<u32>,
    published: Option<u32>,
    aliases: Vec<&'a str>,
    vectors: Vec<&'a str>,
    spans: Vec<Span<'a>>,
    listed: Vec<&'a str>,
}

/// Why nothing follows from an advisory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unclear {
    /// It names no range, or one that cannot be compared.
    Range,
    /// The version asked about is none in the ecosystem's order.
    Version,
    /// The ecosystem's order is not known here.
    Order,
}

/// Whether a version lies in a span, by how it compares with its ends; `from` is absent where the span has no
/// beginning. `None` when that cannot be told.
fn within(from: Option<Option<Ordering>>, end: u32, to: Option<Ordering>) -> Option<bool> {
    if let Some(from) = from
        && from?.is_lt()
    {
        return Some(false);
    }
    Some(match end {
        FIXED => to?.is_lt(),
        LAST_AFFECTED => to?.is_le(),
        _ => true,
    })
}

impl Index {
    /// Source packages with at least one advisory.
    pub const fn packages(&self) -> usize {
        self.names.len()
    }

    /// Advisories.
    pub const fn records(&self) -> usize {
        self.ids.len()
    }

    /// The order of the versions in it.
    pub const fn order(&self) -> Order {
        self.order
    }

    /// Whether any advisory names this source.
    pub fn knows(&self, source: &str) -> bool {
        self.names.find(source).is_some()
    }

    /// The advisories whose ranges hold this version of this source, and those that cannot tell.
    pub fn matching(&self, source: &str, version: &str) -> Vec<Match<'_>> {
        let Some(package) = self.names.find(source) else { return Vec::new() };
        let mut installed = Comparison::new(self, version);
        range(&self.package_entries, package)
            .filter_map(|entry| {
                let holds = self.holds(entry, &mut installed)?;
                let record = *self.entry_record.get(entry as usize)?;
                let id = self.ids.get(record)?;
                let derived = self.record_derived.get(record as usize).is_some_and(|derived| *derived == 1);
                let aliases = derived.then(|| build::derived_alias(id)).flatten().into_iter();
                Some(Match {
                    id,
                    aliases: aliases.chain(self.texts(&self.record_aliases, &self.alias_texts, record)).collect(),
                    vectors: self.texts(&self.record_vectors, &self.vector_texts, record).collect(),
                    published: self.published(record),
                    flags: Flags(self.entry_flags.get(entry as usize).copied().unwrap_or_default()),
                    holds,
                })
            })
            .collect()
    }

    /// The names of which another edition of these advisories says something else, or only one of both says anything.
    pub fn differing<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        let names = |index: &'a Self| (0..index.names.len() as u32).filter_map(|package| index.names.get(package));
        let all: BTreeSet<&str> = names(self).chain(names(other)).collect();
        all.into_iter().filter(|name| self.said_of(name) != other.said_of(name)).collect()
    }

    /// All that is said of a package, in an order that does not depend on where it stands.
    fn said_of(&self, source: &str) -> Option<Vec<Said<'_>>> {
        let package = self.names.find(source)?;
        let text = |at: &u32| self.versions.get(*at);
        let entries = range(&self.package_entries, package).filter_map(|entry| {
            let record = *self.entry_record.get(entry as usize)?;
            let spans = range(&self.entry_spans, entry).map(|span| {
                let at = span as usize;
                let from = self.span_from.get(at).and_then(|from| from.checked_sub(1)).and_then(|from| text(&from));
                let end = self.span_end.get(at).copied();
                (from, end, self.span_to.get(at).filter(|_| end != Some(OPEN)).and_then(text))
            });
            Some(Said {
                id: self.ids.get(record)?,
                flags: self.entry_flags.get(entry as usize).copied(),
                derived: self.record_derived.get(record as usize).copied(),
                published: self.record_published.get(record as usize).copied(),
                aliases: self.texts(&self.record_aliases, &self.alias_texts, record).collect(),
                vectors: self.texts(&self.record_vectors, &self.vector_texts, record).collect(),
                spans: spans.collect(),
                listed: range(&self.entry_versions, entry)
                    .filter_map(|at| self.listed.get(at as usize).and_then(text))
                    .collect(),
            })
        });
        let mut entries: Vec<Said<'_>> = entries.collect();
        entries.sort();
        Some(entries)
    }

    fn published(&self, record: u32) -> Option<Timestamp> {
        let days = self.record_published.get(record as usize).filter(|days| **days > 0)?;
        Timestamp::from_second(i64::from(*days) * DAY).ok()
    }

    fn texts<'a>(&'a self, starts: &'a [u32], texts: &'a [u32], record: u32) -> impl Iterator<Item = &'a str> {
        range(starts, record).filter_map(|at| self.texts.get(*texts.get(at as usize)?))
    }

    /// `None` when the entry says that the version is not affected.
    fn holds<'a>(&'a self, entry: u32, installed: &mut Comparison<'a, '_>) -> Option<Holds<'a>> {
        let spans = range(&self.entry_spans, entry);
        let listed = range(&self.entry_versions, entry);
        if spans.is_empty() && listed.is_empty() {
            return Some(Holds::Unknown(Unclear::Range));
        }
        let mut held: Option<Holds<'a>> = None;
        let mut unclear = installed.version.is_none().then_some(Unclear::Version);
        for span in spans {
            let (Some(from), Some(end), Some(to)) =
                (self.span_from.get(span as usize), self.span_end.get(span as usize), self.span_to.get(span as usize))
            else {
                continue;
            };
            let from = from.checked_sub(1).map(|from| installed.to(from));
            let ends = if *end == OPEN { None } else { installed.to(*to) };
            match within(from, *end, ends) {
                // Not even a range of all versions: what was listed may be no version at all.
                _ if installed.version.is_none() => {}
                Some(true) => {
                    let fixed = (*end == FIXED).then(|| self.versions.get(*to)).flatten();
                    held = Some(match (held, fixed) {
                        (Some(Holds::Unfixed), _) | (_, None) => Holds::Unfixed,
                        (Some(Holds::Until(one)), Some(other)) => {
                            let later = self.order.compare(one, other) == Some(Ordering::Less);
                            Holds::Until(if later { other } else { one })
                        }
                        (_, Some(fixed)) => Holds::Until(fixed),
                    });
                }
                Some(false) => {}
                None if self.order == Order::Unknown => unclear = unclear.or(Some(Unclear::Order)),
                None => unclear = unclear.or(Some(Unclear::Range)),
            }
        }
        if held.is_none() {
            for at in listed {
                if let Some(version) = self.listed.get(at as usize)
                    && (installed.to(*version) == Some(Ordering::Equal)
                        || self.versions.get(*version) == Some(installed.text))
                {
                    held = Some(Holds::Unfixed);
                }
            }
        }
        held.or_else(|| unclear.map(Holds::Unknown))
    }
}

/// Positions that belong to `at` in a list of starts.
fn range(starts: &[u32], at: u32) -> std::ops::Range<u32> {
    let at = at as usize;
    starts.get(at).copied().unwrap_or_default()..starts.get(at + 1).copied().unwrap_or_default()
}

/// The installed version against versions of the index, each compared once: hundreds of advisories about a kernel
/// name the same few versions.
struct Comparison<'a, 'v> {
    index: &'a Index,
    text: &'v str,
    /// Absent for a text that is no version in the index's order.
    version: Option<Version>,
    known: std::collections::HashMap<u32, Option<Ordering>>,
}

impl<'a, 'v> Comparison<'a, 'v> {
    fn new(index: &'a Index, text: &'v str) -> Self {
        Self { index, text, version: index.order.read(text).ok(), known: std::collections::HashMap::new() }
    }

    fn to(&mut self, version: u32) -> Option<Ordering> {
        let installed = self.version.as_ref()?;
        *self.known.entry(version).or_insert_with(|| {
            let other = self.index.order.read(self.index.versions.get(version)?).ok()?;
            installed.partial_cmp(&other)
        })
    }
}

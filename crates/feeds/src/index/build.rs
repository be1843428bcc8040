//! Gathering the records of an ecosystem and writing them down as an [`Index`](super::Index).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{FIXED, Flags, LAST_AFFECTED, OPEN, within};
use jiff::Timestamp;

use crate::codec::Writer;
use crate::error::Problem;
use crate::order::{self, Order, Version};

/// A turn in a range of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// The problem begins here; `0` stands for the first version of all.
    Introduced(&'a str),
    /// The first version without it.
    Fixed(&'a str),
    /// The last version with it.
    LastAffected(&'a str),
}

impl<'a> Event<'a> {
    pub(crate) const fn version(self) -> &'a str {
        match self {
            Self::Introduced(version) | Self::Fixed(version) | Self::LastAffected(version) => version,
        }
    }

    fn is_from_the_start(self) -> bool {
        matches!(self, Self::Introduced("0"))
    }
}

/// A version by its number in the builder.
type VersionNumber = u32;

/// What one record says of one package.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    flags: Flags,
    spans: Vec<(Option<VersionNumber>, u32, VersionNumber)>,
    listed: Vec<VersionNumber>,
}

impl Entry {
    pub(crate) fn new(flags: Flags) -> Self {
        Self { flags, ..Self::default() }
    }

    /// Whether it names no version.
    pub(crate) const fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.listed.is_empty()
    }
}

struct RecordRow {
    id: String,
    derived: bool,
    aliases: Vec<String>,
    vectors: Vec<String>,
    /// Days since 1970; 0 where that is not known.
    published: u32,
}

/// Gathers records.
pub(crate) struct Builder {
    order: Order,
    records: Vec<RecordRow>,
    ids: BTreeSet<String>,
    packages: BTreeMap<String, Vec<(usize, Entry)>>,
    versions: HashMap<String, VersionNumber>,
    version_texts: Vec<String>,
}

/// The alias that an id says itself: `CVE-2024-1` of `DEBIAN-CVE-2024-1`.
pub(super) fn derived_alias(id: &str) -> Option<&str> {
    id.strip_prefix("DEBIAN-").or_else(|| id.strip_prefix("UBUNTU-"))
}

impl Builder {
    pub(crate) fn new(order: Order) -> Self {
        Self {
            order,
            records: Vec::new(),
            ids: BTreeSet::new(),
            packages: BTreeMap::new(),
            versions: HashMap::new(),
            version_texts: Vec::new(),
        }
    }

    pub(crate) fn records(&self) -> usize {
        self.records.len()
    }

    /// Adds a record and gives its number.
    pub(crate) fn record(
        &mut self,
        id: &str,
        aliases: &[&str],
        vectors: &[&str],
        published: Option<Timestamp>,
    ) -> Result<usize, Problem> {
        if !self.ids.insert(id.to_owned()) {
            return Err(Problem::Ambiguous("another record has the same id"));
        }
        let derived = derived_alias(id);
        let has_derived = derived.is_some_and(|alias| aliases.first() == Some(&alias));
        self.records.push(RecordRow {
            id: id.to_owned(),
            derived: has_derived,
            aliases: aliases.iter().skip(usize::from(has_derived)).map(|alias| (*alias).to_owned()).collect(),
            vectors: vectors.iter().map(|vector| (*vector).to_owned()).collect(),
            published: published.and_then(|at| u32::try_from(at.as_second() / super::DAY).ok()).unwrap_or_default(),
        });
        Ok(self.records.len() - 1)
    }

    pub(crate) fn entry(&mut self, package: &str, record: usize, entry: Entry) {
        match self.packages.get_mut(package) {
            Some(entries) => entries.push((record, entry)),
            None => drop(self.packages.insert(package.to_owned(), vec![(record, entry)])),
        }
    }

    /// Adds the spans that a list of events describes.
    pub(crate) fn spans(&mut self, entry: &mut Entry, events: &[Event<'_>]) -> Result<(), Problem> {
        let mut sorted: Vec<(Option<Version>, Event<'_>)> = Vec::with_capacity(events.len());
        for event in events {
            if event.is_from_the_start() {
                sorted.push((None, *event));
                continue;
            }
            order::check(self.order, event.version())?;
            match self.order.read(event.version()) {
                Ok(version) => sorted.push((Some(version), *event)),
                // Nothing can be said of a range with a turn at no known place: this span compares with nothing.
                Err(_) => {
                    let nowhere = self.number(event.version());
                    entry.spans.push((None, LAST_AFFECTED, nowhere));
                    return Ok(());
                }
            }
        }
        // The format leaves the order of events free. Versions without an order stay as they came.
        sorted.sort_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        let mut open: Option<Option<VersionNumber>> = None;
        for (_, event) in sorted {
            match event {
                Event::Introduced(_) if open.is_some() => {}
                Event::Introduced("0") => open = Some(None),
                Event::Introduced(version) => open = Some(Some(self.number(version))),
                Event::Fixed(version) | Event::LastAffected(version) => {
                    if let Some(from) = open.take() {
                        let end = if matches!(event, Event::Fixed(_)) { FIXED } else { LAST_AFFECTED };
                        let to = self.number(version);
                        entry.spans.push((from, end, to));
                    }
                }
            }
        }
        if let Some(from) = open {
            entry.spans.push((from, OPEN, 0));
        }
        Ok(())
    }

    /// Adds versions that are affected by themselves. Those that a span holds already are left out: lists mostly
    /// repeat the ranges, and would make the index many times as large.
    pub(crate) fn listed<'a>(
        &mut self,
        entry: &mut Entry,
        versions: impl Iterator<Item = &'a str>,
    ) -> Result<(), Problem> {
        let read = |number: VersionNumber| self.order.read(self.text(number)).ok();
        let spans: Vec<(Option<Option<Version>>, u32, Option<Version>)> =
            entry.spans.iter().map(|(from, end, to)| (from.map(read), *end, read(*to))).collect();
        for version in versions {
            order::bounded(version)?;
            let held = self.order.read(version).is_ok_and(|version| {
                spans.iter().any(|(from, end, to)| {
                    let from = from.as_ref().map(|from| version.partial_cmp(from.as_ref()?));
                    let to = to.as_ref().and_then(|to| version.partial_cmp(to));
                    within(from, *end, to) == Some(true)
                })
            });
            if !held {
                let number = self.number(version);
                entry.listed.push(number);
            }
        }
        Ok(())
    }

    fn number(&mut self, version: &str) -> VersionNumber {
        if let Some(number) = self.versions.get(version) {
            return *number;
        }
        let number = self.version_texts.len() as u32;
        self.versions.insert(version.to_owned(), number);
        self.version_texts.push(version.to_owned());
        number
    }

    /// The bytes of the index. The same records give the same bytes, in whatever order they came.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, Problem> {
        let mut by_id: Vec<usize> = (0..self.records.len()).collect();
        by_id.sort_by(|a, b| self.id_of(*a).cmp(self.id_of(*b)));
        let mut number_of = vec![0_u32; self.records.len()];
        for (new, old) in by_id.iter().enumerate() {
            if let Some(number) = number_of.get_mut(*old) {
                *number = new as u32;
            }
        }

        let mut texts = Numbering::default();
        let (mut derived, mut alias_counts, mut vector_counts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut alias_texts, mut vector_texts, mut published) = (Vec::new(), Vec::new(), Vec::new());
        for record in by_id.iter().filter_map(|at| self.records.get(*at)) {
            derived.push(u32::from(record.derived));
            published.push(record.published);
            alias_counts.push(record.aliases.len() as u32);
            vector_counts.push(record.vectors.len() as u32);
            alias_texts.extend(record.aliases.iter().map(|alias| texts.number(alias)));
            vector_texts.extend(record.vectors.iter().map(|vector| texts.number(vector)));
        }

        let mut versions = Numbering::default();
        let mut columns = EntryColumns::default();
        let mut entry_counts = Vec::new();
        let packages = std::mem::take(&mut self.packages);
        let names: Vec<&str> = packages.keys().map(String::as_str).collect();
        for entries in packages.values() {
            let mut merged: BTreeMap<u32, Entry> = BTreeMap::new();
            for (record, entry) in entries {
                let number = number_of.get(*record).copied().unwrap_or_default();
                let into = merged.entry(number).or_insert_with(|| Entry { flags: entry.flags, ..Entry::default() });
                into.spans.extend(&entry.spans);
                into.listed.extend(&entry.listed);
            }
            entry_counts.push(merged.len() as u32);
            for (record, mut entry) in merged {
                // Numbers follow the order in which the archive's entries came; texts do not.
                entry.spans.sort_by_key(|(from, end, to)| (from.map(|from| self.text(from)), *end, self.text(*to)));
                entry.spans.dedup();
                entry.listed.sort_by_key(|version| self.text(*version));
                entry.listed.dedup();
                columns.push(record, &entry, |version| versions.number(self.text(version)));
            }
        }

        let mut writer = Writer::default();
        writer.pool(names.iter().copied());
        writer.pool(by_id.iter().map(|at| self.id_of(*at)).collect::<Vec<_>>().into_iter());
        writer.pool(texts.iter());
        writer.pool(versions.iter());
        writer.plain(&entry_counts);
        writer.column32(&columns.record);
        writer.plain(&columns.flags);
        writer.plain(&columns.spans);
        writer.plain(&columns.listed_counts);
        writer.column32(&columns.span_from);
        writer.plain(&columns.span_end);
        writer.column32(&columns.span_to);
        writer.column32(&columns.listed);
        writer.plain(&derived);
        writer.plain(&alias_counts);
        writer.plain(&vector_counts);
        writer.column32(&alias_texts);
        writer.column32(&vector_texts);
        writer.plain(&published);
        Ok(writer.finish())
    }

    fn id_of(&self, record: usize) -> &str {
        self.records.get(record).map(|record| record.id.as_str()).unwrap_or_default()
    }

    fn text(&self, version: VersionNumber) -> &str {
        self.version_texts.get(version as usize).map(String::as_str).unwrap_or_default()
    }
}

#[derive(Default)]
struct EntryColumns {
    record: Vec<u32>,
    flags: Vec<u32>,
    spans: Vec<u32>,
    listed_counts: Vec<u32>,
    span_from: Vec<u32>,
    span_end: Vec<u32>,
    span_to: Vec<u32>,
    listed: Vec<u32>,
}

impl EntryColumns {
    fn push(&mut self, record: u32, entry: &Entry, mut number: impl FnMut(VersionNumber) -> u32) {
        self.record.push(record);
        self.flags.push(entry.flags.0);
        self.spans.push(entry.spans.len() as u32);
        self.listed_counts.push(entry.listed.len() as u32);
        for (from, end, to) in &entry.spans {
            self.span_from.push(from.map_or(0, |from| number(from) + 1));
            self.span_end.push(*end);
            self.span_to.push(if *end == OPEN { 0 } else { number(*to) });
        }
        self.listed.extend(entry.listed.iter().map(|version| number(*version)));
    }
}

/// Texts numbered in the order of their first use.
#[derive(Default)]
struct Numbering<'a> {
    numbers: HashMap<&'a str, u32>,
    texts: Vec<&'a str>,
}

impl<'a> Numbering<'a> {
    fn number(&mut self, text: &'a str) -> u32 {
        *self.numbers.entry(text).or_insert_with(|| {
            self.texts.push(text);
            (self.texts.len() - 1) as u32
        })
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = &'a str> + Clone + '_ {
        self.texts.iter().copied()
    }
}

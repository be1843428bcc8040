//! What CVE records say of versions of well-known libraries ([`stanch_model::upstream`]): the advisories by which copies of
//! them are judged that no distribution packaged.
//!
//! Read from the same files as [`crate::vulnrichment`]: a CVE record (format 5) names products with the versions that are
//! affected, by the word of whoever assigned the id, or of CISA where that says nothing that could be compared.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use stanch_model::canonical::Hasher;
use stanch_model::ecosystem::UPSTREAM;
use stanch_model::upstream::of_product;

use crate::archive::{Limits, Names, each_entry};
use crate::compiled::{Compiled, Effort};
use crate::cve;
use crate::error::{FeedError, Problem};
use crate::index::{Builder, Entry, Event, Flags};
use crate::kev::timestamp;
use crate::meta::{FeedMeta, Kind};
use crate::order::Order;

pub(crate) const NAME: &str = UPSTREAM;
/// Most versions that are taken of one record.
const MAX_VERSIONS: usize = 20_000;

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow, rename = "cveMetadata")]
    about: About<'a>,
    #[serde(borrow, default)]
    containers: Containers<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct About<'a> {
    #[serde(borrow)]
    cve_id: Cow<'a, str>,
    #[serde(borrow, default)]
    date_updated: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    date_published: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    state: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
struct Containers<'a> {
    #[serde(borrow, default)]
    cna: Option<Container<'a>>,
    #[serde(borrow, default)]
    adp: Vec<Container<'a>>,
}

#[derive(Deserialize)]
struct Container<'a> {
    #[serde(borrow, default)]
    affected: Vec<Affected<'a>>,
}

#[derive(Deserialize)]
struct Affected<'a> {
    #[serde(borrow, default)]
    vendor: Cow<'a, str>,
    #[serde(borrow, default)]
    product: Cow<'a, str>,
    #[serde(borrow, default)]
    versions: Vec<Versions<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Versions<'a> {
    #[serde(borrow, default)]
    version: Cow<'a, str>,
    #[serde(borrow, default)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    less_than: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    less_than_or_equal: Option<Cow<'a, str>>,
}

/// Reads records one after another.
pub(crate) struct Reading {
    builder: Builder,
    newest: Option<Timestamp>,
    source: Hasher,
}

impl Default for Reading {
    fn default() -> Self {
        Self { builder: Builder::new(Order::Upstream), newest: None, source: Hasher::new() }
    }
}

/// Reads one CVE record, or a zip of many; nothing where none of them names a library that is known.
///
/// # Errors
/// When any record cannot be read.
pub fn compile(bytes: &[u8]) -> Result<Option<Compiled>, FeedError> {
    let mut reading = Reading::default();
    reading.add("the record", bytes)?;
    reading.finish(Effort::Quick)
}

impl Reading {
    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), FeedError> {
        self.source.update(bytes);
        if bytes.starts_with(b"PK") {
            return each_entry(NAME, bytes, &Limits::default(), Names::InFolders, |name, json| {
                // The repository holds other documents beside the records.
                let file = name.rsplit('/').next().unwrap_or(name);
                if file.starts_with("CVE-") { self.record(json) } else { Ok(()) }
            });
        }
        self.record(bytes).map_err(|problem| FeedError::at(NAME, name, problem))
    }

    fn record(&mut self, json: &[u8]) -> Result<(), Problem> {
        let record: Record<'_> = serde_json::from_slice(json).map_err(Problem::Json)?;
        let id = &*record.about.cve_id;
        cve::number(id).ok_or_else(|| Problem::value("cveMetadata.cveId", id, "a CVE id"))?;
        if let Some(updated) = record.about.date_updated.as_deref() {
            let at = timestamp(updated).ok_or_else(|| Problem::value("cveMetadata.dateUpdated", updated, "a time"))?;
            self.newest = self.newest.max(Some(at));
        }
        if record.about.state.as_deref() == Some("REJECTED") {
            return Ok(());
        }
        let containers: Vec<&Container<'_>> = record.containers.cna.iter().chain(&record.containers.adp).collect();
        let products = || containers.iter().flat_map(|one| &one.affected);
        let mut names: Vec<&str> = products().filter_map(library).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Ok(());
        }
        let published = record.about.date_published.as_deref().and_then(timestamp);
        let number = self.builder.record(id, &[], &[], published)?;
        for name in names {
            let mut chosen = Entry::new(Flags::default());
            for container in &containers {
                let entry = self.entry(container, name)?;
                if !entry.is_empty() {
                    chosen = entry;
                    break;
                }
            }
            // One that names the library without a version that compares says so: nothing follows from it.
            self.builder.entry(name, number, chosen);
        }
        Ok(())
    }

    /// What one publisher says of one library.
    fn entry(&mut self, container: &Container<'_>, name: &str) -> Result<Entry, Problem> {
        let mut entry = Entry::new(Flags::default());
        let products = container.affected.iter().filter(|affected| library(affected) == Some(name));
        let versions: Vec<&Versions<'_>> = products.flat_map(|affected| &affected.versions).collect();
        if versions.len() > MAX_VERSIONS {
            return Err(Problem::TooMany { limit: MAX_VERSIONS });
        }
        let unaffected: Vec<&str> = versions
            .iter()
            .filter(|one| one.status == "unaffected")
            .filter_map(|one| one.less_than.as_deref())
            .collect();
        for one in versions.iter().filter(|one| one.status == "affected") {
            match range(one, &unaffected) {
                Some(Said::Range(events)) => self.builder.spans(&mut entry, &events)?,
                Some(Said::Single(version)) => self.builder.listed(&mut entry, std::iter::once(version))?,
                None => {}
            }
        }
        Ok(entry)
    }

    pub(crate) fn finish(self, effort: Effort) -> Result<Option<Compiled>, FeedError> {
        let refuse = |problem| FeedError::new(NAME, problem);
        if self.builder.records() == 0 {
            return Ok(None);
        }
        let mut meta = FeedMeta::new(Kind::Osv, NAME, self.source.finish());
        meta.ecosystem = Some(UPSTREAM.to_owned());
        meta.dated = self.newest;
        meta.records = self.builder.records() as u64;
        let body = self.builder.finish().map_err(refuse)?;
        Compiled::new(meta, &body, effort).map(Some).map_err(refuse)
    }
}

fn library(affected: &Affected<'_>) -> Option<&'static str> {
    of_product(&affected.vendor, &affected.product).map(|library| library.name)
}

/// What one entry of a record says.
#[derive(Debug, PartialEq)]
enum Said<'a> {
    Range(Vec<Event<'a>>),
    Single(&'a str),
}

fn reads(version: &str) -> bool {
    Order::Upstream.read(version).is_ok()
}

/// The versions that an entry calls affected. `None` for what does not compare: `n/a`, a commit, a sentence.
fn range<'a>(one: &'a Versions<'_>, unaffected: &[&'a str]) -> Option<Said<'a>> {
    let start = one.version.trim();
    let end = match (one.less_than.as_deref(), one.less_than_or_equal.as_deref()) {
        (Some("*"), _) | (None, Some("*")) => None,
        (Some(end), _) => Some(Event::Fixed(end.trim())),
        (None, Some(end)) => Some(Event::LastAffected(end.trim())),
        (None, None) => return expression(start),
    };
    let Some(end) = end else {
        let from = if reads(start) { start } else { "0" };
        return Some(Said::Range(vec![Event::Introduced(from)]));
    };
    let last = end.version();
    if !reads(last) {
        return None;
    }
    let below = |version: &str| Order::Upstream.compare(version, last).is_some_and(std::cmp::Ordering::is_lt);
    let is_last =
        matches!(end, Event::LastAffected(_)) && Order::Upstream.compare(start, last).is_some_and(|o| o.is_eq());
    let from = if below(start) || is_last {
        start
    } else {
        // Some write the end in place of the beginning too, and tell the beginning by what is not affected.
        Order::Upstream.newest(unaffected.iter().copied().filter(|version| below(version))).unwrap_or("0")
    };
    Some(Said::Range(vec![Event::Introduced(from), end]))
}

/// A version alone, or a range in one text, as GitHub writes it: `>= 1.6.0, < 1.6.51`.
fn expression(text: &str) -> Option<Said<'_>> {
    if reads(text) {
        return Some(Said::Single(text));
    }
    let mut events = Vec::new();
    for part in text.split(',').map(str::trim) {
        let event = if let Some(version) = part.strip_prefix(">=") {
            Event::Introduced(version.trim())
        } else if let Some(version) = part.strip_prefix("<=") {
            Event::LastAffected(version.trim())
        } else if let Some(version) = part.strip_prefix('<') {
            Event::Fixed(version.trim())
        } else {
            let version = part.strip_prefix('=').map(|rest| rest.trim_start_matches('=').trim());
            return version.filter(|version| reads(version) && part == text).map(Said::Single);
        };
        if !reads(event.version()) {
            return None;
        }
        events.push(event);
    }
    if !events.iter().any(|event| matches!(event, Event::Introduced(_))) {
        events.insert(0, Event::Introduced("0"));
    }
    Some(Said::Range(events))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<'a>(
        version: &'a str,
        less_than: Option<&'a str>,
        or_equal: Option<&'a str>,
        unaffected: &[&str],
    ) -> String {
        let one = Versions {
            version: version.into(),
            status: "affected".into(),
            less_than: less_than.map(Cow::from),
            less_than_or_equal: or_equal.map(Cow::from),
        };
        match range(&one, unaffected) {
            None => "nothing".to_owned(),
            Some(Said::Single(version)) => version.to_owned(),
            Some(Said::Range(events)) => {
                let text = |event: &Event<'_>| match event {
                    Event::Introduced(version) => format!("from {version}"),
                    Event::Fixed(version) => format!("below {version}"),
                    Event::LastAffected(version) => format!("to {version}"),
                };
                events.iter().map(text).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn an_entry_is_read_in_each_of_the_ways_in_which_publishers_write_it() {
        assert_eq!(said("1.0.2", Some("1.0.2zg"), None, &[]), "from 1.0.2 below 1.0.2zg");
        assert_eq!(said("0", Some("2.6.3"), None, &[]), "from 0 below 2.6.3");
        assert_eq!(said("unspecified", Some("2.6.3"), None, &[]), "from 0 below 2.6.3");
        assert_eq!(said("8.4.0", Some("8.4.0"), None, &["7.69.0", "9.0"]), "from 7.69.0 below 8.4.0");
        assert_eq!(said("8.5.0", None, Some("8.5.0"), &[]), "from 8.5.0 to 8.5.0");
        assert_eq!(said("3.0.0", Some("*"), None, &[]), "from 3.0.0");
        assert_eq!(said(">= 1.6.0, < 1.6.51", None, None, &[]), "from 1.6.0 below 1.6.51");
        assert_eq!(said("<= 1.2", None, None, &[]), "from 0 to 1.2");
        assert_eq!(said("= 1.2", None, None, &[]), "1.2");
        assert_eq!(said("3.0.1", None, None, &[]), "3.0.1");
        for nothing in ["n/a", "n/a and others", "> 1.2", "before 2.0", "c36af1a7f6e6ab7d7f2eb3b3", "1.0 to 2.0"] {
            assert_eq!(said(nothing, None, None, &[]), "nothing", "{nothing}");
        }
        assert_eq!(said("0", Some("5d5d0a0"), None, &[]), "nothing", "a commit");
    }
}

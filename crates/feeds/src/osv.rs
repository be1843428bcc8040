//! OSV bulk archives: a zip of one JSON document for each advisory, read into the [`Index`](crate::index::Index) of
//! one ecosystem.
//!
//! Only what matching and assessing need is kept. Withdrawn records are left out. A record that cannot be read in
//! full refuses the archive: half an archive would make silence look like safety.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use stanch_model::Digest;
use stanch_model::ecosystem::{UPSTREAM, normal_name};

use crate::archive::{Limits, Names, each_entry};
use crate::compiled::{Compiled, Effort};
use crate::error::{FeedError, Problem};
use crate::index::{Builder, Entry, Flags};
use crate::meta::{FeedMeta, Kind};
use crate::order::Order;

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    aliases: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    upstream: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    withdrawn: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    published: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    modified: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    severity: Option<Vec<Severity<'a>>>,
    #[serde(borrow, default)]
    affected: Option<Vec<Affected<'a>>>,
}

#[derive(Deserialize)]
struct Severity<'a> {
    #[serde(borrow)]
    score: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Affected<'a> {
    #[serde(borrow, default)]
    package: Option<Package<'a>>,
    #[serde(borrow, default)]
    ranges: Option<Vec<Range<'a>>>,
    #[serde(borrow, default)]
    versions: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    severity: Option<Vec<Severity<'a>>>,
    #[serde(borrow, default)]
    ecosystem_specific: Picked<'a>,
    #[serde(borrow, default)]
    database_specific: Picked<'a>,
}

#[derive(Deserialize)]
struct Package<'a> {
    #[serde(borrow)]
    ecosystem: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Range<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    events: Vec<Event<'a>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    introduced: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    fixed: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    last_affected: Option<Cow<'a, str>>,
}

/// The fields wanted of the free-form objects of OSV, whose shape each database chooses for itself.
#[derive(Default)]
struct Picked<'a> {
    /// Debian's word.
    urgency: Option<Cow<'a, str>>,
    /// Where the fix was uploaded to, in Debian.
    upload_target: Option<Cow<'a, str>>,
    /// What RustSec calls an entry that is no vulnerability: `unmaintained`, `unsound`, `notice`.
    informational: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Picked<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PickedVisitor)
    }
}

struct PickedVisitor;

macro_rules! ignore_scalars {
    ($value:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

impl<'de> Visitor<'de> for PickedVisitor {
    type Value = Picked<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("anything")
    }

    ignore_scalars!(Picked::default());

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Picked::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut picked = Picked::default();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match &*key {
                "urgency" => picked.urgency = map.next_value::<Text<'de>>()?.0,
                "informational" => picked.informational = map.next_value::<Text<'de>>()?.0,
                "upload_target" => picked.upload_target = map.next_value::<Text<'de>>()?.0,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(picked)
    }
}

/// A text, or nothing when the value is anything else.
struct Text<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("anything")
            }

            ignore_scalars!(Text(None));

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// The ecosystem of a folder in a feed folder: `Debian-12` is `Debian:12`, `crates` is `crates.io`.
pub fn ecosystem_of_folder(folder: &str) -> String {
    match folder.split_once('-') {
        Some((name @ ("Debian" | "Ubuntu"), release)) => format!("{name}:{}", release.replace('-', ":")),
        Some((name @ ("AlmaLinux" | "Rocky Linux" | "Alpine"), release)) => format!("{name}:{release}"),
        _ if folder == "crates" => "crates.io".to_owned(),
        _ => folder.to_owned(),
    }
}

/// The name of the feed with this ecosystem's advisories.
pub fn feed_name(ecosystem: &str) -> String {
    if ecosystem == UPSTREAM {
        return ecosystem.to_owned();
    }
    format!("osv/{}", ecosystem.replace(':', "-"))
}

/// Reads the bulk archive of one ecosystem.
///
/// # Errors
/// When any part of it cannot be read or makes no sense: nothing of it is used then.
pub fn compile(ecosystem: &str, zip: &[u8], limits: &Limits) -> Result<Compiled, FeedError> {
    compile_with(ecosystem, zip, limits, Effort::Quick)
}

pub(crate) fn compile_with(
    ecosystem: &str,
    zip: &[u8],
    limits: &Limits,
    effort: Effort,
) -> Result<Compiled, FeedError> {
    let name = feed_name(ecosystem);
    let mut builder = Builder::new(Order::of(ecosystem));
    let mut newest: Option<Timestamp> = None;
    each_entry(&name, zip, limits, Names::Plain, |_, json| {
        let modified = read(ecosystem, json, &mut builder)?;
        newest = newest.max(modified);
        Ok(())
    })?;
    finish(ecosystem, builder, newest, Digest::of_bytes(zip), effort)
}

fn finish(
    ecosystem: &str,
    builder: Builder,
    dated: Option<Timestamp>,
    source: Digest,
    effort: Effort,
) -> Result<Compiled, FeedError> {
    let name = feed_name(ecosystem);
    let refuse = |problem| FeedError::new(&name, problem);
    let mut meta = FeedMeta::new(Kind::Osv, &name, source);
    meta.ecosystem = Some(ecosystem.to_owned());
    meta.dated = dated;
    meta.records = builder.records() as u64;
    if meta.records == 0 {
        return Err(refuse(Problem::Empty));
    }
    let body = builder.finish().map_err(refuse)?;
    Compiled::new(meta, &body, effort).map_err(refuse)
}

/// Reads a single record as if it were a whole archive.
///
/// # Errors
/// As [`compile`].
pub fn compile_record(ecosystem: &str, json: &[u8]) -> Result<Compiled, FeedError> {
    let name = feed_name(ecosystem);
    let mut builder = Builder::new(Order::of(ecosystem));
    let dated = read(ecosystem, json, &mut builder).map_err(|problem| FeedError::new(&name, problem))?;
    finish(ecosystem, builder, dated, Digest::of_bytes(json), Effort::Quick)
}

/// Longest lists taken of one record.
const MAX_LIST: usize = 20_000;
/// Most versions that one record lists of one package.
const MAX_VERSIONS: usize = 200_000;

fn read(ecosystem: &str, json: &[u8], builder: &mut Builder) -> Result<Option<Timestamp>, Problem> {
    let record: Record<'_> = serde_json::from_slice(json).map_err(Problem::Json)?;
    let id = text("id", &record.id, 128)?;
    let modified = match record.modified.as_deref() {
        Some(at) => Some(at.parse().map_err(|_| Problem::value("modified", at, "a time"))?),
        None => None,
    };
    let published: Option<Timestamp> = match record.published.as_deref() {
        Some(at) => Some(at.parse().map_err(|_| Problem::value("published", at, "a time"))?),
        None => None,
    };
    if record.withdrawn.is_some() {
        return Ok(modified);
    }
    let mut aliases = Vec::new();
    for alias in record.upstream.iter().flatten().chain(record.aliases.iter().flatten()) {
        let alias = text("aliases", alias, 128)?;
        if alias != id && !aliases.contains(&alias) {
            aliases.push(alias);
        }
    }
    let affected = record.affected.unwrap_or_default();
    if affected.len() > MAX_LIST || aliases.len() > MAX_LIST {
        return Err(Problem::TooMany { limit: MAX_LIST });
    }
    let mut vectors: Vec<&str> = Vec::new();
    let own = |affected: &Affected<'_>| affected.package.as_ref().is_some_and(|p| same(&p.ecosystem, ecosystem));
    let severities = record.severity.iter().flatten();
    for severity in severities.chain(affected.iter().filter(|a| own(a)).flat_map(|a| a.severity.iter().flatten())) {
        // Ubuntu puts words such as `medium` here: only vectors are kept.
        if severity.score.contains('/') && severity.score.len() <= 512 && !vectors.contains(&&*severity.score) {
            vectors.push(&severity.score);
        }
    }
    let mut at = None;
    for affected in affected.iter().filter(|affected| own(affected)) {
        let Some(package) = &affected.package else { continue };
        let name = text("package.name", &package.name, 256)?;
        let mut entry = Entry::new(flags(affected));
        for range in affected.ranges.iter().flatten().filter(|range| range.kind != "GIT") {
            if range.events.len() > MAX_LIST {
                return Err(Problem::TooMany { limit: MAX_LIST });
            }
            let events = range.events.iter().flat_map(|event| {
                let introduced = event.introduced.as_deref().map(crate::index::Event::Introduced);
                let fixed = event.fixed.as_deref().map(crate::index::Event::Fixed);
                let last = event.last_affected.as_deref().map(crate::index::Event::LastAffected);
                [introduced, fixed, last].into_iter().flatten()
            });
            builder.spans(&mut entry, &events.collect::<Vec<_>>())?;
        }
        let versions = affected.versions.as_deref().unwrap_or_default();
        if versions.len() > MAX_VERSIONS {
            return Err(Problem::TooMany { limit: MAX_VERSIONS });
        }
        builder.listed(&mut entry, versions.iter().map(|version| &**version))?;
        let record = match at {
            Some(record) => record,
            None => *at.insert(builder.record(id, &aliases, &vectors, published)?),
        };
        builder.entry(&normal_name(ecosystem, name), record, entry);
    }
    Ok(modified)
}

fn flags(affected: &Affected<'_>) -> Flags {
    let mut flags = Flags::default();
    match affected.database_specific.upload_target.as_deref() {
        Some("pre-release") => flags.insert(Flags::PRE_RELEASE),
        Some("stable") => flags.insert(Flags::STABLE),
        _ => {}
    }
    if affected.database_specific.informational.is_some() {
        flags.insert(Flags::INFORMATIONAL);
    }
    match affected.ecosystem_specific.urgency.as_deref() {
        Some("unimportant") => flags.insert(Flags::UNIMPORTANT),
        Some("end-of-life") => flags.insert(Flags::END_OF_LIFE),
        _ => {}
    }
    flags
}

/// Whether a record's ecosystem is the one asked for: itself, or a variant such as `Ubuntu:22.04:LTS`.
fn same(found: &str, wanted: &str) -> bool {
    found.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

fn text<'a>(field: &'static str, text: &'a str, limit: usize) -> Result<&'a str, Problem> {
    if text.is_empty() || text.len() > limit || text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(Problem::value(field, text, "a short text without spaces"));
    }
    Ok(text)
}

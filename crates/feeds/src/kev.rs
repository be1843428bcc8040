//! CISA's catalogue of known exploited vulnerabilities.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;
use stanch_model::Digest;
use stanch_model::assessment::Kev;

use crate::codec::{Reader, Writer};
use crate::compiled::{Compiled, Effort};
use crate::error::{FeedError, Problem};
use crate::meta::{FeedMeta, Kind};
use crate::{cve, error};

const NAME: &str = "kev";
/// Real catalogues have some thousand entries.
const MAX_ENTRIES: usize = 200_000;

#[derive(Deserialize)]
struct Catalogue {
    #[serde(rename = "dateReleased")]
    released: String,
    vulnerabilities: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "cveID")]
    cve: String,
    #[serde(rename = "dateAdded")]
    added: Date,
    #[serde(rename = "dueDate", default)]
    due: Option<Date>,
    #[serde(rename = "knownRansomwareCampaignUse", default)]
    ransomware: Option<String>,
}

/// The catalogue by CVE.
#[derive(Debug)]
pub(crate) struct Table {
    keys: Vec<u64>,
    added: Vec<u32>,
    due: Vec<u32>,
    ransomware: Vec<u32>,
}

/// Reads the catalogue.
///
/// # Errors
/// When it is not the catalogue, is cut short, or an entry makes no sense.
pub fn compile(json: &[u8]) -> Result<Compiled, FeedError> {
    compile_with(json, Effort::Quick)
}

pub(crate) fn compile_with(json: &[u8], effort: Effort) -> Result<Compiled, FeedError> {
    let refuse = |problem| FeedError::new(NAME, problem);
    let catalogue: Catalogue = serde_json::from_slice(json).map_err(|error| refuse(Problem::Json(error)))?;
    if catalogue.vulnerabilities.len() > MAX_ENTRIES {
        return Err(refuse(Problem::TooMany { limit: MAX_ENTRIES }));
    }
    let mut rows = Vec::with_capacity(catalogue.vulnerabilities.len());
    for row in catalogue.vulnerabilities {
        let at = |problem| FeedError::at(NAME, &row.cve, problem);
        let key = cve::number(&row.cve).ok_or_else(|| at(Problem::value("cveID", &row.cve, "a CVE id")))?;
        // CISA writes `Known` or `Unknown`.
        let ransomware = row.ransomware.is_some_and(|used| used.eq_ignore_ascii_case("known"));
        rows.push((key, pack(row.added), row.due.map_or(0, pack), u32::from(ransomware)));
    }
    rows.sort_unstable();
    if let Some(pair) = rows.windows(2).find(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
        let id = pair.first().map(|row| cve::text(row.0)).unwrap_or_default();
        return Err(FeedError::at(NAME, &id, Problem::Ambiguous("the same CVE is listed twice")));
    }
    if rows.is_empty() {
        return Err(refuse(Problem::Empty));
    }
    let mut writer = Writer::default();
    writer.column(&rows.iter().map(|row| row.0).collect::<Vec<_>>());
    writer.column32(&rows.iter().map(|row| row.1).collect::<Vec<_>>());
    writer.column32(&rows.iter().map(|row| row.2).collect::<Vec<_>>());
    writer.plain(&rows.iter().map(|row| row.3).collect::<Vec<_>>());
    let mut meta = FeedMeta::new(Kind::Kev, NAME, Digest::of_bytes(json));
    meta.dated = Some(timestamp(&catalogue.released).ok_or_else(|| {
        refuse(Problem::Value {
            field: "dateReleased",
            text: error::printable(&catalogue.released),
            expected: "a time",
        })
    })?);
    meta.records = rows.len() as u64;
    Compiled::new(meta, &writer.finish(), effort).map_err(refuse)
}

impl Table {
    pub(crate) fn load(body: &[u8]) -> Result<Self, Problem> {
        let mut reader = Reader::new(body);
        let table = Self {
            keys: reader.column()?,
            added: reader.column32()?,
            due: reader.column32()?,
            ransomware: reader.plain()?,
        };
        reader.done()?;
        let rows = table.keys.len();
        if table.added.len() == rows && table.due.len() == rows && table.ransomware.len() == rows {
            Ok(table)
        } else {
            Err(Problem::Damaged("its columns have different lengths"))
        }
    }

    pub(crate) fn get(&self, key: u64) -> Option<Kev> {
        let at = self.keys.binary_search(&key).ok()?;
        Some(Kev {
            added: unpack(*self.added.get(at)?)?,
            due: unpack(*self.due.get(at)?),
            ransomware: self.ransomware.get(at) == Some(&1),
        })
    }
}

/// A day as a number that keeps the order; zero is none.
pub(crate) fn pack(date: Date) -> u32 {
    (date.year().max(0) as u32) << 9 | (date.month() as u32) << 5 | date.day() as u32
}

pub(crate) fn unpack(packed: u32) -> Option<Date> {
    let year = i16::try_from(packed >> 9).ok()?;
    Date::new(year, (packed >> 5 & 0xf) as i8, (packed & 0x1f) as i8).ok()
}

/// A time as feeds write it: RFC 3339, with or without a colon in the offset, or a day alone.
pub(crate) fn timestamp(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let day: Date = text.get(..10)?.parse().ok()?;
        let rest = text.get(10..)?;
        let midnight = rest.is_empty() || rest.trim_end_matches(['0', ':', '+', 'Z', '-', '.']) == "T";
        midnight.then(|| jiff::tz::TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok())?
    })
}

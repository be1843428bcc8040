//! CISA Vulnrichment: what CISA adds to CVE records (format 5) as an authorised publisher: SSVC options, KEV dates
//! and CVSS scores. Read from one record, a folder of them, or a zip of the repository.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::Value;
use stanch_model::assessment::{Automatable, Cvss, Exploitation, Kev, SsvcOptions, TechnicalImpact};
use stanch_model::canonical::Hasher;

use crate::archive::{Limits, Names, each_entry};
use crate::codec::{Pool, Reader, Writer};
use crate::compiled::{Compiled, Effort};
use crate::error::{FeedError, Problem};
use crate::kev::{pack, timestamp, unpack};
use crate::meta::{FeedMeta, Kind};
use crate::{cve, cvss};

pub(crate) const NAME: &str = "vulnrichment";
/// Scores kept of one record.
const MAX_SCORES: usize = 8;

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "cveMetadata")]
    about: About,
    #[serde(default)]
    containers: Containers,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct About {
    cve_id: String,
    #[serde(default)]
    date_updated: Option<String>,
    #[serde(default)]
    state: Option<String>,
}

#[derive(Deserialize, Default)]
struct Containers {
    #[serde(default)]
    cna: Option<Container>,
    #[serde(default)]
    adp: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default)]
    provider_metadata: Provider,
    #[serde(default)]
    metrics: Vec<Metric>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Provider {
    #[serde(default)]
    short_name: String,
}

#[derive(Deserialize)]
struct Metric {
    #[serde(rename = "cvssV2_0", default)]
    v2: Option<Score>,
    #[serde(rename = "cvssV3_0", default)]
    v30: Option<Score>,
    #[serde(rename = "cvssV3_1", default)]
    v31: Option<Score>,
    #[serde(rename = "cvssV4_0", default)]
    v4: Option<Score>,
    #[serde(default)]
    other: Option<Other>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Score {
    #[serde(default)]
    vector_string: String,
}

#[derive(Deserialize)]
struct Other {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    content: Value,
}

#[derive(Debug, Default)]
struct Row {
    options: SsvcOptions,
    kev: Option<Date>,
    /// Vector and who gave it.
    scores: Vec<(String, String)>,
}

/// Reads records one after another.
pub(crate) struct Reading {
    rows: BTreeMap<u64, Row>,
    newest: Option<Timestamp>,
    source: Hasher,
}

impl Default for Reading {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), newest: None, source: Hasher::new() }
    }
}

/// Reads one CVE record, or a zip of many.
///
/// # Errors
/// When any record cannot be read.
pub fn compile(bytes: &[u8]) -> Result<Compiled, FeedError> {
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
        let record: Record = serde_json::from_slice(json).map_err(Problem::Json)?;
        let id = &record.about.cve_id;
        let key = cve::number(id).ok_or_else(|| Problem::value("cveMetadata.cveId", id, "a CVE id"))?;
        if let Some(updated) = &record.about.date_updated {
            let at = timestamp(updated).ok_or_else(|| Problem::value("cveMetadata.dateUpdated", updated, "a time"))?;
            self.newest = self.newest.max(Some(at));
        }
        if record.about.state.as_deref() == Some("REJECTED") {
            return Ok(());
        }
        let mut row = Row::default();
        let containers = record.containers.adp.into_iter().chain(record.containers.cna);
        for container in containers {
            let source = container.provider_metadata.short_name;
            let by_cisa = source == "CISA-ADP";
            for metric in container.metrics {
                for score in [metric.v4, metric.v31, metric.v30, metric.v2].into_iter().flatten() {
                    let known = row.scores.iter().any(|(vector, _)| *vector == score.vector_string);
                    if !known && row.scores.len() < MAX_SCORES && cvss::score(&score.vector_string, "").is_some() {
                        row.scores.push((score.vector_string, source.chars().take(64).collect()));
                    }
                }
                match metric.other {
                    Some(other) if by_cisa && other.kind == "ssvc" => row.options = options(&other.content)?,
                    Some(other) if by_cisa && other.kind == "kev" => {
                        let added = other.content.get("dateAdded").and_then(Value::as_str).unwrap_or_default();
                        let day = added.parse().map_err(|_| Problem::value("kev.dateAdded", added, "a day"))?;
                        row.kev = Some(day);
                    }
                    _ => {}
                }
            }
        }
        if self.rows.insert(key, row).is_some() {
            return Err(Problem::Ambiguous("another record has the same CVE id"));
        }
        Ok(())
    }

    pub(crate) fn finish(self, effort: Effort) -> Result<Compiled, FeedError> {
        let refuse = |problem| FeedError::new(NAME, problem);
        if self.rows.is_empty() {
            return Err(refuse(Problem::Empty));
        }
        let rows: Vec<(&u64, &Row)> = self.rows.iter().collect();
        let mut writer = Writer::default();
        writer.column(&rows.iter().map(|(key, _)| **key).collect::<Vec<_>>());
        writer.plain(&rows.iter().map(|(_, row)| pack_options(row.options)).collect::<Vec<_>>());
        writer.plain(&rows.iter().map(|(_, row)| row.kev.map_or(0, pack)).collect::<Vec<_>>());
        writer.plain(&rows.iter().map(|(_, row)| row.scores.len() as u32).collect::<Vec<_>>());
        let scores: Vec<&(String, String)> = rows.iter().flat_map(|(_, row)| &row.scores).collect();
        writer.pool(scores.iter().map(|(vector, _)| vector.as_str()));
        writer.pool(scores.iter().map(|(_, source)| source.as_str()));
        let mut meta = FeedMeta::new(Kind::Vulnrichment, NAME, self.source.finish());
        meta.dated = self.newest;
        meta.records = rows.len() as u64;
        Compiled::new(meta, &writer.finish(), effort).map_err(refuse)
    }
}

fn options(content: &Value) -> Result<SsvcOptions, Problem> {
    let mut options = SsvcOptions::default();
    let given = content.get("options").and_then(Value::as_array).into_iter().flatten();
    for (name, value) in given.filter_map(Value::as_object).flatten() {
        let value = value.as_str().unwrap_or_default();
        let strange = |field| Problem::value(field, value, "a value of its SSVC decision point");
        match name.as_str() {
            "Exploitation" => {
                options.exploitation = Some(match value.to_ascii_lowercase().as_str() {
                    "none" => Exploitation::None,
                    "poc" | "public poc" => Exploitation::PublicPoc,
                    "active" => Exploitation::Active,
                    _ => return Err(strange("Exploitation")),
                });
            }
            "Automatable" => {
                options.automatable = Some(match value.to_ascii_lowercase().as_str() {
                    "no" => Automatable::No,
                    "yes" => Automatable::Yes,
                    _ => return Err(strange("Automatable")),
                });
            }
            "Technical Impact" => {
                options.technical_impact = Some(match value.to_ascii_lowercase().as_str() {
                    "partial" => TechnicalImpact::Partial,
                    "total" => TechnicalImpact::Total,
                    _ => return Err(strange("Technical Impact")),
                });
            }
            _ => {}
        }
    }
    Ok(options)
}

const fn pack_options(options: SsvcOptions) -> u32 {
    let exploitation = match options.exploitation {
        None => 0,
        Some(Exploitation::None) => 1,
        Some(Exploitation::PublicPoc) => 2,
        Some(Exploitation::Active) => 3,
    };
    let automatable = match options.automatable {
        None => 0,
        Some(Automatable::No) => 1,
        Some(Automatable::Yes) => 2,
    };
    let impact = match options.technical_impact {
        None => 0,
        Some(TechnicalImpact::Partial) => 1,
        Some(TechnicalImpact::Total) => 2,
    };
    exploitation | automatable << 2 | impact << 4
}

const fn unpack_options(packed: u32) -> SsvcOptions {
    SsvcOptions {
        exploitation: match packed & 3 {
            1 => Some(Exploitation::None),
            2 => Some(Exploitation::PublicPoc),
            3 => Some(Exploitation::Active),
            _ => None,
        },
        automatable: match packed >> 2 & 3 {
            1 => Some(Automatable::No),
            2 => Some(Automatable::Yes),
            _ => None,
        },
        technical_impact: match packed >> 4 & 3 {
            1 => Some(TechnicalImpact::Partial),
            2 => Some(TechnicalImpact::Total),
            _ => None,
        },
    }
}

/// The records by CVE.
#[derive(Debug)]
pub(crate) struct Table {
    keys: Vec<u64>,
    options: Vec<u32>,
    kev: Vec<u32>,
    first_score: Vec<u32>,
    vectors: Pool,
    sources: Pool,
}

impl Table {
    pub(crate) fn load(body: &[u8]) -> Result<Self, Problem> {
        let mut reader = Reader::new(body);
        let keys = reader.column()?;
        let options = reader.plain()?;
        let kev = reader.plain()?;
        let mut first_score = vec![0_u32];
        let mut at = 0_u32;
        for count in reader.plain()? {
            at = at.checked_add(count).ok_or(Problem::Damaged("a count is too large"))?;
            first_score.push(at);
        }
        let vectors = reader.pool()?;
        let sources = reader.pool()?;
        reader.done()?;
        let fit = options.len() == keys.len()
            && kev.len() == keys.len()
            && first_score.len() == keys.len() + 1
            && vectors.len() == at as usize
            && sources.len() == at as usize;
        if !fit {
            return Err(Problem::Damaged("its columns do not fit together"));
        }
        Ok(Self { keys, options, kev, first_score, vectors, sources })
    }

    pub(crate) fn options(&self, key: u64) -> SsvcOptions {
        let found = self.keys.binary_search(&key).ok().and_then(|at| self.options.get(at));
        found.map(|packed| unpack_options(*packed)).unwrap_or_default()
    }

    /// A KEV entry as far as Vulnrichment tells: without due date, and silent about ransomware.
    pub(crate) fn kev(&self, key: u64) -> Option<Kev> {
        let at = self.keys.binary_search(&key).ok()?;
        Some(Kev { added: unpack(*self.kev.get(at)?)?, due: None, ransomware: false })
    }

    pub(crate) fn scores(&self, key: u64) -> Vec<Cvss> {
        let Ok(at) = self.keys.binary_search(&key) else { return Vec::new() };
        let start = self.first_score.get(at).copied().unwrap_or_default();
        let end = self.first_score.get(at + 1).copied().unwrap_or_default();
        (start..end).filter_map(|at| cvss::score(self.vectors.get(at)?, self.sources.get(at)?)).collect()
    }
}

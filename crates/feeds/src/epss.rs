//! EPSS: the daily CSV of exploit probabilities, with the model version and the date that its first line names.
//!
//! Scores of two models cannot be compared, so no score leaves here without its model and day.

use jiff::civil::Date;
use serde::Deserialize;
use stanch_model::Digest;
use stanch_model::assessment::Epss;

use crate::archive::gunzip;
use crate::codec::{Reader, Writer};
use crate::compiled::{Compiled, Effort};
use crate::cve;
use crate::error::{FeedError, Problem};
use crate::kev::timestamp;
use crate::meta::{FeedMeta, Kind};

const NAME: &str = "epss";
const MAX_BYTES: u64 = 256 << 20;
const MAX_ROWS: usize = 5_000_000;

/// Scores by CVE.
#[derive(Debug)]
pub(crate) struct Table {
    model: String,
    date: Date,
    keys: Vec<u64>,
    scores: Vec<u32>,
    percentiles: Vec<u32>,
}

#[derive(Deserialize)]
struct Row<'a> {
    cve: &'a str,
    epss: &'a str,
    percentile: &'a str,
}

/// Reads a daily file, packed by gzip or not.
///
/// # Errors
/// When its header names no date, or a row makes no sense.
pub fn compile(csv: &[u8]) -> Result<Compiled, FeedError> {
    compile_with(csv, Effort::Quick)
}

pub(crate) fn compile_with(packed: &[u8], effort: Effort) -> Result<Compiled, FeedError> {
    let refuse = |problem| FeedError::new(NAME, problem);
    let csv = gunzip(packed, MAX_BYTES).map_err(refuse)?;
    let (header, rows) = split_line(&csv);
    let (model, dated) = read_header(header).ok_or_else(|| {
        let text = String::from_utf8_lossy(header);
        FeedError::at(NAME, "line 1", Problem::value("the header", &text, "#model_version:...,score_date:..."))
    })?;
    let mut reader = csv::ReaderBuilder::new().from_reader(rows);
    let headers = reader.headers().map_err(|error| refuse(Problem::Csv(error)))?.clone();
    let mut table: Vec<(u64, u32, u32)> = Vec::new();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| refuse(Problem::Csv(error)))? {
        let line = || format!("line {}", record.position().map_or(0, |at| at.line() + 1));
        let row: Row<'_> =
            record.deserialize(Some(&headers)).map_err(|error| FeedError::at(NAME, &line(), Problem::Csv(error)))?;
        let refuse = |field, text| FeedError::at(NAME, &line(), Problem::value(field, text, "what EPSS writes there"));
        let key = cve::number(row.cve).ok_or_else(|| refuse("cve", row.cve))?;
        let score = share(row.epss).ok_or_else(|| refuse("epss", row.epss))?;
        let percentile = share(row.percentile).ok_or_else(|| refuse("percentile", row.percentile))?;
        table.push((key, score, percentile));
        if table.len() > MAX_ROWS {
            return Err(FeedError::new(NAME, Problem::TooMany { limit: MAX_ROWS }));
        }
    }
    table.sort_unstable();
    table.dedup();
    if table.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
        return Err(refuse(Problem::Ambiguous("a CVE has two scores")));
    }
    if table.is_empty() {
        return Err(refuse(Problem::Empty));
    }
    let mut writer = Writer::default();
    writer.column(&table.iter().map(|row| row.0).collect::<Vec<_>>());
    writer.plain(&table.iter().map(|row| row.1).collect::<Vec<_>>());
    writer.plain(&table.iter().map(|row| row.2).collect::<Vec<_>>());
    let mut meta = FeedMeta::new(Kind::Epss, NAME, Digest::of_bytes(packed));
    meta.dated = Some(dated);
    meta.model = Some(model);
    meta.records = table.len() as u64;
    Compiled::new(meta, &writer.finish(), effort).map_err(refuse)
}

fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().take(4096).position(|byte| *byte == b'\n').unwrap_or(bytes.len().min(4096));
    let (line, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
    (line, rest.strip_prefix(b"\n").unwrap_or(rest))
}

fn read_header(line: &[u8]) -> Option<(String, jiff::Timestamp)> {
    let line = std::str::from_utf8(line).ok()?.trim_end().strip_prefix('#')?;
    let (mut model, mut dated) = (None, None);
    for field in line.split(',') {
        match field.split_once(':')? {
            ("model_version", value) if value.len() <= 64 => model = Some(value.to_owned()),
            ("score_date", value) => dated = Some(timestamp(value)?),
            _ => {}
        }
    }
    Some((model?, dated?))
}

/// A share between 0 and 1 in parts per 100,000.
fn share(text: &str) -> Option<u32> {
    let value: f64 = text.parse().ok()?;
    (0.0..=1.0).contains(&value).then(|| (value * 100_000.0).round() as u32)
}

impl Table {
    pub(crate) fn load(meta: &FeedMeta, body: &[u8]) -> Result<Self, Problem> {
        let mut reader = Reader::new(body);
        let keys = reader.column()?;
        let scores = reader.plain()?;
        let percentiles = reader.plain()?;
        reader.done()?;
        let dated = meta.dated.ok_or(Problem::Damaged("it bears no date"))?;
        let table = Self {
            model: meta.model.clone().unwrap_or_default(),
            date: jiff::tz::TimeZone::UTC.to_datetime(dated).date(),
            keys,
            scores,
            percentiles,
        };
        if table.scores.len() == table.keys.len() && table.percentiles.len() == table.keys.len() {
            Ok(table)
        } else {
            Err(Problem::Damaged("its columns have different lengths"))
        }
    }

    pub(crate) fn get(&self, key: u64) -> Option<Epss> {
        let at = self.keys.binary_search(&key).ok()?;
        Some(Epss {
            score_e5: *self.scores.get(at)?,
            percentile_e5: *self.percentiles.get(at)?,
            model: self.model.clone(),
            date: self.date,
        })
    }
}

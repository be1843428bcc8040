//! CVSS base scores: computed from vectors of version 2 to 4, or taken from a table of scores.

use cvss::Cvss as Vector;
use cvss::v4::Nomenclature;
use serde::Deserialize;
use stanch_model::Digest;
use stanch_model::assessment::Cvss;

use crate::codec::{Reader, Writer};
use crate::compiled::{Compiled, Effort};
use crate::cve;
use crate::error::{FeedError, Problem};
use crate::meta::{FeedMeta, Kind};

const NAME: &str = "cvss";
const MAX_ROWS: usize = 5_000_000;

/// The score of a vector, as its source gives it; `None` for a text that is no vector.
///
/// For versions 2 and 3 the base score; for version 4 the score of whichever groups the vector holds, which the
/// nomenclature names.
pub fn score(vector: &str, source: &str) -> Option<Cvss> {
    if vector.len() > 512 {
        return None;
    }
    let (version, score, nomenclature) = match vector.parse().ok()? {
        Vector::CvssV20(parsed) => ("2.0", parsed.score().value(), "base"),
        Vector::CvssV30(parsed) | Vector::CvssV31(parsed) if !is_whole(&parsed) => return None,
        Vector::CvssV30(parsed) => ("3.0", parsed.base_score().value(), "base"),
        Vector::CvssV31(parsed) => ("3.1", parsed.base_score().value(), "base"),
        Vector::CvssV40(parsed) => {
            let groups = match parsed.nomenclature() {
                Nomenclature::CvssB => "B",
                Nomenclature::CvssBT => "BT",
                Nomenclature::CvssBE => "BE",
                Nomenclature::CvssBTE => "BTE",
            };
            ("4.0", parsed.score().value(), groups)
        }
        _ => return None,
    };
    Some(Cvss {
        version: version.to_owned(),
        score_e1: tenths(score)?,
        vector: Some(vector.to_owned()),
        nomenclature: nomenclature.to_owned(),
        source: source.to_owned(),
    })
}

/// A vector of version 3 that leaves out a base metric parses, but its score of 0 would be a lie.
fn is_whole(vector: &cvss::v3::Vector) -> bool {
    vector.av.is_some()
        && vector.ac.is_some()
        && vector.pr.is_some()
        && vector.ui.is_some()
        && vector.s.is_some()
        && vector.c.is_some()
        && vector.i.is_some()
        && vector.a.is_some()
}

fn tenths(score: f64) -> Option<u8> {
    (0.0..=10.0).contains(&score).then(|| (score * 10.0).round() as u8)
}

/// Puts scores in the order in which they are believed: newer versions of CVSS first, vectors before bare scores.
pub(crate) fn sort(scores: &mut [Cvss]) {
    scores.sort_by(|a, b| {
        b.version.cmp(&a.version).then(b.vector.is_some().cmp(&a.vector.is_some())).then(a.source.cmp(&b.source))
    });
}

/// Base scores of CVSS version 3 by CVE.
#[derive(Debug)]
pub(crate) struct Table {
    keys: Vec<u64>,
    scores: Vec<u32>,
}

#[derive(Deserialize)]
struct Row<'a> {
    cve: &'a str,
    cvss3_base: &'a str,
}

/// Reads a table of `cve,cvss3_base`.
///
/// # Errors
/// When a row makes no sense.
pub fn compile(csv: &[u8]) -> Result<Compiled, FeedError> {
    compile_with(csv, Effort::Quick)
}

pub(crate) fn compile_with(csv: &[u8], effort: Effort) -> Result<Compiled, FeedError> {
    let refuse = |problem| FeedError::new(NAME, problem);
    let mut reader = csv::ReaderBuilder::new().from_reader(csv);
    let headers = reader.headers().map_err(|error| refuse(Problem::Csv(error)))?.clone();
    let mut table: Vec<(u64, u32)> = Vec::new();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| refuse(Problem::Csv(error)))? {
        let line = || format!("line {}", record.position().map_or(0, csv::Position::line));
        let row: Row<'_> =
            record.deserialize(Some(&headers)).map_err(|error| FeedError::at(NAME, &line(), Problem::Csv(error)))?;
        let refuse = |field, text, expected| FeedError::at(NAME, &line(), Problem::value(field, text, expected));
        let key = cve::number(row.cve).ok_or_else(|| refuse("cve", row.cve, "a CVE id"))?;
        if row.cvss3_base.is_empty() {
            continue;
        }
        let score = row.cvss3_base.parse().ok().and_then(tenths);
        let score = score.ok_or_else(|| refuse("cvss3_base", row.cvss3_base, "a score from 0 to 10"))?;
        table.push((key, u32::from(score)));
        if table.len() > MAX_ROWS {
            return Err(FeedError::new(NAME, Problem::TooMany { limit: MAX_ROWS }));
        }
    }
    table.sort_unstable();
    table.dedup_by_key(|row| row.0);
    if table.is_empty() {
        return Err(refuse(Problem::Empty));
    }
    let mut writer = Writer::default();
    writer.column(&table.iter().map(|row| row.0).collect::<Vec<_>>());
    writer.plain(&table.iter().map(|row| row.1).collect::<Vec<_>>());
    let mut meta = FeedMeta::new(Kind::Cvss, NAME, Digest::of_bytes(csv));
    meta.records = table.len() as u64;
    Compiled::new(meta, &writer.finish(), effort).map_err(refuse)
}

impl Table {
    pub(crate) fn load(body: &[u8]) -> Result<Self, Problem> {
        let mut reader = Reader::new(body);
        let table = Self { keys: reader.column()?, scores: reader.plain()? };
        reader.done()?;
        if table.keys.len() == table.scores.len() && table.scores.iter().all(|score| *score <= 100) {
            Ok(table)
        } else {
            Err(Problem::Damaged("its columns do not fit together"))
        }
    }

    pub(crate) fn get(&self, key: u64) -> Option<Cvss> {
        let at = self.keys.binary_search(&key).ok()?;
        Some(Cvss {
            version: "3.x".to_owned(),
            score_e1: u8::try_from(*self.scores.get(at)?).ok()?,
            vector: None,
            nomenclature: "base".to_owned(),
            source: "nvd".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(vector: &str, version: &str, score_e1: u8, nomenclature: &str) {
        let scored = score(vector, "test").unwrap();
        assert_eq!(
            (&*scored.version, scored.score_e1, &*scored.nomenclature),
            (version, score_e1, nomenclature),
            "{vector}"
        );
    }

    #[test]
    fn vectors_of_every_version_have_the_scores_of_their_specification() {
        check("AV:N/AC:L/Au:N/C:N/I:N/A:C", "2.0", 78, "base");
        check("CVSS:3.0/AV:N/AC:H/PR:N/UI:N/S:U/C:H/I:N/A:N", "3.0", 59, "base");
        check("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", "3.1", 100, "base");
        check("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", "4.0", 93, "B");
        check("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N/E:A", "4.0", 93, "BT");
    }

    #[test]
    fn a_temporal_metric_does_not_change_the_base_score() {
        check("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H/E:U", "3.1", 98, "base");
    }

    #[test]
    fn a_word_or_half_a_vector_has_no_score() {
        assert_eq!(score("medium", "test"), None);
        assert_eq!(score("CVSS:3.1/AV:N", "test"), None);
    }
}

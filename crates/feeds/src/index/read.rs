//! Loading an index, and refusing one whose tables do not fit together.

use super::Index;
use crate::codec::Reader;
use crate::error::Problem;
use crate::order::Order;

impl Index {
    /// Loads the body of a compiled feed.
    ///
    /// # Errors
    /// When its tables are cut short or do not fit together.
    pub fn load(ecosystem: &str, body: &[u8]) -> Result<Self, Problem> {
        let mut reader = Reader::new(body);
        let names = reader.pool()?;
        let ids = reader.pool()?;
        let texts = reader.pool()?;
        let versions = reader.pool()?;
        let package_entries = starts(reader.plain()?)?;
        let entry_record = reader.column32()?;
        let entry_flags = reader.plain()?;
        let entry_spans = starts(reader.plain()?)?;
        let entry_versions = starts(reader.plain()?)?;
        let span_from = reader.column32()?;
        let span_end = reader.plain()?;
        let span_to = reader.column32()?;
        let listed = reader.column32()?;
        let record_derived = reader.plain()?;
        let record_aliases = starts(reader.plain()?)?;
        let record_vectors = starts(reader.plain()?)?;
        let alias_texts = reader.column32()?;
        let vector_texts = reader.column32()?;
        let record_published = reader.plain()?;
        reader.done()?;

        let entries = entry_record.len();
        let records = ids.len();
        let fit = package_entries.len() == names.len() + 1
            && last(&package_entries) == entries
            && entry_flags.len() == entries
            && entry_spans.len() == entries + 1
            && entry_versions.len() == entries + 1
            && last(&entry_spans) == span_from.len()
            && span_end.len() == span_from.len()
            && span_to.len() == span_from.len()
            && last(&entry_versions) == listed.len()
            && record_derived.len() == records
            && record_aliases.len() == records + 1
            && record_vectors.len() == records + 1
            && record_published.len() == records
            && last(&record_aliases) == alias_texts.len()
            && last(&record_vectors) == vector_texts.len()
            && below(&entry_record, records)
            && span_from.iter().all(|from| *from as usize <= versions.len())
            && span_end.iter().all(|end| *end <= super::LAST_AFFECTED)
            && span_end.iter().zip(&span_to).all(|(end, to)| *end == super::OPEN || (*to as usize) < versions.len())
            && below(&listed, versions.len())
            && below(&alias_texts, texts.len())
            && below(&vector_texts, texts.len());
        if !fit {
            return Err(Problem::Damaged("its tables do not fit together"));
        }
        Ok(Self {
            order: Order::of(ecosystem),
            names,
            ids,
            texts,
            versions,
            package_entries,
            entry_record,
            entry_flags,
            entry_spans,
            entry_versions,
            span_from,
            span_end,
            span_to,
            listed,
            record_derived,
            record_aliases,
            record_vectors,
            alias_texts,
            vector_texts,
            record_published,
        })
    }
}

/// Counts turned into starts, with the end of the last.
fn starts(counts: Vec<u32>) -> Result<Vec<u32>, Problem> {
    let mut starts = Vec::with_capacity(counts.len() + 1);
    let mut at = 0_u32;
    starts.push(0);
    for count in counts {
        at = at.checked_add(count).ok_or(Problem::Damaged("a count is too large"))?;
        starts.push(at);
    }
    Ok(starts)
}

fn last(starts: &[u32]) -> usize {
    starts.last().copied().unwrap_or_default() as usize
}

fn below(values: &[u32], end: usize) -> bool {
    values.iter().all(|value| (*value as usize) < end)
}

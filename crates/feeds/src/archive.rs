//! Zip archives from outside, read entry by entry and never onto disk.
//!
//! What the archive claims of itself is not believed: entries are counted and unpacked bytes are measured while they
//! come out, so that a bomb costs no more than its limits.

use std::io::{Cursor, Read as _};

use zip::ZipArchive;

use crate::error::{FeedError, Problem};

/// What an archive may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries.
    pub entries: usize,
    /// Bytes of one unpacked entry.
    pub entry: u64,
    /// Bytes of all unpacked entries together.
    pub total: u64,
    /// Unpacked bytes for each packed one; entries below [`Limits::RATIO_FROM`] bytes may do as they like.
    pub ratio: u64,
}

impl Limits {
    /// Small entries may be compressed as well as they can be: zeros and repetition are common in tiny records.
    pub const RATIO_FROM: u64 = 1 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 1_000_000, entry: 16 << 20, total: 4 << 30, ratio: 100 }
    }
}

/// Which entry names an archive may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Plain file names, as in bulk archives.
    Plain,
    /// Files in folders, as in an archive of a repository.
    InFolders,
}

/// Calls `each` with the name and the bytes of every JSON entry. Any refusal ends the whole archive.
pub(crate) fn each_entry(
    feed: &str,
    bytes: &[u8],
    limits: &Limits,
    names: Names,
    mut each: impl FnMut(&str, &[u8]) -> Result<(), Problem>,
) -> Result<(), FeedError> {
    let whole = |problem| FeedError::new(feed, problem);
    // The directory of a zip archive is read into memory at once, so its size is looked at first.
    let directory = memchr::memmem::find_iter(bytes, b"PK\x01\x02").take(limits.entries + 1).count();
    if directory > limits.entries {
        return Err(whole(Problem::TooMany { limit: limits.entries }));
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| whole(Problem::Zip(error)))?;
    if archive.len() > limits.entries {
        return Err(whole(Problem::TooMany { limit: limits.entries }));
    }
    if archive.has_duplicate_names() {
        return Err(whole(Problem::Ambiguous("two entries have the same name")));
    }
    if archive.has_overlapping_files().map_err(|error| whole(Problem::Zip(error)))? {
        return Err(whole(Problem::Ambiguous("two entries lie over each other")));
    }
    let mut total = 0;
    let mut unpacked = Vec::new();
    for at in 0..archive.len() {
        let entry =
            archive.by_index(at).map_err(|error| FeedError::at(feed, &format!("#{at}"), Problem::Zip(error)))?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let refuse = |problem| FeedError::at(feed, &name, problem);
        let safe = match names {
            Names::Plain => plain(&name) && entry.is_file(),
            Names::InFolders => name.trim_end_matches('/').split('/').all(plain) && !entry.is_symlink(),
        };
        if !safe {
            return Err(refuse(Problem::Path));
        }
        let packed = entry.compressed_size();
        let limit = limits.entry.min(Limits::RATIO_FROM.max(packed.saturating_mul(limits.ratio)));
        unpacked.clear();
        entry
            .take(limit + 1)
            .read_to_end(&mut unpacked)
            .map_err(|error| refuse(Problem::Io { operation: "unpack the entry", source: error }))?;
        let length = unpacked.len() as u64;
        total += length;
        if length > limit {
            return Err(refuse(if limit == limits.entry {
                Problem::TooLarge { limit }
            } else {
                Problem::Ratio { unpacked: length, packed, limit: limits.ratio }
            }));
        }
        if total > limits.total || total > Limits::RATIO_FROM.max((bytes.len() as u64).saturating_mul(limits.ratio)) {
            return Err(refuse(Problem::TooLarge { limit: limits.total }));
        }
        if std::path::Path::new(&name).extension().is_some_and(|end| end.eq_ignore_ascii_case("json")) {
            each(&name, &unpacked).map_err(refuse)?;
        }
    }
    Ok(())
}

fn plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.contains(['/', '\\', ':', '\u{fffd}'])
        && !name.contains(char::is_control)
}

/// The bytes of a gzip file, or the bytes themselves when it is none.
pub(crate) fn gunzip(bytes: &[u8], limit: u64) -> Result<std::borrow::Cow<'_, [u8]>, Problem> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes.into());
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes)
        .take(limit + 1)
        .read_to_end(&mut plain)
        .map_err(Problem::io("unpack the gzip file"))?;
    if plain.len() as u64 > limit { Err(Problem::TooLarge { limit }) } else { Ok(plain.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gzip_bomb_is_stopped_at_the_limit() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &[b' '; 1001]).unwrap();
        let packed = encoder.finish().unwrap();
        assert!(matches!(gunzip(&packed, 1000), Err(Problem::TooLarge { limit: 1000 })));
        assert_eq!(gunzip(&packed, 1001).unwrap().len(), 1001);
        let twice = [packed.clone(), packed].concat();
        assert!(gunzip(&twice, 1500).is_err(), "several members count together");
    }
}

//! The feeds built into the program, so that a first run without a network is useful. Everything that rests on them
//! says so: [`FeedMeta::snapshot`](crate::FeedMeta) is set on each.

use std::path::Path;

use crate::compiled::Compiled;
use crate::error::{FeedError, Problem};

static BUILT_IN: &[u8] = include_bytes!("../snapshot/feeds.snapshot");
const MAGIC: &[u8; 8] = b"STNCHSN\x01";

/// Makes the snapshot from a feed folder (see [`crate::load`]): the same folder gives the same bytes.
///
/// # Errors
/// When any feed is refused.
pub fn build(dir: &Path) -> Result<Vec<u8>, FeedError> {
    let mut bytes = MAGIC.to_vec();
    for compiled in crate::load::folder_small(dir)? {
        bytes.extend_from_slice(&(compiled.bytes().len() as u32).to_le_bytes());
        bytes.extend_from_slice(compiled.bytes());
    }
    Ok(bytes)
}

/// The bytes of the built-in snapshot.
pub fn bytes() -> &'static [u8] {
    BUILT_IN
}

pub(crate) fn open() -> Result<Vec<Compiled>, FeedError> {
    read(BUILT_IN)
}

fn read(bytes: &'static [u8]) -> Result<Vec<Compiled>, FeedError> {
    let damaged = || FeedError::new("snapshot", Problem::Damaged("the snapshot is cut short"));
    let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let mut feeds = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (feed, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(damaged)?;
        let mut compiled = Compiled::read(feed, "snapshot")?;
        compiled.meta.snapshot = true;
        feeds.push(compiled);
        rest = after;
    }
    if rest.is_empty() { Ok(feeds) } else { Err(damaged()) }
}

//! A feed in the form in which it is kept and loaded: a small header, a compressed body, and a digest over both.
//!
//! Publishers' formats are slow to read and hostile; they are read once, checked whole, and written in this form. A
//! file that does not match its digest is refused, so a half-written file can never be taken for a feed.

use std::borrow::Cow;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use stanch_model::Digest;

use crate::error::{FeedError, Problem};
use crate::meta::FeedMeta;

const MAGIC: &[u8; 8] = b"STNCHFD\n";
/// Version of the format; other versions are made again from the feed.
pub const FORMAT: u16 = 3;
/// Bodies larger than this are refused before memory is taken.
const MAX_BODY: usize = 128 << 20;
/// Files larger than this are refused.
pub(crate) const MAX_FILE: u64 = 256 << 20;
const DIGEST: usize = 32;

/// A compiled feed.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// What it says about itself.
    pub meta: FeedMeta,
    bytes: Cow<'static, [u8]>,
    body: std::ops::Range<usize>,
    size: usize,
}

/// How hard the body is compressed: the snapshot is made once and shipped often, a cache is made often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    Quick,
    Small,
}

impl Compiled {
    pub(crate) fn new(meta: FeedMeta, body: &[u8], effort: Effort) -> Result<Self, Problem> {
        let level = match effort {
            Effort::Quick => 3,
            Effort::Small => 22,
        };
        let packed = zstd::bulk::compress(body, level).map_err(Problem::io("compress the feed"))?;
        let header = serde_json::to_vec(&meta).map_err(Problem::Json)?;
        let mut bytes = Vec::with_capacity(packed.len() + header.len() + 64);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&header);
        let start = bytes.len();
        bytes.extend_from_slice(&packed);
        let end = bytes.len();
        let digest = Digest::of_bytes(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        Ok(Self { meta, bytes: Cow::Owned(bytes), body: start..end, size: body.len() })
    }

    /// Reads a compiled feed and checks its digest.
    ///
    /// # Errors
    /// When it is damaged, cut short or of another format.
    pub fn read(bytes: impl Into<Cow<'static, [u8]>>, name: &str) -> Result<Self, FeedError> {
        let bytes = bytes.into();
        let refuse = |problem| FeedError::new(name, problem);
        let (meta, body, size) = parse(&bytes).map_err(refuse)?;
        Ok(Self { meta, bytes, body, size })
    }

    /// Reads a compiled feed from a file.
    ///
    /// # Errors
    /// As [`Compiled::read`], and when the file cannot be read.
    pub fn open(path: &Path) -> Result<Self, FeedError> {
        let name = path.display().to_string();
        let bytes = read_file(path, MAX_FILE).map_err(|problem| FeedError::new(&name, problem))?;
        Self::read(bytes, &name)
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes it into a folder under its own name, so that after a crash either the old or the new file is there.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<std::path::PathBuf, FeedError> {
        let path = folder.join(file_name(&self.meta.name));
        write_file(&path, &self.bytes).map_err(|problem| FeedError::new(&self.meta.name, problem))?;
        Ok(path)
    }

    pub(crate) fn body(&self) -> Result<Vec<u8>, Problem> {
        let packed = self.bytes.get(self.body.clone()).unwrap_or_default();
        let body = zstd::bulk::decompress(packed, self.size).map_err(Problem::io("unpack the compiled feed"))?;
        if body.len() == self.size { Ok(body) } else { Err(Problem::Damaged("its length is not what it says")) }
    }
}

/// The file name of a compiled feed.
pub fn file_name(feed: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') { c } else { '_' };
    format!("{}.feed", feed.chars().map(plain).collect::<String>().trim_start_matches('.'))
}

fn parse(bytes: &[u8]) -> Result<(FeedMeta, std::ops::Range<usize>, usize), Problem> {
    const HEAD: usize = 22;
    let end = bytes.len().checked_sub(DIGEST).ok_or(Problem::Damaged("it is cut short"))?;
    let (signed, digest) = bytes.split_at_checked(end).ok_or(Problem::Damaged("it is cut short"))?;
    let mut reader = crate::codec::Reader::new(signed);
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(Problem::Damaged("it does not begin like one"));
    }
    let found = little(reader.take(2)?) as u16;
    if found != FORMAT {
        return Err(Problem::Format { found, expected: FORMAT });
    }
    if Digest::of_bytes(signed).as_bytes() != digest {
        return Err(Problem::Damaged("its digest does not match"));
    }
    let header = little(reader.take(4)?) as usize;
    let size = usize::try_from(little(reader.take(8)?)).unwrap_or(usize::MAX);
    if size > MAX_BODY {
        return Err(Problem::TooLarge { limit: MAX_BODY as u64 });
    }
    let meta: FeedMeta = serde_json::from_slice(reader.take(header)?).map_err(Problem::Json)?;
    Ok((meta, HEAD + header..end, size))
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, Problem> {
    use std::io::Read as _;
    let file = File::open(path).map_err(Problem::io("open the file"))?;
    let size = file.metadata().map_err(Problem::io("look at the file"))?.len();
    if size > limit {
        return Err(Problem::TooLarge { limit });
    }
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Problem::io("read the file"))?;
    if bytes.len() as u64 > limit { Err(Problem::TooLarge { limit }) } else { Ok(bytes) }
}

/// Writes a file beside its place, makes it durable, and only then gives it its name.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(Problem::io("make the folder"))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = folder.join(name);
    let written = (|| {
        let mut file = File::create(&beside).map_err(Problem::io("make the file"))?;
        file.write_all(bytes).map_err(Problem::io("write the file"))?;
        file.sync_all().map_err(Problem::io("make the file durable"))?;
        std::fs::rename(&beside, path).map_err(Problem::io("put the file in its place"))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(Problem::io("make the folder durable"))
    })();
    if written.is_err() {
        // The first failure is the one to tell.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

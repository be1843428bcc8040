//! Writes the archives that `tar` unpacks with an owner's power: in the format of POSIX, with the paths whole.

use std::fs::File;
use std::io::{self, Write};

use super::snapshot::Entry;

const BLOCK: usize = 512;

/// An archive that is being written.
pub(super) struct Archive<W> {
    to: W,
    uid: u32,
    gid: u32,
}

impl<W: Write> Archive<W> {
    /// One whose files belong to this user, as far as whoever unpacks it may say so.
    pub(super) const fn new(to: W, uid: u32, gid: u32) -> Self {
        Self { to, uid, gid }
    }

    /// Adds an entry; of a file, with the content that was kept.
    pub(super) fn add(&mut self, path: &str, entry: &Entry, kept: Option<File>) -> io::Result<()> {
        let mut said = record("path", path);
        let (kind, mode, size, modified) = match entry {
            Entry::Folder { mode } => (b'5', *mode, 0, 0),
            Entry::File { mode, size, modified, .. } => (b'0', *mode, *size, *modified),
            Entry::Link { to } => {
                said.push_str(&record("linkpath", to));
                (b'2', 0o777, 0, 0)
            }
            Entry::Other => return Err(io::Error::other(format!("{path} is no file, no folder and no link"))),
        };
        said.push_str(&record("uid", &self.uid.to_string()));
        said.push_str(&record("gid", &self.gid.to_string()));
        said.push_str(&record("size", &size.to_string()));
        self.header("said-of-the-next", b'x', 0o644, said.len() as u64, 0)?;
        self.to.write_all(said.as_bytes())?;
        self.pad(said.len() as u64)?;
        let short: String = path.chars().filter(char::is_ascii).take(99).collect();
        self.header(&short, kind, mode, size, modified)?;
        if let Some(file) = kept {
            let copied = io::copy(&mut io::Read::take(file, size), &mut self.to)?;
            if copied != size {
                return Err(io::Error::other(format!("what was kept of {path} is not whole")));
            }
            self.pad(size)?;
        }
        Ok(())
    }

    /// Ends it.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&[0; 2 * BLOCK])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        if over == 0 { Ok(()) } else { self.to.write_all(&vec![0; BLOCK - over]) }
    }

    fn header(&mut self, name: &str, kind: u8, mode: u32, size: u64, modified: i64) -> io::Result<()> {
        let octal = |value: u64, width: usize| format!("{value:0width$o}\0", width = width - 1).into_bytes();
        let small = |value: u32| u64::from(value).min(0o7_777_777);
        let mut block = Vec::with_capacity(BLOCK);
        block.extend(name.as_bytes());
        block.resize(100, 0);
        block.extend(octal(u64::from(mode & 0o7777), 8));
        block.extend(octal(small(self.uid), 8));
        block.extend(octal(small(self.gid), 8));
        block.extend(octal(size.min(0o77_777_777_777), 12));
        block.extend(octal(u64::try_from(modified).unwrap_or(0).min(0o77_777_777_777), 12));
        let sum_at = block.len();
        block.extend([b' '; 8]);
        block.push(kind);
        block.resize(257, 0);
        block.extend(b"ustar\x0000");
        block.resize(BLOCK, 0);
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        for (to, from) in block.iter_mut().skip(sum_at).zip(format!("{sum:06o}\0 ").bytes()) {
            *to = from;
        }
        self.to.write_all(&block)
    }
}

/// A record of an extended header: its length counts itself.
fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_record_counts_itself() {
        assert_eq!(record("path", "a"), "9 path=a\n");
        for length in [80, 88, 89, 90, 91, 92, 980, 988, 989, 990] {
            let said = record("path", &"x".repeat(length));
            assert_eq!(said.split(' ').next().unwrap().parse::<usize>().unwrap(), said.len());
        }
    }
}

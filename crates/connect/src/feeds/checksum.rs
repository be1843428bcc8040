//! Checksums as publishers write them: a SHA-256 alone, or with a file name behind it.

use stanch_model::Digest;

/// The checksum in a text, for a file of this name. A list of several files must name this one.
pub(super) fn read(text: &str, file: &str) -> Option<Digest> {
    let mut only = None;
    let mut lines = 0;
    for line in text.lines().take(10_000).map(str::trim).filter(|line| !line.is_empty()) {
        lines += 1;
        let mut words = line.split_whitespace();
        let digest: Digest = words.next()?.to_ascii_lowercase().parse().ok()?;
        match words.next() {
            Some(name) if name.trim_start_matches(['*', '.', '/']).rsplit('/').next() == Some(file) => {
                return Some(digest);
            }
            _ => only = Some(digest),
        }
    }
    // One line is about the file it was fetched for, whatever that is called there.
    (lines == 1).then_some(only).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_stands_alone_or_beside_its_file() {
        let (one, other) = ("11".repeat(32), "22".repeat(32));
        let digest: Digest = one.parse().unwrap();
        assert_eq!(read(&format!("{one}\n"), "all.zip"), Some(digest));
        assert_eq!(read(&format!("{one}  all.zip\n"), "all.zip"), Some(digest));
        assert_eq!(read(&format!("{one} *renamed.zip"), "all.zip"), Some(digest));
        assert_eq!(read(&format!("{other}  a.zip\n{one}  ./all.zip\n"), "all.zip"), Some(digest));
        assert_eq!(read(&format!("{other}  a.zip\n{one}  b.zip\n"), "all.zip"), None);
        assert_eq!(read("<html>not found</html>", "all.zip"), None);
        assert_eq!(read("", "all.zip"), None);
    }
}

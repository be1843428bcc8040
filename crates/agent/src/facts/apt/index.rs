//! Looks for the installed packages in an archive's index. An index of Debian main is 50 MB of text of which a host
//! needs one part in a hundred, so it is read as a stream, stanza by stanza, and only the stanzas of installed names
//! are looked into.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};

use crate::facts::Root;
use crate::facts::deb822::Stanza;
use crate::facts::dpkg::{named_version, package_name};

const CHUNK: usize = 512 << 10;
const MAX_STANZA: usize = 4 << 20;
const MAX_UNPACKED: u64 = 1 << 30;
const MAX_ENTRIES: usize = 200_000;
const HELPER: &str = "/usr/lib/apt/apt-helper";

/// One version that an index offers of an installed package; texts, not yet understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(rename = "n")]
    pub(crate) name: String,
    #[serde(rename = "a")]
    pub(crate) architecture: String,
    #[serde(rename = "v")]
    pub(crate) version: String,
    /// The `Source` field as it stands; empty when the index gives none.
    #[serde(rename = "s", default, skip_serializing_if = "String::is_empty")]
    pub(crate) source: String,
}

impl Entry {
    /// The source package and its version.
    pub(crate) fn source(&self) -> (&str, &str) {
        match named_version(self.source.as_bytes()) {
            Some((source, version)) if !self.source.is_empty() => (source, version.unwrap_or(&self.version)),
            _ => (&self.name, &self.version),
        }
    }
}

/// Reads one index of the lists folder, whatever it is compressed with.
pub(crate) fn read(root: &Root, path: &str, names: &HashSet<&str>) -> io::Result<Vec<Entry>> {
    let (file, _) = root.file(path)?;
    match path.rsplit_once('.').map(|(_, end)| end) {
        Some("lz4") => scan(lz4_flex::frame::FrameDecoder::new(file), names),
        Some("gz") => scan(flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(CHUNK, file)), names),
        Some("xz" | "zst" | "bz2" | "lzma") => scan(Helper::start(root, path)?, names),
        _ => scan(file, names),
    }
}

/// apt's own program unpacks what this one cannot. It is this machine's, so only this machine's files are given to it.
struct Helper {
    child: Child,
}

impl Helper {
    fn start(root: &Root, path: &str) -> io::Result<Self> {
        let foreign = || io::Error::other("this compression is read through apt's own helper, on the host itself only");
        if !root.is_own() || !Path::new(HELPER).exists() {
            return Err(foreign());
        }
        let child = Command::new(HELPER)
            .args(["cat-file", path])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child })
    }
}

impl Read for Helper {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(output) = self.child.stdout.as_mut() else { return Ok(0) };
        let read = output.read(buffer)?;
        if read == 0 && !buffer.is_empty() && !self.child.wait()?.success() {
            return Err(io::Error::other("apt-helper could not unpack it"));
        }
        Ok(read)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // When reading ended early the helper still writes; when it has ended, both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Finds the stanzas of `names` in a stream.
///
/// # Errors
/// When the stream ends in the middle of its compression, one stanza is larger than 4 MB, or the whole is larger than
/// 1 GB.
pub(crate) fn scan(mut stream: impl Read, names: &HashSet<&str>) -> io::Result<Vec<Entry>> {
    let end = Finder::new(b"\n\n");
    let mut entries = Vec::new();
    let mut buffer = vec![0; CHUNK];
    let (mut filled, mut total) = (0, 0u64);
    while let Some(space) = buffer.get_mut(filled..) {
        let read = match stream.read(space) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if read == 0 {
            take(buffer.get(..filled).unwrap_or_default(), names, &mut entries)?;
            return Ok(entries);
        }
        filled += read;
        total += u64::try_from(read).unwrap_or(u64::MAX);
        if total > MAX_UNPACKED {
            return Err(refuse("it unpacks to more than 1 GB"));
        }
        // A decoder hands out small blocks; a partly filled buffer is scanned when it is full.
        if filled < buffer.len() {
            continue;
        }
        let mut from = 0;
        let text = buffer.as_slice();
        for at in end.find_iter(text) {
            take(text.get(from..at).unwrap_or_default(), names, &mut entries)?;
            from = at + 2;
        }
        if from == 0 {
            if buffer.len() >= MAX_STANZA {
                return Err(refuse("one entry is larger than 4 MB"));
            }
            buffer.resize(buffer.len() * 2, 0);
        }
        buffer.copy_within(from..filled, 0);
        filled -= from;
    }
    Ok(entries)
}

fn refuse(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn take(text: &[u8], names: &HashSet<&str>, entries: &mut Vec<Entry>) -> io::Result<()> {
    let stanza = Stanza { text, line: 1 };
    let name = match text.strip_prefix(b"Package: ") {
        Some(rest) => rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default().trim_ascii(),
        // The last text of a stream may hold several stanzas, and some archives put another field first.
        None => match stanza.get("Package") {
            Some(name) => name,
            None => return Ok(()),
        },
    };
    if memchr::memmem::find(text, b"\n\n").is_some() {
        for stanza in crate::facts::deb822::Stanzas::new(text) {
            take(stanza.text, names, entries)?;
        }
        return Ok(());
    }
    let Some(name) = std::str::from_utf8(name).ok().filter(|name| names.contains(name)) else { return Ok(()) };
    if entries.len() >= MAX_ENTRIES {
        return Err(refuse("it names installed packages more than 200,000 times"));
    }
    let Some(version) = stanza.text("Version").filter(|version| version.len() <= 256) else { return Ok(()) };
    let architecture = stanza.get("Architecture").and_then(package_name).unwrap_or("all");
    let source = stanza.text("Source").filter(|source| source.len() <= 512).unwrap_or_default();
    entries.push(Entry {
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        version: version.to_owned(),
        source: source.to_owned(),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(text: &str, names: &[&str]) -> Vec<Entry> {
        scan(text.as_bytes(), &names.iter().copied().collect()).unwrap()
    }

    fn entry(name: &str, version: &str, source: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            architecture: "amd64".to_owned(),
            version: version.to_owned(),
            source: source.to_owned(),
        }
    }

    fn stanza(name: &str, version: &str) -> String {
        format!("Package: {name}\nArchitecture: amd64\nVersion: {version}\nDescription: x\n y\n .\n z\n\n")
    }

    #[test]
    fn only_installed_names_are_found_and_whole() {
        let text = [stanza("a", "1"), stanza("ab", "2"), stanza("b", "3"), stanza("a", "4")].concat();
        assert_eq!(found(&text, &["a", "b"]), [entry("a", "1", ""), entry("b", "3", ""), entry("a", "4", "")]);
    }

    #[test]
    fn a_source_of_another_version_is_told() {
        let text = "Architecture: amd64\nPackage: a\nSource: s (2)\nVersion: 1\n";
        let seen = found(text, &["a"]);
        assert_eq!(seen, [entry("a", "1", "s (2)")]);
        assert_eq!(seen[0].source(), ("s", "2"));
        assert_eq!(entry("a", "1", "").source(), ("a", "1"));
    }

    #[test]
    fn a_stanza_across_the_edge_of_a_chunk_is_not_lost() {
        let mut text = String::new();
        for number in 0..40_000 {
            text.push_str(&stanza(&format!("p{number}"), "1"));
        }
        assert!(text.len() > 2 * CHUNK);
        let names: Vec<String> = (0..40_000).map(|number| format!("p{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(found(&text, &names).len(), 40_000);
    }

    #[test]
    fn a_stanza_without_end_is_refused() {
        let text = format!("Package: a\nX: {}", "x".repeat(MAX_STANZA * 2));
        let names = ["a"].into_iter().collect();
        assert!(scan(text.as_bytes(), &names).unwrap_err().to_string().contains("larger than 4 MB"));
    }

    #[test]
    fn a_cut_archive_is_an_error_and_not_a_short_list() {
        let text = stanza("a", "1").repeat(1000);
        let mut packed = lz4_flex::frame::FrameEncoder::new(Vec::new());
        io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        let names = ["a"].into_iter().collect();
        let whole = scan(lz4_flex::frame::FrameDecoder::new(packed.as_slice()), &names).unwrap();
        assert_eq!(whole.len(), 1000);
        let cut = lz4_flex::frame::FrameDecoder::new(&packed[..packed.len() - 9]);
        assert!(scan(cut, &names).is_err());
    }

    #[test]
    fn apts_helper_unpacks_what_we_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x_Packages");
        std::fs::write(&path, stanza("a", "1").repeat(20_000)).unwrap();
        let packed = Command::new("xz").arg("-0").arg(&path).status();
        if !Path::new(HELPER).exists() || !packed.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no apt-helper or no xz here");
            return;
        }
        let root = Root::open(Path::new("/")).unwrap();
        let names = ["a"].into_iter().collect();
        let path = format!("{}.xz", path.display());
        assert_eq!(read(&root, &path, &names).unwrap().len(), 20_000);
        std::fs::write(&path, b"not packed at all").unwrap();
        assert!(read(&root, &path, &names).is_err(), "a damaged index is no empty one");
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned_to_their_end(bytes: Vec<u8>) {
            let _ = scan(bytes.as_slice(), &["a"].into_iter().collect());
        }
    }
}

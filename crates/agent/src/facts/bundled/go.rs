//! What Go writes into its programs of the modules they were built from (`.go.buildinfo`, since Go 1.18 in place).

use std::collections::BTreeSet;

use stanch_model::facts::Copied;
use stanch_model::version::SemanticVersion;

/// Its section.
pub(super) const SECTION: &str = ".go.buildinfo";
const MAGIC: &[u8] = b"\xff Go buildinf:";
const HEADER: usize = 32;
/// The flag that says that the texts follow in place.
const IN_PLACE: u8 = 2;
/// Bytes that frame the text about modules, on each side.
const FRAME: usize = 16;
const MOST_MODULES: usize = 5000;

/// The modules, with the standard library as `stdlib`; `None` for what is not such a section, or an older one, whose texts
/// lie elsewhere.
pub(super) fn read(section: &[u8]) -> Option<Vec<Copied>> {
    let flags = *section.get(MAGIC.len() + 1)?;
    if !section.starts_with(MAGIC) || flags & IN_PLACE == 0 {
        return None;
    }
    let (version, rest) = text(section.get(HEADER..)?)?;
    let (about, _) = text(rest)?;
    let mut copies: BTreeSet<Copied> = standard(std::str::from_utf8(version).ok()?).into_iter().collect();
    let framed = about.len() > 2 * FRAME && about.get(about.len() - FRAME - 1) == Some(&b'\n');
    let modules = if framed { about.get(FRAME..about.len() - FRAME)? } else { &[] };
    copies.extend(listed(std::str::from_utf8(modules).ok()?));
    Some(copies.into_iter().collect())
}

/// A text behind its length, and what follows it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut shift) = (0_usize, 0_u32);
    for (at, byte) in bytes.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            return bytes.get(at + 1..)?.split_at_checked(length);
        }
    }
    None
}

/// The standard library in the version of its Go, as advisories write it: `go1.22rc1` is `1.22.0-rc.1`.
fn standard(go: &str) -> Option<Copied> {
    let version = go.strip_prefix("go")?.split([' ', '-']).next()?;
    let stage = version.find("rc").or_else(|| version.find("beta"));
    let version = match stage.and_then(|at| version.split_at_checked(at)) {
        Some((release, stage)) => {
            let digits = stage.find(|c: char| c.is_ascii_digit())?;
            let (name, number) = stage.split_at_checked(digits)?;
            let zero = if release.matches('.').count() == 1 { ".0" } else { "" };
            format!("{release}{zero}-{name}.{number}")
        }
        None => version.to_owned(),
    };
    version.parse::<SemanticVersion>().ok()?;
    Some(Copied { name: "stdlib".to_owned(), version, said: None })
}

/// The modules of a text: `mod` and `dep` lines, each with what stands in for it (`=>`) on the line that follows.
fn listed(text: &str) -> BTreeSet<Copied> {
    let mut all: Vec<Option<Copied>> = Vec::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let kind = fields.next();
        let module = || -> Option<Copied> {
            let (name, version) = (fields.next()?, fields.next()?);
            // A module of one's own that was not released is `(devel)`, one from a folder has no version.
            let version = version.strip_prefix('v')?;
            version.parse::<SemanticVersion>().ok()?;
            is_path(name).then(|| Copied { name: name.to_owned(), version: version.to_owned(), said: None })
        };
        match kind {
            Some("mod" | "dep") if all.len() < MOST_MODULES => all.push({ module }()),
            Some("=>") => drop(all.pop().map(|_| all.push({ module }()))),
            _ => {}
        }
    }
    all.into_iter().flatten().collect()
}

fn is_path(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-/!+".contains(&byte);
    name.len() <= 200
        && name.bytes().all(inside)
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with(['.', '-']))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A section as Go 1.18 and later write it.
    pub(in super::super) fn section(go: &str, modules: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([8, IN_PLACE]);
        bytes.resize(HEADER, 0);
        let framed = [&[b'<'; FRAME], modules.as_bytes(), &[b'>'; FRAME]].concat();
        for text in [go.as_bytes(), &framed] {
            let mut length = text.len();
            while length > 0x7f {
                bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
                length >>= 7;
            }
            bytes.push(u8::try_from(length).unwrap());
            bytes.extend(text);
        }
        bytes
    }

    fn shown(section: &[u8]) -> Vec<String> {
        read(section).unwrap().iter().map(|one| format!("{} {}", one.name, one.version)).collect()
    }

    /// The section of `gofmt` of Go 1.19.8, as its linker wrote it.
    const GOFMT: &[u8] = include_bytes!("../../../tests/fixtures/gofmt.buildinfo");

    #[test]
    fn what_go_itself_wrote_is_read() {
        assert_eq!(shown(GOFMT), ["stdlib 1.19.8"]);
    }

    #[test]
    fn modules_are_listed_as_they_were_built_and_own_ones_without_a_release_are_not() {
        let modules = "path\texample.org/tool\nmod\texample.org/tool\t(devel)\t\n\
                       dep\tgolang.org/x/net\tv0.16.0\th1:a=\n\
                       dep\tgithub.com/old/yaml\tv1.0.0\n=>\tgithub.com/new/yaml\tv2.2.7\th1:b=\n\
                       dep\tgithub.com/mine/own\tv1.0.0\n=>\t./own\t(devel)\t\n\
                       dep\t../evil\tv1.0.0\th1:c=\n\
                       build\t-compiler=gc\n";
        assert_eq!(
            shown(&section("go1.21.2", modules)),
            ["github.com/new/yaml 2.2.7", "golang.org/x/net 0.16.0", "stdlib 1.21.2"]
        );
        assert_eq!(shown(&section("go1.22rc1 X:boringcrypto", "")), ["stdlib 1.22.0-rc.1"]);
        assert_eq!(shown(&section("devel +abc", "")), [""; 0]);
    }

    #[test]
    fn a_section_of_another_make_or_cut_short_is_refused() {
        let whole = section("go1.21.2", "dep\tgolang.org/x/net\tv0.16.0\n");
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), None, "{cut}");
        }
        let mut old = whole;
        old[15] = 0;
        assert_eq!(read(&old), None, "its texts lie elsewhere");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let mut section = section("go1.21.2", "");
            section.truncate(HEADER);
            section.extend(bytes);
            let _ = read(&section);
        }
    }
}

//! As much of an ELF file as is needed to tell what lies inside: its sections by name, and what it loads.
//!
//! Files may be of anybody's making. Every place and size in them is a claim that is checked against the file and against a
//! limit before anything is read, and nothing is read that was not asked for.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Sections that are looked at of one file.
const MOST_SECTIONS: u64 = 1024;
const MOST_NAMES: u64 = 1 << 20;
const MOST_DYNAMIC: u64 = 256 << 10;
const MOST_STRINGS: u64 = 16 << 20;
const HEADER: u64 = 64;

const EXECUTABLE: u16 = 2;
const SHARED: u16 = 3;
const PROGBITS: u32 = 1;
const DYNAMIC: u32 = 6;
const NEEDED: u64 = 1;

/// Bytes of a file by their place.
pub(super) trait Bytes {
    /// So many from there; `None` when they are not all there.
    fn get(&self, offset: u64, length: u64) -> Option<Vec<u8>>;
}

impl Bytes for [u8] {
    fn get(&self, offset: u64, length: u64) -> Option<Vec<u8>> {
        let from = usize::try_from(offset).ok()?;
        let end = from.checked_add(usize::try_from(length).ok()?)?;
        <[u8]>::get(self, from..end).map(<[u8]>::to_vec)
    }
}

/// An open file, with how much was read of it.
pub(super) struct Open<'a> {
    pub(super) file: &'a File,
    pub(super) size: u64,
    pub(super) read: Cell<u64>,
}

impl Bytes for Open<'_> {
    fn get(&self, offset: u64, length: u64) -> Option<Vec<u8>> {
        // Nothing is allocated for what the file cannot hold.
        if offset.checked_add(length)? > self.size {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        self.read.set(self.read.get().saturating_add(length));
        Some(bytes)
    }
}

/// A section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) size: u64,
    kind: u32,
    offset: u64,
    link: u32,
}

/// A program or shared library.
pub(super) struct Elf<'a, B: Bytes + ?Sized> {
    bytes: &'a B,
    layout: Layout,
    pub(super) sections: Vec<Section>,
}

/// How numbers are written in a file.
#[derive(Debug, Clone, Copy)]
struct Layout {
    wide: bool,
    little: bool,
}

impl Layout {
    fn number(self, bytes: &[u8], at: usize, length: usize) -> Option<u64> {
        let field = bytes.get(at..at.checked_add(length)?)?;
        let add = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.little { field.iter().rev().fold(0, add) } else { field.iter().fold(0, add) })
    }

    fn half(self, bytes: &[u8], at: usize) -> Option<u16> {
        self.number(bytes, at, 2).and_then(|value| u16::try_from(value).ok())
    }

    fn word(self, bytes: &[u8], at: usize) -> Option<u32> {
        self.number(bytes, at, 4).and_then(|value| u32::try_from(value).ok())
    }

    /// A place or size: of eight bytes in the wide form, at the first of these places, else of four at the second.
    fn long(self, bytes: &[u8], wide: usize, narrow: usize) -> Option<u64> {
        if self.wide { self.number(bytes, wide, 8) } else { self.number(bytes, narrow, 4) }
    }
}

impl<'a, B: Bytes + ?Sized> Elf<'a, B> {
    /// Reads what a file says of its sections. `None` for what is no program and no shared library, or is damaged.
    pub(super) fn read(bytes: &'a B) -> Option<Self> {
        let header = bytes.get(0, HEADER).or_else(|| bytes.get(0, 52))?;
        if !header.starts_with(b"\x7fELF") {
            return None;
        }
        let layout = match (header.get(4)?, header.get(5)?) {
            (class @ (1 | 2), order @ (1 | 2)) => Layout { wide: *class == 2, little: *order == 1 },
            _ => return None,
        };
        if !matches!(layout.half(&header, 16)?, EXECUTABLE | SHARED) {
            return None;
        }
        let table = layout.long(&header, 40, 32)?;
        let [size, count, names] = if layout.wide { [58, 60, 62] } else { [46, 48, 50] };
        let size = u64::from(layout.half(&header, size)?);
        let (count, names) = (u64::from(layout.half(&header, count)?), layout.half(&header, names)?);
        let mut elf = Self { bytes, layout, sections: Vec::new() };
        let least = if layout.wide { 64 } else { 40 };
        if table == 0 || count == 0 || count > MOST_SECTIONS || size < least || size > 256 {
            return Some(elf);
        }
        let rows = bytes.get(table, count * size)?;
        let rows: Vec<&[u8]> = rows.chunks_exact(usize::from(u16::try_from(size).ok()?)).collect();
        let read = |row: &&[u8]| -> Option<(u32, Section)> {
            let (name, kind) = (layout.word(row, 0)?, layout.word(row, 4)?);
            let (offset, size) = (layout.long(row, 24, 16)?, layout.long(row, 32, 20)?);
            let link = layout.word(row, if layout.wide { 40 } else { 24 })?;
            Some((name, Section { name: String::new(), size, kind, offset, link }))
        };
        let all: Vec<(u32, Section)> = rows.iter().map(read).collect::<Option<_>>()?;
        let names = all.get(usize::from(names)).and_then(|(_, section)| elf.content(section, MOST_NAMES))?;
        elf.sections = all
            .into_iter()
            .map(|(name, section)| Section { name: text_at(&names, u64::from(name)).unwrap_or_default(), ..section })
            .collect();
        Some(elf)
    }

    /// The content of a section; `None` when it is larger or not there.
    pub(super) fn content(&self, section: &Section, limit: u64) -> Option<Vec<u8>> {
        (section.size <= limit).then(|| self.bytes.get(section.offset, section.size))?
    }

    /// The content of the section of this name, if there is one.
    pub(super) fn named(&self, name: &str, limit: u64) -> Option<Vec<u8>> {
        self.content(self.sections.iter().find(|section| section.name == name && section.kind == PROGBITS)?, limit)
    }

    /// The sections that hold constants.
    pub(super) fn constants(&self) -> impl Iterator<Item = &Section> {
        let holds = |name: &str| name.starts_with(".rodata") || name.starts_with(".lrodata");
        self.sections.iter().filter(move |section| section.kind == PROGBITS && holds(&section.name))
    }

    /// Names of the shared libraries that it loads.
    pub(super) fn loads(&self) -> Vec<String> {
        let read = || -> Option<Vec<String>> {
            let dynamic = self.sections.iter().find(|section| section.kind == DYNAMIC)?;
            let strings = self.sections.get(usize::try_from(dynamic.link).ok()?)?;
            let strings = self.content(strings, MOST_STRINGS)?;
            let entries = self.content(dynamic, MOST_DYNAMIC)?;
            let size = if self.layout.wide { 16 } else { 8 };
            let needed = |entry: &[u8]| {
                let tag = self.layout.long(entry, 0, 0)?;
                let value = self.layout.long(entry, 8, 4)?;
                (tag == NEEDED).then(|| text_at(&strings, value))?
            };
            Some(entries.chunks_exact(size).filter_map(needed).collect())
        };
        read().unwrap_or_default()
    }
}

/// The text that begins at a place of a table of texts.
fn text_at(table: &[u8], at: u64) -> Option<String> {
    let rest = table.get(usize::try_from(at).ok()?..)?;
    let end = memchr::memchr(0, rest)?;
    rest.get(..end).filter(|text| text.len() <= 256).and_then(|text| String::from_utf8(text.to_vec()).ok())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A 64-bit little-endian program with these sections, in the form in which linkers write it.
    pub(in super::super) fn program(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut file = vec![0_u8; 64];
        let mut names = vec![0_u8];
        let mut rows: Vec<[u8; 64]> = vec![[0; 64]];
        let mut add = |file: &mut Vec<u8>, name: &str, content: &[u8]| {
            let mut row = [0_u8; 64];
            row[..4].copy_from_slice(&u32::try_from(names.len()).unwrap().to_le_bytes());
            row[4..8].copy_from_slice(&if name == ".dynamic" { DYNAMIC } else { PROGBITS }.to_le_bytes());
            row[24..32].copy_from_slice(&(file.len() as u64).to_le_bytes());
            names.extend(name.as_bytes());
            names.push(0);
            let content = if name == ".shstrtab" { names.clone() } else { content.to_vec() };
            row[32..40].copy_from_slice(&(content.len() as u64).to_le_bytes());
            // Texts of what is loaded are in the section that follows.
            row[40..44].copy_from_slice(&(u32::try_from(rows.len()).unwrap() + 1).to_le_bytes());
            file.extend(&content);
            rows.push(row);
        };
        for (name, content) in sections {
            add(&mut file, name, content);
        }
        add(&mut file, ".shstrtab", &[]);
        let table = file.len() as u64;
        let count = u16::try_from(rows.len()).unwrap();
        file.extend(rows.iter().flatten());
        file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
        file[16..18].copy_from_slice(&EXECUTABLE.to_le_bytes());
        file[40..48].copy_from_slice(&table.to_le_bytes());
        file[58..60].copy_from_slice(&64_u16.to_le_bytes());
        file[60..62].copy_from_slice(&count.to_le_bytes());
        file[62..64].copy_from_slice(&(count - 1).to_le_bytes());
        file
    }

    /// The section that says what is loaded, and its texts.
    pub(in super::super) fn loading(names: &[&str]) -> (Vec<u8>, Vec<u8>) {
        let (mut dynamic, mut texts) = (Vec::new(), vec![0_u8]);
        for name in names {
            dynamic.extend(NEEDED.to_le_bytes());
            dynamic.extend((texts.len() as u64).to_le_bytes());
            texts.extend(name.as_bytes());
            texts.push(0);
        }
        (dynamic, texts)
    }

    #[test]
    fn sections_are_found_by_name_and_what_is_loaded_is_told() {
        let (dynamic, texts) = loading(&["libc.so.6", "libz.so.1"]);
        let file = program(&[(".rodata", b"a text"), (".dynamic", &dynamic), (".dynstr", &texts), (".dep-v0", b"x")]);
        let elf = Elf::read(file.as_slice()).unwrap();
        assert_eq!(elf.named(".dep-v0", 10).as_deref(), Some(b"x".as_slice()));
        assert_eq!(elf.named(".dep-v0", 0), None, "larger than the limit");
        assert_eq!(elf.named(".gone", 10), None);
        let constants: Vec<_> = elf.constants().map(|section| elf.content(section, 100).unwrap()).collect();
        assert_eq!(constants, [b"a text"]);
        assert_eq!(elf.loads(), ["libc.so.6", "libz.so.1"]);
    }

    #[test]
    fn a_real_program_is_read() {
        let own = std::env::current_exe().unwrap();
        let file = File::open(&own).unwrap();
        let size = file.metadata().unwrap().len();
        let bytes = Open { file: &file, size, read: Cell::new(0) };
        let elf = Elf::read(&bytes).unwrap();
        assert!(elf.constants().next().is_some());
        assert!(elf.loads().iter().any(|name| name.starts_with("libc.so")), "{:?}", elf.loads());
        assert!(bytes.read.get() < size / 10, "only what was asked for was read");
    }

    #[test]
    fn a_claim_that_the_file_does_not_hold_is_not_believed() {
        let whole = program(&[(".rodata", b"text")]);
        for cut in 0..whole.len() {
            if let Some(elf) = Elf::read(&whole[..cut]) {
                let _ = elf.loads();
                assert_eq!(elf.named(".rodata", 1 << 40), None, "the table is at the end");
            }
        }
        let mut huge = whole;
        let row = huge.len() - 2 * 64;
        huge[row + 32..row + 40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(Elf::read(huge.as_slice()).unwrap().named(".rodata", u64::MAX), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            at in 0..400_usize,
            with in proptest::collection::vec(any::<u8>(), 1..24),
        ) {
            let (dynamic, texts) = loading(&["libc.so.6"]);
            let mut file = program(&[(".rodata", b"text"), (".dynamic", &dynamic), (".dynstr", &texts)]);
            for (place, byte) in with.into_iter().enumerate() {
                if let Some(slot) = file.get_mut(at + place) {
                    *slot = byte;
                }
            }
            if let Some(elf) = Elf::read(file.as_slice()) {
                let _ = elf.loads();
                for section in elf.constants() {
                    let _ = elf.content(section, 1 << 20);
                }
            }
        }
    }
}

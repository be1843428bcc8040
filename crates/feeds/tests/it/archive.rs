//! Zip archives made by hand, so that they can lie.

/// An entry of an archive.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    pub(crate) content: &'a [u8],
}

/// An OSV record about one source with one fixed version.
pub(crate) fn record(id: &str, source: &str, fixed: &str) -> String {
    record_with(id, source, &format!(r#"[{{"introduced":"0"}},{{"fixed":"{fixed}"}}]"#))
}

/// An OSV record about one source with these events.
pub(crate) fn record_with(id: &str, source: &str, events: &str) -> String {
    let package = format!(r#"{{"ecosystem":"Debian:12","name":"{source}"}}"#);
    format!(
        r#"{{"id":"{id}","modified":"2026-11-20T00:00:00Z","affected":[{{"package":{package},"ranges":[{{"type":"ECOSYSTEM","events":{events}}}]}}]}}"#
    )
}

/// An archive of records, each in an entry of its own.
pub(crate) fn of(records: &[String]) -> Vec<u8> {
    let names: Vec<String> = (0..records.len()).map(|at| format!("{at}.json")).collect();
    let entries = names.iter().zip(records).map(|(name, record)| Entry { name, content: record.as_bytes() });
    deflated(&entries.collect::<Vec<_>>())
}

/// A sound archive with these entries.
pub(crate) fn deflated(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, entry.content).unwrap();
        let packed = encoder.finish().unwrap();
        let mut checksum = flate2::Crc::new();
        checksum.update(entry.content);
        let mut about = Vec::new();
        about.extend([20, 0, 0, 0, 8, 0, 0, 0, 0, 0]);
        about.extend(checksum.sum().to_le_bytes());
        about.extend((packed.len() as u32).to_le_bytes());
        about.extend((entry.content.len() as u32).to_le_bytes());
        about.extend((entry.name.len() as u16).to_le_bytes());
        about.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&about);
        directory.extend([0; 10]);
        directory.extend((archive.len() as u32).to_le_bytes());
        directory.extend(entry.name.as_bytes());
        archive.extend(b"PK\x03\x04");
        archive.extend(&about);
        archive.extend(entry.name.as_bytes());
        archive.extend(packed);
    }
    let start = archive.len() as u32;
    archive.extend(&directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend((entries.len() as u16).to_le_bytes());
    archive.extend((entries.len() as u16).to_le_bytes());
    archive.extend((directory.len() as u32).to_le_bytes());
    archive.extend(start.to_le_bytes());
    archive.extend([0, 0]);
    archive
}

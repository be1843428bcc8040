//! Which release a root runs, and what a person may write for one: `debian:12`.

use stanch_model::facts::OsRelease;

/// Debian's and Ubuntu's releases by version and code name: SBOMs and status files name either.
const RELEASES: &[(&str, &str, &str)] = &[
    ("debian", "9", "stretch"),
    ("debian", "10", "buster"),
    ("debian", "11", "bullseye"),
    ("debian", "12", "bookworm"),
    ("debian", "13", "trixie"),
    ("debian", "14", "forky"),
    ("ubuntu", "14.04", "trusty"),
    ("ubuntu", "16.04", "xenial"),
    ("ubuntu", "18.04", "bionic"),
    ("ubuntu", "20.04", "focal"),
    ("ubuntu", "22.04", "jammy"),
    ("ubuntu", "24.04", "noble"),
    ("ubuntu", "25.04", "plucky"),
    ("ubuntu", "25.10", "questing"),
    ("ubuntu", "26.04", "resolute"),
];

/// A text that names no release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no release: write the distribution and its version, such as debian:12 or ubuntu:22.04")]
pub struct NotARelease {
    text: String,
}

/// Reads `debian:12`, `ubuntu:22.04` or a code name in place of the number (`debian:bookworm`).
///
/// # Errors
/// When the distribution is neither Debian nor Ubuntu, or the version is none.
pub fn parse_release(text: &str) -> Result<OsRelease, NotARelease> {
    let refuse = || NotARelease { text: text.chars().take(64).collect() };
    let (id, version) = text.trim().split_once([':', '-']).ok_or_else(refuse)?;
    let (id, version) = (id.to_ascii_lowercase(), version.to_ascii_lowercase());
    if !matches!(id.as_str(), "debian" | "ubuntu") {
        return Err(refuse());
    }
    let named = |(_, _, codename): &&(&str, &str, &str)| *codename == version;
    let known = RELEASES.iter().filter(|(family, _, _)| *family == id);
    if let Some((_, number, codename)) = known.clone().find(named) {
        return Ok(release(&id, number, Some(codename)));
    }
    let numeric = !version.is_empty()
        && version.len() <= 16
        && version.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if !numeric {
        return Err(refuse());
    }
    let major = version.split('.').next().unwrap_or(&version);
    let number = if id == "debian" { major } else { &version };
    let codename = known.clone().find(|(_, known, _)| *known == number).map(|(_, _, codename)| *codename);
    Ok(release(&id, number, codename))
}

fn release(id: &str, version: &str, codename: Option<&str>) -> OsRelease {
    let family = if id == "debian" { "Debian" } else { "Ubuntu" };
    let pretty_name =
        codename.map_or_else(|| format!("{family} {version}"), |name| format!("{family} {version} ({name})"));
    OsRelease {
        id: id.to_owned(),
        version_id: Some(version.to_owned()),
        codename: codename.map(str::to_owned),
        pretty_name,
    }
}

/// Reads os-release(5).
pub fn parse_os_release(text: &str) -> OsRelease {
    let mut os = OsRelease { id: String::new(), version_id: None, codename: None, pretty_name: String::new() };
    for line in text.lines().take(200) {
        let Some((key, value)) = line.trim().split_once('=') else { continue };
        let value = unquote(value.trim());
        match key {
            "ID" => os.id = value.to_ascii_lowercase(),
            "VERSION_ID" => os.version_id = Some(value),
            "VERSION_CODENAME" => os.codename = Some(value),
            "PRETTY_NAME" => os.pretty_name = value,
            _ => {}
        }
    }
    if os.id.is_empty() {
        os.id = "linux".to_owned();
    }
    if os.pretty_name.is_empty() {
        os.pretty_name = os.id.clone();
    }
    os
}

/// Takes shell quotes off a value: the file is written to be sourced, but must not be run.
fn unquote(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
    let mut rest = value.chars().skip(usize::from(quote.is_some())).take(512);
    while let Some(next) = rest.next() {
        match next {
            '\\' if quote != Some('\'') => text.extend(rest.next()),
            end if Some(end) == quote => break,
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_by_number_or_code_name() {
        for (text, ecosystem, codename) in [
            ("debian:12", "Debian:12", Some("bookworm")),
            ("debian:12.9", "Debian:12", Some("bookworm")),
            ("Debian:bookworm", "Debian:12", Some("bookworm")),
            ("debian-11", "Debian:11", Some("bullseye")),
            ("ubuntu:22.04", "Ubuntu:22.04", Some("jammy")),
            ("ubuntu:noble", "Ubuntu:24.04", Some("noble")),
            ("debian:77", "Debian:77", None),
        ] {
            let release = parse_release(text).unwrap();
            assert_eq!(release.ecosystem().as_deref(), Some(ecosystem), "{text}");
            assert_eq!(release.codename.as_deref(), codename, "{text}");
        }
    }

    #[test]
    fn what_names_no_release_is_refused_with_an_example() {
        for text in ["", "debian", "debian:", "fedora:40", "debian:1;2", "ubuntu:..", "debian:sid/../x"] {
            assert!(parse_release(text).is_err(), "{text}");
        }
        assert!(parse_release("bookworm").unwrap_err().to_string().contains("such as debian:12"));
    }

    #[test]
    fn os_release_is_read_as_the_shell_would() {
        let os = parse_os_release(
            "# x\nID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME='bookworm'\nPRETTY_NAME=\"A \\\"B\\\" C\"\n",
        );
        assert_eq!(os.ecosystem().as_deref(), Some("Debian:12"));
        assert_eq!(os.codename.as_deref(), Some("bookworm"));
        assert_eq!(os.pretty_name, "A \"B\" C");
    }

    #[test]
    fn an_empty_file_names_no_distribution() {
        let os = parse_os_release("");
        assert_eq!((os.id.as_str(), os.ecosystem()), ("linux", None));
    }
}

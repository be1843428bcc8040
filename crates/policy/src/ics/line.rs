//! Content lines of RFC 5545 (3.1): unfolding, names, parameters. Bounded before anything is kept.

use super::Refusal;

/// Largest file, in bytes.
pub const MAX_FILE: usize = 1 << 20;
/// Most lines, as they stand in the file.
pub const MAX_LINES: usize = 40_000;
/// Longest line after unfolding, in bytes: descriptions and pictures are longer than anything that matters here.
pub const MAX_LINE: usize = 128 << 10;
/// Most parameters of one line.
const MAX_PARAMS: usize = 16;

/// One content line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Where it begins in the file, from 1.
    pub(super) number: u32,
    /// Its name, in capitals.
    pub(super) name: String,
    /// Its parameters: names in capitals, values without their quotes.
    pub(super) params: Vec<(String, String)>,
    /// Its value, as it stands there.
    pub(super) value: String,
}

impl Line {
    /// The value of this parameter. A parameter that is given twice is refused when the line is read.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// This line is refused.
    pub(super) fn refuse(&self, message: impl Into<String>, remedy: impl Into<String>) -> Refusal {
        Refusal::new(self.number, message, remedy)
    }
}

/// The content lines of a file.
pub(super) fn lines(source: &[u8]) -> Result<Vec<Line>, Refusal> {
    if source.len() > MAX_FILE {
        let message = format!("the file has {} bytes; at most {MAX_FILE} are read", source.len());
        return Err(Refusal::new(1, message, "export a shorter time, or split the calendar"));
    }
    let source = source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source);
    let mut unfolded: Vec<(u32, Vec<u8>)> = Vec::new();
    for (number, raw) in (1_u32..).zip(source.split(|byte| *byte == b'\n')) {
        if number as usize > MAX_LINES {
            let message = format!("the file has more than {MAX_LINES} lines");
            return Err(Refusal::new(number, message, "export a shorter time, or split the calendar"));
        }
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        match (raw, unfolded.last_mut()) {
            ([b' ' | b'\t', rest @ ..], Some((_, line))) => {
                line.extend_from_slice(rest);
                if line.len() > MAX_LINE {
                    let message = format!("the line is longer than {MAX_LINE} bytes");
                    return Err(Refusal::new(number, message, "leave the attachment out"));
                }
            }
            ([], _) => {}
            _ => unfolded.push((number, raw.to_vec())),
        }
    }
    unfolded.into_iter().map(|(number, bytes)| line(number, bytes)).collect()
}

fn line(number: u32, bytes: Vec<u8>) -> Result<Line, Refusal> {
    let refuse = |message: &str, remedy: &str| Err(Refusal::new(number, message, remedy));
    let Ok(text) = String::from_utf8(bytes) else {
        return refuse("the line is not UTF-8", "save the file as UTF-8");
    };
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return refuse("the line has control characters", "save the file as text");
    }
    let name_end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(text.len());
    let (name, mut rest) = text.split_at(name_end);
    if name.is_empty() {
        return refuse("the line does not begin with a name", "write NAME:value, as in DTSTART:20261224T220000Z");
    }
    let mut params: Vec<(String, String)> = Vec::new();
    while let Some(param) = rest.strip_prefix(';') {
        let Some((key, after)) = param.split_once('=') else {
            return refuse("a parameter has no value", "write ;NAME=value, as in ;TZID=Europe/Paris");
        };
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return refuse("a parameter has no name", "write ;NAME=value, as in ;TZID=Europe/Paris");
        }
        let Some((value, after)) = param_value(after) else {
            return refuse("a quote is not closed", "close it before the colon");
        };
        let key = key.to_ascii_uppercase();
        if params.len() >= MAX_PARAMS || params.iter().any(|(known, _)| *known == key) {
            return refuse("a parameter stands twice, or there are too many", "give each parameter once");
        }
        params.push((key, value));
        rest = after;
    }
    let Some(value) = rest.strip_prefix(':') else {
        return refuse("the line has no value", "write NAME:value, as in DTSTART:20261224T220000Z");
    };
    Ok(Line { number, name: name.to_ascii_uppercase(), params, value: value.to_owned() })
}

/// A parameter's value up to the next `;` or `:`; quotes keep both inside.
fn param_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ';' | ':' if !quoted => return Some((value, text.get(at..).unwrap_or_default())),
            c => value.push(c),
        }
    }
    (!quoted).then_some((value, ""))
}

//! Stanzas of `Name: value` lines, the shape of every control file of dpkg and apt. One reader for all of them, because
//! each such file is outside data, and one place to be careful is easier to trust than five.

use memchr::memchr;

/// Splits text into stanzas: runs of non-empty lines.
#[derive(Debug, Clone)]
pub(crate) struct Stanzas<'a> {
    rest: &'a [u8],
    line: usize,
}

/// One stanza and where it starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stanza<'a> {
    /// The lines, without the empty line after them.
    pub(crate) text: &'a [u8],
    /// The number of its first line, counted from 1.
    pub(crate) line: usize,
}

/// One field of a stanza.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    /// The name, as written; names are compared without regard to case.
    pub(crate) name: &'a [u8],
    /// The value on the name's own line and its continuation lines, trimmed at both ends.
    pub(crate) value: &'a [u8],
    /// The number of its line.
    pub(crate) line: usize,
}

/// A line that is neither a field nor the continuation of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadLine {
    /// Its number.
    pub(crate) line: usize,
}

impl<'a> Stanzas<'a> {
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        Self { rest: text, line: 1 }
    }
}

fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b'\n', text) {
        Some(end) => (text.get(..end).unwrap_or_default(), text.get(end + 1..).unwrap_or_default()),
        None => (text, &[]),
    }
}

impl<'a> Iterator for Stanzas<'a> {
    type Item = Stanza<'a>;

    fn next(&mut self) -> Option<Stanza<'a>> {
        while let Some(rest) = self.rest.strip_prefix(b"\n") {
            self.rest = rest;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return None;
        }
        let start = self.rest;
        let line = self.line;
        let mut length = 0;
        while !self.rest.is_empty() {
            let (text, rest) = split_line(self.rest);
            if text.is_empty() {
                break;
            }
            length += self.rest.len() - rest.len();
            self.rest = rest;
            self.line += 1;
        }
        Some(Stanza { text: start.get(..length).unwrap_or_default(), line })
    }
}

impl<'a> Stanza<'a> {
    /// Its fields in order.
    pub(crate) const fn fields(&self) -> Fields<'a> {
        Fields { rest: self.text, line: self.line }
    }

    /// The value of the first field of this name; damaged lines are passed over.
    pub(crate) fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.fields().flatten().find(|field| field.is(name)).map(|field| field.value)
    }

    /// The same as text; `None` when it is absent or not UTF-8.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}

impl Field<'_> {
    /// Whether it has this name.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The fields of one stanza.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    line: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let line = self.line;
        let start = self.rest;
        let (first, mut rest) = split_line(start);
        self.line += 1;
        while matches!(rest.first(), Some(b' ' | b'\t')) {
            rest = split_line(rest).1;
            self.line += 1;
        }
        self.rest = rest;
        let field = start.get(..start.len() - rest.len()).unwrap_or_default();
        let name = match memchr(b':', first) {
            Some(end) if end > 0 => first.get(..end).unwrap_or_default(),
            _ => return Some(Err(BadLine { line })),
        };
        if name.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
            return Some(Err(BadLine { line }));
        }
        let value = field.get(name.len() + 1..).unwrap_or_default().trim_ascii();
        Some(Ok(Field { name, value, line }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(usize, Vec<(String, String)>)> {
        Stanzas::new(text.as_bytes())
            .map(|stanza| {
                let fields = stanza.fields().map(|field| {
                    let field = field.unwrap();
                    (
                        String::from_utf8_lossy(field.name).into_owned(),
                        String::from_utf8_lossy(field.value).into_owned(),
                    )
                });
                (stanza.line, fields.collect())
            })
            .collect()
    }

    #[test]
    fn empty_lines_part_stanzas_and_lines_are_counted() {
        let seen = read("\n\nA: 1\nB: 2\n\n\nA: 3\n");
        let text = |a: &str| a.to_owned();
        assert_eq!(
            seen,
            [(3, vec![(text("A"), text("1")), (text("B"), text("2"))]), (7, vec![(text("A"), text("3"))])]
        );
    }

    #[test]
    fn a_folded_value_keeps_its_lines() {
        assert_eq!(read("Built-Using: a (= 1),\n b (= 2)\nX: y")[0].1[0].1, "a (= 1),\n b (= 2)");
    }

    #[test]
    fn a_line_that_is_no_field_is_named_by_number() {
        let stanza = Stanzas::new(b"A: 1\nnonsense\nB: 2\n").next().unwrap();
        let fields: Vec<_> = stanza.fields().collect();
        assert_eq!(fields[1], Err(BadLine { line: 2 }));
        assert_eq!(fields.len(), 3);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes: Vec<u8>) {
            for stanza in Stanzas::new(&bytes) {
                prop_assert!(stanza.fields().count() <= stanza.text.len());
            }
        }
    }
}

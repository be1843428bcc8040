//! Problems: what is wrong with a policy file, where, and what to do about it.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A position in a file, as editors count: both from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct At {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
    /// Bytes from the start of the file; unknown where the file had no such place.
    #[serde(skip)]
    pub(crate) offset: u32,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// The bundle is refused.
    Error,
    /// The bundle works, but hardly as meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file, as it was named to us.
    #[serde(serialize_with = "plain")]
    pub file: Arc<str>,
    /// Where in it.
    #[serde(flatten)]
    pub at: At,
    /// How bad.
    pub grade: Grade,
    /// Names the kind of problem for machines, such as `unknown-path`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

fn plain<S: Serializer>(file: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(file)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grade = match self.grade {
            Grade::Error => "error",
            Grade::Warning => "warning",
        };
        write!(f, "{}:{}:{}: {grade}[{}]: {}", self.file, self.at.line, self.at.column, self.code, self.message)
    }
}

impl Problem {
    /// The problem with the line it is about and the remedy, for a terminal.
    pub fn render(&self, source: &str) -> String {
        let mut text = format!("{self}\n");
        let line = source.lines().nth(self.at.line.saturating_sub(1) as usize);
        if let Some(line) = line.filter(|line| !line.trim().is_empty()) {
            let number = self.at.line.to_string();
            let shown: String = line.chars().filter(|c| !c.is_control()).take(160).collect();
            let before = (self.at.column.saturating_sub(1) as usize).min(shown.chars().count());
            text.push_str(&format!("  {number} | {shown}\n  {} | {}^\n", " ".repeat(number.len()), " ".repeat(before)));
        }
        text.push_str(&format!("  remedy: {}\n", self.remedy));
        text
    }
}

/// The known name that a misspelt one most likely means.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > 64 {
        return None;
    }
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    known.into_iter().map(|one| (distance(name, one), one)).filter(|(far, _)| *far <= allowed).min().map(|(_, one)| one)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, from) in a.chars().enumerate() {
        let mut next = vec![at + 1];
        for ((to, over), (diagonal, left_at)) in b.iter().zip(row.iter().skip(1)).zip(row.iter().zip(0..)) {
            let left = next.get(left_at).copied().unwrap_or(usize::MAX);
            let change = diagonal + usize::from(from != *to);
            next.push(change.min(over + 1).min(left.saturating_add(1)));
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_the_word_that_was_meant() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(nearest("item.epsss", ["item.epss", "item.kev"]), Some("item.epss"));
        assert_eq!(nearest("colour", ["mode", "when"]), None);
    }
}

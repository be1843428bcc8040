//! How things are printed: data to standard output, everything else to standard error.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;

use crate::args::{Colour, Global};

/// Decided once from flags, environment and terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    colour: bool,
    terminal: bool,
}

/// Columns below which a table is cut rather than broken further.
const NARROWEST: u16 = 60;

/// What a piece of text says; colour only repeats what the words say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Bad,
    Warn,
    Good,
    Dim,
    Strong,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = match global.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && !no_colour,
        };
        Self { json: global.json, quiet: global.quiet, colour, terminal }
    }

    /// Text with its tone, if colours are on.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Bad => "31;1",
            Tone::Warn => "33",
            Tone::Good => "32",
            Tone::Dim => "2",
            Tone::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A table that fits the terminal; when the output is no terminal its width is not cut.
    pub(crate) fn table(&self, head: &[&str]) -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING);
        if self.terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            // A terminal that was never told its size says 0, and a letter a line is no table.
            if table.width().is_some_and(|width| width < NARROWEST) {
                table.set_width(NARROWEST);
            }
        } else {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
        table.set_header(head.iter().map(|title| self.paint(Tone::Dim, title)).collect::<Vec<_>>());
        table
    }

    /// Prints a line of data.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(crate) fn line(&self, text: &str) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")
    }

    /// Prints bytes that end their own lines.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> std::io::Result<()> {
        std::io::stdout().lock().write_all(bytes)
    }

    /// Prints one object on a line.
    ///
    /// # Errors
    /// When standard output is closed or the value has no JSON form.
    pub(crate) fn object<T: Serialize>(&self, value: &T) -> std::io::Result<()> {
        self.line(&serde_json::to_string(value)?)
    }

    /// Says something beside the data.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Whether somebody watches who could be asked or shown progress.
    pub(crate) fn interactive(&self) -> bool {
        !self.quiet && !self.json && std::io::stderr().is_terminal()
    }
}

/// Text from outside, safe to print on a terminal: control characters become visible.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() && character != '\n' { '\u{fffd}' } else { character })
        .collect()
}

/// `1 asset`, `2 assets`.
pub(crate) fn many(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

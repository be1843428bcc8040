//! Versions of packages. Each world orders its own, so each has its own type: versions of two worlds cannot be
//! compared by mistake.
//!
//! Versions come from feeds and inventories that others made. A text is at most 256 bytes long, numbers in it may have
//! any number of digits within that, and what a world's rules do not take is refused, never guessed.

mod alpine;
mod debian;
mod maven;
mod order;
mod plain;
mod python;
mod rpm;
mod semantic;
mod upstream;

pub use alpine::ApkVersion;
pub use debian::DebVersion;
pub use maven::MavenVersion;
pub use order::{Order, Version};
pub use plain::PlainVersion;
pub use python::PythonVersion;
pub use rpm::RpmVersion;
pub use semantic::SemanticVersion;
pub use upstream::UpstreamVersion;

/// A text that is no version in its world.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted}: {why}")]
pub struct NotAVersion {
    wanted: &'static str,
    text: String,
    why: &'static str,
}

impl NotAVersion {
    fn new(wanted: &'static str, text: &str, why: &'static str) -> Self {
        let text = text.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        Self { wanted, text, why }
    }
}

/// Longer texts are refused: no real version comes near, and a hostile feed should not cost memory.
const MAX_LEN: usize = 256;

/// Refuses what no world takes.
const fn bounded(text: &str) -> Result<(), &'static str> {
    match text.len() {
        0 => Err("it is empty"),
        1..=MAX_LEN => Ok(()),
        _ => Err("it is longer than 256 bytes"),
    }
}

/// A whole number of any size, without its leading zeros: of two, the one with more digits is the greater.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Number {
    length: usize,
    digits: Box<str>,
}

impl Number {
    /// The number that these ASCII digits spell; none at all are zero.
    fn of(digits: &str) -> Self {
        let digits = digits.trim_start_matches('0');
        Self { length: digits.len(), digits: digits.into() }
    }

    const fn is_zero(&self) -> bool {
        self.length == 0
    }
}

/// What every version type has besides its order: it is read from a text, keeps it, and is equal where the order says
/// so, not where the texts agree.
macro_rules! text_version {
    ($name:ident) => {
        impl $name {
            /// The text as it was read.
            pub fn as_str(&self) -> &str {
                &self.text
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", self.text)
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.cmp(other).is_eq()
            }
        }

        impl Eq for $name {}
    };
}
use text_version;

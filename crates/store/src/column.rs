//! How values stand in columns, the same in every dialect: times as microseconds UTC, ids and enumerations as text,
//! documents as JSON text, counts as 64-bit integers.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stanch_model::Digest;
use stanch_model::id::ItemId;

use crate::db::Row;
use crate::error::{CommitError, ReadError};

pub(crate) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

pub(crate) fn optional_micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(micros)
}

pub(crate) fn json<T: Serialize + ?Sized>(noun: &'static str, id: &str, value: &T) -> Result<String, CommitError> {
    serde_json::to_string(value).map_err(|error| CommitError::Encode {
        noun,
        id: id.to_owned(),
        detail: error.to_string(),
    })
}

pub(crate) fn number(noun: &'static str, id: &str, value: u64) -> Result<i64, CommitError> {
    i64::try_from(value).map_err(|_| CommitError::Encode {
        noun,
        id: id.to_owned(),
        detail: format!("{value} is too large"),
    })
}

/// Ids as one bound value that a statement takes apart with `json_each`: a list may be longer than a database takes
/// parameters.
pub(crate) fn ids<'a, T: std::fmt::Display + 'a>(ids: impl IntoIterator<Item = &'a T>) -> String {
    // A list of texts always has a JSON form.
    let texts: Vec<String> = ids.into_iter().map(ToString::to_string).collect();
    serde_json::to_string(&texts).unwrap_or_else(|_| "[]".to_owned())
}

/// Whether every row of a statement that names what it put was put; there was one already where it was not.
pub(crate) fn all_were_put<'a>(
    noun: &'static str,
    items: impl Iterator<Item = &'a ItemId>,
    put: &[Row],
) -> Result<(), CommitError> {
    let put: BTreeSet<String> = put.iter().filter_map(|row| Columns::new(noun, row).text("item").ok()).collect();
    let missing = items.map(ItemId::as_str).find(|item| !put.contains(*item));
    missing.map_or(Ok(()), |item| Err(CommitError::Exists { noun, id: item.to_owned() }))
}

/// The name a plain enumeration has in JSON.
pub(crate) fn name<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// Reads columns of one noun's row; what does not read names the noun.
pub(crate) struct Columns<'r> {
    noun: &'static str,
    row: &'r Row,
}

impl<'r> Columns<'r> {
    pub(crate) const fn new(noun: &'static str, row: &'r Row) -> Self {
        Self { noun, row }
    }

    fn damaged(&self, detail: impl ToString) -> ReadError {
        ReadError::damaged(self.noun, detail)
    }

    pub(crate) fn text(&self, column: &str) -> Result<String, ReadError> {
        self.there(column, self.optional_text(column)?)
    }

    pub(crate) fn optional_text(&self, column: &str) -> Result<Option<String>, ReadError> {
        self.row.text(column).map_err(|error| self.damaged(error))
    }

    pub(crate) fn integer(&self, column: &str) -> Result<i64, ReadError> {
        self.there(column, self.optional_integer(column)?)
    }

    pub(crate) fn optional_integer(&self, column: &str) -> Result<Option<i64>, ReadError> {
        self.row.integer(column).map_err(|error| self.damaged(error))
    }

    fn there<T>(&self, column: &str, value: Option<T>) -> Result<T, ReadError> {
        value.ok_or_else(|| self.damaged(format_args!("its {column} is missing")))
    }

    pub(crate) fn count(&self, column: &str) -> Result<u64, ReadError> {
        u64::try_from(self.integer(column)?).map_err(|error| self.damaged(error))
    }

    pub(crate) fn small(&self, column: &str) -> Result<u32, ReadError> {
        u32::try_from(self.integer(column)?).map_err(|error| self.damaged(error))
    }

    pub(crate) fn time(&self, column: &str) -> Result<Timestamp, ReadError> {
        Timestamp::from_microsecond(self.integer(column)?).map_err(|error| self.damaged(error))
    }

    pub(crate) fn optional_time(&self, column: &str) -> Result<Option<Timestamp>, ReadError> {
        self.optional_integer(column)?
            .map(|micros| Timestamp::from_microsecond(micros).map_err(|error| self.damaged(error)))
            .transpose()
    }

    pub(crate) fn bytes(&self, column: &str) -> Result<Vec<u8>, ReadError> {
        self.there(column, self.optional_bytes(column)?)
    }

    pub(crate) fn optional_bytes(&self, column: &str) -> Result<Option<Vec<u8>>, ReadError> {
        self.row.bytes(column).map_err(|error| self.damaged(error))
    }

    pub(crate) fn digest(&self, column: &str) -> Result<Digest, ReadError> {
        let bytes = <[u8; 32]>::try_from(self.bytes(column)?).map_err(|_| self.damaged("a digest has 32 bytes"))?;
        Ok(Digest::from_bytes(bytes))
    }

    /// An id, or anything else with a text form.
    pub(crate) fn parsed<T>(&self, column: &str) -> Result<T, ReadError>
    where
        T: std::str::FromStr,
        T::Err: ToString,
    {
        self.text(column)?.parse().map_err(|error: T::Err| self.damaged(error.to_string()))
    }

    pub(crate) fn optional_parsed<T>(&self, column: &str) -> Result<Option<T>, ReadError>
    where
        T: std::str::FromStr,
        T::Err: ToString,
    {
        let text = self.optional_text(column)?;
        text.map(|text| text.parse().map_err(|error: T::Err| self.damaged(error.to_string()))).transpose()
    }

    /// A document.
    pub(crate) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, ReadError> {
        serde_json::from_str(&self.text(column)?).map_err(|error| self.damaged(error))
    }

    /// The same, if there is one.
    pub(crate) fn optional_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, ReadError> {
        let text = self.optional_text(column)?;
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(|error| self.damaged(error))
    }

    /// A plain enumeration by its name.
    pub(crate) fn named<T: DeserializeOwned>(&self, column: &str) -> Result<T, ReadError> {
        serde_json::from_value(serde_json::Value::String(self.text(column)?)).map_err(|error| self.damaged(error))
    }
}

/// Reads every row the same way.
pub(crate) fn all<T>(rows: &[Row], read: impl Fn(&Row) -> Result<T, ReadError>) -> Result<Vec<T>, ReadError> {
    rows.iter().map(read).collect()
}

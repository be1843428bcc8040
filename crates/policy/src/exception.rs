//! Accepted risks: somebody answers for leaving a problem as it is, for a reason, until a day.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use stanch_model::decision::Accepted;

use crate::document::ExceptionDoc;
use crate::facts::Facts;
use crate::problem::At;
use crate::read::Reader;
use crate::selector::{Covers, Selected};

/// An accepted risk.
#[derive(Debug, Clone)]
pub struct Exception {
    /// Its name.
    pub name: String,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it ends. A day without a time ends at its midnight in UTC, so that it never lasts longer than written.
    pub expires: Timestamp,
    /// What it covers.
    pub covers: Covers,
    pub(crate) file: Arc<str>,
    pub(crate) at: At,
}

/// What the exceptions say of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// None covers it.
    None,
    /// The risk is accepted.
    Accepted(Accepted),
    /// One may cover it, if only a fact were known.
    Unknown { exception: String, missing: &'static str },
}

impl Exception {
    pub(crate) fn from_doc(doc: &ExceptionDoc, reader: &mut Reader<'_>) -> Option<Self> {
        let covers = Covers::from(&doc.select.value);
        if !covers.is_narrow() {
            let remedy = "name at least one of ids, packages, assets: an accepted risk is about something";
            reader.error(doc.select.at, "exception-wide", "the exception names no problem and no asset", remedy);
            return None;
        }
        let Some(expires) = moment(&doc.expires.value) else {
            let remedy = "write a day such as 2027-01-31, or a time such as 2027-01-31T18:00:00Z";
            reader.error(doc.expires.at, "exception-expiry", "this is no day and no time", remedy);
            return None;
        };
        Some(Self {
            name: doc.name.value.0.clone(),
            owner: doc.owner.clone(),
            reason: doc.reason.clone(),
            expires,
            covers,
            file: Arc::clone(reader.file()),
            at: doc.expires.at,
        })
    }

    fn accepted(&self) -> Accepted {
        Accepted {
            exception: self.name.clone(),
            owner: self.owner.clone(),
            reason: self.reason.clone(),
            until: self.expires,
        }
    }
}

fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let day: Date = text.parse().ok()?;
    TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()
}

/// What these exceptions say of an item: it is excepted when every one of its ids is covered. The one that ends first
/// says until when.
pub(crate) fn acceptance(exceptions: &[Exception], facts: &Facts, now: Timestamp) -> Acceptance {
    let mut open: Option<BTreeSet<&str>> = facts.texts("item.ids").map(|ids| ids.iter().map(String::as_str).collect());
    let no_ids = open.as_ref().is_some_and(BTreeSet::is_empty);
    let (mut by, mut doubt): (Option<&Exception>, Option<Acceptance>) = (None, None);
    let unknown = |exception: &Exception, missing| Acceptance::Unknown { exception: exception.name.clone(), missing };
    for exception in exceptions.iter().filter(|exception| now < exception.expires) {
        let ids = exception.covers.ids.as_ref();
        // What covers none of the ids is of no matter, wherever it holds.
        if let (Some(ids), Some(open)) = (ids, &open)
            && !open.iter().any(|id| ids.contains(*id))
        {
            continue;
        }
        match exception.covers.place(facts) {
            Selected::No(_) => {}
            Selected::Unknown(missing) => doubt = doubt.or(Some(unknown(exception, missing))),
            Selected::Yes => match (ids, &mut open) {
                (None, _) => return Acceptance::Accepted(exception.accepted()),
                (Some(_), None) => doubt = doubt.or(Some(unknown(exception, "item.ids"))),
                (Some(ids), Some(open)) => {
                    open.retain(|id| !ids.contains(*id));
                    by = Some(by.filter(|first| first.expires <= exception.expires).unwrap_or(exception));
                }
            },
        }
    }
    match (by, open) {
        (Some(by), Some(open)) if open.is_empty() && !no_ids => Acceptance::Accepted(by.accepted()),
        _ => doubt.unwrap_or(Acceptance::None),
    }
}

//! VEX: statements by somebody that a product is, or is not, affected by a vulnerability.
//!
//! A statement counts for one exact version of one package, names who says so, and may end. What a verdict rests on
//! is part of its reason, so that a new author, justification, end or version opens the question again.

mod csaf;
mod openvex;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stanch_model::canonical::Hasher;
use stanch_model::ecosystem;
use stanch_model::facts::{Component, OsRelease, Package};

use crate::archive::{Limits, Names, each_entry};
use crate::compiled::{Compiled, Effort};
use crate::error::{FeedError, Problem};
use crate::meta::{FeedMeta, Kind};

pub(crate) const NAME: &str = "vex";
/// Statements kept of all documents together.
const MAX_STATEMENTS: usize = 1_000_000;

/// What a statement says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not affected.
    NotAffected,
    /// Affected.
    Affected,
    /// Was affected, and this version is not.
    Fixed,
    /// Nobody knows yet.
    UnderInvestigation,
}

/// The product a statement is about: one package of one distribution, or one component, at one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// `debian`, `ubuntu`, or the OSV ecosystem of a component.
    pub world: String,
    /// Source or binary package name, or the component's as its advisories write it.
    pub name: String,
    /// The exact version.
    pub version: String,
    /// The architecture, where the statement names one; `source` means the source package.
    pub architecture: Option<String>,
    /// The environment, or the file that it is a copy in, where the statement names one: it is about that alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// One statement about one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The vulnerability's ids.
    pub ids: Vec<String>,
    /// The product.
    pub product: Product,
    /// What is said.
    pub status: Status,
    /// Why, as a label of the format or in words.
    pub justification: String,
    /// Who says so.
    pub author: String,
    /// The document it stands in.
    pub document: String,
    /// When it was said.
    pub said: Option<Timestamp>,
    /// When it ends, where it does.
    pub expires: Option<Timestamp>,
}

impl Statement {
    /// Whether it is about this package, at exactly this version, and has not ended.
    pub fn concerns(&self, os: &OsRelease, package: &Package, source: (&str, &str), now: Timestamp) -> bool {
        let product = &self.product;
        if product.world != os.id || self.has_ended(now) {
            return false;
        }
        let is_source = product.name == source.0 && product.version == source.1;
        let is_binary = product.name == package.name && product.version == package.version.as_str();
        match product.architecture.as_deref() {
            Some("source") => is_source,
            Some(architecture) => is_binary && architecture == package.architecture,
            None => is_source || is_binary,
        }
    }

    /// Whether it is about this component, at exactly this version, and has not ended.
    pub fn concerns_component(&self, component: &Component, now: Timestamp) -> bool {
        let product = &self.product;
        product.world == component.ecosystem
            && product.name == component.name
            && product.version == component.version
            && product.place.as_ref().is_none_or(|place| ecosystem::place(&component.purl).as_ref() == Some(place))
            && !self.has_ended(now)
    }

    fn has_ended(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// The statement in a sentence: all that would open the question again when it changes.
    pub fn told(&self) -> String {
        let until = self.expires.map(|end| format!(", until {end}")).unwrap_or_default();
        let why = if self.justification.is_empty() { "no justification given" } else { &self.justification };
        let status = match self.status {
            Status::NotAffected => "not affected",
            Status::Affected => "affected",
            Status::Fixed => "fixed",
            Status::UnderInvestigation => "under investigation",
        };
        let Self { author, document, product: Product { name, version, .. }, .. } = self;
        format!("{author} says {name} {version} is {status} ({why}{until}; {document})")
    }
}

/// The last word on a vulnerability of a package: of several statements, the one said last.
pub fn last_word<'a>(
    statements: impl Iterator<Item = &'a Statement>,
    ids: &[&str],
    mut concerns: impl FnMut(&Statement) -> bool,
) -> Option<&'a Statement> {
    statements
        .filter(|statement| statement.ids.iter().any(|id| ids.contains(&id.as_str())) && concerns(statement))
        // Of two said at once, the one that does not clear the package counts.
        .max_by_key(|statement| (statement.said, !matches!(statement.status, Status::NotAffected | Status::Fixed)))
}

/// Reads documents one after another.
pub(crate) struct Reading {
    statements: Vec<Statement>,
    newest: Option<Timestamp>,
    source: Hasher,
    documents: usize,
}

impl Default for Reading {
    fn default() -> Self {
        Self { statements: Vec::new(), newest: None, source: Hasher::new(), documents: 0 }
    }
}

/// Reads one document, or a zip of many; OpenVEX and CSAF may stand side by side.
///
/// # Errors
/// When any document cannot be read.
pub fn compile(bytes: &[u8]) -> Result<Compiled, FeedError> {
    let mut reading = Reading::default();
    reading.add("the document", bytes)?;
    reading.finish(Effort::Quick)
}

impl Reading {
    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), FeedError> {
        self.source.update(bytes);
        if bytes.starts_with(b"PK") {
            return each_entry(NAME, bytes, &Limits::default(), Names::InFolders, |_, json| self.document(json));
        }
        self.document(bytes).map_err(|problem| FeedError::at(NAME, name, problem))
    }

    fn document(&mut self, json: &[u8]) -> Result<(), Problem> {
        #[derive(Deserialize)]
        struct Form {
            #[serde(rename = "@context")]
            openvex: Option<serde_json::Value>,
            #[serde(rename = "document")]
            csaf: Option<serde::de::IgnoredAny>,
        }
        let form: Form = serde_json::from_slice(json).map_err(Problem::Json)?;
        let is_openvex = form
            .openvex
            .as_ref()
            .and_then(|context| context.as_str())
            .is_some_and(|context| context.starts_with("https://openvex.dev/"));
        let statements = if is_openvex {
            openvex::read(json)?
        } else if form.csaf.is_some() {
            csaf::read(json)?
        } else {
            return Err(Problem::value("the document", "something else", "OpenVEX or CSAF"));
        };
        self.documents += 1;
        self.newest = statements.iter().filter_map(|statement| statement.said).max().max(self.newest);
        self.statements.extend(statements);
        if self.statements.len() > MAX_STATEMENTS {
            return Err(Problem::TooMany { limit: MAX_STATEMENTS });
        }
        Ok(())
    }

    pub(crate) fn finish(self, effort: Effort) -> Result<Compiled, FeedError> {
        let refuse = |problem| FeedError::new(NAME, problem);
        if self.documents == 0 {
            return Err(refuse(Problem::Empty));
        }
        let mut meta = FeedMeta::new(Kind::Vex, NAME, self.source.finish());
        meta.dated = self.newest;
        meta.records = self.statements.len() as u64;
        let body = serde_json::to_vec(&self.statements).map_err(|error| refuse(Problem::Json(error)))?;
        Compiled::new(meta, &body, effort).map_err(refuse)
    }
}

/// A product by its package URL; `None` for worlds that Stanch does not judge, and for one without an exact version:
/// such a statement would cover versions its author has never seen.
fn product(text: &str) -> Option<Product> {
    let purl: packageurl::PackageUrl<'_> = text.parse().ok()?;
    let namespace = purl.namespace().unwrap_or_default();
    let (world, name) = match purl.ty() {
        "deb" => (purl.namespace()?.to_ascii_lowercase(), purl.name().to_owned()),
        "generic" => (ecosystem::UPSTREAM.to_owned(), purl.name().to_owned()),
        other => ecosystem::named(other, namespace, purl.name()).map(|(world, name)| (world.to_owned(), name))?,
    };
    Some(Product {
        world,
        name,
        version: purl.version()?.to_owned(),
        place: ecosystem::place(text),
        architecture: purl.qualifiers().get("arch").map(|architecture| architecture.to_string()),
    })
}

/// A text from a document, cut to what a reason can carry.
fn short(text: &str) -> String {
    crate::error::printable(text)
}

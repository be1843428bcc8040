//! OpenVEX documents.

use serde::Deserialize;

use super::{Statement, Status, product, short};
use crate::error::Problem;
use crate::kev::timestamp;

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "@id")]
    id: String,
    author: String,
    timestamp: String,
    #[serde(default)]
    last_updated: Option<String>,
    statements: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    vulnerability: Vulnerability,
    #[serde(default)]
    products: Vec<Named>,
    status: Status,
    #[serde(default)]
    justification: Option<String>,
    #[serde(default)]
    impact_statement: Option<String>,
    #[serde(default)]
    timestamp: Option<String>,
    #[serde(default)]
    last_updated: Option<String>,
    /// Not of the format: an end that a person may add.
    #[serde(default)]
    expires: Option<String>,
}

/// A vulnerability: an object since version 0.2, a text before.
#[derive(Deserialize)]
#[serde(untagged)]
enum Vulnerability {
    Object {
        name: String,
        #[serde(default)]
        aliases: Vec<String>,
    },
    Text(String),
}

/// A product: an object since version 0.2, a text before.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Object(Object),
    Text(String),
}

#[derive(Deserialize)]
struct Object {
    #[serde(rename = "@id", default)]
    id: Option<String>,
    #[serde(default)]
    identifiers: Identifiers,
    #[serde(default)]
    subcomponents: Vec<Object>,
}

#[derive(Deserialize, Default)]
struct Identifiers {
    #[serde(default)]
    purl: Option<String>,
}

pub(super) fn read(json: &[u8]) -> Result<Vec<Statement>, Problem> {
    let document: Document = serde_json::from_slice(json).map_err(Problem::Json)?;
    let time = |field: &'static str, text: &str| timestamp(text).ok_or_else(|| Problem::value(field, text, "a time"));
    let mut statements = Vec::new();
    for said in document.statements {
        let at = said.last_updated.as_ref().or(said.timestamp.as_ref());
        let at = at.or(document.last_updated.as_ref()).unwrap_or(&document.timestamp);
        let at = time("timestamp", at)?;
        let expires = said.expires.as_deref().map(|end| time("expires", end)).transpose()?;
        let ids = match said.vulnerability {
            Vulnerability::Text(name) => vec![name],
            Vulnerability::Object { name, mut aliases } => {
                aliases.insert(0, name);
                aliases
            }
        };
        let justification = said.justification.or(said.impact_statement).unwrap_or_default();
        let mut purls = Vec::new();
        for named in &said.products {
            match named {
                Named::Text(purl) => purls.push(purl.as_str()),
                Named::Object(object) => collect(object, &mut purls),
            }
        }
        statements.extend(purls.into_iter().filter_map(product).map(|product| Statement {
            ids: ids.iter().map(|id| short(id)).collect(),
            product,
            status: said.status,
            justification: short(&justification),
            author: short(&document.author),
            document: short(&document.id),
            said: Some(at),
            expires,
        }));
    }
    Ok(statements)
}

/// A statement about parts of a product is about those parts.
fn collect<'a>(object: &'a Object, purls: &mut Vec<&'a str>) {
    if object.subcomponents.is_empty() {
        purls.extend(object.identifiers.purl.as_deref().or(object.id.as_deref()));
    }
    for part in &object.subcomponents {
        collect(part, purls);
    }
}

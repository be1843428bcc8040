//! SPDX in JSON: the lists of 2.x, and the graph of 3.0.

use serde::Deserialize;

use super::{Document, Listed};

#[derive(Deserialize)]
struct Spdx {
    #[serde(rename = "spdxVersion", default)]
    version: String,
    #[serde(rename = "documentDescribes", default)]
    describes: Vec<String>,
    #[serde(default)]
    packages: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "SPDXID", default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(rename = "versionInfo")]
    version: Option<String>,
    #[serde(rename = "primaryPackagePurpose", default)]
    purpose: String,
    #[serde(rename = "sourceInfo", default)]
    source: String,
    #[serde(rename = "externalRefs", default)]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "referenceType", default)]
    kind: String,
    #[serde(rename = "referenceLocator", default)]
    locator: String,
}

pub(super) fn read(bytes: &[u8]) -> Result<Document, serde_json::Error> {
    let spdx: Spdx = serde_json::from_slice(bytes)?;
    let version: String = spdx.version.trim_start_matches("SPDX-").chars().take(16).collect();
    let mut document = Document { format: format!("SPDX {version}"), ..Document::default() };
    for entry in spdx.packages {
        let purl = entry.references.into_iter().find(|reference| reference.kind == "purl");
        match entry.purpose.as_str() {
            "OPERATING-SYSTEM" | "OPERATING_SYSTEM" => {
                let version = entry.version.unwrap_or_default();
                document.system = Some((entry.name.to_ascii_lowercase(), version));
            }
            // What the document is about, and what only groups others.
            "CONTAINER" | "DEVICE" | "FILE" => {}
            "APPLICATION" | "SOURCE" if purl.is_none() => {}
            _ if purl.is_none() && (spdx.describes.contains(&entry.id) || is_subject(&entry.id)) => {}
            _ => {
                let (source, source_version) = source(&entry.source);
                let purl = purl.map(|purl| purl.locator);
                document.entries.push(Listed { purl, version: entry.version, source, source_version });
            }
        }
    }
    Ok(document)
}

fn is_subject(id: &str) -> bool {
    id.starts_with("SPDXRef-DocumentRoot")
}

/// Reads `built package from: NAME VERSION`.
fn source(text: &str) -> (Option<String>, Option<String>) {
    let Some(rest) = text.strip_prefix("built package from: ") else { return (None, None) };
    let mut words = rest.split_ascii_whitespace();
    (words.next().map(str::to_owned), words.next().map(str::to_owned))
}

#[derive(Deserialize)]
struct Graph {
    #[serde(rename = "@graph", default)]
    elements: Vec<Element>,
}

#[derive(Deserialize)]
struct Element {
    #[serde(rename = "type", alias = "@type", default)]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(rename = "specVersion", default)]
    spec: String,
    #[serde(rename = "software_packageVersion")]
    version: Option<String>,
    #[serde(rename = "software_packageUrl")]
    purl: Option<String>,
    #[serde(rename = "software_primaryPurpose", default)]
    purpose: String,
    #[serde(rename = "software_sourceInfo", default)]
    source: String,
    #[serde(rename = "externalIdentifier", default)]
    identifiers: Vec<Identifier>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Identifier {
    Inline {
        #[serde(rename = "externalIdentifierType", default)]
        kind: String,
        #[serde(default)]
        identifier: String,
    },
    Other(serde::de::IgnoredAny),
}

pub(super) fn read_graph(bytes: &[u8]) -> Result<Document, serde_json::Error> {
    let graph: Graph = serde_json::from_slice(bytes)?;
    let spec = graph.elements.iter().find(|element| !element.spec.is_empty()).map_or("3.0", |element| &element.spec);
    let spec: String = spec.chars().take(16).collect();
    let mut document = Document { format: format!("SPDX {spec}"), ..Document::default() };
    for element in graph.elements {
        if element.kind != "software_Package" {
            continue;
        }
        let inline = element.identifiers.into_iter().find_map(|identifier| match identifier {
            Identifier::Inline { kind, identifier } if kind.eq_ignore_ascii_case("packageUrl") => Some(identifier),
            _ => None,
        });
        let purl = element.purl.or(inline);
        match element.purpose.as_str() {
            "operatingSystem" => {
                let version = element.version.unwrap_or_default();
                document.system = Some((element.name.to_ascii_lowercase(), version));
            }
            "container" | "application" | "source" | "file" | "device" if purl.is_none() => {}
            _ => {
                let (source, source_version) = source(&element.source);
                document.entries.push(Listed { purl, version: element.version, source, source_version });
            }
        }
    }
    Ok(document)
}

//! CycloneDX in JSON, 1.2 and later: components may nest.

use serde::Deserialize;

use super::{Document, Listed};

#[derive(Deserialize)]
struct Bom {
    #[serde(rename = "specVersion", default)]
    version: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    components: Vec<Entry>,
}

#[derive(Deserialize, Default)]
struct Metadata {
    component: Option<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    name: String,
    version: Option<String>,
    purl: Option<String>,
    #[serde(default)]
    properties: Vec<Property>,
    #[serde(default)]
    components: Vec<Entry>,
}

#[derive(Deserialize)]
struct Property {
    #[serde(default)]
    name: String,
    #[serde(default)]
    value: String,
}

pub(super) fn read(bytes: &[u8]) -> Result<Document, serde_json::Error> {
    let bom: Bom = serde_json::from_slice(bytes)?;
    let version: String = bom.version.chars().take(16).collect();
    let mut document = Document { format: format!("CycloneDX {version}"), ..Document::default() };
    // The subject itself is not part of what it holds, but what is nested in it is.
    let subject = bom.metadata.component.map(|subject| subject.components).unwrap_or_default();
    let mut left: Vec<Entry> = bom.components;
    left.extend(subject);
    while let Some(mut entry) = left.pop() {
        left.append(&mut entry.components);
        match entry.kind.as_str() {
            "operating-system" => {
                let version = entry.version.unwrap_or_default();
                document.system = Some((entry.name.to_ascii_lowercase(), version));
            }
            // Lock files and folders that group what lies in them.
            "file" => {}
            "application" if entry.purl.is_none() => {}
            _ => document.entries.push(listed(entry)),
        }
    }
    document.entries.reverse();
    Ok(document)
}

fn listed(entry: Entry) -> Listed {
    let find = |name: &str| {
        let property = entry.properties.iter().find(|property| property.name == name)?;
        (!property.value.is_empty()).then(|| property.value.clone())
    };
    let trivy = |name: &str| find(&format!("aquasecurity:trivy:{name}"));
    let syft = |name: &str| find(&format!("syft:metadata:{name}"));
    let source_version = trivy("SrcVersion").map(|version| {
        let epoch = trivy("SrcEpoch").filter(|epoch| epoch != "0").map(|epoch| format!("{epoch}:")).unwrap_or_default();
        let release = trivy("SrcRelease").map(|release| format!("-{release}")).unwrap_or_default();
        format!("{epoch}{version}{release}")
    });
    Listed {
        source: trivy("SrcName").or_else(|| syft("source")),
        source_version: source_version.or_else(|| syft("sourceVersion")),
        purl: entry.purl,
        version: entry.version,
    }
}

//! CSAF 2 documents of the VEX profile.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Product, Statement, Status, product, short};
use crate::error::Problem;
use crate::kev::timestamp;

/// Deepest nesting of a product tree that is followed.
const MAX_DEPTH: usize = 32;

#[derive(Deserialize)]
struct Csaf {
    document: Document,
    #[serde(default)]
    product_tree: Branch,
    #[serde(default)]
    vulnerabilities: Vec<Vulnerability>,
}

#[derive(Deserialize)]
struct Document {
    publisher: Publisher,
    tracking: Tracking,
}

#[derive(Deserialize)]
struct Publisher {
    name: String,
}

#[derive(Deserialize)]
struct Tracking {
    id: String,
    current_release_date: String,
}

#[derive(Deserialize, Default)]
struct Branch {
    #[serde(default)]
    branches: Vec<Branch>,
    #[serde(default)]
    product: Option<FullName>,
    #[serde(default)]
    full_product_names: Vec<FullName>,
    #[serde(default)]
    relationships: Vec<Relationship>,
}

#[derive(Deserialize)]
struct FullName {
    product_id: String,
    #[serde(default)]
    product_identification_helper: Helper,
}

#[derive(Deserialize, Default)]
struct Helper {
    #[serde(default)]
    purl: Option<String>,
    #[serde(default)]
    purls: Vec<String>,
}

#[derive(Deserialize)]
struct Relationship {
    product_reference: String,
    full_product_name: FullName,
}

#[derive(Deserialize)]
struct Vulnerability {
    #[serde(default)]
    cve: Option<String>,
    #[serde(default)]
    ids: Vec<Id>,
    #[serde(default)]
    product_status: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    flags: Vec<Flag>,
    #[serde(default)]
    threats: Vec<Threat>,
}

#[derive(Deserialize)]
struct Id {
    text: String,
}

#[derive(Deserialize)]
struct Flag {
    label: String,
    #[serde(default)]
    product_ids: Vec<String>,
}

#[derive(Deserialize)]
struct Threat {
    category: String,
    details: String,
    #[serde(default)]
    product_ids: Vec<String>,
}

pub(super) fn read(json: &[u8]) -> Result<Vec<Statement>, Problem> {
    let csaf: Csaf = serde_json::from_slice(json).map_err(Problem::Json)?;
    let released = &csaf.document.tracking.current_release_date;
    let said = timestamp(released)
        .ok_or_else(|| Problem::value("document.tracking.current_release_date", released, "a time"))?;
    let mut products: BTreeMap<String, Vec<Product>> = BTreeMap::new();
    gather(&csaf.product_tree, 0, &mut products)?;
    for relationship in &csaf.product_tree.relationships {
        if let Some(parts) = products.get(&relationship.product_reference).cloned() {
            products.entry(relationship.full_product_name.product_id.clone()).or_default().extend(parts);
        }
    }
    let mut statements = Vec::new();
    for vulnerability in &csaf.vulnerabilities {
        let ids: Vec<String> =
            vulnerability.cve.iter().chain(vulnerability.ids.iter().map(|id| &id.text)).map(|id| short(id)).collect();
        for (status, product_ids) in &vulnerability.product_status {
            let status = match status.as_str() {
                "known_not_affected" => Status::NotAffected,
                "known_affected" | "first_affected" | "last_affected" => Status::Affected,
                "fixed" | "first_fixed" => Status::Fixed,
                "under_investigation" => Status::UnderInvestigation,
                _ => continue,
            };
            for id in product_ids {
                statements.extend(products.get(id).into_iter().flatten().map(|product| Statement {
                    ids: ids.clone(),
                    product: product.clone(),
                    status,
                    justification: short(justification(vulnerability, id)),
                    author: short(&csaf.document.publisher.name),
                    document: short(&csaf.document.tracking.id),
                    said: Some(said),
                    expires: None,
                }));
            }
        }
    }
    Ok(statements)
}

fn gather(branch: &Branch, depth: usize, products: &mut BTreeMap<String, Vec<Product>>) -> Result<(), Problem> {
    if depth > MAX_DEPTH {
        return Err(Problem::value("product_tree", "its branches", "nested 32 deep at most"));
    }
    let names = branch.product.iter().chain(&branch.full_product_names);
    for name in names.chain(branch.relationships.iter().map(|relationship| &relationship.full_product_name)) {
        let helper = &name.product_identification_helper;
        let found = helper.purl.iter().chain(&helper.purls).filter_map(|purl| product(purl));
        products.entry(name.product_id.clone()).or_default().extend(found);
    }
    branch.branches.iter().try_for_each(|branch| gather(branch, depth + 1, products))
}

/// The label of a flag, else the impact in words.
fn justification<'a>(vulnerability: &'a Vulnerability, product: &str) -> &'a str {
    let names = |ids: &[String]| ids.is_empty() || ids.iter().any(|id| id == product);
    let flag = vulnerability.flags.iter().find(|flag| names(&flag.product_ids)).map(|flag| flag.label.as_str());
    let impact = || {
        let threat = vulnerability.threats.iter().find(|t| t.category == "impact" && names(&t.product_ids));
        threat.map(|threat| threat.details.as_str())
    };
    flag.or_else(impact).unwrap_or_default()
}

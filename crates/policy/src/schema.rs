//! The JSON Schema of policy files, made from the same types that read them.

use serde_json::{Value as Json, json};

use crate::calendar;
use crate::document::{ExceptionDoc, FactsDoc, GroupDoc, PlaybookDoc, PolicyDoc, TestsDoc};
use crate::facts::{FactType, SCHEMA};
use crate::read::{Defs, Name, Yaml};

/// The schema for editors, JSON Schema 2020-12.
pub fn schema() -> Json {
    let mut defs = Defs::new();
    let kinds = [
        ("Policy", PolicyDoc::schema(&mut defs)),
        ("Exception", ExceptionDoc::schema(&mut defs)),
        ("Facts", FactsDoc::schema(&mut defs)),
        ("Playbook", PlaybookDoc::schema(&mut defs)),
        ("Group", GroupDoc::schema(&mut defs)),
        ("Tests", TestsDoc::schema(&mut defs)),
    ];
    let mut documents = Vec::new();
    for (kind, reference) in kinds {
        if let Some(Json::Object(properties)) = defs.get_mut(kind).and_then(|whole| whole.get_mut("properties")) {
            properties.insert("kind".to_owned(), json!({ "const": kind }));
        }
        documents.push(reference);
    }
    let name = Name::schema(&mut defs);
    defs.insert("Calendar".to_owned(), calendar::schema(&name));
    documents.push(json!({"$ref": "#/$defs/Calendar"}));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stanch policy files",
        "oneOf": documents,
        "$defs": defs,
    })
}

/// The facts that conditions may ask for, as a Markdown table.
pub fn facts_table() -> String {
    let mut table = String::from("| fact | type | may be unknown | meaning |\n| --- | --- | --- | --- |\n");
    for fact in SCHEMA {
        let kind = match fact.kind {
            FactType::Int(low, high) if high < 1_000 => format!("{low} to {high}"),
            FactType::Decimal(high) => format!("0 to {high}, with decimals"),
            FactType::Choice(words) => words.join(", "),
            FactType::Choices(words) => format!("list of: {}", words.join(", ")),
            other => other.name().to_owned(),
        };
        let unknown = if fact.nullable { "yes" } else { "no" };
        table.push_str(&format!("| `{}` | {kind} | {unknown} | {} |\n", fact.path, fact.meaning));
    }
    table
}

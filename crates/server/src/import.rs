//! Files that say whose assets are and how they hang together: YAML and CSV become the same rows, each with the line on
//! which it stands. Bounds on size, rows and nesting hold while a file is read.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::Deserializer;
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Spanned, budget, options};
use stanch_model::edge::EdgeKind;

use crate::api::types::{ImportError, LabelAsset};

/// The largest file, in bytes.
pub(crate) const LARGEST: usize = 2 << 20;
/// Rows of one file.
pub(crate) const ROWS: usize = 5_000;
/// Links that one row names.
const LINKS: usize = 200;
/// Faults told of one file.
pub(crate) const FAULTS: usize = 100;
/// Values in one YAML file.
const NODES: usize = 400_000;
/// The longest name of an asset, as DNS has it.
const LONGEST: usize = 255;

/// What a file says of one asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Where it stands.
    pub(crate) line: u64,
    /// The asset's name or id.
    pub(crate) asset: String,
    /// What it is; what is absent stays, and an empty text takes it away.
    pub(crate) label: LabelAsset,
    /// What it hangs on, by name or id.
    pub(crate) links: Vec<(EdgeKind, String)>,
}

/// What is wrong with a line.
pub(crate) fn fault(line: u64, message: impl Into<String>, remedy: impl Into<String>) -> ImportError {
    ImportError { line, message: message.into(), remedy: remedy.into() }
}

/// A piece of what somebody wrote, short enough to say it back.
pub(crate) fn said(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// Reads a file in YAML.
pub(crate) fn yaml(text: &str) -> Result<Vec<Row>, Vec<ImportError>> {
    fits(text)?;
    let options = options! {
        budget: budget! {
            max_nodes: NODES,
            max_depth: 8,
            max_documents: 1,
            max_events: NODES * 4,
            max_aliases: 0,
            max_anchors: 0,
            max_total_scalar_bytes: LARGEST,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let file: File = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(1, |at| at.line());
        let full = error.to_string();
        let message: String = full.lines().next().unwrap_or_default().chars().take(300).collect();
        vec![fault(line, message, "compare it with the example in docs/fleet.md")]
    })?;
    let mut faults = Vec::new();
    let mut rows = Vec::new();
    for entry in file.assets {
        let line = entry.referenced.line();
        let Entry {
            name,
            id,
            environment,
            owner,
            classification,
            tier,
            labels,
            depends_on,
            runs_on,
            member_of,
            used_on,
        } = entry.value;
        let asset = match (name, id) {
            (Some(one), None) | (None, Some(one)) => one.0,
            _ => {
                faults.push(fault(line, "an asset is named once, by its name or by its id", "write `name:` or `id:`"));
                continue;
            }
        };
        let links = [
            (EdgeKind::DependsOn, depends_on),
            (EdgeKind::RunsOn, runs_on),
            (EdgeKind::MemberOf, member_of),
            (EdgeKind::UsedOn, used_on),
        ];
        let links = links.into_iter().flat_map(|(kind, names)| names.into_iter().map(move |name| (kind, name.0)));
        let tier = match tier {
            Said::Nothing => None,
            Said::Something(text) => Some(text.0),
        };
        let texts = [environment, owner, classification].map(|said| match said {
            Said::Nothing => None,
            Said::Something(text) => Some(text.0),
        });
        let [environment, owner, classification] = texts;
        let labels = labels.into_iter().map(|(name, value)| (name, value.0)).collect();
        let tier = tier.as_deref().map(|text| self::tier(line, text)).transpose();
        match tier {
            Ok(tier) => rows.push(Row {
                line,
                asset,
                label: LabelAsset { environment, owner, classification, tier, labels },
                links: links.collect(),
            }),
            Err(error) => faults.push(error),
        }
    }
    checked(rows, faults)
}

/// Reads a file in CSV: a column each, links and labels by the names of theirs. An empty cell says nothing, `-` takes
/// away, and several links stand in one cell with semicolons between them.
pub(crate) fn csv(text: &str) -> Result<Vec<Row>, Vec<ImportError>> {
    fits(text)?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let broken = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        vec![fault(line, said(&error.to_string()), "give each row as many cells as the first line has")]
    };
    let head = reader.headers().map_err(broken)?.clone();
    let (mut columns, mut faults) = (Vec::new(), Vec::new());
    for name in &head {
        match Column::of(name) {
            Some(column) if columns.contains(&column) => {
                faults.push(fault(1, format!("the column `{}` is there twice", said(name)), "take one of them out"));
            }
            Some(column) => columns.push(column),
            None => faults.push(fault(
                1,
                format!("there is no column `{}`", said(name)),
                "asset, environment, owner, classification, tier, label:NAME, depends_on, runs_on, member_of, used_on",
            )),
        }
    }
    if !columns.contains(&Column::Asset) {
        faults.push(fault(1, "there is no column `asset`", "name the asset of each row, by its name or its id"));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let line = record.position().map_or(0, |at| line(text, at));
        let mut row = Row { line, asset: String::new(), label: LabelAsset::default(), links: Vec::new() };
        for (column, cell) in columns.iter().zip(&record) {
            // Nothing is said.
            if cell.is_empty() {
                continue;
            }
            let text = if cell == "-" { String::new() } else { cell.to_owned() };
            match column {
                Column::Asset => row.asset = cell.to_owned(),
                Column::Environment => row.label.environment = Some(text),
                Column::Owner => row.label.owner = Some(text),
                Column::Classification => row.label.classification = Some(text),
                Column::Tier => match tier(line, &text) {
                    Ok(tier) => row.label.tier = Some(tier),
                    Err(error) => faults.push(error),
                },
                Column::Label(name) => drop(row.label.labels.insert(name.clone(), text)),
                Column::Link(kind) => {
                    let names = cell.split(';').map(str::trim).filter(|name| !name.is_empty());
                    row.links.extend(names.map(|name| (*kind, name.to_owned())));
                }
            }
        }
        rows.push(row);
        if rows.len() > ROWS {
            break;
        }
    }
    checked(rows, faults)
}

/// The line on which a record begins: its position is where the one before it ended, and empty lines may follow.
fn line(text: &str, at: &csv::Position) -> u64 {
    let rest = usize::try_from(at.byte()).ok().and_then(|start| text.as_bytes().get(start..)).unwrap_or_default();
    let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|byte| **byte == b'\n').count();
    at.line().saturating_add(u64::try_from(empty).unwrap_or(u64::MAX))
}

fn fits(text: &str) -> Result<(), Vec<ImportError>> {
    if text.len() <= LARGEST {
        return Ok(());
    }
    Err(vec![fault(1, format!("the file is larger than {LARGEST} bytes"), "split it into several files")])
}

/// A tier as it is written; nothing takes it away.
fn tier(line: u64, text: &str) -> Result<u8, ImportError> {
    match text.parse() {
        _ if text.is_empty() => Ok(0),
        Ok(tier @ 1..=5) => Ok(tier),
        _ => Err(fault(line, format!("`{}` is no tier", said(text)), "1 (most depends on it) to 5")),
    }
}

/// What holds of rows however they are written.
fn checked(rows: Vec<Row>, mut faults: Vec<ImportError>) -> Result<Vec<Row>, Vec<ImportError>> {
    if rows.len() > ROWS {
        faults.push(fault(1, format!("there are more than {ROWS} assets"), "split it into several files"));
    }
    for row in &rows {
        if row.asset.is_empty() || row.asset.len() > LONGEST || row.asset.chars().any(char::is_control) {
            faults.push(fault(row.line, "this row names no asset", "write its name or its id"));
        }
        if row.links.len() > LINKS {
            let message = format!("{} hangs on more than {LINKS} others", said(&row.asset));
            faults.push(fault(row.line, message, "link it with what stands for them"));
        }
    }
    faults.truncate(FAULTS);
    if faults.is_empty() { Ok(rows) } else { Err(faults) }
}

/// A column of a CSV file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Column {
    Asset,
    Environment,
    Owner,
    Classification,
    Tier,
    Label(String),
    Link(EdgeKind),
}

impl Column {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "asset" => Self::Asset,
            "environment" => Self::Environment,
            "owner" => Self::Owner,
            "classification" => Self::Classification,
            "tier" => Self::Tier,
            other => match other.strip_prefix("label:") {
                Some(label) if !label.is_empty() => Self::Label(label.to_owned()),
                _ => Self::Link(EdgeKind::ALL.into_iter().find(|kind| kind.name() == other)?),
            },
        })
    }
}

/// The whole file in YAML.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    assets: Vec<Spanned<Entry>>,
}

/// One asset in YAML.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Option<Scalar>,
    id: Option<Scalar>,
    #[serde(default)]
    environment: Said,
    #[serde(default)]
    owner: Said,
    #[serde(default)]
    classification: Said,
    #[serde(default)]
    tier: Said,
    #[serde(default)]
    labels: BTreeMap<String, Scalar>,
    #[serde(default)]
    depends_on: Vec<Scalar>,
    #[serde(default)]
    runs_on: Vec<Scalar>,
    #[serde(default)]
    member_of: Vec<Scalar>,
    #[serde(default)]
    used_on: Vec<Scalar>,
}

/// A value that may be left out, which is not the same as saying nothing there.
#[derive(Default)]
enum Said {
    #[default]
    Nothing,
    Something(Scalar),
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Scalar::deserialize(deserializer).map(Self::Something)
    }
}

/// A text as people write it: `ring: 1` is one, too. Nothing is the empty text.
#[derive(Debug, Default)]
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Truth(bool),
            Text(String),
        }
        let written = Option::<Written>::deserialize(deserializer)?;
        Ok(Self(match written {
            None => String::new(),
            Some(Written::Number(number)) => number.to_string(),
            Some(Written::Truth(truth)) => truth.to_string(),
            Some(Written::Text(text)) => text,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: u64, asset: &str) -> Row {
        Row { line, asset: asset.to_owned(), label: LabelAsset::default(), links: Vec::new() }
    }

    #[test]
    fn both_ways_to_write_it_say_the_same() {
        let written = "assets:\n  - name: web-01\n    environment: prod\n    owner: \"\"\n    tier: 2\n    \
                       labels: {ring: 1, old: null}\n    depends_on: [db-01, db-02]\n  - id: asset-1\n    tier:\n";
        let mut web = row(2, "web-01");
        web.label.environment = Some("prod".to_owned());
        web.label.owner = Some(String::new());
        web.label.tier = Some(2);
        web.label.labels = [("ring", "1"), ("old", "")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        web.links = vec![(EdgeKind::DependsOn, "db-01".to_owned()), (EdgeKind::DependsOn, "db-02".to_owned())];
        let mut other = row(8, "asset-1");
        other.label.tier = Some(0);
        assert_eq!(yaml(written).unwrap(), [web.clone(), other.clone()]);
        let table = "asset,environment,owner,tier,label:ring,label:old,depends_on\n\
                     web-01, prod, -, 2, 1, -, db-01; db-02\n\nasset-1,,,-,,,\n";
        assert_eq!(csv(table).unwrap(), [Row { line: 2, ..web }, Row { line: 4, ..other }]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let lines = |faults: Vec<ImportError>| faults.into_iter().map(|one| one.line).collect::<Vec<_>>();
        assert_eq!(lines(yaml("assets:\n  - name: a\n    colour: red\n").unwrap_err()), [3]);
        assert_eq!(lines(yaml("assets:\n  - name: a\n  - owner: b\n  - name: c\n    tier: 9\n").unwrap_err()), [3, 4]);
        assert_eq!(lines(yaml("assets: [\n").unwrap_err()).len(), 1);
        assert_eq!(lines(csv("asset,tier\na,1\nb,x\n,2\n").unwrap_err()), [3, 4]);
        assert_eq!(lines(csv("asset,colour,tier,tier\n").unwrap_err()), [1, 1]);
        assert_eq!(lines(csv("tier\n1\n").unwrap_err()), [1]);
        assert_eq!(lines(csv("asset,tier\na,1,2\n").unwrap_err()), [2]);
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_and_one_that_is_too_large_are_refused() {
        let bomb = "assets:\n  - &a {name: x}\n  - *a\n  - *a\n";
        assert!(yaml(bomb).is_err());
        assert!(yaml(&"#".repeat(LARGEST + 1)).is_err());
        let many = "asset\n".to_owned() + &"x\n".repeat(ROWS + 1);
        assert!(csv(&many).unwrap_err().iter().any(|one| one.message.contains("more than")));
    }
}

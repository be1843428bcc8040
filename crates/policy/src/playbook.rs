//! Playbooks: what to do, in order. Steps with typed parameters, ladders of which the first that applies is taken,
//! and tasks for people, which are verified by the same check as any other step.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::node::{Kind, Node};
use crate::problem::At;
use crate::read::{Defs, Name, Reader, Seconds, Yaml};

/// Steps inside each other.
const MAX_DEPTH: usize = 4;
/// Steps of one playbook, all together.
pub const MAX_STEPS: usize = 64;

/// One step of a playbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// An action of the catalogue.
    Act(Act),
    /// The first of these that applies; the next follows when one is blocked or late.
    FirstOf(Vec<Step>),
    /// A task for a person.
    Human(HumanTask),
}

/// An action with its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Act {
    /// The action's name, `package.upgrade`.
    pub action: String,
    /// Its parameters, by name.
    pub params: BTreeMap<String, Param>,
    /// Where in the file it stands.
    #[serde(skip)]
    pub at: At,
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Param {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A text.
    Text(String),
    /// A list of values.
    List(Vec<Param>),
    /// Filled from the finding when the step is planned: `${item.package}`.
    #[serde(serialize_with = "reference")]
    From(&'static str),
}

fn reference<S: serde::Serializer>(path: &&'static str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("${{{path}}}"))
}

/// A task for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HumanTask {
    /// What it is called.
    pub title: String,
    /// Who does it: a team, or `owner` for the team that owns the asset.
    pub owner: String,
    /// What to do.
    pub instructions: String,
    /// Seconds it may take.
    pub due_seconds: u32,
}

/// A step as it is read from a file.
#[derive(Debug, Clone)]
pub(crate) struct StepDoc(pub(crate) Step);

impl Yaml for StepDoc {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        step(node, reader, 0).map(Self)
    }

    fn schema(defs: &mut Defs) -> Json {
        if !defs.contains_key("Step") {
            let human = json!({
                "type": "object", "required": ["title", "instructions", "due"], "additionalProperties": false,
                "properties": {
                    "title": String::schema(defs), "owner": String::schema(defs), "instructions": String::schema(defs),
                    "due": Seconds::schema(defs),
                },
            });
            let whole = json!({
                "description": "An action with its parameters, a ladder, or a task for a person: a map with one key.",
                "type": "object", "minProperties": 1, "maxProperties": 1,
                "properties": {
                    "first_of": {"type": "array", "items": {"$ref": "#/$defs/Step"}, "minItems": 1,
                        "description": "The first of these that applies."},
                    "human": human,
                },
                "patternProperties": {"^[a-z0-9_]+\\.[a-z0-9_]+$": {"type": ["object", "null"]}},
                "additionalProperties": false,
            });
            defs.insert("Step".to_owned(), whole);
        }
        json!({"$ref": "#/$defs/Step"})
    }
}

/// A step is a map with one key: `first_of`, `human`, or the name of an action.
fn step(node: &Node, reader: &mut Reader<'_>, depth: usize) -> Option<Step> {
    let entries = reader.map(node, "a step")?;
    let [(key, value)] = entries else {
        let remedy = "write one of: `- package.upgrade: {to: fixed}`, `- first_of: [...]`, `- human: {...}`";
        reader.error(node.at, "step", "a step is a map with exactly one key", remedy);
        return None;
    };
    match reader.text(key)? {
        "first_of" if depth >= MAX_DEPTH => {
            reader.error(key.at, "step", format!("ladders nest deeper than {MAX_DEPTH}"), "flatten them");
            None
        }
        "first_of" => {
            let Kind::List(list) = &value.kind else {
                reader.error(value.at, "step", "first_of is a list of steps", "write one step a line");
                return None;
            };
            if list.is_empty() {
                reader.error(value.at, "step", "an empty ladder leads nowhere", "name at least one step");
                return None;
            }
            let steps: Vec<Option<Step>> = list.iter().map(|one| step(one, reader, depth + 1)).collect();
            Some(Step::FirstOf(steps.into_iter().collect::<Option<_>>()?))
        }
        "human" => human(value, reader).map(Step::Human),
        name => act(name.to_owned(), key.at, value, reader).map(Step::Act),
    }
}

/// Whether a text can be the name of an action: two words with a dot.
pub(crate) fn is_action(name: &str) -> bool {
    let word =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    name.len() <= 64 && name.split_once('.').is_some_and(|(of, verb)| word(of) && word(verb))
}

fn act(action: String, at: At, value: &Node, reader: &mut Reader<'_>) -> Option<Act> {
    if !is_action(&action) {
        let shown: String = action.chars().take(64).collect();
        let remedy = "write first_of, human, or an action such as package.upgrade";
        reader.error(at, "step", format!("`{shown}` is neither a ladder nor an action"), remedy);
        return None;
    }
    let mut params = BTreeMap::new();
    if value.kind != Kind::Null {
        let mut whole = true;
        for (key, value) in reader.map(value, "the parameters")? {
            match (reader.text(key).map(str::to_owned), param(value, reader, 0)) {
                (Some(key), Some(value)) => {
                    params.insert(key, value);
                }
                _ => whole = false,
            }
        }
        if !whole {
            return None;
        }
    }
    Some(Act { action, params, at })
}

fn param(node: &Node, reader: &mut Reader<'_>, depth: usize) -> Option<Param> {
    match &node.kind {
        Kind::Bool(value) => Some(Param::Bool(*value)),
        Kind::Int(value) => Some(Param::Int(*value)),
        Kind::List(list) if depth == 0 => {
            let values: Vec<Option<Param>> = list.iter().map(|one| param(one, reader, 1)).collect();
            values.into_iter().collect::<Option<_>>().map(Param::List)
        }
        Kind::Text(_) => {
            let text = reader.text(node)?.to_owned();
            let Some(path) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
                if text.contains("${") {
                    let remedy = "a reference stands alone: ${item.package}";
                    reader.error(node.at, "parameter", "a reference cannot be part of a text", remedy);
                    return None;
                }
                return Some(Param::Text(text));
            };
            let Some((_, fact)) = crate::facts::find(path) else {
                let remedy = crate::facts::meant(path).map_or_else(
                    || "`stanch policy schema --facts` lists what can be asked".to_owned(),
                    |meant| format!("did you mean `{meant}`?"),
                );
                reader.error(node.at, "unknown-path", format!("there is no fact `{path}`"), remedy);
                return None;
            };
            Some(Param::From(fact.path))
        }
        Kind::Null | Kind::Float(_) | Kind::List(_) | Kind::Map(_) => {
            let message = format!("a parameter cannot be {}", node.kind.name());
            reader.error(node.at, "parameter", message, "write true, a whole number, a text or a list of these");
            None
        }
    }
}

fn human(node: &Node, reader: &mut Reader<'_>) -> Option<HumanTask> {
    const WHAT: &str = "a task for a person";
    let entries = reader.map(node, WHAT)?;
    reader.unknown_keys(entries, &["title", "owner", "instructions", "due"], WHAT);
    let title = reader.field::<String>(entries, node.at, "title", WHAT, None);
    let owner = reader.field::<String>(entries, node.at, "owner", WHAT, Some(|| "owner".to_owned()));
    let instructions = reader.field::<String>(entries, node.at, "instructions", WHAT, None);
    let due = reader.field::<Seconds>(entries, node.at, "due", WHAT, None);
    Some(HumanTask { title: title?, owner: owner?, instructions: instructions?, due_seconds: due?.0 })
}

/// What a policy does: nothing stated (the catalogue's own candidate), its own steps, or a playbook of the bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Doing {
    /// What the catalogue offers.
    #[default]
    Catalogue,
    /// These steps.
    Steps(Vec<Step>),
    /// The playbook of this name.
    Playbook(String),
}

/// A playbook of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playbook {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its steps, in order.
    pub steps: Vec<Step>,
}

/// Every action that steps may take, in order.
pub fn acts(steps: &[Step]) -> Vec<&Act> {
    let mut all = Vec::new();
    for step in steps {
        match step {
            Step::Act(act) => all.push(act),
            Step::FirstOf(inner) => all.extend(acts(inner)),
            Step::Human(_) => {}
        }
    }
    all
}

/// The name of a playbook as it is written.
pub(crate) fn named(name: Name) -> Doing {
    Doing::Playbook(name.0)
}

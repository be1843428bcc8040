//! Playbooks as they are written: steps with typed parameters, ladders of which the first that applies is taken, tasks
//! for people, and tests of what follows when some of it cannot be done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value as Json, json};
use stanch_model::asset::AssetKind;
pub use stanch_model::playbook::{
    Act, Doing as Does, HumanTask, On, Param, Playbook, PlaybookTest, Rung, Step, VerifiedBy, acts, rungs,
};

use crate::document::PlaybookTestDoc;
use crate::node::{Kind, Node};
use crate::problem::{At, nearest};
use crate::read::{Defs, Located, Name, Reader, Seconds, Yaml, read_choice};

/// Steps of one playbook, all together.
pub const MAX_STEPS: usize = 64;
/// What may stand beside what a step does.
const BESIDE: [&str; 4] = ["id", "on", "within", "lift_when"];
/// Kinds of asset that a step can be done on, as they are written.
const KINDS: [(&str, AssetKind); 7] = [
    ("host", AssetKind::Host),
    ("container", AssetKind::Container),
    ("image", AssetKind::Image),
    ("cloud_resource", AssetKind::CloudResource),
    ("account", AssetKind::Account),
    ("repository", AssetKind::Repository),
    ("service", AssetKind::Service),
];

/// What a policy does: nothing stated (the catalogue's own candidate), its own steps, or a playbook of the bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Doing {
    /// What the catalogue offers.
    #[default]
    Catalogue,
    /// These steps.
    Steps(Steps),
    /// The playbook of this name.
    Playbook(String),
}

/// Steps and where they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steps {
    /// The steps.
    pub steps: Vec<Step>,
    /// Where each rung stands, by its id.
    pub(crate) places: BTreeMap<String, At>,
}

impl Steps {
    /// Where a rung stands.
    pub(crate) fn place(&self, rung: &str) -> Option<At> {
        self.places.get(rung).copied()
    }
}

/// A playbook as it is written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) steps: Steps,
    pub(crate) file: Arc<str>,
    pub(crate) tests: Vec<(PlaybookTest, At)>,
    pub(crate) at: At,
}

/// A rung as it is read; one without a name is given one when all are known.
#[derive(Debug, Clone)]
struct Draft {
    id: Option<(String, At)>,
    rung: Rung,
    lift_at: At,
    at: At,
}

/// A step as it is read from a file.
#[derive(Debug, Clone)]
pub(crate) struct StepDoc(Vec<Draft>);

impl Yaml for StepDoc {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        step(node, reader, false).map(Self)
    }

    fn schema(defs: &mut Defs) -> Json {
        if !defs.contains_key("Step") {
            let verified = json!({"enum": ["check", "word"],
                "description": "What it takes to believe that it is done: the check that found the problem, or a word."});
            let human = json!({
                "type": "object", "required": ["title", "instructions", "due"], "additionalProperties": false,
                "properties": {
                    "title": String::schema(defs), "owner": String::schema(defs), "instructions": String::schema(defs),
                    "due": Seconds::schema(defs), "verify": verified,
                },
            });
            let kinds: Vec<&str> = KINDS.iter().map(|(word, _)| *word).collect();
            let linked = json!({"type": "object", "required": ["linked"], "additionalProperties": false,
                "properties": {"linked": {"enum": kinds}}});
            let on = json!({"anyOf": [{"const": "asset"}, linked],
                "description": "Where: on the asset that has the problem, or on those of a kind that are linked with it."});
            let whole = json!({
                "description": "An action with its parameters, a ladder, or a task for a person.",
                "type": "object", "minProperties": 1,
                "properties": {
                    "first_of": {"type": "array", "items": {"$ref": "#/$defs/Step"}, "minItems": 1,
                        "description": "The first of these that applies; the next follows when one is blocked or late."},
                    "human": human,
                    "id": Name::schema(defs),
                    "on": on,
                    "within": Seconds::schema(defs),
                    "lift_when": Name::schema(defs),
                },
                "patternProperties": {"^[a-z0-9_]+\\.[a-z0-9_]+$": {"type": ["object", "null"]}},
                "additionalProperties": false,
            });
            defs.insert("Step".to_owned(), whole);
        }
        json!({"$ref": "#/$defs/Step"})
    }
}

/// A step does one thing: `first_of`, `human`, or an action by its name; beside that it may have a name, a place, a
/// time within which it is done, and what ends it.
fn step(node: &Node, reader: &mut Reader<'_>, inside: bool) -> Option<Vec<Draft>> {
    let entries = reader.map(node, "a step")?;
    let mut does = entries.iter().filter(|(key, _)| key.text().is_none_or(|key| !BESIDE.contains(&key)));
    let (Some((key, value)), None) = (does.next(), does.next()) else {
        let remedy = "write one of: `- package.upgrade: {to: fixed}`, `- first_of: [...]`, `- human: {...}`";
        reader.error(node.at, "step", "a step does exactly one thing", remedy);
        return None;
    };
    let id = beside::<Located<Name>>(entries, "id", reader)?;
    let within = beside::<Located<Seconds>>(entries, "within", reader)?;
    let lift = beside::<Located<Name>>(entries, "lift_when", reader)?;
    let on_node = entries.iter().find(|(key, _)| key.text() == Some("on")).map(|(_, node)| node);
    let on = match on_node {
        Some(node) => on(node, reader)?,
        None => On::Asset,
    };
    let lone = [id.as_ref().map(|id| id.at), within.as_ref().map(|w| w.at), lift.as_ref().map(|l| l.at)];
    let lone = lone.into_iter().chain([on_node.map(|node| node.at)]).flatten().next();
    let draft = |doing| Draft {
        id: id.as_ref().map(|id| (id.value.0.clone(), id.at)),
        rung: Rung {
            id: String::new(),
            doing,
            on,
            within_seconds: within.as_ref().map(|within| within.value.0),
            lift_when: lift.as_ref().map(|lift| lift.value.0.clone()),
        },
        lift_at: lift.as_ref().map_or(node.at, |lift| lift.at),
        at: key.at,
    };
    match reader.text(key)? {
        "first_of" if inside => {
            reader.error(key.at, "step", "a ladder stands in a ladder", "write their steps in one list, in order");
            None
        }
        "first_of" => {
            if let Some(at) = lone {
                let remedy = "write it at the steps of the ladder";
                reader.error(at, "step", "a ladder has neither a name nor a place of its own", remedy);
                return None;
            }
            let Kind::List(list) = &value.kind else {
                reader.error(value.at, "step", "first_of is a list of steps", "write one step a line");
                return None;
            };
            if list.is_empty() {
                reader.error(value.at, "step", "an empty ladder leads nowhere", "name at least one step");
                return None;
            }
            let steps: Vec<Option<Vec<Draft>>> = list.iter().map(|one| step(one, reader, true)).collect();
            Some(steps.into_iter().collect::<Option<Vec<_>>>()?.concat())
        }
        "human" => {
            if let Some(at) = within.as_ref().map(|w| w.at).or(lift.as_ref().map(|l| l.at)) {
                let remedy = "a task says when it is `due`, and whoever did it takes it back";
                reader.error(at, "step", "a person's task has neither `within` nor `lift_when`", remedy);
                return None;
            }
            human(value, reader).map(|task| vec![draft(Does::Human(task))])
        }
        name => act(name.to_owned(), key.at, value, reader).map(|act| vec![draft(Does::Act(act))]),
    }
}

/// What stands beside what a step does: absent, read, or (as `None` outside) wrong.
fn beside<T: Yaml>(entries: &[(Node, Node)], key: &str, reader: &mut Reader<'_>) -> Option<Option<T>> {
    match entries.iter().find(|(name, _)| name.text() == Some(key)) {
        Some((_, node)) => T::read(node, reader).map(Some),
        None => Some(None),
    }
}

fn on(node: &Node, reader: &mut Reader<'_>) -> Option<On> {
    if node.text() == Some("asset") {
        return Some(On::Asset);
    }
    let kind = node.get("linked").and_then(|kind| read_choice(kind, reader, &KINDS));
    match (&node.kind, kind) {
        (Kind::Map(entries), Some(kind)) if entries.len() == 1 => Some(On::Linked(kind)),
        (Kind::Map(entries), None) if entries.iter().any(|(key, _)| key.text() == Some("linked")) => None,
        _ => {
            let remedy = "write `on: asset`, or `on: {linked: account}`";
            reader.error(node.at, "step", "this says not where the step is done", remedy);
            None
        }
    }
}

/// All steps of a playbook: gives names to those without, and holds names together.
pub(crate) fn steps(docs: Vec<StepDoc>, at: At, reader: &mut Reader<'_>) -> Option<Steps> {
    let count: usize = docs.iter().map(|doc| doc.0.len()).sum();
    if count == 0 || count > MAX_STEPS {
        let message = format!("a playbook has 1 to {MAX_STEPS} steps, those of its ladders counted");
        reader.error(at, "playbook-size", message, "split it, or leave it out");
        return None;
    }
    let mut sound = true;
    let mut names: BTreeSet<String> = BTreeSet::new();
    for draft in docs.iter().flat_map(|doc| &doc.0) {
        let Some((id, at)) = &draft.id else { continue };
        if !names.insert(id.clone()) {
            reader.error(*at, "name-twice", format!("two steps are called `{id}`"), "give each its own name");
            sound = false;
        }
    }
    let mut done = Steps::default();
    let mut lifts: Vec<(String, String, At)> = Vec::new();
    for doc in docs {
        let mut step = Step { rungs: Vec::new() };
        for draft in doc.0 {
            let id = match draft.id {
                Some((id, _)) => id,
                None => free(&draft.rung.doing, &mut names),
            };
            lifts.extend(draft.rung.lift_when.clone().map(|wanted| (id.clone(), wanted, draft.lift_at)));
            done.places.insert(id.clone(), draft.at);
            step.rungs.push(Rung { id, ..draft.rung });
        }
        done.steps.push(step);
    }
    for (id, wanted, at) in lifts {
        if wanted == id || !done.places.contains_key(&wanted) {
            let known = done.places.keys().map(String::as_str).filter(|known| *known != id);
            let remedy = nearest(&wanted, known).map_or_else(
                || "write the `id` of the step whose success ends this one".to_owned(),
                |meant| format!("did you mean `{meant}`?"),
            );
            reader.error(at, "unknown-name", format!("no other step is called `{wanted}`"), remedy);
            sound = false;
        }
    }
    sound.then_some(done)
}

/// A name for a step without one, after what it does.
fn free(doing: &Does, names: &mut BTreeSet<String>) -> String {
    let stem = match doing {
        Does::Act(act) => act.action.replace(['.', '_'], "-"),
        Does::Human(_) => "human".to_owned(),
    };
    let mut name = stem.clone();
    let mut number = 1;
    while !names.insert(name.clone()) {
        number += 1;
        name = format!("{stem}-{number}");
    }
    name
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
        let remedy = match nearest(&shown, BESIDE) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "write first_of, human, or an action such as package.upgrade".to_owned(),
        };
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
    Some(Act { action, params })
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
            Some(Param::From(fact.path.to_owned()))
        }
        Kind::Null | Kind::Float(_) | Kind::List(_) | Kind::Map(_) => {
            let message = format!("a parameter cannot be {}", node.kind.name());
            reader.error(node.at, "parameter", message, "write true, a whole number, a text or a list of these");
            None
        }
    }
}

/// What it takes to believe a person, as it is written.
#[derive(Debug, Clone, Copy)]
struct Verify(VerifiedBy);

impl Yaml for Verify {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        read_choice(node, reader, &[("check", VerifiedBy::Check), ("word", VerifiedBy::Word)]).map(Self)
    }

    fn schema(_: &mut Defs) -> Json {
        json!({"enum": ["check", "word"]})
    }
}

fn human(node: &Node, reader: &mut Reader<'_>) -> Option<HumanTask> {
    const WHAT: &str = "a task for a person";
    let entries = reader.map(node, WHAT)?;
    reader.unknown_keys(entries, &["title", "owner", "instructions", "due", "verify"], WHAT);
    let title = reader.field::<String>(entries, node.at, "title", WHAT, None);
    let owner = reader.field::<String>(entries, node.at, "owner", WHAT, Some(|| "owner".to_owned()));
    let instructions = reader.field::<String>(entries, node.at, "instructions", WHAT, None);
    let due = reader.field::<Seconds>(entries, node.at, "due", WHAT, None);
    let verify = reader.field::<Verify>(entries, node.at, "verify", WHAT, Some(|| Verify(VerifiedBy::Check)));
    Some(HumanTask {
        title: title?,
        owner: owner?,
        instructions: instructions?,
        due_seconds: due?.0,
        verified_by: verify?.0,
    })
}

/// A test of a playbook, from how it is written.
pub(crate) fn test(doc: &Located<PlaybookTestDoc>, number: usize) -> (PlaybookTest, At) {
    let names = |list: &[Name]| list.iter().map(|name| name.0.clone()).collect();
    let given = &doc.value;
    let test = PlaybookTest {
        name: given.name.clone().unwrap_or_else(|| format!("test {}", number + 1)),
        blocked: names(&given.blocked),
        failed: names(&given.failed),
        late: names(&given.late),
        refused: names(&given.refused),
        begins: given.expect.begins.iter().map(|name| name.0.clone()).collect(),
        lifts: given.expect.lifts.as_ref().map(|list| list.iter().map(|name| name.0.clone()).collect()),
        done: given.expect.done,
    };
    (test, doc.at)
}

/// The name of a playbook as it is written.
pub(crate) fn named(name: Name) -> Doing {
    Doing::Playbook(name.0)
}

//! Playbooks: what to do about a problem, in order. A step is one thing to do, or a ladder of several of which the
//! first that applies is taken; what is to be done is an action of the catalogue or a task for a person.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::asset::AssetKind;

/// A playbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Playbook {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its steps, in order.
    pub steps: Vec<Step>,
}

/// One step: a ladder of at least one rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its rungs: the first that applies is taken, and the next follows when one is blocked or late.
    pub rungs: Vec<Rung>,
}

/// One way to do a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Its name, once in a playbook.
    pub id: String,
    /// What is done.
    pub doing: Doing,
    /// Where.
    pub on: On,
    /// Seconds after which it counts as late, so that the next rung follows; it goes on all the same.
    pub within_seconds: Option<u32>,
    /// It is taken back when the rung of this name is verified, or the problem is gone by its own check.
    pub lift_when: Option<String>,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    /// An action of the catalogue.
    Act(Act),
    /// A task for a person.
    Human(HumanTask),
}

/// An action with its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// The action's name, `package.upgrade`.
    pub action: String,
    /// Its parameters, by name.
    pub params: BTreeMap<String, Param>,
}

/// Where a rung is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// On the asset that has the problem.
    #[default]
    Asset,
    /// On the assets of this kind that an edge leads to or from.
    Linked(AssetKind),
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Param {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A text.
    Text(String),
    /// A list of values.
    List(Vec<Param>),
    /// Filled from the facts of the problem when the step is planned: `${item.package}`.
    From(String),
}

/// A value that no parameter has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a parameter is true or false, a whole number, a text or a list of these")]
pub struct NotAParam;

impl From<Param> for Value {
    fn from(param: Param) -> Self {
        match param {
            Param::Bool(value) => value.into(),
            Param::Int(value) => value.into(),
            Param::Text(text) => text.into(),
            Param::List(list) => list.into_iter().map(Self::from).collect(),
            Param::From(path) => format!("${{{path}}}").into(),
        }
    }
}

impl TryFrom<Value> for Param {
    type Error = NotAParam;

    fn try_from(value: Value) -> Result<Self, NotAParam> {
        Ok(match value {
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => Self::Int(number.as_i64().ok_or(NotAParam)?),
            // A text with `${` in it is no text: the language refuses it.
            Value::String(text) => match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
                Some(path) => Self::From(path.to_owned()),
                None => Self::Text(text),
            },
            Value::Array(list) => Self::List(list.into_iter().map(Self::try_from).collect::<Result<_, _>>()?),
            Value::Null | Value::Object(_) => return Err(NotAParam),
        })
    }
}

/// A task for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HumanTask {
    /// What it is called.
    pub title: String,
    /// Who does it: a team, or `owner` for whoever owns the asset.
    pub owner: String,
    /// What to do.
    pub instructions: String,
    /// Seconds it may take.
    pub due_seconds: u32,
    /// What it takes to believe that it is done.
    pub verified_by: VerifiedBy,
}

/// What it takes to believe that a person's task is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifiedBy {
    /// The check that found the problem does not see it any more, on facts newer than the word.
    #[default]
    Check,
    /// The person's word: for what no check can see, such as a call.
    Word,
}

/// A test of a playbook: what is taken when some of it cannot be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaybookTest {
    /// Its name.
    pub name: String,
    /// Rungs that cannot be done.
    pub blocked: BTreeSet<String>,
    /// Rungs that are begun, go wrong and are taken back.
    pub failed: BTreeSet<String>,
    /// Rungs that are late, and done at the very end.
    pub late: BTreeSet<String>,
    /// Rungs to which a person says no.
    pub refused: BTreeSet<String>,
    /// The rungs that are begun, in this order.
    pub begins: Vec<String>,
    /// The rungs that are taken back because what they wait for is verified; not asked about when absent.
    pub lifts: Option<Vec<String>>,
    /// Whether everything is done at the end; not asked about when absent.
    pub done: Option<bool>,
}

/// What an action takes as a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParamRule {
    /// Its name.
    pub name: &'static str,
    /// It must be there.
    pub required: bool,
    /// What its value is.
    pub kind: ParamKind,
}

/// What the value of a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// True or false.
    Bool,
    /// A whole number in these bounds.
    Int(i64, i64),
    /// Any text.
    Text,
    /// A list of texts.
    Texts,
    /// A span of time such as `4h`.
    Span,
    /// One of these words.
    Word(&'static [&'static str]),
}

impl ParamKind {
    /// What it is, for people.
    pub fn words(self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Int(low, high) => format!("a whole number from {low} to {high}"),
            Self::Text => "a text".to_owned(),
            Self::Texts => "a list of texts".to_owned(),
            Self::Span => "a span of time such as 4h".to_owned(),
            Self::Word(words) => format!("one of: {}", words.join(", ")),
        }
    }

    /// Whether a value that stands in a playbook is one of these. What is filled in later is judged then.
    pub fn takes(self, param: &Param) -> bool {
        match (self, param) {
            (_, Param::From(_)) | (Self::Bool, Param::Bool(_)) | (Self::Text, Param::Text(_)) => true,
            (Self::Int(low, high), Param::Int(value)) => (low..=high).contains(value),
            (Self::Texts, Param::List(list)) => list.iter().all(|one| matches!(one, Param::Text(_) | Param::From(_))),
            (Self::Span, Param::Text(text)) => is_span(text),
            (Self::Word(words), Param::Text(text)) => words.contains(&text.as_str()),
            _ => false,
        }
    }
}

/// Whether a text is numbers with units, such as `1d12h`.
fn is_span(text: &str) -> bool {
    let mut digits = 0;
    for c in text.chars() {
        match c {
            '0'..='9' if digits < 9 => digits += 1,
            's' | 'm' | 'h' | 'd' | 'w' if digits > 0 => digits = 0,
            _ => return false,
        }
    }
    !text.is_empty() && digits == 0
}

/// An action of the catalogue, as playbooks see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownAction {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub params: &'static [ParamRule],
}

/// Every rung, in order.
pub fn rungs(steps: &[Step]) -> impl Iterator<Item = &Rung> {
    steps.iter().flat_map(|step| &step.rungs)
}

/// Every action that rungs may take, in order.
pub fn acts(steps: &[Step]) -> impl Iterator<Item = (&Rung, &Act)> {
    rungs(steps).filter_map(|rung| match &rung.doing {
        Doing::Act(act) => Some((rung, act)),
        Doing::Human(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_takes_what_it_says() {
        let text = |text: &str| Param::Text(text.to_owned());
        assert!(ParamKind::Span.takes(&text("4h")) && ParamKind::Span.takes(&text("1d12h")));
        assert!(!ParamKind::Span.takes(&text("")) && !ParamKind::Span.takes(&text("4")));
        assert!(!ParamKind::Span.takes(&text("h4")) && !ParamKind::Span.takes(&Param::Int(4)));
        assert!(ParamKind::Word(&["fixed"]).takes(&text("fixed")) && !ParamKind::Word(&["fixed"]).takes(&text("x")));
        assert!(ParamKind::Int(1, 3).takes(&Param::Int(3)) && !ParamKind::Int(1, 3).takes(&Param::Int(4)));
        assert!(ParamKind::Texts.takes(&Param::List(vec![text("a"), Param::From("item.package".to_owned())])));
        assert!(!ParamKind::Texts.takes(&text("a")) && ParamKind::Bool.takes(&Param::From("item.kev".to_owned())));
    }

    #[test]
    fn parameters_read_as_they_are_written() {
        let param = Param::List(vec![
            Param::Bool(true),
            Param::Int(-7),
            Param::Text("fixed".to_owned()),
            Param::From("item.package".to_owned()),
        ]);
        let text = serde_json::to_string(&param).unwrap();
        assert_eq!(text, r#"[true,-7,"fixed","${item.package}"]"#);
        assert_eq!(serde_json::from_str::<Param>(&text).unwrap(), param);
        assert!(serde_json::from_str::<Param>("1.5").is_err());
        assert!(serde_json::from_str::<Param>("null").is_err());
    }
}

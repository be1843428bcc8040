//! The fence around conditions. CEL itself has no budget, no types and no idea of which names exist, so every
//! condition is bounded, walked and typed here before it may run, and whatever goes wrong while it runs is told as
//! "cannot be decided", never as a yes.

mod mutate;
mod strict;
mod types;
mod walk;

use std::sync::{Arc, LazyLock};

use cel::objects::{Key, Map};
use cel::parser::Expression;
use cel::{Context, Env};

use crate::facts::{DECIMAL, Facts, SCHEMA, Value};
use crate::firing::Literals;

use walk::{Limits, Walked};

pub(crate) use walk::names;

/// Bytes of one condition.
pub const MAX_SOURCE: usize = 2 * 1024;
/// Stack for the parser: it recurses, and a debug build needs much more than a thread has.
const PARSER_STACK: usize = 32 * 1024 * 1024;

/// The one environment of the process: the standard functions without anything of ours.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// Something that is wrong with a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) remedy: String,
    /// The piece of the source it is about, where there is one.
    pub(crate) piece: String,
}

/// A condition that may run.
#[derive(Debug, Clone)]
pub struct Condition {
    source: String,
    expression: Expression,
    /// The same with every `has()` made an error where it finds nothing; only where there is one.
    strict: Option<Expression>,
    walked: Walked,
}

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
    /// It cannot be decided, and why: a missing input or an error.
    Unknown {
        /// The fact that is missing, if that is why.
        missing: Option<&'static str>,
        why: String,
    },
}

impl Condition {
    /// Reads, bounds and types a condition. `required` are the paths whose absence is caught before it runs.
    pub(crate) fn compile(source: &str, required: &[usize]) -> Result<Self, Vec<Flaw>> {
        let flaw = |code, message: String, remedy: &str| {
            vec![Flaw { code, message, remedy: remedy.to_owned(), piece: String::new() }]
        };
        if source.len() > MAX_SOURCE {
            let message = format!("the condition has {} bytes; at most {MAX_SOURCE} are read", source.len());
            let remedy = "split it into several rules, or put what repeats into `match`";
            return Err(flaw("condition-size", message, remedy));
        }
        if source.contains(['@', '`', '\0']) {
            let message = "the condition holds a character that no condition needs".to_owned();
            return Err(flaw("condition-syntax", message, "leave out @, ` and control characters"));
        }
        let expression = parse(source)?;
        let walked = walk::walk(&expression, required, Limits::default())?;
        Ok(Self::walked(source.to_owned(), expression, walked))
    }

    fn walked(source: String, expression: Expression, walked: Walked) -> Self {
        let strict = (!walked.tested.is_empty()).then(|| strict::strict(&expression));
        Self { source, expression, strict, walked }
    }

    /// The source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Facts it asks for, by their place in the table.
    pub(crate) fn paths(&self) -> &[usize] {
        &self.walked.paths
    }

    /// Nullable facts whose absence `||` or `!` could hide, with that operator.
    pub(crate) fn hidden(&self) -> &[(usize, &'static str)] {
        &self.walked.hidden
    }

    /// A fact whose absence can make it true.
    pub(crate) const fn asks_absence(&self) -> Option<usize> {
        self.walked.asks_absence
    }

    /// Whether any fact stands in it.
    pub(crate) const fn is_constant(&self) -> bool {
        self.walked.paths.is_empty()
    }

    /// What is written in it.
    pub(crate) fn literals(&self) -> Literals {
        strict::literals(&self.expression)
    }

    /// The same condition with one number or comparison changed, and what was changed.
    pub(crate) fn mutants(&self) -> Vec<(String, Self)> {
        let made = mutate::mutants(&self.expression).into_iter();
        made.map(|(told, expression)| (told, Self::walked(self.source.clone(), expression, self.walked.clone())))
            .collect()
    }

    /// What it says of these inputs.
    ///
    /// A condition that uses `has()` needs everything else it asks for, so that a guard for one fact cannot hide that
    /// another is missing. With `careful`, a no that rests on `has()` having found nothing is no answer: a rule that
    /// holds others back may not vanish because nobody knows.
    pub(crate) fn answer(&self, inputs: &Inputs<'_>, careful: bool) -> Answer {
        let absent = |indices: &[usize]| indices.iter().copied().find(|index| inputs.facts.at(*index).is_none());
        if !self.walked.tested.is_empty()
            && let Some(missing) = absent(&self.walked.unguarded)
        {
            return unknown(missing);
        }
        match run(&self.expression, inputs) {
            Some(true) => Answer::Yes,
            Some(false) => match (careful, &self.strict, absent(&self.walked.tested)) {
                (true, Some(strict), Some(missing)) if run(strict, inputs).is_none() => unknown(missing),
                _ => Answer::No,
            },
            None => match absent(&self.walked.paths) {
                Some(missing) => unknown(missing),
                None => Answer::Unknown { missing: None, why: "the condition could not be evaluated".to_owned() },
            },
        }
    }
}

/// Yes, no, or nothing when it fails.
fn run(expression: &Expression, inputs: &Inputs<'_>) -> Option<bool> {
    match cel::Value::resolve(expression, &inputs.context) {
        Ok(cel::Value::Bool(value)) => Some(value),
        _ => None,
    }
}

fn unknown(index: usize) -> Answer {
    let path = SCHEMA.get(index).map(|fact| fact.path);
    Answer::Unknown { missing: path, why: format!("`{}` is not known", path.unwrap_or("a fact")) }
}

/// Parses on a thread with a stack that is large enough for any source that the bounds let through.
fn parse(source: &str) -> Result<Expression, Vec<Flaw>> {
    let wrong = |message: String| {
        let remedy = "see the examples in docs/policy.md; conditions are CEL".to_owned();
        vec![Flaw { code: "condition-syntax", message, remedy, piece: String::new() }]
    };
    let outcome = std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("condition".to_owned())
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, || ENV.compile(source).map(|program| program.expression().clone()))
            .map(|thread| thread.join())
    });
    match outcome {
        Ok(Ok(Ok(expression))) => Ok(expression),
        Ok(Ok(Err(errors))) => {
            let text = errors.to_string();
            let first: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
            Err(wrong(format!("the condition cannot be read: {}", first.trim_start_matches("ERROR: "))))
        }
        Ok(Err(_)) => Err(wrong("the condition cannot be read".to_owned())),
        Err(_) => Err(wrong("the condition cannot be read now: no thread could be started".to_owned())),
    }
}

/// The facts in the form that conditions read; made once for all rules of a decision.
pub(crate) struct Inputs<'f> {
    facts: &'f Facts,
    context: Context<'static, 'static>,
}

impl<'f> Inputs<'f> {
    pub(crate) fn new(facts: &'f Facts) -> Self {
        let mut context = Context::with_env(Arc::clone(&ENV));
        for root in ["item", "asset", "action"] {
            let fields = facts.known().filter_map(|(fact, value)| {
                let (of, field) = fact.path.split_once('.')?;
                (of == root).then(|| (Key::from(field), cel_value(value)))
            });
            let map = Map { map: Arc::new(fields.collect()) };
            context.add_variable_from_value(root, cel::Value::Map(map));
        }
        Self { facts, context }
    }

    pub(crate) const fn facts(&self) -> &Facts {
        self.facts
    }
}

fn cel_value(value: &Value) -> cel::Value {
    match value {
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Int(value) => cel::Value::Int(*value),
        #[allow(clippy::cast_precision_loss)]
        Value::Decimal(value) => cel::Value::Float(*value as f64 / DECIMAL as f64),
        Value::Text(text) => cel::Value::from(text.as_str()),
        Value::Texts(texts) => {
            cel::Value::List(Arc::new(texts.iter().map(|text| cel::Value::from(text.as_str())).collect()))
        }
        Value::Labels(labels) => {
            let entries = labels.iter().map(|(name, text)| (Key::from(name.as_str()), cel::Value::from(text.as_str())));
            cel::Value::Map(Map { map: Arc::new(entries.collect()) })
        }
    }
}

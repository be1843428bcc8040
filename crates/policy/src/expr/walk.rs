//! One walk over a parsed condition: bounds, names, types, and what could hide a missing fact.

use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators as op};

use super::Flaw;
use super::types::{Type, literal_number, literal_text};
use crate::facts::{self, DECIMAL, Fact, FactType, SCHEMA, Value};
use crate::problem::nearest;

/// What a condition may contain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// `exists` inside `exists`: each level multiplies the work.
    pub(crate) comprehensions: usize,
    /// Entries of lists written in the condition, all together.
    pub(crate) list_entries: usize,
    /// Expressions inside each other.
    pub(crate) depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { comprehensions: 2, list_entries: 1_000, depth: 48 }
    }
}

/// What the walk learned.
#[derive(Debug, Clone, Default)]
pub(crate) struct Walked {
    /// Facts asked for, by their place in the table, in its order.
    pub(crate) paths: Vec<usize>,
    /// Facts asked for without `has()` around them.
    pub(crate) unguarded: Vec<usize>,
    /// Facts tested with `has()`.
    pub(crate) tested: Vec<usize>,
    /// Nullable facts under `||` or `!` that are neither required nor guarded, with that operator.
    pub(crate) hidden: Vec<(usize, &'static str)>,
    /// A fact whose absence can make the condition true.
    pub(crate) asks_absence: Option<usize>,
}

/// Walks a condition.
pub(crate) fn walk(expr: &IdedExpr, required: &[usize], limits: Limits) -> Result<Walked, Vec<Flaw>> {
    let mut walker = Walker { limits, required, flaws: Vec::new(), list_entries: 0, seen: Seen::default() };
    let kind = walker.visit(expr, &Scope::default());
    if walker.flaws.is_empty() && kind.is_some_and(|kind| kind != Type::Bool) {
        let found = kind.map_or("nothing", Type::name);
        walker.flaw(
            "condition-type",
            format!("the condition is {found}, not true or false"),
            "compare it with something",
            "",
        );
    }
    if !walker.flaws.is_empty() {
        return Err(walker.flaws);
    }
    let Seen { paths, unguarded, tested, hidden, asks_absence } = walker.seen;
    let list = |set: BTreeSet<usize>| set.into_iter().collect();
    Ok(Walked {
        paths: list(paths),
        unguarded: list(unguarded),
        tested: list(tested),
        hidden: hidden.into_iter().collect(),
        asks_absence,
    })
}

#[derive(Debug, Default)]
struct Seen {
    paths: BTreeSet<usize>,
    unguarded: BTreeSet<usize>,
    tested: BTreeSet<usize>,
    hidden: BTreeSet<(usize, &'static str)>,
    asks_absence: Option<usize>,
}

/// Where in a condition the walk is.
#[derive(Debug, Clone, Default)]
struct Scope {
    depth: usize,
    comprehensions: usize,
    /// Names bound by `exists` and `all`.
    bound: Vec<(String, Type)>,
    /// Facts and labels whose presence is certain here.
    guarded: BTreeSet<String>,
    /// The operator above that could hide a missing fact.
    under: Option<&'static str>,
    /// A yes here makes the whole more of a no.
    negated: bool,
}

impl Scope {
    fn deeper(&self) -> Self {
        Self { depth: self.depth + 1, ..self.clone() }
    }
}

struct Walker<'a> {
    limits: Limits,
    required: &'a [usize],
    flaws: Vec<Flaw>,
    list_entries: usize,
    seen: Seen,
}

impl Walker<'_> {
    fn flaw(&mut self, code: &'static str, message: impl Into<String>, remedy: impl Into<String>, piece: &str) {
        if self.flaws.len() < 20 {
            let (message, remedy, piece) = (message.into(), remedy.into(), piece.to_owned());
            self.flaws.push(Flaw { code, message, remedy, piece });
        }
    }

    /// The type of an expression; nothing when a flaw was told.
    fn visit(&mut self, expr: &IdedExpr, scope: &Scope) -> Option<Type> {
        if scope.depth > self.limits.depth {
            let message = format!("the condition is nested deeper than {}", self.limits.depth);
            self.flaw("condition-depth", message, "split it into several rules", "");
            return None;
        }
        match &expr.expr {
            Expr::Literal(literal) => self.literal(literal),
            Expr::Ident(name) => self.name(name, scope),
            Expr::Select(select) => self.select(expr, select, scope),
            Expr::List(list) => {
                self.list_entries += list.elements.len();
                if self.list_entries > self.limits.list_entries {
                    let message = format!("lists in the condition hold more than {} entries", self.limits.list_entries);
                    self.flaw("condition-list", message, "select by a label instead of listing", "");
                    return None;
                }
                self.list(&list.elements)
            }
            Expr::Call(call) => self.call(call, scope),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, scope),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                self.flaw(
                    "condition-syntax",
                    "maps and messages cannot be written in a condition",
                    "compare single facts",
                    "{",
                );
                None
            }
        }
    }

    fn literal(&mut self, literal: &LiteralValue) -> Option<Type> {
        match literal {
            LiteralValue::Boolean(_) => Some(Type::Bool),
            LiteralValue::Int(_) => Some(Type::Int),
            LiteralValue::Double(_) => Some(Type::Double),
            LiteralValue::String(_) => Some(Type::Text),
            LiteralValue::Null => {
                let remedy = "use has(item.epss) to ask whether a fact is known";
                self.flaw("condition-type", "`null` is no value here", remedy, "null");
                None
            }
            LiteralValue::Bytes(_) | LiteralValue::UInt(_) => {
                self.flaw(
                    "condition-type",
                    "bytes and unsigned numbers are no values here",
                    "write a text or a plain number",
                    "",
                );
                None
            }
        }
    }

    fn list(&mut self, elements: &[IdedExpr]) -> Option<Type> {
        let numbers = elements.iter().all(|one| literal_number(one).is_some());
        let texts = elements.iter().all(|one| literal_text(one).is_some());
        match (elements.is_empty(), texts, numbers) {
            (true, ..) => {
                self.flaw("condition-list", "an empty list holds nothing", "name at least one entry", "[]");
                None
            }
            (_, true, _) => Some(Type::Texts),
            (_, _, true) => Some(Type::Numbers),
            _ => {
                self.flaw(
                    "condition-list",
                    "a list may hold only texts, or only numbers",
                    "write literals of one kind",
                    "[",
                );
                None
            }
        }
    }

    fn name(&mut self, name: &str, scope: &Scope) -> Option<Type> {
        if let Some((_, kind)) = scope.bound.iter().rev().find(|(bound, _)| bound == name) {
            return Some(*kind);
        }
        let remedy = match name {
            "item" | "asset" | "action" => format!("ask for one of its facts, such as `{name}.kind`"),
            "now" => "time is not a condition: use `windows`, `freezes` or item.due_days".to_owned(),
            _ => "facts are called item.*, asset.* and action.*; texts stand in quotes".to_owned(),
        };
        self.flaw("unknown-path", format!("`{name}` is not known here"), remedy, name);
        None
    }

    fn select(&mut self, expr: &IdedExpr, select: &SelectExpr, scope: &Scope) -> Option<Type> {
        let Some(path) = path_of(expr) else {
            self.flaw(
                "unknown-path",
                format!("`.{}` follows something that has no fields", select.field),
                "ask for a fact by its path",
                &select.field,
            );
            return None;
        };
        if let Some(label) = path.strip_prefix("asset.labels.") {
            return self.label(label, &path, select.test, scope);
        }
        let Some((index, fact)) = facts::find(&path) else {
            let remedy = facts::meant(&path).map_or_else(
                || "`stanch policy schema --facts` lists what can be asked".to_owned(),
                |meant| format!("did you mean `{meant}`?"),
            );
            self.flaw("unknown-path", format!("there is no fact `{path}`"), remedy, &path);
            return None;
        };
        self.seen.paths.insert(index);
        if select.test {
            self.seen.tested.insert(index);
            if scope.negated {
                self.seen.asks_absence.get_or_insert(index);
            }
            return Some(Type::Bool);
        }
        self.used(index, fact, scope);
        Some(Type::of(fact.kind))
    }

    /// A fact's value is used: remembers what its absence could do.
    fn used(&mut self, index: usize, fact: &Fact, scope: &Scope) {
        if scope.guarded.contains(fact.path) {
            return;
        }
        self.seen.unguarded.insert(index);
        if let Some(operator) = scope.under
            && fact.nullable
            && !self.required.contains(&index)
        {
            self.seen.hidden.insert((index, operator));
        }
    }

    fn label(&mut self, label: &str, path: &str, test: bool, scope: &Scope) -> Option<Type> {
        if label.contains('.') {
            self.flaw("unknown-path", format!("`{path}` goes deeper than labels do"), "labels are texts", path);
            return None;
        }
        if let Some((index, _)) = facts::find("asset.labels") {
            self.seen.paths.insert(index);
            self.seen.unguarded.insert(index);
        }
        if test {
            return Some(Type::Bool);
        }
        if !scope.guarded.contains(path) {
            let remedy = format!("write has({path}) && {path} == ...");
            self.flaw("label-unguarded", format!("not every asset has the label `{label}`"), remedy, path);
            return None;
        }
        Some(Type::Text)
    }

    fn call(&mut self, call: &CallExpr, scope: &Scope) -> Option<Type> {
        let args: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        match (call.func_name.as_str(), args.as_slice()) {
            (op::LOGICAL_AND, [_, _]) => self.chain(call, op::LOGICAL_AND, scope),
            (op::LOGICAL_OR, [_, _]) => self.chain(call, op::LOGICAL_OR, scope),
            (op::LOGICAL_NOT, [inner]) => {
                let under = Some("!");
                let inside = Scope { negated: !scope.negated, under, ..scope.deeper() };
                self.expect(inner, Type::Bool, &inside)
            }
            (op::EQUALS | op::NOT_EQUALS, [left, right]) => self.equal(left, right, scope),
            (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [left, right]) => {
                self.order(left, right, scope)
            }
            (op::IN, [left, right]) => self.contained(left, right, scope),
            (op::NEGATE, [inner]) if literal_number(inner).is_some() => self.visit(inner, &scope.deeper()),
            ("size", [inner]) => {
                let kind = self.visit(inner, &scope.deeper())?;
                if kind.is_number() || kind == Type::Bool {
                    self.flaw(
                        "condition-type",
                        format!("{} has no size", kind.name()),
                        "size() counts lists, labels and texts",
                        "size",
                    );
                    return None;
                }
                Some(Type::Int)
            }
            (name @ ("contains" | "startsWith" | "endsWith"), [of, what]) if call.target.is_some() => {
                let (of, what) = (self.visit(of, &scope.deeper())?, self.visit(what, &scope.deeper())?);
                if of.is_text() && what.is_text() {
                    return Some(Type::Bool);
                }
                self.flaw(
                    "condition-type",
                    format!("{name} asks a text for a text"),
                    "for lists write \"x\" in the.list",
                    name,
                );
                None
            }
            (op::CONDITIONAL, _) => {
                self.flaw("condition-function", "`? :` is not allowed", "write two rules, or && and ||", "?");
                None
            }
            (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO | op::NEGATE, _) => {
                self.flaw(
                    "condition-function",
                    "a condition does not calculate",
                    "compare facts with plain numbers",
                    "",
                );
                None
            }
            (op::INDEX | op::OPT_INDEX | op::OPT_SELECT, _) => {
                self.flaw(
                    "condition-function",
                    "a condition does not index",
                    "write asset.labels.NAME, or \"x\" in the.list",
                    "[",
                );
                None
            }
            (name, _) => {
                const KNOWN: [&str; 8] =
                    ["size", "contains", "startsWith", "endsWith", "has", "exists", "all", "exists_one"];
                let remedy = nearest(name, KNOWN).map_or_else(
                    || format!("conditions know {}", KNOWN.join(", ")),
                    |meant| format!("did you mean `{meant}`?"),
                );
                let shown: String = name.chars().take(64).collect();
                self.flaw(
                    "condition-function",
                    format!("`{shown}` cannot be called like this in a condition"),
                    remedy,
                    &shown,
                );
                None
            }
        }
    }

    fn expect(&mut self, expr: &IdedExpr, wanted: Type, scope: &Scope) -> Option<Type> {
        let kind = self.visit(expr, scope)?;
        if kind == wanted {
            return Some(kind);
        }
        let piece = path_of(expr).unwrap_or_default();
        self.flaw(
            "condition-type",
            format!("expected {}, found {}", wanted.name(), kind.name()),
            "compare it with something",
            &piece,
        );
        None
    }

    /// `&&` or `||`: what one member tests with `has()`, the others may rely on.
    fn chain(&mut self, call: &CallExpr, operator: &'static str, scope: &Scope) -> Option<Type> {
        let mut members = Vec::new();
        for arg in &call.args {
            flatten(arg, operator, &mut members);
        }
        let mut inside = scope.deeper();
        for member in &members {
            // In `a && b` the other member matters only where `a` holds; in `!a || b` too.
            let tested = if operator == op::LOGICAL_AND { Some(*member) } else { negated(member) };
            if let Some(path) = tested.and_then(tested_path) {
                inside.guarded.insert(path);
            }
        }
        if operator == op::LOGICAL_OR {
            inside.under = Some("||");
        }
        let kinds: Vec<Option<Type>> = members.iter().map(|member| self.expect(member, Type::Bool, &inside)).collect();
        kinds.into_iter().collect::<Option<Vec<Type>>>().map(|_| Type::Bool)
    }

    fn equal(&mut self, left: &IdedExpr, right: &IdedExpr, scope: &Scope) -> Option<Type> {
        let inside = both(scope);
        let (a, b) = (self.visit(left, &inside)?, self.visit(right, &inside)?);
        if a.is_number() && b.is_number() {
            return self.in_range(left, right).and(self.in_range(right, left)).map(|()| Type::Bool);
        }
        if a.is_text() && b.is_text() {
            return self.word(a, right).and(self.word(b, left)).map(|()| Type::Bool);
        }
        if a == Type::Bool && b == Type::Bool {
            return Some(Type::Bool);
        }
        let message = format!("{} is never equal to {}", a.name(), b.name());
        self.flaw(
            "condition-type",
            message,
            "compare things of one type",
            &path_of(left).or_else(|| path_of(right)).unwrap_or_default(),
        );
        None
    }

    fn order(&mut self, left: &IdedExpr, right: &IdedExpr, scope: &Scope) -> Option<Type> {
        let inside = both(scope);
        let (a, b) = (self.visit(left, &inside)?, self.visit(right, &inside)?);
        if a.is_number() && b.is_number() {
            return self.in_range(left, right).and(self.in_range(right, left)).map(|()| Type::Bool);
        }
        let remedy = match (a, b) {
            (Type::Word(words), _) | (_, Type::Word(words)) => format!("list the words: in [{}]", quoted(words)),
            _ => "only numbers have an order".to_owned(),
        };
        let piece = path_of(left).or_else(|| path_of(right)).unwrap_or_default();
        self.flaw("condition-type", format!("{} and {} have no order", a.name(), b.name()), remedy, &piece);
        None
    }

    fn contained(&mut self, left: &IdedExpr, right: &IdedExpr, scope: &Scope) -> Option<Type> {
        let inside = both(scope);
        let (a, b) = (self.visit(left, &inside)?, self.visit(right, &inside)?);
        match (a, b) {
            (Type::Text | Type::Word(_), Type::Labels) => Some(Type::Bool),
            (Type::Int | Type::Double, Type::Numbers) => Some(Type::Bool),
            (Type::Word(words), Type::Texts) => {
                if let Expr::List(list) = &right.expr {
                    let kinds: Vec<Option<()>> = list.elements.iter().map(|one| self.one_of(words, one)).collect();
                    kinds.into_iter().collect::<Option<Vec<()>>>()?;
                }
                Some(Type::Bool)
            }
            (Type::Text, Type::Texts) => Some(Type::Bool),
            (Type::Text | Type::Word(_), Type::Words(words)) => self.one_of(words, left).map(|()| Type::Bool),
            _ => {
                let message = format!("{} is never in {}", a.name(), b.name());
                self.flaw(
                    "condition-type",
                    message,
                    "write \"x\" in a list of texts",
                    &path_of(left).unwrap_or_default(),
                );
                None
            }
        }
    }

    /// A text compared with a word must be one that can be.
    fn word(&mut self, kind: Type, other: &IdedExpr) -> Option<()> {
        match kind {
            Type::Word(words) => self.one_of(words, other),
            _ => Some(()),
        }
    }

    fn one_of(&mut self, words: &[&str], literal: &IdedExpr) -> Option<()> {
        let Some(text) = literal_text(literal) else { return Some(()) };
        if words.contains(&text) {
            return Some(());
        }
        let remedy = nearest(text, words.iter().copied())
            .map_or_else(|| format!("it is one of {}", quoted(words)), |meant| format!("did you mean \"{meant}\"?"));
        let shown: String = text.chars().take(64).collect();
        self.flaw("unknown-word", format!("\"{shown}\" is never the value of this fact"), remedy, &shown);
        None
    }

    /// A number compared with a fact must be one that the fact can reach.
    fn in_range(&mut self, of: &IdedExpr, literal: &IdedExpr) -> Option<()> {
        let fact = path_of(of).and_then(|path| facts::find(&path)).map(|(_, fact)| fact);
        let (Some(fact), Some(number)) = (fact, literal_number(literal)) else { return Some(()) };
        let (low, high) = match fact.kind {
            FactType::Int(low, high) => (low * DECIMAL, high * DECIMAL),
            FactType::Decimal(high) => (0, high * DECIMAL),
            _ => return Some(()),
        };
        if (low..=high).contains(&number) {
            return Some(());
        }
        let message = format!("`{}` never reaches {}", fact.path, Value::Decimal(number));
        let remedy = format!("it lies between {} and {}", Value::Decimal(low), Value::Decimal(high));
        self.flaw("out-of-range", message, remedy, fact.path);
        None
    }

    fn comprehension(&mut self, comprehension: &ComprehensionExpr, scope: &Scope) -> Option<Type> {
        if scope.comprehensions >= self.limits.comprehensions {
            let message =
                format!("more than {} of exists, all, exists_one inside each other", self.limits.comprehensions);
            self.flaw("condition-nesting", message, "split it into several rules", "");
            return None;
        }
        let Some((body, one)) = body_of(comprehension) else {
            self.flaw(
                "condition-function",
                "only exists, all and exists_one may go over a list",
                "map and filter are not needed to decide",
                "",
            );
            return None;
        };
        let list = self.visit(&comprehension.iter_range, &both(scope))?;
        let element = match list {
            Type::Labels => Some(Type::Text),
            list => list.element(),
        };
        let Some(element) = element else {
            self.flaw(
                "condition-type",
                format!("{} has no elements", list.name()),
                "exists and all go over a list",
                "",
            );
            return None;
        };
        if ["item", "asset", "action"].contains(&comprehension.iter_var.as_str()) {
            let message = format!("`{}` cannot name an element", comprehension.iter_var);
            self.flaw("condition-syntax", message, "call the element x", &comprehension.iter_var);
            return None;
        }
        let mut inside = if one { both(scope) } else { scope.deeper() };
        inside.comprehensions += 1;
        inside.bound.push((comprehension.iter_var.clone(), element));
        // One element that cannot be decided is hidden by another that can.
        inside.under = Some("exists");
        self.expect(body, Type::Bool, &inside)
    }
}

/// A place where a yes inside may count for a yes or a no outside.
fn both(scope: &Scope) -> Scope {
    Scope { negated: true, ..scope.deeper() }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

/// The dotted path that an expression spells.
fn path_of(expr: &IdedExpr) -> Option<String> {
    let (mut at, mut names) = (&expr.expr, Vec::new());
    loop {
        match at {
            Expr::Ident(name) => {
                names.push(name.as_str());
                names.reverse();
                return Some(names.join("."));
            }
            Expr::Select(select) => {
                names.push(select.field.as_str());
                at = &select.operand.expr;
            }
            _ => return None,
        }
    }
}

/// The path that `has()` tests.
fn tested_path(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Expr::Select(select) if select.test => path_of(expr),
        _ => None,
    }
}

/// What stands under `!`.
fn negated(expr: &IdedExpr) -> Option<&IdedExpr> {
    match &expr.expr {
        Expr::Call(call) if call.func_name == op::LOGICAL_NOT => call.args.first(),
        _ => None,
    }
}

fn flatten<'e>(expr: &'e IdedExpr, operator: &str, members: &mut Vec<&'e IdedExpr>) {
    match &expr.expr {
        Expr::Call(call) if call.func_name == operator => {
            for arg in &call.args {
                flatten(arg, operator, members);
            }
        }
        _ => members.push(expr),
    }
}

/// The condition inside `all`, `exists` or `exists_one`, and whether it is the last.
pub(crate) fn body_of(comprehension: &ComprehensionExpr) -> Option<(&IdedExpr, bool)> {
    let Expr::Call(step) = &comprehension.loop_step.expr else { return None };
    let accumulates = |expr: &IdedExpr| matches!(&expr.expr, Expr::Ident(name) if *name == comprehension.accu_var);
    match (step.func_name.as_str(), step.args.as_slice()) {
        (op::LOGICAL_AND | op::LOGICAL_OR, [accu, body]) if accumulates(accu) => Some((body, false)),
        (op::CONDITIONAL, [body, counted, same]) if accumulates(same) => match &counted.expr {
            Expr::Call(add) if add.func_name == op::ADD => {
                let one = add.args.get(1).is_some_and(|one| matches!(one.expr, Expr::Literal(LiteralValue::Int(_))));
                one.then_some((body, true))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Facts whose place in the table the paths are; those that are not in it are left out.
pub(crate) fn names(indices: &[usize]) -> impl Iterator<Item = &'static str> {
    indices.iter().filter_map(|index| SCHEMA.get(*index)).map(|fact| fact.path)
}

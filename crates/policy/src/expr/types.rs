//! The types of a condition. The language behind the fence is closed: comparisons, `&&`, `||`, `!`, `in`, `has`,
//! `exists`, `all`, `exists_one`, `size`, `contains`, `startsWith`, `endsWith`. There is no arithmetic, so the only
//! thing that can go wrong when a condition runs is that a fact is not known.

use cel::common::ast::{Expr, IdedExpr, LiteralValue};

use crate::facts::{DECIMAL, FactType};

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Type {
    Bool,
    Int,
    Double,
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    Texts,
    Words(&'static [&'static str]),
    /// A list of numbers written in the condition.
    Numbers,
    Labels,
}

impl Type {
    pub(crate) const fn of(fact: FactType) -> Self {
        match fact {
            FactType::Bool => Self::Bool,
            FactType::Int(..) => Self::Int,
            FactType::Decimal(_) => Self::Double,
            FactType::Text => Self::Text,
            FactType::Choice(words) => Self::Word(words),
            FactType::Texts => Self::Texts,
            FactType::Choices(words) => Self::Words(words),
            FactType::Labels => Self::Labels,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int => "a whole number",
            Self::Double => "a number",
            Self::Text => "a text",
            Self::Word(_) => "a word",
            Self::Texts | Self::Words(_) => "a list of texts",
            Self::Numbers => "a list of numbers",
            Self::Labels => "labels",
        }
    }

    pub(crate) const fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Double)
    }

    pub(crate) const fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Word(_))
    }

    /// The type of one element.
    pub(crate) const fn element(self) -> Option<Self> {
        match self {
            Self::Texts => Some(Self::Text),
            Self::Words(words) => Some(Self::Word(words)),
            Self::Numbers => Some(Self::Double),
            _ => None,
        }
    }
}

/// The text of a literal.
pub(crate) fn literal_text(expr: &IdedExpr) -> Option<&str> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// The number of a literal in parts per 100,000, rounded.
pub(crate) fn literal_number(expr: &IdedExpr) -> Option<i64> {
    match &expr.expr {
        Expr::Literal(LiteralValue::Int(number)) => number.inner().checked_mul(DECIMAL),
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        Expr::Literal(LiteralValue::Double(number)) => Some((number.inner() * DECIMAL as f64).round() as i64),
        Expr::Call(call) if call.func_name == "-_" => literal_number(call.args.first()?)?.checked_neg(),
        _ => None,
    }
}

//! The careful reading of a condition: `has(x)` where nobody knows x is no longer a no, but cannot be decided.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, operators as op};

use super::types::{literal_number, literal_text};
use crate::firing::Literals;

/// The condition with every test for a fact replaced by that fact compared with itself.
pub(super) fn strict(expr: &IdedExpr) -> IdedExpr {
    let mut copy = expr.clone();
    each(&mut copy, &mut |expr| {
        let Expr::Select(select) = &mut expr.expr else { return };
        // Labels are known whole, so that asking for one is a plain question.
        let is_fact = matches!(&select.operand.expr, Expr::Ident(_));
        if !select.test || !is_fact {
            return;
        }
        select.test = false;
        let fact = expr.clone();
        let args = vec![fact.clone(), fact];
        expr.expr = Expr::Call(CallExpr { func_name: op::EQUALS.to_owned(), target: None, args });
    });
    copy
}

/// Every expression in this one, the outer before the inner.
pub(super) fn each(expr: &mut IdedExpr, change: &mut impl FnMut(&mut IdedExpr)) {
    change(expr);
    match &mut expr.expr {
        Expr::Call(call) => {
            for inner in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
                each(inner, change);
            }
        }
        Expr::Comprehension(comprehension) => {
            each(&mut comprehension.iter_range, change);
            each(&mut comprehension.loop_step, change);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(|inner| each(inner, change)),
        Expr::Select(select) => each(&mut select.operand, change),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                match &mut entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        each(&mut entry.key, change);
                        each(&mut entry.value, change);
                    }
                    EntryExpr::StructField(field) => each(&mut field.value, change),
                }
            }
        }
        Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => {}
    }
}

/// Numbers, texts and labels that are written in a condition.
pub(super) fn literals(expr: &IdedExpr) -> Literals {
    let (mut copy, mut found) = (expr.clone(), Literals::default());
    each(&mut copy, &mut |expr| {
        if let Some(text) = literal_text(expr) {
            found.texts.insert(text.to_owned());
        }
        if let Some(number) = literal_number(expr) {
            found.numbers.insert(number);
        }
        if let Expr::Select(select) = &expr.expr
            && matches!(&select.operand.expr, Expr::Select(inner) if inner.field == "labels")
        {
            found.labels.insert(select.field.clone());
        }
    });
    found
}

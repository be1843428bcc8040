//! Small mistakes a person could make in a condition: a limit one step off, a comparison turned round. A test that
//! notices none of them does not test the limit.

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators as op};

use super::strict::each;

/// Mutants of one condition, at most.
const MAX: usize = 40;

/// What a comparison is most easily mistaken for.
fn mistaken(operator: &str) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match operator {
        op::GREATER_EQUALS => (">=", "<", op::LESS),
        op::GREATER => (">", "<=", op::LESS_EQUALS),
        op::LESS_EQUALS => ("<=", ">", op::GREATER),
        op::LESS => ("<", ">=", op::GREATER_EQUALS),
        op::EQUALS => ("==", "!=", op::NOT_EQUALS),
        op::NOT_EQUALS => ("!=", "==", op::EQUALS),
        _ => return None,
    })
}

/// A number moved so far that a test on either side of it should see it: by a fifth, and by one at least where it is
/// whole.
fn moved(literal: &LiteralValue, up: bool) -> Option<(String, String, LiteralValue)> {
    match literal {
        LiteralValue::Int(number) => {
            let number = *number.inner();
            let by = (number.abs() / 5).max(1);
            let to = if up { number.checked_add(by)? } else { number.checked_sub(by)? };
            Some((number.to_string(), to.to_string(), LiteralValue::Int(to.into())))
        }
        LiteralValue::Double(number) => {
            let number = *number.inner();
            let by = (number.abs() / 5.0).max(0.01);
            let to = if up { number + by } else { number - by };
            Some((
                number.to_string(),
                format!("{to:.5}").trim_end_matches('0').to_owned(),
                LiteralValue::Double(to.into()),
            ))
        }
        _ => None,
    }
}

/// Every mutant, with what was changed in words.
pub(super) fn mutants(expr: &IdedExpr) -> Vec<(String, IdedExpr)> {
    let mut places = 0_usize;
    let mut count = expr.clone();
    each(&mut count, &mut |_| places += 1);
    let mut made = Vec::new();
    for place in 0..places {
        for up in [false, true] {
            let (mut at, mut told) = (0_usize, None);
            let mut copy = expr.clone();
            each(&mut copy, &mut |expr| {
                if at == place {
                    told = change(expr, up);
                }
                at += 1;
            });
            if let Some(told) = told
                && made.len() < MAX
            {
                made.push((told, copy));
            }
        }
    }
    made
}

/// Changes one expression, if it is one that can be mistaken.
fn change(expr: &mut IdedExpr, up: bool) -> Option<String> {
    let Expr::Call(call) = &mut expr.expr else { return None };
    let (from, to, operator) = mistaken(&call.func_name)?;
    let number = call.args.iter_mut().find_map(|arg| match &mut arg.expr {
        Expr::Literal(literal @ (LiteralValue::Int(_) | LiteralValue::Double(_))) => Some(literal),
        _ => None,
    });
    if let Some(literal) = number {
        let (was, is, new) = moved(literal, up)?;
        *literal = new;
        return Some(format!("{was} became {is}"));
    }
    // A comparison of words has no number to move: it is turned round, once.
    if up {
        return None;
    }
    call.func_name = operator.to_owned();
    Some(format!("`{from}` became `{to}`"))
}

//! What may happen to an item without asking further. Without a policy that grants more, nothing does.

use jiff::Timestamp;
use stanch_model::decision::{Decision, Mode};
use stanch_model::id::ItemId;

/// What the rules that fired say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyVerdict {
    /// The lowest mode among the rules that fired.
    pub mode: Mode,
    /// Those rules, `policy/rule`.
    pub rules: Vec<String>,
    /// Why, in a sentence.
    pub reason: String,
}

/// Decides for one item: what the rules say, or the bundle-wide default when none fired.
pub fn decide(item: &ItemId, fired: Option<&PolicyVerdict>, default: Mode, now: Timestamp) -> Decision {
    // A verdict that names no rule grants nothing.
    let fired = fired.filter(|verdict| !verdict.rules.is_empty());
    let (mode, rules, reason) = match fired {
        Some(verdict) => (verdict.mode, verdict.rules.clone(), verdict.reason.clone()),
        None => (default, Vec::new(), by_default(default)),
    };
    Decision { item: item.clone(), at: now, mode, rules, reason }
}

fn by_default(mode: Mode) -> String {
    match mode {
        Mode::Alert => "no policy grants more; nothing is changed until a person asks".to_owned(),
        mode => format!("no rule fired; the default is {}", mode.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_rule_nothing_is_changed_until_a_person_asks() {
        let item = ItemId::from_entropy([1; 10]);
        let now = Timestamp::UNIX_EPOCH;
        let decision = decide(&item, None, Mode::Alert, now);
        assert_eq!(decision.mode, Mode::Alert);
        assert_eq!(decision.reason, "no policy grants more; nothing is changed until a person asks");
        let nameless = PolicyVerdict { mode: Mode::Auto, rules: Vec::new(), reason: "?".to_owned() };
        assert_eq!(decide(&item, Some(&nameless), Mode::Alert, now).mode, Mode::Alert);
        let named = PolicyVerdict { rules: vec!["p/r".to_owned()], ..nameless };
        assert_eq!(decide(&item, Some(&named), Mode::Alert, now).mode, Mode::Auto);
    }
}

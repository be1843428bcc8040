//! Decisions: what may happen to an item without asking further, and why.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::canonical::Digest;
use crate::id::ItemId;
use crate::terms::Terms;

/// How far Stanch may go by itself. The lowest among the rules that fired wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Record and show; nothing is prepared.
    Alert,
    /// Prepare a plan; a person starts it.
    Suggest,
    /// Start when the approvals are in.
    Approve,
    /// Start inside the limits.
    Auto,
}

impl Mode {
    /// All of them, the most careful first.
    pub const ALL: [Self; 4] = [Self::Alert, Self::Suggest, Self::Approve, Self::Auto];

    /// The name users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Suggest => "suggest",
            Self::Approve => "approve",
            Self::Auto => "auto",
        }
    }
}

/// What a rule's word does to the mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The rule fired: it grants its mode, and nothing above it.
    Grants,
    /// The rule grants nothing and lets nothing rise above its mode.
    Caps,
    /// The rule could not be decided; it caps at the lower of its own mode and `on_error`.
    Undecided,
}

/// What one rule said of one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleWord {
    /// The rule, `policy/rule`.
    pub rule: String,
    /// What its word does.
    pub effect: Effect,
    /// The mode it counts with.
    pub mode: Mode,
    /// Why, in a sentence.
    pub reason: String,
}

/// Why one policy, or one rule of it, said nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abstained {
    /// The rule, `policy/rule`.
    pub rule: String,
    /// Why, in a sentence.
    pub reason: String,
}

/// A risk that somebody accepted until a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The exception's name.
    pub exception: String,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it ends; the item is decided again then.
    pub until: Timestamp,
}

/// What would be decided if policies in shadow were in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InShadow {
    /// The mode it would be.
    pub mode: Mode,
    /// Why, in a sentence.
    pub reason: String,
    /// What the rules of those policies say.
    pub words: Vec<RuleWord>,
}

/// What was decided of one item and one candidate action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The item.
    pub item: ItemId,
    /// When.
    pub at: Timestamp,
    /// The mode.
    pub mode: Mode,
    /// The action that was asked about; none when the catalogue offers none.
    #[serde(default)]
    pub action: Option<String>,
    /// The policy whose playbook says what is done; none where the catalogue's own candidate is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<String>,
    /// The bundle that decided; none when there is none.
    #[serde(default)]
    pub bundle: Option<Digest>,
    /// Rules whose word counts, in the order of the bundle; none when the bundle-wide default decided.
    #[serde(default)]
    pub fired: Vec<RuleWord>,
    /// Rules of policies that match and yet said nothing, at most [`Decision::MAX_ABSTAINED`] of them.
    #[serde(default)]
    pub abstained: Vec<Abstained>,
    /// Facts that a rule asked for and nobody knows, such as `item.epss`.
    #[serde(default)]
    pub missing: Vec<String>,
    /// The risk was accepted: nothing is done until that ends.
    #[serde(default)]
    pub accepted: Option<Accepted>,
    /// What the decision binds a remediation to.
    #[serde(default)]
    pub terms: Terms,
    /// Why, in a sentence.
    pub reason: String,
    /// What policies in shadow would make of it; none where they have no word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<InShadow>,
}

impl Decision {
    /// A decision keeps the reasons of so many silent rules; `explain` shows all.
    pub const MAX_ABSTAINED: usize = 32;

    /// What holds when no rule fired: the item is shown, and nothing is changed until a person asks.
    pub fn by_default(item: ItemId, at: Timestamp) -> Self {
        Self {
            item,
            at,
            mode: Mode::Alert,
            action: None,
            playbook: None,
            bundle: None,
            fired: Vec::new(),
            abstained: Vec::new(),
            missing: Vec::new(),
            accepted: None,
            terms: Terms::default(),
            reason: "no policy grants more; nothing is changed until a person asks".to_owned(),
            shadow: None,
        }
    }

    /// Whether both say the same of the same item, whenever they were made.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.item == other.item && self.has_the_words_of(other)
    }

    /// Whether both say the same, whatever item they are about and whenever they were made.
    pub fn has_the_words_of(&self, other: &Self) -> bool {
        let Self {
            item: _,
            at: _,
            mode,
            action,
            playbook,
            bundle,
            fired,
            abstained,
            missing,
            accepted,
            terms,
            reason,
            shadow,
        } = self;
        *mode == other.mode
            && *reason == other.reason
            && *action == other.action
            && *playbook == other.playbook
            && *bundle == other.bundle
            && *fired == other.fired
            && *abstained == other.abstained
            && *missing == other.missing
            && *accepted == other.accepted
            && *terms == other.terms
            && *shadow == other.shadow
    }
}

//! What may stand in a policy file, as written. Each field is said once, with the words that an editor shows.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use stanch_model::decision::Mode;
use stanch_model::terms::{Allowance, ChangeClass, Role, Unanswered};

use crate::facts::{ASSET_KINDS, CLASSES, SEVERITIES};
use crate::node::{Kind, Node};
use crate::playbook::StepDoc;
use crate::read::{Defs, Located, Name, Number, Reader, Seconds, Yaml, read_choice, record, words};

words!(Mode, [("alert", Mode::Alert), ("suggest", Mode::Suggest), ("approve", Mode::Approve), ("auto", Mode::Auto)]);
words!(
    Role,
    [
        ("viewer", Role::Viewer),
        ("operator", Role::Operator),
        ("approver", Role::Approver),
        ("owner", Role::Owner),
        ("admin", Role::Admin),
    ]
);
words!(
    Allowance,
    [("rollback", Allowance::Rollback), ("contain", Allowance::Contain), ("close-exposure", Allowance::CloseExposure),]
);
words!(Unanswered, [("keep", Unanswered::Keep), ("escalate", Unanswered::Escalate), ("undo", Unanswered::Undo)]);

/// The only version of the language.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ApiVersion;

words!(ApiVersion, [("stanch/v1", ApiVersion)]);

/// What a rule that cannot be decided falls back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnError(pub(crate) Mode);

words!(OnError, [("suggest", OnError(Mode::Suggest)), ("alert", OnError(Mode::Alert))]);

/// A word of a closed set, kept as it is written.
macro_rules! word {
    ($(#[doc = $doc:literal])+ $name:ident, $words:expr) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) struct $name(pub(crate) &'static str);

        impl Yaml for $name {
            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                let words: Vec<(&str, Self)> = $words.iter().map(|word| (*word, Self(word))).collect();
                read_choice(node, reader, &words)
            }

            fn schema(_: &mut Defs) -> Json {
                json!({ "enum": $words })
            }
        }
    };
}

word!(
    /// A severity.
    SeverityWord,
    SEVERITIES
);
word!(
    /// A class of findings.
    ClassWord,
    CLASSES
);
word!(
    /// A kind of asset.
    AssetKindWord,
    ASSET_KINDS
);

/// A list that may be written as one text.
#[derive(Debug, Clone)]
pub(crate) struct OneOrMore(pub(crate) Vec<String>);

impl Yaml for OneOrMore {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.kind {
            Kind::List(_) => Vec::read(node, reader).map(Self),
            _ => String::read(node, reader).map(|one| Self(vec![one])),
        }
    }

    fn schema(defs: &mut Defs) -> Json {
        json!({"oneOf": [String::schema(defs), Vec::<String>::schema(defs)]})
    }
}

/// The value of a fact, as it stands in a file.
#[derive(Debug, Clone)]
pub(crate) struct Free(pub(crate) Node);

impl Yaml for Free {
    fn read(node: &Node, _: &mut Reader<'_>) -> Option<Self> {
        Some(Self(node.clone()))
    }

    fn schema(_: &mut Defs) -> Json {
        json!({})
    }
}

record! {
    /// What a policy is about. What is left out is not asked; what is there must all hold.
    struct SelectorDoc as "match" {
        /// Everything: has to be spelled, because an empty selector selects nothing.
        all as "all": Option<bool>,
        /// Classes of findings; one of them.
        classes as "classes": Option<Located<Vec<ClassWord>>>,
        /// What people said the asset's environment is; one of them.
        environments as "environments": Option<Located<Vec<String>>>,
        /// The least severity; an item whose severity nobody knows counts as matched, but cannot be granted more than `on_error`.
        min_severity as "min_severity": Option<SeverityWord>,
        /// Kinds of assets; one of them.
        kinds as "kinds": Option<Located<Vec<AssetKindWord>>>,
        /// Labels that the server set; each with one value or one of several.
        labels as "labels": Option<Located<BTreeMap<String, OneOrMore>>>,
        /// Actions by name, such as package.upgrade; one of them.
        actions as "actions": Option<Located<Vec<String>>>,
        /// Teams that own the asset; one of them.
        owners as "owners": Option<Located<Vec<String>>>,
    }
}

record! {
    /// Who must agree before it starts.
    struct ApprovalsDoc as "approvals" {
        /// So many different people.
        quorum as "quorum": Number<1, 16> = Number(1),
        /// Any of these roles counts.
        roles as "roles": Option<Located<Vec<Role>>>,
        /// Whoever asked for the plan or wrote the policy does not count.
        exclude_author as "exclude_author": bool = false,
        /// An approval that has led to no start by then is void.
        expires as "expires": Option<Seconds>,
    }
}

record! {
    /// One rule: when it holds, it grants its mode and nothing above it; with `at_most` it only limits.
    struct RuleDoc as "a rule" {
        /// Its name, which reports and tests use.
        id as "id": Located<Name>,
        /// What it is for.
        description as "description": Option<String>,
        /// Facts without which it cannot be decided, such as item.epss.
        requires as "requires": Vec<Located<String>> = Vec::new(),
        /// A condition in CEL over item.*, asset.* and action.*; without it the rule holds for all that matches.
        when as "when": Option<Located<String>>,
        /// What it grants: alert, suggest, approve or auto. The lowest among the rules that fired wins.
        mode as "mode": Option<Located<Mode>>,
        /// Limits what others grant and grants nothing itself.
        at_most as "at_most": Option<Located<Mode>>,
        /// Who must agree; only with mode approve.
        approvals as "approvals": Option<Located<ApprovalsDoc>>,
        /// It grants nothing before the version that closes the item has been offered for so long.
        wait_for_age as "wait_for_age": Option<Located<Seconds>>,
        /// A condition in CEL under which it does not wait; what is unknown waits.
        no_wait_when as "no_wait_when": Option<Located<String>>,
    }
}

record! {
    /// When a step may start.
    struct WindowDoc as "a window" {
        /// A calendar of the bundle: the name of a .ics file without its ending, or of a Calendar document.
        calendar as "calendar": Located<String>,
        /// The time zone its days and local times are in, such as Europe/Paris, where the file does not say it.
        tz as "tz": Option<String>,
        /// A step must also end inside.
        must_finish_inside as "must_finish_inside": bool = false,
    }
}

/// What becomes of a target that missed its whole window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Wait,
    RunWhenBack,
    Escalate,
}

words!(Then, [("wait", Then::Wait), ("run_when_back", Then::RunWhenBack), ("escalate", Then::Escalate)]);

record! {
    /// What becomes of a target that was not connected through its whole window.
    struct CatchUpDoc as "catch_up" {
        /// wait for the next window, run_when_back outside of it, or escalate: wait and tell people.
        then as "then": Then,
        /// With run_when_back: so long after the first window that it missed it may start, never inside a freeze.
        within as "within": Option<Seconds>,
        /// People are told whenever it has missed so many windows in a row; with escalate 3 unless stated.
        tell_after as "tell_after": Option<Number<1, 100>>,
    }
}

/// What a policy does where another program changes packages too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherUpdaters {
    /// It suggests at most.
    StandBack,
    /// It goes on, and says so.
    Warn,
    /// It has the other programs switched off, once somebody has agreed to the plan for that, and suggests at most until
    /// then.
    TakeOver,
}

words!(
    OtherUpdaters,
    [("stand_back", OtherUpdaters::StandBack), ("warn", OtherUpdaters::Warn), ("take_over", OtherUpdaters::TakeOver),]
);

record! {
    /// When nothing starts.
    struct FreezeDoc as "a freeze" {
        /// A calendar of the bundle.
        calendar as "calendar": Option<Located<String>>,
        /// An iCalendar file of the bundle.
        ics as "ics": Option<Located<String>>,
        /// The time zone its days and local times are in, where the file does not say it.
        tz as "tz": Option<String>,
        /// What it lets through: contain, close-exposure. Taking back is always let through.
        allow as "allow": Vec<Allowance> = Vec::new(),
    }
}

record! {
    /// What a rollout may not exceed. What is left out has a built-in limit.
    struct LimitsDoc as "limits" {
        /// Targets changed at once.
        concurrent as "concurrent": Option<Number<1, 10000>>,
        /// Targets begun in a clock hour.
        per_hour as "per_hour": Option<Number<1, 100000>>,
        /// Percent of the environment that may be disrupted at once.
        disrupted_percent as "disrupted_percent": Option<Number<1, 100>>,
        /// Time between two attempts at one target.
        cooldown as "cooldown": Option<Seconds>,
        /// Attempts at one target.
        max_attempts as "max_attempts": Option<Number<1, 20>>,
    }
}

record! {
    /// One ring of a rollout: exactly one of percent, count and label.
    struct WaveDoc as "a wave" {
        /// Of all targets, counted from the start.
        percent as "percent": Option<Number<1, 100>>,
        /// So many more targets.
        count as "count": Option<Number<1, 1000000>>,
        /// Targets whose label `ring` has this value.
        label as "label": Option<String>,
        /// At least so many targets.
        min as "min": Number<1, 1000000> = Number(1),
        /// How long it is watched after it is verified.
        bake as "bake": Option<Seconds>,
    }
}

record! {
    /// When a rollout stops: limits that must not be reached.
    struct HaltIfDoc as "halt_if" {
        /// Failed targets in all.
        failed as "failed": Option<Number<1, 10000>>,
        /// Percent of the targets begun.
        failed_percent as "failed_percent": Option<Number<1, 100>>,
        /// Failed targets in the first wave.
        failed_in_first_wave as "failed_in_first_wave": Option<Number<1, 10000>>,
        /// A check that cannot tell for so long.
        inconclusive_for as "inconclusive_for": Option<Seconds>,
    }
}

record! {
    /// How a remediation reaches its targets.
    struct RolloutDoc as "rollout" {
        /// Rings, smallest first.
        waves as "waves": Located<Vec<Located<WaveDoc>>>,
        /// When it stops.
        halt_if as "halt_if": Option<HaltIfDoc>,
        /// The rollout must be able to end within this time.
        deadline as "deadline": Option<Located<Seconds>>,
    }
}

record! {
    /// The same plan must have held elsewhere first.
    struct PromoteFromDoc as "promote_from" {
        /// In this environment.
        environment as "environment": String,
        /// Verified for so long.
        verified_for as "verified_for": Seconds,
    }
}

record! {
    /// A change request at another system.
    struct ChangeDoc as "change" {
        /// How much is said before it starts.
        class as "class": ChangeClass,
        /// The connection that leads to the other system.
        connection as "connection": Name,
    }
}

words!(
    ChangeClass,
    [("emergency", ChangeClass::Emergency), ("standard", ChangeClass::Standard), ("normal", ChangeClass::Normal)]
);

record! {
    /// Who is asked after an automatic act.
    struct ConfirmDoc as "confirm" {
        /// People of this role; an owner only for their own assets.
        by as "by": Role = Role::Owner,
        /// How long they have.
        within as "within": Seconds,
        /// What follows when they do not answer.
        unanswered as "unanswered": Unanswered = Unanswered::Keep,
    }
}

record! {
    /// What a test expects.
    struct ExpectDoc as "expect" {
        /// The mode.
        mode as "mode": Option<Mode>,
        /// A rule that must have had a word.
        rule as "rule": Option<String>,
        /// Rules that must have had no word.
        silent as "silent": Vec<String> = Vec::new(),
        /// Why: missing-field, default, excepted, built-in, rule.
        reason as "reason": Option<Reason>,
    }
}

/// The kind of reason that a test can expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    MissingField,
    Default,
    Excepted,
    BuiltIn,
    Rule,
}

words!(
    Reason,
    [
        ("missing-field", Reason::MissingField),
        ("default", Reason::Default),
        ("excepted", Reason::Excepted),
        ("built-in", Reason::BuiltIn),
        ("rule", Reason::Rule),
    ]
);

record! {
    /// One test: named facts, changed here and there, and what must be decided of them.
    struct TestDoc as "a test" {
        /// What it shows.
        name as "name": Option<String>,
        /// A Facts document of the bundle.
        given as "given": Located<Name>,
        /// Facts that are different.
        set as "set": BTreeMap<String, Free> = BTreeMap::new(),
        /// Facts that are not known.
        unset as "unset": Vec<Located<String>> = Vec::new(),
        /// What must come out.
        expect as "expect": ExpectDoc,
    }
}

record! {
    /// What people should know of a document.
    struct MetadataDoc as "metadata" {
        /// What it is for.
        description as "description": Option<String>,
        /// Who answers for it.
        owner as "owner": Option<String>,
        /// Who wrote it; with exclude_author that person's approval does not count.
        author as "author": Option<String>,
    }
}

record! {
    /// A policy.
    struct PolicyDoc as "a policy" {
        /// The version of the language.
        _version as "apiVersion": ApiVersion,
        /// Policy.
        _kind as "kind": String,
        /// Its name, once in a bundle.
        name as "name": Located<Name>,
        /// What people should know of it.
        metadata as "metadata": Option<MetadataDoc>,
        /// It decides nothing; what would be decided with it is kept beside each decision.
        shadow as "shadow": bool = false,
        /// What it is about.
        select as "match": Located<SelectorDoc>,
        /// Its rules.
        rules as "rules": Located<Vec<Located<RuleDoc>>>,
        /// A playbook in place.
        actions as "actions": Option<Located<Vec<StepDoc>>>,
        /// A playbook of the bundle.
        playbook as "playbook": Option<Located<Name>>,
        /// What a rule that cannot be decided falls back to.
        on_error as "on_error": OnError = OnError(Mode::Suggest),
        /// A step starts only while all of these are open.
        windows as "windows": Vec<Located<WindowDoc>> = Vec::new(),
        /// What becomes of a target that missed its whole window.
        catch_up as "catch_up": Option<Located<CatchUpDoc>>,
        /// No step starts while one of these is in force.
        freezes as "freezes": Vec<Located<FreezeDoc>> = Vec::new(),
        /// What it does where another program changes packages too: stand_back, warn or take_over.
        other_updaters as "other_updaters": Option<OtherUpdaters>,
        /// What a rollout may not exceed.
        limits as "limits": Option<Located<LimitsDoc>>,
        /// How it reaches its targets.
        rollout as "rollout": Option<Located<RolloutDoc>>,
        /// The same plan must have held elsewhere first.
        promote_from as "promote_from": Option<PromoteFromDoc>,
        /// Another system is told of it, or agrees first.
        change as "change": Option<ChangeDoc>,
        /// Who is asked afterwards.
        confirm as "confirm": Option<ConfirmDoc>,
        /// Its tests; they see this policy alone.
        tests as "tests": Vec<Located<TestDoc>> = Vec::new(),
    }
}

record! {
    /// Which items a risk is accepted for.
    struct ExceptionSelectorDoc as "match" {
        /// Ids of findings: CVEs or advisories. An item is excepted when all of its ids are.
        ids as "ids": Option<Located<Vec<String>>>,
        /// Source packages or services, by name.
        packages as "packages": Option<Located<Vec<String>>>,
        /// Assets, by name.
        assets as "assets": Option<Located<Vec<String>>>,
        /// Environments.
        environments as "environments": Option<Located<Vec<String>>>,
        /// Labels.
        labels as "labels": Option<Located<BTreeMap<String, OneOrMore>>>,
    }
}

record! {
    /// A risk that somebody accepts until a day.
    struct ExceptionDoc as "an exception" {
        /// The version of the language.
        _version as "apiVersion": ApiVersion,
        /// Exception.
        _kind as "kind": String,
        /// Its name, once in a bundle.
        name as "name": Located<Name>,
        /// Who answers for it.
        owner as "owner": String,
        /// Why it is accepted.
        reason as "reason": String,
        /// When it ends: 2027-01-31, or a time such as 2027-01-31T18:00:00Z.
        expires as "expires": Located<String>,
        /// Which items.
        select as "match": Located<ExceptionSelectorDoc>,
    }
}

record! {
    /// Who is a member of a redundancy group. What is there must all hold.
    struct GroupSelectorDoc as "match" {
        /// What people said the asset's environment is; one of them.
        environments as "environments": Option<Vec<String>>,
        /// Labels that the server set; each with one value or one of several.
        labels as "labels": Option<BTreeMap<String, OneOrMore>>,
    }
}

record! {
    /// Assets that stand in for each other.
    struct GroupDoc as "a group" {
        /// The version of the language.
        _version as "apiVersion": ApiVersion,
        /// Group.
        _kind as "kind": String,
        /// Its name, once in a bundle.
        name as "name": Located<Name>,
        /// What people should know of it.
        metadata as "metadata": Option<MetadataDoc>,
        /// Its members.
        select as "match": Located<GroupSelectorDoc>,
        /// So many of them must work at any time; no change takes more away.
        min_healthy as "min_healthy": Number<1, 100000>,
    }
}

record! {
    /// Named facts that tests start from.
    struct FactsDoc as "facts" {
        /// The version of the language.
        _version as "apiVersion": ApiVersion,
        /// Facts.
        _kind as "kind": String,
        /// Their name, once in a bundle.
        name as "name": Located<Name>,
        /// Other named facts they start from.
        extends as "extends": Option<Located<Name>>,
        /// Paths and values.
        facts as "facts": BTreeMap<String, Free>,
    }
}

record! {
    /// A playbook that policies can name.
    struct PlaybookDoc as "a playbook" {
        /// The version of the language.
        _version as "apiVersion": ApiVersion,
        /// Playbook.
        _kind as "kind": String,
        /// Its name, once in a bundle.
        name as "name": Located<Name>,
        /// What people should know of it.
        metadata as "metadata": Option<MetadataDoc>,
        /// Its steps, in order.
        steps as "steps": Located<Vec<StepDoc>>,
        /// Its tests.
        tests as "tests": Vec<Located<PlaybookTestDoc>> = Vec::new(),
    }
}

record! {
    /// A test of a playbook: what follows when some of it cannot be done. Steps are named by their ids.
    struct PlaybookTestDoc as "a test" {
        /// What it shows.
        name as "name": Option<String>,
        /// Steps that cannot be done.
        blocked as "blocked": Vec<Name> = Vec::new(),
        /// Steps that are begun and go wrong.
        failed as "failed": Vec<Name> = Vec::new(),
        /// Steps that are late, and done at the very end.
        late as "late": Vec<Name> = Vec::new(),
        /// Steps to which a person says no.
        refused as "refused": Vec<Name> = Vec::new(),
        /// What must follow.
        expect as "expect": PlaybookExpectDoc,
    }
}

record! {
    /// What must follow.
    struct PlaybookExpectDoc as "expect" {
        /// The steps that are begun, in this order.
        begins as "begins": Vec<Name>,
        /// The steps that are taken back because what they stood in for is done.
        lifts as "lifts": Option<Vec<Name>>,
        /// Whether everything is done at the end.
        done as "done": Option<bool>,
    }
}

record! {
    /// Tests that see the whole bundle.
    struct TestsDoc as "tests" {
        /// The version of the language.
        _version as "apiVersion": ApiVersion,
        /// Tests.
        _kind as "kind": String,
        /// Their name, once in a bundle.
        name as "name": Located<Name>,
        /// The tests.
        tests as "tests": Vec<Located<TestDoc>>,
    }
}

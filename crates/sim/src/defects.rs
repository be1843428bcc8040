//! Defects that can be planted, each with the invariant that must catch it. A checker that catches nothing proves
//! nothing.
//!
//! Those of the engine are there only in a build with `--cfg stanch_defects`; those of the models stand here alone.

#[cfg(stanch_defects)]
use stanch_engine::defect::Defect;

/// A rule of this crate's models that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    /// The store compares no generations.
    NoCompareAndSet,
    /// The store lets two tasks have one lane.
    TwoOnALane,
    /// The gateway hands out orders to act under a hold.
    HandOutHeld,
    /// The gateway does not look at the holds again before what it has written down leaves.
    LookOnce,
    /// The gateway keeps back what takes back while only what is new is held.
    HoldUndo,
    /// The executor journals a start only when it is over.
    StartUnwritten,
    /// The executor enters any step again after a crash.
    EnterAnything,
    /// The executor takes orders below its position.
    TakeOldPositions,
    /// The executor starts however long ago its poll was.
    StartLate,
    /// The server neither says what was taken back since, nor refuses to begin it.
    StartTakenBack,
    /// The planner is given suppressed items.
    PlanSuppressed,
}

/// Where a defect is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    #[cfg(stanch_defects)]
    Engine(Defect),
    Model(Model),
}

/// A defect that can be planted.
#[derive(Debug, Clone, Copy)]
pub struct Planted {
    /// Its name on the command line.
    pub name: &'static str,
    /// The invariant that must catch it.
    pub invariant: u8,
    /// The rule that is left out.
    pub rule: &'static str,
    pub(crate) place: Place,
}

impl Planted {
    /// The part of the project that it is planted in.
    pub const fn part(&self) -> &'static str {
        match self.place {
            #[cfg(stanch_defects)]
            Place::Engine(_) => "engine",
            Place::Model(Model::NoCompareAndSet | Model::TwoOnALane) => "model of the store",
            Place::Model(Model::HandOutHeld | Model::LookOnce | Model::HoldUndo) => "model of the gateway",
            Place::Model(Model::PlanSuppressed | Model::StartTakenBack) => "model of the server",
            Place::Model(_) => "model of the executor",
        }
    }

    /// Runs something with this defect planted in this thread.
    pub(crate) fn with<T>(planted: Option<&Self>, run: impl FnOnce(Option<Model>) -> T) -> T {
        match planted.map(|planted| planted.place) {
            #[cfg(stanch_defects)]
            Some(Place::Engine(defect)) => stanch_engine::defect::with(Some(defect), || run(None)),
            Some(Place::Model(model)) => run(Some(model)),
            None => run(None),
        }
    }
}

const fn model(name: &'static str, invariant: u8, rule: &'static str, model: Model) -> Planted {
    Planted { name, invariant, rule, place: Place::Model(model) }
}

#[cfg(stanch_defects)]
const fn engine(name: &'static str, invariant: u8, rule: &'static str, defect: Defect) -> Planted {
    Planted { name, invariant, rule, place: Place::Engine(defect) }
}

/// All that this build knows, in the order of the invariants.
pub const ALL: &[Planted] = &[
    #[cfg(stanch_defects)]
    engine("ignore-limit", 1, "no more targets at once than the limit", Defect::IgnoreLimit),
    model("two-on-a-lane", 1, "one task at a time on an asset", Model::TwoOnALane),
    #[cfg(stanch_defects)]
    engine("resend-unknown", 3, "a lost answer is never simply sent again", Defect::ResendUnknown),
    model("start-unwritten", 3, "a start is durable before it happens", Model::StartUnwritten),
    model("enter-anything", 3, "a step that does not resume is not entered again", Model::EnterAnything),
    #[cfg(stanch_defects)]
    engine("take-stale-receipts", 4, "only the newest order's receipt counts", Defect::TakeStaleReceipts),
    model("no-compare-and-set", 4, "a commit on an old generation fails", Model::NoCompareAndSet),
    model("take-old-positions", 3, "only orders of a higher position are taken", Model::TakeOldPositions),
    #[cfg(stanch_defects)]
    engine("ignore-hold", 5, "a hold stops dispatching", Defect::IgnoreHold),
    model("hand-out-held", 5, "orders to act are withheld under a hold", Model::HandOutHeld),
    model("look-once", 5, "what a hold overtakes on its way out does not leave", Model::LookOnce),
    model("hold-undo", 16, "undo goes on while only what is new is held", Model::HoldUndo),
    model("start-late", 5, "an order starts within 60 s of its poll", Model::StartLate),
    #[cfg(stanch_defects)]
    engine("accept-any-hash", 6, "only the approved hash runs", Defect::AcceptAnyHash),
    #[cfg(stanch_defects)]
    engine("empty-is-all", 7, "an undo of nothing takes nothing back", Defect::EmptyIsAll),
    #[cfg(stanch_defects)]
    engine("promote-inconclusive", 10, "a check that cannot tell never promotes", Defect::PromoteInconclusive),
    #[cfg(stanch_defects)]
    engine("skip-bake", 10, "a wave is watched before the next begins", Defect::SkipBake),
    #[cfg(stanch_defects)]
    engine("endless-resend", 12, "an order that never begins is given up", Defect::EndlessResend),
    #[cfg(stanch_defects)]
    engine("skip-cooldown", 12, "attempts have a pause between them and a cap", Defect::SkipCooldown),
    #[cfg(stanch_defects)]
    engine("forget-suppression", 12, "what was taken back is suppressed", Defect::ForgetSuppression),
    model("plan-suppressed", 12, "what is suppressed is not planned", Model::PlanSuppressed),
    model("start-taken-back", 12, "what was taken back since is not begun", Model::StartTakenBack),
    #[cfg(stanch_defects)]
    engine("take-old-facts", 13, "only facts newer than the act count", Defect::TakeOldFacts),
    #[cfg(stanch_defects)]
    engine("skip-intent", 14, "the intent is durable before the order", Defect::SkipIntent),
    #[cfg(stanch_defects)]
    engine("forget-undo", 15, "what was changed before a failure is taken back", Defect::ForgetUndo),
    #[cfg(stanch_defects)]
    engine("hide-reasons", 16, "every wait has a reason", Defect::HideReasons),
    #[cfg(stanch_defects)]
    engine("plan-as-it-comes", 16, "the same targets give the same plan", Defect::PlanAsItComes),
    #[cfg(stanch_defects)]
    engine("own-first", 17, "Stanch's own hosts come last, one by one", Defect::OwnFirst),
];

/// The defect of this name.
pub fn named(name: &str) -> Option<&'static Planted> {
    ALL.iter().find(|planted| planted.name == name)
}

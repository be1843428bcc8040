//! What an action declares of itself, before anything runs.

use serde::Serialize;
use stanch_model::plan::{Disruption, Reversibility};

/// Whether applying again under the same key is harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// By its nature: entering it again leads to the same state.
    Yes,
    /// Through its journal and key only.
    Keyed,
    /// Not at all: after a crash it is reported as interrupted.
    No,
}

/// Where an action runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On the host it changes.
    Host,
    /// In the cloud executor.
    Cloud,
}

/// The declaration of an action.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Its name, `package.upgrade`.
    pub name: &'static str,
    /// What it does, in a sentence for a person.
    pub summary: &'static str,
    /// The D3FEND technique it stands for, `D3-SU`.
    pub technique: &'static str,
    /// JSON Schema of what a [`stanch_model::order::StepRequest`] may want.
    pub request_schema: fn() -> serde_json::Value,
    /// JSON Schema of a planned step's parameters.
    pub params_schema: fn() -> serde_json::Value,
    /// Whether applying again is harmless.
    pub idempotency: Idempotency,
    /// The best class a step of it can have; planning decides for each step.
    pub reversibility: Reversibility,
    /// The most that users notice.
    pub disruption: Disruption,
    /// Undoing it would open a hole again.
    pub closes_exposure: bool,
    /// Names of the points at which it can stop and be resumed, in order.
    pub safe_points: &'static [&'static str],
    /// Where it runs.
    pub place: Place,
    /// It works on files alone, so that a copy of the target's files shows what it would do to the target.
    pub rehearses: bool,
}

//! The conformance suite on the toy action: it is green for a good one and red for each planted defect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use stanch_action::{
    ActionError, ConformanceReport, Crash, Death, Idempotency, Moment, Point, Points, RowResult, Sent, World,
    WorldError, conform,
};
use stanch_model::facts::HostFacts;
use stanch_model::id::AssetId;
use stanch_model::order::{Order, Position, StepRequest, Verb};
use stanch_runner::{NoRules, Runner, Shutdown, Tools, serve};

use crate::desk::{Desk, Session};
use crate::place::{Doom, NOW, Place, files};
use crate::toy::Defect;

/// Two files: one that is there with other content, one that is not.
struct ToyWorld {
    place: Place,
    defect: Defect,
    boots: u32,
    open: BTreeMap<Position, Order>,
}

impl ToyWorld {
    fn new(defect: Defect) -> Self {
        Self { place: Place::new(), defect, boots: 1, open: BTreeMap::new() }
    }

    fn life(&mut self, send: bool, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        let failed = |error: &dyn std::error::Error| WorldError::new(error.to_string());
        let doom = Arc::new(match crash.map(|crash| &crash.point) {
            Some(Point::Append(number, moment)) => Doom::at(*number, *moment == Moment::After),
            _ => Doom::never(),
        });
        let mut desk = Desk::new(NOW).unwrap();
        desk.position = self.place.desk.position;
        let session = Arc::new(Session::new(desk, self.open.clone(), send, Duration::from_secs(20)));
        let told = Arc::clone(&session);
        *doom.on_death.lock().unwrap() = Some(Box::new(move || told.give_up()));
        let runner = Runner::open(&self.place.folder(), self.place.config(Arc::clone(&doom) as _));
        let runner = runner.map_err(|error| failed(&error))?;
        let catalogue = self.place.catalogue();
        let facts = |_: bool| -> Result<HostFacts, ActionError> { Err(ActionError::failed("no facts here")) };
        let shutdown = Shutdown::new();
        let tools = Tools {
            catalogue: &catalogue,
            facts: &facts,
            guard: &NoRules,
            rehearse: None,
            progress: &|_| {},
            shutdown: &shutdown,
        };
        let served = serve(&runner, session.as_ref(), &tools);
        let died = doom.dead.load(Ordering::SeqCst);
        if let (Err(error), false) = (&served, died) {
            return Err(failed(error));
        }
        let (receipts, taken, problem) = session.end();
        if let (Some(problem), false) = (problem, died) {
            return Err(WorldError::new(problem));
        }
        let last = self.place.desk.position;
        for receipt in &receipts {
            self.open.remove(&receipt.position);
        }
        let taken = taken.max(runner.position()) >= last;
        if !taken && died {
            self.open.remove(&last);
        }
        if died && crash.is_some_and(|crash| crash.death == Death::PowerLoss) {
            self.boots += 1;
            self.place.boot_id = format!("boot-{}", self.boots);
        }
        Ok(Sent { receipts, appends: doom.appends.load(Ordering::SeqCst), died, taken })
    }
}

impl World for ToyWorld {
    fn action(&self) -> String {
        "file.set".to_owned()
    }

    fn system(&self) -> String {
        "temporary folder".to_owned()
    }

    fn case(&self) -> String {
        format!("{:?}", self.defect)
    }

    fn idempotency(&self) -> Idempotency {
        if self.defect == Defect::NotIdempotent { Idempotency::No } else { Idempotency::Keyed }
    }

    fn asset(&self) -> AssetId {
        self.place.asset().id
    }

    fn break_it(&mut self) -> Result<(), WorldError> {
        self.place = Place::new();
        self.place.defect = self.defect;
        self.open.clear();
        std::fs::write(self.place.target().join("motd"), "weak").map_err(|error| WorldError::new(error.to_string()))
    }

    fn observe(&mut self) -> Result<Value, WorldError> {
        Ok(json!(files(&self.place.target())))
    }

    fn is_fixed(&mut self) -> Result<bool, WorldError> {
        Ok(self.place.content("motd").as_deref() == Some("strong")
            && self.place.content("new").as_deref() == Some("here"))
    }

    fn happened_twice(&mut self) -> Result<Vec<String>, WorldError> {
        let log = std::fs::read_to_string(self.place.target().join("log")).unwrap_or_default();
        let mut seen = BTreeMap::new();
        for line in log.lines() {
            *seen.entry(line.to_owned()).or_insert(0) += 1;
        }
        Ok(seen.into_iter().filter(|(_, count)| *count > 1).map(|(line, _)| line).collect())
    }

    fn requests(&self) -> Vec<StepRequest> {
        self.place.requests(&[("motd", "strong"), ("new", "here")])
    }

    fn send(&mut self, verb: Verb, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        let order = self.place.desk.order(verb);
        self.open.insert(order.position, order);
        self.life(true, crash)
    }

    fn restart(&mut self, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        self.life(false, crash)
    }

    fn meddle(&mut self) -> Result<bool, WorldError> {
        std::fs::write(self.place.target().join("motd"), "mine").map_err(|error| WorldError::new(error.to_string()))?;
        Ok(true)
    }

    fn is_meddled(&mut self) -> Result<bool, WorldError> {
        Ok(self.place.content("motd").as_deref() == Some("mine"))
    }

    fn bad_wants(&self) -> Vec<Value> {
        vec![json!(null), json!({"name": "../x", "content": ""}), json!({"name": "motd", "content": 7})]
    }

    fn bad_params(&self) -> Vec<Value> {
        vec![json!(null), json!({"name": "../x", "content": "x"}), json!([[[]]])]
    }

    fn deaths(&self) -> Vec<Death> {
        vec![Death::Kill, Death::PowerLoss]
    }
}

fn report(defect: Defect, points: Points) -> ConformanceReport {
    let report = conform(&mut ToyWorld::new(defect), points);
    println!("{}", report.table());
    report
}

#[test]
fn a_good_action_ends_right_whenever_it_is_killed() {
    let report = report(Defect::None, Points::All);
    assert!(report.is_green(), "{}", report.table());
    let crashes = report.rows.iter().filter(|row| row.check.ends_with("crash, restart")).count();
    assert!(crashes > 60, "only {crashes} crash points");
}

#[test]
fn an_action_that_cannot_be_entered_again_is_interrupted_and_taken_back() {
    let report = report(Defect::NotIdempotent, Points::All);
    assert!(report.is_green(), "{}", report.table());
}

#[track_caller]
fn is_caught(defect: Defect, check: &str) {
    let report = report(defect, Points::Sampled(24));
    let caught = report.failed().any(|row| row.check.starts_with(check));
    assert!(caught, "`{check}` does not catch {defect:?}:\n{}", report.table());
}

#[test]
fn each_planted_defect_turns_a_row_red() {
    is_caught(Defect::SetsTwice, "apply, crash");
    is_caught(Defect::ForgetsBefore, "undo restores");
    is_caught(Defect::IgnoresDrift, "drift before");
    is_caught(Defect::Idle, "apply");
    is_caught(Defect::Panics, "apply");
    is_caught(Defect::ActsEarly, "drift before apply");
}

#[test]
fn a_report_says_what_was_not_tried() {
    let report = ConformanceReport::none("host.reboot", "debian-12", "systemd", "no systemd here");
    assert!(!report.is_green());
    assert!(matches!(&report.rows[0].result, RowResult::Untested { why } if why == "no systemd here"));
    let row: Value = serde_json::from_str(report.json_lines().lines().next().unwrap()).unwrap();
    assert_eq!(row["result"], "untested");
}

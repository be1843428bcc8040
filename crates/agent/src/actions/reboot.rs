//! `host.reboot`: the only way to a newer kernel, and to what lasts as long as the host runs.
//!
//! It is declared and planned like everything else, and gated twice: the executor's rules must allow it, and nobody may
//! be at work on the host.
//!
//! The owner's hours bind it wherever it stands in a leaf. An upgrade and the restarts after it are one act, and half of
//! it is worse than all of it late; a host that was upgraded and not rebooted is whole, and going down is what hours are
//! there to keep away. So a reboot whose time has passed is not begun, and what was done before it stands.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stanch_action::catalogue::{self, Declared};
use stanch_action::{Action, ActionError, Applied, Definition, Observation, Place, PlanAnswer, Run, Verification};
use stanch_model::asset::Asset;
use stanch_model::facts::{HostFacts, KernelFacts, KernelImage, Known, StaleProcess};
use stanch_model::id::ItemId;
use stanch_model::lasting::is_lasting;
use stanch_model::order::{CheckOutcome, PlanRefusal, StepRequest};
use stanch_model::plan::{Change, Disruption, PlannedStep, Reversibility};

use super::command::{Invocation, Programs};
use super::health;
use super::sessions;
use super::{check, log, reach, read_params, read_request};
use crate::facts::{self, Options};
use crate::rules::Rules;

/// The action's name.
pub const NAME: &str = DECLARED.name;

const DECLARED: Declared = catalogue::HOST_REBOOT;

const SCHEDULED: &str = "scheduled";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Want {
    when: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum When {
    /// Only if a newer kernel of the running flavour is installed.
    KernelDue,
    /// That, or only a reboot ends what runs files that were replaced.
    Due,
    /// In any case.
    Always,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    boot_id: String,
    running: String,
    expected: String,
}

fn request_schema() -> Value {
    json!({
        "type": "object",
        "required": ["when"],
        "additionalProperties": false,
        "properties": {"when": {"enum": ["kernel_due", "due", "always"]}},
    })
}

fn params_schema() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "required": ["boot_id", "running", "expected"],
        "additionalProperties": false,
        "properties": {"boot_id": text, "running": text, "expected": text},
    })
}

/// What this action needs to know of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    boot_id: String,
    kernel: KernelFacts,
    /// What runs files that were replaced and ends with the host alone.
    lasting: Known<BTreeSet<String>>,
}

/// Reads the boot and the kernels.
fn this_host() -> Result<Seen, ActionError> {
    let facts: HostFacts = facts::host(&Options::this_host().without_copies())
        .map_err(|e| ActionError::caused("cannot read the host's facts", e))?;
    let known = |why: String| ActionError::failed(format!("cannot tell which kernel runs: {why}"));
    let boot_id = match facts.boot_id {
        Known::Known(id) => id,
        Known::Unknown(why) => return Err(known(why)),
    };
    let lasting = match facts.stale {
        Known::Known(processes) => Known::Known(lasting(&processes)),
        Known::Unknown(why) => Known::Unknown(why),
    };
    match facts.kernel {
        Known::Known(kernel) => Ok(Seen { boot_id, kernel, lasting }),
        Known::Unknown(why) => Err(known(why)),
    }
}

/// The names of those that no restart ends.
fn lasting(processes: &[StaleProcess]) -> BTreeSet<String> {
    let own = processes.iter().filter(|process| process.container.is_none());
    own.map(StaleProcess::name).filter(|name| is_lasting(name)).map(str::to_owned).collect()
}

/// The newest installed image of the running one's flavour, if it is not the running one.
pub(crate) fn due(kernel: &KernelFacts) -> Option<&KernelImage> {
    let running = kernel.installed.iter().find(|image| image.release == kernel.running_release)?;
    let newest = kernel
        .installed
        .iter()
        .filter(|image| image.flavour == running.flavour)
        .max_by(|a, b| a.version.cmp(&b.version))?;
    let booted = kernel.running_version.as_ref().unwrap_or(&running.version);
    (newest.version > *booted).then_some(newest)
}

/// The action.
pub struct HostReboot {
    definition: Definition,
    host: Arc<dyn Programs>,
    rules: Rules,
    seen: fn() -> Result<Seen, ActionError>,
}

impl HostReboot {
    /// The action on this host, under these rules.
    pub fn new(host: Arc<dyn Programs>, rules: Rules) -> Self {
        let definition = Definition {
            name: NAME,
            summary: "Reboot the host into its newest installed kernel",
            technique: "D3-SU",
            request_schema,
            params_schema,
            idempotency: DECLARED.idempotency,
            reversibility: DECLARED.reversibility,
            disruption: DECLARED.disruption,
            closes_exposure: DECLARED.closes_exposure,
            safe_points: &[SCHEDULED],
            place: Place::Host,
            rehearses: false,
        };
        Self { definition, host, rules, seen: this_host }
    }

    fn observation(seen: &Seen) -> Observation {
        Observation { projection: json!({"boot_id": seen.boot_id, "kernel": seen.kernel.running_release}) }
    }

    /// Whether the host may go down now.
    fn may_go_down(&self) -> Result<(), ActionError> {
        self.rules.current()?.permit(NAME, super::now(), true)?;
        let sessions = sessions::of_people(self.host.as_ref())?;
        if sessions.is_empty() {
            return Ok(());
        }
        Err(ActionError::refused(format!("people are at work on the host: {}", sessions.join("; "))))
    }

    /// Ends a reboot of a former life that may still be pending: what is refused must not happen.
    fn call_off(&self, run: &mut dyn Run) -> Result<(), ActionError> {
        let output = self
            .host
            .run(&Invocation::changing("shutdown", ["-c"], log(run)?))
            .map_err(|e| ActionError::caused("cannot cancel the reboot", e))?;
        run.evidence("shutdown -c", &output.stdout);
        Ok(())
    }
}

impl Action for HostReboot {
    fn definition(&self) -> &Definition {
        &self.definition
    }

    fn observe(&self, _target: &Asset, _params: &Value) -> Result<Observation, ActionError> {
        Ok(Self::observation(&(self.seen)()?))
    }

    fn plan(&self, _target: &Asset, requests: &[StepRequest]) -> Result<PlanAnswer, ActionError> {
        let mut answer = PlanAnswer::default();
        let mut wanted = Vec::new();
        let (mut always, mut libraries) = (false, false);
        for request in requests {
            let want: Want = read_request(request)?;
            always |= want.when == When::Always;
            libraries |= want.when == When::Due;
            wanted.extend(request.items.iter().cloned());
        }
        if let Err(error) = self.rules.current()?.permit(NAME, super::now(), true) {
            answer.refused.push(PlanRefusal {
                items: wanted,
                reason: error.to_string(),
                hint: Some(format!("`reboot = true` in {}", crate::rules::PATH)),
            });
            return Ok(answer);
        }
        let seen = (self.seen)()?;
        let newer = due(&seen.kernel);
        let lasting = match &seen.lasting {
            Known::Known(names) => names.clone(),
            Known::Unknown(why) if libraries && newer.is_none() && !always => {
                let reason = format!("what runs files that were replaced cannot be told: {why}");
                answer.refused.push(PlanRefusal { items: wanted, reason, hint: None });
                return Ok(answer);
            }
            Known::Unknown(_) => BTreeSet::new(),
        };
        if newer.is_none() && !always && (!libraries || lasting.is_empty()) {
            answer.compliant = wanted;
            return Ok(answer);
        }
        let running = seen.kernel.running_release.clone();
        let expected = newer.map_or_else(|| running.clone(), |image| image.release.clone());
        let version = newer.map(|image| format!("{} {}", image.package, image.version));
        let params = Params { boot_id: seen.boot_id.clone(), running: running.clone(), expected: expected.clone() };
        let freed = lasting.into_iter().map(|name| Change {
            subject: name,
            before: Some("runs files that were replaced".to_owned()),
            after: Some("runs those on disk".to_owned()),
            note: None,
        });
        let kernel =
            Change { subject: "kernel".to_owned(), before: Some(running), after: Some(expected), note: version };
        answer.steps.push(PlannedStep {
            action: NAME.to_owned(),
            params: serde_json::to_value(params).map_err(|e| ActionError::caused("cannot write the parameters", e))?,
            before: Self::observation(&seen)
                .digest()
                .map_err(|e| ActionError::caused("the projection has no digest", e))?,
            changes: std::iter::once(kernel).chain(freed).collect(),
            reversibility: Reversibility::Transient,
            undo: "cancels the reboot while it has not begun; afterwards there is nothing to restore".to_owned(),
            disruption: Disruption::Outage,
        });
        Ok(answer)
    }

    fn ready(&self, _target: &Asset, step: &PlannedStep) -> Result<(), ActionError> {
        let params: Params = read_params(&step.params)?;
        // A host that went down since is not taken down again: that is told whatever the hour.
        if (self.seen)()?.boot_id == params.boot_id { self.may_go_down() } else { Ok(()) }
    }

    fn apply(&self, _target: &Asset, step: &PlannedStep, run: &mut dyn Run) -> Result<Applied, ActionError> {
        let params: Params = read_params(&step.params)?;
        let seen = (self.seen)()?;
        let line = Change {
            subject: "kernel".to_owned(),
            before: Some(params.running.clone()),
            after: Some(seen.kernel.running_release.clone()),
            note: None,
        };
        let scheduled = run.reached().iter().any(|checkpoint| checkpoint.point == SCHEDULED);
        if scheduled && seen.boot_id != params.boot_id {
            return Ok(Applied { changed: true, changes: vec![line], after: Self::observation(&seen) });
        }
        if seen.boot_id != params.boot_id
            && seen.kernel.running_release == params.expected
            && due(&seen.kernel).is_none()
        {
            // It went down without us (a power loss, a person) and came up as wanted.
            return Ok(Applied { changed: false, changes: Vec::new(), after: Self::observation(&seen) });
        }
        if let Err(error) = self.may_go_down() {
            if scheduled {
                self.call_off(run)?;
            }
            return Err(error);
        }
        let after = Self::observation(&seen);
        if after.digest().map_err(|e| ActionError::caused("the projection has no digest", e))? != step.before {
            return Err(ActionError::Refused {
                message: "the host was rebooted since this was planned".to_owned(),
                moved: vec![line],
            });
        }
        if !scheduled {
            reach(run, SCHEDULED, json!({"boot_id": params.boot_id}))?;
        }
        let why = "Stanch: reboot into the newest kernel";
        let output = self
            .host
            .run(&Invocation::changing("shutdown", ["-r", "+1", why], log(run)?))
            .map_err(|e| ActionError::caused("cannot schedule the reboot", e))?;
        run.evidence("shutdown -r", &output.stdout);
        if !output.ok() {
            return Err(ActionError::failed(format!("the reboot was not scheduled: {}", output.complaint())));
        }
        let line = Change { after: Some("rebooting in a minute".to_owned()), ..line };
        Ok(Applied { changed: true, changes: vec![line], after })
    }

    fn verify(&self, _target: &Asset, step: &PlannedStep) -> Result<Verification, ActionError> {
        let params: Params = read_params(&step.params)?;
        let seen = (self.seen)()?;
        let running = &seen.kernel.running_release;
        let (outcome, detail) = if seen.boot_id == params.boot_id {
            (CheckOutcome::Inconclusive, "the host has not rebooted yet".to_owned())
        } else if *running == params.expected && due(&seen.kernel).is_none() {
            (CheckOutcome::Successful, format!("rebooted, {running} runs"))
        } else {
            (CheckOutcome::Failed, format!("rebooted, but {running} runs and not {}", params.expected))
        };
        let mut checks = vec![check("kernel", outcome, detail)];
        checks.extend(health::checks(self.host.as_ref(), &self.rules.current()?));
        Ok(Verification { checks })
    }

    fn undo(
        &self,
        _target: &Asset,
        step: &PlannedStep,
        _items: &[ItemId],
        run: &mut dyn Run,
    ) -> Result<Applied, ActionError> {
        let params: Params = read_params(&step.params)?;
        let seen = (self.seen)()?;
        let pending = seen.boot_id == params.boot_id && run.applied().iter().any(|point| point.point == SCHEDULED);
        if pending {
            self.call_off(run)?;
        }
        Ok(Applied { changed: pending, changes: Vec::new(), after: Self::observation(&seen) })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Mutex;

    use stanch_action::{Checkpoint, StopRequested};
    use stanch_model::asset::AssetKind;
    use stanch_model::canonical::Digest;

    use super::*;
    use crate::actions::command::{CommandError, Output};

    /// Programs that only note what they were asked to do.
    #[derive(Default)]
    struct Double {
        calls: Mutex<Vec<String>>,
        people: &'static str,
    }

    impl Programs for Double {
        fn run(&self, invocation: &Invocation) -> Result<Output, CommandError> {
            let people = ["who", "loginctl"].contains(&invocation.program);
            if !people {
                self.calls.lock().unwrap().push(invocation.shown());
            }
            let stdout = if people { self.people.into() } else { Vec::new() };
            Ok(Output { code: Some(0), stdout, stderr: Vec::new() })
        }

        fn has(&self, _program: &str) -> bool {
            true
        }
    }

    struct Notes {
        reached: Vec<Checkpoint>,
        folder: tempfile::TempDir,
    }

    impl Run for Notes {
        fn key(&self) -> Digest {
            Digest::of_bytes(b"key")
        }

        fn reached(&self) -> &[Checkpoint] {
            &self.reached
        }

        fn applied(&self) -> &[Checkpoint] {
            &self.reached
        }

        fn checkpoint(&mut self, point: &str, state: Value) -> Result<Option<StopRequested>, ActionError> {
            self.reached.push(Checkpoint { point: point.to_owned(), state });
            Ok(None)
        }

        fn progress(&mut self, _message: &str) {}

        fn evidence(&mut self, _name: &str, _output: &[u8]) {}

        fn vault(&self) -> Result<PathBuf, ActionError> {
            Ok(self.folder.path().to_owned())
        }
    }

    fn seen(boot: &str, running: &str, version: &str) -> Seen {
        let image = |release: &str, flavour: &str, version: &str| KernelImage {
            package: format!("linux-image-{release}"),
            release: release.to_owned(),
            flavour: flavour.to_owned(),
            version: version.parse().unwrap(),
        };
        let kernel = KernelFacts {
            running_release: running.to_owned(),
            running_version: Some(version.parse().unwrap()),
            installed: vec![
                image("6.1.0-9-amd64", "amd64", "6.1.27-1"),
                image("6.1.0-50-amd64", "amd64", "6.1.176-1"),
                image("6.1.0-51-rt-amd64", "rt-amd64", "6.1.180-1"),
            ],
        };
        Seen { boot_id: boot.to_owned(), kernel, lasting: Known::Known(BTreeSet::new()) }
    }

    fn on_old_files() -> Result<Seen, ActionError> {
        let lasting = Known::Known(BTreeSet::from(["dbus.service".to_owned()]));
        Ok(Seen { lasting, ..seen("one", "6.1.0-50-amd64", "6.1.176-1") })
    }

    #[test]
    fn what_only_a_reboot_ends_is_a_reason_for_one_where_it_is_asked_for() {
        let (action, _) = action("", true, on_old_files);
        let target = Asset::unlabelled(AssetKind::Host, "x", "x");
        let plan = |when: &str| {
            let want = json!({ "when": when });
            let request = StepRequest { action: NAME.to_owned(), want, items: Vec::new() };
            action.plan(&target, &[request]).unwrap()
        };
        assert!(plan("kernel_due").steps.is_empty(), "the newest kernel runs");
        let [step] = &plan("due").steps[..] else { panic!("one step") };
        let changes: Vec<_> = step.changes.iter().map(|change| change.subject.as_str()).collect();
        assert_eq!(changes, ["kernel", "dbus.service"]);
        assert_eq!(step.disruption, Disruption::Outage);
        let (action, _) = self::action("", true, after);
        let want = json!({ "when": "due" });
        let request = StepRequest { action: NAME.to_owned(), want, items: Vec::new() };
        assert!(action.plan(&target, &[request]).unwrap().steps.is_empty(), "nothing runs old files");
    }

    fn before() -> Result<Seen, ActionError> {
        Ok(seen("one", "6.1.0-9-amd64", "6.1.27-1"))
    }

    fn after() -> Result<Seen, ActionError> {
        Ok(seen("two", "6.1.0-50-amd64", "6.1.176-1"))
    }

    fn action(
        people: &'static str,
        allowed: bool,
        seen: fn() -> Result<Seen, ActionError>,
    ) -> (HostReboot, Arc<Double>) {
        ruled(people, &format!("reboot = {allowed}\n"), seen)
    }

    fn ruled(people: &'static str, rules: &str, seen: fn() -> Result<Seen, ActionError>) -> (HostReboot, Arc<Double>) {
        let host = Arc::new(Double { people, ..Double::default() });
        let rules = Rules::parse(rules).unwrap();
        (HostReboot { seen, ..HostReboot::new(Arc::clone(&host) as Arc<dyn Programs>, rules) }, host)
    }

    /// The hours are over, whatever the time is.
    const OVER: &str = "reboot = true\n[[hours]]\nfrom = \"00:00\"\nuntil = \"00:00\"\n";

    fn elsewhere() -> Result<Seen, ActionError> {
        Ok(seen("three", "6.1.0-9-amd64", "6.1.27-1"))
    }

    fn asset() -> Asset {
        Asset::unlabelled(AssetKind::Host, "x", "x")
    }

    fn step() -> PlannedStep {
        let want = json!({"when": "kernel_due"});
        let request = StepRequest { action: NAME.to_owned(), want, items: Vec::new() };
        action("", true, before).0.plan(&asset(), &[request]).unwrap().steps.remove(0)
    }

    fn notes() -> Notes {
        Notes { reached: Vec::new(), folder: tempfile::tempdir().unwrap() }
    }

    #[test]
    fn a_newer_kernel_of_the_same_flavour_is_due_and_no_other() {
        let change = &step().changes[0];
        assert_eq!(
            (change.before.as_deref(), change.after.as_deref()),
            (Some("6.1.0-9-amd64"), Some("6.1.0-50-amd64"))
        );
        assert!(due(&seen("x", "6.1.0-50-amd64", "6.1.176-1").kernel).is_none());
        // The same release in a newer build: what was booted is older than what is on disk.
        assert!(due(&seen("x", "6.1.0-50-amd64", "6.1.170-1").kernel).is_some());
    }

    #[test]
    fn it_is_scheduled_once_the_rules_allow_it_and_nobody_is_at_work() {
        let (reboot, host) = action("", true, before);
        let mut run = notes();
        assert!(reboot.apply(&asset(), &step(), &mut run).unwrap().changed);
        assert_eq!(*host.calls.lock().unwrap(), ["shutdown -r +1 Stanch: reboot into the newest kernel"]);

        // After the reboot the same key only tells what happened.
        let (reboot, host) = action("", true, after);
        assert!(reboot.apply(&asset(), &step(), &mut run).unwrap().changed);
        assert!(host.calls.lock().unwrap().is_empty());
        let checks = reboot.verify(&asset(), &step()).unwrap().checks;
        assert_eq!(checks[0].outcome, CheckOutcome::Successful);
        assert!(!reboot.undo(&asset(), &step(), &[], &mut run).unwrap().changed);
    }

    #[test]
    fn it_is_refused_without_leave_with_people_or_after_another_reboot() {
        for (people, allowed, seen, word) in [
            ("", false, before as fn() -> _, "do not allow a reboot"),
            ("ada pts/0\n", true, before, "ada"),
            ("", true, elsewhere, "rebooted since"),
        ] {
            let (reboot, host) = action(people, allowed, seen);
            let error = reboot.apply(&asset(), &step(), &mut notes()).unwrap_err();
            assert!(matches!(error, ActionError::Refused { .. }) && error.to_string().contains(word), "{error}");
            assert!(host.calls.lock().unwrap().is_empty());
        }
    }

    #[test]
    fn it_may_not_begin_outside_the_hours_or_beside_people_even_as_the_last_step_of_a_leaf() {
        for (people, rules, word) in
            [("", OVER, "(hours)"), ("ada pts/0\n", "reboot = true\n", "ada"), ("", "reboot = true\n", "")]
        {
            let ready = ruled(people, rules, before).0.ready(&asset(), &step());
            match ready {
                Ok(()) => assert_eq!(word, ""),
                Err(error) => assert!(!word.is_empty() && error.to_string().contains(word), "{error}"),
            }
        }
        ruled("ada pts/0\n", OVER, after).0.ready(&asset(), &step()).expect("it is over: nobody goes down");
    }

    #[test]
    fn one_that_is_refused_when_it_is_entered_again_is_called_off() {
        let mut run = notes();
        run.checkpoint(SCHEDULED, Value::Null).unwrap();
        let (reboot, host) = ruled("", OVER, before);
        assert!(matches!(reboot.apply(&asset(), &step(), &mut run), Err(ActionError::Refused { .. })));
        assert_eq!(*host.calls.lock().unwrap(), ["shutdown -c"]);
    }

    #[test]
    fn a_host_that_came_up_as_wanted_by_itself_is_not_rebooted_again() {
        let (reboot, host) = action("", true, after);
        assert!(!reboot.apply(&asset(), &step(), &mut notes()).unwrap().changed);
        assert!(host.calls.lock().unwrap().is_empty());
    }

    #[test]
    fn a_pending_reboot_is_cancelled_and_not_verified() {
        let (reboot, host) = action("", true, before);
        let mut run = notes();
        reboot.apply(&asset(), &step(), &mut run).unwrap();
        assert_eq!(reboot.verify(&asset(), &step()).unwrap().checks[0].outcome, CheckOutcome::Inconclusive);
        assert!(reboot.undo(&asset(), &step(), &[], &mut run).unwrap().changed);
        assert_eq!(host.calls.lock().unwrap().last().unwrap(), "shutdown -c");
    }
}

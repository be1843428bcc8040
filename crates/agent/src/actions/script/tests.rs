//! A script on this host: what it is let do, what it is refused, and what it gets to see.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use stanch_action::StopRequested;
use stanch_model::asset::AssetKind;
use stanch_model::order::Evidence;
use stanch_testkit::{ScriptKey, root_or_skip};

use super::*;
use crate::actions::Host;

const MANIFEST: &str = r#"name = "mode"
version = 1
summary = "Takes write access for others from a file"
interpreter = "/bin/sh"
expires = "2999-12-31"
idempotent = true
files_only = true
disruption = "none"
timeout_seconds = 20
output_bytes = 20000
looks_as = "root"
acts_as = "root"

[[parameter]]
name = "file"
kind = "path"

[[parameter]]
name = "mode"
kind = "integer"
min = 0
max = 777
default = 600

[files]
"#;

const EVALUATE: &str = r#"mode=$(stat -c %a "$1") || exit 2
printf '{"mode": "%s"}' "$mode"
[ "$mode" = "$2" ]
"#;
const REMEDIATE: &str = "echo \"chmod $2 $1\"\nchmod \"$2\" \"$1\"\n";
const UNDO: &str = "mode=$(sed -n 's/.*\"mode\":\"\\([0-7]*\\)\".*/\\1/p')\nchmod \"$mode\" \"$1\"\n";

/// One host with its script and a file that has the problem.
struct Case {
    folder: tempfile::TempDir,
    keys: ScriptKey,
    manifest: String,
    files: BTreeMap<Part, String>,
    rules: String,
}

#[derive(Default)]
struct Journal {
    reached: Vec<Checkpoint>,
    applied: Vec<Checkpoint>,
    evidence: Vec<Evidence>,
    vault: PathBuf,
}

impl Run for Journal {
    fn key(&self) -> Digest {
        Digest::of_bytes(b"key")
    }

    fn reached(&self) -> &[Checkpoint] {
        &self.reached
    }

    fn applied(&self) -> &[Checkpoint] {
        &self.applied
    }

    fn checkpoint(&mut self, point: &str, state: Value) -> Result<Option<StopRequested>, ActionError> {
        self.reached.push(Checkpoint { point: point.to_owned(), state });
        Ok(None)
    }

    fn progress(&mut self, _message: &str) {}

    fn evidence(&mut self, name: &str, output: &[u8]) {
        self.evidence.push(stanch_runner::evidence(name, output));
    }

    fn vault(&self) -> Result<PathBuf, ActionError> {
        Ok(self.vault.clone())
    }
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        let files = [(Part::Evaluate, EVALUATE), (Part::Remediate, REMEDIATE), (Part::Undo, UNDO)];
        Self {
            folder,
            keys: ScriptKey::new().unwrap(),
            manifest: MANIFEST.to_owned(),
            files: files.into_iter().map(|(part, text)| (part, text.to_owned())).collect(),
            rules: String::new(),
        }
    }

    fn with(mut self, part: Part, text: &str) -> Self {
        self.files.insert(part, text.to_owned());
        self
    }

    fn saying(mut self, from: &str, to: &str) -> Self {
        assert!(self.manifest.contains(from));
        self.manifest = self.manifest.replace(from, to);
        self
    }

    fn ruled(mut self, rules: &str) -> Self {
        self.rules = rules.to_owned();
        self
    }

    fn script(&self) -> Script {
        self.keys.sign(&self.manifest, &self.files).unwrap()
    }

    fn action(&self) -> ScriptRun {
        let rules = format!("[scripts]\nkeys = [\"{}\"]\n{}", self.keys.public(), self.rules);
        ScriptRun::new(Arc::new(Host::default()), Rules::parse(&rules).unwrap())
    }

    fn request_of(&self, script: &Script) -> StepRequest {
        let want = json!({"script": script, "arguments": {"file": self.file()}});
        StepRequest { action: NAME.to_owned(), want, items: vec![item(1)] }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    fn mode(&self) -> u32 {
        fs::metadata(self.file()).unwrap().permissions().mode() & 0o777
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.file(), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn planned(&self) -> PlanAnswer {
        self.action().plan(&asset(), &[self.request_of(&self.script())]).unwrap()
    }

    fn step(&self) -> PlannedStep {
        let mut answer = self.planned();
        assert!(answer.refused.is_empty(), "{:?}", answer.refused);
        answer.steps.remove(0)
    }

    fn journal(&self) -> Journal {
        let vault = self.folder.path().join("vault");
        fs::create_dir_all(&vault).unwrap();
        Journal { vault, ..Journal::default() }
    }

    /// Why it is not planned.
    fn refused(&self) -> String {
        let answer = self.planned();
        assert!(answer.steps.is_empty());
        answer.refused[0].reason.clone()
    }
}

fn item(number: u8) -> ItemId {
    ItemId::from_entropy([number; 10])
}

fn asset() -> Asset {
    Asset::unlabelled(AssetKind::Host, "x", "x")
}

fn undoing(applied: Journal) -> Journal {
    Journal { applied: applied.reached, vault: applied.vault, ..Journal::default() }
}

#[test]
fn it_is_planned_applied_verified_and_taken_back() {
    if !root_or_skip().unwrap() {
        return;
    }
    let case = Case::new();
    let (step, action) = (case.step(), case.action());
    assert_eq!(step.reversibility, Reversibility::Restorable);
    assert_eq!(step.changes[0].before.as_deref(), Some("{\"mode\":\"666\"}"));
    assert!(step.changes[0].note.as_ref().unwrap().contains("/bin/sh as root with file=/"));
    assert_eq!(case.mode(), 0o666, "planning looks only");

    let mut run = case.journal();
    assert!(action.apply(&asset(), &step, &mut run).unwrap().changed);
    assert_eq!(case.mode(), 0o600);
    assert_eq!(run.evidence[0].text, format!("chmod 600 {}\n", case.file().display()));
    assert_eq!(action.verify(&asset(), &step).unwrap().checks[0].outcome, CheckOutcome::Successful);
    assert!(!action.apply(&asset(), &step, &mut case.journal()).unwrap().changed, "a new attempt is harmless");
    assert_eq!(case.planned().compliant, [item(1)]);

    let mut back = undoing(run);
    assert!(action.undo(&asset(), &step, &[item(1)], &mut back).unwrap().changed);
    assert_eq!(case.mode(), 0o666);
    assert_eq!(action.verify(&asset(), &step).unwrap().checks[0].outcome, CheckOutcome::Failed);

    let told = Case::new().with(Part::Remediate, "echo \"$0\"\nchmod \"$2\" \"$1\"\n");
    let mut run = told.journal();
    told.action().apply(&asset(), &told.step(), &mut run).unwrap();
    let laid = run.evidence[0].text.trim();
    assert!(laid.starts_with("/run/stanch-scripts/") && !Path::new(laid).exists(), "{laid}");
}

#[test]
fn a_script_that_nobody_believed_here_has_signed_does_not_run() {
    if !root_or_skip().unwrap() {
        return;
    }
    let case = Case::new();
    let none = ScriptRun::new(Arc::new(Host::default()), Rules::default());
    let request = case.request_of(&case.script());
    assert!(none.plan(&asset(), &[request]).unwrap().refused[0].reason.contains("believes no key"));

    let other = Case::new();
    let foreign = case.request_of(&Script { signature: other.script().signature, ..case.script() });
    let unsigned = case.request_of(&Script { signature: String::new(), ..case.script() });
    let garbled = case.request_of(&Script { signature: "untrusted comment: x\nRW\n".to_owned(), ..case.script() });
    let stranger = case.request_of(&Case::new().script());
    for (request, word) in [
        (foreign, "not signed by"),
        (unsigned, "not signed"),
        (garbled, "none of minisign"),
        (stranger, "not signed by"),
    ] {
        let answer = case.action().plan(&asset(), std::slice::from_ref(&request)).unwrap();
        assert!(answer.steps.is_empty() && answer.refused[0].reason.contains(word), "{:?}", answer.refused);
        // What is refused when it is planned is refused when it is ordered all the same.
        let mut params = request.want.clone();
        params["items"] = json!([item(1)]);
        let step = PlannedStep { params, ..case.step() };
        let error = case.action().apply(&asset(), &step, &mut case.journal()).unwrap_err();
        assert!(matches!(&error, ActionError::Refused { .. }) && error.to_string().contains(word), "{error}");
    }
    assert_eq!(case.mode(), 0o666);
}

#[test]
fn a_script_that_was_changed_after_it_was_signed_does_not_run() {
    if !root_or_skip().unwrap() {
        return;
    }
    let case = Case::new();
    let signed = case.script();
    let mut file = signed.clone();
    file.files.insert(Part::Remediate, "chmod 777 \"$1\"\n".to_owned());
    let mut more = signed.clone();
    more.files.insert(Part::Verify, "exit 0\n".to_owned());
    let manifest = Script { manifest: signed.manifest.replace("2999", "3999"), ..signed };
    for (script, word) in [(file, "`remediate` was changed"), (more, "does not name it"), (manifest, "not signed by")] {
        let answer = case.action().plan(&asset(), &[case.request_of(&script)]).unwrap();
        assert!(answer.refused[0].reason.contains(word), "{:?}", answer.refused);
        let mut step = case.step();
        step.params["script"] = serde_json::to_value(&script).unwrap();
        assert!(matches!(case.action().apply(&asset(), &step, &mut case.journal()), Err(ActionError::Refused { .. })));
    }
    assert_eq!(case.mode(), 0o666);
}

#[test]
fn the_hosts_own_bounds_hold_when_it_plans_and_when_it_acts() {
    if !root_or_skip().unwrap() {
        return;
    }
    let print = Case::new().script().fingerprint();
    let step = Case::new().step();
    assert_eq!(print.to_string().len(), 64);
    for (case, word) in [
        (Case::new().saying("2999-12-31", "2020-01-01"), "expired"),
        (Case::new().ruled("revoked = [\"mode@1\"]\n"), "revoked"),
        (Case::new().saying("idempotent", "systems = [\"plan9 4\"]\nidempotent"), "plan9 4"),
        (
            Case::new()
                .saying("[[parameter]]\nname = \"file\"", "[labels]\nrole = \"web\"\n[[parameter]]\nname = \"file\""),
            "role=web",
        ),
        (Case::new().saying("/bin/sh", "/bin/cat"), "no interpreter"),
        (Case::new().ruled("interpreters = []\n"), "no interpreter"),
        (Case::new().saying("acts_as = \"root\"", "acts_as = \"no-such-user\""), "no account"),
        (Case::new().saying("kind = \"path\"", "kind = \"package\""), "name of a package"),
    ] {
        assert!(case.refused().contains(word), "{}", case.refused());
        let mut step = PlannedStep { ..step.clone() };
        step.params = json!({"script": case.script(), "arguments": {"file": case.file()}, "items": [item(1)]});
        let error = case.action().apply(&asset(), &step, &mut case.journal()).unwrap_err();
        assert!(matches!(&error, ActionError::Refused { .. }) && error.to_string().contains(word), "{error}");
        assert_eq!(case.mode(), 0o666);
    }
    let by_print = Case::new();
    let rules = format!("revoked = [\"{}\"]\n", by_print.script().fingerprint());
    assert!(by_print.ruled(&rules).refused().contains("revoked"));
    let labelled = Case::new()
        .saying("[[parameter]]\nname = \"file\"", "[labels]\nrole = \"web\"\n[[parameter]]\nname = \"file\"")
        .ruled("labels = { role = \"web\" }\n");
    assert_eq!(labelled.planned().steps.len(), 1);
}

#[test]
fn a_script_whose_day_is_over_can_still_be_taken_back_and_a_revoked_one_cannot() {
    if !root_or_skip().unwrap() {
        return;
    }
    let case = Case::new();
    let mut run = case.journal();
    let step = case.step();
    case.action().apply(&asset(), &step, &mut run).unwrap();
    let mut back = undoing(run);
    let expired = case.saying("2999-12-31", "2020-01-01");
    let mut late = step.clone();
    late.params["script"] = serde_json::to_value(expired.script()).unwrap();
    assert!(matches!(
        expired.action().apply(&asset(), &late, &mut expired.journal()),
        Err(ActionError::Refused { .. })
    ));
    let revoked = ScriptRun::new(
        Arc::new(Host::default()),
        Rules::parse(&format!("[scripts]\nkeys = [\"{}\"]\nrevoked = [\"mode@1\"]\n", expired.keys.public())).unwrap(),
    );
    assert!(revoked.undo(&asset(), &late, &[item(1)], &mut back).unwrap_err().to_string().contains("revoked"));
    assert!(expired.action().undo(&asset(), &late, &[item(1)], &mut back).unwrap().changed);
    assert_eq!(expired.mode(), 0o666);
}

#[test]
fn drift_is_refused_before_apply_and_before_undo() {
    if !root_or_skip().unwrap() {
        return;
    }
    let case = Case::new();
    let (step, action) = (case.step(), case.action());
    case.set_mode(0o646);
    match action.apply(&asset(), &step, &mut case.journal()).unwrap_err() {
        ActionError::Refused { moved, .. } => assert_eq!(
            (moved[0].before.as_deref(), moved[0].after.as_deref()),
            (Some("{\"mode\":\"666\"}"), Some("{\"mode\":\"646\"}"))
        ),
        other => panic!("{other}"),
    }
    case.set_mode(0o666);
    let mut run = case.journal();
    action.apply(&asset(), &step, &mut run).unwrap();
    case.set_mode(0o640);
    match action.undo(&asset(), &step, &[item(1)], &mut undoing(run)).unwrap_err() {
        ActionError::Refused { moved, .. } => assert_eq!(moved[0].after.as_deref(), Some("{\"mode\":\"640\"}")),
        other => panic!("{other}"),
    }
    assert_eq!(case.mode(), 0o640, "what somebody else did stays");
}

#[test]
fn undo_is_for_all_its_items_and_leads_on_from_any_point() {
    if !root_or_skip().unwrap() {
        return;
    }
    let case = Case::new();
    let mut request = case.request_of(&case.script());
    request.items.push(item(2));
    let step = case.action().plan(&asset(), &[request]).unwrap().steps.remove(0);
    let mut run = case.journal();
    case.action().apply(&asset(), &step, &mut run).unwrap();
    let mut back = undoing(run);
    let error = case.action().undo(&asset(), &step, &[item(1)], &mut back).unwrap_err();
    assert!(error.to_string().contains("other items"), "{error}");
    // Broken off after it was captured: nobody knows how far remediate came.
    back.applied.truncate(1);
    case.set_mode(0o604);
    assert!(case.action().undo(&asset(), &step, &[item(2), item(1)], &mut back).unwrap().changed);
    assert_eq!(case.mode(), 0o666);
    let mut nothing = Journal { applied: Vec::new(), ..undoing(case.journal()) };
    assert!(!case.action().undo(&asset(), &step, &[item(2), item(1)], &mut nothing).unwrap().changed);
}

#[test]
fn a_script_without_undo_is_one_way_and_says_so() {
    if !root_or_skip().unwrap() {
        return;
    }
    let mut case = Case::new();
    case.files.remove(&Part::Undo);
    let step = case.step();
    assert_eq!((step.reversibility, step.undo.as_str()), (Reversibility::OneWay, "mode@1 has no undo"));
    assert_eq!(case.action().idempotency(&step), Idempotency::Yes);
    let keyed = Case::new().saying("idempotent = true\nfiles_only = true\n", "");
    let step = keyed.step();
    assert_eq!(keyed.action().idempotency(&step), Idempotency::No);
    assert!(!keyed.action().rehearses(&step) && case.action().rehearses(&case.step()));
}

#[test]
fn time_and_output_are_limited_and_nothing_is_left_running() {
    if !root_or_skip().unwrap() {
        return;
    }
    let mark = format!("7{:06}", std::process::id());
    let late = Case::new().saying("timeout_seconds = 20", "timeout_seconds = 1");
    let late = late.with(Part::Remediate, &format!("echo begun\nsleep {mark} & sleep {mark}\n"));
    let mut run = late.journal();
    let error = late.action().apply(&asset(), &late.step(), &mut run).unwrap_err().to_string();
    assert!(error.contains("remediate of mode@1 was not done after 1 s and was ended"), "{error}");
    assert_eq!(run.evidence[0].text, "begun\n", "what it wrote is kept");

    let endless = Case::new().saying("timeout_seconds = 20", "timeout_seconds = 600").with(Part::Remediate, "yes\n");
    let mut run = endless.journal();
    let error = endless.action().apply(&asset(), &endless.step(), &mut run).unwrap_err().to_string();
    assert!(error.contains("wrote more than 20000 bytes and was ended"), "{error}");
    let talkative = Case::new().with(Part::Evaluate, "yes >&2\n");
    assert!(talkative.refused().contains("wrote more than"), "{}", talkative.refused());

    let litter = Case::new().with(Part::Remediate, &format!("sleep {mark} &\nchmod \"$2\" \"$1\"\n"));
    litter.action().apply(&asset(), &litter.step(), &mut litter.journal()).unwrap();
    let alive = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&mark)
            && fs::read_to_string(entry.path().join("stat")).is_ok_and(|stat| !stat.contains(") Z"))
    });
    assert_eq!(alive.count(), 0);
}

#[test]
fn a_script_sees_no_secret_of_the_executor_and_its_own_are_masked() {
    if !root_or_skip().unwrap() {
        return;
    }
    // The tests' own environment stands for the executor's: it has more in it than a script may see.
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
    let case = Case::new().with(Part::Remediate, "env\ncat\necho db_password=hunter2\nchmod \"$2\" \"$1\"\n");
    let mut run = case.journal();
    case.action().apply(&asset(), &case.step(), &mut run).unwrap();
    let wrote = &run.evidence[0].text;
    assert!(wrote.contains("PATH=/usr/sbin") && !wrote.contains("CARGO"), "{wrote}");
    assert!(wrote.contains("db_password=[masked]") && !wrote.contains("hunter2"), "{wrote}");

    let shown = Case::new().with(Part::Evaluate, "echo '{\"token\": \"hunter2\"}'\nexit 1\n");
    let step = shown.step();
    assert!(step.changes[0].before.as_ref().unwrap().contains("[masked]"), "{:?}", step.changes);
}

#[test]
fn it_runs_as_the_account_it_names_and_looks_as_nobody_by_itself() {
    if !root_or_skip().unwrap() {
        return;
    }
    let who = "printf '{\"who\": \"%s\", \"groups\": \"%s\"}' \"$(id -un)\" \"$(id -G)\"\nexit 1\n";
    let case = Case::new().saying("looks_as = \"root\"\n", "").with(Part::Evaluate, who);
    let shown = case.step().changes[0].before.clone().unwrap();
    assert!(shown.contains("\"who\":\"nobody\"") && shown.contains("\"groups\":\"65534\""), "{shown}");
    let unable = Case::new().saying("acts_as = \"root\"", "acts_as = \"nobody\"");
    fs::set_permissions(unable.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let error = unable.action().apply(&asset(), &unable.step(), &mut unable.journal()).unwrap_err().to_string();
    assert!(error.contains("ended with 1") && error.contains("not permitted"), "{error}");
}

#[test]
fn what_evaluate_says_has_to_be_an_observation() {
    if !root_or_skip().unwrap() {
        return;
    }
    for (evaluate, word) in [
        ("echo x; exit 1\n", "no JSON object"),
        ("echo '[1]'; exit 1\n", "no object"),
        ("echo '{\"a\": 1.5}'; exit 1\n", "digest"),
        ("echo no such thing >&2; exit 3\n", "cannot tell: it ended with 3: no such thing"),
        ("kill -9 $$\n", "a signal"),
    ] {
        let why = Case::new().with(Part::Evaluate, evaluate).refused();
        assert!(why.contains(word), "{evaluate}: {why}");
    }
    let silent = Case::new().with(Part::Evaluate, "exit 1\n");
    assert_eq!(silent.step().changes[0].before.as_deref(), Some("not as wanted"));
    let liar = silent.action().apply(&asset(), &silent.step(), &mut silent.journal()).unwrap_err().to_string();
    assert!(liar.contains("evaluate says it is not so"), "{liar}");
}

#[test]
fn a_trial_says_which_promises_a_script_holds() {
    if !root_or_skip().unwrap() {
        return;
    }
    let arguments = |case: &Case| json!({"file": case.file()}).as_object().unwrap().clone();
    let tried = |case: &Case| {
        let given = Trial { script: case.script(), arguments: arguments(case) };
        trial(Arc::new(Host::default()), Path::new("/"), &given).unwrap()
    };
    let good = Case::new();
    let checks = tried(&good);
    assert!(checks.iter().all(|check| check.outcome == CheckOutcome::Successful), "{checks:#?}");
    assert!(checks.iter().any(|check| check.name == "undo again changes nothing"));
    for (case, promise) in [
        (Case::new().with(Part::Remediate, "chmod 640 \"$1\"\n"), "evaluate says it is as wanted"),
        (Case::new().with(Part::Undo, "chmod 644 \"$1\"\n"), "undo brings everything back"),
        (Case::new().with(Part::Evaluate, "date +'{\"now\": 1%N}'\nexit 1\n"), "evaluate changes nothing"),
        (Case::new().with(Part::Verify, "exit 1\n"), "verify agrees"),
    ] {
        let checks = tried(&case);
        let last = checks.last().unwrap();
        assert_eq!((last.name.as_str(), last.outcome), (promise, CheckOutcome::Failed), "{checks:#?}");
    }
}

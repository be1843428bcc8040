//! `package.upgrade` by dnf: a source whose daemon maps its library and gets another package, and one with configuration
//! files that were edited, of both kinds that rpm knows.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use stanch_action::{Crash, Death, Idempotency, Sent, World as Suite, WorldError};
use stanch_model::id::{AssetId, ItemId, TaskId};
use stanch_model::order::{Answer, Grant, StepOutcome, StepRequest, Verb};
use stanch_model::plan::{Leaf, PlannedStep, Reversibility};
use stanch_testkit::rpm::{REPOSITORY, Repository, demo, settle};
use stanch_testkit::world::Frozen;
use stanch_testkit::{Base, World, root_or_skip};

use crate::expect_green;
use crate::stage::{AsService, Debian, EXECUTOR, IN_WORLD, Machine, Stage, asset, trap};

const OLD: &str = "1.0";
const NEW: &str = "1.1";

fn tool(version: &str) -> String {
    format!(
        r#"Name: tool
Epoch: 1
Version: {version}
Release: 1.el9
Summary: made by a test
License: none
BuildArch: noarch
AutoReqProv: no
Requires: /bin/sh
%description
Made by a test.
%install
mkdir -p %{{buildroot}}/etc %{{buildroot}}/usr/bin
echo "colour = {version}" >%{{buildroot}}/etc/tool.conf
echo "shape = {version}" >%{{buildroot}}/etc/tool.plain
echo "version = {version}" >%{{buildroot}}/etc/tool.untouched
echo "echo {version}" >%{{buildroot}}/usr/bin/tool
%files
%config(noreplace) /etc/tool.conf
%config /etc/tool.plain
%config /etc/tool.untouched
%attr(755,root,root) /usr/bin/tool
%pre
{pre}
%post
{post}
echo "configured {version}" >>/var/log/tool
"#,
        pre = trap("preinst"),
        post = trap("postinst"),
    )
}

const HELPER: &str = "Name: helper\nVersion: 2\nRelease: 1.el9\nSummary: x\nLicense: x\nBuildArch: noarch\n\
                      %description\nx\n%install\nmkdir -p %{buildroot}/etc\necho x >%{buildroot}/etc/helper.conf\n\
                      %files\n%config /etc/helper.conf\n";

fn start_daemon(world: &World) -> Result<()> {
    world.must(["sh", "-c", "echo boot >>/var/log/boots"])?;
    world.must(["/etc/init.d/demod", "start"]).map(drop)
}

/// A repository with both versions.
fn offered() -> Result<Repository> {
    let repository = Repository::new()?;
    let specs = [demo(OLD, ""), tool(OLD), demo(NEW, "Requires: helper"), tool(NEW), HELPER.to_owned()];
    specs.iter().try_for_each(|spec| repository.publish(spec))?;
    repository.index()?;
    Ok(repository)
}

/// The disk with the old versions installed and edited.
fn prepared(repository: &Repository) -> Result<Frozen> {
    let builder = World::builder(&Base::rpm()?).daemons();
    let world = builder.bind(repository.path(), REPOSITORY).bind(EXECUTOR, IN_WORLD).boot()?;
    settle(&world)?;
    world.must(["dnf", "--assumeyes", "--quiet", "install", "demod-1.0", "tool-1.0"])?;
    world.write("/etc/tool.conf", "colour = red\n")?;
    world.write("/etc/tool.plain", "shape = round\n")?;
    world.write("/var/log/tool", "")?;
    Ok(world.freeze())
}

struct Rpm {
    frozen: Frozen,
    stage: Option<Stage<AsService>>,
    /// Everything, or what fits into the gate.
    whole: bool,
    _repository: Repository,
}

fn failed(error: &anyhow::Error) -> WorldError {
    WorldError::new(format!("{error:#}"))
}

impl Rpm {
    fn stage(&mut self) -> Result<&mut Stage<AsService>, WorldError> {
        self.stage.as_mut().ok_or_else(|| WorldError::new("not broken yet"))
    }

    fn world(&mut self) -> Result<&World, WorldError> {
        let stage = self.stage()?;
        stage.machine.switch_on().map_err(|error| failed(&error))?;
        Ok(&stage.machine.0.world)
    }

    fn seen(&mut self) -> Result<Value, WorldError> {
        let world = self.world()?;
        let look = || -> Result<Value> {
            let query = "rpm -qa --qf '%{NAME} %{EPOCH} %{VERSION}-%{RELEASE} %{ARCH}\\n' | sort";
            let files = "cd /etc && ls -l --time-style=+ tool.* helper.* init.d/demod* 2>/dev/null; cat tool.*";
            let runs = world.run(["/etc/init.d/demod", "status"])?.ok();
            Ok(json!({
                "installed": lines(&world.must(["sh", "-c", query])?),
                // Who was asked for and who came along.
                "asked for": lines(&world.must(["dnf", "--quiet", "--cacheonly", "repoquery", "--userinstalled"])?),
                "files": lines(&world.must(["sh", "-c", files])?),
                // Every file against rpm's own record of it.
                "verified": lines(&world.run(["rpm", "--verify", "--all"])?.text()),
                "daemon runs": runs,
                // Which library it has in memory: after an undo it must not be the one that was taken back.
                "daemon maps": if runs { world.text("/run/demod.version")? } else { String::new() },
            }))
        };
        look().map_err(|error| failed(&error))
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

fn requests(sources: &[(&str, &str)]) -> Vec<StepRequest> {
    let names: Vec<&str> = sources.iter().map(|(source, _)| *source).collect();
    let fixed: Value = sources.iter().map(|(source, fixed)| ((*source).to_owned(), json!(fixed))).collect();
    let items = (1..).take(sources.len()).map(|number| ItemId::from_entropy([number; 10])).collect();
    let want = json!({ "sources": names, "to": "fixed", "fixed": fixed });
    vec![StepRequest { action: "package.upgrade".to_owned(), want, items }]
}

impl Suite for Rpm {
    fn action(&self) -> String {
        "package.upgrade".to_owned()
    }

    fn system(&self) -> String {
        "dnf 4 of debian-12, on a root of rpm alone".to_owned()
    }

    fn case(&self) -> String {
        let case = "two sources, edited configuration files, a daemon that maps the library, a new package";
        if self.whole { format!("{case}; broken off in scripts") } else { case.to_owned() }
    }

    fn idempotency(&self) -> Idempotency {
        Idempotency::Yes
    }

    fn asset(&self) -> AssetId {
        asset()
    }

    fn break_it(&mut self) -> Result<(), WorldError> {
        self.stage = None;
        let make = || -> Result<Stage<AsService>> {
            let world = self.frozen.world()?;
            start_daemon(&world)?;
            Stage::new(AsService(Debian { world, on_boot: start_daemon }))
        };
        self.stage = Some(make().map_err(|error| failed(&error))?);
        Ok(())
    }

    fn observe(&mut self) -> Result<Value, WorldError> {
        self.seen()
    }

    fn is_fixed(&mut self) -> Result<bool, WorldError> {
        let seen = self.seen()?;
        let installed = seen.get("installed").map(Value::to_string).unwrap_or_default();
        let there = ["demo-libs (none) 1.1-1", "demod (none) 1.1-1", "tool 1 1.1-1", "helper (none) 2-1"];
        let files = seen.get("files").map(Value::to_string).unwrap_or_default();
        Ok(there.iter().all(|line| installed.contains(line)) && !installed.contains("1.0-1") && files.contains("red"))
    }

    fn happened_twice(&mut self) -> Result<Vec<String>, WorldError> {
        let world = self.world()?;
        let log = world.text("/var/log/tool").map_err(|error| failed(&error))?;
        let boots = world.text("/var/log/boots").map_err(|error| failed(&error))?;
        // Whoever loses power in the midst of a transaction cannot know which scripts have run; then it is twice.
        let most = lines(&boots).len().min(2);
        let lines = lines(&log);
        let twice = lines.iter().filter(|line| lines.iter().filter(|other| other == line).count() > most);
        Ok(twice.map(|line| (*line).to_owned()).collect())
    }

    fn requests(&self) -> Vec<StepRequest> {
        requests(&[("demo", "1.1-1.el9"), ("tool", "1:1.1-1.el9")])
    }

    fn send(&mut self, verb: Verb, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        self.stage()?.send(verb, crash)
    }

    fn restart(&mut self, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        self.stage()?.restart(crash)
    }

    fn meddle(&mut self) -> Result<bool, WorldError> {
        self.world()?.write("/etc/tool.conf", "colour = mine\n").map_err(|error| failed(&error))?;
        Ok(true)
    }

    fn is_meddled(&mut self) -> Result<bool, WorldError> {
        Ok(self.world()?.text("/etc/tool.conf").map_err(|error| failed(&error))? == "colour = mine\n")
    }

    fn bad_wants(&self) -> Vec<Value> {
        let all = vec![
            json!({ "sources": ["tool"], "to": "fixed", "fixed": { "tool": "1:9.9-1.el9" } }),
            json!(null),
            json!({ "sources": ["no-such-source"], "to": "candidate" }),
            json!({ "sources": ["--setopt=reposdir=/tmp"], "to": "candidate" }),
            json!({ "sources": ["tool"], "to": "fixed", "fixed": { "tool": "1.1 --nogpgcheck" } }),
        ];
        if self.whole { all } else { Vec::new() }
    }

    fn bad_params(&self) -> Vec<Value> {
        let package = |name: &str, from: &str, to: &str| {
            json!({
                "manager": "dnf",
                "packages": [{
                    "name": name, "arch": "noarch", "from": from, "to": to, "source": "tool", "items": [],
                    "sha256": "0".repeat(64),
                }],
                "lock_timeout_seconds": 5,
                "before": { "packages": {}, "configs": {} },
            })
        };
        let all = vec![
            package("tool", "1:1.0-1.el9", "1:1.1-1.el9"),
            json!(null),
            package("--installroot=/tmp", "1:1.0-1.el9", "1:1.1-1.el9"),
            package("tool", "1:1.0-1.el9", "1:0.9-1.el9"),
            package("tool", "1:1.0-1.el9", "1:9.9-1.el9"),
        ];
        if self.whole { all } else { Vec::new() }
    }

    fn deaths(&self) -> Vec<Death> {
        vec![Death::Kill, Death::PowerLoss]
    }

    fn inside(&self) -> Vec<String> {
        if self.whole { vec!["preinst".to_owned(), "postinst".to_owned()] } else { Vec::new() }
    }
}

fn green(whole: bool, sample: usize) -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let repository = offered()?;
    let frozen = prepared(&repository)?;
    expect_green(&mut Rpm { frozen, stage: None, whole, _repository: repository }, sample);
    Ok(())
}

#[test]
#[ignore = "its base and its world take a minute: cargo xtask prove conformance"]
fn package_upgrade_by_dnf() -> Result<()> {
    green(false, 1)
}

#[test]
#[ignore = "minutes: cargo xtask prove conformance"]
fn package_upgrade_by_dnf_broken_off_anywhere() -> Result<()> {
    green(true, 12)
}

/// A host on which orders are tried that dnf must not follow.
struct Refusing {
    stage: Stage<Debian>,
    repository: Repository,
}

impl Refusing {
    fn new() -> Result<Self> {
        let repository = offered()?;
        let world = prepared(&repository)?.world()?;
        start_daemon(&world)?;
        Ok(Self { stage: Stage::new(Debian { world, on_boot: start_daemon })?, repository })
    }

    fn world(&self) -> &World {
        &self.stage.machine.world
    }

    fn ask(&mut self, verb: Verb) -> Result<Answer> {
        let sent = self.stage.send(verb, None)?;
        Ok(sent.receipts.last().context("no answer")?.answer.clone())
    }

    /// The steps, and why the rest is not planned.
    fn plan(&mut self, sources: &[(&str, &str)]) -> Result<(Vec<PlannedStep>, Vec<String>)> {
        match self.ask(Verb::Plan { asset: asset(), requests: requests(sources) })? {
            Answer::Planned { steps, refused, .. } => Ok((steps, refused.into_iter().map(|one| one.reason).collect())),
            other => bail!("{other:?}"),
        }
    }

    /// The step that dnf agrees to, which then is refused.
    fn refused(&mut self, steps: Vec<PlannedStep>, number: u8) -> Result<String> {
        let leaf = Leaf { asset: asset(), items: vec![ItemId::from_entropy([1; 10])], steps };
        let leaf_hash = leaf.hash()?;
        let task = TaskId::from_entropy([number; 10]);
        let plan = leaf_hash;
        let grant = Grant { task, plan, leaf_hash, leaf, epoch: 1, attempt: 1, rest: false, vouched: None };
        let Answer::Applied { steps } = self.ask(Verb::Apply(grant))? else { bail!("not applied") };
        match steps.into_iter().next().map(|step| step.outcome) {
            Some(StepOutcome::Refused { message, .. } | StepOutcome::Failed { message, .. }) => Ok(message),
            other => bail!("{other:?}"),
        }
    }
}

const TOOL: (&str, &str) = ("tool", "1:1.1-1.el9");
const DEMO: (&str, &str) = ("demo", "1.1-1.el9");

#[test]
#[ignore = "minutes: cargo xtask prove conformance"]
fn what_a_host_of_rpm_keeps_away_stays_away() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let mut host = Refusing::new()?;
    let versions = |host: &Refusing| host.world().must(["rpm", "-q", "tool", "demod", "demo-libs"]);
    let before = versions(&host)?;

    host.world().must(["dnf", "--quiet", "versionlock", "add", "tool-1:1.0-1.el9"])?;
    let (steps, refused) = host.plan(&[TOOL, DEMO])?;
    assert!(steps.len() == 1 && refused[0].starts_with("tool: ") && refused[0].contains("a lock"), "{refused:?}");
    assert!(!steps[0].params.to_string().contains("\"tool\""), "one that is locked keeps no other back");
    host.world().must(["dnf", "--quiet", "versionlock", "clear"])?;

    host.world().must(["sh", "-c", "echo exclude=helper >>/etc/dnf/dnf.conf"])?;
    let (steps, refused) = host.plan(&[TOOL, DEMO])?;
    assert!(steps.len() == 1 && refused[0].starts_with("demo: dnf cannot do it"), "{refused:?}");
    host.world().must(["sed", "-i", "/exclude/d", "/etc/dnf/dnf.conf"])?;

    host.world().write("/etc/stanch/executor.toml", "[deny]\npackages = [\"helper\"]\n")?;
    let (_, refused) = host.plan(&[DEMO])?;
    assert!(refused[0].contains("deny changes to helper"), "what comes along is denied too: {refused:?}");
    host.world().write("/etc/stanch/executor.toml", "")?;

    // The digest of the plan holds, whatever the repository offers under the same version later.
    let (steps, _) = host.plan(&[TOOL])?;
    assert_eq!(steps[0].reversibility, Reversibility::Restorable);
    host.repository.withdraw("tool-1.1")?;
    host.repository.publish(&tool(NEW).replace("made by a test", "made by another"))?;
    host.repository.index()?;
    let why = host.refused(steps, 1)?;
    assert!(why.contains("cannot download tool-1:1.1-1.el9.noarch as planned"), "{why}");

    // A build that only bears the same version is no way back.
    host.repository.withdraw("tool-1.0")?;
    host.repository.publish(&tool(OLD).replace("made by a test", "made by another"))?;
    host.repository.index()?;
    let (steps, _) = host.plan(&[TOOL])?;
    let why = host.refused(steps, 2)?;
    assert!(why.contains("could not be taken back any more"), "{why}");
    host.repository.withdraw("tool-1.0")?;
    let (steps, _) = host.plan(&[TOOL])?;
    assert_eq!(steps[0].reversibility, Reversibility::OneWay);
    assert!(steps[0].undo.contains("no repository holds it"), "{}", steps[0].undo);

    host.repository.publish_unsigned(&tool("1.2"))?;
    host.repository.index()?;
    let (steps, _) = host.plan(&[TOOL])?;
    let why = host.refused(steps, 3)?;
    assert!(why.contains("not signed by a key that this host has imported"), "{why}");

    host.repository.publish(&tool("1.3").replace("Requires: /bin/sh", "Requires: /bin/sh\nObsoletes: demod"))?;
    host.repository.index()?;
    let (_, refused) = host.plan(&[TOOL])?;
    assert!(refused[0].contains("demod"), "{refused:?}");

    assert_eq!(versions(&host)?, before, "nothing of all that changed a package");
    Ok(())
}

//! `package.upgrade` by pip: an environment of Python whose package gets another that it needs, and a daemon that runs
//! from there.

use anyhow::Result;
use serde_json::{Value, json};
use stanch_action::{Crash, Death, Idempotency, Sent, World as Suite, WorldError};
use stanch_model::id::{AssetId, ItemId};
use stanch_model::order::{StepRequest, Verb};
use stanch_testkit::world::{Frozen, PATIENCE};
use stanch_testkit::{Base, World, root_or_skip, wait_until};

use crate::expect_green;
use crate::stage::{AsService, Debian, EXECUTOR, IN_WORLD, Machine, Stage, asset};

const LEAF: &str = "pkg:pypi/leaf?environment=/opt/site/venv";
const SOURCE: &str = "/opt/site/venv/lib/python3.11/site-packages/leaf/__init__.py";

/// Makes wheels: an old and a new version, and what the new one needs besides.
const WHEELS: &str = r#"
import base64, hashlib, os, zipfile
def wheel(name, version, files, requires=(), scripts=None):
    about = f"{name}-{version}.dist-info"
    files = dict(files)
    files[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
        f"Requires-Dist: {one}\n" for one in requires)
    files[f"{about}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if scripts:
        files[f"{about}/entry_points.txt"] = f"[console_scripts]\n{scripts}\n"
    line = lambda path, text: "%s,sha256=%s,%d\n" % (path, base64.urlsafe_b64encode(
        hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode(), len(text))
    files[f"{about}/RECORD"] = "".join(line(*one) for one in files.items()) + f"{about}/RECORD,,\n"
    with zipfile.ZipFile(f"/srv/wheels/{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
os.makedirs("/srv/wheels")
wheel("leaf", "1.0", {"leaf/__init__.py": "v = '1.0'\n", "leaf/old.py": "x = 1\n"})
wheel("leaf", "1.1", {"leaf/__init__.py": "v = '1.1'\n", "leaf/new/__init__.py": "def main(): pass\n"},
      requires=["along>=2"], scripts="leaf=leaf.new:main")
wheel("along", "2.0", {"along.py": "x = 1\n"})
wheel("app", "1", {"app.py": "import leaf\n"}, requires=["leaf<2"])
"#;

/// Springs traps in the midst of pip: Python tells its own audit hooks of every rename and every file that is opened. pip
/// runs where it sees no process but its own, so it asks for the executor's end through a pipe.
const TRAPS: &str = r#"
import os, sys, time
def spring(name):
    try:
        how = open(f"/trap/{name}").read()
        os.remove(f"/trap/{name}")
    except OSError:
        return
    if how == "kill":
        executor = "/proc/" + open("/run/executor.pid").read()
        with open("/run/kill", "w") as pipe:
            pipe.write("now\n")
        while os.path.exists(executor):
            time.sleep(0.01)
    else:
        open("/run/trapped", "w").close()
        while True:
            time.sleep(1)
def hook(event, args):
    if event == "os.rename" and os.path.basename(str(args[1]).rstrip("/")).startswith("~"):
        spring("uninstall")
    elif event == "open" and str(args[0]).endswith("leaf/new/__init__.py"):
        spring("install")
sys.addaudithook(hook)
"#;

/// What lies beside the files of a package and in no list of it: pip takes it away with the folder.
const UNLISTED: &str = "cd /opt/site/venv/lib/python3.11/site-packages/leaf
chmod 750 . && chmod 600 old.py && mkdir -m 700 empty && ln -s old.py link && ln -s nowhere/at/all dangling";

const DAEMON: &str =
    "import leaf, time\nopen('/run/leafd.version', 'w').write(leaf.v)\nwhile True:\n    time.sleep(60)\n";

const SCRIPT: &str = r#"#!/bin/sh
### BEGIN INIT INFO
# Provides: leafd
# Required-Start:
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop:
### END INIT INFO
run="start-stop-daemon --pidfile /run/leafd.pid"
case "$1" in
start)
    rm -f /run/leafd.version
    $run --start --oknodo --background --make-pidfile --startas /opt/site/venv/bin/python -- /opt/site/leafd.py
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        [ -s /run/leafd.version ] && exit 0
        sleep 0.5
    done
    exit 1 ;;
stop) $run --stop --oknodo --retry 5 --remove-pidfile ;;
restart) "$0" stop; "$0" start ;;
status) $run --status ;;
esac
"#;

/// Ends the executor whenever somebody writes to a pipe.
const KILLER: &str = "while read -r _ </run/kill; do kill -9 \"$(cat /run/executor.pid)\"; done";

fn start_daemon(world: &World) -> Result<()> {
    world.must(["mkfifo", "-m", "666", "/run/kill"])?;
    let background = ["start-stop-daemon", "--start", "--background", "--make-pidfile", "--pidfile", "/run/killer.pid"];
    world.must(background.iter().chain(&["--startas", "/bin/sh", "--", "-c", KILLER]))?;
    world.must(["/etc/init.d/leafd", "start"]).map(drop)
}

/// Makes the wheels below `/srv/wheels`.
pub(crate) fn make_wheels(world: &World) -> Result<()> {
    world.write("/root/wheels.py", WHEELS)?;
    world.must(["python3", "/root/wheels.py"]).map(drop)
}

const UNIT: &str = "[Service]\nUser=app\nExecStart=/opt/site/venv/bin/python /opt/site/leafd.py\n\
                    ExecStartPre=+/usr/bin/install -o app /dev/null /run/leafd.version\n\
                    [Install]\nWantedBy=multi-user.target\n";

/// systemd starts it by itself.
fn wait_for_daemon(world: &World) -> Result<()> {
    wait_until("the daemon runs", PATIENCE, || Ok(world.text("/run/leafd.version").is_ok_and(|text| !text.is_empty())))
}

/// The disk with the old version in an environment of this owner.
fn prepared(owner: &str, systemd: bool) -> Result<Frozen> {
    let (base, builder): (_, fn(stanch_testkit::world::Builder) -> stanch_testkit::world::Builder) = if systemd {
        (Base::python_systemd()?, stanch_testkit::world::Builder::systemd)
    } else {
        (Base::python()?, stanch_testkit::world::Builder::daemons)
    };
    let world = builder(World::builder(&base)).bind(EXECUTOR, IN_WORLD).boot()?;
    world.write("/etc/stanch/executor.toml", "environments = true\n")?;
    make_wheels(&world)?;
    world.must(["mkdir", "-p", "/opt/site", "/trap"])?;
    if owner != "root" {
        world.must(["useradd", "--create-home", "--shell", "/usr/sbin/nologin", owner])?;
        world.must(["chown", owner, "/opt/site"])?;
    }
    let group = world.must(["id", "--group", "--name", owner])?;
    world.must(["chgrp", group.trim(), "/opt/site"])?;
    let venv = "/opt/site/venv";
    let as_owner = |words: &[&str]| {
        let whom =
            ["setpriv", "--reuid", owner, "--regid", owner, "--init-groups", "--reset-env", "env", "--chdir=/opt"];
        world.must(whom.iter().chain(words)).map(drop)
    };
    as_owner(&["python3", "-m", "venv", venv])?;
    as_owner(&[
        "sh",
        "-c",
        "printf '[global]\\nno-index = true\\nfind-links = /srv/wheels\\n' > /opt/site/venv/pip.conf",
    ])?;
    as_owner(&["/opt/site/venv/bin/pip", "install", "--quiet", "leaf==1.0", "app==1"])?;
    as_owner(&["sh", "-euc", UNLISTED])?;
    if owner == "root" {
        // The distribution has a `sitecustomize` of its own, which would come first.
        world.write("/opt/site/venv/lib/python3.11/site-packages/traps.py", TRAPS)?;
        world.write("/opt/site/venv/lib/python3.11/site-packages/traps.pth", "import traps\n")?;
    }
    world.write("/opt/site/leafd.py", DAEMON)?;
    if systemd {
        world.write("/etc/systemd/system/leafd.service", UNIT)?;
        world.must(["systemctl", "enable", "--quiet", "leafd.service"])?;
    } else {
        world.write_mode("/etc/init.d/leafd", SCRIPT, 0o755)?;
    }
    Ok(world.freeze())
}

struct Environments {
    owner: &'static str,
    systemd: bool,
    frozen: Frozen,
    stage: Option<Stage<AsService>>,
}

fn failed(error: &anyhow::Error) -> WorldError {
    WorldError::new(format!("{error:#}"))
}

impl Environments {
    fn stage(&mut self) -> Result<&mut Stage<AsService>, WorldError> {
        self.stage.as_mut().ok_or_else(|| WorldError::new("not broken yet"))
    }

    fn world(&mut self) -> Result<&World, WorldError> {
        let stage = self.stage()?;
        stage.machine.switch_on().map_err(|error| failed(&error))?;
        Ok(&stage.machine.0.world)
    }

    fn seen(&mut self) -> Result<Value, WorldError> {
        let status =
            if self.systemd { ["systemctl", "is-active", "leafd"] } else { ["sh", "/etc/init.d/leafd", "status"] };
        let world = self.world()?;
        let look = || -> Result<Value> {
            let own = "cd /opt/site/venv && find . -name __pycache__ -prune -o -path './lib/*/pip*' -prune -o \
                       -path './lib/*/setuptools*' -prune -o -path './lib/*/pkg_resources*' -prune -o";
            let files = world.must(["sh", "-c", &format!("{own} -printf '%y %m %u %g %p %l\\n' | sort")])?;
            let digests = world.must(["sh", "-c", &format!("{own} -type f -print0 | sort -z | xargs -0 sha256sum")])?;
            Ok(json!({
                "files": files.lines().collect::<Vec<_>>(),
                "digests": digests.lines().collect::<Vec<_>>(),
                "daemon runs": world.run(status)?.ok(),
            }))
        };
        look().map_err(|error| failed(&error))
    }
}

impl Suite for Environments {
    fn action(&self) -> String {
        "package.upgrade".to_owned()
    }

    fn system(&self) -> String {
        if self.systemd { "debian-12 with systemd and pip" } else { "debian-12 with pip" }.to_owned()
    }

    fn case(&self) -> String {
        format!("an environment of {}, a package that needs another, a daemon that runs from it", self.owner)
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
            let on_boot = if self.systemd { wait_for_daemon } else { start_daemon };
            on_boot(&world)?;
            Stage::new(AsService(Debian { world, on_boot }))
        };
        self.stage = Some(make().map_err(|error| failed(&error))?);
        Ok(())
    }

    fn observe(&mut self) -> Result<Value, WorldError> {
        self.seen()
    }

    fn is_fixed(&mut self) -> Result<bool, WorldError> {
        let seen = self.seen()?.to_string();
        let there = ["leaf-1.1.dist-info/RECORD", "along-2.0.dist-info/RECORD", "leaf/new/__init__.py", "bin/leaf"];
        let gone = ["leaf-1.0", "leaf/old.py", "/~"];
        Ok(there.iter().all(|name| seen.contains(name)) && !gone.iter().any(|name| seen.contains(name)))
    }

    fn happened_twice(&mut self) -> Result<Vec<String>, WorldError> {
        // An installed file is there or not; nothing is appended anywhere.
        Ok(Vec::new())
    }

    fn requests(&self) -> Vec<StepRequest> {
        vec![StepRequest {
            action: "package.upgrade".to_owned(),
            want: json!({ "sources": [LEAF], "to": "fixed", "fixed": { LEAF: "1.1" } }),
            items: vec![ItemId::from_entropy([1; 10])],
        }]
    }

    fn send(&mut self, verb: Verb, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        self.stage()?.send(verb, crash)
    }

    fn restart(&mut self, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        self.stage()?.restart(crash)
    }

    fn meddle(&mut self) -> Result<bool, WorldError> {
        self.world()?.write(SOURCE, "v = 'mine'\n").map_err(|error| failed(&error))?;
        Ok(true)
    }

    fn is_meddled(&mut self) -> Result<bool, WorldError> {
        Ok(self.world()?.text(SOURCE).map_err(|error| failed(&error))? == "v = 'mine'\n")
    }

    fn bad_wants(&self) -> Vec<Value> {
        vec![
            json!(null),
            json!({ "sources": ["pkg:pypi/leaf?environment=/etc"], "to": "candidate" }),
            json!({ "sources": ["pkg:pypi/leaf?environment=/opt/../etc"], "to": "candidate" }),
            json!({ "sources": ["pkg:pypi/--index-url=x?environment=/opt/site/venv"], "to": "candidate" }),
            json!({ "sources": ["pkg:pypi/leaf"], "to": "candidate" }),
            json!({ "sources": [LEAF], "to": "fixed", "fixed": { LEAF: "9.9" } }),
        ]
    }

    fn bad_params(&self) -> Vec<Value> {
        let params = |environment: &str, name: &str, to: &str| {
            json!({
                "manager": "pip",
                "environment": environment,
                "packages": [{ "name": name, "from": "1.0", "to": to, "items": [], "sha256": "0".repeat(64) }],
                "lock_timeout_seconds": 5,
                "before": { "packages": {} },
            })
        };
        vec![
            json!(null),
            json!({ "manager": "pip" }),
            params("/opt/site/venv", "-r/etc/passwd", "1"),
            params("/opt/site/venv", "leaf", "1.1 --pre"),
            params("/opt/site/venv", "leaf", "9.9"),
            params("/usr", "leaf", "1.1"),
        ]
    }

    fn deaths(&self) -> Vec<Death> {
        vec![Death::Kill, Death::PowerLoss]
    }

    fn inside(&self) -> Vec<String> {
        // Only root's pip can kill an executor.
        if self.owner == "root" { vec!["uninstall".to_owned(), "install".to_owned()] } else { Vec::new() }
    }
}

fn green(owner: &'static str, systemd: bool) -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let frozen = prepared(owner, systemd)?;
    expect_green(&mut Environments { owner, systemd, frozen, stage: None }, 4);
    Ok(())
}

#[test]
#[ignore = "minutes: cargo xtask prove conformance"]
fn package_upgrade_by_pip_as_root() -> Result<()> {
    green("root", false)
}

#[test]
fn package_upgrade_by_pip_as_another_user() -> Result<()> {
    green("app", false)
}

#[test]
#[ignore = "minutes: cargo xtask prove conformance"]
fn package_upgrade_by_pip_as_another_user_under_systemd() -> Result<()> {
    green("app", true)
}

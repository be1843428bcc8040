//! `package.upgrade`: two source packages, a configuration file that its administrator has edited, a daemon that maps
//! an upgraded library.

use anyhow::Result;
use serde_json::{Value, json};
use stanch_action::{Crash, Death, Idempotency, Sent, World as Suite, WorldError};
use stanch_model::id::{AssetId, ItemId};
use stanch_model::order::{StepRequest, Verb};
use stanch_testkit::world::Frozen;
use stanch_testkit::{Archive, Base, Daemon, Package, Suite as Pocket, Via, World, archive::MOUNT_POINT, root_or_skip};

use crate::expect_green;
use crate::stage::{Debian, EXECUTOR, IN_WORLD, Stage, asset, trap};

const FIXED: &str = "1.0-1+deb12u1";

fn library(version: &str) -> Package {
    Package::new("libdemo1", version).source("demo").library("demo", 1)
}

fn daemon(version: &str) -> Package {
    Package::new("demod", version).source("demo").depends("libdemo1").daemon(Daemon::new("demod", "demo", 1))
}

fn tool(version: &str) -> Package {
    let colour = if version == FIXED { "green" } else { "blue" };
    // The line is written last: what was interrupted has not happened.
    let configured = format!("{}echo \"configured {version}\" >>/var/log/tool", trap("postinst"));
    Package::new("tool", version)
        .file_mode("/usr/bin/tool", format!("#!/bin/sh\necho {version}\n"), 0o755)
        .conffile("/etc/tool.conf", format!("colour = {colour}\n"))
        .conffile("/etc/tool.untouched", format!("version = {version}\n"))
        .preinst(&trap("preinst"))
        .postinst(&configured)
}

fn start_daemon(world: &World) -> Result<()> {
    world.must(["/etc/init.d/demod", "start"]).map(drop)
}

/// The disk with the old versions installed and the fixed ones on offer.
fn prepared(archive: &Archive) -> Result<Frozen> {
    for (pocket, version) in [(Pocket::main(), "1.0-1"), (Pocket::security(), FIXED)] {
        for package in [library(version), daemon(version), tool(version)] {
            archive.publish(&pocket, &package)?;
        }
    }
    let world = World::builder(&Base::minimal()?)
        .daemons()
        .bind(archive.path(), MOUNT_POINT)
        .bind(EXECUTOR, IN_WORLD)
        .boot()?;
    world.write("/etc/apt/sources.list", archive.sources_list(Via::Copy))?;
    world.must(["apt-get", "update"])?;
    world.must(["apt-get", "install", "-y", "libdemo1=1.0-1", "demod=1.0-1", "tool=1.0-1"])?;
    world.must(["apt-mark", "auto", "libdemo1"])?;
    world.write("/etc/tool.conf", "colour = red\n")?;
    world.write("/var/log/tool", "")?;
    Ok(world.freeze())
}

struct Packages {
    frozen: Frozen,
    stage: Option<Stage<Debian>>,
    _archive: Archive,
}

fn failed(error: &anyhow::Error) -> WorldError {
    WorldError::new(format!("{error:#}"))
}

impl Packages {
    fn stage(&mut self) -> Result<&mut Stage<Debian>, WorldError> {
        self.stage.as_mut().ok_or_else(|| WorldError::new("not broken yet"))
    }

    fn world(&mut self) -> Result<&World, WorldError> {
        let stage = self.stage()?;
        crate::stage::Machine::switch_on(&stage.machine).map_err(|error| failed(&error))?;
        Ok(&stage.machine.world)
    }

    fn seen(&mut self) -> Result<Value, WorldError> {
        let world = self.world()?;
        let look = || -> Result<Value> {
            let installed = world.must([
                "dpkg-query",
                "--show",
                "--showformat=${binary:Package} ${Version} ${db:Status-Want} ${db:Status-Status}\n",
                "libdemo1",
                "demod",
                "tool",
            ])?;
            let automatic = world.must(["apt-mark", "showauto", "libdemo1", "demod", "tool"])?;
            let files = world.must(["sh", "-c", "cd /etc && ls -l --time-style=+ tool.* init.d/demod*"])?;
            let runs = world.run(["/etc/init.d/demod", "status"])?.ok();
            Ok(json!({
                "installed": lines(&installed),
                "automatic": lines(&automatic),
                "held": world.must(["apt-mark", "showhold"])?,
                "files": lines(&files),
                "tool.conf": world.text("/etc/tool.conf")?,
                "tool.untouched": world.text("/etc/tool.untouched")?,
                "audit": world.must(["dpkg", "--audit"])?,
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

impl Suite for Packages {
    fn action(&self) -> String {
        "package.upgrade".to_owned()
    }

    fn system(&self) -> String {
        "debian-12".to_owned()
    }

    fn case(&self) -> String {
        "two sources, an edited conffile, a daemon that maps the library".to_owned()
    }

    fn idempotency(&self) -> Idempotency {
        Idempotency::Yes
    }

    fn asset(&self) -> AssetId {
        asset()
    }

    fn break_it(&mut self) -> Result<(), WorldError> {
        self.stage = None;
        let make = || -> Result<Stage<Debian>> {
            let world = self.frozen.world()?;
            start_daemon(&world)?;
            Stage::new(Debian { world, on_boot: start_daemon })
        };
        self.stage = Some(make().map_err(|error| failed(&error))?);
        Ok(())
    }

    fn observe(&mut self) -> Result<Value, WorldError> {
        self.seen()
    }

    fn is_fixed(&mut self) -> Result<bool, WorldError> {
        let seen = self.seen()?;
        let installed = seen.get("installed").and_then(Value::as_array).cloned().unwrap_or_default();
        let done =
            |line: &Value| line.as_str().is_some_and(|line| line.ends_with(&format!("{FIXED} install installed")));
        Ok(installed.len() == 3
            && installed.iter().all(done)
            && seen.get("audit").is_some_and(|audit| audit == "")
            && seen.get("tool.conf").is_some_and(|content| content == "colour = red\n"))
    }

    fn happened_twice(&mut self) -> Result<Vec<String>, WorldError> {
        let log = self.world()?.text("/var/log/tool").map_err(|error| failed(&error))?;
        let lines = lines(&log);
        let twice = lines.iter().filter(|line| lines.iter().filter(|other| other == line).count() > 1);
        Ok(twice.map(|line| (*line).to_owned()).collect())
    }

    fn requests(&self) -> Vec<StepRequest> {
        vec![StepRequest {
            action: "package.upgrade".to_owned(),
            want: json!({ "sources": ["demo", "tool"], "to": "candidate" }),
            items: vec![ItemId::from_entropy([1; 10]), ItemId::from_entropy([2; 10])],
        }]
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
        vec![
            json!(null),
            json!({ "sources": ["demo"], "to": "banana" }),
            json!({ "sources": ["no-such-source"], "to": "candidate" }),
            json!({ "sources": ["-oDPkg::Pre-Invoke::=touch /pwned"], "to": "candidate" }),
        ]
    }

    fn bad_params(&self) -> Vec<Value> {
        let package = |name: &str, to: &str| {
            json!({
                "packages": [{
                    "name": name, "arch": "amd64", "from": null, "to": to, "source": "demo", "items": [],
                    "new": true, "sha256": null,
                }],
                "conffiles": "keep",
                "lock_timeout_seconds": 5,
                "before": { "packages": {}, "conffiles": {} },
            })
        };
        vec![
            json!(null),
            json!({ "packages": [], "conffiles": "overwrite" }),
            package("-oDPkg::Pre-Invoke::=touch", "1"),
            package("tool", "9.9-not-there"),
        ]
    }

    fn deaths(&self) -> Vec<Death> {
        vec![Death::Kill, Death::PowerLoss]
    }

    fn inside(&self) -> Vec<String> {
        vec!["preinst".to_owned(), "postinst".to_owned()]
    }
}

#[test]
fn package_upgrade() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let archive = Archive::new()?;
    let frozen = prepared(&archive)?;
    expect_green(&mut Packages { frozen, stage: None, _archive: archive }, 4);
    Ok(())
}

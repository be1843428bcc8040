//! `host.reboot`: a newer kernel waits. The machine is a double: `shutdown` is a script that notes what was asked, the
//! world is then really switched off and booted again with a new boot id, and the kernel it names is a file.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use stanch_action::{Crash, Death, Idempotency, Sent, World as Suite, WorldError};
use stanch_model::id::{AssetId, ItemId};
use stanch_model::order::{StepRequest, Verb};
use stanch_testkit::world::Frozen;
use stanch_testkit::{Archive, Base, Package, Suite as Pocket, Via, World, archive::MOUNT_POINT, root_or_skip};
use tempfile::TempDir;

use crate::expect_green;
use crate::stage::{Debian, EXECUTOR, IN_WORLD, Machine, Stage, asset};

const OLD: (&str, &str) = ("6.1.0-40-amd64", "6.1.150-1");
const NEW: (&str, &str) = ("6.1.0-41-amd64", "6.1.176-1");

const SHUTDOWN: &str = "#!/bin/sh\n\
    case \"$1\" in\n\
    -c) rm -f /run/asked ;;\n\
    *) touch /run/asked ;;\n\
    esac\n";

struct Reboot {
    frozen: Frozen,
    kernel: TempDir,
    stage: Option<Stage<Debian>>,
    reboots: u32,
    _archive: Archive,
}

fn failed(error: &anyhow::Error) -> WorldError {
    WorldError::new(format!("{error:#}"))
}

fn write_kernel(folder: &TempDir, (release, version): (&str, &str)) -> Result<()> {
    // Written in place: the world has these very files mounted.
    fs::write(folder.path().join("osrelease"), format!("{release}\n"))?;
    let text = format!("#1 SMP PREEMPT_DYNAMIC Debian {version} (2026-01-01)\n");
    fs::write(folder.path().join("version"), text).context("the kernel's name")
}

fn prepared() -> Result<Reboot> {
    let archive = Archive::new()?;
    let image = |(release, version): (&str, &str)| {
        Package::new(&format!("linux-image-{release}"), version).source("linux-signed-amd64")
    };
    archive.publish(&Pocket::main(), &image(OLD))?;
    archive.publish(&Pocket::main(), &image(NEW))?;
    let kernel = tempfile::tempdir()?;
    write_kernel(&kernel, OLD)?;
    let world = World::builder(&Base::minimal()?)
        .bind(archive.path(), MOUNT_POINT)
        .bind(EXECUTOR, IN_WORLD)
        .bind(kernel.path().join("osrelease"), "/proc/sys/kernel/osrelease")
        .bind(kernel.path().join("version"), "/proc/sys/kernel/version")
        .boot()?;
    world.write("/etc/apt/sources.list", archive.sources_list(Via::File))?;
    world.must(["apt-get", "update"])?;
    let images = [OLD, NEW].map(|(release, _)| format!("linux-image-{release}"));
    world.must(["apt-get".to_owned(), "install".to_owned(), "-y".to_owned()].into_iter().chain(images))?;
    world.write_mode("/usr/sbin/shutdown", SHUTDOWN, 0o755)?;
    world.write("/etc/stanch/executor.toml", "reboot = true\n")?;
    Ok(Reboot { frozen: world.freeze(), kernel, stage: None, reboots: 0, _archive: archive })
}

impl Reboot {
    fn stage(&mut self) -> Result<&mut Stage<Debian>, WorldError> {
        self.stage.as_mut().ok_or_else(|| WorldError::new("not broken yet"))
    }

    /// What the machine does after an executor's life: it comes up with the newest kernel, if it went down.
    fn settle(&mut self) -> Result<(), WorldError> {
        let stage = self.stage.as_ref().ok_or_else(|| WorldError::new("not broken yet"))?;
        let world = &stage.machine.world;
        let asked = world.is_up() && world.exists("/run/asked");
        if asked {
            world.kill_all();
            self.reboots += 1;
        }
        if !world.is_up() {
            write_kernel(&self.kernel, NEW).map_err(|error| failed(&error))?;
            stage.machine.switch_on().map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

impl Suite for Reboot {
    fn action(&self) -> String {
        "host.reboot".to_owned()
    }

    fn system(&self) -> String {
        "debian-12".to_owned()
    }

    fn case(&self) -> String {
        "a newer kernel is installed; shutdown and kernel are doubles".to_owned()
    }

    fn idempotency(&self) -> Idempotency {
        Idempotency::Keyed
    }

    fn asset(&self) -> AssetId {
        asset()
    }

    fn break_it(&mut self) -> Result<(), WorldError> {
        self.stage = None;
        self.reboots = 0;
        let make = || -> Result<Stage<Debian>> {
            write_kernel(&self.kernel, OLD)?;
            Stage::new(Debian { world: self.frozen.world()?, on_boot: |_| Ok(()) })
        };
        self.stage = Some(make().map_err(|error| failed(&error))?);
        Ok(())
    }

    fn observe(&mut self) -> Result<Value, WorldError> {
        self.settle()?;
        let release = self.stage()?.machine.world.text("/proc/sys/kernel/osrelease").map_err(|error| failed(&error))?;
        Ok(json!({ "kernel": release.trim() }))
    }

    fn is_fixed(&mut self) -> Result<bool, WorldError> {
        Ok(self.observe()? == json!({ "kernel": NEW.0 }))
    }

    fn happened_twice(&mut self) -> Result<Vec<String>, WorldError> {
        Ok(if self.reboots > 1 { vec![format!("{} reboots", self.reboots)] } else { Vec::new() })
    }

    fn requests(&self) -> Vec<StepRequest> {
        let items = vec![ItemId::from_entropy([1; 10])];
        vec![StepRequest { action: "host.reboot".to_owned(), want: json!({ "when": "kernel_due" }), items }]
    }

    fn send(&mut self, verb: Verb, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        let sent = self.stage()?.send(verb, crash)?;
        if crash.is_none() {
            self.settle()?;
        }
        Ok(sent)
    }

    fn restart(&mut self, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        if !self.stage()?.machine.world.is_up() {
            self.settle()?;
        }
        let sent = self.stage()?.restart(crash)?;
        if crash.is_none() {
            self.settle()?;
        }
        Ok(sent)
    }

    fn meddle(&mut self) -> Result<bool, WorldError> {
        // Somebody else reboots it, and it comes up with the old kernel again.
        let stage = self.stage()?;
        stage.machine.power_off();
        stage.machine.switch_on().map_err(|error| failed(&error))?;
        Ok(true)
    }

    fn is_meddled(&mut self) -> Result<bool, WorldError> {
        Ok(true)
    }

    fn bad_wants(&self) -> Vec<Value> {
        vec![json!(null), json!({ "when": "now" }), json!({ "when": "always", "kernel": "x" })]
    }

    fn bad_params(&self) -> Vec<Value> {
        vec![
            json!(null),
            json!({ "boot_id": "x", "running": "x" }),
            json!({ "boot_id": 1, "running": "x", "expected": "y" }),
        ]
    }

    fn deaths(&self) -> Vec<Death> {
        vec![Death::Kill, Death::PowerLoss]
    }
}

#[test]
fn host_reboot() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    expect_green(&mut prepared()?, 6);
    Ok(())
}

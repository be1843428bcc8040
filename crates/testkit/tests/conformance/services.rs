//! `service.restart`: a daemon that runs on a library which was replaced under it, with and without systemd.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use stanch_action::{ConformanceReport, Crash, Death, Idempotency, Sent, World as Suite, WorldError};
use stanch_model::id::{AssetId, ItemId};
use stanch_model::order::{StepRequest, Verb};
use stanch_testkit::world::Frozen;
use stanch_testkit::{
    Archive, Base, Daemon, Package, Suite as Pocket, Via, World, archive::MOUNT_POINT, root_or_skip, wait_until,
};

use crate::stage::{Debian, EXECUTOR, IN_WORLD, Machine, Stage, asset};
use crate::{expect_green, tell};

const FIXED: &str = "1.0-1+deb12u1";
const SOON: Duration = Duration::from_secs(60);

fn start_by_hand(world: &World) -> Result<()> {
    world.must(["/etc/init.d/demod", "start"]).map(drop)
}

/// systemd starts it by itself.
fn wait_for_systemd(world: &World) -> Result<()> {
    wait_until("the daemon is up", SOON, || Ok(world.run(["systemctl", "is-active", "demod"])?.ok()))
}

struct Services {
    system: &'static str,
    on_boot: fn(&World) -> Result<()>,
    frozen: Frozen,
    stage: Option<Stage<Debian>>,
    _archive: Archive,
}

fn prepared(systemd: bool) -> Result<Services> {
    let archive = Archive::new()?;
    let library = |version| Package::new("libdemo1", version).source("demo").library("demo", 1);
    archive.publish(&Pocket::main(), &library("1.0-1"))?;
    let daemon = Package::new("demod", "1.0-1").depends("libdemo1").daemon(Daemon::new("demod", "demo", 1));
    archive.publish(&Pocket::main(), &daemon)?;
    archive.publish(&Pocket::security(), &library(FIXED))?;
    let builder =
        if systemd { World::builder(&Base::systemd()?).systemd() } else { World::builder(&Base::minimal()?).daemons() };
    let world = builder.bind(archive.path(), MOUNT_POINT).bind(EXECUTOR, IN_WORLD).boot()?;
    world.write("/etc/apt/sources.list", archive.sources_list(Via::Copy))?;
    world.must(["apt-get", "update"])?;
    world.must(["apt-get", "install", "-y", "libdemo1=1.0-1", "demod=1.0-1"])?;
    let (system, on_boot): (_, fn(&World) -> Result<()>) = if systemd {
        ("debian-12 with systemd", wait_for_systemd)
    } else {
        ("debian-12 with sysv init", start_by_hand)
    };
    Ok(Services { system, on_boot, frozen: world.freeze(), stage: None, _archive: archive })
}

fn failed(error: &anyhow::Error) -> WorldError {
    WorldError::new(format!("{error:#}"))
}

impl Services {
    fn stage(&mut self) -> Result<&mut Stage<Debian>, WorldError> {
        self.stage.as_mut().ok_or_else(|| WorldError::new("not broken yet"))
    }

    fn world(&mut self) -> Result<&World, WorldError> {
        let stage = self.stage()?;
        stage.machine.switch_on().map_err(|error| failed(&error))?;
        Ok(&stage.machine.world)
    }
}

impl Suite for Services {
    fn action(&self) -> String {
        "service.restart".to_owned()
    }

    fn system(&self) -> String {
        self.system.to_owned()
    }

    fn case(&self) -> String {
        "a daemon on a replaced library".to_owned()
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
            (self.on_boot)(&world)?;
            world.must(["apt-get", "install", "-y", &format!("libdemo1={FIXED}")])?;
            Stage::new(Debian { world, on_boot: self.on_boot })
        };
        self.stage = Some(make().map_err(|error| failed(&error))?);
        Ok(())
    }

    fn observe(&mut self) -> Result<Value, WorldError> {
        let world = self.world()?;
        let look = || -> Result<Value> {
            let running = world.processes()?.iter().filter(|process| process.name == "demod").count();
            Ok(json!({ "running": running, "maps": world.text("/run/demod.version")? }))
        };
        look().map_err(|error| failed(&error))
    }

    fn is_fixed(&mut self) -> Result<bool, WorldError> {
        Ok(self.observe()? == json!({ "running": 1, "maps": format!("1.0-1 {FIXED}\n") }))
    }

    fn happened_twice(&mut self) -> Result<Vec<String>, WorldError> {
        // A restart may happen again: it is transient.
        Ok(Vec::new())
    }

    fn requests(&self) -> Vec<StepRequest> {
        let items = vec![ItemId::from_entropy([1; 10])];
        vec![StepRequest { action: "service.restart".to_owned(), want: json!({ "scope": "affected" }), items }]
    }

    fn send(&mut self, verb: Verb, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        self.stage()?.send(verb, crash)
    }

    fn restart(&mut self, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        self.stage()?.restart(crash)
    }

    fn meddle(&mut self) -> Result<bool, WorldError> {
        Ok(false)
    }

    fn is_meddled(&mut self) -> Result<bool, WorldError> {
        Ok(false)
    }

    fn bad_wants(&self) -> Vec<Value> {
        vec![
            json!(null),
            json!({}),
            json!({ "services": ["no-such-service"] }),
            json!({ "services": ["../../bin/sh"] }),
        ]
    }

    fn bad_params(&self) -> Vec<Value> {
        vec![
            json!(null),
            json!({ "affected": true }),
            json!({ "affected": false, "sources": [], "services": ["--all"], "foreseen": [] }),
        ]
    }

    fn deaths(&self) -> Vec<Death> {
        vec![Death::Kill, Death::PowerLoss]
    }
}

#[test]
fn service_restart_with_sysv_init() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    expect_green(&mut prepared(false)?, 4);
    let why = "nobody would start it again: it is left to a person, and the receipt says so";
    tell(&ConformanceReport::none("service.restart", "debian-12", "a process that no init manages", why));
    Ok(())
}

#[test]
fn service_restart_with_systemd() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    match prepared(true) {
        Ok(mut world) => expect_green(&mut world, 3),
        // A machine without a writable cgroup2 cannot boot it: then the table says so.
        Err(error) => {
            let why = format!("no systemd on this machine: {error:#}");
            tell(&ConformanceReport::none(
                "service.restart",
                "debian-12 with systemd",
                "a daemon on a replaced library",
                &why,
            ));
        }
    }
    Ok(())
}

//! What all worlds of the suite share: one world at a time, its executor, and the server that it talks to.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use stanch_action::{Crash, Death, Moment, Point, Sent, WorldError};
use stanch_model::Timestamp;
use stanch_model::asset::{AssetKind, asset_id};
use stanch_model::id::AssetId;
use stanch_model::order::{Order, Position, Verb};
use stanch_testkit::conformance::{Desk, Session, live};
use stanch_testkit::{World, wait_until};

/// The executor, as tests find it and as a world sees it.
pub(crate) const EXECUTOR: &str = env!("CARGO_BIN_EXE_executor_under_test");
pub(crate) const IN_WORLD: &str = "/opt/executor_under_test";

/// How long an order may take that is not stuck.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn asset() -> AssetId {
    asset_id(AssetKind::Host, "executor-under-test")
}

/// Where an executor lives and can be killed.
pub(crate) trait Machine {
    /// Makes sure it is on, as its init would.
    fn switch_on(&self) -> Result<()>;

    /// All its processes are gone.
    fn power_off(&self);

    /// The executor's command.
    fn executor(&self) -> Result<Command>;

    /// Sets a trap of this name, which kills the executor or waits for the power to go.
    fn trap(&self, name: &str, death: Death) -> Result<()>;

    /// Whether the trap waits for the power to go.
    fn is_trapped(&self) -> bool;
}

/// A real Debian.
pub(crate) struct Debian {
    pub(crate) world: World,
    /// What its init starts at every boot.
    pub(crate) on_boot: fn(&World) -> Result<()>,
}

impl Machine for Debian {
    fn switch_on(&self) -> Result<()> {
        if !self.world.is_up() {
            self.world.boot()?;
            (self.on_boot)(&self.world)?;
        }
        Ok(())
    }

    fn power_off(&self) {
        self.world.kill_all();
    }

    fn executor(&self) -> Result<Command> {
        self.world.command([IN_WORLD, "--folder", "/var/lib/stanch/executor"])
    }

    fn trap(&self, name: &str, death: Death) -> Result<()> {
        let how = if death == Death::Kill { "kill" } else { "power" };
        self.world.write(&format!("/trap/{name}"), how)
    }

    fn is_trapped(&self) -> bool {
        self.world.is_up() && self.world.exists("/run/trapped")
    }
}

/// A Debian whose executor runs as its unit has it run: other accounts can read nothing that it makes.
pub(crate) struct AsService(pub(crate) Debian);

impl Machine for AsService {
    fn switch_on(&self) -> Result<()> {
        self.0.switch_on()
    }

    fn power_off(&self) {
        self.0.power_off();
    }

    fn executor(&self) -> Result<Command> {
        let line = format!("umask 077; exec {IN_WORLD} \"$@\"");
        self.0.world.command(["sh", "-c", &line, "sh", "--folder", "/var/lib/stanch/executor"])
    }

    fn trap(&self, name: &str, death: Death) -> Result<()> {
        self.0.trap(name, death)
    }

    fn is_trapped(&self) -> bool {
        self.0.is_trapped()
    }
}

/// A line for a maintainer script that springs the trap of this name.
pub(crate) fn trap(name: &str) -> String {
    format!(
        "case \"$(cat /trap/{name} 2>/dev/null)\" in\n\
         kill) rm /trap/{name}; kill -9 \"$(cat /run/executor.pid)\" ;;\n\
         power) rm /trap/{name}; touch /run/trapped; while :; do sleep 1; done ;;\n\
         esac\n"
    )
}

/// One machine and its server.
pub(crate) struct Stage<M> {
    pub(crate) machine: M,
    desk: Desk,
    open: BTreeMap<Position, Order>,
}

impl<M: Machine + Sync> Stage<M> {
    pub(crate) fn new(machine: M) -> Result<Self> {
        Ok(Self { machine, desk: Desk::new(Timestamp::now())?, open: BTreeMap::new() })
    }

    pub(crate) fn send(&mut self, verb: Verb, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        self.desk.now = Timestamp::now();
        let order = self.desk.order(verb);
        self.open.insert(order.position, order);
        self.life(true, crash).map_err(|error| WorldError::new(format!("{error:#}")))
    }

    pub(crate) fn restart(&mut self, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        self.life(false, crash).map_err(|error| WorldError::new(format!("{error:#}")))
    }

    fn life(&mut self, send: bool, crash: Option<&Crash>) -> Result<Sent> {
        self.machine.switch_on()?;
        let mut command = self.machine.executor()?;
        match crash {
            Some(Crash { point: Point::Append(number, moment), death }) => {
                command.args(["--crash-at", &number.to_string()]);
                command.arg(if *moment == Moment::Before { "--before" } else { "--after" });
                if *death == Death::PowerLoss {
                    command.arg("--halt");
                }
            }
            Some(Crash { point: Point::Inside(name), death }) => self.machine.trap(name, *death)?,
            None => {}
        }
        let mut desk = Desk::new(Timestamp::now())?;
        desk.position = self.desk.position;
        let session = Session::new(desk, self.open.clone(), send, PATIENCE);
        let over = AtomicBool::new(false);
        let (machine, waits) = (&self.machine, matches!(crash, Some(Crash { point: Point::Inside(_), .. })));
        let ended = std::thread::scope(|scope| {
            if waits {
                scope.spawn(|| {
                    let trapped = || Ok(over.load(Ordering::SeqCst) || machine.is_trapped());
                    if wait_until("the trap springs or the order ends", 2 * PATIENCE, trapped).is_ok()
                        && !over.load(Ordering::SeqCst)
                    {
                        machine.power_off();
                    }
                });
            }
            let ended = live(command, &session, &|| machine.power_off());
            over.store(true, Ordering::SeqCst);
            ended
        });
        let ended = ended.context("the executor's life")?;
        let (receipts, taken, problem) = session.end();
        if let (Some(problem), false) = (problem, ended.died) {
            anyhow::bail!(problem);
        }
        for receipt in &receipts {
            self.open.remove(&receipt.position);
        }
        // An executor that died right after it took an order had no time to say so: the next life says.
        let taken = taken >= self.desk.position;
        if !taken && !send {
            self.open.remove(&self.desk.position);
        }
        Ok(Sent { receipts, appends: ended.appends, died: ended.died, taken })
    }
}

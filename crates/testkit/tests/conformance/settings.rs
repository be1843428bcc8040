//! `config.set`: settings of each kind that are weaker than wanted, in a Debian of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use stanch_action::{ConformanceReport, Crash, Death, Idempotency, Sent, World as Suite, WorldError};
use stanch_model::id::{AssetId, ItemId};
use stanch_model::order::{StepRequest, Verb};
use stanch_testkit::world::Frozen;
use stanch_testkit::{Base, World, root_or_skip, wait_until};

use crate::stage::{Debian, EXECUTOR, IN_WORLD, Machine, Stage, asset};
use crate::{expect_green, tell};

/// What is special about a world of one kind of setting.
struct Kind {
    system: &'static str,
    case: &'static str,
    checks: &'static [&'static str],
    on_boot: fn(&World) -> Result<()>,
    observe: fn(&World) -> Result<Value>,
    is_fixed: fn(&World) -> Result<bool>,
    meddle: fn(&World) -> Result<()>,
    is_meddled: fn(&World) -> Result<bool>,
    /// The parameters that a step of another kind would have.
    strange: fn() -> Value,
}

struct Settings {
    kind: Kind,
    frozen: Frozen,
    stage: Option<Stage<Debian>>,
}

fn failed(error: &anyhow::Error) -> WorldError {
    WorldError::new(format!("{error:#}"))
}

impl Settings {
    fn stage(&mut self) -> Result<&mut Stage<Debian>, WorldError> {
        self.stage.as_mut().ok_or_else(|| WorldError::new("not broken yet"))
    }

    fn world(&mut self) -> Result<&World, WorldError> {
        let stage = self.stage()?;
        stage.machine.switch_on().map_err(|error| failed(&error))?;
        Ok(&stage.machine.world)
    }
}

impl Suite for Settings {
    fn action(&self) -> String {
        "config.set".to_owned()
    }

    fn system(&self) -> String {
        self.kind.system.to_owned()
    }

    fn case(&self) -> String {
        self.kind.case.to_owned()
    }

    fn idempotency(&self) -> Idempotency {
        Idempotency::Yes
    }

    fn asset(&self) -> AssetId {
        asset()
    }

    fn break_it(&mut self) -> Result<(), WorldError> {
        self.stage = None;
        let on_boot = self.kind.on_boot;
        let make = || -> Result<Stage<Debian>> {
            let world = self.frozen.world()?;
            on_boot(&world)?;
            Stage::new(Debian { world, on_boot })
        };
        self.stage = Some(make().map_err(|error| failed(&error))?);
        Ok(())
    }

    fn observe(&mut self) -> Result<Value, WorldError> {
        let observe = self.kind.observe;
        observe(self.world()?).map_err(|error| failed(&error))
    }

    fn is_fixed(&mut self) -> Result<bool, WorldError> {
        let is_fixed = self.kind.is_fixed;
        is_fixed(self.world()?).map_err(|error| failed(&error))
    }

    fn happened_twice(&mut self) -> Result<Vec<String>, WorldError> {
        // A line that stands twice in a file of ours.
        let mut twice = Vec::new();
        for path in [SYSCTL, SSHD] {
            let mut seen: BTreeMap<String, u32> = BTreeMap::new();
            for line in self.world()?.text(path).unwrap_or_default().lines() {
                *seen.entry(line.to_owned()).or_default() += 1;
            }
            twice.extend(seen.into_iter().filter(|(_, count)| *count > 1).map(|(line, _)| format!("{path}: {line}")));
        }
        Ok(twice)
    }

    fn requests(&self) -> Vec<StepRequest> {
        let request = |(number, check): (usize, &&str)| StepRequest {
            action: "config.set".to_owned(),
            want: json!({ "check": check }),
            items: vec![ItemId::from_entropy([u8::try_from(number).unwrap_or(0); 10])],
        };
        self.kind.checks.iter().enumerate().map(request).collect()
    }

    fn send(&mut self, verb: Verb, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        self.stage()?.send(verb, crash)
    }

    fn restart(&mut self, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        self.stage()?.restart(crash)
    }

    fn meddle(&mut self) -> Result<bool, WorldError> {
        let meddle = self.kind.meddle;
        meddle(self.world()?).map_err(|error| failed(&error))?;
        Ok(true)
    }

    fn is_meddled(&mut self) -> Result<bool, WorldError> {
        let is_meddled = self.kind.is_meddled;
        is_meddled(self.world()?).map_err(|error| failed(&error))
    }

    fn bad_wants(&self) -> Vec<Value> {
        let mut bad = vec![
            json!(null),
            json!({ "check": "no-such-check" }),
            json!({ "check": self.kind.checks.first(), "value": "whatever an order says" }),
        ];
        if self.kind.checks.contains(&"sysctl-source-route") {
            // This world forwards, and whether it may is a person's to decide.
            bad.push(json!({ "check": "sysctl-forward" }));
        }
        bad
    }

    fn bad_params(&self) -> Vec<Value> {
        vec![json!(null), json!({ "settings": [] }), json!({ "settings": [{ "check": "x" }] }), (self.kind.strange)()]
    }

    fn deaths(&self) -> Vec<Death> {
        vec![Death::Kill, Death::PowerLoss]
    }
}

const SYSCTL: &str = "/etc/sysctl.d/zz-stanch.conf";
const SSHD: &str = "/etc/ssh/sshd_config.d/00-stanch.conf";
const OURS: &str = "# of its owner\nnet.ipv4.conf.all.log_martians = 0\n";

/// Gives the kernel what the files say, in their order: what an init does at every boot.
const APPLY_SYSCTLS: &str = "cat /etc/sysctl.d/*.conf | sed -n 's/^\\([a-z][^ =]*\\) *= *\\(.*\\)$/\\1 \\2/p' | \
    while read -r name value; do echo \"$value\" > /proc/sys/$(echo \"$name\" | tr . /); done";

fn apply_sysctls(world: &World) -> Result<()> {
    world.must(["sh", "-c", APPLY_SYSCTLS]).map(drop)
}

fn parameter(world: &World, name: &str) -> Result<String> {
    // Read inside: who reads from outside sees their own network's.
    Ok(world.must(["cat", &format!("/proc/sys/{}", name.replace('.', "/"))])?.trim().to_owned())
}

fn file(world: &World, path: &str) -> Result<Value> {
    let text = world.text(path).ok();
    let about = world.run(["stat", "-c", "%a %u %g", path])?;
    Ok(json!({ "text": text, "about": about.text().trim() }))
}

fn strange_file() -> Value {
    json!({ "settings": [{ "check": "file-shadow", "items": [], "from": { "of": "units", "units": {} } }] })
}

fn sysctls(own: Option<&str>) -> Result<Settings> {
    const WEAK: &str =
        "net.ipv4.ip_forward = 1\nnet.ipv4.tcp_syncookies = 0\nnet.ipv4.conf.all.accept_source_route = 1\n";
    let world = World::builder(&Base::minimal()?).bind(EXECUTOR, IN_WORLD).boot()?;
    world.write("/etc/sysctl.d/10-weak.conf", WEAK)?;
    if let Some(own) = own {
        world.write_mode(SYSCTL, own, 0o600)?;
    }
    let kind = Kind {
        system: "debian-12",
        case: if own.is_some() {
            "two parameters of the kernel, a file of that name with lines of its owner"
        } else {
            "two parameters of the kernel"
        },
        checks: &["sysctl-syncookies", "sysctl-source-route"],
        on_boot: apply_sysctls,
        observe: |world| {
            Ok(json!({
                "syncookies": parameter(world, "net.ipv4.tcp_syncookies")?,
                "source_route": parameter(world, "net.ipv4.conf.all.accept_source_route")?,
                "file": file(world, SYSCTL)?,
                "folder": world.must(["ls", "-A", "/etc/sysctl.d"])?,
            }))
        },
        is_fixed: |world| {
            // After the next boot too.
            apply_sysctls(world)?;
            Ok(parameter(world, "net.ipv4.tcp_syncookies")? != "0"
                && parameter(world, "net.ipv4.conf.all.accept_source_route")? == "0")
        },
        meddle: |world| world.must(["sh", "-c", "echo 2 > /proc/sys/net/ipv4/tcp_syncookies"]).map(drop),
        is_meddled: |world| Ok(parameter(world, "net.ipv4.tcp_syncookies")? == "2"),
        strange: strange_file,
    };
    Ok(Settings { kind, frozen: world.freeze(), stage: None })
}

#[test]
fn config_set_of_kernel_parameters() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    expect_green(&mut sysctls(None)?, 8);
    expect_green(&mut sysctls(Some(OURS))?, 4);
    Ok(())
}

/// Ways to sign in that the running server offers, once it offers what its files say.
fn offered(world: &World) -> Result<String> {
    let mut said = String::new();
    wait_until("sshd offers what its files say", Duration::from_secs(30), || {
        let quiet = ["-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes", "-o", "PreferredAuthentications=none"];
        let output = world.run(["ssh"].into_iter().chain(quiet).chain(["root@127.0.0.1", "true"]))?.all();
        let Some((_, methods)) = output.split_once("Permission denied (") else { return Ok(false) };
        said = methods.split(')').next().unwrap_or_default().to_owned();
        let passwords = effective(world)?.contains("passwordauthentication yes");
        Ok(said.contains("password") == passwords)
    })?;
    Ok(said)
}

fn effective(world: &World) -> Result<String> {
    let all = world.must(["sshd", "-T"])?;
    let ours = ["passwordauthentication ", "x11forwarding ", "maxauthtries "];
    let lines = all.lines().filter(|line| ours.iter().any(|name| line.starts_with(name)));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn start_sshd(world: &World) -> Result<()> {
    world.must(["/etc/init.d/ssh", "start"]).map(drop)
}

fn wait_for_sshd(world: &World) -> Result<()> {
    wait_until("sshd is up", Duration::from_secs(60), || Ok(world.run(["systemctl", "is-active", "ssh"])?.ok()))
}

fn ssh_server(systemd: bool) -> Result<Settings> {
    let builder =
        if systemd { World::builder(&Base::ssh_systemd()?).systemd() } else { World::builder(&Base::ssh()?).daemons() };
    let world = builder.bind(EXECUTOR, IN_WORLD).boot()?;
    world.must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/key"])?;
    let key = world.text("/root/key.pub")?;
    world.must(["mkdir", "-p", "-m", "700", "/root/.ssh"])?;
    world.write_mode("/root/.ssh/authorized_keys", key, 0o600)?;
    world.write("/etc/ssh/sshd_config.d/50-weak.conf", "PasswordAuthentication yes\nMaxAuthTries 20\n")?;
    let kind = Kind {
        system: if systemd { "debian-12 with systemd" } else { "debian-12" },
        case: if systemd {
            "three settings of an SSH server under systemd"
        } else {
            "three settings of an SSH server that runs under an init script"
        },
        checks: &["ssh-password-login", "ssh-x11", "ssh-auth-tries"],
        on_boot: if systemd { wait_for_sshd } else { start_sshd },
        observe: |world| {
            Ok(json!({
                "effective": effective(world)?,
                "offered": offered(world)?,
                "file": file(world, SSHD)?,
                "folder": world.must(["ls", "-A", "/etc/ssh/sshd_config.d"])?,
            }))
        },
        is_fixed: |world| {
            let is = effective(world)?;
            let good = ["passwordauthentication no", "x11forwarding no", "maxauthtries 6"];
            Ok(good.iter().all(|line| is.contains(line)) && offered(world)? == "publickey")
        },
        meddle: |world| world.write(SSHD, "x11forwarding yes\n"),
        is_meddled: |world| Ok(world.text(SSHD)? == "x11forwarding yes\n"),
        strange: strange_file,
    };
    Ok(Settings { kind, frozen: world.freeze(), stage: None })
}

#[test]
fn config_set_of_an_ssh_server() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    expect_green(&mut ssh_server(false)?, 6);
    Ok(())
}

#[test]
fn config_set_of_an_ssh_server_under_systemd() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    expect_green(&mut ssh_server(true)?, 4);
    Ok(())
}

fn modes(world: &World) -> Result<String> {
    world.must(["stat", "-c", "%n %a %u %g", "/etc/shadow", "/etc/passwd", "/etc/crontab"])
}

fn file_modes() -> Result<Settings> {
    let world = World::builder(&Base::minimal()?).bind(EXECUTOR, IN_WORLD).boot()?;
    world.write("/etc/crontab", "# nothing\n")?;
    world.must(["sh", "-c", "chmod 666 /etc/shadow; chmod 4646 /etc/passwd; chown 1:2 /etc/crontab"])?;
    let kind = Kind {
        system: "debian-12",
        case: "modes and owners of three files",
        checks: &["file-shadow", "file-passwd", "file-crontab"],
        on_boot: |_| Ok(()),
        observe: |world| Ok(json!(modes(world)?)),
        is_fixed: |world| Ok(modes(world)? == "/etc/shadow 640 0 42\n/etc/passwd 644 0 0\n/etc/crontab 644 0 0\n"),
        meddle: |world| world.must(["chmod", "660", "/etc/shadow"]).map(drop),
        is_meddled: |world| Ok(modes(world)?.contains("/etc/shadow 660 ")),
        strange: || {
            let from = json!({ "of": "line", "value": "1", "lines": [] });
            json!({ "settings": [{ "check": "file-shadow", "items": [], "from": from }] })
        },
    };
    Ok(Settings { kind, frozen: world.freeze(), stage: None })
}

#[test]
fn config_set_of_file_modes() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    expect_green(&mut file_modes()?, 8);
    Ok(())
}

const UNITS: [&str; 2] = ["rpcbind.socket", "rpcbind.service"];

fn units(world: &World) -> Result<String> {
    let mut said = String::new();
    for unit in UNITS {
        let state =
            |verb: &str| -> Result<String> { Ok(world.run(["systemctl", verb, unit])?.text().trim().to_owned()) };
        said.push_str(&format!("{unit} {} {}\n", state("is-enabled")?, state("is-active")?));
    }
    Ok(said)
}

fn links(world: &World) -> Result<String> {
    world.must(["find", "/etc/systemd/system", "-name", "rpcbind*", "-printf", "%p -> %l\n"])
}

fn services() -> Result<Settings> {
    let world = World::builder(&Base::systemd()?).systemd().bind(EXECUTOR, IN_WORLD).boot()?;
    let unit = |name: &str| format!("/lib/systemd/system/{name}");
    let socket = "[Socket]\nListenStream=/run/rpcbind.sock\n[Install]\nWantedBy=sockets.target\n";
    let service = "[Unit]\nRequires=rpcbind.socket\n[Service]\nExecStart=/bin/sleep infinity\n\
                   [Install]\nWantedBy=multi-user.target\n";
    world.write(&unit(UNITS[0]), socket)?;
    world.write(&unit(UNITS[1]), service)?;
    world.must(["systemctl", "daemon-reload"])?;
    world.must(["systemctl", "enable", "--now", UNITS[0], UNITS[1]])?;
    let kind = Kind {
        system: "debian-12 with systemd",
        case: "a service that its socket would start again",
        checks: &["service-rpcbind"],
        on_boot: |_| Ok(()),
        observe: |world| Ok(json!({ "units": units(world)?, "links": links(world)? })),
        is_fixed: |world| Ok(units(world)? == "rpcbind.socket masked inactive\nrpcbind.service masked inactive\n"),
        meddle: |world| {
            let verb = if units(world)?.contains("rpcbind.service masked") { "unmask" } else { "disable" };
            world.must(["systemctl", verb, UNITS[1]]).map(drop)
        },
        is_meddled: |world| Ok(units(world)?.contains("rpcbind.service enabled inactive")),
        strange: strange_file,
    };
    Ok(Settings { kind, frozen: world.freeze(), stage: None })
}

#[test]
fn config_set_of_services() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    expect_green(&mut services()?, 4);
    Ok(())
}

#[test]
fn config_set_has_no_world_for_these() {
    let why = "no world of this kind is made";
    for (system, case) in [
        ("debian-12 with systemd", "an SSH server that its socket starts for each connection"),
        ("debian-12", "services under init scripts: refused there"),
        ("debian-12", "parameters of the kernel outside of its network, which worlds share with their host"),
    ] {
        tell(&ConformanceReport::none("config.set", system, case, why));
    }
}

//! One package on a few hosts, from the moment that a plan is approved until it is verified, and the same with
//! ansible-core over SSH on hosts of the same make, one after the other in each round.
//!
//! `bench_ansible [ROUNDS]` (3) boots twice five roots for each round. Ansible is set up as its manual advises for speed:
//! five forks, pipelining, no gathering of facts; its indexes are fetched beforehand, as Stanch's are. Its run ends with
//! the question which version is installed, Stanch's with its own check.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use stanch_server::{Door, Intervals, PolicySource};
use stanch_testkit::claims::Claims;
use stanch_testkit::lan::Lan;
use stanch_testkit::site::Site;
use stanch_testkit::tool::{self, NEW, Update, version};
use stanch_testkit::visitor::{load, part};
use stanch_testkit::world::Process;
use stanch_testkit::{Archive, Base, World, wait_until};

const AGENT: &str = "/usr/bin/stanch-agent";
const HOSTS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(300);

fn main() -> Result<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(3), |text| text.parse()).context("how many rounds?")?;
    Base::managed()?;
    Lan::apart()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut claims = Claims::new();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(with_stanch(&runtime)?.as_secs_f64());
        theirs.push(with_ansible()?.as_secs_f64());
        eprintln!("{:.2} s, ansible {:.2} s", ours.last().unwrap_or(&0.0), theirs.last().unwrap_or(&0.0));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = theirs / ours;
    let round = |number: f64| (number * 100.0).round() / 100.0;
    claims.claim(
        "five hosts, one package, beside ansible-core",
        ratio >= 1.5,
        json!({ "seconds": round(ours), "ansible_seconds": round(theirs), "ratio": round(ratio), "rounds": rounds, "load": load() }),
        || format!("{ratio:.2} times"),
    );
    claims.end()
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

fn worlds(archive: &Archive, lan: &mut Lan) -> Result<Vec<World>> {
    let agent = std::env::current_exe()?.with_file_name("stanch-agent");
    ensure!(agent.is_file(), "{} is not built", agent.display());
    let disk = tool::disk_on(&Base::managed()?, archive, Update::Good, &[(agent, AGENT)])?;
    let mut worlds = Vec::new();
    for _ in 0..HOSTS {
        let world = disk.world()?;
        let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.replace('-', "");
        world.write("/etc/machine-id", id)?;
        lan.join(&world)?;
        worlds.push(world);
    }
    Ok(worlds)
}

fn are_upgraded(worlds: &[World]) -> Result<()> {
    for world in worlds {
        let found = version(world)?;
        ensure!(found == NEW, "a host has {found}");
    }
    Ok(())
}

fn with_stanch(runtime: &tokio::runtime::Runtime) -> Result<Duration> {
    let (archive, mut lan) = (Archive::new()?, Lan::new()?);
    let policies = tempfile::tempdir()?;
    let site = site(runtime, policies.path().to_owned())?;
    let worlds = worlds(&archive, &mut lan)?;
    let made = site.visitor.post("/api/v1/enrolments", json!({ "name": "all", "uses": HOSTS, "confirmed": true }))?;
    let token = part(&made, "token").as_str().context("a token")?.to_owned();
    let mut agents: Vec<Process> = Vec::new();
    for world in &worlds {
        world.write_mode("/root/token", &token, 0o600)?;
        world.must([AGENT, "enrol", "--server", &site.door()?, "--token-file", "/root/token"])?;
        agents.push(world.spawn([AGENT, "run"])?);
    }
    wait_until("every host is judged", PATIENCE, || {
        let assets = site.visitor.get("/api/v1/assets")?;
        let judged = assets.as_array().into_iter().flatten().filter(|asset| !part(asset, "judged_at").is_null());
        Ok(judged.count() >= HOSTS)
    })?;
    let text = tool::policy("tool", "{percent: 100}", 5).replace("mode: auto", "mode: approve");
    tool::decide(policies.path(), &text.replace("disrupted_percent: 50", "disrupted_percent: 100"))?;
    let mut found = Value::Null;
    wait_until("a plan for all of them", PATIENCE, || {
        let all = site.visitor.get("/api/v1/remediations?state=awaiting_approval")?;
        found = all.as_array().and_then(|all| all.first()).cloned().unwrap_or_default();
        Ok(part(&found, "assets").as_array().is_some_and(|assets| assets.len() == HOSTS))
    })
    .with_context(|| format!("the last was {found}"))?;
    let path = format!("/api/v1/remediations/{}", part(&found, "id").as_str().context("an id")?);
    let began = Instant::now();
    site.visitor.post(&format!("{path}/approve"), json!({ "plan_hash": part(&found, "plan") }))?;
    let mut one = Value::Null;
    wait_until("it is over", PATIENCE, || {
        one = part(&site.visitor.get(&path)?, "remediation").clone();
        Ok(*part(&one, "over") == json!(true))
    })
    .with_context(|| format!("the last was {one}"))?;
    let took = began.elapsed();
    ensure!(*part(&one, "state") == "closed", "it ended as {one}");
    are_upgraded(&worlds)?;
    Ok(took)
}

fn site(runtime: &tokio::runtime::Runtime, policies: PathBuf) -> Result<Site> {
    let key = tool::key()?.verifying_key();
    Site::open(runtime, |config| {
        let names = vec![Lan::here().to_string()];
        config.executors = Some(Door { listen: SocketAddr::new(Lan::here(), 0), names });
        config.own = Some(BTreeSet::new());
        config.policies = Some(PolicySource::folder(policies, Some(key)));
        config.intervals =
            Intervals { gather: Duration::from_secs(5), decide: Duration::from_secs(2), ..Intervals::default() };
    })
}

fn with_ansible() -> Result<Duration> {
    let (archive, mut lan) = (Archive::new()?, Lan::new()?);
    let worlds = worlds(&archive, &mut lan)?;
    let folder = tempfile::tempdir()?;
    let key = folder.path().join("key");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key))?;
    let public = std::fs::read(key.with_extension("pub"))?;
    let mut inventory = "[all]\n".to_owned();
    let mut doors: Vec<Process> = Vec::new();
    for world in &worlds {
        world.must(["mkdir", "-p", "-m", "700", "/root/.ssh", "/run/sshd"])?;
        world.write_mode("/root/.ssh/authorized_keys", &public, 0o600)?;
        world.must(["ssh-keygen", "-A"])?;
        doors.push(world.spawn(["/usr/sbin/sshd", "-D"])?);
        let init = world.init().context("the world is off")?.to_string();
        let said =
            Command::new("nsenter").args(["-t", &init, "-n", "ip", "-4", "-o", "addr", "show", "eth0"]).output()?;
        let said = String::from_utf8(said.stdout)?;
        let address = said.split_whitespace().nth(3).and_then(|text| text.split('/').next()).context("an address")?;
        writeln!(inventory, "{address}")?;
        wait_until("its SSH server answers", PATIENCE, || {
            Ok(std::net::TcpStream::connect_timeout(&format!("{address}:22").parse()?, Duration::from_secs(1)).is_ok())
        })?;
    }
    let write = |name: &str, text: &str| -> Result<PathBuf> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    };
    write("hosts", &inventory)?;
    write(
        "ansible.cfg",
        &format!(
            "[defaults]\nforks = 5\ngathering = explicit\nhost_key_checking = False\nremote_user = root\n\
             private_key_file = {}\nlocal_tmp = {}\n[ssh_connection]\npipelining = True\n",
            key.display(),
            folder.path().join("tmp").display()
        ),
    )?;
    write(
        "play.yml",
        &format!(
            "- hosts: all\n  gather_facts: false\n  tasks:\n    - apt: {{name: tool, state: latest}}\n    \
             - command: dpkg-query --show --showformat=${{Version}} tool\n      register: found\n      \
             failed_when: found.stdout != '{NEW}'\n"
        ),
    )?;
    let began = Instant::now();
    let mut play = Command::new("ansible-playbook");
    play.current_dir(folder.path()).env("ANSIBLE_CONFIG", folder.path().join("ansible.cfg"));
    play.env("HOME", folder.path()).env("LC_ALL", "C.UTF-8").args(["-i", "hosts", "play.yml"]);
    run(&mut play)?;
    let took = began.elapsed();
    are_upgraded(&worlds)?;
    Ok(took)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if !output.status.success() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{command:?} failed: {out}{err}");
    }
    Ok(())
}

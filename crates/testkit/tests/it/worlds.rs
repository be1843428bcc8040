//! The worlds do what tests of actions rely on.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use stanch_testkit::{
    Archive, Base, Daemon, Package, Suite, Via, World, archive::MOUNT_POINT, root_or_skip, wait_until, world::PATIENCE,
};

const SOON: Duration = Duration::from_secs(20);

/// An archive with `tool` 1.0 in main.
fn archive() -> Result<Archive> {
    let archive = Archive::new()?;
    archive.publish(&Suite::main(), &tool("1.0-1"))?;
    Ok(archive)
}

fn tool(version: &str) -> Package {
    Package::new("tool", version).file_mode("/usr/bin/tool", format!("#!/bin/sh\necho {version}\n"), 0o755)
}

/// A world that gets its packages from the archive.
fn served(archive: &Archive) -> Result<World> {
    let world = World::builder(&Base::minimal()?).bind(archive.path(), MOUNT_POINT).boot()?;
    world.write("/etc/apt/sources.list", archive.sources_list(Via::File))?;
    world.must(["apt-get", "update"])?;
    Ok(world)
}

fn version_of(world: &World, package: &str) -> Result<String> {
    world.must(["dpkg-query", "--show", "--showformat=${Version} ${db:Status-Status}", package])
}

#[test]
fn installs_and_sees_an_upgrade_from_the_security_pocket() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let archive = archive()?;
    let world = served(&archive)?;
    world.must(["apt-get", "install", "-y", "tool"])?;
    assert_eq!(world.must(["tool"])?, "1.0-1\n");

    archive.publish(&Suite::security(), &tool("1.0-1+deb12u1"))?;
    world.must(["apt-get", "update"])?;
    let listed = world.must(["apt-get", "--simulate", "dist-upgrade"])?;
    ensure!(listed.contains("Inst tool [1.0-1] (1.0-1+deb12u1 Debian-Security:oldstable-security"), "{listed}");
    world.must(["apt-get", "dist-upgrade", "-y"])?;
    assert_eq!(version_of(&world, "tool")?, "1.0-1+deb12u1 installed");

    archive.remove(&Suite::security(), "tool", "1.0-1+deb12u1")?;
    world.must(["apt-get", "update"])?;
    world.must(["apt-get", "install", "-y", "--allow-downgrades", "tool=1.0-1"])?;
    assert_eq!(world.must(["tool"])?, "1.0-1\n");
    assert!(archive.remove(&Suite::security(), "tool", "9").is_err());
    Ok(())
}

#[test]
fn a_power_loss_leaves_a_half_done_upgrade_that_can_be_healed() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let archive = archive()?;
    let world = served(&archive)?;
    world.must(["apt-get", "install", "-y", "tool"])?;
    // Configuring waits for a file that only appears after the loss.
    let slow = tool("2.0-1").postinst("touch /run/configuring; while [ ! -e /etc/go ]; do sleep 0.05; done");
    archive.publish(&Suite::security(), &slow)?;
    world.must(["apt-get", "update"])?;
    let before = fs::read("/proc/sys/kernel/random/boot_id")?;
    let first_boot = world.read("/proc/sys/kernel/random/boot_id")?;
    assert_ne!(before, first_boot);

    let output = std::thread::scope(|scope| -> Result<_> {
        let upgrade = scope.spawn(|| world.run(["apt-get", "dist-upgrade", "-y"]));
        wait_until("tool is being configured", SOON, || Ok(world.exists("/run/configuring")))?;
        world.kill_all();
        upgrade.join().map_err(|_| anyhow::anyhow!("the upgrade's thread failed"))?
    })?;
    assert!(!output.ok());
    assert!(!world.is_up());
    assert!(world.run(["true"]).is_err());

    world.boot()?;
    assert_ne!(world.read("/proc/sys/kernel/random/boot_id")?, first_boot);
    assert!(!world.exists("/run/configuring"));
    assert_eq!(version_of(&world, "tool")?, "2.0-1 half-configured");
    ensure!(world.must(["dpkg", "--audit"])?.contains("tool"));
    world.write("/etc/go", "")?;
    world.must(["dpkg", "--configure", "--pending"])?;
    assert_eq!(version_of(&world, "tool")?, "2.0-1 installed");
    assert_eq!(world.must(["dpkg", "--audit"])?, "");
    Ok(())
}

#[test]
fn a_daemon_maps_the_old_library_until_it_is_restarted() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let archive = archive()?;
    let library = |version| Package::new("libdemo1", version).source("demo").library("demo", 1);
    let server = Package::new("demod", "1.0-1").depends("libdemo1").daemon(Daemon::new("demod", "demo", 1));
    archive.publish(&Suite::main(), &library("1.0-1"))?;
    archive.publish(&Suite::main(), &server)?;
    let world = World::builder(&Base::minimal()?).daemons().bind(archive.path(), MOUNT_POINT).boot()?;
    world.write("/etc/apt/sources.list", archive.sources_list(Via::Copy))?;
    world.must(["apt-get", "update"])?;
    world.must(["apt-get", "install", "-y", "demod"])?;
    assert_eq!(world.text("/run/demod.version")?, "1.0-1 1.0-1\n");

    archive.publish(&Suite::security(), &library("1.0-2"))?;
    world.must(["apt-get", "update"])?;
    world.must(["apt-get", "dist-upgrade", "-y"])?;
    let pid = world.text("/run/demod.pid")?.trim().to_owned();
    let maps = world.text(&format!("/proc/{pid}/maps"))?;
    ensure!(maps.lines().any(|l| l.contains("libdemo.so.1") && l.ends_with("(deleted)")), "{maps}");
    world.must(["service", "demod", "restart"])?;
    assert_eq!(world.text("/run/demod.version")?, "1.0-1 1.0-2\n");

    // Two ways to be broken.
    let broken = server.clone().version("1.1-1").daemon(Daemon::new("demod", "demo", 1).fails_to_start());
    archive.publish(&Suite::security(), &broken)?;
    archive.publish(&Suite::security(), &tool("1.1-1").broken_postinst())?;
    world.must(["apt-get", "update"])?;
    let output = world.run(["apt-get", "install", "-y", "demod"])?;
    ensure!(!output.ok() && output.all().contains("demod did not start"), "{}", output.all());
    assert_eq!(version_of(&world, "demod")?, "1.1-1 half-configured");
    let output = world.run(["apt-get", "install", "-y", "tool"])?;
    ensure!(!output.ok() && output.all().contains("cannot be configured"), "{}", output.all());
    Ok(())
}

#[test]
fn a_policy_denies_daemons_unless_they_are_allowed() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let archive = archive()?;
    let server = Package::new("demod", "1.0-1").library("demo", 1).daemon(Daemon::new("demod", "demo", 1));
    archive.publish(&Suite::main(), &server)?;
    let world = served(&archive)?;
    world.must(["apt-get", "install", "-y", "demod"])?;
    assert_eq!(world.processes()?, []);
    Ok(())
}

#[test]
fn two_worlds_do_not_see_each_other() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let base = Base::minimal()?;
    let (one, other) = (World::new(&base)?, World::builder(&base).hostname("other").boot()?);
    let sleeper = one.spawn(["sleep", "1234"])?;
    wait_until("the sleeper runs", SOON, || Ok(one.processes()?.iter().any(|p| p.command == "sleep 1234")))?;
    assert_eq!(other.processes()?, []);
    let seen = other.must(["sh", "-c", "cat /proc/[0-9]*/comm"])?;
    ensure!(!seen.contains("sleep"), "{seen}");
    one.write("/etc/only-here", "x")?;
    assert!(!other.exists("/etc/only-here"));
    assert!(!base.path().join("etc/only-here").exists());
    assert_eq!(other.must(["hostname"])?, "other\n");
    assert_ne!(one.text("/etc/machine-id")?, other.text("/etc/machine-id")?);
    assert_eq!(one.must(["sh", "-c", "ls /sys/class/net"])?, "lo\n");
    // Orphans are reaped, and one process can be killed.
    one.must(["sh", "-c", "(sh -c 'exit 0' &)"])?;
    wait_until("only the sleeper is left", SOON, || Ok(one.processes()?.len() == 1))?;
    let pid = one.processes()?[0].pid;
    one.kill(pid)?;
    let mut sleeper = sleeper;
    wait_until("the sleeper has ended", SOON, || Ok(sleeper.ended()?.is_some()))
}

#[test]
fn a_world_cannot_harm_its_host() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let world = World::new(&Base::minimal()?)?;
    for forbidden in
        ["echo 0 > /proc/sys/kernel/panic", "echo b > /proc/sysrq-trigger", "date -s 2001-01-01", "touch /sys/x"]
    {
        assert!(!world.run(["sh", "-c", forbidden])?.ok(), "{forbidden}");
    }
    // What belongs to the world's own network may be set.
    world.must(["sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/all/accept_redirects"])?;
    // A link to an absolute path does not lead out of the world.
    world.must(["ln", "-s", "/etc/hostname", "/root/link"])?;
    assert_eq!(world.text("/root/link")?, "world\n");
    world.write("/root/link", "written")?;
    assert_eq!(world.text("/etc/hostname")?, "written");
    Ok(())
}

#[test]
fn copies_binds_and_patience() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let shared = tempfile::tempdir()?;
    fs::write(shared.path().join("a"), "from the host")?;
    let world = World::builder(&Base::minimal()?).bind(shared.path(), "/srv/shared").boot()?;
    assert_eq!(world.text("/srv/shared/a")?, "from the host");
    assert!(!world.run(["touch", "/srv/shared/b"])?.ok());
    fs::create_dir(shared.path().join("sub"))?;
    fs::write(shared.path().join("sub/b"), "b")?;
    world.copy_in(shared.path(), "/opt/copy")?;
    assert_eq!(world.must(["cat", "/opt/copy/a", "/opt/copy/sub/b"])?, "from the hostb");
    let error = world.run_with(["sleep", "1000"], &[], Duration::from_millis(50)).unwrap_err();
    ensure!(error.to_string().contains("killed after"), "{error:#}");
    wait_until("nothing is left", SOON, || Ok(world.processes()?.is_empty()))?;
    // A daemon that keeps the output open does not keep us.
    let started = Instant::now();
    world.must(["sh", "-c", "sleep 1000 &"])?;
    ensure!(started.elapsed() < SOON);
    assert_eq!(world.run_with(["sh", "-c", "echo $GREETING"], &[("GREETING", "hello")], SOON)?.text(), "hello\n");
    Ok(())
}

#[test]
fn a_prepared_disk_is_repeated_in_less_than_a_second() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let archive = archive()?;
    let world = served(&archive)?;
    world.must(["apt-get", "install", "-y", "tool"])?;
    let started = Instant::now();
    let copy = world.fork()?;
    let forking = started.elapsed();
    assert_eq!(copy.must(["tool"])?, "1.0-1\n");
    copy.must(["apt-get", "remove", "-y", "tool"])?;
    assert!(!copy.exists("/usr/bin/tool"));
    assert_eq!(copy.changes()?.get("/usr/bin/tool"), None);
    assert_eq!(world.changes()?.get("/usr/bin/tool"), Some(&"file"));

    let frozen = world.freeze();
    let started = Instant::now();
    let (one, other) = (frozen.world()?, frozen.world()?);
    let thawing = started.elapsed() / 2;
    one.must(["apt-get", "remove", "-y", "tool"])?;
    assert_eq!(one.changes()?.get("/usr/bin/tool"), Some(&"gone"));
    assert_eq!(other.must(["tool"])?, "1.0-1\n");
    // Layers are stacked any number of times.
    let again = one.freeze().world()?;
    assert!(!again.exists("/usr/bin/tool"));
    eprintln!("fork {forking:?}, from a frozen one {thawing:?}");
    Ok(())
}

#[test]
fn nothing_is_left_behind() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let world = World::new(&Base::minimal()?)?;
    let folder = world.folder().to_path_buf();
    let _sleeper = world.spawn(["sleep", "4321"])?;
    wait_until("the sleeper runs", SOON, || Ok(!world.processes()?.is_empty()))?;
    let namespace = fs::read_link(format!("/proc/{}/ns/pid", world.processes()?[0].host_pid))?;
    // Dropped while a panic unwinds.
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _world = world;
        panic!("as intended");
    }));
    assert!(result.is_err());
    assert!(!folder.exists());
    for entry in fs::read_dir("/proc")?.flatten() {
        assert_ne!(fs::read_link(entry.path().join("ns/pid")).ok().as_ref(), Some(&namespace));
        let mounts = fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
        ensure!(!mounts.contains(folder.to_str().unwrap_or_default()), "{mounts}");
    }
    Ok(())
}

/// Where a test that is to be killed writes the folder and the namespace of its world.
const TO_BE_KILLED: &str = "STANCH_TEST_TO_BE_KILLED";

/// Not a test of its own: [`a_killed_test_takes_its_world_along`] runs it in a process of its own.
#[test]
fn holds_a_world_until_it_is_killed() -> Result<()> {
    let Some(report) = std::env::var_os(TO_BE_KILLED) else { return Ok(()) };
    let world = if std::env::var_os("STANCH_TEST_SYSTEMD").is_some() {
        World::boot_systemd(&Base::systemd()?)?
    } else {
        World::new(&Base::minimal()?)?
    };
    let _sleeper = world.spawn(["sleep", "9999"])?;
    wait_until("something runs", SOON, || Ok(!world.processes()?.is_empty()))?;
    let namespace = fs::read_link(format!("/proc/{}/ns/pid", world.processes()?[0].host_pid))?;
    let report = std::path::PathBuf::from(report);
    fs::write(report.with_extension("new"), format!("{}\n{}", world.folder().display(), namespace.display()))?;
    fs::rename(report.with_extension("new"), report)?;
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_test_takes_its_world_along() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let base = Base::minimal()?;
    for systemd in [false, true] {
        let reports = tempfile::tempdir()?;
        let report = reports.path().join("report");
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--exact", "worlds::holds_a_world_until_it_is_killed"]).env(TO_BE_KILLED, &report);
        if systemd {
            command.env("STANCH_TEST_SYSTEMD", "1");
        }
        let mut test = command.stdout(Stdio::null()).spawn()?;
        // A base may have to be made first.
        let booted = wait_until("the other test has a world", PATIENCE, || Ok(report.exists()));
        test.kill()?;
        test.wait()?;
        booted?;
        let text = fs::read_to_string(&report)?;
        let (folder, namespace) = text.split_once('\n').unwrap_or_default();
        wait_until("its processes are gone", SOON, || {
            let alive = fs::read_dir("/proc")?
                .flatten()
                .any(|entry| fs::read_link(entry.path().join("ns/pid")).is_ok_and(|n| n.as_os_str() == namespace));
            Ok(!alive)
        })?;
        // Whoever makes the next world sweeps up; a control group may be busy for a moment after its last process.
        let lock = format!("{folder}.lock");
        wait_until("somebody has swept up", SOON, || {
            drop(World::new(&base)?);
            Ok(!std::path::Path::new(&lock).exists())
        })?;
        assert!(!std::path::Path::new(folder).exists());
    }
    Ok(())
}

#[test]
fn can_be_cut_off_again_and_again() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let frozen = World::new(&Base::minimal()?)?.freeze();
    let started = Instant::now();
    for round in 0..30 {
        let world = frozen.world()?;
        let mut writer = world.spawn(["sh", "-c", "echo half > /root/state; exec sleep 1000"])?;
        wait_until("it has written", SOON, || Ok(world.exists("/root/state")))?;
        world.kill_all();
        wait_until("it was killed", SOON, || Ok(writer.ended()?.is_some()))?;
        world.boot()?;
        ensure!(world.exists("/root/state"), "round {round}");
    }
    eprintln!("one round of thaw, write, kill and boot: {:?}", started.elapsed() / 30);
    Ok(())
}

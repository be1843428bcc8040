//! A world with a real systemd in it.

use std::time::Duration;

use anyhow::{Result, ensure};
use stanch_testkit::{
    Archive, Base, Daemon, Package, Suite, Via, World, archive::MOUNT_POINT, root_or_skip, wait_until,
};

#[test]
fn services_are_started_restarted_and_seen_to_fail() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let archive = Archive::new()?;
    let server = Package::new("demod", "1.0-1").library("demo", 1).daemon(Daemon::new("demod", "demo", 1));
    archive.publish(&Suite::main(), &server)?;
    let base = Base::systemd()?;
    let world = World::builder(&base).systemd().bind(archive.path(), MOUNT_POINT).boot()?;
    // Two of them at once have control groups of their own.
    let other = World::boot_systemd(&base)?;
    world.write("/etc/apt/sources.list", archive.sources_list(Via::File))?;
    world.must(["apt-get", "update"])?;
    world.must(["apt-get", "install", "-y", "demod"])?;
    assert_eq!(world.must(["systemctl", "is-active", "demod"])?, "active\n");
    assert!(!other.run(["systemctl", "is-active", "demod"])?.ok());
    let main = world.must(["systemctl", "show", "--property=MainPID", "--value", "demod"])?;
    assert_eq!(world.text("/run/demod.pid")?, main);

    // A power loss: the unit is enabled, so it comes back.
    world.kill_all();
    world.boot()?;
    wait_until("demod is back", Duration::from_secs(20), || Ok(world.run(["systemctl", "is-active", "demod"])?.ok()))?;

    let broken = server.version("1.1-1").daemon(Daemon::new("demod", "demo", 1).fails_to_start());
    archive.publish(&Suite::security(), &broken)?;
    world.must(["apt-get", "update"])?;
    let output = world.run(["apt-get", "dist-upgrade", "-y"])?;
    ensure!(!output.ok(), "{}", output.all());
    assert_eq!(world.run(["systemctl", "is-failed", "demod"])?.text(), "failed\n");
    ensure!(world.must(["journalctl", "--unit=demod"])?.contains("this version cannot start"));

    // A reboot from inside ends the world, which can then be booted again.
    let _ = other.run(["systemctl", "reboot", "--force", "--force"])?;
    wait_until("the other is down", Duration::from_secs(20), || Ok(!other.is_up()))?;
    other.boot()
}

//! The server root against the real archive: minutes, a network, and therefore only on request.

use std::time::Duration;

use anyhow::{Result, ensure};
use stanch_testkit::{Archive, Base, Mirror, Suite, Via, World, archive::MOUNT_POINT, debian, root_or_skip};

const LONG: Duration = Duration::from_secs(1200);

#[test]
#[ignore = "makes the server root and upgrades it from the real archive: minutes"]
fn real_security_updates() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let base = Base::server()?;
    let world = World::builder(&base).host_network().boot()?;
    world.write("/etc/apt/sources.list", Mirror::of_this_machine()?.sources_list(true)?)?;
    world.must(["apt-get", "update"])?;
    let pending = world.must(["apt-get", "--simulate", "dist-upgrade"])?;
    let pending = pending.lines().filter(|l| l.starts_with("Inst ")).count();
    ensure!(pending > 0, "nothing is pending");
    let before = world.must(["dpkg-query", "--show", "--showformat=${Version}", "rsync"])?;
    let output = world.run_with(["apt-get", "install", "-y", "--only-upgrade", "rsync"], &[], LONG)?;
    ensure!(output.ok(), "{}", output.all());
    assert_ne!(world.must(["dpkg-query", "--show", "--showformat=${Version}", "rsync"])?, before);
    eprintln!("{pending} were pending");
    Ok(())
}

#[test]
#[ignore = "boots the server root with its services: needs minutes once to make the root"]
fn a_server_boots() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let world = World::boot_systemd(&Base::server()?)?;
    for service in ["ssh", "nginx", "cron"] {
        assert_eq!(world.must(["systemctl", "is-active", service])?, "active\n", "{service}");
    }
    Ok(())
}

#[test]
#[ignore = "downloads a real package"]
fn a_real_package_from_a_local_archive() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let deb = debian::download("liblzma5", None, folder.path())?;
    let archive = Archive::new()?;
    archive.publish_deb(&Suite::security(), &deb)?;
    let world = World::builder(&Base::minimal()?).bind(archive.path(), MOUNT_POINT).boot()?;
    world.write("/etc/apt/sources.list", archive.sources_list(Via::File))?;
    world.must(["apt-get", "update"])?;
    let before = world.must(["dpkg-query", "--show", "--showformat=${Version}", "liblzma5"])?;
    world.must(["apt-get", "dist-upgrade", "-y"])?;
    assert_ne!(world.must(["dpkg-query", "--show", "--showformat=${Version}", "liblzma5"])?, before);
    Ok(())
}

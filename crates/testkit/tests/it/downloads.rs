//! Real packages in an archive of a test's own.

use anyhow::Result;
use stanch_testkit::{Archive, Base, Suite, Via, World, archive::MOUNT_POINT, debian, root_or_skip};

#[test]
fn a_real_package_is_served_from_a_local_archive() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let deb = debian::download("hello", None, folder.path())?;
    let archive = Archive::new()?;
    archive.publish_deb(&Suite::main(), &deb)?;
    let world = World::builder(&Base::minimal()?).bind(archive.path(), MOUNT_POINT).boot()?;
    world.write("/etc/apt/sources.list", archive.sources_list(Via::File))?;
    world.must(["apt-get", "update"])?;
    world.must(["apt-get", "install", "-y", "hello"])?;
    assert_eq!(world.must(["hello"])?, "Hello, world!\n");
    Ok(())
}

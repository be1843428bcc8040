//! A host whose packages are rpm's, and a repository whose contents a test decides.
//!
//! The host is Debian's rpm and dnf 4 on a root from which dpkg and apt are taken: no distribution of rpm can be had where
//! the tests run. Packages are made by rpmbuild, signed with a key that is thrown away, and offered by createrepo_c from
//! a folder.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{debian::ensure_tools, host, world::World};

/// Where worlds see the repository.
pub const REPOSITORY: &str = "/srv/repository";

const SIGNER: &str = "nobody@example.org";

/// What Debian's root brings and no package of rpm does.
const BASIS: &str = "Name: basis\nVersion: 12\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n\
                     Provides: /bin/sh\nProvides: libc.so.6()(64bit)\nAutoReq: no\n\
                     %description\nWhat is there without any package.\n%files\n";

/// A repository in a temporary folder; gone on drop.
#[derive(Debug)]
pub struct Repository {
    folder: TempDir,
}

impl Repository {
    /// One that offers nothing yet, with a key of its own.
    pub fn new() -> Result<Self> {
        ensure_tools()?;
        let repository = Self { folder: tempfile::tempdir()? };
        for folder in ["keys", "offered", "built"] {
            fs::create_dir(repository.folder.path().join(folder))?;
        }
        fs::set_permissions(
            repository.folder.path().join("keys"),
            std::os::unix::fs::PermissionsExt::from_mode(0o700),
        )?;
        let key = ["--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback", "--quick-generate-key"];
        repository.gpg(key.iter().chain(&[SIGNER, "rsa2048", "sign", "never"]))?;
        let public = repository.gpg(["--armor", "--export", SIGNER])?;
        fs::write(repository.path().join("key.asc"), public)?;
        repository.publish(BASIS)?;
        repository.index()?;
        Ok(repository)
    }

    /// Its folder on the host, to be bound at [`REPOSITORY`].
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("offered")
    }

    /// Builds what this spec file says and offers it, signed; [`Self::index`] tells of it.
    pub fn publish(&self, spec: &str) -> Result<()> {
        for package in self.build(spec)? {
            let mut sign = Command::new("rpmsign");
            sign.args(["--define", "__gpg /usr/bin/gpg", "--define", &format!("_gpg_name {SIGNER}")]);
            sign.args(["--define", &format!("_gpg_path {}", self.keys().display()), "--addsign"]).arg(&package);
            host::run_command(sign)?;
            self.offer(&package)?;
        }
        Ok(())
    }

    /// The same without a signature.
    pub fn publish_unsigned(&self, spec: &str) -> Result<()> {
        self.build(spec)?.iter().try_for_each(|package| self.offer(package))
    }

    /// No longer offers packages whose file names begin so.
    pub fn withdraw(&self, beginning: &str) -> Result<()> {
        for entry in fs::read_dir(self.path())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(beginning) {
                fs::remove_file(entry.path())?;
            }
        }
        self.index()
    }

    /// Writes anew what it offers.
    pub fn index(&self) -> Result<()> {
        host::run("createrepo_c", [OsStr::new("--quiet"), self.path().as_os_str()]).map(drop)
    }

    fn offer(&self, package: &Path) -> Result<()> {
        let name = package.file_name().context("a package has a name")?;
        fs::rename(package, self.path().join(name))?;
        Ok(())
    }

    fn build(&self, spec: &str) -> Result<Vec<PathBuf>> {
        let top = self.folder.path().join("built");
        let file = top.join("x.spec");
        // Debug packages would need the sources, and build ids would be files of every package.
        fs::write(&file, format!("%global debug_package %{{nil}}\n%global _build_id_links none\n{spec}"))?;
        let out = tempfile::tempdir_in(&top)?;
        let mut build = Command::new("rpmbuild");
        build.args(["-bb", "--quiet", "--define", &format!("_topdir {}", top.display())]);
        build.args(["--define", &format!("_rpmdir {}", out.path().display())]).arg(&file);
        host::run_command(build)?;
        let mut found = Vec::new();
        for folder in fs::read_dir(out.path())? {
            for package in fs::read_dir(folder?.path())? {
                let package = package?;
                let kept = top.join(package.file_name());
                fs::rename(package.path(), &kept)?;
                found.push(kept);
            }
        }
        found.sort();
        Ok(found)
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    fn gpg<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.keys()).args(args);
        host::run_command(command)
    }
}

/// Makes a world over [`crate::Base::rpm`] one of rpm alone, with this repository of [`REPOSITORY`] and its key.
pub fn settle(world: &World) -> Result<()> {
    // What is left is what rpm's own records say.
    world.must(["sh", "-c", "rm -rf /var/lib/dpkg /etc/debian_version && rm -f /usr/bin/apt* /usr/bin/dpkg*"])?;
    world.write("/etc/rpm/macros", "%_dbpath /var/lib/rpm\n")?;
    world.write("/etc/os-release", "ID=rocky\nVERSION_ID=9.4\nPRETTY_NAME=\"rpm and dnf of Debian 12\"\n")?;
    world.write("/etc/dnf/vars/releasever", "9\n")?;
    world.write("/etc/dnf/plugins/local.conf", "[main]\nenabled=0\n")?;
    let repository = format!(
        "[local]\nname=local\nbaseurl=file://{REPOSITORY}\ngpgcheck=1\ngpgkey=file://{REPOSITORY}/key.asc\n\
         metadata_expire=0\n"
    );
    world.write("/etc/yum.repos.d/local.repo", repository)?;
    world.must(["rpm", "--import", &format!("{REPOSITORY}/key.asc")])?;
    world.must(["dnf", "--assumeyes", "--quiet", "install", "basis"]).map(drop)
}

/// The spec file of a demonstration: `demo`, of which a library and a daemon that maps it are built. `more` stands among
/// the fields of the daemon's package.
pub fn demo(version: &str, more: &str) -> String {
    let daemon = include_str!("daemon.c").replace("LIBRARY", "demo").replace("SERVICE", "demod");
    let daemon = daemon.replace("OWN_VERSION", &format!("\"{version}\"")).replace("FAILS", "0").replace('%', "%%");
    let init = include_str!("daemon.init").replace("NAME", "demod").replace('%', "%%");
    format!(
        r#"Name: demo
Version: {version}
Release: 1.el9
Summary: made by a test
License: none
%description
Made by a test.
%package libs
Summary: its library
AutoReqProv: no
%description libs
Made by a test.
%package -n demod
Summary: its daemon
AutoReqProv: no
Requires: demo-libs = %{{version}}-%{{release}}
Requires: /bin/sh
{more}
%description -n demod
Made by a test.
%install
mkdir -p %{{buildroot}}/usr/lib %{{buildroot}}/usr/sbin %{{buildroot}}/etc/init.d
cd %{{buildroot}}
echo 'const char *demo_version(void) {{ return "{version}"; }}' >library.c
cc -O1 -shared -fPIC -Wl,-soname,libdemo.so.1 -o usr/lib/libdemo.so.1.{version} library.c
ln -s libdemo.so.1.{version} usr/lib/libdemo.so.1
cat >daemon.c <<'END'
{daemon}
END
cc -O1 -o usr/sbin/demod daemon.c usr/lib/libdemo.so.1.{version}
rm library.c daemon.c
cat >etc/init.d/demod <<'END'
{init}
END
chmod 755 etc/init.d/demod
%files libs
/usr/lib/libdemo.so.1*
%files -n demod
/usr/sbin/demod
%attr(755,root,root) /etc/init.d/demod
%postun -n demod
if [ "$1" -ge 1 ]; then /etc/init.d/demod restart; fi
"#
    )
}

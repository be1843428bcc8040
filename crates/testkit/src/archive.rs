//! A package archive whose contents a test decides.
//!
//! A folder with the layout of a Debian mirror, served to worlds by a bind mount and a `file:` address, so that no
//! network is needed. Packages are made on the fly, or are real ones that were downloaded.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context, Result, anyhow, bail};
use tempfile::TempDir;

use crate::{
    debian::{CODENAME, ensure_tools},
    host,
};

/// Where worlds see the archive.
pub const MOUNT_POINT: &str = "/srv/archive";

/// A pocket of an archive with what its Release file says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suite {
    /// The folder below `dists`, which is also the codename.
    pub codename: String,
    /// The field Suite.
    pub suite: String,
    /// The field Label, which rules for automatic upgrades look at.
    pub label: String,
    /// The field Origin.
    pub origin: String,
}

impl Suite {
    /// The main pocket, as Debian names it.
    pub fn main() -> Self {
        Self::named(CODENAME, "oldstable", "Debian")
    }

    /// The security pocket, as Debian names it.
    pub fn security() -> Self {
        Self::named(&format!("{CODENAME}-security"), "oldstable-security", "Debian-Security")
    }

    fn named(codename: &str, suite: &str, label: &str) -> Self {
        Self { codename: codename.into(), suite: suite.into(), label: label.into(), origin: "Debian".into() }
    }
}

/// How a world fetches from the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Packages are used where they lie; nothing enters apt's cache.
    File,
    /// Packages are first copied into apt's cache, as with a network.
    Copy,
}

/// An archive in a temporary folder; gone on drop.
#[derive(Debug)]
pub struct Archive {
    folder: TempDir,
    suites: Vec<Suite>,
}

impl Archive {
    /// An empty archive with a main and a security pocket.
    pub fn new() -> Result<Self> {
        Self::with_suites(vec![Suite::main(), Suite::security()])
    }

    /// An empty archive with the pockets given.
    pub fn with_suites(suites: Vec<Suite>) -> Result<Self> {
        ensure_tools()?;
        let folder = tempfile::tempdir()?;
        // apt reads it as its own user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let archive = Self { folder, suites };
        for suite in &archive.suites {
            fs::create_dir_all(archive.pool(suite))?;
            archive.index(suite)?;
        }
        Ok(archive)
    }

    /// Its folder on the host, to be bound at [`MOUNT_POINT`].
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A `sources.list` for all its pockets.
    pub fn sources_list(&self, via: Via) -> String {
        let scheme = match via {
            Via::File => "file",
            Via::Copy => "copy",
        };
        let mut text = String::new();
        for suite in &self.suites {
            let _ = writeln!(text, "deb [trusted=yes] {scheme}:{MOUNT_POINT} {} main", suite.codename);
        }
        text
    }

    /// Builds the package and offers it in the pocket; returns its path on the host. Broken ones are published in the
    /// same way: see [`Package::broken_postinst`] and [`Daemon::fails_to_start`].
    pub fn publish(&self, suite: &Suite, package: &Package) -> Result<PathBuf> {
        let path = package.build(&self.pool(suite))?;
        self.index(suite)?;
        Ok(path)
    }

    /// Offers a .deb that exists already.
    pub fn publish_deb(&self, suite: &Suite, deb: &Path) -> Result<PathBuf> {
        let name = deb.file_name().context("a .deb has a name")?;
        let path = self.pool(suite).join(name);
        fs::copy(deb, &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        self.index(suite)?;
        Ok(path)
    }

    /// No longer offers this version of the package; an error if it was not there.
    pub fn remove(&self, suite: &Suite, name: &str, version: &str) -> Result<()> {
        let mut removed = false;
        for deb in self.debs(suite)? {
            let about =
                host::run("dpkg-deb", ["--show", "--showformat=${Package} ${Version}", &deb.to_string_lossy()])?;
            if about == format!("{name} {version}") {
                fs::remove_file(deb)?;
                removed = true;
            }
        }
        if !removed {
            bail!("{} has no {name} {version}", suite.codename);
        }
        self.index(suite)
    }

    /// Writes the pocket's Packages and Release again, from what lies in its pool.
    pub fn index(&self, suite: &Suite) -> Result<()> {
        let arch = architecture()?;
        let mut packages = String::new();
        for deb in self.debs(suite)? {
            let control = host::run("dpkg-deb", ["--field".as_ref(), deb.as_os_str()])?;
            let inside = deb.strip_prefix(self.path())?;
            let _ = writeln!(
                packages,
                "{}\nFilename: {}\nSize: {}\nSHA256: {}\n",
                control.trim_end(),
                inside.display(),
                fs::metadata(&deb)?.len(),
                sha256(&deb)?
            );
        }
        let folder = self.path().join("dists").join(&suite.codename);
        let relative = format!("main/binary-{arch}/Packages");
        replace(&folder.join(&relative), &packages)?;
        let date = host::run("date", ["--utc", "+%a, %d %b %Y %H:%M:%S UTC"])?;
        let release = format!(
            "Origin: {}\nLabel: {}\nSuite: {}\nCodename: {}\nDate: {}\nArchitectures: {arch}\nComponents: main\n\
             SHA256:\n {} {} {relative}\n",
            suite.origin,
            suite.label,
            suite.suite,
            suite.codename,
            date.trim(),
            sha256(&folder.join(&relative))?,
            packages.len()
        );
        replace(&folder.join("Release"), &release)
    }

    fn pool(&self, suite: &Suite) -> PathBuf {
        self.path().join("pool").join(&suite.codename)
    }

    fn debs(&self, suite: &Suite) -> Result<Vec<PathBuf>> {
        let pool = self.pool(suite);
        let mut found = Vec::new();
        for entry in fs::read_dir(&pool).with_context(|| format!("the archive has no pocket {}", suite.codename))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "deb") {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }
}

/// A daemon in a package: `/usr/sbin/NAME` with an init script and a systemd unit, which maps a library and writes
/// `/run/NAME.pid` and `/run/NAME.version` (its own version and the library's).
#[derive(Debug, Clone)]
pub struct Daemon {
    name: String,
    library: String,
    soname: u32,
    fails: bool,
}

impl Daemon {
    /// A daemon that maps `libLIBRARY.so.SONAME`, which some package must bring ([`Package::library`]).
    pub fn new(name: &str, library: &str, soname: u32) -> Self {
        Self { name: name.into(), library: library.into(), soname, fails: false }
    }

    /// It ends with 1 as soon as it is started.
    pub fn fails_to_start(mut self) -> Self {
        self.fails = true;
        self
    }
}

/// A package to be built.
#[derive(Debug, Clone)]
pub struct Package {
    name: String,
    version: String,
    architecture: Option<String>,
    fields: BTreeMap<String, String>,
    files: BTreeMap<String, (Vec<u8>, u32)>,
    conffiles: Vec<String>,
    scripts: BTreeMap<&'static str, String>,
    library: Option<(String, u32)>,
    daemon: Option<Daemon>,
}

impl Package {
    /// A package with nothing in it.
    pub fn new(name: &str, version: &str) -> Self {
        let fields = [
            ("Maintainer", "Nobody <nobody@example.org>"),
            ("Section", "misc"),
            ("Priority", "optional"),
            ("Description", "made by a test"),
        ];
        Self {
            name: name.into(),
            version: version.into(),
            architecture: None,
            fields: fields.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            files: BTreeMap::new(),
            conffiles: Vec::new(),
            scripts: BTreeMap::new(),
            library: None,
            daemon: None,
        }
    }

    /// The same package in another version.
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// The source package, if it is not called like this one.
    pub fn source(self, source: &str) -> Self {
        self.field("Source", source)
    }

    /// The field Depends.
    pub fn depends(self, depends: &str) -> Self {
        self.field("Depends", depends)
    }

    /// Any field of the control file.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }

    /// The architecture, if not this machine's: `all`, or a foreign one.
    pub fn architecture(mut self, name: &str) -> Self {
        self.architecture = Some(name.into());
        self
    }

    /// A file with mode 644.
    pub fn file(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.file_mode(path, content, 0o644)
    }

    /// A file with its mode.
    pub fn file_mode(mut self, path: &str, content: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.files.insert(path.into(), (content.into(), mode));
        self
    }

    /// A configuration file, which dpkg does not overwrite when it was changed.
    pub fn conffile(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.conffiles.push(path.into());
        self.file(path, content)
    }

    /// A shell script that runs before unpacking.
    pub fn preinst(self, body: &str) -> Self {
        self.script("preinst", body)
    }

    /// A shell script that runs when the package is configured.
    pub fn postinst(self, body: &str) -> Self {
        self.script("postinst", body)
    }

    /// A shell script that runs before removal.
    pub fn prerm(self, body: &str) -> Self {
        self.script("prerm", body)
    }

    /// A shell script that runs after removal.
    pub fn postrm(self, body: &str) -> Self {
        self.script("postrm", body)
    }

    /// A package that unpacks and then cannot be configured.
    pub fn broken_postinst(self) -> Self {
        self.postinst("echo 'this version cannot be configured' >&2\nexit 1")
    }

    fn script(mut self, name: &'static str, body: &str) -> Self {
        self.scripts.insert(name, format!("#!/bin/sh\nset -e\n{body}\n"));
        self
    }

    /// Brings a real shared library `libNAME.so.SONAME`, which knows the version of the package.
    pub fn library(mut self, name: &str, soname: u32) -> Self {
        self.library = Some((name.into(), soname));
        self
    }

    /// Brings a daemon. If there is no postinst yet, one that restarts it, as Debian's packages do.
    pub fn daemon(mut self, daemon: Daemon) -> Self {
        self.daemon = Some(daemon);
        self
    }

    /// Builds the .deb in `folder` and returns its path.
    pub fn build(&self, folder: &Path) -> Result<PathBuf> {
        let mut package = self.clone();
        let work = tempfile::tempdir()?;
        package.compile(work.path())?;
        let tree = work.path().join("tree");
        let control_folder = tree.join("DEBIAN");
        make_folder(&tree)?;
        make_folder(&control_folder)?;
        for (path, (content, mode)) in &package.files {
            let target = tree.join(path.trim_start_matches('/'));
            make_parents(&tree, &target)?;
            write_mode(&target, content, *mode)?;
        }
        for (name, text) in &package.scripts {
            write_mode(&control_folder.join(name), text.as_bytes(), 0o755)?;
        }
        if !package.conffiles.is_empty() {
            write_mode(&control_folder.join("conffiles"), (package.conffiles.join("\n") + "\n").as_bytes(), 0o644)?;
        }
        let arch = package.architecture.map_or_else(architecture, Ok)?;
        let mut control = format!("Package: {}\nVersion: {}\nArchitecture: {arch}\n", package.name, package.version);
        for (name, value) in &package.fields {
            let _ = writeln!(control, "{name}: {value}");
        }
        write_mode(&control_folder.join("control"), control.as_bytes(), 0o644)?;
        // A colon (the epoch) is not part of a file's name in Debian's pool.
        let plain = package.version.split_once(':').map_or(package.version.as_str(), |(_, v)| v);
        let path = folder.join(format!("{}_{plain}_{arch}.deb", package.name));
        // No compression: packages are tiny and there are many.
        let args =
            ["--root-owner-group".as_ref(), "-Znone".as_ref(), "--build".as_ref(), tree.as_os_str(), path.as_os_str()];
        host::run("dpkg-deb", args)?;
        Ok(path)
    }

    /// Adds what has to be compiled to the files.
    fn compile(&mut self, work: &Path) -> Result<()> {
        if let Some((name, soname)) = self.library.clone() {
            let file = format!("lib{name}.so.{soname}");
            let binary = compile_library(work, &name, soname, &self.version)?;
            self.files.insert(format!("/usr/lib/{}/{file}", multiarch()?), (fs::read(binary)?, 0o644));
            self.fields.entry("Multi-Arch".into()).or_insert_with(|| "same".into());
        }
        let Some(daemon) = self.daemon.clone() else { return Ok(()) };
        // Linked against a library of the right name; the one that is mapped in the end comes from a package.
        let stub = tempfile::tempdir_in(work)?;
        let library = compile_library(stub.path(), &daemon.library, daemon.soname, "stub")?;
        let source = include_str!("daemon.c")
            .replace("LIBRARY", &identifier(&daemon.library))
            .replace("SERVICE", &daemon.name)
            .replace("OWN_VERSION", &format!("\"{}\"", self.version))
            .replace("FAILS", if daemon.fails { "1" } else { "0" });
        let source_path = work.join("daemon.c");
        fs::write(&source_path, source)?;
        let binary = work.join("daemon");
        host::run(
            "cc",
            ["-O1".as_ref(), "-o".as_ref(), binary.as_os_str(), source_path.as_os_str(), library.as_os_str()],
        )?;
        let name = &daemon.name;
        self.files.insert(format!("/usr/sbin/{name}"), (fs::read(binary)?, 0o755));
        let init = include_str!("daemon.init").replace("NAME", name);
        self.files.insert(format!("/etc/init.d/{name}"), (init.into_bytes(), 0o755));
        self.conffiles.push(format!("/etc/init.d/{name}"));
        let unit = format!(
            "[Unit]\nDescription={name}, made by a test\n\n[Service]\nType=notify\nExecStart=/usr/sbin/{name}\n\n\
             [Install]\nWantedBy=multi-user.target\n"
        );
        self.files.insert(format!("/lib/systemd/system/{name}.service"), (unit.into_bytes(), 0o644));
        let restart = include_str!("daemon.postinst").replace("NAME", name);
        self.scripts.entry("postinst").or_insert(restart);
        Ok(())
    }
}

fn compile_library(work: &Path, name: &str, soname: u32, version: &str) -> Result<PathBuf> {
    let file = format!("lib{name}.so.{soname}");
    let source = work.join("library.c");
    fs::write(&source, format!("const char *{}_version(void) {{ return \"{version}\"; }}\n", identifier(name)))?;
    let binary = work.join(&file);
    let soname = format!("-Wl,-soname,{file}");
    let args = ["-O1".as_ref(), "-shared".as_ref(), "-fPIC".as_ref(), soname.as_ref(), "-o".as_ref()];
    host::run("cc", args.into_iter().chain([binary.as_os_str(), source.as_os_str()]))?;
    Ok(binary)
}

fn identifier(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// This machine's architecture, in Debian's words.
pub fn architecture() -> Result<String> {
    static KNOWN: OnceLock<Result<String, String>> = OnceLock::new();
    ask_once(&KNOWN, "dpkg", "--print-architecture")
}

fn multiarch() -> Result<String> {
    static KNOWN: OnceLock<Result<String, String>> = OnceLock::new();
    ask_once(&KNOWN, "cc", "-print-multiarch")
}

fn ask_once(known: &OnceLock<Result<String, String>>, program: &str, arg: &str) -> Result<String> {
    let ask = || host::run(program, [arg]).map(|t| t.trim().to_owned()).map_err(|e| format!("{e:#}"));
    known.get_or_init(ask).clone().map_err(|e| anyhow!(e))
}

fn sha256(path: &Path) -> Result<String> {
    let line = host::run("sha256sum", ["--".as_ref(), path.as_os_str()])?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}

fn replace(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
    Ok(fs::rename(new, path)?)
}

fn write_mode(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    fs::write(path, content)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// Folders of packages have mode 755 whatever the umask is.
fn make_folder(path: &Path) -> Result<()> {
    if !path.exists() {
        fs::create_dir(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn make_parents(tree: &Path, target: &Path) -> Result<()> {
    let Some(parent) = target.parent() else { return Ok(()) };
    if parent != tree {
        make_parents(tree, parent)?;
        make_folder(parent)?;
    }
    Ok(())
}

//! Packages: .deb for the server and the agent, .rpm for the agent, from the binaries of a build and the files in
//! `packaging/`. Built twice from the same sources they are the same, byte for byte, but for the signature.
//!
//! With a release key each .deb carries a signature of minisign over every byte before it, as the last member of its
//! archive: dpkg passes over it, and installed agents ask for it. It needs no second file that an archive would have to
//! carry. Beside every package lies a signature of the whole file, for people.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use minisign::{PublicKey, SecretKey, SecretKeyBox};

use crate::packages;
use crate::steps::{self, cargo, root};

/// Who answers for the packages.
const MAINTAINER: &str = "The Stanch team <team@stanch.invalid>";

/// What building them needs beside the gate's.
const TOOLS: &[(&str, &str)] = &[("dpkg-deb", "dpkg"), ("objdump", "binutils"), ("rpmbuild", "rpm"), ("gzip", "gzip")];

/// One package.
struct Package {
    name: &'static str,
    summary: &'static str,
    section: &'static str,
    /// Its folder in `packaging/`.
    folder: &'static str,
    /// Files: where from, below `packaging/` or the folder of the build; where to; their mode.
    files: Vec<(PathBuf, String, u32)>,
    conffiles: Vec<&'static str>,
    depends: Vec<String>,
}

/// Whoever releases the packages.
pub(crate) struct Release {
    secret: SecretKey,
    public: PublicKey,
    /// The keys that these packages bring, for the ones after them.
    keys: String,
}

impl Release {
    /// Reads the secret key, whose passphrase is asked for if it has one, and the public halves that the packages bring
    /// besides its own.
    pub(crate) fn read(secret: &Path, next: &[PathBuf]) -> Result<Self> {
        let text = fs::read_to_string(secret).with_context(|| format!("reading {}", secret.display()))?;
        let sealed = SecretKeyBox::from_string(&text)?;
        let open = SecretKeyBox::from_string(&text)?.into_unencrypted_secret_key();
        let secret = open.or_else(|_| sealed.into_secret_key(None))?;
        let public = PublicKey::from_secret_key(&secret)?;
        let mut keys = format!("{}\n", public.to_base64());
        for path in next {
            let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            PublicKey::from_base64(line.trim()).with_context(|| format!("{} holds no public key", path.display()))?;
            keys += &format!("{}\n", line.trim());
        }
        Ok(Self { secret, public, keys })
    }

    fn sign(&self, bytes: &[u8], what: &str) -> Result<String> {
        let made = minisign::sign(Some(&self.public), &self.secret, bytes, Some(what), Some("released by Stanch"))?;
        Ok(made.into_string())
    }

    /// Puts the signature behind the last member of a .deb.
    fn seal(&self, deb: &Path) -> Result<()> {
        let mut bytes = fs::read(deb)?;
        let name = deb.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let signature = self.sign(&bytes, &name)?;
        bytes
            .extend(format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", MEMBER, 0, 0, 0, 100_644, signature.len()).bytes());
        bytes.extend(signature.bytes());
        if signature.len() % 2 == 1 {
            bytes.push(b'\n');
        }
        Ok(fs::write(deb, bytes)?)
    }

    /// Lays the signature of the whole file beside it.
    fn beside(&self, path: &Path) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(fs::write(path.with_file_name(format!("{name}.minisig")), self.sign(&fs::read(path)?, &name)?)?)
    }
}

/// The member of a .deb that holds its signature.
const MEMBER: &str = "_stanch-release";

pub(crate) fn run(out: Option<PathBuf>, debug: bool, release: Option<&Release>) -> Result<()> {
    packages::ensure(TOOLS)?;
    let mut build = cargo();
    if debug {
        // For proofs: with the whole workspace, as in the gate, because of a part alone cargo builds everything once more.
        build.args(["build", "--locked", "--workspace", "--bins"]);
    } else {
        build.args(["build", "--locked", "-p", "stanch", "-p", "stanch-agent", "--release"]);
    }
    steps::run("build", &mut build)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let built = target.join(if debug { "debug" } else { "release" });
    // rpmbuild works in another folder.
    let out = std::path::absolute(out.unwrap_or_else(|| target.join("dist")))?;
    fs::create_dir_all(&out)?;
    let work = out.join("work");
    fs::remove_dir_all(&work).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    for mut package in [agent(&built)?, server(&built, &work)?] {
        if let Some(release) = release {
            fs::create_dir_all(&work)?;
            let keys = work.join("release.pub");
            fs::write(&keys, &release.keys)?;
            package.files.push((keys, format!("usr/share/{}/release.pub", package.name), 0o644));
        }
        let mut made = vec![deb(&package, &work, &out)?];
        if let Some(release) = release {
            for path in &made {
                release.seal(path)?;
            }
        }
        if package.name == "stanch-agent" {
            made.push(rpm(&package, &work, &out)?);
        }
        for path in made {
            println!("{}", path.display());
            if let Some(release) = release {
                release.beside(&path)?;
            }
        }
    }
    if release.is_none() {
        println!("They are not signed: hosts do not upgrade to them by themselves (--release-key FILE signs).");
    }
    Ok(fs::remove_dir_all(&work)?)
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// When the sources were last changed: what is built from them carries that time. Where they lie without their history, the
/// environment says when.
fn epoch() -> Result<String> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        ensure!(given.parse::<u64>().is_ok(), "SOURCE_DATE_EPOCH is no number of seconds");
        return Ok(given);
    }
    let mut git = Command::new("git");
    git.current_dir(root()).args(["log", "-1", "--format=%ct"]);
    Ok(steps::output("git log", &mut git)?.trim().to_owned())
}

fn agent(built: &Path) -> Result<Package> {
    let from = root().join("packaging/agent");
    let binary = built.join("stanch-agent");
    Ok(Package {
        name: "stanch-agent",
        summary: "executor of a fleet: carries out what its server orders and the host's own rules allow",
        section: "admin",
        folder: "agent",
        depends: vec![libc(&binary)?],
        files: vec![
            (binary, "usr/bin/stanch-agent".to_owned(), 0o755),
            (from.join("stanch-agent.service"), "usr/lib/systemd/system/stanch-agent.service".to_owned(), 0o644),
            (from.join("executor.toml"), "etc/stanch/executor.toml".to_owned(), 0o644),
            (from.join("stanch-agent.8"), "usr/share/man/man8/stanch-agent.8.gz".to_owned(), 0o644),
        ],
        conffiles: vec!["/etc/stanch/executor.toml"],
    })
}

fn server(built: &Path, work: &Path) -> Result<Package> {
    let from = root().join("packaging/server");
    let binary = built.join("stanch");
    let mut files = vec![
        (binary.clone(), "usr/bin/stanch".to_owned(), 0o755),
        (from.join("stanch.service"), "usr/lib/systemd/system/stanch.service".to_owned(), 0o644),
    ];
    let pages = work.join("man");
    fs::create_dir_all(&pages)?;
    steps::output("stanch man", Command::new(&binary).arg("man").arg(&pages))?;
    for page in sorted(&pages)? {
        let name = page.file_name().context("a page has a name")?.to_string_lossy().into_owned();
        files.push((page, format!("usr/share/man/man1/{name}.gz"), 0o644));
    }
    for (shell, to) in [
        ("bash", "usr/share/bash-completion/completions/stanch"),
        ("zsh", "usr/share/zsh/vendor-completions/_stanch"),
        ("fish", "usr/share/fish/vendor_completions.d/stanch.fish"),
    ] {
        let path = work.join(format!("completions.{shell}"));
        fs::write(&path, steps::output("completions", Command::new(&binary).args(["completions", shell]))?)?;
        files.push((path, to.to_owned(), 0o644));
    }
    let policies = root().join("policies");
    let mut open = vec![policies.clone()];
    while let Some(folder) = open.pop() {
        for path in sorted(&folder)? {
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let mode = if fs::metadata(&path)?.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
            let below = path.strip_prefix(&policies)?.display().to_string();
            files.push((path, format!("usr/share/stanch/policies/{below}"), mode));
        }
    }
    let depends = vec![libc(&binary)?, "passwd".to_owned()];
    Ok(Package {
        name: "stanch",
        summary: "finds security problems, fixes them, proves it and can take it back",
        section: "admin",
        folder: "server",
        files,
        conffiles: Vec::new(),
        depends,
    })
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries: std::io::Result<BTreeSet<PathBuf>> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect();
    Ok(entries?.into_iter().collect())
}

/// The oldest C library that has every symbol that a binary asks for.
fn libc(binary: &Path) -> Result<String> {
    let symbols = steps::output("objdump", Command::new("objdump").arg("-T").arg(binary))?;
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let text: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        text.split('.').map(|part| part.parse::<u32>().ok()).collect::<Option<Vec<u32>>>()
    });
    let newest = versions.max().with_context(|| format!("{} asks for no C library", binary.display()))?;
    let newest: Vec<String> = newest.iter().map(ToString::to_string).collect();
    Ok(format!("libc6 (>= {})", newest.join(".")))
}

/// Lays the files of a package out below a folder; pages of manuals are compressed.
fn lay_out(package: &Package, tree: &Path) -> Result<()> {
    let doc = format!("usr/share/doc/{}", package.name);
    let also = [
        (root().join("LICENSE"), format!("{doc}/copyright"), 0o644),
        (root().join("CHANGELOG.md"), format!("{doc}/changelog.gz"), 0o644),
    ];
    for (from, to, mode) in package.files.iter().chain(&also) {
        let to = tree.join(to);
        fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
        if to.extension().is_some_and(|ending| ending == "gz") {
            let packed = Command::new("gzip").args(["-9nc"]).arg(from).output()?;
            ensure!(packed.status.success(), "gzip failed on {}", from.display());
            fs::write(&to, packed.stdout)?;
        } else {
            fs::copy(from, &to).with_context(|| format!("copying {}", from.display()))?;
        }
        fs::set_permissions(&to, Permissions::from_mode(*mode))?;
    }
    Ok(())
}

fn strip(tree: &Path) -> Result<()> {
    for path in sorted(&tree.join("usr/bin"))? {
        steps::output("strip", Command::new("strip").arg("--strip-unneeded").arg(path))?;
    }
    Ok(())
}

fn deb(package: &Package, work: &Path, out: &Path) -> Result<PathBuf> {
    let tree = work.join(format!("{}.deb", package.name));
    lay_out(package, &tree)?;
    strip(&tree)?;
    let control = tree.join("DEBIAN");
    fs::create_dir_all(&control)?;
    for script in ["postinst", "prerm", "postrm"] {
        let to = control.join(script);
        fs::copy(root().join("packaging").join(package.folder).join(script), &to)?;
        fs::set_permissions(&to, Permissions::from_mode(0o755))?;
    }
    let architecture = steps::output("dpkg", Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    let text = format!(
        "Package: {}\nVersion: {}\nArchitecture: {architecture}\nMaintainer: {MAINTAINER}\nSection: {}\n\
         Priority: optional\nDepends: {}\nDescription: {}\n",
        package.name,
        version(),
        package.section,
        package.depends.join(", "),
        package.summary,
    );
    fs::write(control.join("control"), text)?;
    if !package.conffiles.is_empty() {
        fs::write(control.join("conffiles"), package.conffiles.join("\n") + "\n")?;
    }
    let path = out.join(format!("{}_{}_{architecture}.deb", package.name, version()));
    let mut build = Command::new("dpkg-deb");
    build.env("SOURCE_DATE_EPOCH", epoch()?).args(["--root-owner-group", "-Zxz", "--build"]).arg(&tree).arg(&path);
    steps::output("dpkg-deb", &mut build)?;
    Ok(path)
}

fn rpm(package: &Package, work: &Path, out: &Path) -> Result<PathBuf> {
    let tree = work.join(format!("{}.rpm", package.name));
    lay_out(package, &tree)?;
    strip(&tree)?;
    let doc = format!("/usr/share/doc/{}", package.name);
    let mut files = String::new();
    for (_, to, mode) in &package.files {
        let to = format!("/{to}");
        let kind = if package.conffiles.contains(&to.as_str()) { "%config(noreplace) " } else { "" };
        files += &format!("{kind}%attr(0{mode:o}, root, root) {to}\n");
    }
    let spec = format!(
        "Name: {}\nVersion: {}\nRelease: 1\nSummary: {}\nLicense: Apache-2.0\nAutoReqProv: no\nRequires: glibc\n\n\
         %description\n{}.\n\n\
         %post\n[ -d /run/systemd/system ] || exit 0\nsystemctl daemon-reload\n\
         systemctl is-active --quiet stanch-agent.service && systemctl restart --no-block stanch-agent.service\nexit 0\n\n\
         %preun\n[ \"$1\" = 0 ] && [ -d /run/systemd/system ] && systemctl disable --now stanch-agent.service\nexit 0\n\n\
         %postun\n[ -d /run/systemd/system ] && systemctl daemon-reload\nexit 0\n\n\
         %files\n{files}%dir /etc/stanch\n{doc}\n",
        package.name,
        version(),
        package.summary,
        package.summary,
    );
    let spec_path = work.join("agent.spec");
    fs::write(&spec_path, spec)?;
    let top = work.join("rpmbuild");
    let define = |name: &str, value: &str| format!("{name} {value}");
    let mut build = Command::new("rpmbuild");
    build.env("SOURCE_DATE_EPOCH", epoch()?).arg("-bb").arg("--quiet").arg("--buildroot").arg(&tree);
    for (name, value) in [
        ("_topdir", top.display().to_string()),
        ("_rpmdir", out.display().to_string()),
        ("_rpmfilename", "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm".to_owned()),
        ("_build_id_links", "none".to_owned()),
        ("__os_install_post", "%{nil}".to_owned()),
        ("debug_package", "%{nil}".to_owned()),
        ("use_source_date_epoch_as_buildtime", "1".to_owned()),
        ("clamp_mtime_to_source_date_epoch", "1".to_owned()),
        ("_buildhost", "reproducible".to_owned()),
    ] {
        build.arg("--define").arg(define(name, &value));
    }
    // The files lie there already: nothing is prepared, built or cleaned.
    build.arg("--noclean").arg(&spec_path);
    steps::output("rpmbuild", &mut build)?;
    let made = sorted(out)?.into_iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(&format!("{}-{}-1.", package.name, version())) && name.ends_with(".rpm")
    });
    match made {
        Some(path) => Ok(path),
        None => bail!("rpmbuild made no package"),
    }
}

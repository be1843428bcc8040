//! The copy of a host: an overlay over each of its file systems, and as little of the rest as programs need.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
use stanch_action::ActionError;

/// File systems that packages live on and that the kernel can lay an overlay over.
const COPIED: [&str; 10] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "overlay", "squashfs", "erofs"];

/// What no package lives on: it is not worth a word that the copy lacks it.
const OF_THE_KERNEL: [&str; 22] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];

/// Folders that are made anew in the copy.
const ANEW: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];

/// Parts of `/proc` through which the kernel itself could be changed.
const READ_ONLY: [&str; 5] = ["sys", "sysrq-trigger", "irq", "bus", "fs"];

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// A mounted file system, as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mounted {
    place: PathBuf,
    kind: String,
}

/// Reads `/proc/self/mountinfo`; of what is mounted over each other the last one counts.
fn mounted(text: &str) -> Vec<Mounted> {
    let mut all: Vec<Mounted> = Vec::new();
    for line in text.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (Some(place), Some(kind)) = (before.split(' ').nth(4), after.split(' ').next()) else { continue };
        let place = PathBuf::from(unescaped(place));
        all.retain(|known| known.place != place);
        all.push(Mounted { place, kind: kind.to_owned() });
    }
    all.sort_by(|a, b| a.place.cmp(&b.place));
    all
}

/// The kernel writes blanks and backslashes in paths as octal numbers.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 4).filter(|_| byte == b'\\');
        let number = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        out.push(number.unwrap_or(byte));
        at += if number.is_some() { 4 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A copy that was made and is entered.
pub(super) struct Copy {
    /// The folder of what is written in it.
    layers: File,
    /// What of the host it lacks.
    pub(super) lacks: Vec<String>,
}

impl Copy {
    /// Makes a copy of this host in the folder and makes it this process's root. Only to be called in a mount and a process
    /// namespace of its own.
    pub(super) fn enter(folder: &Path) -> Result<Self, ActionError> {
        let cannot = |what: String| {
            move |error: io::Error| {
                ActionError::caused(format!("a copy of this host cannot be made: {what}"), error)
                    .with_hint("the kernel needs overlayfs and namespaces, and the executor the rights of root")
            }
        };
        let (root, layers) = (folder.join("root"), folder.join("layers"));
        for path in [&root, &layers] {
            fs::create_dir(path).map_err(cannot(path.display().to_string()))?;
        }
        let list = fs::read_to_string("/proc/self/mountinfo").map_err(cannot("/proc/self/mountinfo".to_owned()))?;
        let mut lacks = Vec::new();
        for (number, file_system) in mounted(&list).iter().enumerate() {
            let place = &file_system.place;
            if ANEW.iter().any(|anew| place.starts_with(anew)) || place.starts_with(folder) {
                continue;
            }
            let first = place == Path::new("/");
            if !first && OF_THE_KERNEL.contains(&file_system.kind.as_str()) {
                continue;
            }
            let laid = if !place.is_dir() {
                file(place, &root)
            } else if first || COPIED.contains(&file_system.kind.as_str()) {
                overlay(place, &root, &layers, number)
            } else {
                Err(io::Error::other(file_system.kind.clone()))
            };
            match laid {
                Ok(()) => {}
                Err(error) if first => return Err(cannot("an overlay over /".to_owned())(error)),
                Err(error) => lacks.push(format!("{} ({error})", place.display())),
            }
        }
        let resolver = fs::canonicalize("/etc/resolv.conf").ok().filter(|path| path.starts_with("/run"));
        let resolver = resolver.and_then(|path| Some((fs::read(&path).ok()?, path)));
        surroundings(&root).map_err(cannot("/proc, /dev and /run in it".to_owned()))?;
        if let Some((content, path)) = resolver {
            let path = inside(&root, &path);
            let folder = path.parent().unwrap_or(&root).to_owned();
            fs::create_dir_all(folder).and_then(|()| fs::write(&path, content)).map_err(cannot("names".to_owned()))?;
        }
        no_services(&root).map_err(cannot("policy-rc.d".to_owned()))?;
        let layers = File::open(&layers).map_err(cannot("its layers".to_owned()))?;
        into(&root).map_err(cannot("its root".to_owned()))?;
        Ok(Self { layers, lacks })
    }

    /// Bytes that were written in it, as the file system counts them.
    pub(super) fn written(&self) -> u64 {
        let mut bytes = 0u64;
        // The layers are outside of the copy by now; the open folder still leads there.
        let start = PathBuf::from(format!("/proc/self/fd/{}/", self.layers.as_raw_fd()));
        let mut seen = BTreeSet::new();
        let mut open = vec![start];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let Ok(about) = entry.metadata() else { continue };
                if about.is_dir() {
                    open.push(entry.path());
                } else if seen.insert((about.dev(), about.ino())) {
                    bytes = bytes.saturating_add(about.blocks().saturating_mul(512));
                }
            }
        }
        bytes
    }
}

/// Where a path of the host is in the copy.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Lays an overlay over one file system. What is written goes to the folder of the layers; where no overlay can keep
/// its layers there, to memory.
fn overlay(place: &Path, root: &Path, layers: &Path, number: usize) -> io::Result<()> {
    let layer = layers.join(number.to_string());
    let make = || {
        fs::create_dir_all(layer.join("upper")).and_then(|()| fs::create_dir_all(layer.join("work")))?;
        let words = [place.to_owned(), layer.join("upper"), layer.join("work")].map(|path| path.display().to_string());
        if words.iter().any(|word| word.contains([',', ':', '\\'])) {
            return Err(io::Error::other("its path has a comma, a colon or a backslash"));
        }
        let [lower, upper, work] = words;
        let options = CString::new(format!("lowerdir={lower},upperdir={upper},workdir={work}"))?;
        mount("overlay", inside(root, place), "overlay", MountFlags::empty(), options.as_c_str())?;
        Ok(())
    };
    make().or_else(|error: io::Error| {
        if place != Path::new("/") {
            return Err(error);
        }
        mount("tmpfs", layers, "tmpfs", MountFlags::empty(), c"mode=0700,size=50%")?;
        make()
    })
}

/// A single file that is mounted on its own, as containers have them: shown, and never written.
fn file(place: &Path, root: &Path) -> io::Result<()> {
    let target = inside(root, place);
    mount_bind(place, &target)?;
    mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY, c"")?;
    Ok(())
}

fn surroundings(root: &Path) -> io::Result<()> {
    let at = |path: &str| inside(root, Path::new(path));
    for path in ANEW {
        fs::create_dir_all(at(path))?;
    }
    mount("proc", at("/proc"), "proc", MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV, c"")?;
    for name in READ_ONLY {
        let path = at("/proc").join(name);
        if path.exists() {
            mount_bind(&path, &path)?;
            mount_remount(&path, MountFlags::BIND | MountFlags::RDONLY, c"")?;
        }
    }
    mount("tmpfs", at("/sys"), "tmpfs", MountFlags::RDONLY, c"size=4k")?;
    mount("tmpfs", at("/run"), "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755,size=10%")?;
    mount("tmpfs", at("/tmp"), "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=1777,size=25%")?;
    // Scripts that ask whether they run in a container leave boot loaders and devices alone.
    fs::create_dir(at("/run/systemd"))?;
    fs::write(at("/run/systemd/container"), "stanch\n")?;
    fs::create_dir(at("/run/lock"))?;
    fs::set_permissions(at("/run/lock"), Permissions::from_mode(0o1777))?;
    mount("tmpfs", at("/dev"), "tmpfs", MountFlags::NOSUID, c"mode=0755,size=64k")?;
    for name in DEVICES {
        let device = at("/dev").join(name);
        File::create(&device)?;
        mount_bind(Path::new("/dev").join(name), &device)?;
    }
    for name in ["pts", "shm"] {
        fs::create_dir(at("/dev").join(name))?;
    }
    mount("devpts", at("/dev/pts"), "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, c"newinstance,ptmxmode=0666")?;
    mount("tmpfs", at("/dev/shm"), "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=1777,size=10%")?;
    let links =
        [("pts/ptmx", "ptmx"), ("/proc/self/fd", "fd"), ("fd/0", "stdin"), ("fd/1", "stdout"), ("fd/2", "stderr")];
    for (target, name) in links {
        symlink(target, at("/dev").join(name))?;
    }
    Ok(())
}

/// Nothing is started in the copy: package scripts ask this program first.
fn no_services(root: &Path) -> io::Result<()> {
    let path = inside(root, Path::new("/usr/sbin/policy-rc.d"));
    // It may be a link to somewhere else.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::write(&path, "#!/bin/sh\nexit 101\n")?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// Makes this folder the root and lets go of the old one. In a root that is no mount of its own only the first is
/// possible.
fn into(root: &Path) -> io::Result<()> {
    std::env::set_current_dir(root)?;
    if rustix::process::pivot_root(".", ".").is_ok() {
        unmount(".", UnmountFlags::DETACH)?;
    } else {
        rustix::process::chroot(".")?;
    }
    std::env::set_current_dir("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_read_with_blanks_and_what_lies_below_another_is_left_out() {
        let text = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                    23 22 0:5 / /mnt/a\\040b rw - nfs4 server:/x rw\n\
                    24 22 0:6 / /var rw - ext4 /dev/sda2 rw\n\
                    25 24 0:7 / /var rw - xfs /dev/sda3 rw\n\
                    not a line\n";
        let found: Vec<(String, String)> =
            mounted(text).into_iter().map(|one| (one.place.display().to_string(), one.kind)).collect();
        let expected = [("/", "ext4"), ("/mnt/a b", "nfs4"), ("/var", "xfs")];
        assert_eq!(found, expected.map(|(place, kind)| (place.to_owned(), kind.to_owned())));
        assert_eq!(unescaped("a\\134040b\\"), "a\\040b\\");
    }
}

//! Tells processes of containers from those of the host, because a stale library in an image is not fixed by upgrading
//! the host; and tells when we ourselves sit in one.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Root;

/// The kernel's own, fixed number of the first process namespace.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether the root that is read, with the processes seen, is that of a container. The marks that container managers
/// leave in a root are not enough: virtual machines are made of such images too, and are machines of their own.
pub(crate) fn we_are_inside_one(proc: &Path, root: &Root) -> bool {
    let cgroup = |pid: &str| std::fs::read_to_string(proc.join(pid).join("cgroup")).unwrap_or_default();
    if of_cgroup(&cgroup("self")).is_some() || of_cgroup(&cgroup("1")).is_some() {
        return true;
    }
    if link(proc, "self", "ns/pid").as_deref() == Some(FIRST_PID_NAMESPACE) {
        return match (folder(proc, "self"), folder(proc, "1")) {
            (Some(own), Some(first)) => own != first && marked(root),
            _ => false,
        };
    }
    marked(root)
}

fn marked(root: &Root) -> bool {
    root.has("/.dockerenv") || root.has("/run/.containerenv") || root.has("/run/systemd/container")
}

/// The container that a process runs in, when it is another than ours.
pub(crate) fn of_process(proc: &Path, pid: &str) -> Option<String> {
    let cgroup = |pid: &str| std::fs::read_to_string(proc.join(pid).join("cgroup")).ok();
    let own = cgroup("self").and_then(|text| of_cgroup(&text));
    if let Some(theirs) = cgroup(pid).and_then(|text| of_cgroup(&text))
        && Some(&theirs) != own.as_ref()
    {
        return Some(theirs);
    }
    // A unit with a private /tmp has mounts of its own, but still the host's root folder; a container has another.
    let mounts = link(proc, pid, "ns/mnt").filter(|theirs| link(proc, "self", "ns/mnt").as_ref() != Some(theirs))?;
    let apart = match (folder(proc, pid), folder(proc, "self")) {
        (Some(theirs), Some(ours)) => theirs != ours,
        _ => false,
    };
    apart.then(|| format!("another root in {mounts}"))
}

fn link(proc: &Path, pid: &str, name: &str) -> Option<String> {
    std::fs::read_link(proc.join(pid).join(name)).ok()?.into_os_string().into_string().ok()
}

/// What identifies the root folder of a process.
fn folder(proc: &Path, pid: &str) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(proc.join(pid).join("root")).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// The container that a `/proc/PID/cgroup` names, such as `docker 3f2a9c1b77de`.
pub(crate) fn of_cgroup(text: &str) -> Option<String> {
    text.lines().take(64).filter_map(|line| line.splitn(3, ':').nth(2)).find_map(of_path)
}

/// Marks of container managers in a path of control groups. A mark must begin a folder that is not a service:
/// `docker.service` is a daemon of the host.
const MANAGERS: &[(&str, &str)] = &[
    ("kubepods", "kubernetes"),
    ("libpod-", "podman"),
    ("docker-", "docker"),
    ("cri-containerd-", "containerd"),
    ("crio-", "cri-o"),
    ("lxc.payload", "lxc"),
    ("machine-", "machine"),
    ("systemd-nspawn@", "nspawn"),
];

/// Managers of the first version of control groups name a folder of their own with the id below it.
const FOLDERS: &[(&str, &str)] = &[("docker", "docker"), ("lxc", "lxc"), ("libpod_parent", "podman")];

fn of_path(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).take(32).collect();
    let last = parts.last()?;
    let folder = parts
        .iter()
        .zip(parts.iter().skip(1))
        .find_map(|(part, _)| FOLDERS.iter().find(|(name, _)| name == part).map(|(_, manager)| *manager));
    let marked = parts.iter().find_map(|part| {
        let daemon = part.ends_with(".service") && !part.starts_with("systemd-nspawn@");
        let known = || MANAGERS.iter().find(|(mark, _)| part.starts_with(mark)).map(|(_, manager)| *manager);
        if daemon { None } else { known() }
    });
    let manager = folder.or(marked)?;
    let name = last.trim_end_matches(".scope").trim_end_matches(".service");
    let id = name.rsplit(['-', ':']).next().unwrap_or(name);
    let hex = id.len() >= 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id: String = if hex { id.chars().take(12).collect() } else { name.chars().take(64).collect() };
    Some(format!("{manager} {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_name_the_container_and_its_manager() {
        let id = "3f2a9c1b77de".to_owned() + &"0".repeat(52);
        for (line, expected) in [
            (format!("0::/system.slice/docker-{id}.scope"), Some("docker 3f2a9c1b77de")),
            (format!("5:cpu:/docker/{id}"), Some("docker 3f2a9c1b77de")),
            (
                format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
                Some("kubernetes 3f2a9c1b77de"),
            ),
            (format!("0::/machine.slice/libpod-{id}.scope/container"), Some("podman container")),
            ("0::/lxc.payload.web/system.slice/ssh.service".to_owned(), Some("lxc ssh")),
            ("0::/system.slice/docker.service".to_owned(), None),
            ("0::/system.slice/containerd.service".to_owned(), None),
            ("0::/system.slice/ssh.service".to_owned(), None),
            ("0::/".to_owned(), None),
            ("0::/docker".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(of_cgroup(&line).as_deref(), expected, "{line}");
        }
    }
}

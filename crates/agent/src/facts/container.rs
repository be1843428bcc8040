//! Tells processes of containers from those of the host, because a stale library in an image is not fixed by upgrading
//! the host; and tells when we ourselves sit in one.

use std::path::Path;

use super::Root;

/// Whether the root that is read, with the processes seen, is that of a container.
pub(crate) fn we_are_inside_one(proc: &Path, root: &Root) -> bool {
    root.has("/.dockerenv")
        || root.has("/run/.containerenv")
        || root.has("/run/systemd/container")
        || std::fs::read_to_string(proc.join("1/cgroup")).is_ok_and(|text| of_cgroup(&text).is_some())
}

/// The container that a `/proc/PID/cgroup` names, such as `docker 3f2a9c1b77de`.
pub(crate) fn of_cgroup(text: &str) -> Option<String> {
    text.lines().take(64).filter_map(|line| line.splitn(3, ':').nth(2)).find_map(of_path)
}

fn of_path(path: &str) -> Option<String> {
    let manager = [
        ("kubepods", "kubernetes"),
        ("libpod", "podman"),
        ("docker", "docker"),
        ("cri-containerd", "containerd"),
        ("containerd", "containerd"),
        ("lxc", "lxc"),
        ("machine.slice", "machine"),
    ];
    // `docker.service` and `containerd.service` are daemons of the host.
    let parts = || path.split('/').filter(|part| !part.is_empty() && !part.ends_with(".service"));
    let (_, name) = manager.iter().find(|(mark, _)| parts().any(|part| part.starts_with(mark)))?;
    let last = parts().next_back().unwrap_or_default();
    let id = last.trim_end_matches(".scope").rsplit([':', '-']).next().unwrap_or(last);
    let hex = id.len() >= 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = if hex { id.get(..12).unwrap_or(id) } else { last.trim_end_matches(".scope") };
    if parts().count() < 2 && !hex && !last.ends_with(".scope") && *name != "lxc" {
        return None;
    }
    Some(format!("{name} {}", id.chars().take(64).collect::<String>()))
}

//! What runs, on fabricated process folders and on the kernel's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use stanch_agent::facts::{Options, host};
use stanch_model::facts::{HostFacts, Known, ServiceRef, StaleProcess};

use crate::facts::{Tree, stanza};

const CRYPTO: &str = "/usr/lib/x86_64-linux-gnu/libcrypto.so.3";

fn world() -> Tree {
    let tree = Tree::debian(&[stanza("libssl3", "3.0.1-1", ""), stanza("openssh-server", "9.2-1", "")].concat());
    tree.write("var/lib/dpkg/info/libssl3:amd64.list", format!("/.\n/usr\n{CRYPTO}\n"));
    tree.write("var/lib/dpkg/info/openssh-server.list", "/.\n/usr/sbin/sshd\n");
    tree.write("proc/sys/kernel/osrelease", "6.1.0-49-amd64\n");
    tree.write("proc/sys/kernel/version", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-06-01)\n");
    tree.write("proc/sys/kernel/random/boot_id", "0e1c9bd2-0000-0000-0000-000000000001\n");
    process(&tree, 1, 0, "/usr/lib/systemd/systemd", "0::/init.scope\n", &[]);
    tree.link("1", "proc/self");
    tree
}

/// Adds a process that maps `gone` as code which is no longer on disk.
fn process(tree: &Tree, pid: u32, parent: u32, exe: &str, cgroup: &str, gone: &[&str]) {
    let at = |name: &str| format!("proc/{pid}/{name}");
    tree.write(
        &at("stat"),
        format!("{pid} (x y) S {parent} {pid} {pid} 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 {} 0 0\n", pid * 10),
    );
    let mut maps = format!("55d0-55d1 r-xp 00000000 08:01 77    {exe}\n");
    for path in gone {
        maps.push_str(&format!("7f00-7f01 r--p 00000000 08:01 99    {path} (deleted)\n"));
        maps.push_str(&format!("7f01-7f02 r-xp 00001000 08:01 99    {path} (deleted)\n"));
    }
    tree.write(&at("maps"), maps);
    tree.write(&at("cgroup"), cgroup);
    tree.link(exe, &at("exe"));
    tree.link(tree.path(), &at("root"));
    tree.link("mnt:[1]", &at("ns/mnt"));
    fs::create_dir_all(tree.at(&at("fd"))).unwrap();
}

fn read(tree: &Tree) -> HostFacts {
    host(&Options { proc: Some(tree.at("proc")), ..Options::at(tree.path()) }).unwrap()
}

fn stale(tree: &Tree) -> Vec<StaleProcess> {
    read(tree).stale.known().unwrap().clone()
}

#[test]
fn a_daemon_on_a_replaced_library_is_told_with_its_unit() {
    let tree = world();
    tree.write("run/systemd/system/x", "");
    process(&tree, 42, 1, "/usr/sbin/sshd", "0::/system.slice/ssh.service\n", &[CRYPTO]);
    process(&tree, 43, 1, "/usr/sbin/cron", "0::/system.slice/cron.service\n", &[]);
    let seen = stale(&tree);
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].pid, seen[0].started, seen[0].exe.as_str()), (42, 420, "/usr/sbin/sshd"));
    assert_eq!(seen[0].service, Some(ServiceRef::Systemd("ssh.service".to_owned())));
    assert_eq!((seen[0].files[0].path.as_str(), seen[0].files[0].package.as_deref()), (CRYPTO, Some("libssl3")));
    assert_eq!(seen[0].container, None);
}

#[test]
fn a_library_whose_file_changed_its_name_still_counts() {
    let tree = world();
    process(
        &tree,
        42,
        1,
        "/opt/app",
        "0::/\n",
        &["/usr/lib/x86_64-linux-gnu/libcrypto.so.3.0.1", "/usr/lib/x/gone.so.9"],
    );
    process(&tree, 44, 1, "/opt/own", "0::/\n", &["/opt/own-plugin.so", "/usr/local/lib/own.so", "/home/me/x.so"]);
    let seen = stale(&tree);
    assert_eq!(seen.len(), 1, "what no package put there is not Stanch's to judge");
    let files: Vec<_> = seen[0].files.iter().map(|file| file.package.as_deref()).collect();
    assert_eq!(files, [None, Some("libssl3")]);
}

#[test]
fn a_process_of_an_environment_that_is_older_than_a_package_there_still_runs_the_old_one() {
    let tree = world();
    tree.write("run/systemd/system/x", "");
    tree.write("opt/app/pyvenv.cfg", "");
    tree.write(
        "opt/app/lib/python3.11/site-packages/jinja2-3.1.3.dist-info/METADATA",
        "Name: jinja2\nVersion: 3.1.3\n",
    );
    let now = jiff::Timestamp::now().as_second();
    // Processes start 10 ticks after boot for each of their number; this boot was an hour ago.
    tree.write("proc/stat", format!("cpu 1 2\nbtime {}\n", now - 3600));
    let python = |pid: u32, started: i64, name: &str| {
        process(&tree, pid, 1, "/usr/bin/python3.11", &format!("0::/system.slice/{name}.service\n"), &[]);
        tree.write(&format!("proc/{pid}/cmdline"), format!("/opt/app/bin/python\0/opt/app/bin/{name}\0"));
        let stat = fs::read_to_string(tree.at(&format!("proc/{pid}/stat"))).unwrap();
        tree.write(
            &format!("proc/{pid}/stat"),
            stat.replace(&format!(" {} 0 0\n", pid * 10), &format!(" {started} 0 0\n")),
        );
    };
    python(60, 1000, "old");
    python(61, 100 * 7200, "new");
    process(&tree, 62, 1, "/usr/bin/python3.11", "0::/system.slice/other.service\n", &[]);
    tree.write("proc/62/cmdline", "/opt/application/bin/python\0");
    let seen = stale(&tree);
    let [one] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((one.pid, one.exe.as_str()), (60, "/opt/app/bin/python"));
    assert_eq!(one.service, Some(ServiceRef::Systemd("old.service".to_owned())));
    assert_eq!(one.files[0].package.as_deref(), Some("pkg:pypi/jinja2?environment=/opt/app"));
}

#[test]
fn a_containers_process_is_not_blamed_on_the_host() {
    let tree = world();
    tree.write("run/systemd/system/x", "");
    let id = "ab".repeat(32);
    process(&tree, 50, 1, "/usr/sbin/nginx", &format!("0::/system.slice/docker-{id}.scope\n"), &[CRYPTO]);
    process(&tree, 51, 1, "/usr/bin/app", "0::/system.slice/app.service\n", &[CRYPTO]);
    let other = Tree::new();
    fs::remove_file(tree.at("proc/51/root")).unwrap();
    fs::remove_file(tree.at("proc/51/ns/mnt")).unwrap();
    tree.link(other.path(), "proc/51/root");
    tree.link("mnt:[2]", "proc/51/ns/mnt");
    process(&tree, 52, 1, "/usr/bin/private-tmp", "0::/system.slice/tmp.service\n", &[CRYPTO]);
    fs::remove_file(tree.at("proc/52/ns/mnt")).unwrap();
    tree.link("mnt:[3]", "proc/52/ns/mnt");
    let seen: Vec<_> =
        stale(&tree).into_iter().map(|p| (p.pid, p.container, p.service, p.files[0].package.clone())).collect();
    let unit = Some(ServiceRef::Systemd("tmp.service".to_owned()));
    assert_eq!(seen[0], (50, Some("docker abababababab".to_owned()), None, None));
    assert_eq!(seen[1], (51, Some("another root in mnt:[2]".to_owned()), None, None));
    assert_eq!(seen[2], (52, None, unit, Some("libssl3".to_owned())), "a private /tmp makes no container");
}

#[test]
fn inside_a_container_its_own_processes_are_its_own_and_its_kernel_is_not() {
    let tree = world();
    let id = "cd".repeat(32);
    let cgroup = format!("0::/docker/{id}\n");
    tree.write("proc/1/cgroup", &cgroup);
    process(&tree, 42, 1, "/usr/sbin/sshd", &cgroup, &[CRYPTO]);
    let facts = read(&tree);
    assert_eq!(facts.stale.known().unwrap()[0].container, None);
    assert!(matches!(&facts.kernel, Known::Unknown(why) if why.contains("container")));
}

#[test]
fn without_systemd_pid_files_and_init_scripts_name_the_service() {
    let tree = world();
    tree.write(
        "etc/init.d/ssh",
        "#!/bin/sh\nstart-stop-daemon --start --pidfile /run/sshd.pid --exec /usr/sbin/sshd\n",
    );
    tree.write("etc/init.d/web", "#!/bin/sh\nDAEMON=/usr/sbin/webd\n");
    tree.write("run/sshd.pid", "60\n");
    process(&tree, 60, 1, "/usr/sbin/sshd", "0::/\n", &[CRYPTO]);
    process(&tree, 61, 60, "/usr/sbin/sshd", "0::/\n", &[CRYPTO]);
    process(&tree, 62, 61, "/usr/bin/bash", "0::/\n", &[CRYPTO]);
    process(&tree, 63, 1, "/usr/sbin/webd", "0::/\n", &[CRYPTO]);
    process(&tree, 64, 63, "/usr/lib/web/worker", "0::/\n", &[CRYPTO]);
    process(&tree, 65, 1, "/usr/bin/lonely", "0::/\n", &[CRYPTO]);
    let seen: Vec<_> = stale(&tree).into_iter().map(|p| (p.pid, p.service)).collect();
    let sysv = |name: &str| Some(ServiceRef::Sysv(name.to_owned()));
    let login = || Some(ServiceRef::Session("ssh login".to_owned()));
    assert_eq!(
        seen,
        [(60, sysv("ssh")), (61, login()), (62, login()), (63, sysv("web")), (64, sysv("web")), (65, None)]
    );
}

#[test]
fn the_running_kernel_stands_beside_the_installed_ones() {
    let tree = world();
    let image = |abi: &str, version: &str| stanza(&format!("linux-image-6.1.0-{abi}-amd64"), version, "");
    let status = [image("49", "6.1.170-3"), image("50", "6.1.176-1"), stanza("linux-image-amd64", "6.1.176-1", "")];
    tree.write("var/lib/dpkg/status", status.concat());
    let facts = read(&tree);
    let kernel = facts.kernel.known().unwrap();
    assert_eq!(kernel.running_release, "6.1.0-49-amd64");
    assert_eq!(kernel.running_version.as_ref().unwrap().as_str(), "6.1.170-3");
    let installed: Vec<_> = kernel.installed.iter().map(|i| (i.release.as_str(), i.flavour.as_str())).collect();
    assert_eq!(installed, [("6.1.0-49-amd64", "amd64"), ("6.1.0-50-amd64", "amd64")]);
    assert_eq!(facts.boot_id, Known::Known("0e1c9bd2-0000-0000-0000-000000000001".to_owned()));
}

#[test]
fn waiting_sockets_name_the_program_and_its_package() {
    let tree = world();
    let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    let row = |address: &str, state: &str, inode: u32| {
        format!(
            "   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0\n"
        )
    };
    tree.write(
        "proc/1/net/tcp",
        [head.to_owned(), row("00000000:0016", "0A", 900), row("0100007F:1F90", "0A", 901)].concat(),
    );
    tree.write("proc/1/net/udp", [head.to_owned(), row("00000000:0044", "07", 902)].concat());
    tree.link("self/net", "proc/net");
    process(&tree, 42, 1, "/usr/sbin/sshd", "0::/\n", &[]);
    process(&tree, 43, 42, "/usr/bin/heir", "0::/\n", &[]);
    tree.link("socket:[900]", "proc/42/fd/3");
    tree.link("socket:[900]", "proc/43/fd/3");
    let facts = read(&tree);
    let sockets: Vec<_> = facts
        .sockets
        .known()
        .unwrap()
        .iter()
        .map(|s| (s.protocol.as_str(), s.address.to_string(), s.port, s.exe.as_deref(), s.package.as_deref()))
        .collect();
    assert_eq!(
        sockets,
        [
            ("tcp", "0.0.0.0".to_owned(), 22, Some("/usr/sbin/sshd"), Some("openssh-server")),
            ("tcp", "127.0.0.1".to_owned(), 8080, None, None),
            ("udp", "0.0.0.0".to_owned(), 68, None, None),
        ]
    );
    assert!(facts.gaps.iter().any(|gap| gap.ends_with("the programs of 2 of 3 waiting sockets")), "{:?}", facts.gaps);
}

#[test]
fn a_hidden_process_list_is_unknown_and_not_clean() {
    let tree = world();
    process(&tree, 42, 1, "/usr/sbin/sshd", "0::/\n", &[]);
    fs::remove_dir_all(tree.at("proc/1")).unwrap();
    tree.link("42", "proc/self2");
    assert!(matches!(read(&tree).stale, Known::Unknown(why) if why.starts_with("needs root")));
}

#[test]
fn what_updates_by_itself_is_told() {
    let tree = world();
    tree.write("var/lib/dpkg/status", [stanza("unattended-upgrades", "2.9", ""), stanza("cron-apt", "1", "")].concat());
    tree.write("etc/cron.d/cron-apt", "0 4 * * * root test -x /usr/sbin/cron-apt\n");
    tree.write("lib/systemd/system/apt-daily-upgrade.timer", "[Timer]\n");
    tree.write("run/systemd/system/x", "");
    tree.link(
        "/lib/systemd/system/apt-daily-upgrade.timer",
        "etc/systemd/system/timers.target.wants/apt-daily-upgrade.timer",
    );
    tree.write("etc/apt/apt.conf.d/20auto-upgrades", "APT::Periodic::Unattended-Upgrade \"1\";\n");
    let seen = |tree: &Tree| -> Vec<(String, Known<bool>)> {
        read(tree).updaters.into_iter().map(|updater| (updater.name, updater.enabled)).collect()
    };
    let row = |name: &str, on: bool| (name.to_owned(), Known::Known(on));
    assert_eq!(
        seen(&tree),
        [row("unattended-upgrades", true), row("apt-daily-upgrade.timer", true), row("cron-apt", true)]
    );
    tree.write("etc/apt/apt.conf.d/99off", "APT { Periodic { Unattended-Upgrade \"0\"; }; };\n");
    assert_eq!(seen(&tree)[0], row("unattended-upgrades", false));
    tree.link("/dev/null", "etc/systemd/system/apt-daily-upgrade.timer");
    assert_eq!(seen(&tree)[1], row("apt-daily-upgrade.timer", false));
    std::fs::remove_file(tree.path().join("etc/apt/apt.conf.d/99off")).unwrap();
    tree.link("/lib/systemd/system/apt-daily.timer", "etc/systemd/system/timers.target.wants/apt-daily.timer");
    assert_eq!(seen(&tree)[0], row("unattended-upgrades", false), "nothing starts it: the other timer only fetches");
    tree.write("usr/lib/systemd/system/dnf-automatic-install.timer", "[Timer]\n");
    assert!(seen(&tree).contains(&row("dnf-automatic-install.timer", false)));
    tree.write("etc/apt/apt.conf.d/99off", "APT { Periodic {\n");
    assert!(matches!(seen(&tree)[0].1, Known::Unknown(_)));
}

/// A copy of a program that runs, in a folder that is not one for passing files.
struct Runs {
    child: Child,
    path: PathBuf,
}

impl Runs {
    fn start() -> Option<Self> {
        let folders = [PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from("/var/cache")];
        let passing = |folder: &Path| folder.starts_with("/tmp") || folder.starts_with("/var/tmp");
        let path =
            folders.iter().filter_map(|folder| folder.canonicalize().ok()).filter(|folder| !passing(folder)).find_map(
                |folder| {
                    let path = folder.join(format!("stale-{}", std::process::id()));
                    fs::copy("/bin/sleep", &path).ok().map(|_| path)
                },
            )?;
        let child = Command::new(&path).arg("600").stdout(Stdio::null()).spawn().unwrap();
        Some(Self { child, path })
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_process_on_a_replaced_file_is_found_in_the_kernels_own_maps() {
    let Some(runs) = Runs::start() else {
        eprintln!("skipped: no folder outside of /tmp can be written");
        return;
    };
    let path = runs.path.to_str().unwrap().to_owned();
    let tree = Tree::debian(&stanza("sleeper", "1", ""));
    tree.write("var/lib/dpkg/info/sleeper.list", format!("/.\n{path}\n"));
    let facts = || host(&Options { proc: Some("/proc".into()), ..Options::at(tree.path()) }).unwrap();
    let found = |facts: HostFacts| match facts.stale {
        Known::Known(all) => Some(all.into_iter().find(|process| process.pid == runs.child.id())),
        Known::Unknown(why) => {
            assert!(why.starts_with("needs root"), "{why}");
            None
        }
    };
    let Some(before) = found(facts()) else {
        eprintln!("skipped: needs root");
        return;
    };
    assert_eq!(before, None);
    fs::copy("/bin/sleep", runs.path.with_extension("new")).unwrap();
    fs::rename(runs.path.with_extension("new"), &runs.path).unwrap();
    let after = found(facts()).unwrap().unwrap();
    assert_eq!((after.exe, after.files[0].package.as_deref()), (path, Some("sleeper")));
}

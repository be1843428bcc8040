//! The Debian packages that tests and proofs use, installed when they are missing.

use std::process::Command;

use anyhow::bail;

use crate::steps;

/// What the gate needs: a tool it calls, and the package that brings it.
pub(crate) const GATE: &[(&str, &str)] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("dpkg-deb", "dpkg"),
    ("dpkg-scanpackages", "dpkg-dev"),
    ("apt-ftparchive", "apt-utils"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("rpmbuild", "rpm"),
    ("createrepo_c", "createrepo-c"),
    ("gpg", "gnupg"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("aiosmtpd", "python3-aiosmtpd"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("openssl", "openssl"),
    // Its programs are in no folder that is searched; this one comes with them. The cluster it makes is not used.
    ("pg_ctlcluster", "postgresql"),
];

/// What only the proofs need.
pub(crate) const PROOFS: &[(&str, &str)] =
    &[("curl", "curl"), ("debsecan", "debsecan"), ("git", "git"), ("gzip", "gzip"), ("time", "time")];

/// What only the comparison with another tool needs.
pub(crate) const PEER: &[(&str, &str)] = &[("ansible-playbook", "ansible-core"), ("ssh", "openssh-client")];

/// Installs what is missing.
pub(crate) fn ensure(wanted: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing: Vec<&str> = wanted.iter().filter(|(tool, _)| !steps::has(tool)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !steps::has("apt-get") {
        bail!("the tests need {}; this machine has no apt-get to install them with", missing.join(", "));
    }
    let install = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        command
    };
    steps::run("apt-get update", &mut install(&["update", "-q"]))?;
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(missing);
    steps::run("apt-get install", &mut install(&arguments))?;
    Ok(())
}

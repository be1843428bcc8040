//! Services that are never restarted by themselves, each with the reason a person reads.
//!
//! Short on purpose: a service is here only when restarting it throws people out, takes the network away or stops what
//! runs inside it. A host's administrator who knows better says so in the executor's rules (`allow.services`).

/// What a name begins with (with `*`) or is, without the ending `.service`, and why.
const TABLE: [(&str, &str); 28] = [
    ("stanch*", "it is Stanch itself"),
    ("dbus", "everything on the message bus would lose it"),
    ("dbus-broker", "everything on the message bus would lose it"),
    ("systemd-logind", "graphical sessions may end with it"),
    ("elogind", "graphical sessions may end with it"),
    ("user@*", "it holds a person's session"),
    ("session*", "it holds a person's session"),
    ("getty@*", "it holds a person's login"),
    ("serial-getty@*", "it holds a person's login"),
    ("console-getty", "it holds a person's login"),
    ("container-getty@*", "it holds a person's login"),
    ("gdm*", "graphical sessions end with it"),
    ("lightdm", "graphical sessions end with it"),
    ("sddm", "graphical sessions end with it"),
    ("xdm", "graphical sessions end with it"),
    ("lxdm", "graphical sessions end with it"),
    ("display-manager", "graphical sessions end with it"),
    ("networking", "the network goes down with it"),
    ("ifup@*", "the network goes down with it"),
    ("wpa_supplicant*", "the network may go down with it"),
    ("openvpn*", "the way to this host may lead through it"),
    ("docker", "containers may stop with it"),
    ("containerd", "containers may stop with it"),
    ("libvirtd", "virtual machines may lose their manager"),
    ("apt-daily*", "a package manager must not be broken off"),
    ("packagekit", "a package manager must not be broken off"),
    ("rc-local", "what it started runs outside of it"),
    ("cloud-*", "it runs once at boot"),
];

/// Why this service is left to a person, if it is.
pub(crate) fn reason(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix(".service").unwrap_or(name);
    TABLE
        .iter()
        .find(|(pattern, _)| pattern.strip_suffix('*').map_or(*pattern == name, |start| name.starts_with(start)))
        .map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_the_bus_are_left_alone_and_servers_are_not() {
        for name in
            ["dbus.service", "user@1000.service", "getty@tty1.service", "stanch.service", "stanch-agent.service"]
        {
            assert!(reason(name).is_some(), "{name}");
        }
        for name in ["nginx.service", "ssh.service", "dbusd.service", "docker-registry.service", "cron"] {
            assert!(reason(name).is_none(), "{name}");
        }
    }
}

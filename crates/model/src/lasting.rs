//! What keeps running as long as the host does: programs that nobody can restart without a reboot. What they have loaded is
//! replaced on disk by an upgrade, and freed by nothing else.

/// What an item about such programs has in place of a kernel's flavour.
pub const LIBRARIES: &str = "libraries";

/// Their names: units without the ending `.service`, init scripts, and the executables of what is neither. The manager of
/// systemd is not among them, because it can start itself anew.
const NAMES: [&str; 7] =
    ["dbus", "dbus-broker", "systemd-logind", "elogind", "/sbin/init", "/usr/sbin/init", "/usr/lib/sysvinit/init"];

/// Whether only a reboot ends what goes by this name.
pub fn is_lasting(name: &str) -> bool {
    NAMES.contains(&name.strip_suffix(".service").unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bus_and_init_last_as_long_as_the_host_and_servers_do_not() {
        for name in ["dbus.service", "dbus", "systemd-logind.service", "/usr/sbin/init"] {
            assert!(is_lasting(name), "{name}");
        }
        for name in ["nginx.service", "init.scope", "dbus-daemon", "user@1000.service", "/usr/bin/dbus"] {
            assert!(!is_lasting(name), "{name}");
        }
    }
}

//! The executor's own rules: the last word on this host, whatever an order says.
//!
//! `/etc/stanch/executor.toml` belongs to the host's administrator; the server cannot see or change it. A file that
//! cannot be understood stops everything: a rule misread would be a rule lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::{DateTime, Time, Weekday};
use serde::Deserialize;
use stanch_action::ActionError;
use stanch_model::canonical::Digest;
use stanch_model::order::Grant;
use stanch_model::script;
use stanch_model::sign::VerifyingKey;
use stanch_model::trust::Demand;

use crate::own::restore;

/// Where the rules are.
pub const PATH: &str = "/etc/stanch/executor.toml";

/// Largest file taken.
const MOST_BYTES: u64 = 1 << 20;

/// The rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Actions that may run; none named means all but a reboot.
    pub actions: Option<BTreeSet<String>>,
    /// Binary or source packages that are never changed; a `*` at the end stands for any ending.
    pub denied_packages: Vec<String>,
    /// Services that are never restarted, same form.
    pub denied_services: Vec<String>,
    /// Services that may be restarted although Stanch leaves them to a person by itself, same form.
    pub allowed_services: Vec<String>,
    /// Settings that are never set, `sshd.*`, `sysctl.kernel.dmesg_restrict` or the name of a check, same form.
    pub denied_settings: Vec<String>,
    /// When something may start, in the host's local time; none named means always.
    pub hours: Vec<Hours>,
    /// Whether this host may be rebooted.
    pub reboot: bool,
    /// Whether packages of Python's environments may be changed. Off until a host's own root says so.
    pub environments: bool,
    /// Whether systemd itself may be executed anew.
    pub reexec: bool,
    /// Whether plans may be carried out in a copy of this host.
    pub rehearsals: bool,
    /// How long to wait for another package manager, in seconds.
    pub lock_timeout_seconds: u32,
    /// How long a new version of one of Stanch's own packages has to prove itself, in seconds; then the one before is
    /// brought back.
    pub prove_within_seconds: u32,
    /// Where the server of this host, if it is one, answers whether it is well.
    pub server_health: String,
    /// Programs that tell whether what this host is for still works.
    pub probes: Vec<Probe>,
    /// Who has to have signed a plan before anything of it is begun here.
    pub approvals: Option<Demand>,
    /// Which scripts may run here.
    pub scripts: ScriptRules,
    /// The file they came from; it is read again before every start.
    path: Option<PathBuf>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            actions: None,
            denied_packages: Vec::new(),
            denied_services: Vec::new(),
            allowed_services: Vec::new(),
            denied_settings: Vec::new(),
            hours: Vec::new(),
            reboot: false,
            environments: false,
            reexec: false,
            rehearsals: true,
            lock_timeout_seconds: 300,
            prove_within_seconds: restore::LIMIT,
            server_health: "http://127.0.0.1:7070/api/v1/health".to_owned(),
            probes: Vec::new(),
            approvals: None,
            scripts: ScriptRules::default(),
            path: None,
        }
    }
}

/// Whose scripts may run here, and which of them not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptRules {
    /// Public keys of minisign whose word counts; without one no script runs.
    pub keys: Vec<String>,
    /// Scripts that were taken back: `name@version`, or the SHA-256 of a manifest.
    pub revoked: Vec<String>,
    /// Programs that may read scripts, by their absolute paths.
    pub interpreters: Vec<String>,
    /// What this host is labelled with, as scripts ask for it.
    pub labels: BTreeMap<String, String>,
}

impl Default for ScriptRules {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            revoked: Vec::new(),
            interpreters: vec!["/bin/sh".to_owned()],
            labels: BTreeMap::new(),
        }
    }
}

/// A time in which something may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// On these days; all if none.
    pub days: Vec<Weekday>,
    /// From then.
    pub from: Time,
    /// Until then, which is on the next day if it is earlier.
    pub until: Time,
}

impl Hours {
    /// Whether this moment is inside.
    pub fn hold(&self, now: DateTime) -> bool {
        let on = |day: Weekday| self.days.is_empty() || self.days.contains(&day);
        let (today, time) = (now.date().weekday(), now.time());
        if self.from <= self.until {
            return on(today) && time >= self.from && time < self.until;
        }
        (on(today) && time >= self.from) || (on(today.previous()) && time < self.until)
    }
}

/// A program whose success says that all is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What it is called in checks.
    pub name: String,
    /// Its argument vector.
    pub command: Vec<String>,
    /// How long it may take, in seconds.
    pub timeout_seconds: u32,
}

/// Why the rules could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The file is there and cannot be read.
    #[error("cannot read the executor's rules {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Others than root could change it.
    #[error("the executor's rules {} may be written by others than their owner", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It is somebody's who is neither root nor who runs this.
    #[error("the executor's rules {} belong to user {uid} and not to root", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// It is not what it should be.
    #[error("the executor's rules {}, line {line}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    actions: Option<BTreeSet<String>>,
    reboot: bool,
    environments: bool,
    reexec: bool,
    rehearsals: Option<bool>,
    lock_timeout_seconds: Option<toml::Spanned<u32>>,
    prove_within_seconds: Option<toml::Spanned<u32>>,
    server_health: Option<toml::Spanned<String>>,
    deny: Denied,
    allow: Allowed,
    hours: Vec<toml::Spanned<WrittenHours>>,
    probe: Vec<toml::Spanned<WrittenProbe>>,
    approvals: Option<toml::Spanned<WrittenApprovals>>,
    scripts: WrittenScripts,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenApprovals {
    need: u16,
    keys: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenScripts {
    keys: Vec<toml::Spanned<String>>,
    revoked: Vec<toml::Spanned<String>>,
    interpreters: Option<Vec<toml::Spanned<String>>>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Denied {
    packages: Vec<String>,
    services: Vec<String>,
    settings: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Allowed {
    services: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHours {
    #[serde(default)]
    days: Vec<String>,
    from: String,
    until: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProbe {
    name: String,
    command: Vec<String>,
    timeout_seconds: Option<u32>,
}

impl Rules {
    /// Reads the rules of this host; without a file the defaults hold.
    ///
    /// # Errors
    /// When the file cannot be read or understood, or others than root and who runs this could write it.
    pub fn load(path: &Path) -> Result<Self, RulesError> {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let read = |source| RulesError::Read { path: path.to_owned(), source };
        let about = match fs::metadata(path) {
            Ok(about) => about,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path: Some(path.to_owned()), ..Self::default() });
            }
            Err(e) => return Err(read(e)),
        };
        if about.permissions().mode() & 0o022 != 0 {
            return Err(RulesError::Exposed { path: path.to_owned() });
        }
        if about.uid() != 0 && about.uid() != rustix::process::geteuid().as_raw() {
            return Err(RulesError::Foreign { path: path.to_owned(), uid: about.uid() });
        }
        if about.len() > MOST_BYTES {
            return Err(RulesError::Content {
                path: path.to_owned(),
                line: 1,
                message: "larger than 1 MiB".to_owned(),
            });
        }
        let text = fs::read_to_string(path).map_err(read)?;
        let rules = Self::parse(&text).map_err(|(line, message)| RulesError::Content {
            path: path.to_owned(),
            line,
            message,
        })?;
        Ok(Self { path: Some(path.to_owned()), ..rules })
    }

    /// Reads rules from text. An error names the line.
    ///
    /// # Errors
    /// When the text is not as it should be; an unknown key is an error.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
        let written: Written =
            toml::from_str(text).map_err(|e| (line(e.span().map_or(0, |span| span.start)), e.message().to_owned()))?;
        let mut rules = Self {
            actions: written.actions,
            denied_packages: written.deny.packages,
            denied_services: written.deny.services,
            denied_settings: written.deny.settings,
            allowed_services: written.allow.services,
            reboot: written.reboot,
            environments: written.environments,
            reexec: written.reexec,
            rehearsals: written.rehearsals.unwrap_or(true),
            ..Self::default()
        };
        if let Some(seconds) = written.lock_timeout_seconds {
            if !(1..=86_400).contains(seconds.as_ref()) {
                return Err((line(seconds.span().start), "lock_timeout_seconds: expected 1 to 86400".to_owned()));
            }
            rules.lock_timeout_seconds = seconds.into_inner();
        }
        if let Some(seconds) = written.prove_within_seconds {
            if !(60..=86_400).contains(seconds.as_ref()) {
                return Err((line(seconds.span().start), "prove_within_seconds: expected 60 to 86400".to_owned()));
            }
            rules.prove_within_seconds = seconds.into_inner();
        }
        if let Some(url) = written.server_health {
            if !url.as_ref().starts_with("http://") {
                return Err((line(url.span().start), "server_health: expected http://ADDRESS:PORT/PATH".to_owned()));
            }
            rules.server_health = url.into_inner();
        }
        for hours in written.hours {
            let at = line(hours.span().start);
            rules.hours.push(read_hours(hours.into_inner()).map_err(|message| (at, message))?);
        }
        for probe in written.probe {
            let at = line(probe.span().start);
            let probe = probe.into_inner();
            let timeout_seconds = probe.timeout_seconds.unwrap_or(30);
            if !probe.command.first().is_some_and(|program| program.starts_with('/')) {
                return Err((at, format!("probe `{}`: command must begin with an absolute path", probe.name)));
            }
            if !(1..=3600).contains(&timeout_seconds) {
                return Err((at, format!("probe `{}`: timeout_seconds: expected 1 to 3600", probe.name)));
            }
            rules.probes.push(Probe { name: probe.name, command: probe.command, timeout_seconds });
        }
        if let Some(approvals) = written.approvals {
            let at = line(approvals.span().start);
            rules.approvals = Some(read_approvals(approvals.into_inner()).map_err(|message| (at, message))?);
        }
        rules.scripts = read_scripts(written.scripts).map_err(|(at, message)| (line(at), message))?;
        Ok(rules)
    }

    /// The rules as their file says now.
    ///
    /// # Errors
    /// When the file has become unreadable: nothing may start then.
    pub fn current(&self) -> Result<Self, ActionError> {
        match &self.path {
            None => Ok(self.clone()),
            Some(path) => Self::load(path).map_err(|e| {
                let cause = std::error::Error::source(&e).map(|cause| format!(": {cause}")).unwrap_or_default();
                ActionError::refused(format!("{e}{cause}"))
            }),
        }
    }

    /// What of these rules holds in a copy of the host: what is forbidden stays so, but nothing there waits for an hour,
    /// and no probe finds its service running.
    #[must_use]
    pub(crate) fn in_a_copy(self) -> Self {
        Self { hours: Vec::new(), probes: Vec::new(), path: None, ..self }
    }

    /// Whether the action may run now. Hours bind only its first start: what has begun is finished.
    ///
    /// # Errors
    /// A refusal that names the rule.
    pub fn permit(&self, action: &str, now: DateTime, first: bool) -> Result<(), ActionError> {
        if self.actions.as_ref().is_some_and(|allowed| !allowed.contains(action)) {
            return Err(ActionError::refused(format!("the executor's rules do not allow {action} (actions)")));
        }
        if action == "host.reboot" && !self.reboot {
            return Err(ActionError::refused("the executor's rules do not allow a reboot (reboot = false)"));
        }
        if first && !self.hours.is_empty() && !self.hours.iter().any(|hours| hours.hold(now)) {
            let now = now.strftime("%a %H:%M");
            return Err(ActionError::refused(format!("the executor's rules allow no start at {now} (hours)")));
        }
        Ok(())
    }

    /// Whether packages of Python's environments may be changed. Off until a host's own root says so.
    ///
    /// # Errors
    /// A refusal.
    pub fn permit_environments(&self) -> Result<(), ActionError> {
        if self.environments {
            return Ok(());
        }
        Err(ActionError::refused("the executor's rules do not allow changes in environments (environments = false)"))
    }

    /// Whether this leaf was vouched for by whom these rules ask; what was begun in time may be finished later.
    ///
    /// # Errors
    /// A refusal that says how many signatures there are.
    pub fn vouched(&self, grant: &Grant, begun: bool, now: Timestamp) -> Result<(), ActionError> {
        let Some(demand) = &self.approvals else { return Ok(()) };
        let words = grant.vouched.as_ref();
        let by = words.map(|words| words.by(&grant.plan, &grant.leaf_hash, now, begun)).unwrap_or_default();
        if demand.is_met(&by) {
            return Ok(());
        }
        let (have, need) = (demand.met_by(&by), demand.need);
        Err(ActionError::refused(format!(
            "the executor's rules ask for {need} signed approvals, and {have} of those that count hold (approvals)"
        )))
    }

    /// Whether a binary or source package of this name is never to be changed.
    pub fn denies_package(&self, name: &str) -> bool {
        self.denied_packages.iter().any(|pattern| fits(pattern, name))
    }

    /// Whether any package is never to be changed.
    pub const fn denies_any_package(&self) -> bool {
        !self.denied_packages.is_empty()
    }

    /// Whether a service of this name is never to be restarted.
    pub fn denies_service(&self, name: &str) -> bool {
        named(&self.denied_services, name)
    }

    /// Whether a setting or check of this name is never to be set.
    pub fn denies_setting(&self, name: &str) -> bool {
        self.denied_settings.iter().any(|pattern| fits(pattern, name))
    }

    /// Whether a unit file or init script is of a service that is never to be restarted; a template is when one of its
    /// instances is.
    pub fn denies_unit(&self, unit: &str) -> bool {
        let template = unit.strip_suffix(".service").unwrap_or(unit).strip_suffix('@');
        let instance = |stem: &str| {
            let start = format!("{stem}@");
            self.denied_services.iter().any(|pattern| pattern.starts_with(&start))
        };
        self.denies_service(unit) || template.is_some_and(instance)
    }

    /// Whether a service of this name may be restarted although Stanch leaves it to a person by itself.
    pub fn allows_service(&self, name: &str) -> bool {
        named(&self.allowed_services, name)
    }
}

/// A unit is meant with and without its ending.
fn named(patterns: &[String], name: &str) -> bool {
    let bare = name.strip_suffix(".service").unwrap_or(name);
    patterns.iter().any(|pattern| fits(pattern, name) || fits(pattern, bare))
}

fn fits(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

fn read_approvals(written: WrittenApprovals) -> Result<Demand, String> {
    let mut keys = BTreeSet::new();
    for text in written.keys {
        let key = VerifyingKey::try_from(text.clone()).map_err(|error| format!("approvals: `{text}`: {error}"))?;
        if !keys.insert(key) {
            return Err(format!("approvals: the key {text} stands there twice"));
        }
    }
    if written.need == 0 || usize::from(written.need) > keys.len() {
        return Err(format!("approvals: need: expected 1 to {}, as many as there are keys", keys.len()));
    }
    Ok(Demand { need: written.need, keys })
}

/// What is misread here would be a key believed or a revocation lost: every entry has to be what it should be.
fn read_scripts(written: WrittenScripts) -> Result<ScriptRules, (usize, String)> {
    fn each(
        list: Vec<toml::Spanned<String>>,
        holds: fn(&str) -> bool,
        otherwise: &str,
    ) -> Result<Vec<String>, (usize, String)> {
        let read = |entry: toml::Spanned<String>| match holds(entry.as_ref()) {
            true => Ok(entry.into_inner()),
            false => Err((entry.span().start, format!("scripts: `{}` {otherwise}", entry.as_ref()))),
        };
        list.into_iter().map(read).collect()
    }
    let is_key = |text: &str| minisign_verify::PublicKey::from_base64(text).is_ok();
    let is_named = |text: &str| {
        let named = text.split_once('@');
        text.parse::<Digest>().is_ok()
            || named.is_some_and(|(name, version)| script::is_name(name) && version.parse::<u32>().is_ok())
    };
    let interpreters = match written.interpreters {
        None => ScriptRules::default().interpreters,
        Some(list) => each(list, |text| text.starts_with('/'), "must be an absolute path")?,
    };
    Ok(ScriptRules {
        keys: each(written.keys, is_key, "is no public key of minisign: the line that begins with RW")?,
        revoked: each(written.revoked, is_named, "names no script: expected name@version or a SHA-256")?,
        interpreters,
        labels: written.labels,
    })
}

fn read_hours(written: WrittenHours) -> Result<Hours, String> {
    let time = |text: &str| -> Result<Time, String> {
        let form = || format!("`{text}` is no time of day: expected `22:30`");
        let (hour, minute) = text.split_once(':').ok_or_else(form)?;
        let (hour, minute) = (hour.parse().map_err(|_| form())?, minute.parse().map_err(|_| form())?);
        Time::new(hour, minute, 0, 0).map_err(|_| form())
    };
    let day = |text: &String| match text.as_str() {
        "mon" => Ok(Weekday::Monday),
        "tue" => Ok(Weekday::Tuesday),
        "wed" => Ok(Weekday::Wednesday),
        "thu" => Ok(Weekday::Thursday),
        "fri" => Ok(Weekday::Friday),
        "sat" => Ok(Weekday::Saturday),
        "sun" => Ok(Weekday::Sunday),
        _ => Err(format!("`{text}` is no day: expected mon, tue, wed, thu, fri, sat or sun")),
    };
    Ok(Hours {
        days: written.days.iter().map(day).collect::<Result<_, _>>()?,
        from: time(&written.from)?,
        until: time(&written.until)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::datetime;

    const FULL: &str = r#"
actions = ["package.upgrade", "service.restart"]
reboot = false
lock_timeout_seconds = 60

[deny]
packages = ["postgresql-*", "nginx"]
services = ["billing.service", "shop"]
settings = ["sshd.*", "sysctl-ptrace"]

[allow]
services = ["dbus"]

[[hours]]
days = ["mon", "fri"]
from = "22:00"
until = "05:00"

[[probe]]
name = "web"
command = ["/usr/bin/curl", "-fsS", "http://localhost/health"]
timeout_seconds = 10
"#;

    #[test]
    fn environments_are_changed_where_a_host_says_so() {
        assert!(Rules::default().permit_environments().is_err());
        assert!(Rules::parse("reboot = true\n").unwrap().permit_environments().is_err());
        assert!(Rules::parse("environments = true\n").unwrap().permit_environments().is_ok());
    }

    #[test]
    fn what_is_written_is_what_holds() {
        let rules = Rules::parse(FULL).unwrap();
        assert!(rules.denies_package("postgresql-15") && rules.denies_package("nginx"));
        assert!(!rules.denies_package("nginx-common") && !rules.denies_package("postgres"));
        assert!(rules.denies_service("billing.service") && rules.denies_service("shop.service"));
        assert!(rules.allows_service("dbus.service") && !rules.allows_service("dbus-broker.service"));
        assert!(rules.denies_setting("sshd.permitrootlogin") && rules.denies_setting("sysctl-ptrace"));
        assert!(!rules.denies_setting("sysctl.kernel.dmesg_restrict"));
        assert_eq!(rules.probes[0].command.len(), 3);
        let friday_night = datetime(2026, 11, 27, 23, 0, 0, 0);
        rules.permit("package.upgrade", friday_night, true).unwrap();
        assert!(rules.permit("host.isolate", friday_night, true).unwrap_err().to_string().contains("host.isolate"));
        let noon = datetime(2026, 11, 27, 12, 0, 0, 0);
        assert!(rules.permit("package.upgrade", noon, true).unwrap_err().to_string().contains("Fri 12:00"));
        rules.permit("package.upgrade", noon, false).unwrap();
    }

    #[test]
    fn whom_to_ask_is_written_with_keys_that_can_be_met() {
        let (a, b) = ("11".repeat(32), "22".repeat(32));
        let rules = Rules::parse(&format!("[approvals]\nneed = 2\nkeys = [\"{a}\", \"{b}\"]\n")).unwrap();
        assert_eq!(rules.approvals.unwrap().keys.len(), 2);
        for (need, keys, why) in [
            (0, format!("\"{a}\""), "need"),
            (2, format!("\"{a}\""), "need: expected 1 to 1"),
            (1, format!("\"{a}\", \"{a}\""), "twice"),
            (1, "\"zz\"".to_owned(), "64 hexadecimal digits"),
        ] {
            let (line, message) =
                Rules::parse(&format!("reboot = true\n[approvals]\nneed = {need}\nkeys = [{keys}]\n")).unwrap_err();
            assert!(message.contains(why) && line == 2, "{line}: {message}");
        }
    }

    #[test]
    fn a_template_is_denied_with_any_of_its_instances() {
        let rules = Rules::parse("[deny]\nservices = [\"postgresql@15-main\", \"nginx\"]\n").unwrap();
        for (unit, denied) in [("postgresql@.service", true), ("nginx.service", true), ("postgresql.service", false)] {
            assert_eq!(rules.denies_unit(unit), denied, "{unit}");
        }
    }

    #[test]
    fn hours_reach_over_midnight_but_not_over_days() {
        let rules = Rules::parse(FULL).unwrap();
        let held = |day, hour| rules.hours[0].hold(datetime(2026, 11, day, hour, 0, 0, 0));
        assert!(held(27, 22) && held(28, 4), "Friday night ends on Saturday morning");
        assert!(!held(27, 4), "Friday morning belongs to Thursday");
        assert!(!held(28, 5) && !held(28, 22));
    }

    #[test]
    fn by_default_nothing_reboots() {
        let now = datetime(2026, 11, 27, 12, 0, 0, 0);
        let rules = Rules::default();
        rules.permit("package.upgrade", now, true).unwrap();
        assert!(rules.permit("host.reboot", now, true).is_err());
        Rules { reboot: true, ..rules }.permit("host.reboot", now, true).unwrap();
    }

    #[test]
    fn every_mistake_is_an_error_with_its_line() {
        for (text, line, word) in [
            ("reboot = true\nrebot = true\n", 2, "rebot"),
            ("\n\nreboot = \"yes\"\n", 3, "boolean"),
            ("[deny]\npakages = []\n", 2, "pakages"),
            ("lock_timeout_seconds = 0\n", 1, "86400"),
            ("prove_within_seconds = 5\n", 1, "60 to 86400"),
            ("server_health = \"file:///etc/shadow\"\n", 1, "http://"),
            ("\n[[hours]]\nfrom = \"25:00\"\nuntil = \"05:00\"\n", 2, "25:00"),
            ("[[hours]]\ndays = [\"moon\"]\nfrom = \"1:00\"\nuntil = \"05:00\"\n", 1, "moon"),
            ("[[probe]]\nname = \"x\"\ncommand = [\"curl\"]\n", 1, "absolute"),
            ("reboot = true\nreboot = false\n", 2, "duplicate"),
            ("[scripts]\nkeys = [\"RWx\"]\n", 2, "no public key"),
            ("[scripts]\nrevoked = [\n\"banner\"]\n", 3, "name@version"),
            ("[scripts]\ninterpreters = [\"sh\"]\n", 2, "absolute"),
            ("[scripts]\nkey = []\n", 2, "key"),
        ] {
            let (at, message) = Rules::parse(text).unwrap_err();
            assert_eq!(at, line, "{text}: {message}");
            assert!(message.contains(word), "{text}: {message}");
        }
    }

    #[test]
    fn a_file_that_broke_stops_everything_and_a_missing_one_is_no_rule() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("executor.toml");
        let rules = Rules::load(&path).unwrap();
        assert!(rules.current().is_ok());
        fs::write(&path, "actions = []\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(rules.current().unwrap().permit("package.upgrade", DateTime::MIN, true).is_err());
        fs::write(&path, "actions = [\n").unwrap();
        assert!(rules.current().is_err());
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(rules.current().unwrap_err().to_string().contains("others"));
    }

    #[test]
    fn a_file_of_somebody_else_is_no_rule_of_this_host() {
        use std::os::unix::fs::{PermissionsExt, chown};
        if !stanch_testkit::root_or_skip().unwrap() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("executor.toml");
        fs::write(&path, "reboot = true\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Rules::load(&path).unwrap().reboot);
        chown(&path, Some(65534), None).unwrap();
        assert!(Rules::load(&path).unwrap_err().to_string().contains("65534"));
    }
}

//! Settings of the SSH server: a file of ours that is read before all others, tried out before it counts, and a reload
//! that ends no session.
//!
//! Nobody is locked out. A change of who may sign in, and how, is refused unless an administrator can still sign in over
//! SSH after it. An administrator is root, or a member of `sudo`, `admin` or `wheel`, who has a shell. They can still
//! sign in when they have an authorized key that sshd would take (in the files it names, which nobody else may change,
//! with public keys allowed), or when passwords stay allowed and they have one. Where AllowUsers and their like narrow
//! who may sign in, where AuthenticationMethods asks for more than one proof, or where Match makes exceptions, that cannot
//! be told from here, and the change is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use stanch_action::{ActionError, Run};
use stanch_model::facts::ServiceRef;

use super::drop_in::DropIn;
use crate::actions::command::{Invocation, Programs};
use crate::actions::log;
use crate::actions::service::restart::{self, Init};
use crate::actions::service::running;
use crate::facts::posture::sshd_settings;
use crate::rules::Rules;

/// The first file that sshd reads wins, so that ours is first.
pub(crate) const FILE: DropIn = DropIn { folder: "/etc/ssh/sshd_config.d", name: "00-stanch.conf", between: " " };

const MAIN: &str = "/etc/ssh/sshd_config";
const INCLUDE: &str = "/etc/ssh/sshd_config.d/*.conf";

/// Settings that decide who may sign in, and how.
const SIGN_IN: [&str; 5] =
    ["permitrootlogin", "passwordauthentication", "hostbasedauthentication", "ignorerhosts", "permitemptypasswords"];
/// Settings that narrow it in ways that cannot be followed from here.
const NARROWING: [&str; 4] = ["allowusers", "denyusers", "allowgroups", "denygroups"];
/// Groups whose members administer a host.
const ADMINISTRATORS: [&str; 3] = ["sudo", "admin", "wheel"];

/// Largest file of accounts or keys.
const MOST_BYTES: u64 = 4 << 20;
const TESTING: Duration = Duration::from_secs(30);
/// How long it has to go on after a reload to count as up.
const STEADY: Duration = Duration::from_millis(500);

pub(crate) type Settings = BTreeMap<String, Vec<String>>;

/// What sshd would run with.
pub(crate) fn settings(host: &dyn Programs) -> Result<Settings, ActionError> {
    sshd_settings(host, &[]).map_err(ActionError::failed)
}

/// The value of a setting.
pub(crate) fn value<'a>(settings: &'a Settings, name: &str) -> Option<&'a str> {
    settings.get(name)?.first().map(String::as_str)
}

/// Whether our file is read, and before anything that sets the same: else why it cannot work here.
pub(crate) fn is_read_first(names: &[&str]) -> Result<(), ActionError> {
    let text = text_of(Path::new(MAIN))
        .ok_or_else(|| ActionError::refused(format!("{MAIN} cannot be read, so that nothing is set beside it")))?;
    let mut earlier = None;
    for line in text.lines().map(str::trim) {
        let mut words = line.split(|c: char| c == '=' || c.is_whitespace()).filter(|word| !word.is_empty());
        let Some(word) = words.next().filter(|word| !word.starts_with('#')) else { continue };
        if word.eq_ignore_ascii_case("include") && words.any(|path| path.trim_matches('"') == INCLUDE) {
            return match earlier {
                None => first_of_its_folder(names),
                Some(name) => Err(ActionError::refused(format!(
                    "{MAIN} sets {name} before it reads {INCLUDE}, and the first wins"
                ))),
            };
        }
        if word.eq_ignore_ascii_case("match") {
            break;
        }
        earlier = earlier.or_else(|| names.iter().find(|name| word.eq_ignore_ascii_case(name)));
    }
    Err(ActionError::refused(format!(
        "{MAIN} does not read {INCLUDE} (Include), so that a file there would do nothing"
    )))
}

/// What sorts before our file in its folder is read before it.
fn first_of_its_folder(names: &[&str]) -> Result<(), ActionError> {
    let Ok(entries) = fs::read_dir(FILE.folder) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !name.ends_with(".conf") || name.starts_with('.') || name >= FILE.name {
            continue;
        }
        let text = text_of(&path).unwrap_or_default();
        let set = names.iter().find(|name| !FILE.lines(Some(&text), name).is_empty());
        if let Some(set) = set {
            return Err(ActionError::refused(format!(
                "{} sets {set} and is read before {}",
                path.display(),
                FILE.path()
            )));
        }
    }
    Ok(())
}

/// Tries what sshd would make of this content of our file, without it being in force anywhere. Returns what sshd would
/// run with then.
pub(crate) fn tried(host: &dyn Programs, folder: &Path, text: &str) -> Result<Settings, ActionError> {
    let cannot = |error| ActionError::caused("cannot write down the settings to be tried", error);
    let (ours, whole) = (folder.join("tried.conf"), folder.join("tried-whole.conf"));
    fs::write(&ours, text).map_err(cannot)?;
    fs::write(&whole, format!("Include {}\nInclude {MAIN}\n", ours.display())).map_err(cannot)?;
    let whole = whole.to_str().ok_or_else(|| ActionError::failed("the vault's path is no text"))?;
    test(host, &["-t", "-f", whole])?;
    sshd_settings(host, &["-f", whole]).map_err(ActionError::failed)
}

/// Has sshd look through its settings.
pub(crate) fn test(host: &dyn Programs, args: &[&str]) -> Result<(), ActionError> {
    let output = host
        .run(&Invocation::reading("sshd", args).within(TESTING))
        .map_err(|error| ActionError::caused("sshd cannot be asked what it thinks of its settings", error))?;
    if output.ok() {
        return Ok(());
    }
    Err(ActionError::refused(format!("sshd would not start with these settings: {}", output.complaint())))
}

/// Refuses a change after which no administrator could sign in over SSH.
pub(crate) fn keeps_a_way_in(names: &[&str], after: &Settings) -> Result<(), ActionError> {
    if !names.iter().any(|name| SIGN_IN.contains(name)) {
        return Ok(());
    }
    if let Some(narrowing) = NARROWING.iter().find(|name| after.get(**name).is_some()) {
        return Err(ActionError::refused(format!(
            "sshd narrows who may sign in ({narrowing}), so that it cannot be told whether an administrator still could"
        )));
    }
    if let Some(methods) = value(after, "authenticationmethods").filter(|methods| *methods != "any") {
        return Err(ActionError::refused(format!(
            "sshd asks for more than one proof (AuthenticationMethods {methods}), so that it cannot be told whether an \
             administrator could still sign in"
        )));
    }
    if let Some(path) = conditional() {
        return Err(ActionError::refused(format!(
            "{} has settings for some sign-ins only (Match), or reads other files, so that it cannot be told whether an \
             administrator could still sign in",
            path.display()
        )));
    }
    let accounts = Accounts::read();
    if accounts.administrators().iter().any(|account| accounts.may_sign_in(account, after)) {
        return Ok(());
    }
    Err(ActionError::refused(
        "no administrator could sign in over SSH after it: none has an authorized key that sshd would take, nor a \
         password where passwords stay allowed",
    ))
}

/// A file of sshd's settings in which not everything holds for everybody, or that reads files which are not looked into.
fn conditional() -> Option<PathBuf> {
    let folder = fs::read_dir(FILE.folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let parts = folder.filter(|path| path.extension().is_some_and(|end| end == "conf"));
    [PathBuf::from(MAIN)].into_iter().chain(parts).find(|path| {
        let Some(text) = text_of(path) else { return true };
        text.lines().map(str::trim).any(|line| {
            let mut words = line.split(|c: char| c == '=' || c.is_whitespace()).filter(|word| !word.is_empty());
            let first = words.next().unwrap_or_default().to_ascii_lowercase();
            first == "match" || (first == "include" && words.any(|path| path.trim_matches('"') != INCLUDE))
        })
    })
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
    shell: String,
}

#[derive(Debug, Default)]
struct Accounts {
    all: Vec<Account>,
    /// Members and numbers of the groups of administrators.
    members: BTreeSet<String>,
    groups: BTreeSet<u32>,
    with_password: BTreeSet<String>,
}

impl Accounts {
    fn read() -> Self {
        let text = |path: &str| text_of(Path::new(path)).unwrap_or_default();
        Self::parse(&text("/etc/passwd"), &text("/etc/group"), &text("/etc/shadow"))
    }

    fn parse(passwd: &str, group: &str, shadow: &str) -> Self {
        let mut accounts = Self::default();
        for line in passwd.lines() {
            let mut fields = line.split(':');
            let (Some(name), Some(_), Some(uid), Some(gid), Some(_), Some(home), Some(shell)) = (
                fields.next(),
                fields.next(),
                fields.next().and_then(|id| id.parse().ok()),
                fields.next().and_then(|id| id.parse().ok()),
                fields.next(),
                fields.next(),
                fields.next(),
            ) else {
                continue;
            };
            accounts.all.push(Account { name: name.to_owned(), uid, gid, home: home.into(), shell: shell.to_owned() });
        }
        for line in group.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, gid, members] = fields.as_slice() else { continue };
            if ADMINISTRATORS.contains(name) {
                accounts.groups.extend(gid.parse::<u32>());
                accounts.members.extend(members.split(',').filter(|one| !one.is_empty()).map(str::to_owned));
            }
        }
        for line in shadow.lines() {
            let mut fields = line.split(':');
            // A hash is `$...`; `!` and `*` before it lock the password.
            if let (Some(name), Some(hash)) = (fields.next(), fields.next())
                && hash.starts_with('$')
            {
                accounts.with_password.insert(name.to_owned());
            }
        }
        accounts
    }

    fn administrators(&self) -> Vec<&Account> {
        let has_shell = |account: &Account| {
            let shell = account.shell.rsplit('/').next().unwrap_or_default();
            !matches!(shell, "nologin" | "false" | "sync" | "")
        };
        let is = |account: &&Account| {
            account.uid == 0 || self.members.contains(&account.name) || self.groups.contains(&account.gid)
        };
        self.all.iter().filter(is).filter(|account| has_shell(account)).collect()
    }

    fn may_sign_in(&self, account: &Account, after: &Settings) -> bool {
        let is = |name: &str, wanted: &str| value(after, name) == Some(wanted);
        let root = value(after, "permitrootlogin").unwrap_or("no");
        let by_key = is("pubkeyauthentication", "yes") && (account.uid != 0 || root != "no");
        // Commands that a key is forced to are no shell.
        let by_key = by_key && (account.uid != 0 || root != "forced-commands-only");
        let by_password = is("passwordauthentication", "yes") && (account.uid != 0 || root == "yes");
        (by_password && self.with_password.contains(&account.name)) || (by_key && has_key(account, after))
    }
}

/// Whether an account has an authorized key in a file that sshd would take: in the folders it names, of the account's or
/// root's, which nobody else may change.
fn has_key(account: &Account, after: &Settings) -> bool {
    let files = value(after, "authorizedkeysfile").unwrap_or(".ssh/authorized_keys");
    files.split_whitespace().any(|file| {
        let file = file.replace("%h", &account.home.to_string_lossy()).replace("%u", &account.name);
        let path = account.home.join(file);
        let own = |path: &Path| {
            fs::metadata(path)
                .is_ok_and(|about| (about.uid() == 0 || about.uid() == account.uid) && about.mode() & 0o022 == 0)
        };
        // As sshd looks: the file and all folders up to the home.
        let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(&account.home));
        own(&path) && folders.into_iter().all(own) && text_of(&path).is_some_and(|text| text.lines().any(is_key))
    })
}

/// Whether a line is a key that gives a shell: one with a forced command does not, nor one of an authority.
fn is_key(line: &str) -> bool {
    let line = line.trim();
    let kinds = ["ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-", "sk-ssh-ed25519@", "sk-ecdsa-sha2-"];
    if kinds.iter().any(|kind| line.starts_with(kind)) {
        return line.split_whitespace().nth(1).is_some_and(|key| key.len() > 60 && key.starts_with("AAAA"));
    }
    false
}

fn text_of(path: &Path) -> Option<String> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = fs::File::options().read(true).custom_flags(flags).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Whether sshd runs.
pub(crate) fn is_up(host: &dyn Programs) -> Result<bool, ActionError> {
    Ok(match restart::init(host) {
        Init::Systemd => {
            let about = restart::show(host, "ssh.service", &["ActiveState"])?;
            about.get("ActiveState").is_some_and(|state| matches!(state.as_str(), "active" | "reloading"))
        }
        Init::Sysv => !running::pids_of(&ServiceRef::Sysv("ssh".to_owned()))?.is_empty(),
        Init::None => false,
    })
}

/// Starts an sshd that ran before it was told to read its settings.
pub(crate) fn start(host: &dyn Programs, run: &mut dyn Run) -> Result<(), ActionError> {
    let invocation = match restart::init(host) {
        Init::Systemd => Invocation::changing("systemctl", ["start", "--", "ssh.service"], log(run)?),
        Init::Sysv if host.has("invoke-rc.d") => {
            Invocation::changing("invoke-rc.d", ["--disclose-deny", "ssh", "start"], log(run)?)
        }
        Init::Sysv => Invocation::changing("service", ["ssh", "start"], log(run)?),
        Init::None => return Ok(()),
    };
    run.progress("sshd is started again");
    let output = host
        .run(&invocation.within(Duration::from_secs(60)))
        .map_err(|error| ActionError::caused("sshd could not be started", error))?;
    run.evidence("start of ssh", &output.stdout);
    if output.ok() {
        return stays_up(host);
    }
    Err(ActionError::failed(format!("sshd does not start: {}", output.complaint()))
        .with_hint("its settings are what they were; see `systemctl status ssh`"))
}

/// Lets a running sshd read its settings again; sessions go on. A host on which none runs has nothing to reload.
pub(crate) fn reload(host: &dyn Programs, run: &mut dyn Run) -> Result<(), ActionError> {
    let invocation = match restart::init(host) {
        Init::Systemd => {
            let about = restart::show(host, "ssh.service", &["ActiveState"])?;
            if about.get("ActiveState").is_none_or(|state| state != "active") {
                return Ok(());
            }
            Invocation::changing("systemctl", ["reload", "--", "ssh.service"], log(run)?)
        }
        Init::Sysv => {
            if running::pids_of(&ServiceRef::Sysv("ssh".to_owned()))?.is_empty() {
                return Ok(());
            }
            if host.has("invoke-rc.d") {
                Invocation::changing("invoke-rc.d", ["--disclose-deny", "ssh", "reload"], log(run)?)
            } else {
                Invocation::changing("service", ["ssh", "reload"], log(run)?)
            }
        }
        Init::None => return Ok(()),
    };
    run.progress("sshd reads its settings again");
    let output = host
        .run(&invocation.within(Duration::from_secs(60)))
        .map_err(|error| ActionError::caused("sshd could not be reloaded", error))?;
    run.evidence("reload of ssh", &output.stdout);
    if output.ok() {
        return stays_up(host);
    }
    let why = if output.code == Some(101) {
        "the host's policy for services denies it".to_owned()
    } else {
        output.complaint()
    };
    Err(ActionError::failed(format!("sshd does not read its settings again: {why}"))
        .with_hint("the settings are in their file; `systemctl reload ssh` brings them into force"))
}

/// Waits until sshd has read its settings and goes on.
fn stays_up(host: &dyn Programs) -> Result<(), ActionError> {
    let since = Instant::now();
    while since.elapsed() < STEADY {
        if !is_up(host)? {
            return Err(ActionError::failed("sshd ended when it read its settings again")
                .with_hint("take this back, and start it: the sessions that are open go on meanwhile"));
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    Ok(())
}

/// Whether the host's rules keep sshd from being reloaded.
pub(crate) fn denied(rules: &Rules) -> bool {
    rules.denies_service("ssh.service") || rules.denies_service("sshd.service")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/bash\n\
        bob:x:1001:1001::/home/bob:/usr/sbin/nologin\neve:x:1002:1002::/home/eve:/bin/sh\n";
    const GROUP: &str = "sudo:x:27:ann,bob\nusers:x:100:eve\n";
    const SHADOW: &str = "root:*:1::::::\nann:$y$j9T$x:1::::::\nbob:$y$x:1::::::\neve:!$y$x:1::::::\n";

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect()
    }

    #[test]
    fn administrators_are_root_and_the_members_of_their_groups_who_have_a_shell() {
        let accounts = Accounts::parse(PASSWD, GROUP, SHADOW);
        let names: Vec<&str> = accounts.administrators().iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["root", "ann"]);
    }

    #[test]
    fn a_password_lets_in_where_it_is_allowed_and_there_is_one() {
        let accounts = Accounts::parse(PASSWD, GROUP, SHADOW);
        let may = |name: &str, pairs: &[(&str, &str)]| {
            let account = accounts.all.iter().find(|one| one.name == name).unwrap();
            accounts.may_sign_in(account, &settings(pairs))
        };
        assert!(may("ann", &[("passwordauthentication", "yes"), ("permitrootlogin", "no")]));
        assert!(!may("ann", &[("passwordauthentication", "no")]));
        assert!(!may("root", &[("passwordauthentication", "yes"), ("permitrootlogin", "yes")]), "root has none");
    }

    #[test]
    fn a_key_counts_where_sshd_would_take_it_and_it_gives_a_shell() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let account = Account {
            name: "ann".to_owned(),
            uid,
            gid: uid,
            home: folder.path().to_owned(),
            shell: "/bin/sh".to_owned(),
        };
        let after = settings(&[("authorizedkeysfile", ".ssh/authorized_keys .ssh/authorized_keys2")]);
        let keys = folder.path().join(".ssh/authorized_keys");
        fs::create_dir(folder.path().join(".ssh")).unwrap();
        let key = format!("ssh-ed25519 AAAA{} ann@desk\n", "C".repeat(64));
        assert!(!has_key(&account, &after));
        fs::write(&keys, format!("# none\ncommand=\"/bin/true\" {key}")).unwrap();
        assert!(!has_key(&account, &after), "a forced command is no shell");
        fs::write(&keys, &key).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(has_key(&account, &after));
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(!has_key(&account, &after), "sshd would not take it");
    }
}

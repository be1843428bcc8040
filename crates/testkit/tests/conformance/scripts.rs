//! `script.run`: the shipped library, and two scripts that are killed in the middle.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use stanch_action::{Crash, Death, Idempotency, Sent, World as Suite, WorldError};
use stanch_model::id::{AssetId, ItemId};
use stanch_model::order::{StepRequest, Verb};
use stanch_model::script::{Part, Script};
use stanch_testkit::world::Frozen;
use stanch_testkit::{Base, ScriptKey, World, root_or_skip};

use crate::expect_green;
use crate::stage::{AsService, Debian, EXECUTOR, IN_WORLD, Machine, Stage, asset, trap};

/// What one script is shown on, in the words of a shell inside the world.
struct Show {
    /// The script.
    script: Script,
    arguments: Value,
    /// The case's name.
    case: &'static str,
    idempotency: Idempotency,
    /// Makes the problem.
    breaks: &'static str,
    /// Prints what somebody sees who does not use the script.
    observes: &'static str,
    /// Succeeds when the problem is gone.
    fixed: &'static str,
    /// Changes what the script looks at, whatever it did to it.
    meddles: &'static str,
    /// Succeeds when that is still so.
    meddled: &'static str,
    /// Where it can be killed.
    inside: &'static [&'static str],
}

struct Scripts {
    show: Show,
    frozen: Frozen,
    stage: Option<Stage<AsService>>,
}

fn failed(error: &anyhow::Error) -> WorldError {
    WorldError::new(format!("{error:#}"))
}

fn prepared(key: &ScriptKey, show: Show) -> Result<Scripts> {
    let world = World::builder(&Base::minimal()?).bind(EXECUTOR, IN_WORLD).boot()?;
    world.must(["mkdir", "-p", "/etc/stanch", "/trap"])?;
    world.write_mode("/etc/stanch/executor.toml", format!("[scripts]\nkeys = [\"{}\"]\n", key.public()), 0o644)?;
    world.must(["sh", "-euc", show.breaks])?;
    Ok(Scripts { show, frozen: world.freeze(), stage: None })
}

impl Scripts {
    fn stage(&mut self) -> Result<&mut Stage<AsService>, WorldError> {
        self.stage.as_mut().ok_or_else(|| WorldError::new("not broken yet"))
    }

    fn shell(&mut self, line: &str) -> Result<(bool, String), WorldError> {
        let stage = self.stage()?;
        let look = || -> Result<(bool, String)> {
            stage.machine.switch_on()?;
            let output = stage.machine.0.world.run(["sh", "-c", line])?;
            Ok((output.ok(), output.text()))
        };
        look().map_err(|error| failed(&error))
    }

    fn want(&self) -> Value {
        json!({ "script": self.show.script, "arguments": self.show.arguments })
    }

    /// The script with one of its files changed after it was signed.
    fn changed(&self) -> Script {
        let mut script = self.show.script.clone();
        script.files.insert(Part::Remediate, "touch /changed\n".to_owned());
        script
    }
}

impl Suite for Scripts {
    fn action(&self) -> String {
        "script.run".to_owned()
    }

    fn system(&self) -> String {
        "debian-12".to_owned()
    }

    fn case(&self) -> String {
        self.show.case.to_owned()
    }

    fn idempotency(&self) -> Idempotency {
        self.show.idempotency
    }

    fn asset(&self) -> AssetId {
        asset()
    }

    fn break_it(&mut self) -> Result<(), WorldError> {
        self.stage = None;
        let make = || Stage::new(AsService(Debian { world: self.frozen.world()?, on_boot: |_| Ok(()) }));
        self.stage = Some(make().map_err(|error| failed(&error))?);
        Ok(())
    }

    fn observe(&mut self) -> Result<Value, WorldError> {
        let (ok, text) = self.shell(self.show.observes)?;
        let lines: Vec<&str> = text.lines().collect();
        let (_, stray) = self.shell("ls /changed /run/stanch-scripts 2>/dev/null")?;
        Ok(json!({ "ok": ok, "seen": lines, "stray": stray.contains("changed") }))
    }

    fn is_fixed(&mut self) -> Result<bool, WorldError> {
        Ok(self.shell(self.show.fixed)?.0)
    }

    fn happened_twice(&mut self) -> Result<Vec<String>, WorldError> {
        // A script that may be entered again says so itself, and one that may not is checked by what it leaves.
        Ok(Vec::new())
    }

    fn requests(&self) -> Vec<StepRequest> {
        let items = vec![ItemId::from_entropy([1; 10])];
        vec![StepRequest { action: "script.run".to_owned(), want: self.want(), items }]
    }

    fn send(&mut self, verb: Verb, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        self.stage()?.send(verb, crash)
    }

    fn restart(&mut self, crash: Option<&Crash>) -> Result<Sent, WorldError> {
        self.stage()?.restart(crash)
    }

    fn meddle(&mut self) -> Result<bool, WorldError> {
        let (ok, text) = self.shell(self.show.meddles)?;
        if ok { Ok(true) } else { Err(WorldError::new(text)) }
    }

    fn is_meddled(&mut self) -> Result<bool, WorldError> {
        Ok(self.shell(self.show.meddled)?.0)
    }

    fn bad_wants(&self) -> Vec<Value> {
        let unsigned = Script { signature: String::new(), ..self.show.script.clone() };
        vec![
            json!(null),
            json!({ "script": "login-banner" }),
            json!({ "arguments": {"nobody-asked": 1}, "script": self.show.script }),
            json!({ "arguments": self.show.arguments, "script": unsigned }),
            json!({ "arguments": self.show.arguments, "script": self.changed() }),
        ]
    }

    fn bad_params(&self) -> Vec<Value> {
        let items = [ItemId::from_entropy([1; 10])];
        vec![
            json!(null),
            json!({ "arguments": {"nobody-asked": 1}, "items": items, "script": self.show.script }),
            json!({ "arguments": self.show.arguments, "items": items, "script": self.changed() }),
        ]
    }

    fn deaths(&self) -> Vec<Death> {
        vec![Death::Kill, Death::PowerLoss]
    }

    fn inside(&self) -> Vec<String> {
        self.show.inside.iter().map(|name| (*name).to_owned()).collect()
    }
}

/// The suite on one script of the library.
fn library(name: &'static str, arguments: Value, show: impl FnOnce(Show) -> Show) -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let key = ScriptKey::new()?;
    let nothing = Show {
        script: key.shipped(name)?,
        arguments,
        case: name,
        idempotency: Idempotency::Yes,
        breaks: "",
        observes: "",
        fixed: "",
        meddles: "",
        meddled: "",
        inside: &[],
    };
    expect_green(&mut prepared(&key, show(nothing))?, 3);
    Ok(())
}

#[test]
fn cron_not_world_writable() -> Result<()> {
    library("cron-not-world-writable", json!({}), |show| Show {
        breaks: "mkdir -p /etc/cron.d /etc/cron.daily; echo '* * * * * root true' > /etc/cron.d/open\n\
                 chmod 666 /etc/cron.d/open; chmod 777 /etc/cron.daily; ln -s /etc/shadow /etc/cron.d/link",
        observes: "find /etc/cron* /etc/shadow -printf '%p %m %u %l\n' | sort",
        fixed: "[ -z \"$(find /etc/cron* ! -type l -perm -0002)\" ]",
        meddles: "chmod 606 /etc/cron.d/open",
        meddled: "[ \"$(stat -c %a /etc/cron.d/open)\" = 606 ]",
        ..show
    })
}

#[test]
fn no_empty_passwords() -> Result<()> {
    library("no-empty-passwords", json!({}), |show| Show {
        breaks: "useradd alice; useradd bertha; passwd -d alice; passwd -d bertha; useradd -p '$6$x$y' carla",
        // The day of the last change is not part of it: nobody can take back that something was changed today.
        observes: "cut -d: -f1,2,4- /etc/shadow",
        fixed: "! grep -q '^[^:]*::' /etc/shadow",
        meddles: "useradd dora",
        meddled: "id dora",
        ..show
    })
}

#[test]
fn login_banner() -> Result<()> {
    library("login-banner", json!({ "text": "Nobody but us." }), |show| Show {
        breaks: "rm -f /etc/issue.net; echo 'Debian \\n \\l' > /etc/issue",
        observes: "cd /etc; for file in issue issue.net; do stat -c '%n %a %U' $file; cat $file; done 2>&1",
        fixed: "[ \"$(cat /etc/issue)\" = 'Nobody but us.' ] && cmp /etc/issue /etc/issue.net",
        meddles: "echo theirs > /etc/issue.net",
        meddled: "[ \"$(cat /etc/issue.net)\" = theirs ]",
        ..show
    })
}

#[test]
fn account_file_modes() -> Result<()> {
    library("account-file-modes", json!({}), |show| Show {
        breaks: "chmod 666 /etc/passwd; chown nobody:users /etc/group; chmod 644 /etc/shadow; touch /etc/group-",
        observes: "stat -c '%n %a %U %G' /etc/passwd* /etc/group* /etc/shadow* /etc/gshadow*",
        fixed: "[ \"$(stat -c '%a %U %G' /etc/passwd)\" = '644 root root' ] && \
                [ \"$(stat -c '%U %G' /etc/group)\" = 'root root' ] && [ \"$(stat -c %a /etc/shadow)\" = 640 ]",
        meddles: "chmod 606 /etc/passwd",
        meddled: "[ \"$(stat -c %a /etc/passwd)\" = 606 ]",
        ..show
    })
}

/// A script of two changes that can be killed between them, forwards.
fn halves(key: &ScriptKey, idempotent: bool) -> Result<Script> {
    let manifest = format!(
        "name = \"halves\"\nversion = 1\nsummary = \"Moves two lines\"\ninterpreter = \"/bin/sh\"\n\
         expires = \"2999-12-31\"\nidempotent = {idempotent}\ndisruption = \"none\"\ntimeout_seconds = 60\n\
         output_bytes = 4096\nacts_as = \"root\"\n"
    );
    let state = "printf '{\"one\": \"%s\", \"two\": \"%s\"}' \"$(cat /etc/one)\" \"$(cat /etc/two)\"\n\
                 [ \"$(cat /etc/one /etc/two | tr -d '\\n')\" = goodgood ]\n";
    let trap = trap("between");
    let files = BTreeMap::from([
        (Part::Evaluate, state.to_owned()),
        (Part::Remediate, format!("set -e\necho good > /etc/one\n{trap}echo good > /etc/two\n")),
        (Part::Verify, "grep -q good /etc/one && grep -q good /etc/two\n".to_owned()),
        (Part::Undo, "grep -q '\"one\":\"bad\"' || exit 2\necho bad > /etc/one\necho bad > /etc/two\n".to_owned()),
    ]);
    key.sign(&manifest, &files).context("the script of two halves")
}

fn halved(idempotent: bool, case: &'static str) -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let key = ScriptKey::new()?;
    let show = Show {
        script: halves(&key, idempotent)?,
        arguments: json!({}),
        case,
        idempotency: if idempotent { Idempotency::Yes } else { Idempotency::No },
        breaks: "echo bad > /etc/one; echo bad > /etc/two; mkdir -p /trap",
        observes: "cat /etc/one /etc/two",
        fixed: "[ \"$(cat /etc/one /etc/two | tr -d '\\n')\" = goodgood ]",
        meddles: "echo theirs > /etc/two",
        meddled: "grep -q theirs /etc/two",
        inside: &["between"],
    };
    expect_green(&mut prepared(&key, show)?, 4);
    Ok(())
}

#[test]
fn a_script_that_may_be_entered_again_is_when_it_was_killed_in_the_middle() -> Result<()> {
    halved(true, "two changes, killed between them")
}

#[test]
fn a_script_that_may_not_be_entered_again_is_reported_and_taken_back() -> Result<()> {
    halved(false, "two changes, killed between them, not to be entered again")
}

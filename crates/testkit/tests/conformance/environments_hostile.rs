//! Others than its owner who can lead what runs in an environment, an owner who means the executor harm, and a server that
//! does: nothing of theirs runs with another's power, and nothing of root's goes astray.

use anyhow::{Result, bail};
use serde_json::{Value, json};
use stanch_model::order::{Answer, StepOutcome, Verb};
use stanch_model::plan::PlannedStep;
use stanch_testkit::world::Frozen;
use stanch_testkit::{Base, World, root_or_skip};

use crate::environments::make_wheels;
use crate::environments_shapes::{ask, grant, outcomes, plan, undo};
use crate::stage::{AsService, Debian, EXECUTOR, IN_WORLD, Stage};

const LEAF: &str = "pkg:pypi/leaf?environment=/srv/app/venv";
const SITE: &str = "/srv/app/venv/lib/python3.11/site-packages";

/// Tells that Python ran in the environment, and as whom.
const CANARY: &str = "import os\nopen(f'/tmp/ran-{os.geteuid()}', 'a').close()\n";

/// An environment of `app`, and an account of somebody else.
fn prepared() -> Result<Frozen> {
    let world = World::builder(&Base::python()?).bind(EXECUTOR, IN_WORLD).boot()?;
    world.write("/etc/stanch/executor.toml", "environments = true\n")?;
    make_wheels(&world)?;
    for user in ["app", "eve"] {
        world.must(["useradd", "--create-home", user])?;
    }
    world.must(["install", "-d", "-o", "app", "-g", "app", "/srv/app"])?;
    let as_app = |words: &[&str]| {
        let whom = ["setpriv", "--reuid", "app", "--regid", "app", "--init-groups", "--reset-env"];
        world.must(whom.iter().chain(words)).map(drop)
    };
    as_app(&["python3", "-m", "venv", "/srv/app/venv"])?;
    let conf = "printf '[global]\\nno-index = true\\nfind-links = /srv/wheels\\n' >/srv/app/venv/pip.conf";
    as_app(&["sh", "-c", conf])?;
    as_app(&["/srv/app/venv/bin/pip", "install", "--quiet", "leaf==1.0"])?;
    world.write(&format!("{SITE}/canary.py"), CANARY)?;
    world.write(&format!("{SITE}/canary.pth"), "import canary\n")?;
    Ok(world.freeze())
}

fn staged(frozen: &Frozen) -> Result<Stage<AsService>> {
    Stage::new(AsService(Debian { world: frozen.world()?, on_boot: |_| Ok(()) }))
}

fn ran(world: &World) -> Result<String> {
    world.must(["sh", "-c", "cd /tmp && ls -d ran-* 2>/dev/null || true"])
}

#[test]
fn environments_that_others_could_lead_are_refused_before_anything_of_them_runs() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let frozen = prepared()?;
    let attacks = [
        ("chmod g+w /srv/app/venv/bin", "may write"),
        ("chmod o+w /srv/app/venv/lib/python3.11/site-packages/leaf/__init__.py", "may write"),
        ("chmod 1777 /srv/app", "may write"),
        ("chmod g+w /srv", "may write"),
        ("chown eve /srv/app/venv/lib/python3.11/site-packages/leaf/__init__.py", "neither root nor"),
        ("chown eve /srv/app", "neither root nor"),
        (
            "cd /srv/app/venv && cp /usr/bin/python3.11 /home/eve/python && chown eve /home/eve/python && \
          ln -sf /home/eve/python bin/python",
            "neither root nor",
        ),
        ("chmod o+w /usr/bin/python3.11", "may write"),
        ("chmod o+w /usr/lib/python3.11/json", "may write"),
        (
            "mkdir -p /home/eve/lib && chown -R eve /home/eve && \
          sed -i 's,^home.*,home = /home/eve,' /srv/app/venv/pyvenv.cfg",
            "neither root nor",
        ),
        (
            "sed -i 's,^home.*,home = /srv,' /srv/app/venv/pyvenv.cfg && mkdir -p /srv/lib/python3.11 && \
          chown eve /srv/lib/python3.11",
            "neither root nor",
        ),
        ("sed -i 's/^include.*/include-system-site-packages = true/' /srv/app/venv/pyvenv.cfg", "sees the packages"),
        (
            "mkdir /srv/eve && chown eve /srv/eve && echo /srv/eve >/srv/app/venv/lib/python3.11/site-packages/x.pth",
            "neither root nor",
        ),
        ("ln -s /usr/lib /srv/app/venv/lib/python3.11/site-packages/usr", "link to a folder elsewhere"),
        ("mv /srv/app/venv /srv/app/real && ln -s real /srv/app/venv", "a link leads to it"),
        ("rm /srv/app/venv/pyvenv.cfg && mkfifo /srv/app/venv/pyvenv.cfg", "no environment"),
        ("chown 4321 /srv /srv/app && chown -R 4321 /srv/app/venv", "has no account"),
        (
            "cd /srv/app/venv/lib/python3.11/site-packages && cp -r leaf-1.0.dist-info leaf-0.9.dist-info && \
          sed -i s/^Version.*/Version:\\ 0.9/ leaf-0.9.dist-info/METADATA && chown -R app leaf-0.9.dist-info",
            "two records",
        ),
    ];
    for (attack, why) in attacks {
        let mut stage = staged(&frozen)?;
        stage.machine.0.world.must(["sh", "-euc", attack])?;
        let Answer::Planned { steps, refused, .. } = plan(&mut stage, LEAF, "1.1")? else { bail!("{attack}") };
        assert!(steps.is_empty(), "{attack}: {steps:?}");
        let said: Vec<&str> = refused.iter().map(|refusal| refusal.reason.as_str()).collect();
        assert!(said.iter().any(|said| said.contains(why)), "{attack}: {said:?}");
        assert_eq!(ran(&stage.machine.0.world)?, "", "{attack}: something of it ran");
    }
    Ok(())
}

#[test]
fn what_became_open_to_others_after_it_was_planned_is_neither_changed_nor_taken_back() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let mut stage = staged(&prepared()?)?;
    let Answer::Planned { steps, .. } = plan(&mut stage, LEAF, "1.1")? else { bail!("no plan") };
    let grant = grant(steps, 1)?;
    let refused = |answer: &Answer| matches!(outcomes(answer)[..], [StepOutcome::Refused { .. }]);
    let opened = |stage: &Stage<AsService>, mode: &str| {
        stage.machine.0.world.must(["chmod", mode, &format!("{SITE}/leaf")]).map(drop)
    };
    opened(&stage, "o+w")?;
    let answer = ask(&mut stage, Verb::Apply(grant.clone()))?;
    assert!(refused(&answer), "{answer:?}");
    opened(&stage, "o-w")?;
    let mut again = grant;
    again.attempt = 2;
    let answer = ask(&mut stage, Verb::Apply(again.clone()))?;
    assert!(matches!(outcomes(&answer)[..], [StepOutcome::Done]), "{answer:?}");
    opened(&stage, "o+w")?;
    let answer = ask(&mut stage, undo(&again))?;
    assert!(refused(&answer), "{answer:?}");
    Ok(())
}

/// Stands in for the environment's Python: does what a mode says, and then what Python would have done.
const WRAPPER: &str = r#"#!/bin/bash
mode=$(cat /tmp/mode)
args=" $* "
after() { local found=; for word; do [ "$found" ] && { echo "$word"; return; }; [ "$word" = "$name" ] && found=1; done; }
case "$mode" in
flood) exec cat /dev/zero ;;
errors) cat /dev/zero >&2; exit 1 ;;
ids) id -u >>/tmp/ids; id -G >>/tmp/ids ;;
hide) setsid sleep 7654 >/dev/null & sleep 0.2; setsid sleep 7654 & ;;
esac
if [[ "$args" == *" download "* ]]; then
    name=--dest dest=$(after "$@")
    case "$mode" in
    link) ln -s /etc/shadow "$dest/leaf-1.1-py3-none-any.whl"; exit 0 ;;
    pipe) mkfifo "$dest/leaf-1.1-py3-none-any.whl"; exit 0 ;;
    huge) truncate -s 100G "$dest/leaf-1.1-py3-none-any.whl"; exit 0 ;;
    folder) mkdir "$dest/leaf-1.1-py3-none-any.whl"; exit 0 ;;
    many) (cd "$dest" && seq -f "%g-1-py3-none-any.whl" 250000 | xargs touch); exit 0 ;;
    swap) rm -rf "$dest" 2>/dev/null; mv "$dest" "$dest.old" 2>/dev/null && echo moved >>/tmp/wrote; ln -sfT /root "$dest" && echo linked >>/tmp/wrote; exit 0 ;;
    esac
fi
if [[ "$args" == *" install "* && "$args" == *" --find-links "* ]]; then
    name=--find-links links=$(after "$@")
    for one in "$links" "$links"/*; do
        { echo evil >>"$one"; } 2>/dev/null && echo "wrote $one" >>/tmp/wrote
        { mv "$one" "$one.x"; } 2>/dev/null && echo "moved $one" >>/tmp/wrote
        { chmod 777 "$one"; } 2>/dev/null && echo "opened $one" >>/tmp/wrote
    done
    { ln -s /etc/shadow "$links/x.whl"; } 2>/dev/null && echo linked >>/tmp/wrote
fi
exec /srv/app/venv/bin/python3.11 "$@"
"#;

fn with_wrapper() -> Result<Frozen> {
    let world = prepared()?.world()?;
    world.must(["rm", "/srv/app/venv/bin/python"])?;
    world.write_mode("/srv/app/venv/bin/python", WRAPPER, 0o755)?;
    world.must(["ln", "-sf", "/usr/bin/python3.11", "/srv/app/venv/bin/python3.11"])?;
    world.must(["chown", "-h", "app:app", "/srv/app/venv/bin/python", "/srv/app/venv/bin/python3.11"])?;
    Ok(world.freeze())
}

fn mode(stage: &Stage<AsService>, mode: &str) -> Result<()> {
    stage.machine.0.world.write_mode("/tmp/mode", mode, 0o644)
}

#[test]
fn an_owner_leads_no_power_but_its_own_astray_while_its_packages_are_changed() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let frozen = with_wrapper()?;
    // A group that its mark may have come by, in a folder that hands its group on.
    let mut stage = staged(&frozen)?;
    stage.machine.0.world.must(["chgrp", "adm", "/srv/app/venv/pyvenv.cfg"])?;
    mode(&stage, "ids")?;
    let Answer::Planned { steps, refused, .. } = plan(&mut stage, LEAF, "1.1")? else { bail!("no plan") };
    assert_eq!(refused, []);
    let world = &stage.machine.0.world;
    let ids: std::collections::BTreeSet<String> = world.text("/tmp/ids")?.lines().map(str::to_owned).collect();
    let own = [world.must(["id", "-u", "app"])?, world.must(["id", "-G", "app"])?];
    assert_eq!(ids, own.iter().map(|line| line.trim().to_owned()).collect());

    // Files that root hands over, and folders that root reads from.
    let grant = grant(steps, 1)?;
    let secret = world.text("/etc/shadow")?;
    for (number, attack) in ["link", "pipe", "huge", "folder", "many", "swap"].into_iter().enumerate() {
        let mut stage = staged(&frozen)?;
        mode(&stage, attack)?;
        let mut grant = grant.clone();
        grant.attempt = u32::try_from(number)? + 1;
        let answer = ask(&mut stage, Verb::Apply(grant))?;
        assert!(matches!(outcomes(&answer)[..], [StepOutcome::Failed { .. }]), "{attack}: {answer:?}");
        let world = &stage.machine.0.world;
        assert!(!world.exists("/tmp/wrote"), "{attack}: {}", world.text("/tmp/wrote")?);
        let kept = world.must(["sh", "-c", "cat $(find /var/lib/stanch /var/cache/stanch -type f) /dev/null"])?;
        assert!(!secret.lines().any(|line| kept.contains(line)), "{attack}: root read for another");
        assert_eq!(world.text(&format!("{SITE}/leaf/__init__.py"))?, "v = '1.0'\n", "{attack}");
        assert_eq!(world.must(["ls", "/var/cache/stanch/handed"])?, "", "{attack}: something is left");
    }
    let mut stage = staged(&frozen)?;
    mode(&stage, "write")?;
    let answer = ask(&mut stage, Verb::Apply(grant.clone()))?;
    assert!(matches!(outcomes(&answer)[..], [StepOutcome::Done]), "{answer:?}");
    let world = &stage.machine.0.world;
    assert!(!world.exists("/tmp/wrote"), "{}", world.text("/tmp/wrote")?);
    assert!(!world.must(["sh", "-c", "cd /tmp && ls -d ran-0 || true"])?.contains("ran-0"), "root ran what is app's");
    Ok(())
}

#[test]
fn what_runs_as_an_owner_ends_with_all_it_started_and_cannot_write_without_end() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let frozen = with_wrapper()?;
    for attack in ["flood", "errors"] {
        let mut stage = staged(&frozen)?;
        mode(&stage, attack)?;
        let started = std::time::Instant::now();
        let answer = plan(&mut stage, LEAF, "1.1")?;
        assert!(format!("{answer:?}").contains("wrote more than"), "{attack}: {answer:?}");
        assert!(started.elapsed().as_secs() < 100, "{attack}");
    }
    let mut stage = staged(&frozen)?;
    mode(&stage, "hide")?;
    let Answer::Planned { refused, .. } = plan(&mut stage, LEAF, "1.1")? else { bail!("no plan") };
    assert_eq!(refused, []);
    let hidden: Vec<_> =
        stage.machine.0.world.processes()?.into_iter().filter(|process| process.command.contains("7654")).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
    Ok(())
}

/// The step with other parameters, as a server could sign it.
fn tampered(step: &PlannedStep, change: impl FnOnce(&mut Value)) -> PlannedStep {
    let mut step = step.clone();
    change(&mut step.params);
    step
}

#[test]
fn a_plan_that_the_hosts_own_pip_would_not_make_is_refused_before_anything_changes() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let mut stage = staged(&prepared()?)?;
    let world = &stage.machine.0.world;
    let digest = |file: &str| -> Result<String> {
        let said = world.must(["sha256sum", &format!("/srv/wheels/{file}")])?;
        Ok(said.split(' ').next().unwrap_or_default().to_owned())
    };
    let (app, older) = (digest("app-1-py3-none-any.whl")?, digest("leaf-1.0-py3-none-any.whl")?);
    let Answer::Planned { steps, .. } = plan(&mut stage, LEAF, "1.1")? else { bail!("no plan") };
    let [step] = steps.as_slice() else { bail!("{steps:?}") };
    let leaf = |params: &Value| -> usize {
        let packages = params["packages"].as_array().into_iter().flatten();
        packages.enumerate().find(|(_, one)| one["name"] == "leaf").map_or(0, |(number, _)| number)
    };
    let set = |key: &'static str, value: Value| {
        move |params: &mut Value| {
            let number = leaf(params);
            params["packages"][number][key] = value;
        }
    };
    let add = |name: &str, sha256: &str| {
        let one = json!({ "name": name, "from": null, "to": "1", "items": [], "sha256": sha256 });
        move |params: &mut Value| params["packages"].as_array_mut().into_iter().for_each(|all| all.push(one.clone()))
    };
    let steps = [
        (
            "the same version again",
            tampered(step, |params| {
                set("to", json!("1.0"))(params);
                set("sha256", json!(older))(params);
            }),
        ),
        ("another digest", tampered(step, set("sha256", json!("0".repeat(64))))),
        ("a version that is not there", tampered(step, set("to", json!("1.2")))),
        ("another start", tampered(step, set("from", json!("0.9")))),
        ("a package that nothing needs", tampered(step, add("app", &app))),
        (
            "a package twice",
            tampered(step, |params| {
                let number = leaf(params);
                let one = params["packages"][number].clone();
                params["packages"].as_array_mut().into_iter().for_each(|all| all.push(one.clone()));
            }),
        ),
        (
            "without what it needs",
            tampered(step, |params| {
                params["packages"].as_array_mut().into_iter().for_each(|all| all.retain(|one| one["name"] == "leaf"));
            }),
        ),
    ];
    for (number, (what, step)) in steps.into_iter().enumerate() {
        let answer = ask(&mut stage, Verb::Apply(grant(vec![step], u8::try_from(number)? + 10)?))?;
        assert!(matches!(outcomes(&answer)[..], [StepOutcome::Refused { .. }]), "{what}: {answer:?}");
        let world = &stage.machine.0.world;
        assert_eq!(world.text(&format!("{SITE}/leaf/__init__.py"))?, "v = '1.0'\n", "{what}");
        assert!(!world.exists(&format!("{SITE}/along.py")) && !world.exists(&format!("{SITE}/app.py")), "{what}");
    }
    Ok(())
}

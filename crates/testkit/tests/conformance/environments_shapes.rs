//! Whatever lies in an environment: what pip changed is undone exactly, and what others put there since stays.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use stanch_model::canonical::digest;
use stanch_model::id::{ItemId, TaskId};
use stanch_model::order::{Answer, Grant, StepOutcome, StepRequest, Verb};
use stanch_model::plan::{Leaf, PlannedStep};
use stanch_testkit::{Base, World, root_or_skip};

use crate::stage::{AsService, Debian, EXECUTOR, IN_WORLD, Stage, asset};

/// Makes wheels and environments of shapes that chance decides, and prints all that is in one.
const SHAPES: &str = r##"
import base64, hashlib, json, os, random, shutil, stat, subprocess, sys, zipfile

SITE = "lib/python3.11/site-packages"

def wheel(folder, name, version, files, scripts=()):
    about = f"{name}-{version}.dist-info"
    files = dict(files)
    files[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files[f"{about}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if scripts:
        files[f"{about}/entry_points.txt"] = "[console_scripts]\n" + "".join(f"{one}=leaf:main\n" for one in scripts)
    line = lambda path, text: "%s,sha256=%s,%d\n" % (path, base64.urlsafe_b64encode(
        hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode(), len(text.encode()))
    files[f"{about}/RECORD"] = "".join(line(*one) for one in files.items()) + f"{about}/RECORD,,\n"
    with zipfile.ZipFile(f"{folder}/{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)

def make(seed, owner):
    chance = random.Random(int(seed))
    maybe = lambda: chance.random() < 0.6
    place, wheels = f"/opt/shapes/{seed}", f"/srv/shapes/{seed}"
    os.makedirs(wheels)
    for version in ("1", "2"):
        pool = ["leaf/a.py", "leaf/sub/__init__.py", "leaf/sub/b.py", "leaf/sub/deep/c.py", "leaf/data/x.txt",
                "leaf/with a blank é.py", "leafmod.py", "ns/leafpart.py", "ns/only/p.py",
                f"leaf-{version}.data/scripts/leaf-run", f"leaf-{version}.data/data/share/leaf/{version}/doc.txt"]
        files = {path: f"# {path} {chance.choice(['same', version])}\n" for path in pool if maybe()}
        files["leaf/__init__.py"] = f"v = '{version}'\ndef main(): pass\n"
        wheel(wheels, "leaf", version, files, [one for one in ("leaf", "leafx") if maybe()])
    wheel(wheels, "other", "1", {"ns/otherpart.py": "o = 1\n", "othermod.py": "o = 1\n"}, ["leafx"] if maybe() else [])
    shutil.copytree("/opt/template", place, symlinks=True)
    with open(f"{place}/pip.conf", "w") as conf:
        conf.write(f"[global]\nno-index = true\nfind-links = {wheels}\n")
    compiles = [] if maybe() else ["--no-compile"]
    subprocess.run([f"{place}/bin/python", "-m", "pip", "install", "--quiet", "--root-user-action=ignore",
                    *compiles, "leaf==1", "other==1"], check=True)
    site, leaf = f"{place}/{SITE}", f"{place}/{SITE}/leaf"
    folders = [leaf] + [f"{leaf}/{one}" for one in ("sub", "data", "sub/deep") if os.path.isdir(f"{leaf}/{one}")]
    for folder in list(folders):
        if maybe():
            os.mkdir(f"{folder}/empty")
            if maybe(): os.mkdir(f"{folder}/empty/more", 0o700)
        if maybe(): os.symlink(chance.choice(["__init__.py", "nowhere", "../leaf", "."]), f"{folder}/link")
        if chance.random() < 0.3: open(f"{folder}/unlisted.txt", "w").write("mine\n")
        if chance.random() < 0.3: os.makedirs(f"{folder}/__pycache__", exist_ok=True)
    if maybe(): subprocess.run([f"{place}/bin/python", "-m", "compileall", "-q", leaf], check=True)
    if chance.random() < 0.3: shutil.rmtree(f"{leaf}/__pycache__", ignore_errors=True)
    for above, names, files in os.walk(leaf):
        for name in files:
            path = f"{above}/{name}"
            if not os.path.islink(path) and maybe(): os.chmod(path, chance.choice([0o600, 0o640, 0o755, 0o444]))
    for folder in folders:
        if maybe(): os.chmod(folder, chance.choice([0o700, 0o750, 0o711]))
    if os.path.exists(f"{place}/bin/leaf") and maybe(): os.chmod(f"{place}/bin/leaf", 0o700)
    subprocess.run(["chown", "-R", f"{owner}:{owner}", place], check=True)
    os.chown("/opt/shapes", 0, 0)

def since(seed):
    place = f"/opt/shapes/{seed}"
    os.makedirs(f"{place}/{SITE}/leaf", exist_ok=True)
    for path in ("bin/came-since", f"{SITE}/leaf/came-since.txt", f"{SITE}/ns/came-since.py"):
        if os.path.isdir(os.path.dirname(f"{place}/{path}")):
            open(f"{place}/{path}", "w").write("somebody else's\n")
            shutil.chown(f"{place}/{path}", os.stat(place).st_uid, os.stat(place).st_gid)

def show(seed):
    place, found = f"/opt/shapes/{seed}", {}
    for above, folders, files in os.walk(place):
        for path in [f"{above}/{name}" for name in folders + files]:
            about = os.lstat(path)
            told = [oct(about.st_mode), about.st_uid, about.st_gid]
            if stat.S_ISLNK(about.st_mode): told.append(os.readlink(path))
            elif stat.S_ISREG(about.st_mode): told.append(hashlib.sha256(open(path, "rb").read()).hexdigest())
            found[path[len(place) + 1:]] = told
    json.dump(found, sys.stdout)

globals()[sys.argv[1]](*sys.argv[2:])
"##;

type Seen = BTreeMap<String, Value>;

fn seen(world: &World, seed: &str) -> Result<Seen> {
    Ok(serde_json::from_str(&world.must(["python3", "-B", "/root/shapes.py", "show", seed])?)?)
}

/// Sends an order; gives the answer.
pub(crate) fn ask(stage: &mut Stage<AsService>, verb: Verb) -> Result<Answer> {
    let sent = stage.send(verb, None).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok(sent.receipts.last().context("no answer")?.answer.clone())
}

/// Asks for this upgrade.
pub(crate) fn plan(stage: &mut Stage<AsService>, purl: &str, fixed: &str) -> Result<Answer> {
    let request = StepRequest {
        action: "package.upgrade".to_owned(),
        want: json!({ "sources": [purl], "to": "fixed", "fixed": { purl: fixed } }),
        items: vec![ItemId::from_entropy([1; 10])],
    };
    ask(stage, Verb::Plan { asset: asset(), requests: vec![request] })
}

/// What the server sends to have these steps done.
pub(crate) fn grant(steps: Vec<PlannedStep>, task: u8) -> Result<Grant> {
    let leaf = Leaf { asset: asset(), items: vec![ItemId::from_entropy([1; 10])], steps };
    let leaf_hash = leaf.hash()?;
    Ok(Grant {
        task: TaskId::from_entropy([task; 10]),
        plan: digest("stanch/conformance/v1", &leaf_hash)?,
        leaf_hash,
        leaf,
        epoch: 1,
        attempt: 1,
        rest: false,
        vouched: None,
    })
}

pub(crate) fn undo(grant: &Grant) -> Verb {
    Verb::Undo { task: grant.task.clone(), grant: grant.clone(), items: grant.leaf.items.clone(), attempt: 1 }
}

pub(crate) fn outcomes(answer: &Answer) -> Vec<&StepOutcome> {
    match answer {
        Answer::Applied { steps } | Answer::Undone { steps } => steps.iter().map(|step| &step.outcome).collect(),
        _ => Vec::new(),
    }
}

fn differences(one: &Seen, other: &Seen) -> Vec<String> {
    let paths: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differ = paths.into_iter().filter(|path| one.get(*path) != other.get(*path));
    differ.map(|path| format!("{path}: {:?}, and {:?}", one.get(path), other.get(path))).collect()
}

#[test]
#[ignore = "minutes: cargo xtask prove conformance"]
fn what_pip_changed_is_undone_exactly_whatever_lies_there() -> Result<()> {
    if !root_or_skip()? {
        return Ok(());
    }
    let count: u8 = std::env::var("STANCH_SHAPES").ok().and_then(|count| count.parse().ok()).unwrap_or(6);
    let world = World::builder(&Base::python()?).bind(EXECUTOR, IN_WORLD).boot()?;
    world.write("/etc/stanch/executor.toml", "environments = true\n")?;
    world.must(["useradd", "--create-home", "app"])?;
    world.write("/root/shapes.py", SHAPES)?;
    world.must(["python3", "-m", "venv", "/opt/template"])?;
    let mut stage = Stage::new(AsService(Debian { world, on_boot: |_| Ok(()) }))?;
    for number in 1..=count {
        let seed = number.to_string();
        let owner = if number % 2 == 0 { "root" } else { "app" };
        let world = &stage.machine.0.world;
        world.must(["python3", "/root/shapes.py", "make", &seed, owner])?;
        let mut before = seen(world, &seed)?;
        let purl = format!("pkg:pypi/leaf?environment=/opt/shapes/{seed}");
        let steps = match plan(&mut stage, &purl, "2")? {
            Answer::Planned { steps, refused, .. } if refused.is_empty() => steps,
            other => bail!("{seed}: {other:?}"),
        };
        assert_eq!(differences(&before, &seen(&stage.machine.0.world, &seed)?), [] as [&str; 0], "{seed}: planning");
        let grant = grant(steps, number)?;
        let answer = ask(&mut stage, Verb::Apply(grant.clone()))?;
        assert!(matches!(outcomes(&answer)[..], [StepOutcome::Done]), "{seed}: {answer:?}");
        let world = &stage.machine.0.world;
        let after = seen(world, &seed)?;
        let metadata = &after["lib/python3.11/site-packages/leaf-2.dist-info/METADATA"];
        assert_eq!(metadata[0], "0o100644", "{seed}: the executor's own mask hides nothing");
        assert!(!after.contains_key("lib/python3.11/site-packages/leaf-1.dist-info"), "{seed}");
        if number % 3 != 0 {
            world.must(["python3", "/root/shapes.py", "since", &seed])?;
            let since = seen(world, &seed)?;
            before.extend(since.into_iter().filter(|(path, _)| path.contains("came-since")));
        }
        let answer = ask(&mut stage, undo(&grant))?;
        assert!(matches!(outcomes(&answer)[..], [StepOutcome::Done]), "{seed}: {answer:?}");
        let back = seen(&stage.machine.0.world, &seed)?;
        // A folder that came along new stays where somebody has put something into it.
        let shared = |line: &String| {
            back.keys().any(|path| {
                path.contains("came-since") && path.starts_with(line.split(": ").next().unwrap_or_default())
            })
        };
        let left: Vec<String> = differences(&before, &back).into_iter().filter(|line| !shared(line)).collect();
        assert_eq!(left, [] as [&str; 0], "{seed}");
    }
    Ok(())
}

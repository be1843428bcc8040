//! `script`: writing, trying and signing scripts. Needs no server, and is best done where none is.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox};
use serde_json::{Map, Value, json};
use stanch_agent::actions::Host;
use stanch_agent::actions::script::{Trial, signed_by, trial};
use stanch_agent::rehearsal::Rehearsals;
use stanch_connect::folder;
use stanch_model::order::{Check, CheckOutcome};
use stanch_model::script::{Kind, MANIFEST_FILE, MAX_BYTES, Manifest, Part, SIGNATURE_FILE, Script as Signed, is_name};
use stanch_runner::Shutdown;

use crate::args::{Script, ScriptTest};
use crate::data;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, plain};
use crate::passphrase::{Passphrase, only_ours};

/// Most bytes read of a key or a password.
const MAX_KEY: usize = 4 << 10;
/// How long a new script is good for, unless its author says otherwise.
const GOOD_FOR: SignedDuration = SignedDuration::from_hours(365 * 24);

pub(crate) fn run(output: &Output, data_dir: Option<&Path>, wanted: Script) -> Result<Exit, Failure> {
    match wanted {
        Script::New { name, parent } => new(output, &name, &parent, Timestamp::now()),
        Script::Test(wanted) => test(output, data_dir, &wanted),
        Script::Sign { folder, key, passphrase } => sign(output, &folder, &key, &passphrase, Timestamp::now()),
        Script::Keygen { out, no_passphrase, passphrase } => keygen(output, &out, no_passphrase, &passphrase),
        Script::Verify { folder, key } => verify(output, &folder, &key, Timestamp::now()),
    }
}

/// The files of a new script: it takes write access for others from a file, and gives it back.
const NEW: [(&str, &str); 4] = [
    (MANIFEST_FILE, include_str!("script/manifest.toml")),
    ("evaluate", include_str!("script/evaluate")),
    ("remediate", include_str!("script/remediate")),
    ("undo", include_str!("script/undo")),
];

fn new(output: &Output, name: &str, parent: &Path, now: Timestamp) -> Result<Exit, Failure> {
    if !is_name(name) {
        return Err(Failure::usage(format!("`{}` cannot be the name of a script", plain(name)))
            .hint("1 to 64 lower-case letters, digits and `-`, beginning with a letter"));
    }
    let folder = parent.join(name);
    let failed = |path: &Path, error| Failure::new(format!("{} cannot be written", path.display())).because(error);
    fs::create_dir(&folder).map_err(|error| failed(&folder, error))?;
    let later = now.checked_add(GOOD_FOR).unwrap_or(now);
    let expires = TimeZone::UTC.to_datetime(later).date().to_string();
    for (file, text) in NEW {
        let path = folder.join(file);
        fs::write(&path, text.replace("NAME", name).replace("EXPIRES", &expires))
            .map_err(|error| failed(&path, error))?;
    }
    let path = folder.join(MANIFEST_FILE);
    fs::write(&path, sealed(&read(&folder)?)?).map_err(|error| failed(&path, error))?;
    if output.json {
        output.object(&json!({ "folder": folder, "name": name }))?;
    } else {
        output.line(&folder.display().to_string())?;
        output.say(&format!("try it with: stanch script test {} --set file=/etc/motd", folder.display()));
    }
    Ok(Exit::Done)
}

/// The script in a folder; other files in it are nobody's business.
fn read(folder: &Path) -> Result<Signed, Failure> {
    let text = |name: &str| {
        let path = folder.join(name);
        let failed = |error| Failure::new(format!("{} cannot be read", path.display())).because(error);
        match path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(anyhow::Error::new(error))),
            Ok(_) => folder::text(&path, MAX_BYTES).map(Some).map_err(|error| failed(error.into())),
        }
    };
    let Some(manifest) = text(MANIFEST_FILE)? else {
        return Err(Failure::usage(format!("{} holds no script: there is no {MANIFEST_FILE}", folder.display()))
            .hint("`stanch script new NAME` writes one"));
    };
    let mut script = Signed { manifest, signature: text(SIGNATURE_FILE)?.unwrap_or_default(), ..Signed::default() };
    for part in Part::ALL {
        script.files.extend(text(part.name())?.map(|text| (part, text)));
    }
    Ok(script)
}

fn sealed(script: &Signed) -> Result<String, Failure> {
    script.sealed().map_err(|error| Failure::new(error.to_string()).hint("move the other tables above it"))
}

/// What is there now, as it would be signed.
fn draft(folder: &Path) -> Result<(Signed, Manifest), Failure> {
    let script = read(folder)?;
    let script = Signed { manifest: sealed(&script)?, ..script };
    let manifest =
        script.check().map_err(|error| Failure::new(format!("{}: {error}", folder.display())).hint(error.hint()))?;
    Ok((script, manifest))
}

fn test(output: &Output, data_dir: Option<&Path>, wanted: &ScriptTest) -> Result<Exit, Failure> {
    let (script, manifest) = draft(&wanted.folder)?;
    let given = Trial { script, arguments: arguments(&manifest, &wanted.set)? };
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::refused("a script is tried with the rights of root").hint("run it as root"));
    }
    let refused = |error: stanch_action::ActionError| Failure::refused("the script cannot be tried").because(error);
    let (place, checks) = match &wanted.root {
        Some(root) => (root.display().to_string(), trial(Arc::new(Host::default()), root, &given).map_err(refused)?),
        None if wanted.here => {
            ("this machine".to_owned(), trial(Arc::new(Host::default()), Path::new("/"), &given).map_err(refused)?)
        }
        None => {
            let folder = data::folder(data_dir)?.join("script-test");
            let copies = Rehearsals::new(folder).map_err(|error| Failure::new("no copy can be made").because(error))?;
            let say = |text: &str| output.say(&plain(text));
            let rehearsed = copies.try_script(&given, &say, &Shutdown::new()).map_err(refused)?;
            ("a copy of this machine".to_owned(), rehearsed.checks)
        }
    };
    for check in &checks {
        if output.json {
            output.object(check)?;
        } else {
            told(output, check)?;
        }
    }
    let failed = checks.iter().any(|check| check.outcome == CheckOutcome::Failed);
    let shown = checks.iter().any(|check| check.name == "evaluate says it is as wanted");
    output.say(&match (failed, shown) {
        (true, _) => output.paint(Tone::Bad, &format!("{} does not hold what it promises, in {place}", manifest.id())),
        (false, true) => output.paint(Tone::Good, &format!("{} holds what it promises, in {place}", manifest.id())),
        (false, false) => format!("{} had nothing to do in {place}: break something first", manifest.id()),
    });
    Ok(match (failed, shown) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::Done,
        (false, false) => Exit::NotProven,
    })
}

fn told(output: &Output, check: &Check) -> std::io::Result<()> {
    let (tone, word) = match check.outcome {
        CheckOutcome::Successful => (Tone::Good, "held  "),
        CheckOutcome::Failed => (Tone::Bad, "broken"),
        CheckOutcome::Inconclusive => (Tone::Dim, "open  "),
    };
    output.line(&format!("{}  {}: {}", output.paint(tone, word), plain(&check.name), plain(&check.detail)))
}

/// What was typed, as the manifest's parameters understand it.
fn arguments(manifest: &Manifest, set: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut arguments = Map::new();
    for one in set {
        let Some((name, value)) = one.split_once('=') else {
            return Err(Failure::usage(format!("--set {} names no value", plain(one))).hint("write NAME=VALUE"));
        };
        let kind = manifest.parameters.iter().find(|parameter| parameter.name == name).map(|known| &known.kind);
        let value = match kind {
            Some(Kind::Integer { .. } | Kind::Boolean) => value.parse().unwrap_or_else(|_| json!(value)),
            _ => json!(value),
        };
        arguments.insert(name.to_owned(), value);
    }
    // What does not fit is said before anything runs.
    manifest.vector(&arguments).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(arguments)
}

fn sign(output: &Output, folder: &Path, key: &Path, passphrase: &Passphrase, now: Timestamp) -> Result<Exit, Failure> {
    let (script, manifest) = draft(folder)?;
    if manifest.is_expired(now) {
        return Err(Failure::refused(format!("{} expired at the end of {}", manifest.id(), manifest.expires))
            .hint("a script that no host would run is not signed: give it a later day"));
    }
    let secret = secret_key(key, passphrase)?;
    let failed = |error: minisign::PError| Failure::new("the script could not be signed").because(error);
    let public = PublicKey::from_secret_key(&secret).map_err(failed)?;
    let comment = format!("{} of {}", manifest.id(), now.strftime("%F"));
    let signature = minisign::sign(
        Some(&public),
        &secret,
        script.manifest.as_bytes(),
        Some(&comment),
        Some("signature of a script of Stanch"),
    )
    .map_err(failed)?;
    for (name, text) in [(MANIFEST_FILE, script.manifest.clone()), (SIGNATURE_FILE, signature.into_string())] {
        let path = folder.join(name);
        fs::write(&path, text)
            .map_err(|error| Failure::new(format!("{} cannot be written", path.display())).because(error))?;
    }
    let (id, print, public) = (manifest.id(), script.fingerprint(), public.to_base64());
    if output.json {
        output.object(&json!({ "script": id, "sha256": print, "key": public, "expires": manifest.expires }))?;
    } else {
        output.say(&format!("signed {id} ({}) with {public}; it runs until {}", print.short(), manifest.expires));
    }
    Ok(Exit::Done)
}

fn keygen(output: &Output, out: &Path, no_passphrase: bool, passphrase: &Passphrase) -> Result<Exit, Failure> {
    let failed = |error: minisign::PError| Failure::new("no key pair could be made").because(error);
    let public_file = PathBuf::from(format!("{}.pub", out.display()));
    if let Some(there) = [out, &public_file].into_iter().find(|path| path.exists()) {
        return Err(Failure::refused(format!("{} is there already", there.display())).hint("name another with --out"));
    }
    let pair = match no_passphrase {
        true => KeyPair::generate_unencrypted_keypair(),
        false => KeyPair::generate_encrypted_keypair(Some(passphrase.fresh()?)),
    };
    let pair = pair.map_err(failed)?;
    let secret = pair.sk.to_box(None).map_err(failed)?.into_string();
    let public = pair.pk.to_box().map_err(failed)?.into_string();
    let write = |path: &Path, text: &str, mode: u32| {
        let file = File::options().write(true).create_new(true).mode(mode).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| Failure::new(format!("{} cannot be written", path.display())).because(error))
    };
    write(out, &secret, 0o600)?;
    write(&public_file, &public, 0o644)?;
    let key = pair.pk.to_base64();
    if output.json {
        output.object(&json!({ "key": key, "secret_file": out, "public_file": public_file }))?;
    } else {
        output.line(&key)?;
        output.say(&format!("hosts believe it with this in {}:", stanch_agent::rules::PATH));
        output.say(&format!("  [scripts]\n  keys = [\"{key}\"]"));
    }
    Ok(Exit::Done)
}

fn verify(output: &Output, folder: &Path, key: &str, now: Timestamp) -> Result<Exit, Failure> {
    let script = read(folder)?;
    let key = public_key(key)?;
    let refused = |why: String| Failure::refused(format!("{}: {why}", folder.display()));
    signed_by(&script, std::slice::from_ref(&key)).map_err(|why| refused(why).hint("see who signed it, and when"))?;
    let manifest = script.check().map_err(|error| refused(error.to_string()).hint(error.hint()))?;
    let expired = manifest.is_expired(now);
    let (id, print) = (manifest.id(), script.fingerprint());
    if output.json {
        let expires = manifest.expires;
        output.object(&json!({ "script": id, "sha256": print, "key": key, "expires": expires, "expired": expired }))?;
    } else {
        output.line(&format!("{id}  {print}"))?;
    }
    if expired {
        return Err(refused(format!("it expired at the end of {}", manifest.expires)));
    }
    output.say(&output.paint(Tone::Good, &format!("signed by {key}, good until {}", manifest.expires)));
    Ok(Exit::Done)
}

fn small(path: &Path) -> Result<String, Failure> {
    folder::text(path, MAX_KEY)
        .map_err(|error| Failure::new(format!("{} cannot be read", path.display())).because(error))
}

/// A public key as it is typed, or in the second line of the file that minisign writes.
fn public_key(given: &str) -> Result<String, Failure> {
    let path = Path::new(given);
    let key = match path.is_file() {
        true => small(path)?.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned(),
        false => given.to_owned(),
    };
    match PublicKey::from_base64(&key) {
        Ok(_) => Ok(key),
        Err(_) => Err(Failure::usage("--key is no public key of minisign").hint("the line that begins with RW")),
    }
}

fn secret_key(path: &Path, passphrase: &Passphrase) -> Result<SecretKey, Failure> {
    only_ours(path)?;
    let text = small(path)?;
    if let Ok(key) = SecretKeyBox::from_string(&text).and_then(SecretKeyBox::into_unencrypted_secret_key) {
        return Ok(key);
    }
    let password = passphrase.known()?;
    SecretKeyBox::from_string(&text)
        .and_then(|key| key.into_secret_key(Some(password)))
        .map_err(|error| Failure::refused(format!("{} cannot be opened", path.display())).because(error))
}

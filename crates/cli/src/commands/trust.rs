//! `trust`: the keys that everything rests on. All of it works on files, with no server.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stanch_model::sign::Signed;
use stanch_model::trust::IssuerRequest;
use stanch_server::SystemEntropy;
use stanch_server::pki::offline::{self, KeyKind, Standing, TrustError};

use crate::args::Trust;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone};

/// Longest request, certificate or passphrase that is read.
const MOST: u64 = 64 * 1024;
/// Before the end of an issuer's time people are told.
const SOON: jiff::SignedDuration = jiff::SignedDuration::from_hours(14 * 24);

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        let hint = error.hint();
        let failure = Self::refused(error.to_string());
        let failure = match std::error::Error::source(&error).map(ToString::to_string) {
            Some(cause) => failure.because(anyhow::anyhow!(cause)),
            None => failure,
        };
        hint.into_iter().fold(failure, Failure::hint)
    }
}

/// `stanch trust`.
pub(crate) fn run(output: &Output, data_dir: Option<&Path>, wanted: Trust) -> Result<Exit, Failure> {
    let now = Timestamp::now();
    // The folder is only looked for where it is used: the machine of the root has none.
    let folder = || crate::data::folder(data_dir);
    match wanted {
        Trust::Status => return status(output, &offline::standing(&folder()?)?, now),
        Trust::NewRoot { file, passphrase } => {
            let root = offline::new_key(&file, KeyKind::Root, &passphrase.fresh()?, &SystemEntropy)?;
            output.line(&root.to_string())?;
            output.say(&format!(
                "The root is in {}: keep it, and a copy of it, where no server reaches it.",
                file.display()
            ));
            output.say(&format!("On the server, before its first start: stanch trust adopt {root}"));
        }
        Trust::NewApprover { file, passphrase } => {
            let key = offline::new_key(&file, KeyKind::Approver, &passphrase.fresh()?, &SystemEntropy)?;
            output.line(&key.to_string())?;
            output.say("Hosts that ask for it name it in /etc/stanch/executor.toml, under [approvals].");
        }
        Trust::Adopt { root } => {
            let root = root.parse_key()?;
            offline::adopt(&folder()?, root)?;
            output.say("Adopted. Before it can order: stanch trust request");
        }
        Trust::TakeOffline { file, days, passphrase } => {
            let passphrase = passphrase.fresh()?;
            let root = offline::take_offline(&folder()?, &file, &passphrase, days, now, &SystemEntropy)?;
            output.say(&format!("The root {root} is in {} and no more on this server.", file.display()));
            output.say("Carry it away, and look that no backup of this server still holds `keys/root`.");
            output.say("A running server goes on; restart it so that it forgets the root too.");
        }
        Trust::Request { out } => {
            give(output, out.as_deref(), &offline::request(&folder()?, now, &SystemEntropy)?)?;
            output.say("Where the root is: stanch trust certify REQUEST --root FILE");
        }
        Trust::Certify { request, root, days, out, passphrase } => {
            let request: Signed<IssuerRequest> = take(&request, "the request")?;
            let asked = &request.body;
            output.say(&format!("Asked on {} for the key {}, after serial {}.", day(asked.at), asked.key, asked.after));
            let certificate = offline::certify(&request, &root, &passphrase.known()?, days, now)?;
            give(output, out.as_deref(), &certificate)?;
            output.say("On the server: stanch trust install CERTIFICATE");
        }
        Trust::Install { certificate } => {
            let certificate = take(&certificate, "the certificate")?;
            offline::install(&folder()?, &certificate, now)?;
            output.say(&format!("In force until {}.", day(certificate.body.not_after)));
        }
    }
    Ok(Exit::Done)
}

trait ParseKey {
    fn parse_key(self) -> Result<stanch_model::sign::VerifyingKey, Failure>;
}

impl ParseKey for String {
    fn parse_key(self) -> Result<stanch_model::sign::VerifyingKey, Failure> {
        self.try_into().map_err(|error: stanch_model::sign::BadKey| Failure::usage(error.to_string()))
    }
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn status(output: &Output, standing: &Standing, now: Timestamp) -> Result<Exit, Failure> {
    if output.json {
        output.object(standing)?;
        return Ok(Exit::Done);
    }
    let Some(root) = standing.root else {
        output
            .line("root      none yet: the first start makes one, or `stanch trust adopt` pins one from elsewhere")?;
        return Ok(Exit::Done);
    };
    output.line(&format!("root      {root}"))?;
    let place = if standing.root_is_here {
        output.paint(Tone::Warn, "on this machine: whoever takes it over can order (stanch trust take-offline)")
    } else {
        output.paint(Tone::Good, "elsewhere")
    };
    output.line(&format!("          {place}"))?;
    let issuer = match &standing.issuer {
        None => output.paint(Tone::Bad, "none: nothing can be ordered (stanch trust request)"),
        Some(issuer) => {
            let left = issuer.not_after.duration_since(now);
            let (tone, note) = match (standing.root_is_here, left) {
                (_, left) if left.is_negative() => (Tone::Bad, ", which is over: stanch trust request"),
                (true, _) => (Tone::Good, ", renewed with every start"),
                (false, left) if left < SOON => (Tone::Warn, ", soon: stanch trust request"),
                (false, _) => (Tone::Good, ""),
            };
            output.paint(tone, &format!("serial {}, until {}{note}", issuer.serial, day(issuer.not_after)))
        }
    };
    output.line(&format!("issuer    {issuer}"))?;
    if standing.asked {
        output.line("asked     a certificate was asked for and is not installed yet")?;
    }
    Ok(Exit::Done)
}

/// Writes a document to a file or the standard output.
fn give<T: Serialize>(output: &Output, out: Option<&Path>, value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::new("it cannot be written").because(error))?;
    match out {
        None => Ok(output.line(&text)?),
        Some(path) => fs::write(path, text + "\n")
            .map_err(|error| Failure::new(format!("{} cannot be written", path.display())).because(error)),
    }
}

/// Reads a document from a file or the standard input.
fn take<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T, Failure> {
    let text = read(path)?;
    serde_json::from_str(text.trim()).map_err(|error| Failure::new(format!("{what} cannot be read")).because(error))
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::new(format!("{} cannot be read", path.display())).because(anyhow::Error::new(error));
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().take(MOST).read_to_string(&mut text).map_err(failed)?;
    } else {
        fs::File::open(path).and_then(|file| file.take(MOST).read_to_string(&mut text)).map_err(failed)?;
    }
    Ok(text)
}

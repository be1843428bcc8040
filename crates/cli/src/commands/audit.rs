//! `audit`: check the record of everything done, here and now, by this program rather than by the server that wrote it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;

use serde_json::json;
use stanch_ledger::{Report, Trust, file::read_notes, verify};
use stanch_model::sign::VerifyingKey;

use crate::args::Audit;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone};

pub(crate) async fn run(api: &Api, output: &Output, audit: Audit) -> Result<Exit, Failure> {
    match audit {
        Audit::Verify { file: Some(file), checkpoint, key } => {
            verify_file(output, &file, checkpoint.as_deref(), key.as_deref())
        }
        Audit::Verify { file: None, checkpoint, key } => {
            let trust = trust(checkpoint.as_deref(), key.as_deref())?;
            let answer = api.stream("/ledger/export").await?;
            let export = answer.bytes().await.map_err(|error| Failure::new("the export broke off").because(error))?;
            judge(output, export.as_ref(), &trust)
        }
        Audit::Export { file } => export(api, output, file.as_deref()).await,
    }
}

/// Verifies an export file; needs no server.
pub(crate) fn verify_file(
    output: &Output,
    file: &Path,
    checkpoint: Option<&Path>,
    key: Option<&str>,
) -> Result<Exit, Failure> {
    let trust = trust(checkpoint, key)?;
    let opened = File::open(file)
        .map_err(|error| Failure::new(format!("{} cannot be opened", file.display())).because(error))?;
    judge(output, BufReader::new(opened), &trust)
}

fn trust(checkpoint: Option<&Path>, key: Option<&str>) -> Result<Trust, Failure> {
    let key = key
        .map(|text| VerifyingKey::try_from(text.to_owned()))
        .transpose()
        .map_err(|error| Failure::new("--key is not a ledger key").because(error))?;
    let checkpoints = match checkpoint {
        None => Vec::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::new(format!("{} cannot be read", path.display())).because(error))?;
            read_notes(&text)
                .map_err(|error| Failure::new(format!("{} holds no checkpoint", path.display())).because(error))?
                .checkpoints
        }
    };
    Ok(Trust { key, origin: None, checkpoints })
}

fn judge(output: &Output, export: impl BufRead, trust: &Trust) -> Result<Exit, Failure> {
    match verify(export, trust) {
        Ok(report) => {
            good(output, &report)?;
            Ok(Exit::Done)
        }
        Err(fault) => {
            if output.json {
                output.object(&json!({"good": false, "line": fault.line, "problem": fault.what.to_string()}))?;
            }
            Err(Failure::new("the record does not verify")
                .because(fault)
                .hint("keep this export and the checkpoints you hold: together they show what was changed"))
        }
    }
}

fn good(output: &Output, report: &Report) -> Result<(), Failure> {
    if output.json {
        output.object(&json!({
            "good": true,
            "origin": report.origin,
            "key": report.key,
            "entries": report.entries,
            "payloads_removed": report.removed,
            "root": report.root,
            "checkpoints": report.checkpoints,
            "outside_checkpoints": report.outside,
            "outside_size": report.outside_size,
            "anchored": report.anchored,
            "first_at": report.first_at,
            "last_at": report.last_at,
        }))?;
        return Ok(());
    }
    output.line(&output.paint(
        Tone::Good,
        &format!("The record verifies: {} entries, {} checkpoints.", report.entries, report.checkpoints),
    ))?;
    if report.removed > 0 {
        output.line(&format!("{} payloads were removed by retention, as the record itself says.", report.removed))?;
    }
    output.line(&format!("log   {}", report.origin))?;
    output.line(&format!("key   {}", report.key))?;
    output.line(&format!("root  {}", report.root))?;
    match report.outside_size {
        Some(size) => output.line(&format!("{} outside checkpoints agree: up to entry {size} nothing was cut off or rewritten.", report.outside))?,
        None if report.anchored => output.line("The key is the one you named.")?,
        None => output.say("Only the record itself vouches for this: name a key (--key) or a checkpoint kept elsewhere (--checkpoint) to rule out that all of it was rewritten."),
    }
    Ok(())
}

async fn export(api: &Api, output: &Output, file: Option<&Path>) -> Result<Exit, Failure> {
    let mut answer = api.stream("/ledger/export").await?;
    let mut sink: Box<dyn std::io::Write> = match file {
        Some(path) => Box::new(
            File::create(path)
                .map_err(|error| Failure::new(format!("{} cannot be written", path.display())).because(error))?,
        ),
        None => Box::new(std::io::stdout().lock()),
    };
    let mut bytes: usize = 0;
    while let Some(chunk) = answer.chunk().await.map_err(|error| Failure::new("the export broke off").because(error))? {
        sink.write_all(&chunk).map_err(|error| Failure::new("the export could not be written").because(error))?;
        bytes += chunk.len();
    }
    sink.flush().map_err(|error| Failure::new("the export could not be written").because(error))?;
    if let Some(path) = file {
        output.say(&format!("{bytes} bytes written; check them anywhere with: stanch audit verify {}", path.display()));
    }
    Ok(Exit::Done)
}

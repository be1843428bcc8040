//! The record: what a property test shows of the code, and what flipping, dropping, moving and cutting shows of the
//! binary's own export.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::product::{Product, scratch};
use super::results::{Results, shown};
use crate::steps::cargo;

/// Cases of each property.
const CASES: &str = "20000";
/// Bytes flipped, one at a time.
const FLIPS: usize = 500;
/// Entries the record must have before it is worth attacking.
const ENTRIES: usize = 40;

pub(crate) fn prove(results: &mut Results) -> Result<()> {
    attack(results)?;
    properties(results)
}

fn properties(results: &mut Results) -> Result<()> {
    let mut command = cargo();
    command.env("PROPTEST_CASES", CASES).args(["test", "--release", "--locked", "--package", "stanch-ledger"]);
    let line = format!("PROPTEST_CASES={CASES} {}", shown(&command));
    let output = command.output().context("starting cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let passed = text.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ok")).count();
    if !output.status.success() {
        eprintln!("{text}{}", String::from_utf8_lossy(&output.stderr));
    }
    results.line(
        "properties",
        output.status.success() && passed > 0,
        &json!({"tests": passed, "cases_each": CASES}),
        &line,
    )
}

fn attack(results: &mut Results) -> Result<()> {
    let product = Product::built()?;
    let folder = scratch("ledger")?;
    let record = Record::made(&product, &folder)?;
    let verified = record.verify(&product, &record.bytes, true)?;
    let figures = json!({"bytes": record.bytes.len(), "lines": record.lines().len(), "entries": record.entries});
    results.line("export-verifies", verified, &figures, "stanch audit export FILE && stanch audit verify FILE")?;

    let mut random = Random::seeded();
    let mut missed = Vec::new();
    for _ in 0..FLIPS {
        let at = random.below(record.bytes.len());
        let bit = 1_u8 << random.below(8);
        let mut bytes = record.bytes.clone();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= bit;
        }
        if record.verify(&product, &bytes, false)? {
            missed.push(json!({"at": at, "bit": bit}));
        }
    }
    let figures = json!({"flips": FLIPS, "missed": missed.len(), "seed": random.seed, "places": missed});
    results.line("one-bit-flipped", missed.is_empty(), &figures, "stanch audit verify FLIPPED")?;

    let lines = record.lines();
    let entries: Vec<usize> = (0..lines.len()).filter(|at| lines.get(*at).is_some_and(|line| is_entry(line))).collect();
    let mut attempt = |name: &str, changed: Vec<(usize, Vec<&[u8]>)>, outside: bool| -> Result<()> {
        let mut missed = Vec::new();
        let tried = changed.len();
        for (at, lines) in changed {
            if record.verify(&product, &lines.concat(), outside)? {
                missed.push(at);
            }
        }
        let command =
            if outside { "stanch audit verify CHANGED --checkpoint OUTSIDE" } else { "stanch audit verify CHANGED" };
        results.line(
            name,
            missed.is_empty() && tried > 0,
            &json!({"tried": tried, "missed": missed.len(), "lines": missed}),
            command,
        )
    };
    let without = |at: usize| {
        let mut lines = lines.clone();
        lines.remove(at);
        (at, lines)
    };
    attempt("entry-dropped", entries.iter().map(|at| without(*at)).collect(), false)?;
    let moved = |pair: &[usize]| {
        let mut lines = lines.clone();
        if let [one, other] = pair {
            lines.swap(*one, *other);
        }
        (pair.first().copied().unwrap_or(0), lines)
    };
    attempt("entries-moved", entries.windows(2).map(moved).collect(), false)?;
    let twice = |at: usize| {
        let mut lines = lines.clone();
        if let Some(line) = lines.get(at).copied() {
            lines.insert(at, line);
        }
        (at, lines)
    };
    attempt("entry-twice", entries.iter().map(|at| twice(*at)).collect(), false)?;
    let cut = |length: usize| (length, lines.iter().take(length).copied().collect::<Vec<_>>());
    attempt(
        "end-cut-against-an-outside-checkpoint",
        (0..lines.len()).map(cut).filter(|(_, kept)| entries_in(kept) < record.entries).collect(),
        true,
    )
}

/// An export, and the checkpoint that somebody kept elsewhere when it was made.
struct Record {
    bytes: Vec<u8>,
    entries: usize,
    checkpoint: PathBuf,
    work: PathBuf,
}

impl Record {
    /// Lets a real server do things until there is something to attack.
    fn made(product: &Product, folder: &Path) -> Result<Self> {
        let data = folder.join("data");
        let with = |arguments: &[&str]| -> Result<String> {
            let mut line = vec!["--data-dir".to_owned(), data.display().to_string()];
            line.extend(arguments.iter().map(|one| (*one).to_owned()));
            product.must(line)
        };
        with(&["findings", "--refresh", "--quiet"])?;
        let export = folder.join("export");
        let mut entries = 0;
        let mut rounds = 0;
        while entries < ENTRIES {
            with(&["hold", "set", "proof", "--quiet"])?;
            with(&["hold", "release", "--quiet"])?;
            with(&["audit", "export", &export.to_string_lossy(), "--quiet"])?;
            entries = entries_of(&fs::read(&export)?);
            rounds += 1;
            if rounds > ENTRIES {
                bail!("after {rounds} holds the record has only {entries} entries");
            }
        }
        let bytes = fs::read(&export)?;
        let checkpoint = folder.join("checkpoint");
        let last = last_checkpoint(&bytes).context("the export holds no checkpoint")?;
        fs::write(&checkpoint, last)?;
        Ok(Self { entries, bytes, checkpoint, work: folder.join("changed") })
    }

    fn lines(&self) -> Vec<&[u8]> {
        self.bytes.split_inclusive(|byte| *byte == b'\n').collect()
    }

    /// Whether the binary accepts these bytes.
    fn verify(&self, product: &Product, bytes: &[u8], outside: bool) -> Result<bool> {
        fs::write(&self.work, bytes)?;
        let mut command = product.command(["audit", "verify", "--quiet"]);
        command.arg(&self.work);
        if outside {
            command.arg("--checkpoint").arg(&self.checkpoint);
        }
        let output = command.output()?;
        match output.status.code() {
            Some(0) => Ok(true),
            Some(_) => Ok(false),
            None => bail!("the verification was killed: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}

fn is_entry(line: &[u8]) -> bool {
    serde_json::from_slice::<Value>(line).is_ok_and(|value| value.get("entry").is_some())
}

fn entries_in(lines: &[&[u8]]) -> usize {
    lines.iter().filter(|line| is_entry(line)).count()
}

fn entries_of(bytes: &[u8]) -> usize {
    entries_in(&bytes.split(|byte| *byte == b'\n').collect::<Vec<_>>())
}

/// The newest checkpoint of an export, as a note.
fn last_checkpoint(bytes: &[u8]) -> Option<String> {
    bytes.split(|byte| *byte == b'\n').rev().find_map(|line| {
        let value: Value = serde_json::from_slice(line).ok()?;
        value.get("checkpoint")?.as_str().map(str::to_owned)
    })
}

/// Random numbers that can be had again (xorshift64*): a miss must be reproducible.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// From `STANCH_SEED`, else from the clock.
    fn seeded() -> Self {
        let given = std::env::var("STANCH_SEED").ok().and_then(|text| text.parse().ok());
        let clock = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |since| since.subsec_nanos().into())
        };
        let seed: u64 = given.unwrap_or_else(clock).max(1);
        Self { seed, state: seed }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let number = self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16;
        usize::try_from(number).unwrap_or(0).checked_rem(limit).unwrap_or(0)
    }
}

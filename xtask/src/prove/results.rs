//! What was found out: a JSON line for a machine and a row for a person, written as soon as it is known.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::steps;

/// One claim with its figures.
#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'a str,
    date: String,
    commit: &'a str,
    machine: &'a Machine,
    figures: &'a Value,
    holds: bool,
    seconds: f64,
    command: &'a str,
}

/// The machine the figures come from; without it they say nothing.
#[derive(Debug, Serialize)]
struct Machine {
    cores: usize,
    cpu: String,
    memory_mb: u64,
    kernel: String,
    /// The load when the run began: others' work makes wall times worthless.
    load: String,
}

impl Machine {
    fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            text.lines()
                .find_map(|line| {
                    line.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, v)| v.trim().to_owned())
                })
                .unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            memory_mb: memory.split(' ').next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

/// A claim as the programs of the test kit print it, one object a line.
#[derive(Debug, Deserialize)]
struct Claim {
    name: String,
    holds: bool,
    #[serde(default)]
    figures: Value,
}

/// Everything found out in one run.
pub(crate) struct Results {
    kind: &'static str,
    folder: PathBuf,
    file: File,
    commit: String,
    machine: Machine,
    began: Instant,
    subject: &'static str,
    failed: Vec<String>,
    lines: usize,
}

impl Results {
    /// Opens `target/KIND/results.jsonl` for appending.
    pub(crate) fn open(kind: &'static str) -> Result<Self> {
        let folder = steps::root().join("target").join(kind);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join("results.jsonl");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        let machine = Machine::this();
        Ok(Self {
            kind,
            folder,
            file,
            commit: commit(),
            machine,
            began: Instant::now(),
            subject: "",
            failed: Vec::new(),
            lines: 0,
        })
    }

    /// The folder for what else a proof leaves behind.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What follows belongs to this proof.
    pub(crate) fn begin(&mut self, subject: &'static str, shows: &str) {
        self.subject = subject;
        self.began = Instant::now();
        eprintln!("==> {subject}: {shows}");
    }

    /// Notes a claim.
    pub(crate) fn line(&mut self, name: &str, holds: bool, figures: &Value, command: &str) -> Result<()> {
        let name = if name.is_empty() { self.subject.to_owned() } else { format!("{}/{name}", self.subject) };
        let seconds = self.began.elapsed().as_secs_f64();
        self.began = Instant::now();
        let line = Line {
            name: &name,
            date: now(),
            commit: &self.commit,
            machine: &self.machine,
            figures,
            holds,
            seconds: (seconds * 10.0).round() / 10.0,
            command,
        };
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).context("writing the results")?;
        println!("{}", row(&name, holds, figures, seconds));
        self.lines += 1;
        if !holds {
            self.failed.push(name);
        }
        Ok(())
    }

    /// Notes that a proof could not be carried through, which proves nothing and therefore does not hold.
    pub(crate) fn broke(&mut self, error: &anyhow::Error) -> Result<()> {
        eprintln!("    {}: {error:#}", self.subject);
        self.line("", false, &json!({"error": format!("{error:#}")}), "")
    }

    /// Runs a program that prints its claims, one JSON object a line, and notes each as it comes.
    pub(crate) fn relay(&mut self, command: &mut Command) -> Result<()> {
        let shown = shown(command);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let child = child.as_mut().map_err(|error| anyhow::anyhow!("starting `{shown}`: {error}"))?;
        let output = child.stdout.take().context("the program has no output")?;
        let (mut claims, failed) = (0_usize, self.failed.len());
        for text in BufReader::new(output).lines() {
            let text = text?;
            match serde_json::from_str::<Claim>(&text) {
                Ok(claim) => {
                    claims += 1;
                    self.line(&claim.name, claim.holds, &claim.figures, &shown)?;
                }
                Err(_) => eprintln!("{text}"),
            }
        }
        let status = child.wait()?;
        if claims == 0 {
            bail!("`{shown}` claimed nothing ({status})");
        }
        if !status.success() && self.failed.len() == failed {
            bail!("`{shown}` ended with {status}");
        }
        Ok(())
    }

    /// Tells how it went. Proofs that do not hold are an error; benchmarks that miss their goal are not.
    pub(crate) fn finish(self) -> Result<()> {
        let path = self.folder.join("results.jsonl");
        eprintln!("{} lines appended to {}", self.lines, path.display());
        if self.failed.is_empty() {
            return Ok(());
        }
        if self.kind == "bench" {
            eprintln!("Missed: {}", self.failed.join(", "));
            return Ok(());
        }
        bail!("these do not hold: {}", self.failed.join(", "));
    }
}

/// A row of the table: plain figures only, the lists stay in the file.
fn row(name: &str, holds: bool, figures: &Value, seconds: f64) -> String {
    let empty = Map::new();
    let plain: Vec<String> = figures
        .as_object()
        .unwrap_or(&empty)
        .iter()
        .filter_map(|(key, value)| match value {
            Value::Number(_) | Value::Bool(_) => Some(format!("{} {value}", key.replace('_', " "))),
            Value::String(text) if text.chars().count() <= 100 => Some(format!("{} {text}", key.replace('_', " "))),
            _ => None,
        })
        .collect();
    let holds = if holds { "holds " } else { "FAILS " };
    format!("{holds} {name:<32} {seconds:>8.1} s  {}", plain.join(", "))
}

/// A command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let root = steps::root();
    let short = |text: &std::ffi::OsStr| {
        let path = Path::new(text);
        path.strip_prefix(&root).unwrap_or(path).to_string_lossy().into_owned()
    };
    let mut words = vec![match Path::new(command.get_program()).file_name() {
        Some(name) if name == "cargo" => "cargo".to_owned(),
        _ => short(command.get_program()),
    }];
    words.extend(command.get_args().map(short));
    words.join(" ")
}

fn now() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What is measured: the commit, with a `+` when files were changed since.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").current_dir(steps::root()).args(arguments).output();
        output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"]).is_empty();
    format!("{}{}", git(&["rev-parse", "--short", "HEAD"]), if changed { "+" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_plain_figures_and_leaves_lists_to_the_file() {
        let text = row("fixtures/base", true, &json!({"findings": 18, "missing": ["a"], "by": "libapt"}), 1.25);
        assert_eq!(text, "holds  fixtures/base                         1.2 s  by libapt, findings 18");
        assert!(row("x", false, &Value::Null, 0.0).starts_with("FAILS"));
    }

    #[test]
    fn a_command_is_shown_without_this_machines_folders() {
        let mut command = Command::new(steps::root().join("target/release/stanch"));
        command.arg("scan").arg(steps::root().join("target/x"));
        assert_eq!(shown(&command), "target/release/stanch scan target/x");
    }
}

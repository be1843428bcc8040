//! A stranger's first minutes: clone, build, scan, the first page with findings.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::product::{Product, Server, scratch, shared, until};
use super::results::Results;
use crate::steps;

const ADDRESS: &str = "127.0.0.1:7079";

pub(crate) fn prove(results: &mut Results) -> Result<()> {
    let folder = scratch("clone")?;
    let began = Instant::now();
    steps::run(
        "git clone",
        Command::new("git").args(["clone", "--quiet"]).arg(steps::root()).arg(folder.join("main")),
    )?;
    let cloned = began.elapsed();
    // The real data lies beside a repository; the clone's neighbour is a link to it.
    if let Some(beside) = shared()?.parent() {
        std::os::unix::fs::symlink(beside, folder.join("shared")).context("linking the shared data")?;
    }
    let source = folder.join("main");

    let began = Instant::now();
    steps::run("cargo build --release", fresh(&source).args(["build", "--release"]))?;
    let built = began.elapsed();
    let product = Product::at(source.join("target/release/stanch"));
    let bytes = std::fs::metadata(product.binary()).map_or(0, |about| about.len());
    let figures =
        json!({"clone_seconds": seconds(cloned), "build_seconds": seconds(built), "binary_mb": bytes / 1_000_000});
    results.line("build", true, &figures, "git clone && cargo build --release")?;

    let began = Instant::now();
    let found = product.must(["scan", "--json", "--quiet"])?.lines().count();
    let figures = json!({"first_scan_seconds": seconds(began.elapsed()), "findings": found});
    results.line("first-scan", found > 0, &figures, "stanch scan --json")?;

    let data = folder.join("data");
    let began = Instant::now();
    let mut up = fresh(&source);
    up.args(["run", "--release", "--", "up", "--listen", ADDRESS, "--data-dir"]).arg(&data);
    let server = Server::start(up)?;
    let page = Visitor { product: &product, data: &data, jar: folder.join("cookies") };
    page.sign_in()?;
    let answered = began.elapsed();
    let mut shown = 0;
    until(Duration::from_secs(120), || {
        shown = page.findings()?;
        Ok(shown > 0)
    })
    .context("no page showed a finding")?;
    let (front, took) = page.get("/")?;
    let figures = json!({
        "up_to_sign_in_seconds": seconds(answered),
        "up_to_first_findings_seconds": seconds(began.elapsed()),
        "findings": shown,
        "front_page_bytes": front.len(),
        "front_page_ms": took,
    });
    drop(server);
    results.line("first-page", front.contains("</html>"), &figures, "cargo run --release -- up")
}

/// Cargo in a fresh clone: nothing of this build may help it.
fn fresh(source: &Path) -> Command {
    let mut command = steps::cargo();
    command.current_dir(source);
    for variable in ["CARGO_TARGET_DIR", "CARGO_MANIFEST_DIR", "STANCH_DATA_DIR", "STANCH_BINARY"] {
        command.env_remove(variable);
    }
    command
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 100.0).round() / 100.0
}

/// Somebody with curl and a cookie jar, who signs in with the printed link.
struct Visitor<'a> {
    product: &'a Product,
    data: &'a Path,
    jar: PathBuf,
}

impl Visitor<'_> {
    fn sign_in(&self) -> Result<()> {
        let mut link = String::new();
        until(Duration::from_secs(120), || {
            // Before the server holds the folder, the command would start one of its own.
            if !self.data.join("control.sock").exists() {
                return Ok(false);
            }
            let mut command = self.product.command(["sign-in", "--json", "--quiet", "--data-dir"]);
            let output = command.arg(self.data).output().context("asking for a link")?;
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            link = answer.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
            Ok(!link.is_empty())
        })
        .context("no link to sign in was printed")?;
        let Some((address, token)) = link.split_once("?token=") else { bail!("the link carries no token") };
        // The token goes over curl's standard input, as a person's goes over the browser's form.
        let form = self.jar.with_extension("form");
        std::fs::write(&form, format!("token={token}"))?;
        let mut post = self.curl();
        post.arg("--data").arg(format!("@{}", form.display())).arg(address);
        let posted = steps::output("curl", &mut post);
        std::fs::remove_file(form)?;
        posted.map(drop)
    }

    fn findings(&self) -> Result<usize> {
        let (text, _) = self.get("/api/v1/findings?limit=500")?;
        let page: Value = serde_json::from_str(&text).context("reading the findings")?;
        Ok(page.get("findings").and_then(Value::as_array).map_or(0, Vec::len))
    }

    /// What a page holds, and in how many milliseconds it came.
    fn get(&self, path: &str) -> Result<(String, u64)> {
        let began = Instant::now();
        let text = steps::output("curl", self.curl().arg(format!("http://{ADDRESS}{path}")))?;
        Ok((text, u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)))
    }

    fn curl(&self) -> Command {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--cookie"]).arg(&self.jar);
        command.arg("--cookie-jar").arg(&self.jar);
        command
    }
}

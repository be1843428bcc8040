//! Every page in a real browser: light, dark and narrow, without a complaint of the browser, reachable by keyboard.
//!
//! `pages BINARY FOLDER` does things on a real server so that there is something to see, walks through all kinds of
//! pages, leaves a picture of each in FOLDER and prints a claim a line. `pages BINARY FOLDER here` looks at this
//! machine instead, and changes nothing on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use stanch_testkit::browser::{Browser, Look};
use stanch_testkit::claims::Claims;
use stanch_testkit::live::Live;
use stanch_testkit::{Process, wait_until};

/// Pages of one kind that are looked at: remediations differ by state, the rest look alike.
const OF_A_KIND: &[(&str, usize)] = &[("remediations", 6), ("items", 3), ("findings", 2), ("cases", 2), ("cves", 2)];
/// Policies that decide, wait for a window and keep to a freeze.
const BUNDLE: &str = "\
apiVersion: stanch/v1
kind: Policy
name: nights
metadata: {description: what can be fixed is planned and starts at night once somebody agrees}
match: {classes: [vulnerability]}
rules:
  - id: front
    description: it faces the network
    when: item.fixable && item.name in [\"haproxy\"]
    mode: approve
    approvals: {quorum: 1, roles: [approver, owner, admin], exclude_author: true, expires: 24h}
  - id: rest
    description: something can be done about it
    when: item.fixable && !(item.name in [\"haproxy\"])
    mode: suggest
windows: [{calendar: nights, must_finish_inside: true}]
freezes: [{calendar: year-end, allow: [close-exposure]}]
limits: {concurrent: 5, per_hour: 40, disrupted_percent: 5, cooldown: 6h, max_attempts: 2}
rollout: {waves: [{count: 1, bake: 30m}, {percent: 100}]}
confirm: {by: owner, within: 8h, unanswered: escalate}
tests:
  - {name: what faces the network is queued, given: one, expect: {mode: approve, rule: front, silent: [rest]}}
  - {name: the rest is suggested, given: one, set: {item.name: rsync}, expect: {mode: suggest, rule: rest, silent: [front]}}
---
apiVersion: stanch/v1
kind: Policy
name: calmer
metadata: {description: what would only be shown if it were in force}
shadow: true
match: {classes: [vulnerability]}
rules:
  - {id: small, description: it is no library that everything uses, when: \"item.fixable && !(item.name in [\\\"openssl\\\", \\\"glibc\\\"])\", at_most: alert}
tests:
  - {given: one, expect: {mode: alert, rule: small}}
  - {given: one, set: {item.name: openssl}, expect: {silent: [small]}}
---
apiVersion: stanch/v1
kind: Facts
name: one
facts: {item.classes: [vulnerability], item.name: haproxy, item.fixable: true, item.stale: false, asset.own: false, action.proven: true, action.reversibility: restorable}
---
apiVersion: stanch/v1
kind: Calendar
name: nights
tz: Europe/Paris
entries:
  - {days: [mon, tue, wed, thu], from: \"22:00\", to: \"06:00\"}
---
apiVersion: stanch/v1
kind: Calendar
name: year-end
tz: Europe/Paris
entries:
  - {dates: [2026-12-19/2027-01-03], name: Year end}
";
/// A playbook whose first step waits for a person, and of whose second the first rung is blocked.
const CARE: &str = "\
apiVersion: stanch/v1
kind: Playbook
name: with-care
metadata: {description: \"somebody is told first, then it is shielded or patched\"}
steps:
  - human: {title: Tell who is on duty, owner: owner, instructions: Call them and say what is about to restart., due: 2h, verify: word}
    id: tell
  - first_of:
      - shield.apply: {until: patched}
        id: shield
      - package.upgrade: {to: fixed}
        id: patch
        within: 24h
  - account.disable:
    id: disable
    on: {linked: account}
tests:
  - {name: it is shielded where that can be, expect: {begins: [tell, shield, disable]}}
  - {name: else it is patched, blocked: [shield], expect: {begins: [tell, shield, patch, disable]}}
";
/// The slowest a page may be, in milliseconds until it has loaded.
const SLOWEST: u128 = 1000;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let binary = arguments.next().map(PathBuf::from).context("which binary? pages TARGET/stanch FOLDER [here]")?;
    let folder = arguments.next().map(PathBuf::from).context("which folder for the pictures?")?;
    let here = arguments.next().is_some();
    fs::create_dir_all(&folder)?;
    let site = if here { Site::here(&binary)? } else { Site::server(&binary)? };
    let mut claims = Claims::new();
    look_at(&site, &folder, &mut claims)?;
    claims.end()
}

/// Something with pages.
struct Site {
    address: String,
    link: String,
    _server: Server,
}

/// What runs behind it; ends with it.
enum Server {
    World { _up: Process, _live: Box<Live> },
    Here { child: Child, _data: tempfile::TempDir },
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Self::Here { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Cases: one that is through as far as it goes, one that waits for a person.
fn case(live: &Live) -> Result<()> {
    let list = live.stanch(["findings", "--json", "--quiet"])?.text();
    let items: Vec<Value> = serde_json::Deserializer::from_str(&list).into_iter().collect::<Result<_, _>>()?;
    let taken = ["nginx", "rsync", "haproxy", "openssl"];
    let free = items
        .iter()
        .filter(|item| item.get("action").is_some_and(Value::is_string))
        .filter_map(|item| item.get("name").and_then(Value::as_str));
    let names: Vec<&str> = free.filter(|name| !taken.contains(name)).take(2).collect();
    let [first, second] = names.as_slice() else { bail!("there are no two items for cases: {names:?}") };
    // Until the playbook is in force it is refused.
    let (mut opened, mut said) = (Value::Null, String::new());
    wait_until("a case is opened", Duration::from_secs(60), || {
        let output = live.stanch(["case", "open", first, "--playbook", "with-care", "--json"])?;
        opened = serde_json::from_str(&output.text()).unwrap_or_default();
        said = output.all();
        Ok(output.ok())
    })
    .with_context(|| said.clone())?;
    let id = opened.pointer("/case/id").and_then(Value::as_str).context("a case has an id")?.to_owned();
    wait_until("the case waits for a person", Duration::from_secs(60), || {
        Ok(live.stanch(["case", "done", &id, "--note", "they know", "--quiet"])?.ok())
    })?;
    let mut step = String::new();
    wait_until("the patch of the case waits for approval", Duration::from_secs(120), || {
        let list = live.stanch(["history", "--json", "--quiet"])?.text();
        let mut rows = serde_json::Deserializer::from_str(&list).into_iter::<Value>().flatten();
        let mine = rows.find(|row| {
            let says = |key: &str| row.get(key).and_then(Value::as_str);
            says("case") == Some(&id) && says("state") == Some("awaiting_approval")
        });
        step = mine.and_then(|row| row.get("id").and_then(Value::as_str).map(str::to_owned)).unwrap_or_default();
        Ok(!step.is_empty())
    })?;
    let output = live.stanch(["approve", &step, "--yes"])?;
    eprintln!("stanch approve {step}: {}\n{}", output.status, output.all());
    wait_until("the case ends", Duration::from_secs(300), || {
        let told = live.stanch(["case", "show", &id, "--json", "--quiet"])?.text();
        let told: Value = serde_json::from_str(&told).unwrap_or_default();
        Ok(told.pointer("/case/over") == Some(&json!(true)))
    })?;
    let output = live.stanch(["case", "open", second, "--playbook", "with-care"])?;
    eprintln!("stanch case open: {}\n{}", output.status, output.all());
    Ok(())
}

impl Site {
    /// A server on which things were planned, fixed and taken back.
    fn server(binary: &Path) -> Result<Self> {
        let live = Live::boot(binary)?;
        let port = free_port()?;
        live.world.must(["mkdir", "-p", "/etc/stanch/policies"])?;
        let up = live.up(port, &["--policies", "/etc/stanch/policies"])?;
        let done = |arguments: &[&str]| -> Result<()> {
            let output = live.stanch(arguments)?;
            eprintln!("stanch {}: {}\n{}", arguments.join(" "), output.status, output.all());
            Ok(())
        };
        wait_until("there are work items", Duration::from_secs(120), || {
            let items = live.stanch(["findings", "--json", "--quiet"])?;
            Ok(items.ok() && !items.text().trim().is_empty())
        })?;
        done(&["fix", "nginx", "--yes"])?;
        done(&["fix", "rsync", "--yes"])?;
        done(&["undo", "last", "--yes"])?;
        live.world.write_mode("/etc/stanch/policies/care.yaml", CARE, 0o600)?;
        case(&live)?;
        // From here on a window is waited for.
        live.world.write_mode("/etc/stanch/policies/nights.yaml", BUNDLE, 0o600)?;
        wait_until("policies propose a remediation", Duration::from_secs(120), || {
            let list = live.stanch(["history", "--json", "--quiet"])?;
            Ok(list.text().contains("awaiting_approval"))
        })?;
        // Policies may have been first: then theirs waits.
        live.stanch(["plan", "openssl"])?;
        let mut planned = None;
        wait_until("the plan of openssl waits", Duration::from_secs(120), || {
            let list = live.stanch(["history", "--json", "--quiet"])?.text();
            let mut rows = serde_json::Deserializer::from_str(&list).into_iter::<Value>().flatten();
            let waits = rows.find(|row| {
                let named = |name: &Value| name.as_str() == Some("openssl");
                let names = row.get("names").and_then(Value::as_array);
                row.get("state").and_then(Value::as_str) == Some("awaiting_approval")
                    && names.is_some_and(|names| names.iter().any(named))
            });
            planned = waits.and_then(|row| Some(row.get("id")?.as_str()?.to_owned()));
            Ok(planned.is_some())
        })?;
        let rehearsed = live.stanch(["rehearse", planned.as_deref().context("the plan of openssl waits")?])?;
        eprintln!("stanch rehearse: {}\n{}", rehearsed.status, rehearsed.all());
        if !rehearsed.ok() {
            bail!("the rehearsal did not go well");
        }
        let link = link(&live.stanch(["sign-in", "--json", "--quiet"])?.stdout)?;
        let server = Server::World { _up: up, _live: Box::new(live) };
        Ok(Self { address: format!("http://127.0.0.1:{port}"), link, _server: server })
    }

    /// This machine, only looked at.
    fn here(binary: &Path) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let port = free_port()?;
        let mut up = Command::new(binary);
        up.args(["up", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"]).arg(data.path());
        let child = up.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut server = Server::Here { child, _data: data };
        let stanch = |data: &Path, arguments: &[&str]| -> Result<std::process::Output> {
            Ok(Command::new(binary).args(arguments).arg("--data-dir").arg(data).stdin(Stdio::null()).output()?)
        };
        let Server::Here { child, _data: data } = &mut server else { bail!("no server") };
        wait_until("there are work items", Duration::from_secs(120), || {
            if let Some(status) = child.try_wait()? {
                bail!("`stanch up` ended with {status}");
            }
            // Before its socket is there, a command would start a server of its own.
            if !data.path().join("control.sock").exists() {
                return Ok(false);
            }
            Ok(!stanch(data.path(), &["findings", "--json", "--quiet"])?.stdout.is_empty())
        })?;
        let link = link(&stanch(data.path(), &["sign-in", "--json", "--quiet"])?.stdout)?;
        Ok(Self { address: format!("http://127.0.0.1:{port}"), link, _server: server })
    }
}

fn look_at(site: &Site, folder: &Path, claims: &mut Claims) -> Result<()> {
    let browser = Browser::start()?;
    browser.look(Look::LIGHT)?;
    browser.open(&site.link)?;
    let flaws = browser.flaws()?;
    browser.photograph(&folder.join("sign-in.light.png"))?;
    claims.claim("sign-in", flaws.is_empty(), json!({"flaws": flaws.len()}), || flaws.join("; "));
    browser.click("main button")?;
    wait_until("signing in leads to the front page", Duration::from_secs(10), || {
        Ok(browser.address()?.trim_end_matches('/') == site.address)
    })?;
    let pages = crawl(&browser, site)?;
    for (name, path) in &pages {
        let page = Seen::of(&browser, &format!("{}{path}", site.address), folder, name)?;
        let holds = page.complaints().is_empty();
        claims.claim(
            name,
            holds,
            json!({
                "path": path,
                "flaws": page.flaws.len(),
                "controls": page.controls,
                "not_by_keyboard": page.missed.len(),
                "slowest_load_ms": u64::try_from(page.slowest).unwrap_or(u64::MAX),
            }),
            || page.complaints().join("; "),
        );
    }
    let kinds: BTreeSet<&str> = pages.values().map(|path| path.split('/').nth(1).unwrap_or_default()).collect();
    let wanted = [
        "",
        "hosts",
        "cves",
        "enrolment",
        "items",
        "cases",
        "remediations",
        "policies",
        "calendar",
        "people",
        "ledger",
        "feeds",
    ];
    let whole = wanted.iter().all(|kind| kinds.contains(kind));
    claims.claim("every page", whole, json!({"pages": pages.len(), "pictures": pages.len() * 3 + 1}), || {
        format!("only {kinds:?} were found by following links")
    });
    Ok(())
}

/// What a page is like, seen three ways.
struct Seen {
    flaws: Vec<String>,
    controls: usize,
    missed: Vec<String>,
    slowest: u128,
}

impl Seen {
    /// What does not hold, in words.
    fn complaints(&self) -> Vec<String> {
        let slow = (self.slowest >= SLOWEST).then(|| format!("took {} ms to load", self.slowest));
        self.flaws.iter().chain(&self.missed).cloned().chain(slow).collect()
    }

    fn of(browser: &Browser, address: &str, folder: &Path, name: &str) -> Result<Self> {
        let mut seen = Self { flaws: Vec::new(), controls: 0, missed: Vec::new(), slowest: 0 };
        for look in [Look::LIGHT, Look::DARK, Look::NARROW] {
            browser.look(look)?;
            let began = Instant::now();
            browser.open(address)?;
            seen.slowest = seen.slowest.max(began.elapsed().as_millis());
            seen.flaws.extend(browser.flaws()?.into_iter().map(|flaw| format!("{}: {flaw}", look.name())));
            browser.photograph(&folder.join(format!("{name}.{}.png", look.name())))?;
            if look == Look::LIGHT {
                (seen.controls, seen.missed) = browser.walk()?;
            }
        }
        Ok(seen)
    }
}

/// Every page that can be reached by links from the front page, some of each kind, by a name for it.
fn crawl(browser: &Browser, site: &Site) -> Result<BTreeMap<String, String>> {
    let mut pages = BTreeMap::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut waiting = VecDeque::from(["/".to_owned()]);
    let mut known: BTreeSet<String> = waiting.iter().cloned().collect();
    while let Some(path) = waiting.pop_front() {
        let mut parts = path.split('/').skip(1);
        let (kind, id) = (parts.next().unwrap_or_default(), parts.next());
        let name = match (kind, id) {
            ("", _) => "overview".to_owned(),
            (kind, None) => kind.to_owned(),
            (kind, Some(_)) => {
                let most = OF_A_KIND.iter().find(|(name, _)| *name == kind).map_or(1, |(_, most)| *most);
                let count = kinds.entry(kind.to_owned()).or_default();
                if *count >= most {
                    continue;
                }
                *count += 1;
                format!("one-of-{kind}-{count}")
            }
        };
        browser.open(&format!("{}{path}", site.address))?;
        for link in browser.links()? {
            let skip = ["/api/", "/static/", "/sign-"].iter().any(|prefix| link.starts_with(prefix));
            if !skip && known.insert(link.clone()) {
                waiting.push_back(link);
            }
        }
        pages.insert(name, path);
    }
    // The crawl itself may have complained already; each page is asked again below.
    browser.complaints()?;
    Ok(pages)
}

fn link(answer: &[u8]) -> Result<String> {
    let answer: Value = serde_json::from_slice(answer).context("`stanch sign-in --json` printed no JSON")?;
    Ok(answer.get("url").and_then(Value::as_str).context("`stanch sign-in --json` printed no link")?.to_owned())
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

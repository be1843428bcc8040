//! `policy`: check, test, explain and sign policy files. It needs no server: the same evaluator decides there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;
use stanch_connect::folder::FolderError;
use stanch_model::When;
use stanch_model::decision::Effect;
use stanch_model::id::ItemId;
use stanch_model::sign::{SigningKey, VerifyingKey};
use stanch_policy::cacao;
use stanch_policy::{
    Bundle, Explanation, Facts, Grade, Loaded, MAX_BYTES, MAX_FILE, MAX_FILES, Problem, SIGNATURE_FILE, Source, is_part,
};
use stanch_server::api::types::{Draft, DraftFile, Policies, Tried, TriedLockOut, TriedWorst};

use crate::args::{Policy, PolicyExplain};
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, plain};

pub(crate) fn run(output: &Output, command: Policy, now: Timestamp) -> Result<Exit, Failure> {
    match command {
        Policy::Check { path, strict, signed_by } => check(output, &path, strict, signed_by.as_deref(), now),
        Policy::Test { path } => test(output, &path, now),
        Policy::Explain(wanted) => explain(output, &wanted, now),
        Policy::Schema { facts: true } => {
            Ok(output.bytes(stanch_policy::facts_table().as_bytes()).map(|()| Exit::Done)?)
        }
        Policy::Schema { facts: false } => {
            let schema = serde_json::to_string_pretty(&stanch_policy::schema())
                .map_err(|error| Failure::new("the schema could not be written").because(error))?;
            Ok(output.line(&schema).map(|()| Exit::Done)?)
        }
        Policy::Sign { path, key } => sign(output, &path, &key, now),
        Policy::WorstCase { path, .. } => worst_case(output, &path),
        Policy::Export { path, playbook } => export(output, &path, &playbook, now),
        Policy::Import { file } => import(output, &file),
        // They ask the server and are run there.
        Policy::Status | Policy::Replay { .. } => Ok(Exit::Done),
    }
}

/// What needs a server.
pub(crate) async fn online(api: &Api, output: &Output, wanted: &Policy) -> Result<Exit, Failure> {
    match wanted {
        Policy::Replay { path, since, max_harm } => replay(api, output, path, *since, *max_harm).await,
        Policy::WorstCase { path, .. } => {
            let tried = tried(api, path, 1).await?;
            tell_worst(output, &tried.worst, &tried.lock_outs)
        }
        _ => status(api, output).await,
    }
}

async fn tried(api: &Api, path: &Path, hours: u32) -> Result<Tried, Failure> {
    let files = sources(path)?.into_iter().map(|file| DraftFile { name: file.name, text: file.text }).collect();
    api.post("/policies/draft", &Draft { files, hours }).await
}

async fn replay(api: &Api, output: &Output, path: &Path, days: u32, max_harm: u32) -> Result<Exit, Failure> {
    let tried = tried(api, path, days.saturating_mul(24)).await?;
    let harmful = tried.harm_rate_e6.is_some_and(|rate| rate > max_harm.saturating_mul(10_000));
    let exit = if harmful { Exit::Failed } else { Exit::Done };
    if output.json {
        output.object(&tried)?;
        return Ok(exit);
    }
    output.line(&format!("{} looked at.", count_of(tried.items, "item", "items")))?;
    for (change, count) in &tried.changes {
        output.line(&format!("  {count:>6}  from {}", plain(change)))?;
    }
    if !tried.changed.is_empty() {
        let mut table = output.table(&["ITEM", "WAS", "WOULD BE", "WHY"]);
        for one in &tried.changed {
            table.add_row([plain(&one.name), one.was.clone(), one.would_be.clone(), plain(&one.reason)]);
        }
        output.line(&table.to_string())?;
    }
    let busy = tried
        .busiest_day
        .as_ref()
        .map(|day| format!("; most on {day}, {}", count_of(tried.busiest_day_targets, "target", "targets")));
    output.line(&format!(
        "{} would have been done by itself{}.",
        count_of(tried.by_itself, "item", "items"),
        busy.unwrap_or_default()
    ))?;
    for one in &tried.harmed {
        output.line(&output.paint(Tone::Bad, &plain(&format!("  {} went wrong: {}", one.name, one.how))))?;
    }
    let rate = tried.harm_rate_e6.map_or_else(
        || "Nothing of it was ever done, so nothing is known of its harm.".to_owned(),
        |rate| {
            let (whole, tenth) = (rate / 10_000, rate / 1_000 % 10);
            format!("Of {} that was done, {whole}.{tenth} % went wrong; {max_harm} % may.", tried.known)
        },
    );
    output.say(&output.paint(if harmful { Tone::Bad } else { Tone::Good }, &rate));
    Ok(exit)
}

fn count_of(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// The worst case on the assets and actions of the bundle's named facts.
fn worst_case(output: &Output, path: &Path) -> Result<Exit, Failure> {
    let (_, loaded) = load(output, path)?;
    let Some(bundle) = loaded.bundle else { return Ok(Exit::Failed) };
    let places: Vec<Facts> = bundle.facts_names().filter_map(|name| bundle.named_facts(name).cloned()).collect();
    let worst = stanch_policy::worst_case(&bundle, &places);
    let reach: Vec<TriedWorst> = worst
        .reach
        .into_iter()
        .map(|one| TriedWorst {
            held_by: format!(
                "{} at a time, {} begun in an hour, {} % disrupted at once",
                one.limits.concurrent, one.limits.per_hour, one.limits.disrupted_percent
            ),
            action: one.action,
            mode: one.mode.name().to_owned(),
            assets: u64::try_from(one.assets).unwrap_or(u64::MAX),
            named: one.named,
            rules: one.rules,
        })
        .collect();
    let lock_outs: Vec<TriedLockOut> = worst
        .lock_outs
        .into_iter()
        .map(|one| TriedLockOut {
            rule: one.rule.to_owned(),
            action: one.action,
            message: one.message,
            remedy: one.remedy,
        })
        .collect();
    tell_worst(output, &reach, &lock_outs)
}

fn tell_worst(output: &Output, reach: &[TriedWorst], lock_outs: &[TriedLockOut]) -> Result<Exit, Failure> {
    let exit = if lock_outs.is_empty() { Exit::Done } else { Exit::Failed };
    if output.json {
        output.object(&json!({ "worst": reach, "lock_outs": lock_outs }))?;
        return Ok(exit);
    }
    if reach.is_empty() {
        output.line("Whatever findings are forged, it only shows.")?;
    } else {
        let mut table = output.table(&["ACTION", "AT MOST", "ASSETS", "HELD BY", "RULES"]);
        for one in reach {
            table.add_row([
                plain(&one.action),
                one.mode.clone(),
                one.assets.to_string(),
                plain(&one.held_by),
                plain(&one.rules.join(", ")),
            ]);
        }
        output.line(&table.to_string())?;
    }
    for one in lock_outs {
        let line = format!("{}: {}: {}", one.rule, one.action, one.message);
        output.line(&output.paint(Tone::Bad, &plain(&line)))?;
        output.line(&plain(&format!("  {}", one.remedy)))?;
    }
    Ok(exit)
}

/// What the server decides by, and what actions have earned.
async fn status(api: &Api, output: &Output) -> Result<Exit, Failure> {
    let told: Policies = api.get("/policies").await?;
    if output.json {
        output.object(&told)?;
        return Ok(if told.refused.is_some() { Exit::Failed } else { Exit::Done });
    }
    match (&told.folder, &told.digest, &told.since) {
        (None, ..) => output.line("No policies: every item is shown, and nothing is changed until a person asks.")?,
        (Some(folder), Some(digest), Some(since)) => {
            let signed = if told.signed { "signed" } else { "not signed: nothing runs by itself" };
            let short: String = digest.chars().take(12).collect();
            let since = When(*since);
            output.line(&plain(&format!("{short} from {folder}, in force since {since}, {signed}")))?;
        }
        (Some(folder), ..) => output.line(&plain(&format!("No bundle of {folder} is in force.")))?,
    }
    if let Some(refused) = &told.refused {
        output.line(&output.paint(Tone::Bad, &plain(&format!("A newer bundle is refused: {}", refused.why))))?;
        for one in &refused.problems {
            output.line(&plain(&format!("  {}:{}: {}; {}", one.file, one.line, one.message, one.remedy)))?;
        }
    }
    if !told.policies.is_empty() {
        let mut table = output.table(&["RULE", "DOES", "ITEMS NOW", "ABOUT"]);
        for rule in told.policies.iter().flat_map(|policy| &policy.rules) {
            let about = rule.description.as_deref().or(rule.when.as_deref()).unwrap_or("always");
            table.add_row([
                plain(&rule.path),
                format!("{} {}", rule.effect, rule.mode),
                rule.items.to_string(),
                plain(about),
            ]);
        }
        output.line(&table.to_string())?;
    }
    if !told.earned.is_empty() {
        let mut table =
            output.table(&["ACTION", "ON", "VERIFIED", "FAILED", "UNDONE", "WORKS AT LEAST", "BEFORE AUTO"]);
        for one in &told.earned {
            let rate = one.success_at_least_e6.map_or_else(|| "-".to_owned(), |e6| format!("{} %", e6 / 10_000));
            let missing = if one.missing.is_empty() { "ready".to_owned() } else { one.missing.join("; ") };
            table.add_row([
                plain(&one.action),
                plain(&one.system),
                one.verified.to_string(),
                one.failed.to_string(),
                one.undone.to_string(),
                rate,
                plain(&missing),
            ]);
        }
        output.line(&table.to_string())?;
    }
    Ok(if told.refused.is_some() { Exit::Failed } else { Exit::Done })
}

/// A playbook as CACAO 2.0.
fn export(output: &Output, path: &Path, name: &str, now: Timestamp) -> Result<Exit, Failure> {
    let (_, loaded) = load(output, path)?;
    let Some(bundle) = loaded.bundle else { return Ok(Exit::Failed) };
    let Some(playbook) = bundle.playbooks().find(|playbook| playbook.name == name) else {
        let known: Vec<String> = bundle.playbooks().map(|playbook| playbook.name).collect();
        let hint = if known.is_empty() { "it has none".to_owned() } else { format!("it has: {}", known.join(", ")) };
        return Err(Failure::usage(format!("the bundle has no playbook `{}`", plain(name))).hint(hint));
    };
    let (document, notes) = cacao::export(&playbook, now);
    let text = serde_json::to_string_pretty(&document)
        .map_err(|error| Failure::new("the playbook could not be written").because(error))?;
    output.line(&text)?;
    for note in notes {
        output.say(&plain(&format!("note: {note}")));
    }
    Ok(Exit::Done)
}

/// A playbook from CACAO 2.0, as a document of our language.
fn import(output: &Output, file: &Path) -> Result<Exit, Failure> {
    let text = stanch_connect::folder::text(file, cacao::MAX_CACAO)
        .map_err(|error| Failure::new(format!("{} cannot be read", file.display())).because(error))?;
    let imported = cacao::import(&text)
        .map_err(|error| Failure::new(format!("{} is not taken", file.display())).because(error))?;
    output.bytes(plain(&cacao::written(&imported.playbook)).as_bytes())?;
    for note in &imported.notes {
        output.say(&output.paint(Tone::Warn, &plain(&format!("note: {note}"))));
    }
    output.say("Read it before you use it; `stanch policy test` names the steps that no test shows yet.");
    Ok(Exit::Done)
}

/// The policy files of a folder, or one file; names are relative to the folder.
fn sources(path: &Path) -> Result<Vec<Source>, Failure> {
    if path.is_file() && !path.file_name().and_then(|name| name.to_str()).is_some_and(is_part) {
        return Err(Failure::usage(format!("{} is no policy file", path.display()))
            .hint("policy files end with .yaml, .yml or .ics"));
    }
    let found = stanch_server::policies::sources(path).map_err(|error| {
        let large = matches!(error, FolderError::TooLarge { .. });
        let hint = if large {
            format!("a bundle has at most {MAX_FILES} files and {MAX_BYTES} bytes")
        } else {
            "name a folder or a file with policies".to_owned()
        };
        Failure::new(format!("{} is no bundle", path.display())).because(error).hint(hint)
    })?;
    if found.is_empty() {
        return Err(Failure::new(format!("{} holds no policy files", path.display()))
            .hint("policy files end with .yaml, .yml or .ics"));
    }
    Ok(found)
}

/// A file's text. What is too long is read no further.
fn text(path: &Path) -> Result<String, Failure> {
    stanch_connect::folder::text(path, MAX_FILE)
        .map_err(|error| Failure::new(format!("{} cannot be read", path.display())).because(error))
}

/// The files and what came of them; tells what is wrong where nothing came of them.
fn load(output: &Output, path: &Path) -> Result<(Vec<Source>, Loaded), Failure> {
    let sources = sources(path)?;
    let loaded = Bundle::load(&sources);
    if loaded.bundle.is_none() {
        tell(output, &sources, &loaded.problems)?;
    }
    Ok((sources, loaded))
}

/// Prints problems: a line of JSON each, or with the line of the file they are about.
fn tell(output: &Output, sources: &[Source], problems: &[Problem]) -> Result<(), Failure> {
    for problem in problems {
        if output.json {
            output.object(problem)?;
            continue;
        }
        let source =
            sources.iter().find(|source| *source.name == *problem.file).map_or("", |source| source.text.as_str());
        output.line(plain(&problem.render(source)).trim_end())?;
    }
    Ok(())
}

fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

fn check(output: &Output, path: &Path, strict: bool, signed_by: Option<&str>, now: Timestamp) -> Result<Exit, Failure> {
    let (sources, Loaded { bundle, mut problems }) = load(output, path)?;
    if let Some(key) = signed_by {
        signed(output, path, &sources, key)?;
    }
    if let Some(bundle) = &bundle {
        problems.extend(stanch_policy::check(bundle, &stanch_action::catalogue::known(), now));
        tell(output, &sources, &problems)?;
        let policies = count(bundle.policies().len(), "policy", "policies");
        output.say(&format!("{policies}, digest {}", bundle.digest().short()));
    }
    let errors = problems.iter().filter(|problem| problem.grade == Grade::Error).count();
    let warnings = problems.len() - errors;
    let verdict = format!("{}, {}", count(errors, "error", "errors"), count(warnings, "warning", "warnings"));
    let tone = if errors > 0 { Tone::Bad } else { Tone::Good };
    output.say(&output.paint(tone, &verdict));
    let wrong = errors > 0 || (strict && warnings > 0);
    Ok(if wrong { Exit::Failed } else { Exit::Done })
}

fn signed(output: &Output, path: &Path, sources: &[Source], key: &str) -> Result<(), Failure> {
    let key = VerifyingKey::try_from(key.to_owned())
        .map_err(|error| Failure::usage("--signed-by is not a public key").because(error))?;
    let file = path.join(SIGNATURE_FILE);
    let signed = serde_json::from_str(&text(&file)?)
        .map_err(|error| Failure::new(format!("{} holds no signature", file.display())).because(error))?;
    let manifest = stanch_policy::verify(sources, &signed, &key).map_err(|error| {
        Failure::refused("the bundle is not the signed one")
            .because(error)
            .hint("take the bundle again from where it was signed")
    })?;
    output.say(&format!("signed at {}", manifest.signed_at));
    Ok(())
}

fn test(output: &Output, path: &Path, now: Timestamp) -> Result<Exit, Failure> {
    let (sources, loaded) = load(output, path)?;
    let Some(bundle) = loaded.bundle else { return Ok(Exit::Failed) };
    let report = stanch_policy::test(&bundle, now, stanch_engine::case::misses);
    if output.json {
        output.object(&report)?;
        return Ok(if report.passed() { Exit::Done } else { Exit::Failed });
    }
    for result in report.results.iter().filter(|result| !result.misses.is_empty()) {
        let place = format!("{}:{}:{}", result.file, result.at.line, result.at.column);
        output.line(&plain(&format!("{place}: {} / {}", result.of, result.name)))?;
        for miss in &result.misses {
            output.line(&plain(&format!("  {miss}")))?;
        }
    }
    tell(output, &sources, &report.unproven)?;
    tell(output, &sources, &report.unnoticed)?;
    let (all, failed) = (report.results.len(), report.failed());
    let verdict = format!(
        "{}, {failed} failed; {} unproven, {} no test notices",
        count(all, "test", "tests"),
        count(report.unproven.len(), "rule or step", "rules or steps"),
        count(report.unnoticed.len(), "limit", "limits")
    );
    output.say(&output.paint(if report.passed() { Tone::Good } else { Tone::Bad }, &verdict));
    Ok(if report.passed() { Exit::Done } else { Exit::Failed })
}

fn explain(output: &Output, wanted: &PolicyExplain, now: Timestamp) -> Result<Exit, Failure> {
    let (_, loaded) = load(output, &wanted.path)?;
    let Some(bundle) = loaded.bundle else { return Ok(Exit::Failed) };
    let facts = facts(&bundle, wanted)?;
    let explanation = stanch_policy::explain(&bundle, &ItemId::from_entropy([0; 10]), &facts, now);
    if output.json {
        output.object(&explanation)?;
        return Ok(Exit::Done);
    }
    output.bytes(plain(&told(output, &explanation, wanted.all)).as_bytes())?;
    Ok(Exit::Done)
}

/// The named facts, changed as the command line says.
fn facts(bundle: &Bundle, wanted: &PolicyExplain) -> Result<Facts, Failure> {
    let mut facts = bundle.named_facts(&wanted.given).cloned().ok_or_else(|| {
        let known: Vec<&str> = bundle.facts_names().collect();
        Failure::usage(format!("the bundle has no facts `{}`", wanted.given))
            .hint(format!("it has: {}", known.join(", ")))
    })?;
    for change in &wanted.set {
        let (path, value) = change.split_once('=').ok_or_else(|| {
            Failure::usage(format!("`{change}` sets nothing")).hint("write PATH=VALUE, such as item.epss=0.7")
        })?;
        facts.set_written(path, value).map_err(|error| {
            let remedy = error.remedy();
            Failure::usage(error.to_string()).hint(remedy)
        })?;
    }
    for path in &wanted.unset {
        facts.unset(path);
    }
    Ok(facts)
}

fn told(output: &Output, explanation: &Explanation, all: bool) -> String {
    let decision = &explanation.decision;
    let mut text = format!("{}  {}\n", output.paint(Tone::Strong, decision.mode.name()), decision.reason);
    if !decision.missing.is_empty() {
        text.push_str(&format!("unknown  {}\n", decision.missing.join(", ")));
    }
    if let Some(shadow) = &decision.shadow {
        text.push_str(&format!("in shadow  {}: {}\n", shadow.mode.name(), shadow.reason));
    }
    for rule in &explanation.rules {
        let word = match rule.effect {
            Some(Effect::Grants) => format!("grants {}", rule.mode.name()),
            Some(Effect::Caps) => format!("caps at {}", rule.mode.name()),
            Some(Effect::Undecided) => format!("undecided, caps at {}", rule.mode.name()),
            None if all || !rule.reason.starts_with("the policy is about") => "silent".to_owned(),
            None => continue,
        };
        text.push_str(&format!("\n{}  {word}\n  {}\n", output.paint(Tone::Strong, &rule.rule), rule.reason));
        if let Some(when) = &rule.when {
            text.push_str(&format!("  when {}\n", when.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
        for asked in &rule.asked {
            text.push_str(&format!("    {} = {}\n", asked.path, asked.value));
        }
    }
    text
}

fn sign(output: &Output, path: &Path, key: &Path, now: Timestamp) -> Result<Exit, Failure> {
    let (sources, loaded) = load(output, path)?;
    let Some(bundle) = loaded.bundle else {
        return Err(Failure::refused("a bundle with errors is not signed"));
    };
    let key = signing_key(key)?;
    let signed = stanch_policy::sign(&sources, &key, now)
        .map_err(|error| Failure::new("the bundle could not be signed").because(error))?;
    let file = path.join(SIGNATURE_FILE);
    let text = serde_json::to_string_pretty(&signed)
        .map_err(|error| Failure::new("the signature could not be written").because(error))?;
    std::fs::write(&file, format!("{text}\n"))
        .map_err(|error| Failure::new(format!("{} cannot be written", file.display())).because(error))?;
    if output.json {
        output.object(&json!({"bundle": bundle.digest(), "key": signed.key, "file": file}))?;
    } else {
        output.say(&format!("signed {} with {}: {}", bundle.digest().short(), signed.key, file.display()));
    }
    Ok(Exit::Done)
}

/// The seed in a file that nobody else may read.
fn signing_key(path: &Path) -> Result<SigningKey, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("{} cannot be read", path.display())).because(error);
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Failure::refused(format!("{} can be read by others", path.display()))
            .hint(format!("chmod 600 {}", path.display())));
    }
    let mut seed = [0; 32];
    hex::decode_to_slice(text(path)?.trim(), &mut seed).map_err(|_| {
        Failure::usage(format!("{} holds no key", path.display())).hint("it must hold 64 hexadecimal digits")
    })?;
    SigningKey::from_seed(&seed).map_err(|error| Failure::new("the key cannot be used").because(error))
}

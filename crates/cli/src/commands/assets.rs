//! `assets`: the fleet, what people say of it, and taking that over from a file.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use jiff::Timestamp;
use stanch_server::api::types::{
    Asset, Facts, ImportAssets, ImportedAssets, JudgeEdge, LabelAsset, LinkAsset, PackageHistory, SeenEdge,
};

use super::findings::query;
use super::fix::confirm;
use crate::args::{Assets, Call, Which, Written};
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, many, plain};

/// Assets asked for at once.
const PAGE: usize = 1_000;
/// The largest file that is taken over, in bytes.
const LARGEST: u64 = 2 << 20;

pub(crate) async fn run(api: &Api, output: &Output, wanted: Assets) -> Result<Exit, Failure> {
    let assets = match wanted {
        Assets::List(which) => every(api, &narrowed(&which)).await?,
        Assets::Show { asset } => return show(api, output, &find(api, &asset).await?).await,
        Assets::History { asset, package, at } => {
            return history(api, output, &find(api, &asset).await?, package.as_deref(), at).await;
        }
        Assets::Label { asset, environment, owner, classification, tier, labels } => {
            let id = find(api, &asset).await?.id;
            let label = LabelAsset { environment, owner, classification, tier, labels: labels.into_iter().collect() };
            vec![api.post(&format!("/assets/{id}/labels"), &label).await?]
        }
        Assets::Link { asset, kind, other, remove } => {
            let (id, to) = (find(api, &asset).await?.id, find(api, &other).await?.id);
            vec![api.post(&format!("/assets/{id}/links"), &LinkAsset { to, kind, remove }).await?]
        }
        Assets::Edges { proposed } => {
            let asked = if proposed { "?limit=1000&proposed=true" } else { "?limit=1000" };
            return calls(output, &api.get::<Vec<SeenEdge>>(&format!("/edges{asked}")).await?);
        }
        Assets::Confirm(call) => return judge(api, output, &call, true).await,
        Assets::Dismiss(call) => return judge(api, output, &call, false).await,
        Assets::Import { file, format, dry_run, yes } => {
            return import(api, output, &file, format, (dry_run, yes)).await;
        }
    };
    if output.json {
        for asset in &assets {
            output.object(asset)?;
        }
        return Ok(Exit::Done);
    }
    let head =
        ["ASSET", "STATE", "ENVIRONMENT", "RING", "TIER", "OWNER", "URGENT", "OPEN", "FACTS", "AGENT", "BLIND SPOTS"];
    let mut table = output.table(&head);
    for asset in &assets {
        let said = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), |text| plain(text));
        let version = asset.executor.as_ref().and_then(|executor| executor.version.as_ref());
        table.add_row([
            plain(&asset.name),
            state(output, asset),
            said(asset.environment.as_ref()),
            said(asset.labels.get("ring")),
            asset.tier.map_or_else(|| "-".to_owned(), |tier| tier.to_string()),
            said(asset.owner.as_ref()),
            asset.items_urgent.to_string(),
            asset.items.to_string(),
            asset.facts_at.map_or_else(|| "never".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M").to_string()),
            said(version),
            asset.blind.iter().map(|name| name.replace('_', " ")).collect::<Vec<_>>().join(", "),
        ]);
    }
    output.line(&table.to_string())?;
    Ok(Exit::Done)
}

fn state(output: &Output, asset: &Asset) -> String {
    let (tone, word) = match asset.state.as_str() {
        "connected" => (Tone::Good, "connected"),
        "frozen" => (Tone::Bad, "frozen"),
        "put_out" => (Tone::Bad, "put out"),
        "unconfirmed" => (Tone::Warn, "not confirmed"),
        "no_executor" if asset.kind != "host" => (Tone::Dim, asset.kind.as_str()),
        "no_executor" => (Tone::Bad, "no agent"),
        other => (Tone::Warn, other),
    };
    output.paint(tone, word)
}

/// What a list is narrowed by, as the API takes it.
fn narrowed(which: &Which) -> String {
    let labels = Some(which.labels.join(",")).filter(|labels| !labels.is_empty());
    let fields = [
        ("name", &which.name),
        ("environment", &which.environment),
        ("owner", &which.owner),
        ("ring", &which.ring),
        ("label", &labels),
        ("state", &which.state),
        ("blind", &which.blind),
        ("kind", &which.kind),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    fields.map(|(name, value)| format!("&{name}={}", query(value))).collect()
}

/// All assets that fit, by name.
pub(crate) async fn every(api: &Api, narrowed: &str) -> Result<Vec<Asset>, Failure> {
    let mut found: Vec<Asset> = Vec::new();
    loop {
        let after = found.last().map(|last| format!("&after={}", query(&last.id))).unwrap_or_default();
        let page: Vec<Asset> = api.get(&format!("/assets?limit={PAGE}{narrowed}{after}")).await?;
        let whole = page.len() == PAGE;
        found.extend(page);
        if !whole {
            return Ok(found);
        }
    }
}

/// The asset meant.
async fn find(api: &Api, typed: &str) -> Result<Asset, Failure> {
    let found: Vec<Asset> = api.get(&format!("/assets?limit=2&named={}", query(typed))).await?;
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Failure::new(format!("there is no asset {}", plain(typed)))),
        (Some(_), Some(_)) => Err(Failure::new(format!("more than one asset is called {}", plain(typed)))
            .hint("name it by its id: stanch assets list --json")),
    }
}

async fn judge(api: &Api, output: &Output, call: &Call, depends: bool) -> Result<Exit, Failure> {
    let (from, to) = (find(api, &call.from).await?.id, find(api, &call.to).await?.id);
    calls(output, &[api.post("/edges", &JudgeEdge { from, to, port: call.port, depends }).await?])
}

fn calls(output: &Output, all: &[SeenEdge]) -> Result<Exit, Failure> {
    if output.json {
        for one in all {
            output.object(one)?;
        }
        return Ok(Exit::Done);
    }
    let mut table = output.table(&["FROM", "TO", "PORT", "PROGRAM", "FIRST SEEN", "LAST SEEN", "STATE"]);
    let at = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M").to_string();
    for one in all {
        table.add_row([
            plain(&one.from_name),
            plain(&one.to_name),
            one.port.to_string(),
            one.program.as_deref().map_or_else(|| "-".to_owned(), plain),
            at(one.first_seen_at),
            at(one.last_seen_at),
            one.state.clone(),
        ]);
    }
    output.line(&table.to_string())?;
    Ok(Exit::Done)
}

async fn show(api: &Api, output: &Output, asset: &Asset) -> Result<Exit, Failure> {
    if output.json {
        output.object(asset)?;
        return Ok(Exit::Done);
    }
    let facts: Option<Facts> = match asset.facts_at {
        Some(_) => Some(api.get(&format!("/assets/{}/facts", asset.id)).await?),
        None => None,
    };
    let said = |text: &Option<String>| text.as_ref().map_or_else(|| "unknown".to_owned(), |text| plain(text));
    let executor = asset.executor.as_ref();
    let mut rows = vec![
        ("Asset", format!("{} ({})", plain(&asset.name), asset.id)),
        ("State", state(output, asset)),
        ("Environment", said(&asset.environment)),
        ("Owner", said(&asset.owner)),
        ("Tier", asset.tier.map_or_else(|| "unknown, counts as 1".to_owned(), |tier| tier.to_string())),
        ("Classification", said(&asset.classification)),
    ];
    let labels = asset.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
    rows.push(("Labels", plain(&labels)));
    for link in &asset.links {
        rows.push(("Link", plain(&format!("{} {} {}", link.from, link.kind.replace('_', " "), link.to))));
    }
    rows.push(("System", said(&asset.os)));
    if let Some(facts) = &facts {
        rows.push(("Kernel", said(&facts.kernel)));
        rows.push(("Packages", format!("{}, data for {}", facts.packages, asset.coverage.with_data)));
    }
    let at = |at: Option<Timestamp>| {
        at.map_or_else(|| "never".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string())
    };
    rows.push(("Facts of", at(asset.facts_at)));
    rows.push(("Last seen", at(asset.seen_at)));
    if let Some(executor) = executor {
        rows.push(("Agent", format!("{} {}", said(&executor.version), executor.id)));
        let can = executor.actions.join(", ");
        rows.push(("Can do", if can.is_empty() { "nothing: it can only look".to_owned() } else { plain(&can) }));
        let lacks: Vec<String> = executor.lacks.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        rows.push(("Lacks", plain(&lacks.join("; "))));
        if let Some(need) = executor.signatures {
            rows.push(("Asks for", format!("{need} signed approvals")));
        }
        if let Some(why) = &executor.frozen {
            rows.push(("Frozen", plain(why)));
        }
    }
    rows.push((
        "Open",
        format!("{} items, {} urgent, {} exploited", asset.items, asset.items_urgent, asset.known_exploited),
    ));
    let windows: BTreeSet<_> = asset.missed_windows.iter().map(|missed| missed.shut_at).collect();
    if let Some(last) = asset.missed_windows.first() {
        let words = format!("{}, the last until {}: {}", windows.len(), at(Some(last.shut_at)), plain(&last.why));
        rows.push(("Windows missed", output.paint(Tone::Warn, &words)));
    }
    let blind = asset.blind.iter().map(|name| name.replace('_', " ")).collect::<Vec<_>>().join(", ");
    rows.push(("Blind spots", if blind.is_empty() { "none".to_owned() } else { output.paint(Tone::Warn, &blind) }));
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        output.line(&format!("{} {value}", output.paint(Tone::Dim, &format!("{name:<15}"))))?;
    }
    Ok(Exit::Done)
}

/// Versions that are shown of one asset.
const VERSIONS: u32 = 20_000;

async fn history(
    api: &Api,
    output: &Output,
    asset: &Asset,
    package: Option<&str>,
    at: Option<Timestamp>,
) -> Result<Exit, Failure> {
    let package = package.map(|name| format!("&package={}", query(name))).unwrap_or_default();
    let then = at.map(|at| format!("&at={}", query(&at.to_string()))).unwrap_or_default();
    let path = format!("/assets/{}/history?limit={VERSIONS}{package}{then}", asset.id);
    let told: PackageHistory = api.get(&path).await?;
    if output.json {
        output.object(&told)?;
        return Ok(Exit::Done);
    }
    let time = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M").to_string();
    let Some(since) = told.since else {
        output.say(&format!("The facts of {} were never read: nothing is known.", plain(&asset.name)));
        return Ok(Exit::Done);
    };
    if at.is_some_and(|at| at < since) {
        output.say(&format!("Of what was before {} UTC nothing is known.", time(since)));
        return Ok(Exit::Done);
    }
    let mut table = output.table(&["PACKAGE", "VERSION", "FROM", "UNTIL", "INSTALLED", "WHERE"]);
    for one in &told.versions {
        let from = if one.baseline { format!("{} or before", time(one.from)) } else { time(one.from) };
        table.add_row([
            plain(&one.package),
            plain(&one.version),
            from,
            one.until.map_or_else(|| "-".to_owned(), time),
            one.installed_at.map_or_else(|| "-".to_owned(), time),
            plain(&one.place),
        ]);
    }
    output.line(&table.to_string())?;
    if told.more {
        output.say(&format!("Only the newest {VERSIONS} are shown: name a package."));
    }
    Ok(Exit::Done)
}

/// The text of a file that may be the standard input, never more than may be taken over.
fn read(file: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("{} cannot be read", file.display())).because(error);
    let source: Box<dyn std::io::Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(failed)?)
    };
    let mut text = String::new();
    source.take(LARGEST + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LARGEST {
        return Err(Failure::usage(format!("{} is larger than {LARGEST} bytes", file.display()))
            .hint("split it into several files"));
    }
    Ok(text)
}

/// Shows what a file would change, asks, and has it changed.
async fn import(
    api: &Api,
    output: &Output,
    file: &Path,
    format: Option<Written>,
    (dry_run, yes): (bool, bool),
) -> Result<Exit, Failure> {
    let by_name = match file.extension().and_then(|kind| kind.to_str()) {
        Some("csv") => Some(Written::Csv),
        Some("yaml" | "yml") => Some(Written::Yaml),
        _ => None,
    };
    let format = match format.or(by_name).ok_or_else(|| {
        Failure::usage("it is not told how the file is written").hint("pass --format yaml or --format csv")
    })? {
        Written::Yaml => "yaml",
        Written::Csv => "csv",
    };
    let mut wanted = ImportAssets { format: format.to_owned(), text: read(file)?, dry_run: true, digest: None };
    let shown: ImportedAssets = api.post("/assets/import", &wanted).await?;
    let wrong = !shown.errors.is_empty();
    if output.json && (dry_run || wrong) {
        output.object(&shown)?;
    } else if !output.json {
        tell(output, file, &shown)?;
    }
    if wrong {
        return Err(Failure::new("nothing was changed").hint("mend the lines that are told above, and try again"));
    }
    if dry_run || shown.changes.is_empty() {
        return Ok(Exit::Done);
    }
    let changes = |told: &ImportedAssets| {
        format!("{} of {}", many(told.changes.len() as u64, "change"), many(told.assets, "asset"))
    };
    if !yes && !confirm(&format!("Take over {}?", changes(&shown)))? {
        return Err(Failure::refused("not confirmed; nothing was changed"));
    }
    wanted.dry_run = false;
    wanted.digest = shown.digest;
    let done: ImportedAssets = api.post("/assets/import", &wanted).await?;
    if output.json {
        output.object(&done)?;
    }
    output.say(&format!("Taken over: {}.", changes(&done)));
    Ok(Exit::Done)
}

fn tell(output: &Output, file: &Path, shown: &ImportedAssets) -> Result<(), Failure> {
    for error in &shown.errors {
        let place = format!("{}:{}", file.display(), error.line);
        output.line(&format!("{}: {}", output.paint(Tone::Bad, &plain(&place)), plain(&error.message)))?;
        output.line(&format!("  {}", plain(&error.remedy)))?;
    }
    if shown.errors.is_empty() && shown.changes.is_empty() {
        output.say("Nothing would change.");
    }
    if !shown.errors.is_empty() || shown.changes.is_empty() {
        return Ok(());
    }
    let mut table = output.table(&["ASSET", "WHAT", "IS", "BECOMES"]);
    for change in &shown.changes {
        let said = |text: &Option<String>| text.as_ref().map_or_else(|| "-".to_owned(), |text| plain(text));
        table.add_row([plain(&change.asset_name), plain(&change.what), said(&change.before), said(&change.after)]);
    }
    output.line(&table.to_string())?;
    Ok(())
}

//! Taking over from a file what people say of assets: shown as a difference first, all of it or nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::json;
use stanch_ledger::NewEntry;
use stanch_model::asset::{Asset, Tier};
use stanch_model::canonical::digest;
use stanch_model::edge::Edge;
use stanch_model::id::AssetId;
use stanch_store::asset::{SeenAsset, SeenBy, StoredAsset};
use stanch_store::edge::SetEdge;
use stanch_store::{Transition, Write};

use super::labelled;
use crate::api::Problem;
use crate::api::types::{AssetChange, ImportAssets, ImportError, ImportedAssets};
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::import::{self, FAULTS, Row, fault, said};

/// Changes that are made at once.
const CHANGES: usize = 20_000;
/// Faults that an answer names in its words.
const NAMED: usize = 5;

/// What would become true.
#[derive(Default)]
struct Difference {
    changes: Vec<AssetChange>,
    /// Assets as they become.
    assets: Vec<(Asset, jiff::Timestamp)>,
    edges: BTreeSet<Edge>,
}

/// Shows what a file would change, or changes it.
pub(crate) async fn import(app: &App, who: &str, wanted: &ImportAssets) -> Result<ImportedAssets, Problem> {
    let rows = match wanted.format.as_str() {
        "yaml" => import::yaml(&wanted.text),
        "csv" => import::csv(&wanted.text),
        _ => return Err(Problem::bad_request("`format` is `yaml` or `csv`")),
    };
    // Two who label at once must not undo each other.
    let _making = app.making.lock().await;
    let found = match rows {
        Ok(rows) => difference(app, &rows).await?,
        Err(errors) => Err(errors),
    };
    let difference = match found {
        Ok(difference) => difference,
        Err(errors) if wanted.dry_run => {
            return Ok(ImportedAssets { done: false, assets: 0, changes: Vec::new(), digest: None, errors });
        }
        Err(errors) => return Err(refused(&errors)),
    };
    let shown =
        digest("stanch/import/v1", &difference.changes).map_err(|error| Problem::internal("hashing", &error))?;
    let shown = shown.to_string();
    let touched: BTreeSet<&String> = difference.changes.iter().map(|change| &change.asset).collect();
    let answer = ImportedAssets {
        done: !wanted.dry_run,
        assets: touched.len() as u64,
        digest: Some(shown.clone()),
        changes: difference.changes.clone(),
        errors: Vec::new(),
    };
    if wanted.dry_run {
        return Ok(answer);
    }
    if wanted.digest.as_ref().is_some_and(|expected| *expected != shown) {
        return Err(Problem::conflict("changed_meanwhile", "other changes would be made by now than were shown")
            .hint("look at them again, then take them over"));
    }
    if !difference.changes.is_empty() {
        take_over(app, who, difference).await?;
    }
    Ok(answer)
}

fn refused(errors: &[ImportError]) -> Problem {
    let told: Vec<String> =
        errors.iter().take(NAMED).map(|one| format!("line {}: {}", one.line, one.message)).collect();
    let more = errors.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Problem::bad_request(format!("nothing was changed: {}{more}", told.join("; ")))
        .hint("`dry_run` tells all that is wrong, each with what would help")
}

/// What rows change, or what is wrong with them.
async fn difference(app: &App, rows: &[Row]) -> Result<Result<Difference, Vec<ImportError>>, Problem> {
    let names: BTreeSet<String> = rows
        .iter()
        .flat_map(|row| std::iter::once(&row.asset).chain(row.links.iter().map(|(_, name)| name)))
        .cloned()
        .collect();
    let known = app.store.assets_called(&names).await?;
    let called = Called::of(&known);
    let mut errors = Vec::new();
    let mut difference = Difference::default();
    let mut seen: BTreeMap<AssetId, u64> = BTreeMap::new();
    let mut wanted: Vec<(u64, &StoredAsset, Edge, &str)> = Vec::new();
    for row in rows {
        let stored = match called.find(row.line, &row.asset) {
            Ok(stored) => stored,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        let before = &stored.asset;
        if let Some(first) = seen.insert(before.id.clone(), row.line) {
            let message = format!("{} stands on line {first} already", said(&row.asset));
            errors.push(fault(row.line, message, "say everything of an asset in one place"));
            continue;
        }
        match labelled(before.clone(), &row.label) {
            Ok(after) => {
                let changes = changed(row.line, before, &after);
                if !changes.is_empty() {
                    difference.changes.extend(changes);
                    difference.assets.push((after, stored.last_seen));
                }
            }
            Err(problem) => {
                let remedy = problem.hint.unwrap_or_else(|| "write one word, without spaces".to_owned());
                errors.push(fault(row.line, problem.detail, remedy));
            }
        }
        for (kind, name) in &row.links {
            match called.find(row.line, name) {
                Ok(other) if other.asset.id == before.id => {
                    let message = format!("{} does not hang on itself", said(name));
                    errors.push(fault(row.line, message, "name another asset"));
                }
                Ok(other) => {
                    let edge = Edge { from: before.id.clone(), to: other.asset.id.clone(), kind: *kind };
                    wanted.push((row.line, stored, edge, &other.asset.name));
                }
                Err(error) => errors.push(error),
            }
        }
    }
    let there: BTreeSet<Edge> = app.store.edges_at(&seen.into_keys().collect()).await?.into_iter().collect();
    for (line, stored, edge, other) in wanted {
        if there.contains(&edge) || difference.edges.contains(&edge) {
            continue;
        }
        difference.changes.push(AssetChange {
            line,
            asset: stored.asset.id.to_string(),
            asset_name: stored.asset.name.clone(),
            what: edge.kind.name().to_owned(),
            before: None,
            after: Some(other.to_owned()),
        });
        difference.edges.insert(edge);
    }
    if difference.changes.len() > CHANGES {
        errors.push(fault(1, format!("it makes more than {CHANGES} changes"), "split it into several files"));
    }
    difference.changes.sort_by_key(|change| change.line);
    errors.sort_by_key(|error| error.line);
    errors.truncate(FAULTS);
    Ok(if errors.is_empty() { Ok(difference) } else { Err(errors) })
}

/// Assets by how they are called.
struct Called<'a>(HashMap<&'a str, Vec<&'a StoredAsset>>);

impl<'a> Called<'a> {
    fn of(known: &'a [StoredAsset]) -> Self {
        let mut called: HashMap<&str, Vec<&StoredAsset>> = HashMap::new();
        for one in known {
            called.entry(&one.asset.name).or_default().push(one);
            // A host that is called like the id of another one is that other to nobody.
            if one.asset.id.as_str() != one.asset.name {
                called.entry(one.asset.id.as_str()).or_default().push(one);
            }
        }
        Self(called)
    }

    fn find(&self, line: u64, name: &str) -> Result<&'a StoredAsset, ImportError> {
        match self.0.get(name).map(Vec::as_slice) {
            Some([one]) => Ok(one),
            None | Some([]) => Err(fault(
                line,
                format!("there is no asset `{}`", said(name)),
                "write it as `stanch assets list` has it; a new host is let in with its labels by a token",
            )),
            Some(many) => {
                let ids: Vec<&str> = many.iter().take(5).map(|one| one.asset.id.as_str()).collect();
                let message = format!("{} assets are called `{}`", many.len(), said(name));
                Err(fault(line, message, format!("name it by its id: {}", ids.join(", "))))
            }
        }
    }
}

/// What becomes other of one asset.
fn changed(line: u64, before: &Asset, after: &Asset) -> Vec<AssetChange> {
    let tier = |asset: &Asset| asset.tier.map(|tier| tier.number().to_string());
    let mut pairs = vec![
        ("environment".to_owned(), before.environment.clone(), after.environment.clone()),
        ("owner".to_owned(), before.owner.clone(), after.owner.clone()),
        ("classification".to_owned(), before.classification.clone(), after.classification.clone()),
        ("tier".to_owned(), tier(before), tier(after)),
    ];
    let names: BTreeSet<&String> = before.labels.keys().chain(after.labels.keys()).collect();
    pairs.extend(
        names
            .into_iter()
            .map(|name| (format!("label {name}"), before.labels.get(name).cloned(), after.labels.get(name).cloned())),
    );
    let changes = pairs.into_iter().filter(|(_, before, after)| before != after);
    let change = |(what, before_it, after_it)| AssetChange {
        line,
        asset: before.id.to_string(),
        asset_name: before.name.clone(),
        what,
        before: before_it,
        after: after_it,
    };
    changes.map(change).collect()
}

/// Makes all of it true together, with an entry for each asset and each link.
async fn take_over(app: &App, who: &str, difference: Difference) -> Result<(), Problem> {
    let now = app.now();
    let mut transition = Transition::default();
    let mut touched: BTreeSet<AssetId> = BTreeSet::new();
    for (asset, last_seen) in difference.assets {
        touched.insert(asset.id.clone());
        let entry = NewEntry::new(now, who, "asset_labelled").about(&asset.id).with(json!({
            "environment": asset.environment, "owner": asset.owner, "classification": asset.classification,
            "tier": asset.tier.map(Tier::number), "labels": asset.labels, "imported": true,
        }));
        let seen = SeenAsset { asset, by: SeenBy::People, at: last_seen };
        transition = transition.entry(entry).write(Write::SeeAsset(seen));
    }
    for edge in difference.edges {
        touched.extend([edge.from.clone(), edge.to.clone()]);
        let entry = NewEntry::new(now, who, "asset_linked").about(&edge.from).about(&edge.to);
        let entry = entry.with(json!({ "kind": edge.kind, "imported": true }));
        transition = transition.entry(entry).write(Write::SetEdge(SetEdge { edge, there: true }));
    }
    app.store.commit(transition).await?;
    for asset in &touched {
        app.assess(asset.clone(), true);
        app.bus.tell(Live::of("facts", asset, "labelled"));
    }
    app.want(touched);
    app.bus.nudge(Stage::Assess);
    app.bus.nudge(Stage::Decide);
    Ok(())
}

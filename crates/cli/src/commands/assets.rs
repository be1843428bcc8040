//! `assets`: what is watched, and what people say of it.

use stanch_server::api::types::{Asset, LabelAsset, LinkAsset};

use crate::args::Assets;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, plain};

pub(crate) async fn run(api: &Api, output: &Output, wanted: Assets) -> Result<Exit, Failure> {
    let mut assets: Vec<Asset> = api.get("/assets").await?;
    match wanted {
        Assets::List => {}
        Assets::Label { asset, environment, owner, classification, tier, labels } => {
            let id = find(&assets, &asset)?;
            let label = LabelAsset { environment, owner, classification, tier, labels: labels.into_iter().collect() };
            assets = vec![api.post(&format!("/assets/{id}/labels"), &label).await?];
        }
        Assets::Link { asset, kind, other, remove } => {
            let (id, to) = (find(&assets, &asset)?, find(&assets, &other)?);
            assets = vec![api.post(&format!("/assets/{id}/links"), &LinkAsset { to, kind, remove }).await?];
        }
    }
    if output.json {
        for asset in &assets {
            output.object(asset)?;
        }
        return Ok(Exit::Done);
    }
    let mut table = output.table(&["ASSET", "KIND", "ENVIRONMENT", "OWNER", "LABELS", "LINKS"]);
    for asset in &assets {
        let said = |text: &Option<String>| plain(text.as_deref().unwrap_or("nobody said"));
        let links = asset.links.iter().map(|link| {
            let kind = link.kind.replace('_', " ");
            if link.from == asset.name { format!("{kind} {}", link.to) } else { format!("{} {kind} it", link.from) }
        });
        table.add_row([
            plain(&asset.name),
            asset.kind.clone(),
            said(&asset.environment),
            said(&asset.owner),
            plain(&asset.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")),
            plain(&links.collect::<Vec<_>>().join(", ")),
        ]);
    }
    output.line(&table.to_string())?;
    Ok(Exit::Done)
}

/// The id of the asset meant.
fn find(assets: &[Asset], typed: &str) -> Result<String, Failure> {
    let mut named = assets.iter().filter(|one| one.id == typed || one.name == typed);
    match (named.next(), named.next()) {
        (Some(one), None) => Ok(one.id.clone()),
        (None, _) => Err(Failure::new(format!("there is no asset {}", plain(typed)))),
        (Some(_), Some(_)) => Err(Failure::new(format!("more than one asset is called {}", plain(typed)))
            .hint("name it by its id: stanch assets list --json")),
    }
}

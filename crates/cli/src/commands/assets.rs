//! `assets`: what is watched, and what people say of it.

use stanch_server::api::types::{Asset, LabelAsset};

use crate::args::Assets;
use crate::client::Api;
use crate::failure::{Exit, Failure};
use crate::output::{Output, plain};

pub(crate) async fn run(api: &Api, output: &Output, wanted: Assets) -> Result<Exit, Failure> {
    let mut assets: Vec<Asset> = api.get("/assets").await?;
    if let Assets::Label { asset, environment, owner, classification, tier, labels } = wanted {
        let mut named = assets.iter().filter(|one| one.id == asset || one.name == asset);
        let id = match (named.next(), named.next()) {
            (Some(one), None) => one.id.clone(),
            (None, _) => return Err(Failure::new(format!("there is no asset {}", plain(&asset)))),
            (Some(_), Some(_)) => {
                return Err(Failure::new(format!("more than one asset is called {}", plain(&asset)))
                    .hint("name it by its id: stanch assets list --json"));
            }
        };
        let label = LabelAsset { environment, owner, classification, tier, labels: labels.into_iter().collect() };
        let labelled: Asset = api.post(&format!("/assets/{id}/labels"), &label).await?;
        assets = vec![labelled];
    }
    if output.json {
        for asset in &assets {
            output.object(asset)?;
        }
        return Ok(Exit::Done);
    }
    let mut table = output.table(&["ASSET", "KIND", "ENVIRONMENT", "OWNER"]);
    for asset in &assets {
        let said = |text: &Option<String>| plain(text.as_deref().unwrap_or("nobody said"));
        table.add_row([plain(&asset.name), asset.kind.clone(), said(&asset.environment), said(&asset.owner)]);
    }
    output.line(&table.to_string())?;
    Ok(Exit::Done)
}

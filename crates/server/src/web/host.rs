//! One host, or another asset: what is read of it, what is open, what people say, and the executor that serves it.

use std::collections::BTreeSet;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::routing::{get, post};

use super::act::{Done, Fields, field, to};
use super::{Page, PageError, Shell, page, show};
use crate::api::types::{
    Asset, Because, Event, Facts, ItemList, JudgeEdge, LabelAsset, LinkAsset, PackageVersion, SeenEdge,
};
use crate::api::{AssetFilter, EdgeFilter, ItemFilter, Problem};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

/// Open items that are shown, the most urgent first.
const ITEMS: u32 = 20;
/// Changes of packages that are shown, the last first.
const CHANGES: u32 = 20;

#[derive(Template)]
#[template(path = "host.html")]
struct HostPage {
    shell: Shell,
    host: Asset,
    /// What nobody can see there, in words.
    blind: Vec<String>,
    facts: Option<Facts>,
    items: ItemList,
    /// Calls of which nobody has said anything yet.
    calls: Vec<SeenEdge>,
    history: Vec<Event>,
    /// Packages that came or went since its facts were first read.
    changed: Vec<PackageVersion>,
}

impl HostPage {
    /// How many windows it has missed; several remediations may have waited for the same one.
    fn missed_windows(&self) -> String {
        let windows: BTreeSet<_> = self.host.missed_windows.iter().map(|missed| missed.shut_at).collect();
        show::count(&(windows.len() as u64), "window")
    }
}

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/hosts/{id}", get(show_page))
        .route("/assets/{id}/labels", post(label))
        .route("/assets/{id}/links", post(link))
        .route("/assets/{id}/edges", post(judge))
        .route("/executors/{id}/confirm", post(confirm))
        .route("/executors/{id}/trust", post(trust))
        .route("/executors/{id}/revoke", post(revoke))
}

async fn show_page(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Page {
    let host = view::asset(&app, &id).await?;
    let facts = match host.facts_at {
        Some(_) => Some(view::facts(&app, &id).await?),
        None => None,
    };
    let calls = match host.id.parse() {
        Ok(id) => view::seen_edges(&app, Some(&id), &EdgeFilter { proposed: Some(true), limit: Some(ITEMS) }).await?,
        Err(_) => Vec::new(),
    };
    let open = ItemFilter { asset: Some(host.id.clone()), limit: Some(ITEMS), ..ItemFilter::default() };
    page(&HostPage {
        shell: Shell::new(&app, &visitor, "Hosts", host.name.clone())
            .await?
            .live("/api/v1/events", "executor remediation"),
        blind: host.blind.iter().filter_map(|name| view::blind_words(&app, name)).collect(),
        items: view::items(&app, &visitor.sight, &open).await?,
        history: view::asset_history(&app, &id).await?,
        changed: view::package_changes(&app, &id, CHANGES).await?,
        calls,
        facts,
        host,
    })
}

async fn label(State(app): State<App>, visitor: Visitor, Path(id): Path<String>, Form(form): Fields) -> Done {
    let text = |name: &str| form.iter().any(|(known, _)| known == name).then(|| field(&form, name));
    let tier = match text("tier") {
        Some(text) if text.is_empty() => Some(0),
        Some(text) => Some(text.parse().map_err(|_| PageError::from(Problem::bad_request("`tier` is a number")))?),
        None => None,
    };
    let pairs = field(&form, "labels");
    let pairs = pairs.split_whitespace().map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), value.to_owned())
    });
    let wanted = LabelAsset {
        environment: text("environment"),
        owner: text("owner"),
        classification: text("classification"),
        tier,
        labels: pairs.collect(),
    };
    ask::label(&app, &visitor.name, &id, &wanted).await?;
    to(&format!("/hosts/{}", show::segment(&id)))
}

async fn link(State(app): State<App>, visitor: Visitor, Path(id): Path<String>, Form(form): Fields) -> Done {
    let typed = field(&form, "to");
    let named = AssetFilter { named: Some(typed.clone()), limit: Some(2), ..AssetFilter::default() };
    let found = view::assets(&app, &visitor.sight, &named).await?.assets;
    let [other] = found.as_slice() else {
        return Err(Problem::bad_request(format!("there is not exactly one asset called {}", show::cut(&typed, 80)))
            .hint("name it by its id")
            .into());
    };
    let wanted =
        LinkAsset { to: other.id.clone(), kind: field(&form, "kind"), remove: field(&form, "remove") == "true" };
    ask::link(&app, &visitor.name, &id, &wanted).await?;
    to(&format!("/hosts/{}", show::segment(&id)))
}

async fn judge(State(app): State<App>, visitor: Visitor, Path(id): Path<String>, Form(form): Fields) -> Done {
    let port = field(&form, "port").parse();
    let wanted = JudgeEdge {
        from: field(&form, "from"),
        to: field(&form, "to"),
        port: port.map_err(|_| PageError::from(Problem::bad_request("`port` is a number")))?,
        depends: field(&form, "depends") == "true",
    };
    ask::judge_edge(&app, &visitor.name, &wanted).await?;
    to(&format!("/hosts/{}", show::segment(&id)))
}

async fn confirm(State(app): State<App>, visitor: Visitor, Path(id): Path<String>, Form(form): Fields) -> Done {
    ask::confirm_executor(&app, &visitor.name, &id).await?;
    to(&back(&form))
}

async fn trust(State(app): State<App>, visitor: Visitor, Path(id): Path<String>, Form(form): Fields) -> Done {
    ask::trust(&app, &visitor.name, &id).await?;
    to(&back(&form))
}

async fn revoke(State(app): State<App>, visitor: Visitor, Path(id): Path<String>, Form(form): Fields) -> Done {
    let because = Because { reason: Some(field(&form, "reason")).filter(|reason| !reason.is_empty()) };
    ask::revoke_executor(&app, &visitor.name, &id, &because).await?;
    to(&back(&form))
}

/// The page that the form stood on, of ours only.
fn back(form: &[(String, String)]) -> String {
    let back = field(form, "back");
    let ours = back == "/enrolment" || back.starts_with("/hosts/");
    if ours && back.bytes().all(|byte| byte.is_ascii_graphic()) { back } else { "/hosts".to_owned() }
}

impl HostPage {
    fn labels(&self) -> String {
        let pairs = self.host.labels.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join(" ")
    }

    fn tier(&self) -> String {
        self.host.tier.map(|tier| tier.to_string()).unwrap_or_default()
    }

    fn is_let_in(&self) -> bool {
        !matches!(self.host.state.as_str(), "frozen" | "put_out" | "no_executor")
    }

    /// Links that begin at this asset can be taken away here.
    fn begins_here(&self, from: &str) -> bool {
        self.host.name == from
    }
}

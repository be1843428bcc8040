//! Letting hosts in: tokens that end by number and hours, and hosts that wait for somebody to say that they are ours.

use askama::Template;
use axum::Router;
use axum::extract::{Form, Path, State};
use axum::routing::{get, post};

use super::act::{Done, Fields, field, fields, to};
use super::{Once, Page, PageError, Shell, page, show};
use crate::api::types::{Asset, CreateEnrolment, Enrolment, LabelAsset};
use crate::api::{AssetFilter, Problem};
use crate::app::App;
use crate::auth::Visitor;
use crate::{ask, view};

/// Hosts that are confirmed together at most.
const WAITING: u32 = 100;

#[derive(Template)]
#[template(path = "enrolment.html")]
struct EnrolmentPage {
    shell: Shell,
    tokens: Vec<Enrolment>,
    /// Hosts that wait, with how many there are.
    waiting: Vec<Asset>,
    number: u64,
    /// Whether hosts of other machines can come in at all.
    has_door: bool,
}

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/enrolment", get(show_page).post(make))
        .route("/enrolment/confirm", post(confirm))
        .route("/enrolments/{name}/revoke", post(revoke))
}

async fn show_page(State(app): State<App>, visitor: Visitor) -> Page {
    let unconfirmed =
        AssetFilter { state: Some("unconfirmed".to_owned()), limit: Some(WAITING), ..AssetFilter::default() };
    let mut tokens = ask::enrolment::list(&app).await?;
    // Those that still work first, the newest of them on top.
    tokens.reverse();
    tokens.sort_by_key(|token| !token.works);
    page(&EnrolmentPage {
        shell: Shell::new(&app, &visitor, "Hosts", "Let hosts in").await?.live("/api/v1/events", "executor"),
        tokens,
        waiting: view::assets(&app, &visitor.sight, &unconfirmed).await?.assets,
        number: view::count_assets(&app, &visitor.sight, &unconfirmed).await?,
        has_door: app.config.executors.is_some(),
    })
}

async fn make(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Page {
    let some = |name: &str| Some(field(&form, name)).filter(|text| !text.is_empty());
    let number = |name: &str| -> Result<Option<u32>, PageError> {
        let read = |text: String| text.parse().map_err(|_| Problem::bad_request(format!("`{name}` is a number")));
        Ok(some(name).map(read).transpose()?)
    };
    let labels = field(&form, "labels");
    let pairs = labels.split_whitespace().map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), value.to_owned())
    });
    let tier = some("tier").map(|text| text.parse().map_err(|_| Problem::bad_request("`tier` is a number")));
    let wanted = CreateEnrolment {
        name: field(&form, "name"),
        uses: number("uses")?,
        hours: number("hours")?,
        confirmed: field(&form, "confirmed") == "true",
        host: LabelAsset {
            environment: some("environment"),
            owner: some("owner"),
            classification: some("classification"),
            tier: tier.transpose()?,
            labels: pairs.collect(),
        },
    };
    let made = ask::enrolment::create(&app, &visitor.name, &wanted).await?;
    page(&Once {
        shell: Shell::new(&app, &visitor, "Hosts", format!("Token {}", made.name)).await?,
        text: format!(
            "Run this as root on each host, where stanch-agent is installed. It lets in {} and ends {}. Whoever has it can \
             bring a host in: hand it over in private.",
            show::count(&u64::from(made.uses), "host"),
            show::when(&made.expires_at)
        ),
        value: format!("STANCH_ENROL_TOKEN={} stanch-agent enrol --server {}", made.token, made.server),
        back: "/enrolment".to_owned(),
    })
}

async fn confirm(State(app): State<App>, visitor: Visitor, Form(form): Fields) -> Done {
    for executor in fields(&form, "executor").iter().take(WAITING as usize) {
        ask::confirm_executor(&app, &visitor.name, executor).await?;
    }
    to("/enrolment")
}

async fn revoke(State(app): State<App>, visitor: Visitor, Path(name): Path<String>) -> Done {
    ask::enrolment::revoke(&app, &visitor.name, &name).await?;
    to("/enrolment")
}

/// What hosts become by a token, in words.
fn becomes(token: &Enrolment) -> String {
    let mut words: Vec<String> = token.environment.iter().chain(&token.owner).cloned().collect();
    words.extend(token.labels.iter().map(|(name, value)| format!("{name}={value}")));
    words.join(", ")
}

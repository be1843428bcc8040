//! One problem over all hosts: where are we exposed, what is done, when will it be finished.

use askama::Template;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::routing::get;

use super::{Page, Shell, page, show};
use crate::api::CveFilter;
use crate::api::types::Cve;
use crate::app::App;
use crate::auth::Visitor;
use crate::view;

/// Places on a page when nobody says.
const PAGE: u32 = 100;

/// The states of places, in the order in which they press, with what they mean.
const STATES: [(&str, &str); 9] = [
    ("open", "can be fixed, nothing is under way"),
    ("held", "held by the package's owner"),
    ("no_fix", "nobody offers a fix"),
    ("in_work", "a remediation is about it"),
    ("excepted", "taken back, or the risk is accepted"),
    ("unknown", "the data do not say"),
    ("fixed", "shown gone by newer facts"),
    ("gone", "the package is not there any more"),
    ("not_affected", "not affected"),
];

#[derive(Template)]
#[template(path = "cve.html")]
struct CvePage {
    shell: Shell,
    cve: Cve,
    filter: CveFilter,
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/cves/{id}", get(show_page))
}

async fn show_page(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(mut filter): Query<CveFilter>,
) -> Page {
    for field in [&mut filter.state, &mut filter.after] {
        field.take_if(|text| text.is_empty());
    }
    filter.limit.get_or_insert(PAGE);
    let cve = view::cve(&app, &visitor.sight, &id, &filter).await?;
    page(&CvePage {
        shell: Shell::new(&app, &visitor, "Hosts", cve.id.clone()).await?.live("/api/v1/events", "remediation"),
        cve,
        filter,
    })
}

impl CvePage {
    /// How many assets are in each state that some are in.
    fn states(&self) -> Vec<(&'static str, &'static str, u64)> {
        let number = |name: &str| self.cve.hosts.by_state.get(name).copied().unwrap_or_default();
        STATES.into_iter().map(|(name, why)| (name, why, number(name))).filter(|(.., number)| *number > 0).collect()
    }

    fn fixed(&self) -> u64 {
        ["fixed", "gone"].iter().filter_map(|name| self.cve.hosts.by_state.get(*name)).sum()
    }

    fn of(&self, name: &str) -> u64 {
        self.cve.hosts.by_state.get(name).copied().unwrap_or_default()
    }
}

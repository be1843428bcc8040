//! What each operation needs: the one table. What is not in it is not there for anybody.
//!
//! Beside the power, an entry says over what it must be held. Where an operation names a thing (`{id}` after its
//! noun), the door looks up the assets behind it and asks for the power over each of them; where it names none, what
//! it shows is narrowed to what the visitor may see.

use axum::http::Method;
use stanch_model::asset::Asset;
use stanch_model::id::{AssetId, ChangeId, FindingId, RemediationId};
use stanch_model::person::Power;

use super::Visitor;
use crate::api::Problem;
use crate::app::App;
use crate::view;

/// What must be true of a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: strangers may.
    Nothing,
    /// To be somebody.
    SignedIn,
    /// Any of these powers over that.
    Power(&'static [Power], Over),
}

/// Over what a power must be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Everything.
    Everything,
    /// Anything; the answer is narrowed to it.
    Something,
    /// The thing that the path names.
    Named(Noun),
}

/// A thing that a path can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noun {
    Asset,
    Finding,
    Item,
    Remediation,
    Plan,
    Case,
    Change,
}

use Need::{Nothing, SignedIn};
use Noun::{Case, Change, Finding, Item, Plan, Remediation};
use Over::{Everything, Named, Something};

const READ: &[Power] = &[Power::Read];
const OPERATE: &[Power] = &[Power::Operate];
const APPROVE: &[Power] = &[Power::Approve];
const ADMIN: &[Power] = &[Power::Admin];
/// A word on a plan or on what was done is for whoever may say yes, and for whoever may ask; which of them counts for
/// what is decided where the word is taken.
const SPEAK: &[Power] = &[Power::Operate, Power::Approve];

/// Every operation of the API and every page: method, path, need.
pub(crate) const TABLE: &[(&str, &str, Need)] = &[
    ("GET", "/api/v1/openapi.json", Nothing),
    ("GET", "/api/v1/health", Nothing),
    ("GET", "/api/v1/metrics", Need::Power(READ, Everything)),
    ("GET", "/api/v1/status", Need::Power(READ, Something)),
    ("POST", "/api/v1/scan", Need::Power(OPERATE, Everything)),
    ("GET", "/api/v1/assets", Need::Power(READ, Something)),
    ("POST", "/api/v1/assets/import", Need::Power(ADMIN, Everything)),
    ("GET", "/api/v1/assets/{id}", Need::Power(READ, Named(Noun::Asset))),
    ("GET", "/api/v1/assets/{id}/facts", Need::Power(READ, Named(Noun::Asset))),
    ("GET", "/api/v1/assets/{id}/history", Need::Power(READ, Named(Noun::Asset))),
    ("POST", "/api/v1/assets/{id}/labels", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/assets/{id}/links", Need::Power(ADMIN, Everything)),
    ("GET", "/api/v1/edges", Need::Power(READ, Everything)),
    ("POST", "/api/v1/edges", Need::Power(ADMIN, Everything)),
    ("GET", "/api/v1/executors", Need::Power(READ, Everything)),
    ("POST", "/api/v1/executors/{id}/trust", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/executors/{id}/confirm", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/executors/{id}/revoke", Need::Power(ADMIN, Everything)),
    ("GET", "/api/v1/enrolments", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/enrolments", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/enrolments/{name}/revoke", Need::Power(ADMIN, Everything)),
    ("GET", "/api/v1/findings", Need::Power(READ, Something)),
    ("GET", "/api/v1/findings/{id}", Need::Power(READ, Named(Finding))),
    ("GET", "/api/v1/cves/{id}", Need::Power(READ, Something)),
    ("GET", "/api/v1/items", Need::Power(READ, Something)),
    ("GET", "/api/v1/items/{id}", Need::Power(READ, Named(Item))),
    ("GET", "/api/v1/remediations", Need::Power(READ, Something)),
    ("POST", "/api/v1/remediations", Need::Power(OPERATE, Something)),
    ("GET", "/api/v1/remediations/{id}", Need::Power(READ, Named(Remediation))),
    ("GET", "/api/v1/remediations/{id}/events", Need::Power(READ, Named(Remediation))),
    ("POST", "/api/v1/remediations/{id}/measure", Need::Power(SPEAK, Named(Remediation))),
    ("POST", "/api/v1/remediations/{id}/rehearse", Need::Power(SPEAK, Named(Remediation))),
    ("POST", "/api/v1/remediations/{id}/approve", Need::Power(SPEAK, Named(Remediation))),
    ("POST", "/api/v1/remediations/{id}/answer", Need::Power(SPEAK, Named(Remediation))),
    ("POST", "/api/v1/remediations/{id}/undo", Need::Power(OPERATE, Named(Remediation))),
    ("POST", "/api/v1/remediations/{id}/cancel", Need::Power(OPERATE, Named(Remediation))),
    ("POST", "/api/v1/remediations/{id}/dismiss", Need::Power(SPEAK, Named(Remediation))),
    ("GET", "/api/v1/plans/{hash}", Need::Power(READ, Named(Plan))),
    ("GET", "/api/v1/plans/{hash}/document", Need::Power(READ, Named(Plan))),
    ("GET", "/api/v1/campaigns", Need::Power(READ, Everything)),
    ("POST", "/api/v1/campaigns", Need::Power(OPERATE, Everything)),
    ("GET", "/api/v1/campaigns/{id}", Need::Power(READ, Everything)),
    ("GET", "/api/v1/cases", Need::Power(READ, Something)),
    ("POST", "/api/v1/cases", Need::Power(OPERATE, Something)),
    ("GET", "/api/v1/cases/{id}", Need::Power(READ, Named(Case))),
    ("POST", "/api/v1/cases/{id}/tasks/{run}/done", Need::Power(SPEAK, Named(Case))),
    ("POST", "/api/v1/cases/{id}/tasks/{run}/decline", Need::Power(SPEAK, Named(Case))),
    ("POST", "/api/v1/cases/{id}/close", Need::Power(OPERATE, Named(Case))),
    ("POST", "/api/v1/cases/{id}/undo", Need::Power(OPERATE, Named(Case))),
    ("GET", "/api/v1/changes", Need::Power(READ, Something)),
    ("GET", "/api/v1/changes/{id}", Need::Power(READ, Named(Change))),
    ("POST", "/api/v1/changes/{id}/approve", Need::Power(APPROVE, Named(Change))),
    ("POST", "/api/v1/changes/{id}/reject", Need::Power(APPROVE, Named(Change))),
    ("POST", "/api/v1/changes/{id}/close", Need::Power(APPROVE, Named(Change))),
    ("POST", "/api/v1/hooks/{name}", Nothing),
    ("GET", "/api/v1/report", Need::Power(READ, Something)),
    ("GET", "/api/v1/policies", Need::Power(READ, Something)),
    ("POST", "/api/v1/policies/draft", Need::Power(ADMIN, Everything)),
    ("GET", "/api/v1/calendar", Need::Power(READ, Something)),
    ("GET", "/api/v1/holds", SignedIn),
    ("POST", "/api/v1/holds", Need::Power(OPERATE, Everything)),
    ("POST", "/api/v1/holds/{id}/release", Need::Power(OPERATE, Everything)),
    ("GET", "/api/v1/feeds", Need::Power(READ, Something)),
    ("POST", "/api/v1/feeds/refresh", Need::Power(OPERATE, Everything)),
    ("POST", "/api/v1/feeds/judge", Need::Power(OPERATE, Everything)),
    ("GET", "/api/v1/ledger", Need::Power(READ, Everything)),
    ("GET", "/api/v1/ledger/checkpoint", Need::Power(READ, Everything)),
    ("GET", "/api/v1/ledger/verify", Need::Power(READ, Everything)),
    ("GET", "/api/v1/ledger/export", Need::Power(READ, Everything)),
    ("GET", "/api/v1/retention", Need::Power(READ, Everything)),
    ("GET", "/api/v1/retention/preview", Need::Power(READ, Everything)),
    ("POST", "/api/v1/retention/holds", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/retention/holds/{name}/lift", Need::Power(ADMIN, Everything)),
    ("GET", "/api/v1/events", Need::Power(READ, Something)),
    ("GET", "/api/v1/session", SignedIn),
    ("POST", "/api/v1/session/sign-out", SignedIn),
    ("POST", "/api/v1/session/password", SignedIn),
    ("POST", "/api/v1/session/links", Need::Power(ADMIN, Everything)),
    ("GET", "/api/v1/people", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/people", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/people/{name}/state", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/people/{name}/email", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/people/{name}/invitation", Need::Power(ADMIN, Everything)),
    ("GET", "/api/v1/teams", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/teams", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/teams/{name}/remove", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/teams/{name}/members", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/grants", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/grants/revoke", Need::Power(ADMIN, Everything)),
    ("GET", "/api/v1/tokens", SignedIn),
    ("POST", "/api/v1/tokens", SignedIn),
    ("POST", "/api/v1/tokens/{id}/revoke", SignedIn),
    ("GET", "/api/v1/connections", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/connections", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/connections/{name}/remove", Need::Power(ADMIN, Everything)),
    ("POST", "/api/v1/connections/{name}/test", Need::Power(ADMIN, Everything)),
    ("GET", "/api/v1/notices", Need::Power(ADMIN, Everything)),
    ("GET", "/static/stanch.css", Nothing),
    ("GET", "/static/stanch.js", Nothing),
    ("GET", "/static/icon.svg", Nothing),
    ("GET", "/sign-in", Nothing),
    ("POST", "/sign-in", Nothing),
    ("POST", "/sign-in/password", Nothing),
    ("GET", "/sign-in/oidc/{name}", Nothing),
    ("GET", "/sign-in/callback", Nothing),
    ("GET", "/invitation", Nothing),
    ("POST", "/invitation", Nothing),
    ("POST", "/sign-out", SignedIn),
    ("GET", "/account", SignedIn),
    ("POST", "/account/password", SignedIn),
    ("POST", "/account/tokens", SignedIn),
    ("POST", "/account/tokens/revoke", SignedIn),
    ("GET", "/", Need::Power(READ, Something)),
    ("GET", "/search", Need::Power(READ, Something)),
    ("GET", "/cves/{id}", Need::Power(READ, Something)),
    ("GET", "/hosts", Need::Power(READ, Something)),
    ("GET", "/hosts/{id}", Need::Power(READ, Named(Noun::Asset))),
    ("GET", "/enrolment", Need::Power(ADMIN, Everything)),
    ("POST", "/enrolment", Need::Power(ADMIN, Everything)),
    ("POST", "/enrolment/confirm", Need::Power(ADMIN, Everything)),
    ("POST", "/enrolments/{name}/revoke", Need::Power(ADMIN, Everything)),
    ("POST", "/assets/{id}/labels", Need::Power(ADMIN, Everything)),
    ("POST", "/assets/{id}/links", Need::Power(ADMIN, Everything)),
    ("POST", "/assets/{id}/edges", Need::Power(ADMIN, Everything)),
    ("POST", "/executors/{id}/trust", Need::Power(ADMIN, Everything)),
    ("POST", "/executors/{id}/confirm", Need::Power(ADMIN, Everything)),
    ("POST", "/executors/{id}/revoke", Need::Power(ADMIN, Everything)),
    ("GET", "/items", Need::Power(READ, Something)),
    ("GET", "/report", Need::Power(READ, Something)),
    ("GET", "/campaigns/new", Need::Power(OPERATE, Everything)),
    ("POST", "/campaigns", Need::Power(OPERATE, Everything)),
    ("GET", "/campaigns/{id}", Need::Power(READ, Everything)),
    ("GET", "/cases", Need::Power(READ, Something)),
    ("POST", "/cases", Need::Power(OPERATE, Something)),
    ("GET", "/cases/{id}", Need::Power(READ, Named(Case))),
    ("POST", "/cases/{id}/tasks/{run}/done", Need::Power(SPEAK, Named(Case))),
    ("POST", "/cases/{id}/tasks/{run}/decline", Need::Power(SPEAK, Named(Case))),
    ("POST", "/cases/{id}/close", Need::Power(OPERATE, Named(Case))),
    ("POST", "/cases/{id}/undo", Need::Power(OPERATE, Named(Case))),
    ("GET", "/items/{id}", Need::Power(READ, Named(Item))),
    ("GET", "/findings/{id}", Need::Power(READ, Named(Finding))),
    ("POST", "/items/fix", Need::Power(OPERATE, Something)),
    ("GET", "/remediations", Need::Power(READ, Something)),
    ("GET", "/remediations/{id}", Need::Power(READ, Named(Remediation))),
    ("POST", "/remediations/{id}/measure", Need::Power(SPEAK, Named(Remediation))),
    ("POST", "/remediations/{id}/rehearse", Need::Power(SPEAK, Named(Remediation))),
    ("POST", "/remediations/{id}/approve", Need::Power(SPEAK, Named(Remediation))),
    ("POST", "/remediations/{id}/answer", Need::Power(SPEAK, Named(Remediation))),
    ("POST", "/remediations/{id}/undo", Need::Power(OPERATE, Named(Remediation))),
    ("POST", "/remediations/{id}/cancel", Need::Power(OPERATE, Named(Remediation))),
    ("POST", "/remediations/{id}/dismiss", Need::Power(SPEAK, Named(Remediation))),
    ("GET", "/ledger", Need::Power(READ, Everything)),
    ("GET", "/policies", Need::Power(READ, Something)),
    ("GET", "/calendar", Need::Power(READ, Something)),
    ("GET", "/feeds", Need::Power(READ, Something)),
    ("POST", "/feeds/refresh", Need::Power(OPERATE, Everything)),
    ("POST", "/feeds/judge", Need::Power(OPERATE, Everything)),
    ("POST", "/holds", Need::Power(OPERATE, Everything)),
    ("POST", "/holds/release", Need::Power(OPERATE, Everything)),
    ("POST", "/holds/patch", Need::Power(OPERATE, Everything)),
    ("POST", "/scan", Need::Power(OPERATE, Everything)),
    ("GET", "/people", Need::Power(ADMIN, Everything)),
    ("POST", "/people", Need::Power(ADMIN, Everything)),
    ("GET", "/people/{name}", Need::Power(ADMIN, Everything)),
    ("POST", "/people/{name}/state", Need::Power(ADMIN, Everything)),
    ("POST", "/people/{name}/email", Need::Power(ADMIN, Everything)),
    ("POST", "/people/{name}/invitation", Need::Power(ADMIN, Everything)),
    ("GET", "/teams/{name}", Need::Power(ADMIN, Everything)),
    ("POST", "/teams", Need::Power(ADMIN, Everything)),
    ("POST", "/teams/{name}/remove", Need::Power(ADMIN, Everything)),
    ("POST", "/teams/{name}/members", Need::Power(ADMIN, Everything)),
    ("POST", "/grants", Need::Power(ADMIN, Everything)),
    ("POST", "/grants/revoke", Need::Power(ADMIN, Everything)),
    ("GET", "/connections", Need::Power(ADMIN, Everything)),
    ("POST", "/connections", Need::Power(ADMIN, Everything)),
    ("POST", "/connections/{name}/remove", Need::Power(ADMIN, Everything)),
    ("POST", "/connections/{name}/test", Need::Power(ADMIN, Everything)),
];

/// What an operation needs; `None` for what is not in the table.
pub(crate) fn need(method: &Method, path: &str) -> Option<Need> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    TABLE.iter().find(|(known, at, _)| *known == method && *at == path).map(|(_, _, need)| *need)
}

/// Lets a visitor through to an operation that needs a power, or says why not. What they may not even see is not
/// there.
pub(crate) async fn check(
    app: &App,
    visitor: &Visitor,
    method: &Method,
    path: &str,
    (powers, over): (&[Power], Over),
    named: Option<&str>,
) -> Result<(), Problem> {
    let access = &visitor.access;
    let hidden = || Problem::not_found("page", path);
    let has = powers.iter().any(|power| match over {
        Everything => access.may_everywhere(*power),
        Something | Named(_) => access.may_somewhere(*power),
    });
    if !has {
        let looks = matches!(*method, Method::GET | Method::HEAD) || powers.contains(&Power::Admin);
        return Err(if looks || !access.may_somewhere(Power::Read) { hidden() } else { refused(powers) });
    }
    let Named(noun) = over else { return Ok(()) };
    if access.may_everywhere(Power::Read) && powers.iter().any(|power| access.may_everywhere(*power)) {
        return Ok(());
    }
    let id = named.unwrap_or_default();
    let assets = noun.assets(app, id).await?;
    let missing = || Problem::not_found(noun.name(), id);
    if !assets.iter().any(|asset| access.may(Power::Read, asset)) {
        return Err(missing());
    }
    let looking = powers == READ;
    if looking || assets.iter().all(|asset| powers.iter().any(|power| access.may(*power, asset))) {
        return Ok(());
    }
    Err(refused(powers))
}

fn refused(powers: &[Power]) -> Problem {
    let names: Vec<&str> = powers.iter().map(|power| power.name()).collect();
    Problem::forbidden(format!("this needs a role that may {}, for everything it touches", names.join(" or ")))
        .hint("ask an administrator for the role")
}

impl Noun {
    const fn name(self) -> &'static str {
        match self {
            Self::Asset => "asset",
            Self::Finding => "finding",
            Self::Item => "item",
            Self::Remediation => "remediation",
            Self::Plan => "plan",
            Self::Case => "case",
            Self::Change => "change request",
        }
    }

    /// The assets that a thing is about; none where there is no such thing.
    async fn assets(self, app: &App, id: &str) -> Result<Vec<Asset>, Problem> {
        let ids: Vec<AssetId> = match self {
            Self::Asset => id.parse().into_iter().collect(),
            Self::Finding => match id.parse::<FindingId>() {
                Ok(id) => app.store.finding(&id).await?.into_iter().map(|row| row.finding.asset).collect(),
                Err(_) => Vec::new(),
            },
            // A name that several assets have is not told apart for whoever may not see all of them.
            Self::Item => view::find_item(app, id).await.into_iter().map(|row| row.item.asset).collect(),
            Self::Remediation => match id.parse::<RemediationId>() {
                Ok(id) => app.store.remediation(&id).await?.into_iter().flat_map(|row| row.assets).collect(),
                Err(_) => Vec::new(),
            },
            Self::Case => match view::find_case(app, id).await {
                Ok((_, record)) => view::case_assets(app, &record).await?.into_iter().collect(),
                Err(_) => Vec::new(),
            },
            Self::Change => match id.parse::<ChangeId>() {
                Ok(id) => match app.store.change(&id).await? {
                    Some(change) => {
                        let row = app.store.remediation(&change.remediation).await?;
                        row.into_iter().flat_map(|row| row.assets).collect()
                    }
                    None => Vec::new(),
                },
                Err(_) => Vec::new(),
            },
            Self::Plan => match id.parse() {
                Ok(hash) => {
                    let plan = app.store.plan(&hash).await?;
                    plan.into_iter().flat_map(|plan| plan.leaves).map(|leaf| leaf.asset).collect()
                }
                Err(_) => Vec::new(),
            },
        };
        let mut assets = Vec::with_capacity(ids.len());
        for id in ids {
            assets.extend(app.store.asset(&id).await?.map(|stored| stored.asset));
        }
        Ok(assets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every route of the pages, read from their text: `.route("/path", get(..).post(..))`.
    fn pages() -> Vec<(String, String)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/web");
        let mut found = Vec::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|kind| kind != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for part in text.split(".route(").skip(1) {
                let (at, rest) = part.trim_start().trim_start_matches('"').split_once('"').unwrap();
                // Up to the next route or the end of the statement.
                let rest = rest.split([';', '\u{7d}']).next().unwrap();
                for (verb, method) in [("get(", "GET"), ("post(", "POST"), ("put(", "PUT"), ("delete(", "DELETE")] {
                    if rest.contains(verb) {
                        found.push((method.to_owned(), at.to_owned()));
                    }
                }
            }
        }
        assert!(found.len() > 20, "{found:?}");
        found
    }

    fn operations() -> Vec<(String, String)> {
        let description = serde_json::to_value(crate::api::openapi()).unwrap();
        let paths = description["paths"].as_object().unwrap().clone();
        let of = |(path, item): (String, serde_json::Value)| {
            let verbs: Vec<String> = item.as_object().unwrap().keys().map(|verb| verb.to_uppercase()).collect();
            let known = |verb: &String| ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&verb.as_str());
            verbs.into_iter().filter(known).map(|verb| (verb, path.clone())).collect::<Vec<_>>()
        };
        paths.into_iter().flat_map(of).collect()
    }

    #[test]
    fn every_operation_and_every_page_is_in_the_table_and_nothing_else_is() {
        let mut there = operations();
        there.extend(pages());
        there.push(("GET".into(), "/api/v1/openapi.json".into()));
        let listed = |one: &(String, String)| TABLE.iter().any(|(method, path, _)| *method == one.0 && *path == one.1);
        let missing: Vec<_> = there.iter().filter(|one| !listed(one)).collect();
        assert!(missing.is_empty(), "not in the table, and so not there for anybody: {missing:?}");
        let is_there = |method: &str, path: &str| there.iter().any(|one| one.0 == method && one.1 == path);
        let stale: Vec<_> = TABLE.iter().filter(|(method, path, _)| !is_there(method, path)).collect();
        assert!(stale.is_empty(), "in the table without being there: {stale:?}");
    }

    #[test]
    fn what_acts_needs_more_than_looking() {
        let own = ["/session/", "/account", "/sign-", "/invitation", "/tokens"];
        for (method, path, need) in TABLE {
            let looking =
                *need == Nothing || *need == SignedIn || matches!(need, Need::Power(powers, _) if *powers == READ);
            let looking = looking && !path.starts_with("/api/v1/hooks/");
            assert!(*method == "GET" || !looking || own.iter().any(|part| path.contains(part)), "{method} {path}");
            let strangers = *need == Nothing;
            // A hook is opened by a signature over what it carries.
            let open = ["/api/v1/openapi.json", "/api/v1/health"];
            let door = ["/sign-in", "/invitation", "/static/", "/api/v1/hooks/"];
            let known = open.contains(path) || door.iter().any(|part| path.starts_with(part));
            assert!(!strangers || known, "{method} {path} is for strangers");
        }
    }

    #[test]
    fn an_operation_and_its_form_need_the_same() {
        for (method, path, need) in TABLE.iter().filter(|(method, _, _)| *method == "POST") {
            let twin = format!("/api/v1{path}");
            if let Some(other) = super::need(&method.parse().unwrap(), &twin) {
                assert_eq!(*need, other, "{path}");
            }
        }
    }
}

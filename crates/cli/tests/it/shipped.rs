//! The shipped policies on the packages of a real server, most of whose findings no list names and nobody scored.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use jiff::Timestamp;
use stanch_agent::facts;
use stanch_engine::{AssessInput, Index, Proposal, assess, by_urgency, group, propose};
use stanch_feeds::Knowledge;
use stanch_model::assessment::Assessment;
use stanch_model::asset::{AssetKind, Tier};
use stanch_model::decision::{Decision, Mode};
use stanch_model::finding::Finding;
use stanch_model::item::WorkItem;
use stanch_model::plan::{Disruption, Reversibility};
use stanch_policy::{ActionFacts, Bundle, Facts, Known, Place};

use crate::program::fixture;

fn shipped() -> Bundle {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let sources = stanch_server::policies::sources(&folder).unwrap();
    Bundle::load(&sources).bundle.unwrap()
}

struct Server {
    host: stanch_model::facts::HostFacts,
    findings: Vec<Finding>,
    items: Vec<(WorkItem, Assessment)>,
}

/// The findings of the server in the fixture, in the shipped order.
fn server(now: Timestamp) -> Server {
    let mut status = Vec::new();
    let file = std::fs::File::open(fixture("server.dpkg-status.gz")).unwrap();
    flate2::read::MultiGzDecoder::new(file).read_to_end(&mut status).unwrap();
    let os = facts::os::parse_release("debian:12").unwrap();
    let mut host = facts::from_status(&status, os, "server").unwrap();
    host.asset.kind = AssetKind::Host;
    host.asset.tier = Tier::try_from(3).ok();
    let knowledge = Knowledge::snapshot().unwrap();
    let findings = stanch_feeds::detect(&host, &knowledge, now).findings;
    let feeds: Vec<_> = knowledge.feeds(now).into_iter().map(|feed| feed.meta.reference()).collect();
    let members = Index::new(&findings);
    let enrich = |id: &str| Some(knowledge.enrich(id));
    let mut items: Vec<(WorkItem, Assessment)> = group(&host.asset.id, &findings)
        .items
        .into_iter()
        .map(|item| {
            let input = AssessInput {
                item: &item,
                members: &members.members(&item),
                asset: &host.asset,
                facts: Some(&host),
                dependents: 0,
                first_seen: now,
                feeds: &feeds,
                enrich: &enrich,
            };
            let assessment = assess(&input, now);
            (item, assessment)
        })
        .collect();
    items.sort_by(|(_, a), (_, b)| by_urgency(a, b));
    Server { host, findings, items }
}

impl Server {
    /// What is decided of each item when the host has this start: whether something can be done, and the decision.
    fn decided(&self, bundle: &Bundle, start: &str, now: Timestamp) -> Vec<(bool, Decision)> {
        let mut asset = self.host.asset.clone();
        asset.labels.insert("automation".to_owned(), start.to_owned());
        let members = Index::new(&self.findings);
        let decide = |(item, assessment): &(WorkItem, Assessment)| {
            let findings = members.members(item);
            let action = match propose(&asset, item, &findings) {
                Proposal::Candidate(candidate) => candidate.asks.first().map(|ask| ActionFacts {
                    kind: ask.action().to_owned(),
                    disruption: Some(Disruption::Restart),
                    reversibility: Some(Reversibility::Restorable),
                    idempotent: Some(true),
                    closes_exposure: Some(true),
                    contains: Some(false),
                    proven: Some(true),
                    verified_runs: Some(0),
                    success_e5: None,
                    undos: Some(0),
                    misfires: Some(0),
                }),
                Proposal::Nothing { .. } => None,
            };
            let known = Known {
                asset: &asset,
                item,
                findings: &findings,
                assessment: Some(assessment),
                action: action.as_ref(),
                first_seen: Some(now),
                stale: Some(false),
                place: Place { own: Some(false), confirmed: Some(true), asks_signatures: Some(false) },
                offered_at: None,
                block: None,
                updaters: None,
                groups: None,
            };
            (action.is_some(), bundle.decide(&item.id, &Facts::gather(&known, now), now))
        };
        self.items.iter().map(decide).collect()
    }
}

#[test]
fn a_real_server_is_treated_sensibly_although_most_of_its_findings_have_no_score() {
    let now = "2026-11-22T00:00:00Z".parse().unwrap();
    let (bundle, server) = (shipped(), server(now));
    let scored = |known: &Assessment| {
        known.members.iter().any(|member| member.enrichment.kev.is_some() || !member.enrichment.cvss.is_empty())
    };
    let bare = server.items.iter().filter(|(_, assessment)| !scored(assessment)).count();
    let mut table = format!("{} items, {bare} with neither KEV nor CVSS\n", server.items.len());
    for start in ["none", "suggest", "approve", "auto", "current"] {
        let decided = server.decided(&bundle, start, now);
        let mut counts: BTreeMap<(bool, &str), usize> = BTreeMap::new();
        for (can, decision) in &decided {
            *counts.entry((*can, decision.mode.name())).or_default() += 1;
        }
        table.push_str(&format!("{start:<8}"));
        for ((can, mode), count) in counts {
            table.push_str(&format!(" {}{mode}={count}", if can { "" } else { "no-fix:" }));
        }
        table.push('\n');
        if start != "none" {
            let lost = decided.iter().filter(|(can, decision)| *can && decision.mode < Mode::Suggest).count();
            assert_eq!(lost, 0, "{start}: what can be fixed is at least suggested");
        }
        let acted = decided.iter().filter(|(can, decision)| !can && decision.mode > Mode::Suggest).count();
        assert_eq!(acted, 0, "{start}: nothing is done where nothing can be done");
    }
    insta::assert_snapshot!(table);
}

#[test]
fn what_runs_by_itself_stands_before_what_waits() {
    let now = "2026-11-22T00:00:00Z".parse().unwrap();
    let (bundle, server) = (shipped(), server(now));
    let decided = server.decided(&bundle, "auto", now);
    let last_auto = decided.iter().rposition(|(_, decision)| decision.mode == Mode::Auto);
    let first_suggested = decided.iter().position(|(can, decision)| *can && decision.mode == Mode::Suggest);
    assert!(
        last_auto.is_none_or(|auto| first_suggested.is_none_or(|suggested| auto < suggested)),
        "{last_auto:?} {first_suggested:?}"
    );
}

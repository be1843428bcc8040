//! The nouns that need few words.

use std::collections::BTreeSet;

use serde_json::json;
use stanch_model::Digest;
use stanch_model::asset::{Asset, AssetKind};
use stanch_model::facts::{HostFacts, Known, OsRelease};
use stanch_model::finding::{Coverage, Detector, Finding};
use stanch_model::id::{FindingId, RemediationId};
use stanch_model::order::{Check, CheckOutcome};
use stanch_store::approval::{Approval, ApprovalVerdict};
use stanch_store::asset::{SeenAsset, SeenBy};
use stanch_store::detection::{Detection, Listed, Said};
use stanch_store::facts::NewFacts;
use stanch_store::feed::{Feed, FeedStatus};
use stanch_store::finding::{ClosedAs, SyncFindings};
use stanch_store::hold::{ALL, Hold, HoldLevel, ReleaseHold};
use stanch_store::missed::{CatchUp, InARow, MissedWindow};
use stanch_store::session::{EndSession, NewSession, NewToken, UseToken};
use stanch_store::setting::{EPOCH, Setting};
use stanch_store::suppression::{LiftSuppression, StillWanted, Suppression};
use stanch_store::verification::Verification;
use stanch_store::version::SeeVersions;
use stanch_store::{CommitError, Effect, OpenError, Store, StoreAt, Write};

use crate::world::{at, finding, work_item, world};

fn facts(name: &str, seconds: i64) -> HostFacts {
    HostFacts {
        asset: Asset::unlabelled(AssetKind::Host, name, name),
        collected_at: at(seconds),
        boot_id: Known::Unknown("not running".into()),
        os: OsRelease {
            id: "debian".into(),
            version_id: Some("12".into()),
            codename: None,
            pretty_name: "Debian".into(),
        },
        architecture: "amd64".into(),
        packages: Vec::new(),
        components: Vec::new(),
        broken: Vec::new(),
        candidates: Known::Unknown("none".into()),
        indexes_at: None,
        kernel: Known::Unknown("none".into()),
        stale: Known::Unknown("none".into()),
        sockets: Known::Unknown("none".into()),
        updaters: Vec::new(),
        health: Vec::new(),
        in_use: None,
        talks: None,
        posture: None,
        gaps: Vec::new(),
    }
}

#[tokio::test]
async fn the_latest_facts_stay_even_when_older_ones_arrive_late() {
    let world = world().await;
    let asset = world.asset("host").await;
    for (seconds, effect) in [(10, Effect::Done), (5, Effect::Unchanged), (20, Effect::Done)] {
        let put = Write::PutFacts(NewFacts { facts: facts("host", seconds), at: at(30) });
        assert_eq!(world.store.put(put).await.unwrap().effects, [effect]);
    }
    assert_eq!(world.store.facts(&asset).await.unwrap().unwrap().facts, facts("host", 20));
    assert_eq!(world.store.facts_at(&asset).await.unwrap(), Some(at(20)));
    let past: Vec<_> = world.store.facts_history(&asset, 10).await.unwrap().into_iter().map(|(at, _)| at).collect();
    assert_eq!(past, [at(20), at(10)]);
    let stranger = Write::PutFacts(NewFacts { facts: facts("stranger", 0), at: at(0) });
    assert!(matches!(world.store.put(stranger).await, Err(CommitError::Database { .. })), "its asset was never seen");
}

#[tokio::test]
async fn a_one_time_token_works_once_and_in_time() {
    let world = world().await;
    let hash = |name: &str| Digest::of_bytes(name.as_bytes());
    let token = |name: &str, expires| NewToken {
        hash: hash(name),
        purpose: "sign-in".into(),
        once: true,
        body: json!({"actor": "operator"}),
        at: at(0),
        expires_at: Some(at(expires)),
    };
    let used = |name: &str, purpose: &str, seconds| {
        Write::UseToken(UseToken { hash: hash(name), purpose: purpose.into(), at: at(seconds) })
    };
    world.store.put(Write::NewToken(token("a", 10))).await.unwrap();
    world.store.put(Write::NewToken(token("late", 10))).await.unwrap();
    assert!(matches!(world.store.put(used("a", "enrol", 1)).await, Err(CommitError::Token)), "for something else");
    let effects = world.store.put(used("a", "sign-in", 1)).await.unwrap().effects;
    assert_eq!(effects, [Effect::Token(json!({"actor": "operator"}))]);
    assert!(matches!(world.store.put(used("a", "sign-in", 2)).await, Err(CommitError::Token)), "a second time");
    assert!(matches!(world.store.put(used("late", "sign-in", 10)).await, Err(CommitError::Token)), "too late");
    assert!(matches!(world.store.put(used("never", "sign-in", 1)).await, Err(CommitError::Token)));
    assert_eq!(world.store.token(&hash("late"), "sign-in", at(1)).await.unwrap(), None, "not a lasting one");
    let lasting = NewToken { once: false, expires_at: None, purpose: "api".into(), ..token("api", 0) };
    world.store.put(Write::NewToken(lasting)).await.unwrap();
    assert!(world.store.token(&hash("api"), "api", at(9)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_session_ends_by_itself_or_when_told() {
    let world = world().await;
    let hash = Digest::of_bytes(b"secret");
    let new =
        NewSession { hash, actor: "operator".into(), body: json!({"role": "admin"}), at: at(0), expires_at: at(10) };
    world.store.put(Write::NewSession(new)).await.unwrap();
    assert_eq!(world.store.session(&hash, at(9)).await.unwrap().unwrap().actor, "operator");
    assert_eq!(world.store.session(&hash, at(10)).await.unwrap(), None);
    world.store.put(Write::EndSession(EndSession { hash })).await.unwrap();
    assert_eq!(world.store.session(&hash, at(1)).await.unwrap(), None);
}

/// Invariant 12: whoever planned before it was taken back does not begin it afterwards.
#[tokio::test]
async fn what_was_taken_back_since_is_refused_in_the_transaction_that_would_begin_it() {
    let world = world().await;
    let asset = world.asset("web-1").await;
    let item = work_item(&asset, "openssl", &[]).id;
    let begins = |since| {
        let items = vec![item.clone()];
        Write::StillWanted(StillWanted { asset: asset.clone(), items, since: at(since) })
    };
    world.store.put(begins(0)).await.unwrap();
    let taken_back = Suppression {
        item: item.clone(),
        asset: asset.clone(),
        version: "1.0-2".to_owned(),
        until: None,
        actor: "kim".to_owned(),
        reason: "broke the login".to_owned(),
        at: at(5),
    };
    world.store.put(Write::Suppress(taken_back)).await.unwrap();
    assert!(matches!(world.store.put(begins(4)).await, Err(CommitError::TakenBack { .. })));
    world.store.put(begins(6)).await.unwrap();
    let lift = LiftSuppression {
        item: item.clone(),
        asset: asset.clone(),
        version: "1.0-2".to_owned(),
        actor: "kim".to_owned(),
        at: at(7),
    };
    world.store.put(Write::LiftSuppression(lift)).await.unwrap();
    world.store.put(begins(4)).await.unwrap();
}

#[tokio::test]
async fn a_suppression_holds_until_it_is_lifted_or_over() {
    let world = world().await;
    let asset = world.asset("host").await;
    let item = work_item(&asset, "openssl", &[]).id;
    let suppress = |version: &str, until| Suppression {
        item: item.clone(),
        asset: asset.clone(),
        version: version.into(),
        until,
        actor: "operator".into(),
        reason: "taken back".into(),
        at: at(0),
    };
    world.store.put(Write::Suppress(suppress("1.0-2", None))).await.unwrap();
    world.store.put(Write::Suppress(suppress("1.0-3", Some(at(10))))).await.unwrap();
    assert_eq!(world.store.suppressions(at(9)).await.unwrap().len(), 2);
    assert_eq!(world.store.suppressions(at(10)).await.unwrap(), [suppress("1.0-2", None)]);
    let lift = LiftSuppression {
        item: item.clone(),
        asset: asset.clone(),
        version: "1.0-2".into(),
        actor: "operator".into(),
        at: at(11),
    };
    world.store.put(Write::LiftSuppression(lift.clone())).await.unwrap();
    assert!(matches!(world.store.put(Write::LiftSuppression(lift)).await, Err(CommitError::Missing { .. })));
    assert!(world.store.suppressions(at(12)).await.unwrap().is_empty());
}

#[tokio::test]
async fn missed_windows_are_counted_by_the_window_until_the_host_has_caught_up() {
    let world = world().await;
    let asset = world.asset("host").await;
    let asked = BTreeSet::from([asset.clone()]);
    let missed = |rollout: u8, shut| MissedWindow {
        asset: asset.clone(),
        remediation: RemediationId::from_entropy([rollout; 10]),
        opened_at: at(shut - 1),
        shut_at: at(shut),
        why: "not connected".into(),
        // In the first one no server was at work.
        away: shut > 5,
    };
    for one in [missed(1, 5), missed(2, 5), missed(1, 9), missed(1, 9)] {
        world.store.put(Write::MissWindow(one)).await.unwrap();
    }
    let row = |windows, away_since| InARow { windows, away_since };
    let in_a_row = world.store.missed_in_a_row(&asked).await.unwrap();
    assert_eq!(in_a_row[&asset], row(2, Some(at(9))), "two rollouts missed the same window");
    let told = world.store.missed_windows(&asked).await.unwrap();
    assert_eq!(told, [missed(1, 9), missed(1, 5), missed(2, 5)]);
    world.store.put(Write::CatchUp(CatchUp { asset: asset.clone(), at: at(10) })).await.unwrap();
    assert!(world.store.missed_windows(&asked).await.unwrap().is_empty());
    world.store.put(Write::MissWindow(missed(3, 20))).await.unwrap();
    let in_a_row = world.store.missed_in_a_row(&asked).await.unwrap();
    assert_eq!(in_a_row[&asset], row(1, Some(at(20))), "what is caught up counts no more");
}

#[tokio::test]
async fn a_version_was_offered_when_it_was_first_seen() {
    let world = world().await;
    let see = |version: &str, seconds| {
        let versions = vec![("openssl".to_owned(), version.to_owned())];
        Write::SeeVersions(SeeVersions { ecosystem: "debian 12".to_owned(), versions, at: at(seconds) })
    };
    for (version, seconds) in [("1.0-2", 5), ("1.0-2", 9), ("1.0-3", 9)] {
        world.store.put(see(version, seconds)).await.unwrap();
    }
    let key = |version: &str| ("debian 12".to_owned(), "openssl".to_owned(), version.to_owned());
    let offered = world.store.offered().await.unwrap();
    assert_eq!(offered, [(key("1.0-2"), at(5)), (key("1.0-3"), at(9))].into());
}

#[tokio::test]
async fn holds_feeds_settings_approvals_and_verifications_read_back() {
    let world = world().await;
    let hold = Hold {
        scope: ALL.into(),
        level: HoldLevel::StopAll,
        epoch: 1,
        reason: "r".into(),
        actor: "a".into(),
        at: at(0),
    };
    world.store.put(Write::Hold(hold.clone())).await.unwrap();
    assert_eq!(world.store.holds().await.unwrap(), [hold]);
    world.store.put(Write::ReleaseHold(ReleaseHold { scope: ALL.into() })).await.unwrap();
    assert!(world.store.holds().await.unwrap().is_empty());
    let again = world.store.put(Write::ReleaseHold(ReleaseHold { scope: ALL.into() })).await;
    assert!(matches!(again, Err(CommitError::Missing { .. })));

    let feed = Feed {
        name: "osv/Debian-12".into(),
        status: FeedStatus::Review,
        source: None,
        dated: Some(at(0)),
        model: None,
        digest: Some(Digest::of_bytes(b"feed")),
        records: Some(5),
        fetched_at: None,
        tried_at: None,
        error: None,
        validators: json!({}),
        review: Some(json!({"changes": 400})),
        at: at(0),
    };
    world.store.put(Write::PutFeed(feed.clone())).await.unwrap();
    assert_eq!(world.store.feeds().await.unwrap(), std::slice::from_ref(&feed));
    assert_eq!(world.store.feed("osv/Debian-12").await.unwrap(), Some(feed));

    assert_eq!(world.store.epoch().await.unwrap(), 1);
    world.store.put(Write::PutSetting(Setting { key: EPOCH.into(), value: json!(4), at: at(0) })).await.unwrap();
    assert_eq!(world.store.epoch().await.unwrap(), 4);

    let remediation = world.remediation("r").await;
    let asset = world.asset("host").await;
    let task = world.task("t", &remediation, &asset).await;
    let check = Check { name: "dpkg-audit".into(), outcome: CheckOutcome::Successful, detail: "clean".into() };
    let verification = Verification {
        task: task.clone(),
        at: at(5),
        outcome: CheckOutcome::Successful,
        facts_at: Some(at(4)),
        checks: vec![check],
    };
    world.store.put(Write::PutVerification(verification.clone())).await.unwrap();
    assert_eq!(world.store.verifications(&task).await.unwrap(), [verification]);

    let approval = Approval {
        plan: Digest::of_bytes(b"no such plan"),
        actor: "a".into(),
        verdict: ApprovalVerdict::Approved,
        reason: String::new(),
        at: at(0),
        expires_at: None,
        signed: None,
    };
    assert!(world.store.put(Write::PutApproval(approval)).await.is_err(), "only a plan that is there can be approved");
}

#[tokio::test]
async fn nudges_are_heard_at_once_and_stay_until_acknowledged() {
    let world = world().await;
    let mut heard = world.store.nudges();
    for name in ["a", "b", "c"] {
        let id = crate::world::remediation_id(name);
        world.store.commit(crate::world::begin(&id).nudge("plan", &id)).await.unwrap();
    }
    let (first, nudge) = heard.recv().await.unwrap();
    assert_eq!((nudge.topic.as_str(), nudge.subject), ("plan", crate::world::remediation_id("a").to_string()));
    world.store.put(Write::AckNudges(first)).await.unwrap();
    let world = world.reopened().await;
    let left = world.store.nudges_after(0, 10).await.unwrap();
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|(seq, _)| *seq > first));
    let id = crate::world::remediation_id("d");
    world.store.commit(crate::world::begin(&id).nudge("plan", &id)).await.unwrap();
    assert_eq!(world.store.nudges_after(left[1].0, 10).await.unwrap().len(), 1, "numbers go on after a start");
}

#[tokio::test]
async fn a_backup_is_a_whole_store() {
    let world = world().await;
    let id = world.remediation("r").await;
    let copy = world.folder.path().join("copy.db");
    world.store.backup(&copy).await.unwrap();
    assert!(world.store.backup(&copy).await.is_err(), "it never overwrites");
    world.remediation("later").await;
    let restored = Store::open(&copy).await.unwrap();
    assert!(restored.remediation(&id).await.unwrap().is_some());
    assert_eq!(restored.tree().await.unwrap().frontier.size(), 1);
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stanch.db");
    std::fs::write(&path, b"my diary, which is longer than a database header by some hundred bytes".repeat(9)).unwrap();
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.hint().contains("backup"));
    let nowhere = Store::open(&folder.path().join("no/such/folder/stanch.db")).await.unwrap_err();
    assert!(matches!(nowhere, OpenError::Open { .. }), "{nowhere:?}");
}

#[tokio::test]
async fn a_store_that_names_findings_otherwise_is_refused() {
    let world = world().await;
    let asset = world.asset("host").await;
    let run = |fingerprint: FindingId| {
        let found = Finding { fingerprint, ..finding(&asset, Detector::Advisory, "CVE-1", "a") };
        Write::SyncFindings(SyncFindings {
            asset: asset.clone(),
            detectors: vec![Detector::Advisory],
            findings: vec![found],
            at: at(0),
            closed_as: ClosedAs::Fixed,
            otherwise: std::collections::BTreeMap::new(),
        })
    };
    world.store.put(run(stanch_model::finding::fingerprint(&asset, Detector::Advisory, "CVE-1", "a"))).await.unwrap();
    let world = world.reopened().await;
    // It comes before the other one.
    world.store.put(run(FindingId::from_entropy([0; 10]))).await.unwrap();
    world.store.shut().await;
    let error = Store::open_at(&world.at).await.unwrap_err();
    assert!(matches!(error, OpenError::OtherIds { .. }), "{error:?}");
}

#[tokio::test]
async fn a_second_writer_that_slipped_past_the_lock_of_the_file_cannot_break_the_log() {
    let world = world().await;
    let StoreAt::File(path) = &world.at else { return };
    let second = Store::open(path).await.unwrap();
    world.remediation("first").await;
    let id = crate::world::remediation_id("second");
    let refused = second.commit(crate::world::begin(&id)).await;
    assert!(matches!(refused, Err(CommitError::Database { .. })), "its place in the log is taken: {refused:?}");
    assert_eq!(second.remediation(&id).await.unwrap(), None);
    world.remediation("third").await;
    let tree = world.store.tree().await.unwrap().frontier;
    assert_eq!(stanch_model::merkle::root(&world.store.leaves(2).await.unwrap()), tree.root());
}

#[tokio::test]
async fn shutting_commits_what_was_handed_in_and_shuts_every_clone() {
    let world = world().await;
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..300 {
        let (store, id) = (world.store.clone(), crate::world::remediation_id(&format!("r-{number}")));
        waiting.spawn(async move { store.commit(crate::world::begin(&id)).await });
    }
    let clone = world.store.clone();
    world.store.shut().await;
    let outcomes = waiting.join_all().await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(CommitError::Closed))), "{outcomes:?}");
    let committed = outcomes.iter().flatten().count() as u64;
    let late = clone.commit(crate::world::begin(&crate::world::remediation_id("late"))).await;
    assert!(matches!(late, Err(CommitError::Closed)), "{late:?}");
    let world = world.reopened().await;
    assert_eq!(world.store.tree().await.unwrap().frontier.size(), committed);
}

#[tokio::test]
async fn what_a_host_says_of_itself_takes_nothing_of_what_people_said() {
    let world = world().await;
    let id = world.asset("host").await;
    let stored = world.store.asset(&id).await.unwrap().unwrap().asset;
    let labels = [("role".to_owned(), "web".to_owned())].into_iter().collect();
    let said = Asset { labels, environment: Some("prod".into()), ..stored.clone() };
    let see = async |asset: Asset, by| {
        let seen = SeenAsset { asset, by, at: at(1) };
        world.store.put(Write::SeeAsset(seen)).await.unwrap();
    };
    see(said.clone(), SeenBy::People).await;
    // It was read before people spoke, and is written after that.
    see(Asset { name: "renamed".into(), ..stored }, SeenBy::Itself).await;
    let now = world.store.asset(&id).await.unwrap().unwrap().asset;
    assert_eq!(now, Asset { name: "renamed".into(), ..said });
}

#[tokio::test]
async fn what_detectors_say_is_counted_and_listed_over_all_assets() {
    let world = world().await;
    let (one, two) = (world.asset("one").await, world.asset("two").await);
    let said = |packages, unread: &[(&str, &str)]| Detection {
        updaters: Some(vec!["unattended-upgrades".into()]),
        at: at(1),
        facts: Digest::of_bytes(b"facts"),
        facts_at: at(0),
        knowledge: Digest::of_bytes(b"feeds"),
        coverage: Coverage { with_data: packages - 1, without_feed: 1, packages },
        blind_spots: vec!["no feed for Debian:10 is at hand".to_owned()],
        notes: Vec::new(),
        feeds: Vec::new(),
        unread: unread.iter().map(|(fact, why)| ((*fact).to_owned(), (*why).to_owned())).collect(),
        system: Some("debian 12".to_owned()),
    };
    let unread = [("sockets", "needs root"), ("kernel", "not running")];
    for (asset, said) in [(&one, said(10, &[])), (&one, said(20, &unread)), (&two, said(5, &unread[..1]))] {
        world.store.put(Write::PutDetection(asset.clone(), said)).await.unwrap();
    }
    assert_eq!(world.store.detection(&one).await.unwrap(), Some(said(20, &unread)), "the last word counts");
    let whole = Coverage { with_data: 23, without_feed: 2, packages: 25 };
    assert_eq!(world.store.coverage(None).await.unwrap(), whole);
    let mine = BTreeSet::from([two.clone()]);
    assert_eq!(world.store.coverage(Some(&mine)).await.unwrap().packages, 5);
    assert_eq!(world.store.coverage(Some(&BTreeSet::new())).await.unwrap(), Coverage::default());
    let told = |listed: Vec<Said>| -> Vec<(Option<String>, u64)> {
        listed.into_iter().map(|one| (one.fact, one.assets)).collect()
    };
    let all = world.store.said(Listed::Unread, None, 10).await.unwrap();
    assert_eq!(told(all), [(Some("sockets".to_owned()), 2), (Some("kernel".to_owned()), 1)]);
    assert_eq!(told(world.store.said(Listed::Unread, Some(&mine), 10).await.unwrap()).len(), 1);
    assert_eq!(told(world.store.said(Listed::Unread, None, 1).await.unwrap()).len(), 1, "no more than asked for");
    assert_eq!(told(world.store.said(Listed::BlindSpots, None, 10).await.unwrap()), [(None, 2)]);
    assert!(world.store.said(Listed::Notes, None, 10).await.unwrap().is_empty());
    world.store.put(Write::PutDetection(one.clone(), said(20, &[]))).await.unwrap();
    let left = world.store.said(Listed::Unread, None, 10).await.unwrap();
    assert_eq!(told(left), [(Some("sockets".to_owned()), 1)], "what is not said any more is forgotten");
}

//! Decisions to remediations: what the policies want prepared or done is gathered by rule, action and terms, across
//! assets, so that a fleet is one rollout. What policies do not want any more gives way before it has begun.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use stanch_engine::rollout::{Attempts, Event};
use stanch_ledger::NewEntry;
use stanch_model::canonical::{CanonicalError, Digest, digest};
use stanch_model::decision::{Decision, Mode};
use stanch_model::id::{AssetId, ItemId, RemediationId};
use stanch_model::own::is_own;
use stanch_model::remediation::RemediationState as S;
use stanch_store::item::{ItemFilter as Rows, StoredItem};
use stanch_store::remediation::{NewRemediation, OnFailure, RemediationFilter, StoredRemediation};
use stanch_store::{Transition, Write};

use super::PassError;
use super::rollout::{TakeError, take};
use crate::app::App;
use crate::bus::{Live, Stage};
use crate::clock::ten;
use crate::record::{Decided, Record};
use crate::view::{Context, Pages, all_rows};

/// Under which name the ledger tells what policies ask for.
pub(crate) const ACTOR: &str = "policy";
/// Items of one remediation at most; what is left over becomes another one.
const MAX_ITEMS: usize = 2_000;
/// What turned out to be more than the policies grant when it was planned is planned again after this, and each time it
/// still is, after twice as long.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// But never later than this.
const LOOK_DAILY: SignedDuration = SignedDuration::from_hours(24);
/// Earlier remediations of an item that are looked at.
const HISTORY: u32 = 20;

/// An item that policies want something prepared or done about.
pub(super) struct Wanted {
    pub(super) item: ItemId,
    pub(super) asset: AssetId,
    pub(super) name: String,
    /// The version that closes it.
    pub(super) version: String,
    pub(super) decision: Decision,
}

pub(super) async fn pass(app: &App) -> Result<(), PassError> {
    let _making = app.making.lock().await;
    withdraw(app).await?;
    let now = app.now();
    let gather = SignedDuration::try_from(app.config.intervals.gather).unwrap_or(SignedDuration::ZERO);
    let mut groups: BTreeMap<(bool, Digest), Vec<Wanted>> = BTreeMap::new();
    let mut pages = Pages::of(Rows { open: Some(true), wanted: true, ..Rows::default() });
    loop {
        let rows = pages.next(app).await?;
        if rows.is_empty() {
            break;
        }
        let context = Context::of(app, &rows).await?;
        for row in rows {
            let Some(decision) = row.decision.as_ref().filter(|decision| wants(decision)) else { continue };
            let offered = context.propose(&row).is_some_and(|proposal| proposal.candidate().is_some());
            let taken = context.busy(&row.item.id).is_some() || context.case(&row.item.id).is_some();
            // Steps of a playbook may do something where the catalogue has nothing to offer.
            if (!offered && decision.playbook.is_none()) || taken || context.suppression(&row).is_some() {
                continue;
            }
            let limits = &decision.terms.limits;
            let barred = match decision.playbook {
                Some(_) => super::case::bar(app, &row.item.id, &row.fixed_version, limits).await?,
                None => bar(&history(app, &row.item.id).await?, &row, decision, key(decision)?, now),
            };
            if barred.is_some() {
                continue;
            }
            // What changes Stanch itself never holds up what it is with: it goes one host after the other.
            let own = is_own(row.item.subject.name());
            groups.entry((own, key(decision)?)).or_default().push(Wanted {
                name: row.item.subject.name().to_owned(),
                item: row.item.id,
                asset: row.item.asset,
                version: row.fixed_version,
                decision: decision.clone(),
            });
        }
    }
    for ((_, key), members) in groups {
        let first = members.iter().map(|one| one.decision.at).min().unwrap_or(now);
        if now.duration_since(first) < gather {
            continue;
        }
        for chunk in members.chunks(MAX_ITEMS) {
            match chunk.first().and_then(|first| first.decision.playbook.as_deref()) {
                Some(policy) => super::case::open(app, key, policy, chunk).await?,
                None => begin(app, key, chunk).await?,
            }
        }
    }
    Ok(())
}

/// Whether anything is to be prepared at all.
fn wants(decision: &Decision) -> bool {
    let something = decision.action.is_some() || decision.playbook.is_some();
    decision.mode > Mode::Alert && decision.accepted.is_none() && something
}

/// What remediations and cases are gathered by: rules, action or playbook, mode and terms.
///
/// # Errors
/// Never: all of it has a canonical form.
pub(crate) fn key(decision: &Decision) -> Result<Digest, CanonicalError> {
    let rules: Vec<_> = decision.fired.iter().map(|word| (&word.rule, word.effect, word.mode)).collect();
    digest("stanch/decision-key/v2", &(rules, &decision.action, &decision.playbook, decision.mode, &decision.terms))
}

/// Earlier remediations of an item that policies asked for, the newest first.
async fn history(app: &App, item: &ItemId) -> Result<Vec<(StoredRemediation, Record)>, PassError> {
    let filter = RemediationFilter { item: Some(item.clone()), ..RemediationFilter::default() };
    let rows = app.store.remediations(&filter, None, HISTORY).await?;
    let read = rows.into_iter().map(|row| (Record::read(&row.body), row));
    Ok(read.filter(|(record, _)| record.decided.is_some()).map(|(record, row)| (row, record)).collect())
}

/// Why policies leave an item alone that they would have something done about: a person said no to this version, it was
/// tried as often as it may be, or a moment ago.
fn bar(
    history: &[(StoredRemediation, Record)],
    row: &StoredItem,
    decision: &Decision,
    key: Digest,
    now: Timestamp,
) -> Option<String> {
    let (item, version, limits) = (&row.item.id, row.fixed_version.as_str(), &decision.terms.limits);
    let same = |record: &Record| {
        record.step.is_none()
            && record
                .decided
                .as_ref()
                .and_then(|decided| decided.versions.get(item))
                .is_some_and(|known| known == version)
    };
    let mut mine = history.iter().filter(|(_, record)| same(record)).peekable();
    let (row, _) = *mine.peek()?;
    let cool = SignedDuration::from_secs(i64::from(limits.cooldown_seconds));
    let resting = |since: Timestamp| since.checked_add(cool).ok().filter(|until| now < *until);
    match row.state {
        S::Rejected | S::Dismissed | S::Cancelled => return Some("a person said no to it".to_owned()),
        S::Expired | S::ResolvedElsewhere => {
            if let Some(until) = resting(row.updated_at) {
                return Some(format!("nobody answered; it is asked again at {until}"));
            }
        }
        _ => {}
    }
    // As long as the policies say the same of the item itself.
    let shown = |(row, record): &&(StoredRemediation, Record)| {
        let same = record.decided.as_ref().is_some_and(|decided| decided.key == key);
        same && (row.state == S::Observed || record.not_granted.contains_key(item))
    };
    let times = u32::try_from(mine.clone().take_while(shown).count()).unwrap_or(u32::MAX);
    if let Some(doubled) = times.checked_sub(1) {
        let pause = LOOK_AGAIN.saturating_mul(1 << doubled.min(5)).min(LOOK_DAILY);
        let until = row.updated_at.checked_add(pause).unwrap_or(Timestamp::MAX);
        if now < until {
            return Some(format!("what would be done for it is not granted; it is looked at again at {until}"));
        }
    }
    let attempts = attempts_in(mine.map(|(_, record)| record), item);
    if attempts.count >= limits.max_attempts {
        return Some(format!("all {} attempts are used up", limits.max_attempts));
    }
    attempts.last_at.and_then(resting).map(|until| format!("cools down until {until}"))
}

/// The attempts that were made at an item, as the newest rollout that knows of any has counted them.
fn attempts_in<'a>(records: impl Iterator<Item = &'a Record>, item: &ItemId) -> Attempts {
    let counted = records.filter_map(|record| record.rollout.as_ref()?.attempts.get(item).copied());
    counted.max_by_key(|attempts| attempts.count).unwrap_or_default()
}

/// The attempts that policies made at the items of a remediation before, at the versions it is about and by the same
/// step where it is one of a case.
pub(super) async fn attempts(app: &App, record: &Record) -> Result<BTreeMap<ItemId, Attempts>, PassError> {
    let mut all = BTreeMap::new();
    let rung = |record: &Record| record.step.as_ref().map(|step| step.rung.clone());
    for (item, version) in record.decided.iter().flat_map(|decided| &decided.versions) {
        let history = history(app, item).await?;
        let same =
            history.iter().map(|(_, record)| record).filter(|other| rung(other) == rung(record)).filter(|record| {
                record.decided.as_ref().and_then(|decided| decided.versions.get(item)) == Some(version)
            });
        let made = attempts_in(same, item);
        if made.count > 0 {
            all.insert(item.clone(), made);
        }
    }
    Ok(all)
}

async fn begin(app: &App, key: Digest, members: &[Wanted]) -> Result<(), PassError> {
    let Some(Wanted { decision, .. }) = members.first() else { return Ok(()) };
    let now = app.now();
    let id = RemediationId::from_entropy(ten(app.config.entropy.as_ref())?);
    let assets: BTreeSet<AssetId> = members.iter().map(|one| one.asset.clone()).collect();
    let rules: Vec<String> = decision.fired.iter().map(|word| word.rule.clone()).collect();
    let record = Record {
        reason: decision.reason.clone(),
        names: members.iter().map(|one| one.name.clone()).collect(),
        decided: Some(Decided {
            key,
            mode: decision.mode,
            bundle: decision.bundle,
            rules: rules.clone(),
            versions: members.iter().map(|one| (one.item.clone(), one.version.clone())).collect(),
        }),
        ..Record::default()
    };
    let mut entry = NewEntry::new(now, ACTOR, "remediation_decided").about(&id).with(json!({
        "items": members.iter().take(500).map(|one| one.item.as_str()).collect::<Vec<_>>(),
        "names": record.names.iter().take(500).collect::<Vec<_>>(),
        "assets": assets.len(),
        "mode": decision.mode,
        "rules": rules,
        "reason": decision.reason,
    }));
    if let Some(bundle) = decision.bundle {
        entry = entry.resting_on("bundle", bundle);
    }
    let new = NewRemediation {
        id: id.clone(),
        state: S::Decided,
        requested_by: ACTOR.to_owned(),
        on_failure: OnFailure::Undo,
        assets: assets.into_iter().collect(),
        items: members.iter().map(|one| one.item.clone()).collect(),
        body: record.write(),
        at: now,
    };
    app.store.commit(Transition::new(entry).write(Write::NewRemediation(new))).await?;
    app.bus.nudge(Stage::Plan);
    let text = format!("decided: {}", decision.mode.name());
    app.bus.tell(Live { kind: "remediation", subject: id.to_string(), remediation: Some(id.to_string()), text });
    Ok(())
}

/// Ends what policies asked for, has not begun, and is not what they say any more.
async fn withdraw(app: &App) -> Result<(), PassError> {
    let states = vec!["planned", "awaiting_approval", "approved", "scheduled"];
    let filter = RemediationFilter { states, ..RemediationFilter::default() };
    for row in app.store.all_remediations(&filter).await? {
        let record = Record::read(&row.body);
        let Some(decided) = &record.decided else { continue };
        let mut stands = false;
        if record.step.is_some() {
            // It goes on also when an earlier step has ended the problem: what counts is what it was decided on.
            if super::plan::still_bound(app, &row, &record).await? {
                continue;
            }
        }
        let open = Rows { open: Some(true), ids: Some(row.items.clone()), ..Rows::default() };
        for item in all_rows(app, open).await?.into_iter().filter(|_| record.step.is_none()) {
            // One that is being decided anew is left alone until it is.
            let Some(decision) = &item.decision else { continue };
            stands = wants(decision) && key(decision)? == decided.key;
            if !stands {
                break;
            }
        }
        if !stands {
            match take(app, &row.id, "server", Event::Superseded, Vec::new()).await {
                Err(TakeError::Pass(error)) => return Err(error),
                taken => tracing::debug!(id = %row.id, ok = taken.is_ok(), "policies say something else by now"),
            }
        }
    }
    Ok(())
}
